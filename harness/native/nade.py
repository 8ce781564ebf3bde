"""Neural autoregressive distribution estimators: bits that are each given those before it in an order, by hidden units.

Hugo Larochelle and Iain Murray, "The neural autoregressive distribution estimator" (AISTATS 2011). Of bits x (n, D), in an
order o,

    h_i = σ(c + Σ_(j<i) x_oj W_oj)    a_oi = b_oi + V_oi · h_i      with W and V (D, H), b (D,), c (H,)

On the way up, what hidden units are the logistic function of is kept at the beginning of each block of bits, (blocks, n, H): the
way down computes them again from there. Compiled, they change behind a one alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import require

BLOCK = 56
"""Bits of a block: as many rows of V and of its gradient stay in cache."""


class NadeParameters(NamedTuple):
    """The parameters of an estimator, or a gradient by them: W and V (D, H), b (D,), c (H,)."""

    W: Tensor
    V: Tensor
    b: Tensor
    c: Tensor


def nade_up(x: Tensor, order: Tensor, p: NadeParameters, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Return the logits a (n, D) of bits, and what the way down needs.

    Args:
        x: bits (n, D), each 0 or 1.
        order: positions (D,), the first bit's first, each once.
        p: the parameters.
        keep: whether there will be a way down.
    """
    D, H = p.W.shape
    require(x, (len(x), D))
    _require_parameters(p)
    if not path.serves(x, *p) or not all(part.is_contiguous() for part in p):
        return _up(x, order, p, keep)
    x, order = x.contiguous(), _positions(order, D)
    n = len(x)
    states = p.W.new_empty(-(-D // BLOCK) + 1 if keep else 1, n, H)
    states[0] = p.c
    logits, h = torch.empty_like(x), p.W.new_empty(H)
    at = [part.data_ptr() for part in (order, x, p.W, p.V, p.b)]
    path.kernels.nade_up(n, D, H, *at, BLOCK, n * H * keep, *(part.data_ptr() for part in (states, h, logits)))
    return logits, states if keep else None


def nade_down(x: Tensor, order: Tensor, p: NadeParameters, states: Tensor, slope: Tensor, out: NadeParameters) -> None:
    """Write to `out` the gradient of what has slopes (n, D) by the logits; states as `nade_up` returned them."""
    D, H = p.W.shape
    require(x, (len(x), D))
    require(slope, x.shape)
    _require_parameters(p)
    _require_parameters(out)
    for part in out:
        part.zero_()
    if not path.serves(x, slope, states, *p, *out) or not all(part.is_contiguous() for part in (*p, *out, states)):
        _down(x, order, p, states, slope, out)
        return
    x, slope, order = x.contiguous(), slope.contiguous(), _positions(order, D)
    n = len(x)
    require(states, (-(-D // BLOCK) + 1, n, H))
    scratch, behind = p.W.new_empty(BLOCK + 2, H), p.W.new_zeros(n, H)
    at = [part.data_ptr() for part in (order, x, p.W, p.V, slope)]
    given = (states, scratch, behind, out.W, out.V, out.b)
    path.kernels.nade_down(n, D, H, *at, BLOCK, n * H, *(part.data_ptr() for part in given))
    torch.sum(behind, 0, out=out.c)


def _require_parameters(p: NadeParameters) -> None:
    D, H = p.W.shape
    for part, shape in zip(p, ((D, H), (D, H), (D,), (H,)), strict=True):
        require(part, shape)


def _positions(order: Tensor, D: int) -> Tensor:
    """Return an order as compiled code reads it; ValueError where it has another length, or positions that there are not."""
    require(order, (D,))
    low, high = order.aminmax()
    if order.dtype is not torch.int64 or low < 0 or high >= D:
        raise ValueError(f"an order of {D} bits has their positions, whole numbers from 0 to {D - 1}")
    return order.contiguous()


# The same in PyTorch: the hidden units of all points and bits of a block at once.


def _before(x: Tensor, W: Tensor, a: Tensor) -> Tensor:
    """Return what hidden units are the logistic function of before each bit of a block x (n, P), (n, P, H); at first a (n, H)."""
    return torch.cat([a.unsqueeze(1), (x.unsqueeze(-1) * W)[:, :-1]], dim=1).cumsum(1)


def _up(x: Tensor, order: Tensor, p: NadeParameters, keep: bool) -> tuple[Tensor, Tensor | None]:
    logits, states = torch.empty_like(x), [p.c.expand(len(x), -1)]
    for block in order.split(BLOCK):
        some, W = x[:, block], p.W[block]
        h = _before(some, W, states[-1]).sigmoid()  # (n, P, H)
        logits[:, block] = p.b[block] + torch.linalg.vecdot(h, p.V[block])
        following = states[-1] + some @ W
        states = [*states, following] if keep else [following]
    return logits, torch.stack(states) if keep else None


def _down(x: Tensor, order: Tensor, p: NadeParameters, states: Tensor, slope: Tensor, out: NadeParameters) -> None:
    behind = torch.zeros_like(states[0])  # the gradient by a from all bits of the blocks behind, (n, H)
    for block, state in reversed(list(zip(order.split(BLOCK), states, strict=False))):
        some, g = x[:, block], slope[:, block]
        h = _before(some, p.W[block], state).sigmoid()  # (n, P, H)
        out.b[block] = g.sum(0)
        out.V[block] = torch.einsum("np,nph->ph", g, h)
        by_a = g.unsqueeze(-1) * p.V[block] * h * (1.0 - h)
        later = (
            torch.cat([behind.unsqueeze(1), by_a.flip(1)[:, :-1]], dim=1).cumsum(1).flip(1)
        )  # of the bits behind each
        out.W[block] = torch.einsum("np,nph->ph", some, later)
        behind = behind + by_a.sum(1)
    torch.sum(behind, 0, out=out.c)
