"""Maximum likelihood: stochastic gradient ascent on log p(x) of a model that knows it.

Ascent by gradients of minibatches is Herbert Robbins and Sutton Monro (1951), "A stochastic approximation method", Annals of
Mathematical Statistics 22(3). Maximises Σ log p(x) + log p(θ) over θ; a step ascends, over a minibatch of M of N points,

    Σ log p(x)  +  M/N · log p(θ)

Of a model with a density in every order of the bits, an estimate of the mean of log p(x) over orders takes the place of log p(x).
A point and step is one sample.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.TractableModel,), lower_bound=False, schedule=True)


class Config(api.Config):
    """Settings of the ascent."""

    lr: float = api.setting(0.003, "step size", gt=0, search=api.Choice((0.001, 0.003, 0.01)))
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adam", "what the step size is of")
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)


@dataclass
class State:
    """The optimiser, and the noise of estimates, which a model with `agnostic` orders is trained by."""

    problem: api.Problem
    optimiser: api.Optimiser
    rng: torch.Generator
    agnostic: bool


class Info(NamedTuple):
    """log p(x) of the minibatch, or its estimate, nats per datapoint."""

    objective: Tensor


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser."""
    optimiser = api.ascent(problem, config, problem.model.params)
    return State(problem, optimiser, rng, agnostic=isinstance(problem.model, api.OrderAgnosticModel))


def step(state: State, batch: api.Batch) -> Info:
    """Take one step along the gradient of a minibatch."""
    p = state.problem.model
    log_p = p.log_p_x_agnostic(batch.x, state.rng) if state.agnostic else p.log_p_x(batch.x)  # (M,)
    state.optimiser.ascend(torch.autograd.grad(log_p.sum(), [p.params.flat]))
    return Info(log_p.detach().mean())
