"""A layer, and what the compiled primitives ask of tensors before they read their memory."""

import math

import torch
from torch import Tensor

from harness.native import path

HALF, ONE = (
    torch.tensor(number, device="cpu") for number in (0.5, 1.0)
)  # a third of the time that PyTorch takes with a number


class Layer:
    """A layer x W + b; W and b stay where they are in memory.

    Compiled code is told that place once, as asking tensors for it takes longer than a small product.

    Args:
        W: weights (k, m).
        b: biases (m,).
    """

    def __init__(self, W: Tensor, b: Tensor):
        self.W, self.b = W, b
        self.k, self.m = W.shape
        require(b, (self.m,))
        self.plain = plain(W) and plain(b)
        self.at = (W.data_ptr(), b.data_ptr()) if self.plain else (0, 0)

    def __reduce__(self) -> tuple[type["Layer"], tuple[Tensor, Tensor]]:
        return Layer, (self.W, self.b)  # a copy is at another place


class Triangle:
    """Weights of units that are each given those before: the numbers above the diagonal of a matrix (m, m), without a bias.

    Args:
        above: those numbers (m (m - 1) / 2,), row by row; they stay where they are in memory.
    """

    def __init__(self, above: Tensor):
        self.above = above
        self.k = self.m = (1 + math.isqrt(1 + 8 * len(above))) // 2
        require(above, (self.m * (self.m - 1) // 2,))
        self.plain = plain(above)
        self.at = (above.data_ptr(), 0) if self.plain else (0, 0)

    def __reduce__(self) -> tuple[type["Triangle"], tuple[Tensor]]:
        return Triangle, (self.above,)


def plain(tensor: Tensor) -> bool:
    """Say whether compiled code can read a tensor's memory as it is: in single precision, on a processor, without gaps."""
    return tensor.dtype is torch.float32 and tensor.is_cpu and tensor.is_contiguous()


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
