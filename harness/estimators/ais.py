"""Annealed importance sampling from prior or encoder to posterior: a lower bound that tightens with time.

Yuhuai Wu, Yuri Burda, Ruslan Salakhutdinov and Roger Grosse, "On the quantitative analysis of decoder-based generative models"
(2017), arXiv 1611.04273. The mean weight is unbiased for p(x), so its logarithm lies below log p(x) in expectation. HMC moves
continuous latents; binary ones are updated one at a time.
"""

import functools
from typing import Literal

import torch
from torch import Tensor

from harness import api

DIRECTION = "lower"
NEEDS = (api.LatentVariableModel,)


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
    start: Literal["prior", "encoder"] = api.setting("prior", "where chains begin")


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse latents of several kinds, and an encoder that is not there."""
    if config.start == "encoder" and recognition is None:
        return "no recognition model was trained to start at: use --start prior"
    return api.ais.refusal(model.latents)


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's bound; its variance by the delta method; effective sample size and acceptance rate."""
    found = [
        _estimate(model, recognition, part, config, rng)
        for part in x.split(api.ais.points_at_a_time(config.chains, x.shape[1]))
    ]
    return api.PerPoint.joined(found)


def _estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    draw = functools.partial(api.ais.prior_draws, model, points=len(x), rng=rng)
    q: api.Posterior | None = None
    if config.start == "encoder":
        assert recognition is not None  # or `skip` has refused
        q = recognition.posterior(x)
        draw = functools.partial(q.sample, rng=rng)
    betas = api.ais.sigmoid_schedule(config.distributions)
    if model.latents.only("binary"):
        ends = api.ais.ends_from_prior(model, x) if q is None else api.ais.ends_from(q, model, x)
        begin = draw(config.chains)
        outcome = api.ais.anneal_bits(ends, begin, betas, config.flips, rng, sampler=config.sampler)
    else:
        path = api.ais.from_prior(model, x)
        if q is not None:
            assert recognition is not None
            path = path._replace(begin=api.hmc.target(q.log_prob, recognition.params))
        steps = api.ais.pilot(path, draw(api.ais.PILOT_CHAINS), betas, config.leapfrog, rng, config.target_accept)
        outcome = api.ais.anneal(path, draw(config.chains), betas, steps, config.leapfrog, rng)
    return api.PerPoint(*api.ais.summarise(outcome))
