"""Exact log p(x): the model's own, or the sum over all states of a few binary latents."""

import math

import torch
from torch import Tensor

from harness import api

DIRECTION = "exact"
NEEDS = (api.GenerativeModel,)
MAX_BITS = 20


class Config(api.Config):
    """There is nothing to set."""


def skip(config: Config, model: api.GenerativeModel, recognition: api.Recognition | None) -> str | None:
    """Refuse models whose latents cannot be summed or integrated out."""
    if isinstance(model, api.TractableModel):
        return None
    if not isinstance(model, api.LatentVariableModel):
        return "log p(x) of this model is not tractable, and it has no latents to sum over"
    latents = model.latents
    if not latents.only("binary"):
        return "log p(x) of this model has no closed form: use importance, ais, or quadrature for up to 3 latents"
    if latents.total > MAX_BITS:
        return (
            f"2^{latents.total} states are too many to sum over, {MAX_BITS} latents are the most: use importance or ais"
        )
    return None


def estimate(
    model: api.GenerativeModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's log p(x), and no variance."""
    if isinstance(model, api.TractableModel):
        value = model.log_p_x(x)
    else:
        assert isinstance(model, api.LatentVariableModel)  # or `skip` has refused
        at_a_time = max(1, api.posterior.ROWS // len(x))
        value = torch.full((len(x),), -math.inf, dtype=torch.float64)
        for states in api.states(model.latents.total, at_a_time, x.dtype):
            z = states.unsqueeze(1).expand(-1, len(x), -1)  # (S, B, Z)
            value = torch.logaddexp(value, model.log_p_xz(x, z).double().logsumexp(0))
    return api.PerPoint(value, torch.zeros_like(value))
