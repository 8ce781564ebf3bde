"""VIMCO: ascent on the importance-weighted bound by the score function, with a baseline for each sample from the others.

Andriy Mnih and Danilo Rezende, "Variational inference for Monte Carlo objectives" (2016), arXiv 1602.06725. Maximises, over θ
and φ,

    Σ over the minibatch of  L_K(x) = E[L̂]   plus   M/N · (log p(θ) + log p(φ))

where  L̂ = log 1/K Σ_k w_k  and  w_k = p(x, z_k) / q(z_k|x).  With normalised weights  w̃_k = w_k / Σ_j w_j,  the gradients are,
eqs. (5), (7) and (10),

    ∇θ L_K ≈ Σ_k w̃_k ∇θ log p(x, z_k)
    ∇φ L_K ≈ Σ_k (L̂ - L̂_(-k)) ∇φ log q(z_k|x) - Σ_k w̃_k ∇φ log q(z_k|x)

where L̂_(-k) is L̂ with the geometric mean of the other weights in the place of w_k. With K = 1 there is no other weight.

A step costs, for each point, K draws from q, the densities and gradients of p and q at all of them, and K² numbers for the
L̂_(-k).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel, api.Recognition), latents=("continuous", "binary"), schedule=True, bound_of="K"
)


class Config(api.Config):
    """Settings of the bound and its ascent."""

    lr: float = api.setting(0.001, "step size", gt=0, search=api.Choice((0.0003, 0.001, 0.003)))
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adam", "what the step size is of")
    batch_size: int = api.setting(20, "M, points in a minibatch, drawn with replacement", gt=0)
    K: int = api.setting(5, "samples of z a point, two at least; a step evaluates M · K samples", gt=1)


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser


class Info(NamedTuple):
    """The estimate of L_K, nats per datapoint."""

    objective: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together."""
    return State(problem, config, rng, api.ascent(problem, config))


def gradient(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate L_K and its gradients, summed over the minibatch."""
    p, q, K = state.problem.model, state.problem.recognition, state.config.K
    posterior = q.posterior(batch.x)
    z = posterior.sample(K, state.rng)  # (K, M, Z)
    log_p, by_theta = api.gradients.joint_layers(p, batch.x, z)
    log_q, by_phi = api.gradients.posterior_layers(q, posterior, z)
    log_w = log_p.sum(-1) - log_q.sum(-1)  # (K, M)
    bound = log_w.logsumexp(0) - math.log(K)  # L̂ (M,)
    weights = log_w.softmax(0)  # w̃

    geometric = (log_w.sum(0) - log_w) / (K - 1)  # log of the geometric mean of the other weights
    replaced = log_w.expand(K, *log_w.shape).clone()  # (K, K, M)
    replaced.diagonal().copy_(geometric.t())
    left_out = replaced.logsumexp(1) - math.log(K)  # L̂_(-k) (K, M), eq. (10)
    return api.gradients.Bound(bound.sum().double(), by_theta(weights), by_phi(bound - left_out - weights))


def step(state: State, batch: api.Batch) -> Info:
    """Ascend L_K."""
    bound, by_theta, by_phi = gradient(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    return Info(objective=bound / len(batch.index))
