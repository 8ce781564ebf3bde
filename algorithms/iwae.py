"""Importance-weighted auto-encoder: stochastic gradient ascent on the bound L_K of K weighted samples a point.

Yuri Burda, Roger Grosse and Ruslan Salakhutdinov (2016), arXiv 1509.00519. Maximises, over θ and φ together,

    Σ over the minibatch of  L_K(θ, φ; x) = E[log 1/K Σ_k w_k],  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)     eq. (8)

plus M/N · (log p(θ) + log p(φ)). L_1 is the lower bound of AEVB, and L_K rises to log p(x) with K. θ ascends the gradient of
L_K, with normalised weights w̃_k = w_k / Σ w. For φ there are three estimates, where z_k moves with φ:

    standard   Σ_k w̃_k ∂/∂φ log w_k, eq. (14): unbiased; its signal drowns in noise as K grows
    stl        the same without φ's direct part in log q(z_k|x): "sticking the landing" (Geoffrey Roeder, Yuhuai Wu and David
               Duvenaud 2017, arXiv 1703.09194). Unbiased for K = 1. For K > 1 it is biased: it is not the gradient of L_K
    dreg       Σ_k w̃_k² ∂log w_k/∂z_k ∂z_k/∂φ: doubly reparameterised (George Tucker, Dieterich Lawson, Shixiang Gu and Chris
               Maddison 2019, arXiv 1810.04152). Unbiased, and its noise falls with K. For K = 1 it is stl

A step costs, for each point, one pass through the encoder and K through the decoder, forward and back.

Departures from the papers: as in AEVB, the optimiser is Adagrad unless another is asked for, whose first steps only accumulate
squared gradients, the objective is summed over the minibatch, and the prior is on the weight matrices of both networks. The
papers use Adam (`--optimiser adam`).
"""

import math
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
    bound_of="K",
)


class Config(api.Config):
    """Settings of the bound and of its ascent."""

    lr: float = api.setting(0.02, "step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    K: int = api.setting(5, "weighted samples of z a point; a step counts M·K samples", gt=0)
    gradient: Literal["standard", "stl", "dreg"] = api.setting(
        "standard", "of φ; standard: of L_K; stl: without the score of q, biased for K > 1; dreg: of L_K, less noise"
    )
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
    """The objective of a step: the estimate of L_K, nats per datapoint."""

    objective: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together."""
    return State(problem, config, rng, api.ascent(problem, config))


def gradient(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate L_K and its gradients, summed over the minibatch."""
    p, recognition, K = state.problem.model, state.problem.recognition, state.config.K
    q = recognition.posterior(batch.x)
    z = q.rsample(K, state.rng)  # (K, M, Z)
    log_w = p.log_p_xz(batch.x, z) - q.log_prob(z)  # (K, M)
    log_sum = log_w.detach().logsumexp(0)  # (M,)
    weight = (log_w.detach() - log_sum).exp()  # w̃ (K, M)
    bound = log_sum.double().sum() - len(log_sum) * math.log(K)
    objective = (weight * log_w).sum()  # which has the gradient of L_K, eq. (14)
    theta, phi = p.params.flat, recognition.params.flat
    if state.config.gradient == "standard":
        return api.gradients.Bound(bound, *torch.autograd.grad(objective, [theta, phi]))
    by_theta, by_z = torch.autograd.grad(objective, [theta, z])  # by z alone: φ's direct part is left out
    if state.config.gradient == "dreg":
        by_z = weight.unsqueeze(-1) * by_z  # w̃² in all
    (by_phi,) = torch.autograd.grad(z, phi, by_z)
    return api.gradients.Bound(bound, by_theta, by_phi)


def step(state: State, batch: api.Batch) -> Info:
    """Ascend the bound of one minibatch."""
    bound, by_theta, by_phi = gradient(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    return Info(objective=bound / len(batch.index))
