"""The last layer of a decoder: the density of x given outputs a = h W + b, its slopes, and these taken down through W.

All three are made of a block of rows while it is in cache; outputs that nobody asks for are never written to memory.
"""

import math
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import HALF, ONE, Layer, require

BLOCK = 200_000  # numbers that stay in a processor's cache

LOG_2PI = math.log(2.0 * math.pi)


class Observed(NamedTuple):
    """What a layer says of the rows of h: whichever was asked for.

    Attributes:
        log_p: log p(x | a), nats (S, B).
        slope: weight · ∂ log p / ∂a (n, ·).
        g_h: weight · ∂ log p / ∂h, (n, k).
    """

    log_p: Tensor | None
    slope: Tensor | None
    g_h: Tensor | None


Density = Literal["bernoulli", "gaussian", "squashed gaussian"]
"""Of x given outputs: `bernoulli` of logits a; `gaussian` of means and log variances (a, v); or of means σ(a)."""


def observed_layer(
    density: Density,
    x: Tensor,
    h: Tensor,
    layer: Layer,
    *,
    value: bool = True,
    slope: bool = False,
    down: bool = False,
    weight: float = 1.0,
) -> Observed:
    """Return what is asked for of a density given outputs a = h W + b, or (a, v) = h W + b:

        bernoulli    log p = Σ_d x_d a_d - log(1 + exp a_d)
        gaussian     log p = -½ Σ_d (x_d - m_d)² exp(-v_d) + v_d + log 2π,  with m = a or m = σ(a)

    Args:
        density: which.
        x: points (B, D).
        h: units (S · B, k), where row r belongs to point r modulo B.
        layer: weights W (k, D), or (k, 2D), and as many biases b.
        value: ask for log p(x | a).
        slope: ask for its slopes by the outputs.
        down: ask for its gradient by h.
        weight: of the slopes and the gradient.
    """
    if layer.serves(x, h):
        return _compiled(density, x, h, layer, value, slope, down, weight)
    a = torch.addmm(layer.b, h, layer.W).view(_samples(x, h), len(x), layer.m)
    if density == "bernoulli":
        log_p, g_a = bernoulli(x, a, value, slope or down)
    else:
        log_p, g_a = gaussian(x, a, density == "squashed gaussian", value, slope or down)
    return _down(log_p, g_a, layer.W, slope, down, weight)


def bernoulli(x: Tensor, a: Tensor, value: bool, slope: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return log p(x | a) (S, B) and its slope by a, whichever is asked for, from x (B, D) and logits a (S, B, D).

    The logits are overwritten.
    """
    if not value:
        return None, torch.sub(x, a.sigmoid_(), out=a)
    if a.numel() > BLOCK and len(x) > 1:  # some points at a time: what lies in between stays in cache
        n = max(1, BLOCK * len(x) // a.numel())
        parts = [bernoulli(*part, value, False)[0] for part in zip(x.split(n), a.split(n, dim=-2), strict=True)]
        return torch.cat(cast(list[Tensor], parts), dim=-1), bernoulli(x, a, False, True)[1] if slope else None
    log_p: Tensor = torch.linalg.vecdot(x, a)
    # In float32 as exact as the sum over pixels is, and several times as fast as softplus; infinite where a is beyond 88.
    odds = a.exp().add_(ONE)  # 1 + exp a = 1 / (1 - σ(a))
    normaliser = odds.log().sum(-1)
    if a.is_cuda or not normaliser.sum().item() < math.inf:
        normaliser = torch.nn.functional.softplus(a).sum(-1)
    return log_p.sub_(normaliser), odds.reciprocal_().add_(x).sub_(ONE) if slope else None


def gaussian(x: Tensor, a: Tensor, squash: bool, value: bool, slope: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return log p(x | a) (S, B) and its slopes by a, whichever is asked for, from x (B, D) and outputs a (S, B, 2D).

    The outputs are overwritten. With e = (x - m)/s,  ∂/∂m = e/s  and  ∂/∂ log s² = ½ (e² - 1).
    """
    mean, log_var = a.chunk(2, dim=-1)
    if squash:
        mean.sigmoid_()
    error = x - mean
    pull = log_var.neg().exp_().mul_(error)
    squares = error.mul_(pull)  # e²
    log_p = None
    if value:
        log_p = squares.sum(-1).add_(log_var.sum(-1)).add_(x.shape[-1] * LOG_2PI).mul_(-0.5)
    if not slope:
        return log_p, None
    if squash:
        torch.ops.aten.sigmoid_backward(pull, mean, grad_input=mean)
    else:
        mean.copy_(pull)
    torch.mul(squares, HALF, out=log_var).sub_(HALF)
    return log_p, a


def _samples(x: Tensor, h: Tensor) -> int:
    """Return S for x (B, D) and h (S · B, k)."""
    n, points = h.shape[0], x.shape[0]
    if n % points if points else n:
        raise ValueError(f"{n} rows of h do not belong to {points} points of x")
    return n // points if points else 1


def _down(log_p: Tensor | None, g_a: Tensor | None, W: Tensor, slope: bool, down: bool, weight: float) -> Observed:
    """Take the slopes down through W if that is asked for."""
    if g_a is not None:
        g_a = (g_a.mul_(weight) if weight != 1.0 else g_a).flatten(0, -2)
    g_h = torch.mm(g_a, W.t()) if g_a is not None and down else None
    return Observed(log_p, g_a if slope else None, g_h)


def _compiled(
    density: Density, x: Tensor, h: Tensor, layer: Layer, value: bool, slope: bool, down: bool, weight: float
) -> Observed:
    """Return what the compiled library says."""
    (points, dim), n, outputs = x.shape, h.shape[0], 1 if density == "bernoulli" else 2
    k, m, at = layer.k, layer.m, layer.at
    samples = _samples(x, h)
    require(h, (n, k))
    require(layer.b, (dim * outputs,))
    x, h = x.contiguous(), h.contiguous()
    log_p = h.new_empty(samples, points) if value else None
    g_a = h.new_empty(n, m) if slope else None
    g_h = h.new_empty(n, k) if down else None
    wanted = [0 if out is None else out.data_ptr() for out in (log_p, g_a, g_h)]
    squash = density == "squashed gaussian"
    path.kernels.observed_layer(n, k, points, dim, outputs, squash, x.data_ptr(), h.data_ptr(), *at, *wanted, weight)
    return Observed(log_p, g_a, g_h)
