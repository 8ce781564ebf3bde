"""Annealed importance sampling from prior or encoder to posterior: a lower bound that tightens with time.

Yuhuai Wu, Yuri Burda, Ruslan Salakhutdinov and Roger Grosse, "On the quantitative analysis of decoder-based generative models"
(2017), arXiv 1611.04273. The mean weight is unbiased for p(x), so its logarithm lies below log p(x) in expectation.
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
    leapfrog: int = api.setting(3, "leapfrog steps of an HMC move", gt=0)
    target_accept: float = api.setting(0.8, "acceptance rate that a pilot tunes the step sizes to", gt=0, lt=1)
    start: Literal["prior", "encoder"] = api.setting("prior", "where chains begin")


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse what HMC cannot sample, and an encoder that is not there."""
    if not model.latents.only("continuous"):
        return f"HMC moves continuous latents, and the model's are {model.latents.kinds}"
    if config.start == "encoder" and recognition is None:
        return "no recognition model was trained to start at: use --start prior"
    return None


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
    path = api.ais.from_prior(model, x)
    draw = functools.partial(api.ais.prior_draws, model, points=len(x), rng=rng)
    if config.start == "encoder":
        assert recognition is not None  # or `skip` has refused
        q = recognition.posterior(x)
        path = path._replace(begin=api.hmc.target(q.log_prob, recognition.params))
        draw = functools.partial(q.sample, rng=rng)
    betas = api.ais.sigmoid_schedule(config.distributions)
    steps = api.ais.pilot(path, draw(api.ais.PILOT_CHAINS), betas, config.leapfrog, rng, config.target_accept)
    outcome = api.ais.anneal(path, draw(config.chains), betas, steps, config.leapfrog, rng)
    return api.PerPoint(*api.ais.summarise(outcome))
