"""log p(x) = log f(x) - log Z by annealing draws from the model back to its base: not a bound, as these are from long chains.

Roger Grosse, Zoubin Ghahramani and Ryan Adams, "Sandwiching the marginal likelihood using bidirectional Monte Carlo" (2015),
arXiv 1511.02543. From exact draws x ~ p(x) the weights of chains to the base of the path are unbiased for Z_0 / Z, so that

    log Z ≈ log Z_0 - log mean w

lies above log Z in expectation, and log p(x) below. A model whose own draws are the ends of long Gibbs chains has no exact ones:
where these have missed a mode, log Z may lie on either side. What it agrees with, and what not, is worth knowing all the same.
"""

import torch

from harness import api

DIRECTION = "not a bound"
NEEDS = (api.AnnealedModel,)
BESIDE = ("log-z-ais", "log-z-raise")


class Config(api.Config):
    """Settings of the chains."""

    distributions: int = api.setting(1000, "temperatures, spaced through a sigmoid", gt=1)
    chains: int = api.setting(100, "chains, each from a draw of its own", gt=1)


def skip(config: Config, model: api.AnnealedModel, recognition: api.Recognition | None) -> str | None:
    """Refuse nothing."""
    return None


def estimate_log_z(model: api.AnnealedModel, config: Config, rng: torch.Generator) -> api.LogZ:
    """Return log Z; its variance by the delta method; and the effective sample size."""
    betas = api.ais.sigmoid_schedule(config.distributions)
    log_w = api.ais.anneal_states(model, model.sample(config.chains, rng), betas.flip(0), rng)  # (C,)
    log_ratio, variance, effective = api.ais.log_mean(log_w)
    value = model.log_z_base().double() - log_ratio
    return api.LogZ(value.item(), variance.item(), {"effective_samples": effective.item()})
