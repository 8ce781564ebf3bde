"""The other side by reverse annealing from data (RAISE): a lower bound on log p(x) of the model that annealing defines.

Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, "Accurate and conservative estimates of MRF log-likelihood using reverse
annealing" (AISTATS 2015), arXiv 1412.8566. Taking a draw from the base of the path through one move at every temperature defines
a model p_a(x), which tends to p(x) with more temperatures. Chains that go the other way, from x down to the base, have weights
whose mean is unbiased for p_a(x):

    p_a(x) ≈ f(x) / Z_0 · mean w      log w = Σ_t log f_β(t)(x_t) - log f_β(t+1)(x_t),  t = T - 1, …, 0

so that its logarithm lies below log p_a(x) in expectation. Over points drawn from p(x) the mean log p_a(x) is not above the mean
log p(x), as a KL divergence is not negative; over data this is what experience says, and no theorem.

Chains are of a few points; what log f(x) - log p_a(x) is on average over them stands for log Z at all points of the split. The
variance is over these points and over the chains' noise together.
"""

import math

import torch
from torch import Tensor

from harness import api

DIRECTION = "upper"
NEEDS = (api.AnnealedModel,)
FROM_DATA = True
BESIDE = ("log-z-ais",)


class Config(api.Config):
    """Settings of the chains."""

    distributions: int = api.setting(1000, "temperatures, spaced through a sigmoid", gt=1)
    repeats: int = api.setting(2, "chains of each point", gt=0)
    starts: int = api.setting(50, "points of the data that chains begin at", gt=1, le=500)


def skip(config: Config, model: api.AnnealedModel, recognition: api.Recognition | None) -> str | None:
    """Refuse nothing."""
    return None


def estimate_log_z(model: api.AnnealedModel, config: Config, rng: torch.Generator, *, x: Tensor) -> api.LogZ:
    """Return the mean of log f(x) - log p_a(x) over the first of these points, its variance, and the effective sample size."""
    some = x[: config.starts]  # (B, D)
    _, begin = model.anneal(some.repeat(config.repeats, 1), 1.0, 1.0, rng)  # the last move of p_a(x), reversed
    betas = api.ais.sigmoid_schedule(config.distributions)
    log_w = api.ais.anneal_states(model, begin, betas.flip(0), rng).view(config.repeats, len(some))  # (C, B)
    log_ratio, _, effective = api.ais.log_mean(log_w)  # log p_a(x) - log f(x) + log Z_0, (B,)
    each = model.log_z_base().double() - log_ratio
    variance = each.var().item() / len(each) if len(each) > 1 else math.nan
    return api.LogZ(each.mean().item(), variance, {"effective_samples": effective.mean().item()})
