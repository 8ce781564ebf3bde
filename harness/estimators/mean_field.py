"""The lower bound of the best diagonal Gaussian that a stated number of steps finds for every point by itself.

Classical variational inference (Michael Jordan et al. 1999), as `api.mean_field` has it. A recognition model gives all points
their Gaussians by one function, and what is lost by this is the amortisation gap (Chris Cremer, Xuechen Li and David Duvenaud
2018, arXiv 1801.03558): the gain on its bound when steps begin at its Gaussian. The step size falls to 0 along the way. Where the
end is worse than the beginning, that is kept, as draws of their own tell: by those of the estimate itself, it would lie too high.
"""

import copy
from typing import Literal

import torch
from torch import Tensor

from harness import api

DIRECTION = "lower"
NEEDS = (api.LatentVariableModel,)

ERRORS = (
    2.0  # standard errors by which the end has to be worse: steps seldom lose, and draws at a bad beginning vary most
)


class Config(api.Config):
    """Settings of the ascent and of the estimate."""

    steps: int = api.setting(300, "steps of Adam for every point, each with one sample of z", gt=0)
    step_size: float = api.setting(0.2, "Adam's first step size, which falls linearly to 0", gt=0)
    start: Literal["auto", "encoder", "prior"] = api.setting(
        "auto", "where the steps begin; auto: encoder where one was trained that gives diagonal Gaussians, else prior"
    )
    draws: int = api.setting(
        50, "samples a point that the bound is estimated with, and as many to tell whether the end is worse", gt=1
    )


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse latents that no Gaussian describes, and an encoder that is not there or not diagonal."""
    if not model.latents.only("continuous"):
        instead = "ais or exact" if model.latents.only("binary") else "importance or quadrature"
        return f"mean-field inference fits Gaussians, and the model's latents are {model.latents.kinds}: use {instead}"
    if config.start == "encoder" and recognition is None:
        return "no recognition model was trained to start at: use --start prior"
    if config.start == "encoder" and recognition is not None and not api.offers(recognition, api.MeanField):
        return "the recognition model's posteriors are no diagonal Gaussians to start at: use --start prior"
    return None


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's bound and the variance of that value at the Gaussian that was found, without that of finding it.

    Diagnostics are its gain on the bound that the steps began with, by common noise, and the evaluations that a point has cost.
    """
    begin = _beginning(model, recognition, x, config, rng)
    end = copy.deepcopy(begin)
    target = api.hmc.joint(model, x)
    for t in range(config.steps):
        end.ascend(target, config.step_size * (1 - t / config.steps), 1, rng)

    def both(noise: Tensor) -> tuple[Tensor, Tensor]:
        return api.mean_field.bounds(model, x, begin, noise), api.mean_field.bounds(model, x, end, noise)

    before, after = both(begin.noise(config.draws, rng))
    loss = before - after  # (S, B)
    worse = ~(loss.mean(0) <= ERRORS * loss.std(0) / config.draws**0.5)  # (B,), or not finite
    before, after = both(begin.noise(config.draws, rng))
    kept = torch.where(worse, before, after)  # (S, B)
    cost = torch.full_like(kept[0], config.steps + 4 * config.draws)
    diagnostics = {"gain": (kept - before).mean(0), "samples": cost}
    return api.PerPoint(kept.mean(0), kept.var(0) / config.draws, diagnostics)


def _beginning(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.mean_field.Local:
    if config.start != "prior" and recognition is not None and api.offers(recognition, api.MeanField):
        posterior = recognition.posterior(x)
        assert isinstance(posterior, api.MeanField)  # as it offers
        return api.mean_field.Local.at_posterior(posterior)
    return api.mean_field.Local.at_prior(model, len(x), rng)
