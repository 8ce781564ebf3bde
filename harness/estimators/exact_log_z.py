"""Exact log p(x) = log f(x) - log Z of an unnormalised model: Z is the sum of f over all states of a few bits."""

import math

import torch

from harness import api

DIRECTION = "exact"
NEEDS = (api.UnnormalisedModel,)
MAX_BITS = 20
AT_A_TIME = 1 << 14  # states


class Config(api.Config):
    """There is nothing to set."""


def skip(config: Config, model: api.UnnormalisedModel, recognition: api.Recognition | None) -> str | None:
    """Refuse observations that cannot be summed over."""
    if model.kind != "binary":
        return f"it sums over all bits of x, and the model describes {model.kind} data"
    if model.dim > MAX_BITS:
        return f"2^{model.dim} states of x are too many to sum over, {MAX_BITS} bits are the most"
    return None


def estimate_log_z(model: api.UnnormalisedModel, config: Config, rng: torch.Generator) -> api.LogZ:
    """Return log Z, and no variance."""
    total = torch.tensor(-math.inf, dtype=torch.float64)
    for x in api.states(model.dim, AT_A_TIME, model.params.flat.dtype):  # (B, D)
        total = torch.logaddexp(total, model.log_f_x(x).double().logsumexp(0))
    return api.LogZ(total.item(), 0.0)
