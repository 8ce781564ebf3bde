"""Importance-weighted bound: log of the mean of K weights p(x, z) / q(z|x), tighter with every K.

Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, "Importance weighted autoencoders" (2016), arXiv 1509.00519, eq. (8). The mean
of weights is unbiased for p(x), so its logarithm lies below log p(x) in expectation. A proposal that is narrower than the
posterior has weights of a heavy tail. The estimate is then too low by far more than its standard error, as Pareto k-hat tells.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from harness import api

DIRECTION = "lower"
NEEDS = (api.LatentVariableModel,)

WEIGHTED = True


class Config(api.Config):
    """Settings of the estimate."""

    K: int = api.setting(5000, "samples a point", gt=1)
    proposal: Literal["auto", "encoder", "gaussian", "posterior"] = api.setting(
        "auto",
        "encoder; gaussian: fitted to HMC samples of the posterior of continuous latents; posterior: the closed form; "
        "auto: encoder where one was trained, else gaussian",
    )
    fit: int = api.setting(100, "HMC samples that a Gaussian proposal is fitted to", gt=3)
    burn_in: int = api.setting(50, "HMC moves before those", gt=1)
    leapfrog: int = api.setting(4, "leapfrog steps of an HMC move", gt=0)


def _proposal(config: Config, recognition: api.Recognition | None) -> str:
    return config.proposal if config.proposal != "auto" else "gaussian" if recognition is None else "encoder"


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse a proposal that this model has not."""
    proposal, latents = _proposal(config, recognition), model.latents
    no_encoder = "no recognition model was trained to propose with" if recognition is None else ""
    no_form = "" if isinstance(model, api.ClosedFormPosterior) else "the model's posterior has no closed form"
    no_gaussian = "" if latents.only("continuous") else f"a Gaussian cannot propose {latents.kinds} latents"
    why = {"encoder": no_encoder, "gaussian": no_gaussian, "posterior": no_form}
    if why[proposal]:
        others = " or ".join(name for name in why if not why[name])
        instead = f"--proposal {others}" if others else "ais" if latents.only("binary") else "quadrature"
        reasons = [why[proposal]] if others else [reason for reason in why.values() if reason]
        return f"{'; '.join(reasons)}: use {instead}"
    if proposal == "gaussian" and config.fit <= latents.total:
        return f"{config.fit} samples cannot tell a covariance in {latents.total} dimensions: use a larger --fit"
    return None


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's bound; its variance by the delta method; the effective sample size (Σ w)² / Σ w²; and Pareto k-hat."""
    proposal = _proposal(config, recognition)
    if proposal == "gaussian":
        chains = api.posterior.Chains(model, recognition, x, rng, leapfrog=config.leapfrog, burn_in=config.burn_in)
        q: api.Posterior = api.posterior.Gaussian(chains.sample(config.fit)[0])
    elif isinstance(model, api.ClosedFormPosterior) and proposal == "posterior":
        q = model.exact_posterior(x)
    else:
        assert recognition is not None  # or `skip` has refused
        q = recognition.posterior(x)
    log_sum = torch.full((len(x),), -math.inf, dtype=torch.float64)  # of the weights
    log_squares = log_sum.clone()
    tail = api.pareto.Tail(config.K)
    for n in api.posterior.pieces(config.K, len(x)):
        z = q.sample(n, rng)  # (n, B, Z)
        log_w = (model.log_p_xz(x, z) - q.log_prob(z)).double()
        log_sum = torch.logaddexp(log_sum, log_w.logsumexp(0))
        log_squares = torch.logaddexp(log_squares, (2 * log_w).logsumexp(0))
        tail.add(log_w)
    ess = (2 * log_sum - log_squares).exp()
    # Var(log of a mean) ≈ Var(w) / (K E[w]²), where E[w²] / E[w]² = K / ESS.
    variance = (1 / ess - 1 / config.K).clamp(min=0.0)
    return api.PerPoint(log_sum - math.log(config.K), variance, {"effective_samples": ess}, tail.k_hat())
