"""Auto-encoding variational Bayes: stochastic gradient ascent on the lower bound by reparameterisation.

Diederik P. Kingma and Max Welling (2014), arXiv 1312.6114, Algorithm 1. Maximises, over θ and φ together,

    Σ over the minibatch of  L(θ, φ; x) = E_q(z|x)[log p(x, z) - log q(z|x)]   plus   M/N · (log p(θ) + log p(φ)).

A step costs, for each point, one pass through the encoder and L through the decoder, forward and back.

As in its authors' code, the objective is summed over the minibatch, the optimiser is Adagrad unless another is asked for, whose
first steps only accumulate squared gradients, and the prior is on the weight matrices of both networks.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel, api.Reparameterised),
    latents=("continuous",),
    batch="minibatch",
    lower_bound=True,
    schedule=True,
)


class Config(api.Config):
    """Settings of Algorithm 1."""

    lr: float = api.setting(0.02, "step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    n_samples: int = api.setting(1, "L, samples of z a point", gt=0)
    estimator: Literal["A", "B"] = api.setting("B", "A: eq. (6), by sampling alone; B: eq. (7), analytic KL")
    warmup: int = api.setting(100, "first steps of Adagrad, which only accumulate squared gradients", ge=0)
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser


class Info(NamedTuple):
    """The objective of a step: the lower bound's estimate, nats per datapoint."""

    objective: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together."""
    if config.estimator == "B" and not api.offers(problem.recognition, api.AnalyticKL):
        raise api.BadInput("estimator B needs an analytic KL, which this recognition model has not: use --estimator A")
    return State(problem, config, rng, api.ascent(problem, config))


def gradient(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate the bound and its gradients, summed over the minibatch: eq. (6), or eq. (7) with the analytic KL."""
    p, q, config = state.problem.model, state.problem.recognition, state.config
    return api.gradients.bound(p, q, batch.x, config.n_samples, state.rng, analytic_kl=config.estimator == "B")


def step(state: State, batch: api.Batch) -> Info:
    """One turn of Algorithm 1."""
    bound, by_theta, by_phi = gradient(state, batch)  # sample ε; g ← ∇ of the estimate by θ and φ
    state.optimiser.ascend([by_theta, by_phi])  # update θ and φ
    return Info(objective=bound / batch.index.shape[0])
