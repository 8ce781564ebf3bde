"""Checks of single entries of x: models of which they are independent given z, and models that describe x with some missing."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness import api
from harness.testing.case import DRAWS, Case, all_states, require_mean


def check_factorial(case: Case) -> None:
    """Check that entries add up to log p(x|z), one by one and in parts, and that draws of x agree with them."""
    model, streams = case.model, case.streams
    z, x = model.sample_z(8, streams("z")).view(2, 4, -1), model.sample(4, streams("points"))  # (S, B, Z), (B, D)
    entries, whole = model.log_p_entries(x, z), model.log_p_x_given_z(x, z)
    assert entries.shape == (2, *x.shape), f"log_p_entries returns {tuple(entries.shape)}, not (S, B, D)"
    assert torch.allclose(entries.sum(-1), whole, rtol=1e-10), "log_p_entries do not add up to log_p_x_given_z"
    changed = x.roll(1, dims=0)  # other points
    changed[:, ::2] = x[:, ::2]
    same = model.log_p_entries(changed, z)[..., ::2]
    assert torch.allclose(same, entries[..., ::2], rtol=1e-10), (
        "an entry of log_p_entries depends on other entries of x"
    )
    drawn = model.sample_x(z, streams("shapes"))
    assert drawn.shape == (2, *x.shape), f"sample_x returns {tuple(drawn.shape)}, not (S, B, D)"
    some = z[:1, :1].expand(DRAWS, 1, -1)
    draws = model.sample_x(some, streams("draws"))[:, 0]  # (n, D)
    if isinstance(model, api.MeanImage):
        require_mean(draws, model.mean_x(some[:1])[0, 0], "the mean of draws of sample_x beside mean_x")
    elif model.kind == "binary":
        ones = model.log_p_entries(torch.ones_like(x[:1]), some[:1])[0, 0].exp()
        require_mean(draws, ones, "the mean of draws of sample_x beside log_p_entries of ones")


def check_missing(case: Case) -> None:
    """Check that densities of x with entries missing are those of x summed, or integrated, over what is missing."""
    model, x = case.model, case.x
    assert x.isnan().any()
    density, what = _density_of(case)
    value = density(x)
    assert value.isfinite().all(), f"{what} is not finite where entries are missing: MISSING = True says that it is"
    point = torch.where(x.isnan(), torch.zeros_like(x), x)[:1]  # all of it observed
    if model.kind == "binary":
        hidden = point.clone()
        hidden[:, 1:4] = math.nan
        every = point.repeat(8, 1)
        every[:, 1:4] = all_states(3)
        assert torch.allclose(density(hidden), density(every).logsumexp(0, keepdim=True), rtol=1e-9), (
            f"{what} with bits missing is not its sum over them"
        )
    if model.kind == "real":
        hidden = point.clone()
        hidden[:, 1] = math.nan
        grid = torch.linspace(-50.0, 50.0, 10_001, dtype=x.dtype)
        every = point.repeat(len(grid), 1)
        every[:, 1] = grid
        integral = (density(every).logsumexp(0) + (grid[1] - grid[0]).log()).unsqueeze(0)
        assert torch.allclose(density(hidden), integral, rtol=1e-6), (
            f"{what} with an entry missing is not its integral over it"
        )
    if isinstance(model, api.FactorialModel):
        z = model.sample_z(4, case.streams("z")).unsqueeze(0)  # (1, B, Z)
        parts = []
        for first in (0, 1):  # every other entry
            part = torch.full_like(x, math.nan)
            part[:, first::2] = x[:, first::2]
            parts.append(model.log_p_x_given_z(part, z))
        assert torch.allclose(sum(parts, torch.zeros(())), model.log_p_x_given_z(x, z), rtol=1e-9), (
            "log_p_x_given_z of two parts of the entries do not add up to that of all"
        )
        entries = model.log_p_entries(x, z)
        assert (entries.masked_select(x.isnan()) == 0).all(), "log_p_entries of a missing entry is not 0"
        assert torch.allclose(entries.sum(-1), model.log_p_x_given_z(x, z), rtol=1e-9), (
            "log_p_entries do not add up to log_p_x_given_z where entries are missing"
        )


def _density_of(case: Case) -> tuple[Callable[[Tensor], Tensor], str]:
    """Return a density of points (B, D) that a model has, log p(x) or log p(x|z) at one z, (B,), and what it is called."""
    model = case.model
    if not isinstance(model, api.LatentVariableModel):
        return model.log_p_x, "log_p_x"
    z = model.sample_z(1, case.streams("z"))
    return lambda x: model.log_p_x_given_z(x, z.expand(1, len(x), -1))[0].detach(), "log_p_x_given_z"
