"""Variational EM with alternating steps: an algorithm that somebody else has packaged."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Reparameterised, api.AnalyticKL))


class Config(api.Config):
    """Settings."""

    lr: float = api.setting(0.02, "step size of both", gt=0)
    batch_size: int = api.setting(50, "points in a minibatch", gt=0)


@dataclass
class State:
    """Two optimisers, and whose turn it is."""

    problem: api.Problem
    rng: torch.Generator
    optimisers: list[api.Adagrad]
    turn: int


class Info(NamedTuple):
    """The bound."""

    objective: float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up one optimiser for each network."""
    both = (problem.model, problem.recognition)
    return State(problem, rng, [api.Adagrad(m.params, lr=config.lr) for m in both], 0)


def step(state: State, batch: api.Batch) -> Info:
    """Move one of the two."""
    p, q = state.problem.model, state.problem.recognition
    posterior = q.posterior(batch.x)
    bound = (p.log_p_x_given_z(batch.x, posterior.rsample(1, state.rng)).mean(0) - posterior.kl()).sum()
    whose = (p, q)[state.turn].params.flat
    state.optimisers[state.turn].ascend(torch.autograd.grad(bound, [whose]))
    state.turn = 1 - state.turn
    return Info(bound.item() / len(batch.x))
