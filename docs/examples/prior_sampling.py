"""Simple Monte Carlo: log of the mean of p(x|z) over draws from the prior. It needs no recognition model."""

import math

from harness import api

DIRECTION = "lower"  # the mean is unbiased for p(x), and its logarithm is concave (Jensen's inequality)
NEEDS = (api.LatentVariableModel,)
WEIGHTED = True  # it is the logarithm of a mean of importance weights, whose tails may be too heavy for it


class Config(api.Config):
    """Settings of the estimate."""

    K: int = api.setting(1000, "draws from the prior per point", gt=1)


def skip(config, model, recognition):
    """Return no reason against any model that has what NEEDS names."""
    return None


def estimate(model, recognition, x, config, rng):
    """Return each point's estimate, its variance by the delta method, the effective sample size and Pareto k-hat."""
    _, z = model.sample_xz(config.K * len(x), rng)  # independent draws for every point
    log_w = model.log_p_x_given_z(x, z.view(config.K, len(x), -1)).double()  # (K, B)
    log_sum = log_w.logsumexp(0)
    effective = (2 * log_sum - (2 * log_w).logsumexp(0)).exp()  # (Σ w)² / Σ w²
    variance = (1 / effective - 1 / config.K).clamp(min=0)
    value = log_sum - math.log(config.K)
    return api.PerPoint(value, variance, {"effective_samples": effective}, api.pareto.k_hat(log_w))
