"""Full variational Bayes: AEVB with a variational posterior over the weights of the generative model, too.

Diederik P. Kingma and Max Welling (2014), arXiv 1312.6114, appendix F. With q(w) = N(w; μ, σ²) of the weights w and the model's
prior p(w), maximises over μ, σ and φ

    N/M · Σ over the minibatch of  E_q(w) E_q(z|x)[log p(x, z|w) - log q(z|x)]   -   KL(q(w) || p(w))        eqs. (13), (14)

where a minibatch of M of the N points has one sample  w = μ + σ ζ,  ζ ~ N(0, I),  eq. (16), and KL has its closed form, eq. (10).
The model is left with w = μ between steps, so it is evaluated there: what is reported as its lower bound is that of μ, and what
this algorithm maximises is its objective, which pays for the weights as well.

Departures from the paper: everything is multiplied by M/N, as in AEVB; biases, whose prior is flat, have no variance; and the
optimiser is Adagrad unless another is asked for, whose first steps only accumulate squared gradients. The paper has no
experiment with it.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel, api.Reparameterised, api.AnalyticKL),
    latents=("continuous",),
    batch="minibatch",
    lower_bound=True,
    schedule=True,
)


class Config(api.Config):
    """Settings of the bound and its ascent."""

    lr: float = api.setting(0.02, "step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    n_samples: int = api.setting(1, "L, samples of z a point", gt=0)
    init_weight_sd: float = api.setting(0.01, "σ of every weight at the start", gt=0)
    warmup: int = api.setting(100, "first steps of Adagrad, which only accumulate squared gradients", ge=0)
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """Optimisers of μ and of the rest, and log σ of every weight; μ are the parameters of the model."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    log_sd: api.Parameters
    of_mean: api.Optimiser
    of_others: api.Optimiser


class Info(NamedTuple):
    """Nats per datapoint: the estimate of the objective, and what its KL of the weights takes from it."""

    objective: Tensor | float
    kl_weights: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up q(w) around the model's first weights."""
    p, q = problem.model, problem.recognition
    if p.params.prior_precision == 0.0:
        raise api.BadInput("full variational Bayes needs a prior on the weights: give --prior-sd a finite value")
    log_sd = api.Parameters({}, {"log_sd": (p.params.n_weights,)}, dtype=p.params.flat.dtype)
    log_sd.to(p.params.flat.device)
    with torch.no_grad():
        log_sd.flat.fill_(config.init_weight_sd).log_()
    # The optimiser's decay of μ is KL's gradient by μ, -μ / prior_sd²; φ and σ are variational, and have no prior.
    of_mean = api.ascent(problem, config, p.params)
    of_others = api.optimiser(
        config.optimiser, q.params, log_sd, lr=config.lr, schedule=problem.schedule, warmup=config.warmup
    )
    return State(problem, config, rng, log_sd, of_mean, of_others)


@torch.no_grad()
def step(state: State, batch: api.Batch) -> Info:
    """Draw weights and latents, and ascend."""
    p, q, config = state.problem.model, state.problem.recognition, state.config
    theta, log_sd = p.params.flat, state.log_sd.flat
    weights, M = theta[: p.params.n_weights], len(batch.index)
    share, precision = M / state.problem.data.n_train, p.params.prior_precision

    mean, sd = weights.clone(), log_sd.exp()
    moved = sd * torch.randn(sd.shape, generator=state.rng, dtype=sd.dtype, device=sd.device)  # σ ζ
    weights += moved  # eq. (16)
    with torch.enable_grad():
        bound, by_theta, by_phi = api.gradients.bound(p, q, batch.x, config.n_samples, state.rng)
    weights.copy_(mean)

    variance = sd.square() * precision
    kl = 0.5 * (mean.square() * precision + variance - 1 - variance.log()).sum()  # eq. (10), of N(0, prior_sd²)
    by_theta = by_theta + 0.0  # multiplied out, as σ needs the gradient of each weight
    by_log_sd = by_theta[: len(sd)] * moved + share * (1 - variance)
    state.of_mean.ascend([by_theta])
    state.of_others.ascend([by_phi, by_log_sd])
    kl = kl.double() / state.problem.data.n_train
    return Info(objective=bound / M - kl, kl_weights=kl)
