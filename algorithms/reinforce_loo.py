"""REINFORCE with leave-one-out baselines: the baseline of each sample is the mean signal of the point's other samples.

Wouter Kool, Herke van Hoof and Max Welling, "Buy 4 REINFORCE samples, get a baseline for free!" (ICLR 2019 workshop), after
Tim Salimans and David Knowles, "On using control variates with stochastic approximation for variational Bayes" (2014),
arXiv 1401.1022. Maximises, over θ and φ,

    Σ over the minibatch of  L(x) = E_q(z|x)[l(x, z)],  l = log p(x, z) - log q(z|x)   plus   M/N · (log p(θ) + log p(φ))

with  ∇φ L ≈ 1/S Σ_s (l_s - 1/(S - 1) Σ_(r≠s) l_r) ∇φ log q(z_s|x),  which is unbiased, as other samples do not depend on z_s.

A step costs, for each point, S draws from q, and the densities and gradients of p and q at all of them.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Recognition), latents=("continuous", "binary"), schedule=True)


class Config(api.Config):
    """Settings of the estimator and its ascent."""

    lr: float = api.setting(0.001, "step size", gt=0, search=api.Choice((0.0003, 0.001, 0.003)))
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adam", "what the step size is of")
    batch_size: int = api.setting(20, "M, points in a minibatch, drawn with replacement", gt=0)
    n_samples: int = api.setting(4, "S, samples of z a point, two at least", gt=1)


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser


class Info(NamedTuple):
    """The lower bound's estimate, nats per datapoint."""

    objective: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together."""
    return State(problem, config, rng, api.ascent(problem, config))


def gradient(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate the bound and its gradients, summed over the minibatch."""
    p, q, S = state.problem.model, state.problem.recognition, state.config.n_samples
    posterior = q.posterior(batch.x)
    z = posterior.sample(S, state.rng)  # (S, M, Z)
    log_p, by_theta = api.gradients.joint_layers(p, batch.x, z)
    log_q, by_phi = api.gradients.posterior_layers(q, posterior, z)
    signal = log_p.sum(-1) - log_q.sum(-1)  # l (S, M)
    others = (signal.sum(0) - signal) / (S - 1)
    return api.gradients.Bound(signal.sum().double() / S, by_theta(1 / S), by_phi((signal - others) / S))


def step(state: State, batch: api.Batch) -> Info:
    """Ascend the bound."""
    bound, by_theta, by_phi = gradient(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    return Info(objective=bound / len(batch.index))
