"""Doubly reparameterised gradients (Tucker, Lawson, Gu & Maddison 2019, arXiv 1810.04152) of the bound L_K.

θ ascends the gradient of L_K. φ ascends an estimate of the same gradient with a lower variance: log q(z|x) depends on φ only
through z, and the gradient of each sample has the weight w² instead of w. With K = 1 this is "sticking the landing" (Roeder, Wu &
Duvenaud 2017, arXiv 1703.09194).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Reparameterised), latents=("continuous",), schedule=True)


class Config(api.Config):
    """Settings of the algorithm."""

    lr: float = api.setting(1e-3, "Adam's step size", gt=0, search=api.LogUniform(1e-4, 1e-2))
    batch_size: int = api.setting(100, "points in a minibatch", gt=0)
    K: int = api.setting(5, "importance samples per point", gt=0)


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adam: torch.optim.Adam


class Info(NamedTuple):
    """The bound L_K of a step, nats per datapoint."""

    objective: Tensor


def init(problem, config, rng):
    """Set up Adam for θ and φ together."""
    params = [problem.model.params.flat, problem.recognition.params.flat]
    return State(problem, config, rng, torch.optim.Adam(params, lr=config.lr, maximize=True))


def step(state, batch):
    """Take one step for θ and φ."""
    p, q = state.problem.model, state.problem.recognition
    z = q.posterior(batch.x).rsample(state.config.K, state.rng)  # (K, B, Z)
    with q.params.fixed():  # the same density, without a gradient for φ
        stopped = q.posterior(batch.x)
    log_w = p.log_p_xz(batch.x, z) - stopped.log_prob(z)  # (K, B)
    weight = log_w.detach().softmax(0)  # (K, B)
    z.register_hook(lambda gradient: weight.unsqueeze(-1) * gradient)  # w² on the way to φ, eq. (8)
    for group in state.adam.param_groups:
        group["lr"] = state.config.lr * state.problem.schedule()  # for --schedule
    state.adam.zero_grad()
    (weight * log_w).sum(0).mean().backward()
    state.adam.step()
    return Info(log_w.detach().logsumexp(0).mean() - math.log(state.config.K))
