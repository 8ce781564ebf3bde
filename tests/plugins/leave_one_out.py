"""Score function, whose baseline is the mean of the other samples: ascends the lower bound, for any latents."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from harness import api

TRAITS = api.Traits(latents=("continuous", "binary"))


class Config(api.Config):
    """Settings."""

    lr: float = api.setting(0.01, "Adam's step size", gt=0, search=api.LogUniform(1e-4, 1e-1))
    batch_size: int = api.setting(20, "points in a minibatch", gt=0)
    n_samples: int = api.setting(4, "samples a point, which are each other's baseline", gt=1)


@dataclass
class State:
    """Optimiser and noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adam: torch.optim.Adam


class Info(NamedTuple):
    """The bound's estimate."""

    objective: float


def init(problem, config, rng):
    """Set up Adam for both models."""
    params = [problem.model.params.flat, problem.recognition.params.flat]
    return State(problem, config, rng, torch.optim.Adam(params, lr=config.lr, maximize=True))


def step(state, batch):
    """Take one step."""
    q = state.problem.recognition.posterior(batch.x)
    z = q.sample(state.config.n_samples, state.rng)  # (S, B, Z)
    log_p, log_q = state.problem.model.log_p_xz(batch.x, z), q.log_prob(z)
    signal = (log_p - log_q).detach()  # (S, B)
    advantage = (signal - signal.mean(0)) * len(signal) / (len(signal) - 1)
    state.adam.zero_grad()
    (log_p + advantage * log_q).mean().backward()
    state.adam.step()
    return Info(signal.mean().item())
