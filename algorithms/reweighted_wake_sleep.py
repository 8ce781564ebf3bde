"""Reweighted wake-sleep: the wake phase weighs K inferred latents of a point by their importance, and may teach φ, too.

Jörg Bornschein and Yoshua Bengio, "Reweighted wake-sleep" (2015), arXiv 1406.2751. For every minibatch of M points, with
w_k = p(x, z_k) / q(z_k|x) and normalised weights w̃_k = w_k / Σ_j w_j, which are held constant:

    wake     z_k ~ q(z|x), x from the data    ascend  Σ Σ_k w̃_k log p(x, z_k)  over θ
                                              and     Σ Σ_k w̃_k log q(z_k|x)   over φ
    sleep    (x, z) ~ p                       and/or  Σ log q(z|x)             over φ, with both phases the mean of the two

plus M/N · log p(θ) and M/N · log p(φ). θ ascends the gradient of the importance-weighted bound L_K. The wake phase of φ descends
KL(p(z|x) || q(z|x)) on the data, but for a bias that falls as 1/K, and the sleep phase descends it on fantasies. With K = 1 and
the sleep phase it is wake-sleep.

A step costs density and gradient of both models at M · K latents, and with the sleep phase M draws of (x, z) and a gradient by φ.

Departures from the paper: fantasies are of the θ before the step, as all gradients are; the prior on weights is the model's.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Recognition), latents=("continuous", "binary"), schedule=True)


class Config(api.Config):
    """Settings of both phases."""

    lr: float = api.setting(0.001, "step size", gt=0, search=api.Choice((0.0003, 0.001, 0.003)))
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adam", "what the step size is of")
    batch_size: int = api.setting(20, "M, points in a minibatch, drawn with replacement, and fantasies", gt=0)
    K: int = api.setting(5, "samples of z a point in the wake phase; a step evaluates M · K samples", gt=0)
    phi: Literal["wake", "sleep", "both"] = api.setting("both", "which phase the recognition model learns in")


@dataclass
class State:
    """The optimiser and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser


class Info(NamedTuple):
    """The estimate of L_K, which θ ascends, nats per datapoint."""

    objective: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together."""
    return State(problem, config, rng, api.ascent(problem, config))


def directions(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate L_K, its gradient by θ, and that of the phases by φ, which is of no one bound; summed over the minibatch."""
    p, q, config = state.problem.model, state.problem.recognition, state.config
    posterior = q.posterior(batch.x)
    z = posterior.sample(config.K, state.rng)  # (K, M, Z)
    log_p, by_theta = api.gradients.joint_layers(p, batch.x, z)
    log_q, by_phi = api.gradients.posterior_layers(q, posterior, z)
    log_w = log_p.sum(-1) - log_q.sum(-1)  # (K, M)
    bound, weights = log_w.logsumexp(0) - math.log(config.K), log_w.softmax(0)  # L̂ (M,), w̃

    phases = [] if config.phi == "sleep" else [by_phi(weights).clone()]  # which the next may overwrite
    if config.phi != "wake":
        x, z = p.sample_xz(len(batch.index), state.rng)  # (M, D), (M, Z)
        phases.append(api.gradients.log_posterior(q, x, z.unsqueeze(0))[1])
    return api.gradients.Bound(bound.sum().double(), by_theta(weights), sum(phases[1:], phases[0]) / len(phases))


def step(state: State, batch: api.Batch) -> Info:
    """Wake and sleep."""
    bound, by_theta, by_phi = directions(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    return Info(objective=bound / len(batch.index))
