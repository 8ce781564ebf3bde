"""A layer, with tanh or without, up and down."""

import torch
from torch import Tensor

from harness.native import path

tanh_backward = torch.ops.aten.tanh_backward

HALF, ONE = (
    torch.tensor(number, device="cpu") for number in (0.5, 1.0)
)  # a third of the time that PyTorch takes with a number


def tanh_layer(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Return tanh(x W + b) (n, m) of x (n, k), W (k, m) and b (m,); not differentiable."""
    return _compiled(x, W, b, True) if path.serves(x, W, b) else torch.addmm(b, x, W).tanh_()


def affine_layer(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Return x W + b (n, m) of x (n, k), W (k, m) and b (m,); not differentiable."""
    return _compiled(x, W, b, False) if path.serves(x, W, b) else torch.addmm(b, x, W)


def _compiled(x: Tensor, W: Tensor, b: Tensor, squash: bool) -> Tensor:
    (n, k), (m,) = x.shape, b.shape
    require(W, (k, m))
    x, W, b = x.contiguous(), W.contiguous(), b.contiguous()
    out = x.new_empty(n, m)
    path.kernels.layer(n, k, m, x.data_ptr(), W.data_ptr(), b.data_ptr(), squash, out.data_ptr())
    return out


def tanh_back(g: Tensor, W: Tensor, h: Tensor) -> Tensor:
    """Return the gradient before h = tanh(u), (n, k), from g (n, m) behind the layer h W + b:  (g Wᵀ) · (1 - h²)."""
    if not path.serves(g, W, h):
        out: Tensor = tanh_backward(torch.mm(g, W.t()), h)
        return out
    (n, m), k = g.shape, W.shape[0]
    require(W, (k, m))
    require(h, (n, k))
    g, W, h = g.contiguous(), W.contiguous(), h.contiguous()
    g_u = torch.empty_like(h)
    path.kernels.tanh_back(n, m, k, g.data_ptr(), W.data_ptr(), h.data_ptr(), g_u.data_ptr())
    return g_u


def tanh_down(g: Tensor, h: Tensor, W: Tensor, *, down: bool = True) -> tuple[Tensor, Tensor | None]:
    """Return g · (1 - h²), (n, m), the gradient before h = tanh(x W + b) from g behind it, and if asked for that times Wᵀ, by x.

    g may be overwritten.
    """
    if not (path.serves(g, h, W) and g.is_contiguous()):
        g_u: Tensor = tanh_backward(g, h)
        return g_u, torch.mm(g_u, W.t()) if down else None
    (n, m), k = g.shape, W.shape[0]
    require(h, (n, m))
    require(W, (k, m))
    h, W = h.contiguous(), W.contiguous()
    g_x = g.new_empty(n, k) if down else None
    path.kernels.tanh_down(n, m, k, g.data_ptr(), h.data_ptr(), W.data_ptr(), 0 if g_x is None else g_x.data_ptr())
    return g, g_x


def total(values: Tensor) -> Tensor | float:
    """Return the sum of all values in double precision."""
    if not path.serves(values):
        return values.sum().double()
    values = values.contiguous()
    out: float = path.kernels.total(values.numel(), values.data_ptr())
    return out


def require(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor has this shape: compiled code reads so much memory."""
    if tensor.shape != shape:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is where one of {tuple(shape)} belongs")
