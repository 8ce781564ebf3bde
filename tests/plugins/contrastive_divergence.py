"""Contrastive divergence: ascends log f on data less log f after a few Gibbs moves from there (Hinton 2002)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.UnnormalisedModel,), lower_bound=False)


class Config(api.Config):
    """Settings."""

    lr: float = api.setting(0.05, "Adagrad's step size", gt=0, search=api.Choice((0.01, 0.05)))
    batch_size: int = api.setting(20, "points in a minibatch", gt=0)
    k: int = api.setting(1, "Gibbs moves", gt=0)


@dataclass
class State:
    """Optimiser and noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adagrad: api.Adagrad


class Info(NamedTuple):
    """How far log f on the data lies above log f on the chains."""

    gap: Tensor


def init(problem, config, rng):
    """Set up Adagrad."""
    return State(problem, config, rng, api.Adagrad(problem.model.params, lr=config.lr))


def step(state, batch):
    """Take one step."""
    p, x = state.problem.model, batch.x
    moved = x
    for _ in range(state.config.k):
        moved = p.gibbs(moved, state.rng)
    gap = (p.log_f_x(x) - p.log_f_x(moved)).sum()
    state.adagrad.ascend(torch.autograd.grad(gap, [p.params.flat]))
    return Info(gap.detach() / len(x))
