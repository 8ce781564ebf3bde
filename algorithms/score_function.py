"""Score-function estimator, without any reduction of its variance: what others are measured against.

Ronald Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (1992), Machine
Learning 8; as Andriy Mnih and Karol Gregor (2014), arXiv 1402.0030, begin with it in section 2.2. Maximises, over θ and φ,

    Σ over the minibatch of  L(x) = E_q(z|x)[l(x, z)],  l = log p(x, z) - log q(z|x)   plus   M/N · (log p(θ) + log p(φ))

with the gradients  ∇θ L = E_q[∇θ log p(x, z)]  and  ∇φ L = E_q[l ∇φ log q(z|x)].

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
    n_samples: int = api.setting(1, "samples of z a point, which are averaged", gt=0)


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
    p, q, n = state.problem.model, state.problem.recognition, state.config.n_samples
    posterior = q.posterior(batch.x)
    z = posterior.sample(n, state.rng)  # (S, M, Z)
    log_p, by_theta = api.gradients.joint_layers(p, batch.x, z)
    log_q, by_phi = api.gradients.posterior_layers(q, posterior, z)
    signal = log_p.sum(-1) - log_q.sum(-1)  # l (S, M)
    return api.gradients.Bound(signal.sum().double() / n, by_theta(1 / n), by_phi(signal / n))


def step(state: State, batch: api.Batch) -> Info:
    """Ascend the bound."""
    bound, by_theta, by_phi = gradient(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    return Info(objective=bound / len(batch.index))
