"""A layer of tanh units, up and down."""

import torch
from torch import Tensor

from harness.native import path

tanh_backward = torch.ops.aten.tanh_backward


def tanh_layer(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Return tanh(x W + b) (n, m) of x (n, k), W (k, m) and b (m,); not differentiable."""
    if not path.serves(x, W, b):
        return torch.addmm(b, x, W).tanh_()
    (n, k), m = x.shape, len(b)
    x, W, b = x.contiguous(), W.contiguous(), b.contiguous()
    require(W, (k, m))
    out = x.new_empty(n, m)
    path.kernels.tanh_layer(n, k, m, x.data_ptr(), W.data_ptr(), b.data_ptr(), out.data_ptr())
    return out


def through_tanh(g: Tensor, h: Tensor) -> Tensor:
    """Return g · (1 - h²), the gradient before h = tanh(u) from the one behind it; g may be overwritten."""
    if not (path.serves(g, h) and g.is_contiguous()):
        out: Tensor = tanh_backward(g, h)
        return out
    require(h, g.shape)
    path.kernels.through_tanh(g.numel(), h.contiguous().data_ptr(), g.data_ptr())
    return g


def require(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor has this shape: compiled code reads so much memory."""
    if tensor.shape != shape:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is where one of {tuple(shape)} belongs")
