"""A stack of layers: up, the density of what is observed of its outputs, or a draw from them, and down.

Compiled code does each of these in one call for the whole stack: between two products, Python takes as long as a small one.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, SupportsIndex

import torch
from torch import Tensor

from harness.native import path
from harness.native.densities import Density, given_outputs
from harness.native.gaussian import drawn, pulled
from harness.native.layers import Layer, as_rows, require, rows

Pair = tuple[Tensor, Tensor]

Activation = Literal["tanh", "relu"]
"""Of hidden units: tanh u, or max(u, 0)."""


class Squash(NamedTuple):
    """An activation f by PyTorch.

    Attributes:
        of: takes u to f(u).
        in_place: the same, in u's memory.
        back: takes a gradient by f(u), and f(u), to the gradient by u.
    """

    of: Callable[[Tensor], Tensor]
    in_place: Callable[[Tensor], Tensor]
    back: Callable[[Tensor, Tensor], Tensor]


SQUASH: dict[Activation, Squash] = {
    "tanh": Squash(torch.tanh, torch.tanh_, torch.ops.aten.tanh_backward),
    "relu": Squash(torch.relu, torch.relu_, lambda g, h: torch.ops.aten.threshold_backward(g, h, 0)),
}
"""What PyTorch computes of each activation; compiled primitives have tanh alone."""


class Factors(tuple[Pair, ...]):
    """The gradient by the weights and biases of layers, not multiplied out, and where it is in memory.

    For each layer there are a (n, k), or (..., k), its input, and g (n, m), the gradient of each row behind it: by the
    weights it is aᵀ g, and by the biases the sum of g.

    Attributes:
        sizes: k and m of each layer.
        at: rows of each, and the places of a and g; None if compiled code cannot read them.
    """

    sizes: Sequence[tuple[int, int]] = ()
    at: Sequence[tuple[int, int, int]] | None = None

    @classmethod
    def of(
        cls,
        inputs: Iterable[Tensor],
        behind: Iterable[Tensor],
        sizes: Sequence[tuple[int, int]],
        at: Sequence[tuple[int, int, int]] | None = None,
    ) -> "Factors":
        """Return those of the layers with these inputs, and gradients behind them."""
        factors = cls(zip(inputs, behind, strict=True))
        factors.sizes, factors.at = sizes, at
        return factors

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return tuple, (tuple(self),)  # a copy is at another place


class Observed(NamedTuple):
    """What a stack says of the points x and of its inputs: whichever was asked for.

    Attributes:
        log_p: log p(x | a), nats, a number for each row of its inputs, in their shape (S, B).
        units: of its hidden layers, (n, ·) each.
        slope: weight · ∂ log p / ∂a (n, ·).
        factors: the gradient of weight · Σ log p by its weights and biases.
        g_z: weight · ∂ log p / ∂z, of the shape of its inputs z.
    """

    log_p: Tensor | None
    units: list[Tensor]
    slope: Tensor | None
    factors: Factors | None
    g_z: Tensor | None


class Stack:
    """Layers one behind the other, with an activation behind all but the last: h = tanh(x W + b) …, a = h W + b.

    Nothing is differentiated by autograd. Where hidden units are no tanh units, PyTorch computes.

    Args:
        layers: the one that takes x first; each has as many inputs as the one before it has outputs.
        activation: of hidden units.
    """

    def __init__(self, layers: Iterable[Layer], activation: Activation = "tanh"):
        self.layers, self.activation = tuple(layers), activation
        self._squash = SQUASH[activation]
        self.sizes = tuple((layer.k, layer.m) for layer in self.layers)
        for (_, m), (k, _) in pairwise(self.sizes):
            if m != k:
                raise ValueError(f"a layer of {k} inputs is behind one of {m} outputs")
        self.k, self.m = self.sizes[0][0], self.sizes[-1][1]
        self.plain = all(layer.plain for layer in self.layers) and (activation == "tanh" or len(self.layers) == 1)
        self._table = array("q", [number for layer in self.layers for number in (layer.k, layer.m, *layer.at)])
        self.at = self._table.buffer_info()[0], len(self.layers)

    def __reduce__(self) -> tuple[type["Stack"], tuple[tuple[Layer, ...], Activation]]:
        return Stack, (self.layers, self.activation)

    def serves(self, *tensors: Tensor) -> bool:
        """Say whether the compiled primitives can compute with this stack and these."""
        return self.plain and path.serves(*tensors)

    def up(self, x: Tensor) -> list[Tensor]:
        """Return the units of every hidden layer, and the outputs, (n, ·) each, of x (..., k), n rows in all."""
        if not self.serves(x):
            x, found = as_rows(x), []
            for layer in self.layers[:-1]:
                x = self._squash.in_place(torch.addmm(layer.b, x, layer.W))
                found.append(x)
            return [*found, torch.addmm(self.layers[-1].b, x, self.layers[-1].W)]
        n, x = rows(x, self.k), x.contiguous()
        outs = [x.new_empty(n, m) for _, m in self.sizes]
        path.kernels.up(*self.at, n, x.data_ptr(), *places(outs))
        return outs

    def down(self, x: Tensor, units: Sequence[Tensor], g: Tensor, by_x: bool = False) -> tuple[Factors, Tensor | None]:
        """Take a gradient g (n, m) behind the last layer down, through the hidden units (n, ·) of x (..., k).

        Return the gradient by weights and biases, and the one by x, of its shape, if that is asked for.
        """
        if not self.serves(x, g, *units):
            behind = [g]
            for layer, h in zip(self.layers[:0:-1], units[::-1], strict=True):
                behind.append(self._squash.back(torch.mm(behind[-1], layer.W.t()), h))
            g_x = torch.mm(behind[-1], self.layers[0].W.t()).view(x.shape) if by_x else None
            return Factors.of([x, *units], behind[::-1], self.sizes), g_x
        n = rows(x, self.k)
        for tensor, (_, m) in zip([*units, g], self.sizes, strict=True):
            require(tensor, (n, m))
        x, g, units = x.contiguous(), g.contiguous(), [h.contiguous() for h in units]
        behind = [torch.empty_like(h) for h in units]
        g_x = torch.empty_like(x) if by_x else None
        at_x, at_g, at_h, at_behind = x.data_ptr(), g.data_ptr(), places(units), places(behind)
        path.kernels.down(*self.at, n, at_g, 0 if g_x is None else g_x.data_ptr(), *at_h, *at_behind)
        at = [(n, *both) for both in zip((at_x, *at_h), (*at_behind, at_g), strict=True)]
        return Factors.of([x, *units], [*behind, g], self.sizes, at), g_x

    def observed(
        self,
        density: Density,
        x: Tensor,
        z: Tensor,
        *,
        value: bool = True,
        slope: bool = False,
        down: bool = False,
        by_z: bool = False,
        weight: float = 1.0,
        out: Tensor | None = None,
        missing: bool = False,
    ) -> Observed:
        """Return what is asked for of a density given the outputs a, or (a, v), of this stack:

            bernoulli    log p = Σ_d x_d a_d - log(1 + exp a_d)
            gaussian     log p = -½ Σ_d (x_d - m_d)² exp(-v_d) + v_d + log 2π,  with m = a or m = σ(a)

        It is made of a block of rows while that is in cache; outputs that nobody asks for are never written to memory.

        Args:
            density: which.
            x: points (B, D).
            z: inputs of the stack (..., k), S · B rows, where row r belongs to point r modulo B.
            value: ask for log p(x | a).
            slope: ask for its slopes by the outputs.
            down: ask for the gradient by weights and biases, and so for the slopes.
            by_z: ask for the gradient by z.
            weight: of the slopes and the gradients.
            out: where log p is written; memory of its own if that is left out.
            missing: entries of x may be missing, which NaN says: the sums are over the others alone.
        """
        points, n = x.shape[0], rows(z, self.k)
        if n % points if points else n:
            raise ValueError(f"{n} rows of z do not belong to {points} points of x")
        if out is not None:
            require(out, z.shape[:-1])
        if self.serves(x, z):
            return self._observed(density, x, z, n, value, slope or down, down, by_z, weight, out, missing)
        *units, a = self.up(z)
        a = a.view(n // points if points else 1, points, self.m)
        log_p, g_a = given_outputs(density, x, a, value, slope or down or by_z, missing)
        log_p = None if log_p is None else log_p.view(z.shape[:-1])
        if out is not None and log_p is not None:
            log_p = out.copy_(log_p)
        if g_a is None:
            return Observed(log_p, units, None, None, None)
        g_a = (g_a.mul_(weight) if weight != 1.0 else g_a).flatten(0, -2)
        factors, g_z = self.down(z, units, g_a, by_z) if down or by_z else (None, None)
        return Observed(log_p, units, g_a if slope or down else None, factors if down else None, g_z)

    def _observed(
        self,
        density: Density,
        x: Tensor,
        z: Tensor,
        n: int,
        value: bool,
        slope: bool,
        down: bool,
        by_z: bool,
        weight: float,
        out: Tensor | None,
        missing: bool,
    ) -> Observed:
        """Return what the compiled library says."""
        (points, dim), outputs = x.shape, 1 if density == "bernoulli" else 2
        if self.m != dim * outputs:
            require(x, (points, self.m // outputs))
        x, z = x.contiguous(), z.contiguous()
        new, hidden, shape = z.new_empty, self.sizes[:-1], z.shape
        units = [new(n, m) for _, m in hidden]
        behind = [new(n, m) for _, m in hidden] if down or by_z else []
        g_a = new(n, self.m) if slope else None
        log_p = (new(*shape[:-1]) if out is None else out) if value else None
        g_z = new(*shape) if by_z else None
        at_z, at_h, at_behind = z.data_ptr(), places(units), places(behind)
        at_p, at_a, at_g = (0 if out is None else out.data_ptr() for out in (log_p, g_a, g_z))
        factors = None
        if g_a is not None and down:
            at = [(n, *both) for both in zip((at_z, *at_h), (*at_behind, at_a), strict=True)]
            factors = Factors.of([z, *units], [*behind, g_a], self.sizes, at)
        path.kernels.observed(
            weight, *self.at, n, points, dim, outputs, density == "squashed gaussian", missing, x.data_ptr(),
            at_z, at_p, at_a, at_g, *at_h, *at_behind or [0] * len(at_h),
        )  # fmt: skip
        return Observed(log_p, units, g_a, factors, g_z)


class Draw:
    """z = μ + σ ε of Gaussians whose (μ, log σ²) a stack computes of x; it keeps what the way back needs.

    Args:
        stack: of 2Z outputs.
        x: its inputs (B, k).
        noise: ε (S, B, Z), which may be overwritten.

    Attributes:
        outs: units of the stack's hidden layers, and (μ, log σ²) (B, 2Z).
        z: (S, B, Z).
        kl: KL(N(μ, σ²) || N(0, I)) (B,).
    """

    def __init__(self, stack: Stack, x: Tensor, noise: Tensor):
        self._stack, self._x = stack, x
        samples, points, dim = self._sizes = noise.shape
        require(x, (points, stack.k))
        if stack.m != 2 * dim:
            require(noise, (samples, points, stack.m // 2))
        self._served = stack.serves(x, noise)
        if not self._served:
            self.outs = stack.up(x)
            self.z, self._moved, self.kl = drawn(self.outs[-1], noise)
            return
        self._x = x = x.contiguous()
        self._moved = noise.contiguous()
        new = self._moved.new_empty
        self.z, self.kl = new(samples, points, dim), new(points)
        self.outs, self._behind = ([new(points, m) for _, m in stack.sizes] for _ in range(2))
        self._at = x.data_ptr(), self._moved.data_ptr(), places(self.outs), places(self._behind)
        at_x, at_moved, at_outs, _ = self._at
        at_z, at_kl = self.z.data_ptr(), self.kl.data_ptr()
        path.kernels.draw(*stack.at, samples, points, dim, at_x, at_moved, at_z, at_kl, *at_outs)

    def pull(self, g_z: Tensor, g_kl: float) -> Factors:
        """Return the gradient by weights and biases of what has gradient g_z (S, B, Z) by each z, and g_kl by each KL.

        What is returned is overwritten by the next call.
        """
        stack, (*units, statistics) = self._stack, self.outs
        if not (self._served and stack.serves(g_z)):
            return stack.down(self._x, units, pulled(statistics, self._moved, g_z, g_kl))[0]
        require(g_z, self._sizes)
        g_z = g_z.contiguous()
        at_x, at_moved, at_outs, at_behind = self._at
        path.kernels.pull(g_kl, *stack.at, *self._sizes, at_moved, g_z.data_ptr(), *at_outs, *at_behind)
        n = self._sizes[1]
        at = [(n, *both) for both in zip((at_x, *at_outs[:-1]), at_behind, strict=True)]
        return Factors.of([self._x, *units], self._behind, stack.sizes, at)


def places(tensors: Iterable[Tensor]) -> list[int]:
    """Return where tensors without gaps are in memory."""
    return [tensor.data_ptr() for tensor in tensors]
