"""Marginal likelihood from a density fitted to posterior samples, the AEVB paper's own estimator for few latents.

Diederik P. Kingma and Max Welling, "Auto-encoding variational Bayes" (2014), arXiv 1312.6114, appendix D: (1) draw L samples of
the posterior by HMC; (2) fit a density q(z) to them; (3) draw L new samples, and

    p(x) ≈ [ 1/L Σ_l q(z_l) / (p(z_l) p(x|z_l)) ]⁻¹.

The mean is unbiased for 1 / p(x), so the estimate lies above log p(x) in expectation; its error grows fast with the dimension.
That holds for samples of the whole posterior. A chain of ours races with others for the heaviest mode, and then stays there:
where a posterior has several, the estimate lacks the weight of the rest, and lies below. Step sizes are jittered. The variance
that is stated is 0.7 of the true one for a Gaussian at L = 50, 0.5 to 0.7 for a kernel density estimate, and 0.8 to 0.9 at
L = 100.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from harness import api

DIRECTION = "upper"
NEEDS = (api.LatentVariableModel,)

MOST_LATENTS = 5


class Config(api.Config):
    """Settings of the estimate."""

    n_samples: int = api.setting(50, "L, samples a point to fit the density to, and as many to evaluate it at", gt=1)
    leapfrog: int = api.setting(4, "leapfrog steps of an HMC move", gt=0)
    burn_in: int = api.setting(50, "HMC moves before the first sample, in which step sizes are tuned", gt=1)
    density: Literal["gaussian", "kde"] = api.setting(
        "gaussian", "what is fitted: a Gaussian, or a kernel density estimate"
    )
    force: bool = api.setting(False, "insist, for more latents than the estimate is good for")


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse what HMC cannot sample, and dimensions in which the estimate is far off."""
    n, kinds = model.latents.total, model.latents.kinds
    if kinds != "continuous":
        instead = "ais or exact" if kinds == "binary" else "importance or quadrature"
        return f"HMC samples continuous latents, and the model's are {kinds}: use {instead}"
    if n > MOST_LATENTS and not config.force:
        return (
            f"its error grows fast above {MOST_LATENTS} latents (appendix D), and the model has {n}: use importance or ais, "
            "or insist with --force"
        )
    if config.n_samples <= n:
        return f"{config.n_samples} samples cannot tell a covariance in {n} dimensions: use a larger --n-samples"
    return None


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's estimate; its variance by the delta method and batch means; and the acceptance rate of its chain."""
    chains = api.posterior.Chains(model, recognition, x, rng, leapfrog=config.leapfrog, burn_in=config.burn_in)
    fitted, _ = chains.sample(config.n_samples)  # (L, B, Z)
    q = (api.posterior.Gaussian if config.density == "gaussian" else api.posterior.KernelDensity)(fitted)
    z, log_p = chains.sample(config.n_samples)  # (L, B, Z), (L, B)
    log_ratio = (q.log_prob(z) - log_p).double()
    value = math.log(config.n_samples) - log_ratio.logsumexp(0)
    relative = (log_ratio - log_ratio.logsumexp(0) + math.log(config.n_samples)).exp()  # ratios over their mean
    return api.PerPoint(value, _variance_of_mean(relative), {"acceptance": chains.acceptance})


def _variance_of_mean(series: Tensor) -> Tensor:
    """Return the variance of the mean of an autocorrelated series (L, B), (B,), from the means of about √L batches of it."""
    length = max(1, math.isqrt(len(series)))
    means = torch.stack([batch.mean(0) for batch in series[: len(series) // length * length].split(length)])
    return means.var(0) / len(means)
