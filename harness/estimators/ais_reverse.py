"""Reverse annealed importance sampling on data simulated from the model: an upper bound, the other half of the sandwich.

Roger Grosse, Zoubin Ghahramani and Ryan Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo" (2015),
arXiv 1511.02543. For a point drawn from the model, the latents that it was drawn with are an exact sample of its posterior;
chains from there to the prior have weights whose mean is unbiased for 1 / p(x), so minus its logarithm lies above log p(x).
"""

from typing import Literal

import torch
from torch import Tensor

from harness import api

DIRECTION = "upper"
NEEDS = (api.LatentVariableModel,)

SIMULATED = True


class Config(api.Config):
    """Settings of the estimate."""

    distributions: int = api.setting(1000, "intermediate distributions, spaced through a sigmoid", gt=1)
    chains: int = api.setting(16, "chains a point", gt=0)
    leapfrog: int = api.setting(3, "leapfrog steps of an HMC move; for continuous latents alone", gt=0)
    target_accept: float = api.setting(
        0.8, "acceptance rate that a pilot tunes the step sizes to; for continuous latents alone", gt=0, lt=1
    )
    flips: int = api.setting(
        10, "updates between two distributions, each of one latent; for binary latents alone", gt=0
    )
    sampler: Literal["gibbs", "metropolis"] = api.setting(
        "metropolis", "how a latent is updated: by Gibbs sampling or by Metropolis' rule; for binary latents alone"
    )


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse latents of several kinds."""
    return api.ais.refusal(model.latents)


def estimate(
    model: api.LatentVariableModel,
    recognition: api.Recognition | None,
    x: Tensor,
    config: Config,
    rng: torch.Generator,
    *,
    z: Tensor,
) -> api.PerPoint:
    """Return each point's bound; its variance by the delta method; effective sample size and acceptance rate.

    All chains of a point begin at its one exact sample, so the variance between them leaves out that sample's own: it is a lower
    limit, and the spread over points tells all of it.
    """
    n = api.ais.points_at_a_time(config.chains, x.shape[1])
    found = [_estimate(model, some, its_z, config, rng) for some, its_z in zip(x.split(n), z.split(n), strict=True)]
    return api.PerPoint.joined(found)


def _estimate(
    model: api.LatentVariableModel, x: Tensor, z: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    begin = z.expand(config.chains, -1, -1)  # (S, B, Z)
    betas = api.ais.sigmoid_schedule(config.distributions)
    if model.latents.only("binary"):
        ends = api.ais.ends_from_prior(model, x)
        outcome = api.ais.anneal_bits(ends, begin, betas.flip(0), config.flips, rng, sampler=config.sampler)
    else:
        path = api.ais.from_prior(model, x)
        # The pilot goes forward, from draws of its own: step sizes that depended on z would undo the chains' exactness.
        draws = api.ais.prior_draws(model, api.ais.PILOT_CHAINS, len(x), rng)
        steps = api.ais.pilot(path, draws, betas, config.leapfrog, rng, config.target_accept).flip(0)
        outcome = api.ais.anneal(path, begin, betas.flip(0), steps, config.leapfrog, rng)
    value, variance, diagnostics = api.ais.summarise(outcome)
    return api.PerPoint(-value, variance, diagnostics)
