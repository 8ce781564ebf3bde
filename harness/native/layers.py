"""A layer, with tanh or without: up, down, and its update by a gradient that is not multiplied out."""

import torch
from torch import Tensor

from harness.native import path

tanh_backward = torch.ops.aten.tanh_backward

HALF, ONE = (
    torch.tensor(number, device="cpu") for number in (0.5, 1.0)
)  # a third of the time that PyTorch takes with a number


class Layer:
    """One layer x W + b with or without tanh, up, down, and its update; W and b stay where they are in memory.

    Compiled code is told that place once, as asking tensors for it takes longer than a small product. Nothing is differentiable.

    Args:
        W: weights (k, m).
        b: biases (m,).
    """

    def __init__(self, W: Tensor, b: Tensor):
        self.W, self.b = W, b
        self.k, self.m = W.shape
        require(b, (self.m,))
        self._plain = all(part.dtype is torch.float32 and part.is_cpu and part.is_contiguous() for part in (W, b))
        self.at = (W.data_ptr(), b.data_ptr()) if self._plain else (0, 0)

    def __reduce__(self) -> tuple[type["Layer"], tuple[Tensor, Tensor]]:
        return Layer, (self.W, self.b)  # a copy is at another place

    def serves(self, *tensors: Tensor) -> bool:
        """Say whether the compiled primitives can compute with this layer and these."""
        return self._plain and path.serves(*tensors)

    def tanh(self, x: Tensor) -> Tensor:
        """Return tanh(x W + b) (n, m) of x (..., k), n rows in all."""
        return self._up(x, True) if self.serves(x) else torch.addmm(self.b, as_rows(x), self.W).tanh_()

    def affine(self, x: Tensor) -> Tensor:
        """Return x W + b (n, m) of x (..., k), n rows in all."""
        return self._up(x, False) if self.serves(x) else torch.addmm(self.b, as_rows(x), self.W)

    def _up(self, x: Tensor, squash: bool) -> Tensor:
        n = rows(x, self.k)
        x = x.contiguous()
        out = x.new_empty(n, self.m)
        path.kernels.layer(n, self.k, self.m, x.data_ptr(), *self.at, squash, out.data_ptr())
        return out

    def tanh_back(self, g: Tensor, h: Tensor) -> Tensor:
        """Return the gradient before h = tanh(u), (n, k), from g (n, m) behind this layer h W + b:  (g Wᵀ) · (1 - h²)."""
        if not self.serves(g, h):
            out: Tensor = tanh_backward(torch.mm(g, self.W.t()), h)
            return out
        n = rows(g, self.m)
        require(h, (n, self.k))
        g, h = g.contiguous(), h.contiguous()
        g_u = torch.empty_like(h)
        path.kernels.tanh_back(n, self.m, self.k, g.data_ptr(), self.at[0], h.data_ptr(), g_u.data_ptr())
        return g_u

    def tanh_down(self, g: Tensor, h: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the gradient before h = tanh(x W + b), (n, m), from g behind it:  g · (1 - h²). g may be overwritten.

        If x (..., k) is given, its gradient, of its shape, is returned, too: that times Wᵀ.
        """
        if not (self.serves(g, h) and g.is_contiguous()):
            g_u: Tensor = tanh_backward(g, h)
            return g_u, None if x is None else torch.mm(g_u, self.W.t()).view(x.shape)
        n = rows(g, self.m)
        require(h, (n, self.m))
        h = h.contiguous()
        g_x, to = None, 0
        if x is not None:
            if rows(x, self.k) != n:
                require(x, (n, self.k))
            g_x = x.new_empty(x.shape)
            to = g_x.data_ptr()
        path.kernels.tanh_down(n, self.m, self.k, g.data_ptr(), h.data_ptr(), self.at[0], to)
        return g, g_x

    def adagrad(self, sums: "Layer", a: Tensor, g: Tensor, lr: float, decay: float) -> None:
        """Ascend with the gradients aᵀ g, less decay · W, and of b the sum of g, of a (..., k) and g (n, m); compiled alone:

            s ← s + g²    w ← w + lr · g / √s

        A panel of rows of aᵀ g is made, used while it is in cache, and forgotten. The sums of squares s are laid out as a layer.
        """
        if not (self.serves(a, g) and sums._plain):
            raise ValueError("compiled updates take single precision, on a processor, without gaps")
        n = rows(a, self.k)
        require(g, (n, self.m))
        require(sums.W, (self.k, self.m))
        a, g = a.contiguous(), g.contiguous()
        (W, b), (W_sums, b_sums) = self.at, sums.at
        path.kernels.adagrad(n, self.k, self.m, a.data_ptr(), g.data_ptr(), W, W_sums, b, b_sums, lr, decay)


def total(values: Tensor) -> Tensor | float:
    """Return the sum of all values in double precision."""
    if not path.serves(values):
        return values.sum().double()
    values = values.contiguous()
    out: float = path.kernels.total(values.numel(), values.data_ptr())
    return out


def rows(tensor: Tensor, size: int) -> int:
    """Return how many rows of this size a tensor (..., size) has; ValueError where its rows have another."""
    shape = tensor.shape
    if shape[-1] != size:
        require(tensor, (*shape[:-1], size))
    return shape[0] if len(shape) == 2 else shape[:-1].numel()


def as_rows(tensor: Tensor) -> Tensor:
    """Return a tensor (..., k) as rows (n, k)."""
    return tensor if tensor.ndim == 2 else tensor.flatten(0, -2)


def require(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a tensor has this shape: compiled code reads so much memory."""
    if tensor.shape != shape:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is where one of {tuple(shape)} belongs")
