"""Maximum likelihood: ascends log p(x) of a tractable model."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.TractableModel,), lower_bound=False)


class Config(api.Config):
    """Settings."""

    lr: float = api.setting(0.05, "Adagrad's step size", gt=0, search=api.Choice((0.01, 0.05)))
    batch_size: int = api.setting(20, "points in a minibatch", gt=0)


@dataclass
class State:
    """The optimiser."""

    problem: api.Problem
    adagrad: api.Adagrad


class Info(NamedTuple):
    """log p(x) on the minibatch."""

    objective: Tensor


def init(problem, config, rng):
    """Set up Adagrad."""
    return State(problem, api.Adagrad(problem.model.params, lr=config.lr))


def step(state, batch):
    """Take one step."""
    total = state.problem.model.log_p_x(batch.x).sum()
    state.adagrad.ascend(torch.autograd.grad(total, [state.problem.model.params.flat]))
    return Info(total.detach() / len(batch.index))
