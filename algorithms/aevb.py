"""Auto-encoding variational Bayes: stochastic gradient ascent on the lower bound by reparameterisation.

Diederik P. Kingma and Max Welling (2014), arXiv 1312.6114, Algorithm 1. Maximises, over θ and φ together,

    Σ over the minibatch of  L(θ, φ; x) = E_q(z|x)[log p(x, z) - log q(z|x)]   plus   M/N · (log p(θ) + log p(φ)).

As in its authors' code, the objective is summed over the minibatch, Adagrad's first steps only accumulate squared gradients,
and the prior is on the weight matrices of both networks.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from harness import api

TRAITS = api.Traits(latents=("continuous",), recognition=True, batch="minibatch", lower_bound=True)


class Config(api.Config):
    """Settings of Algorithm 1."""

    lr: float = api.setting(0.02, "Adagrad's step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    n_samples: int = api.setting(1, "L, samples of z a point", gt=0)
    estimator: Literal["A", "B"] = api.setting("B", "A: eq. (6), by sampling alone; B: eq. (7), analytic KL")
    warmup: int = api.setting(100, "first steps, which only accumulate squared gradients", ge=0)


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adagrad: api.Adagrad


class Info(NamedTuple):
    """The objective of a step: the lower bound's estimate, nats per datapoint."""

    objective: float


def skip(problem: api.Problem) -> str | None:
    """Refuse recognition models that cannot be reparameterised."""
    if problem.recognition is not None and not problem.recognition.reparameterised:
        return "its recognition model cannot be reparameterised (eq. 4)"
    return None


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up Adagrad for θ and φ together."""
    assert problem.recognition is not None
    if config.estimator == "B" and not problem.recognition.analytic_kl:
        raise api.BadInput("estimator B needs an analytic KL, which this recognition model has not: use --estimator A")
    adagrad = api.Adagrad(
        problem.model.params,
        problem.recognition.params,
        lr=config.lr,
        prior_weight=config.batch_size / problem.data.n_train,
        warmup=config.warmup,
    )
    return State(problem, config, rng, adagrad)


def step(state: State, batch: api.Batch) -> Info:
    """One turn of Algorithm 1: sample ε, ascend the estimate's gradient."""
    p: Any = state.problem.model
    q: Any = state.problem.recognition
    L = state.config.n_samples
    posterior = q.posterior(batch.x)
    if state.config.estimator == "B" and api.gradients.by_hand(p, q):
        z, kl = posterior.reparameterise(L, state.rng)  # (L, M, Z), eq. (4), and (M,)
        log_p, by_theta, by_z = p.gradients(batch.x, z, weight=1 / L)  # of eq. (7)'s second term
        by_phi = posterior.pull_back(by_z, -1.0)  # through eq. (4), and of the first term
        total = log_p.sum().item() / L - kl.sum().item()
        gradients = [by_theta, by_phi]
    else:
        z = posterior.rsample(L, state.rng)
        if state.config.estimator == "A":  # eq. (6)
            objective = (p.log_p_xz(batch.x, z) - posterior.log_prob(z)).sum() / L
        else:  # eq. (7), which is eq. (10) for a Gaussian encoder
            objective = p.log_p_x_given_z(batch.x, z).sum() / L - posterior.kl().sum()
        gradients = list(torch.autograd.grad(objective, [p.params.flat, q.params.flat]))
        total = objective.item()
    state.adagrad.ascend(gradients)
    return Info(objective=total / len(batch.x))
