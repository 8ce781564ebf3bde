"""Greedy learning of a deep belief net, a pair of layers at a time, by contrastive divergence or with persistent chains.

Geoffrey Hinton, Simon Osindero and Yee-Whye Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18 (2006).
Every pair of neighbouring layers is a restricted Boltzmann machine. For each in turn, the one next to the data first:

    1   draw its lower layer from the data, by the recognition of the machines below, which have been learned and stay
    2   take steps up  1/N Σ log p(h) + 1/N log p(θ)  of this machine, by the moves of `contrastive-divergence`

The last one goes on to the end of the budget. The step size may go down to 0 in every turn before, too. A step counts one sample
for each of its points, and one for every Gibbs move of every chain.

Departures from the paper: machines above the first begin at small random weights, and there is no fine-tuning by the up-down
algorithm.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LayerwiseModel,), lower_bound=False, schedule=True)


class Config(api.Config):
    """Settings of the ascent, of its chains, and of when the next pair's turn comes."""

    lr: float = api.setting(0.05, "step size, of the gradient of a mean", gt=0, search=api.Choice((0.01, 0.05, 0.1)))
    momentum: float = api.setting(0.5, "how much of a step goes on in the next", ge=0, lt=1)
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    k: int = api.setting(1, "Gibbs moves of every chain in a step", gt=0)
    persistent: bool = api.setting(False, "chains go on from step to step")
    chains: int = api.setting(100, "chains that go on; others are as many as points in a minibatch", gt=0)
    pair_steps: int = api.setting(5000, "steps of every pair but the last", gt=0)
    pair_decay: float = api.setting(0.0, "last share of these steps, over which their size goes down to 0", ge=0, le=1)


@dataclass
class State:
    """An optimiser for each pair, the steps taken, and where persistent chains of the present pair are (C, ·)."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    sgds: list[api.Sgd] = field(default_factory=list)
    steps: int = 0
    chains: Tensor | None = None

    @property
    def pair(self) -> int:
        """The pair that learns."""
        last: int = self.problem.model.pairs - 1
        return min(self.steps // self.config.pair_steps, last)

    def factor(self) -> float:
        """Return the factor of the step size now."""
        whole = self.problem.schedule()
        if self.config.pair_decay == 0 or self.pair == self.problem.model.pairs - 1:
            return whole
        left = self.pair + 1 - self.steps / self.config.pair_steps  # of the turn, as a share
        return whole * min(1.0, left / self.config.pair_decay)


class Info(NamedTuple):
    """The pair that learns, and the mean log f of its lower layer less that of the chains, nats per datapoint."""

    pair: int
    contrast: Tensor


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up an optimiser for each pair."""
    more = {"lr": config.lr, "prior_weight": 1 / problem.data.n_train, "momentum": config.momentum}
    state = State(problem, config, rng)
    state.sgds = [api.Sgd(params, **more, schedule=state.factor) for params in problem.model.parts]
    return state


def step(state: State, batch: api.Batch) -> Info:
    """Draw the lower layer of the present pair, and take a step of its machine."""
    p, config, pair = state.problem.model, state.config, state.pair
    begins = state.steps == pair * config.pair_steps
    if begins:
        p.begin(pair)
    h = p.up(batch.x, pair, state.rng)  # (M, ·)
    chains = state.chains
    if chains is None or begins:
        chains = h[torch.arange(config.chains) % len(h)] if config.persistent else h
    for _ in range(config.k):
        chains = p.gibbs_in(pair, chains, state.rng)
    contrast = p.contrast_in(pair, h, chains)
    state.sgds[pair].ascend(torch.autograd.grad(contrast, [p.parts[pair].flat]))
    state.chains, state.steps = chains if config.persistent else None, state.steps + 1
    return Info(pair, contrast.detach())
