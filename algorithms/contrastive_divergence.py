"""Contrastive divergence: up the gradient of log f where points are, down where chains have gone from there; also persistent.

Geoffrey Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14 (2002); persistent
chains (PCD) as Tijmen Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient" (ICML
2008), after Laurent Younes (1989), "Parametric inference for imperfectly observed Gibbsian fields". With p(x) = f(x) / Z,

    ∇ mean log p(x)  =  mean over data of ∇ log f(x)  -  E_p(x)[∇ log f(x)]

and the expectation is replaced by a mean over chains, each after k Gibbs moves:

    CD-k     from the points of the minibatch: biased, less so with more moves, and exact as k goes to infinity
    PCD-k    from where the last step left them: nearly draws from p(x) as long as the parameters change slowly

Ascends 1/N Σ log p(x) + 1/N log p(θ) with momentum. A step counts M samples for its points, and one for every move of every
chain: 1 + k a point for CD-k.

Departures from the papers: the prior on weights is the model's, and persistent chains begin at the first minibatch.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.UnnormalisedModel,), lower_bound=False, schedule=True)


class Config(api.Config):
    """Settings of the ascent and of its chains."""

    lr: float = api.setting(0.05, "step size, of the gradient of a mean", gt=0, search=api.Choice((0.01, 0.05, 0.1)))
    momentum: float = api.setting(0.5, "how much of a step goes on in the next", ge=0, lt=1)
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    k: int = api.setting(1, "Gibbs moves of every chain in a step", gt=0)
    persistent: bool = api.setting(False, "chains go on from step to step (PCD)")
    chains: int = api.setting(100, "chains that go on; others are as many as points in a minibatch", gt=0)


@dataclass
class State:
    """The optimiser, and where persistent chains are (C, D); None before the first step, and where none go on."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    sgd: api.Sgd
    chains: Tensor | None = None


class Info(NamedTuple):
    """The mean log f of the minibatch less that of the chains, nats per datapoint."""

    contrast: Tensor


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser."""
    prior = 1 / problem.data.n_train
    sgd = api.Sgd(
        problem.model.params, lr=config.lr, prior_weight=prior, schedule=problem.schedule, momentum=config.momentum
    )
    return State(problem, config, rng, sgd)


def step(state: State, batch: api.Batch) -> Info:
    """Move the chains, then take a step up from them towards the points."""
    p, config, x = state.problem.model, state.config, batch.x
    chains = state.chains
    if chains is None:
        chains = x[torch.arange(config.chains) % len(x)] if config.persistent else x
    for _ in range(config.k):
        chains = p.gibbs(chains, state.rng)
    contrast = p.contrast(x, chains)
    state.sgd.ascend(torch.autograd.grad(contrast, [p.params.flat]))
    state.chains = chains if config.persistent else None
    return Info(contrast.detach())
