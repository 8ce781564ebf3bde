"""Score function with layer-local learning signals (Mnih & Gregor 2014, section 2.3): each layer learns from those above it."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LayeredModel, api.Recognition), latents=("binary",))


class Config(api.Config):
    """Settings."""

    lr: float = api.setting(0.05, "Adagrad's step size", gt=0, search=api.Choice((0.01, 0.05)))
    batch_size: int = api.setting(20, "points in a minibatch", gt=0)
    n_samples: int = api.setting(4, "samples a point, which are each other's baseline", gt=1)


@dataclass
class State:
    """Optimiser and noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adagrad: api.Adagrad


class Info(NamedTuple):
    """The bound's estimate."""

    objective: Tensor


def init(problem, config, rng):
    """Set up Adagrad for both models."""
    both = problem.model.params, problem.recognition.params
    return State(problem, config, rng, api.Adagrad(*both, lr=config.lr))


def step(state, batch):
    """Take one step."""
    p, q, x = state.problem.model, state.problem.recognition, batch.x
    posterior = q.posterior(x)
    z = posterior.sample(state.config.n_samples, state.rng)  # (S, B, Z)
    log_p, log_q = p.log_p_layers(x, z), posterior.log_layers(z)  # (S, B, L + 1), (S, B, L)
    terms = log_p[..., :-1] + torch.nn.functional.pad(log_p[..., -1:], (log_q.shape[-1] - 1, 0)) - log_q
    signal = terms.detach().flip(-1).cumsum(-1).flip(-1)  # l_i: of layer i and all above, (S, B, L)
    signal = (signal - signal.mean(0)) * len(signal) / (len(signal) - 1)
    objective = (log_p.sum(-1) + (signal * log_q).sum(-1)).mean(0).sum()
    state.adagrad.ascend(torch.autograd.grad(objective, [p.params.flat, q.params.flat]))
    return Info((log_p.sum(-1) - log_q.sum(-1)).detach().mean())
