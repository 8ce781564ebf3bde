"""Densities of x given the outputs of a decoder's last layer, and their slopes, by PyTorch; compiled ones are in `kernels.c`."""

import math
from typing import Literal, cast

import torch
from torch import Tensor

from harness.native.layers import HALF, ONE

BLOCK = 200_000  # numbers that stay in a processor's cache

LOG_2PI = math.log(2.0 * math.pi)

NEVER = -1e4  # a logit of which a 0 has probability 1, in any precision

Density = Literal["bernoulli", "gaussian", "squashed gaussian"]
"""Of x given outputs: `bernoulli` of logits a; `gaussian` of means and log variances (a, v); or of means σ(a)."""


def given_outputs(
    density: Density, x: Tensor, a: Tensor, value: bool, slope: bool, missing: bool = False
) -> tuple[Tensor | None, Tensor | None]:
    """Return log p(x | a) (S, B) and its slopes by a, whichever is asked for, from x (B, D) and outputs a (S, B, ·).

    The outputs are overwritten. With `missing`, entries of x that are NaN are missing: they add nothing, and their slopes are 0.
    """
    gone = x.isnan() if missing else None  # (B, D)
    if density == "bernoulli":
        if gone is not None:  # a 0 of probability 1 adds nothing
            x, a = x.masked_fill(gone, 0.0), a.masked_fill_(gone, NEVER)
        return bernoulli(x, a, value, slope)
    return gaussian(x, a, density == "squashed gaussian", value, slope, gone)


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


def gaussian(
    x: Tensor, a: Tensor, squash: bool, value: bool, slope: bool, gone: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """Return log p(x | a) (S, B) and its slopes by a, whichever is asked for, from x (B, D) and outputs a (S, B, 2D).

    The outputs are overwritten. Entries of x that are gone (B, D) add nothing.

    With e = (x - m)/s,  ∂/∂m = e/s  and  ∂/∂ log s² = ½ (e² - 1).
    """
    mean, log_var = a.chunk(2, dim=-1)
    if squash:
        mean.sigmoid_()
    error = x - mean
    pull = log_var.neg().exp_().mul_(error)
    squares = error.mul_(pull)  # e²
    log_p = None
    if value:
        if gone is None:
            log_p = squares.sum(-1).add_(log_var.sum(-1)).add_(x.shape[-1] * LOG_2PI).mul_(-0.5)
        else:
            log_p = (squares + log_var + LOG_2PI).masked_fill_(gone, 0.0).sum(-1).mul_(-0.5)
    if not slope:
        return log_p, None
    if squash:
        torch.ops.aten.sigmoid_backward(pull, mean, grad_input=mean)
    else:
        mean.copy_(pull)
    torch.mul(squares, HALF, out=log_var).sub_(HALF)
    if gone is not None:
        for part in (mean, log_var):
            part.masked_fill_(gone, 0.0)
    return log_p, a
