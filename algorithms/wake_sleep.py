"""Wake-sleep: the generative model learns from inferred latents, the recognition model from the generative model's fantasies.

Geoffrey Hinton, Peter Dayan, Brendan Frey and Radford Neal (1995), "The wake-sleep algorithm for unsupervised neural networks",
Science 268, as compared by Kingma & Welling (2014), arXiv 1312.6114, section 5. For every minibatch of M points:

    wake    z ~ q(z|x), x from the data      ascend  Σ log p(x, z) + M/N · log p(θ)  over θ
    sleep   (x, z) ~ p with the new θ        ascend  Σ log q(z|x)  + M/N · log p(φ)  over φ

The two objectives bound nothing jointly; the lower bound of its model is measured by evaluation, with its recognition model.
As in that comparison, both phases use Adagrad unless another optimiser is asked for; its first steps only accumulate squared
gradients.

A step costs, for each point, S draws from q with density and gradient of p there, and a fantasy with those of q there.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel, api.Recognition),
    latents=("continuous", "binary"),
    batch="minibatch",
    lower_bound=True,
    schedule=True,
)


class Config(api.Config):
    """Settings of both phases."""

    lr: float = api.setting(0.02, "step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement, and fantasies", gt=0)
    n_samples: int = api.setting(1, "samples of z a point in the wake phase", gt=0)
    warmup: int = api.setting(100, "first steps of Adagrad, which only accumulate squared gradients", ge=0)
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """An optimiser for each phase, and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    wake: api.Optimiser
    sleep: api.Optimiser


class Info(NamedTuple):
    """What each phase ascends, nats per point: log p(x, z) on data, log q(z|x) on fantasies."""

    wake: Tensor
    sleep: Tensor


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up an optimiser for θ and one for φ."""
    wake, sleep = (api.ascent(problem, config, params) for params in (problem.model.params, problem.recognition.params))
    return State(problem, config, rng, wake, sleep)


def step(state: State, batch: api.Batch) -> Info:
    """Wake, then sleep."""
    p, q = state.problem.model, state.problem.recognition
    M = batch.index.shape[0]

    x = batch.x
    z = q.posterior(x).sample(state.config.n_samples, state.rng)  # (S, M, Z)
    log_p, by_theta = api.gradients.log_joint(p, x, z, weight=1 / len(z))
    state.wake.ascend([by_theta])

    x, z = p.sample_xz(M, state.rng)  # (M, D), (M, Z)
    log_q, by_phi = api.gradients.log_posterior(q, x, z.unsqueeze(0))
    state.sleep.ascend([by_phi])

    return Info(wake=log_p.mean(), sleep=log_q.mean())
