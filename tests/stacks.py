"""Stacks of layers, and the same in double precision."""

import itertools
import math

import torch
from torch import Tensor

from harness import native

SIZES = (1, 7, 101)


def draw(*shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw numbers, in memory that begins one number after where an allocator would have it begin."""
    n = math.prod(shape)
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul_(scale)
    return torch.empty(n + 1, dtype=dtype)[1:].copy_(values).view(shape)


def close(found: Tensor | None, expected: Tensor, rtol: float, atol: float) -> None:
    assert found is not None
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=atol, equal_nan=True)


def identity(n: int, layers: int = 1) -> native.Stack:
    """Return a stack whose outputs are its inputs, or with two layers their tanh."""
    return native.Stack(native.Layer(torch.eye(n), torch.zeros(n)) for _ in range(layers))


def stack(*sizes: int, scale: float = 0.5) -> native.Stack:
    """Return a stack of layers from as many inputs to as many outputs."""
    pairs = enumerate(itertools.pairwise(sizes))
    return native.Stack(
        native.Layer(draw(k, m, seed=10 + i, scale=scale), draw(m, seed=20 + i, scale=scale)) for i, (k, m) in pairs
    )


def wide(stack: native.Stack) -> list[tuple[Tensor, Tensor]]:
    """Return the weights and biases of every layer, in double precision and differentiable."""
    return [(part.W.double().requires_grad_(), part.b.double().requires_grad_()) for part in stack.layers]


def through(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> list[Tensor]:
    """Return what every layer says of x, behind tanh unless it is the last."""
    outs = []
    for number, (W, b) in enumerate(layers, 1):
        x = x @ W + b
        outs.append(x := x if number == len(layers) else x.tanh())
    return outs


def check_factors(found: native.Factors | None, layers: list[tuple[Tensor, Tensor]], atol: float) -> None:
    """Compare the gradient by every weight and bias with autograd's."""
    assert found is not None
    for (a, g), (W, b) in zip(found, layers, strict=True):
        assert W.grad is not None
        assert b.grad is not None
        close(a.flatten(0, -2).double().t() @ g.double(), W.grad, 2e-5, atol * max(len(g), 1) ** 0.5)
        close(g.double().sum(0), b.grad, 2e-5, atol * max(len(g), 1) ** 0.5)
