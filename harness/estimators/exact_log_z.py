"""Exact log p(x) = log f(x) - log Z of an unnormalised model: Z is the sum over all states of a few bits, or of hidden units.

Hidden units are summed over where a model can sum out x instead, and has fewer of them.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness import api

DIRECTION = "exact"
NEEDS = (api.UnnormalisedModel,)
MAX_BITS = 20
AT_A_TIME = 1 << 14  # states


class Config(api.Config):
    """There is nothing to set."""


def skip(config: Config, model: api.UnnormalisedModel, recognition: api.Recognition | None) -> str | None:
    """Refuse what cannot be summed over."""
    if (side := _side(model)) is None:
        return f"it sums over all bits of x, and the model describes {model.kind} data"
    if side[0] > MAX_BITS:
        hidden = " on the smaller side" if isinstance(model, api.BipartiteModel) else " of x"
        return f"2^{side[0]} states{hidden} are too many to sum over, {MAX_BITS} bits are the most: use log-z-ais"
    return None


def estimate_log_z(model: api.UnnormalisedModel, config: Config, rng: torch.Generator) -> api.LogZ:
    """Return log Z, and no variance."""
    side = _side(model)
    assert side is not None  # or `skip` has refused
    bits, log_f = side
    flat, total = model.params.flat, torch.tensor(-math.inf, dtype=torch.float64)
    for states in api.states(bits, AT_A_TIME, flat.dtype):  # (B, D) or (B, H)
        total = torch.logaddexp(total, log_f(states.to(flat.device)).double().logsumexp(0).cpu())
    return api.LogZ(total.item(), 0.0)


def _side(model: api.UnnormalisedModel) -> tuple[int, Callable[[Tensor], Tensor]] | None:
    """Return the bits to sum over, and log f of a state of them; None where there are none."""
    sides: list[tuple[int, Callable[[Tensor], Tensor]]] = []
    if model.kind == "binary":
        sides.append((model.dim, model.log_f_x))
    if isinstance(model, api.BipartiteModel):
        sides.append((model.hidden, model.log_f_h))
    return min(sides, key=lambda side: side[0], default=None)
