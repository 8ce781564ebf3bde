"""log p(x) = log f(x) - log Z by annealed importance sampling of Z: log Z errs low, so log p(x) errs high.

Ruslan Salakhutdinov and Iain Murray, "On the quantitative analysis of deep belief networks" (ICML 2008), after Radford Neal,
"Annealed importance sampling" (2001), arXiv physics/9803008. Chains begin at draws from the base of the model's path, such as
the base rates of the data, and the mean of their weights is unbiased for Z / Z_0:

    log w = Σ_t log f_β(t+1)(x_t) - log f_β(t)(x_t)      log Z ≈ log Z_0 + log mean w

By Jensen's inequality that lies below log Z in expectation, and log p(x) is flattered. The other side stands beside it.
"""

import torch

from harness import api

DIRECTION = "lower"
NEEDS = (api.AnnealedModel,)
BESIDE = ("log-z-raise",)


class Config(api.Config):
    """Settings of the chains."""

    distributions: int = api.setting(1000, "temperatures, spaced through a sigmoid", gt=1)
    chains: int = api.setting(100, "chains", gt=1)


def skip(config: Config, model: api.AnnealedModel, recognition: api.Recognition | None) -> str | None:
    """Refuse nothing."""
    return None


def estimate_log_z(model: api.AnnealedModel, config: Config, rng: torch.Generator) -> api.LogZ:
    """Return log Z; its variance by the delta method; and the effective sample size."""
    betas = api.ais.sigmoid_schedule(config.distributions)
    log_w = api.ais.anneal_states(model, model.sample_base(config.chains, rng), betas, rng)  # (C,)
    log_ratio, variance, effective = api.ais.log_mean(log_w)
    value = model.log_z_base().double() + log_ratio
    return api.LogZ(value.item(), variance.item(), {"effective_samples": effective.item()})
