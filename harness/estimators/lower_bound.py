"""The lower bound on log p(x) under the run's own recognition model, with the analytic KL where there is one.

Kingma & Welling (2014), arXiv 1312.6114, eqs. (2) and (3): L(x) = E_q[log p(x, z) - log q(z|x)] <= log p(x).
"""

import torch
from torch import Tensor

from harness import api

DIRECTION = "lower"
NEEDS = (api.LatentVariableModel,)


class Config(api.Config):
    """Settings of the estimate."""

    n_samples: int = api.setting(2, "samples of z a point; two or more tell the estimate's own noise", gt=1)


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse models without a recognition model."""
    return None if recognition is not None else "no recognition model was trained to bound log p(x) with"


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's bound, and the variance of that value over the samples drawn."""
    posterior = recognition.posterior(x)
    z = posterior.sample(config.n_samples, rng)  # (S, B, Z)
    if isinstance(posterior, api.AnalyticKL):
        draws = model.log_p_x_given_z(x, z) - posterior.kl()  # (S, B)
    else:
        draws = model.log_p_xz(x, z) - posterior.log_prob(z)
    return api.PerPoint(draws.mean(0), draws.var(0) / config.n_samples)
