"""A model under test, and what all checks of models require of numbers."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness import api

DRAWS = 20_000
MAX_ERRORS = 5.0  # standard errors: one test in a million fails by chance


class Case(NamedTuple):
    """A model in float64 with some points x (4, D), and streams of random numbers."""

    model: Any
    x: Tensor
    streams: api.Streams


def all_states(dim: int) -> Tensor:
    """Return all states of so many bits (2^D, D), float64."""
    return next(api.states(dim, 1 << dim, torch.float64))


def require_mean(draws: Tensor, mean: Tensor, what: str) -> None:
    """Require that draws (n, D) have this mean (D,), within standard errors."""
    error = draws.std(0).clamp(min=1e-3) / math.sqrt(len(draws))
    off = ((draws.mean(0) - mean) / error).abs().max()
    assert off < MAX_ERRORS, f"{what} is off by {off:.1f} standard errors"


def require_gradient(function: Callable[..., Tensor], inputs: list[Tensor], what: str) -> None:
    """Compare a gradient with finite differences, in float64."""
    right = torch.autograd.gradcheck(lambda *_: function(), inputs, raise_exception=False)
    assert right, f"the gradient of {what} is not that of finite differences"
