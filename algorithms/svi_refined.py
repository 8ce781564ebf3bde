"""Refined amortised inference: a recognition model says where inference begins, and a few local steps go on from there.

Rahul Krishnan, Dawen Liang and Matthew Hoffman (2018), "On the challenges of learning with inference networks on sparse,
high-dimensional data", AISTATS, arXiv 1710.06085, Algorithm 1. For every minibatch of M points:

    local     from q(z|x), a few steps of Adam on L by each point's (μ, log σ²): `api.mean_field`
    θ         ascend  Σ log p(x, z) + M/N · log p(θ),  z from the refined Gaussians
    φ         ascend  Σ L(θ, φ; x)  + M/N · log p(φ),  of q(z|x) itself

L is the lower bound E_q[log p(x, z) - log q(z)]. What θ learns is the bound without most of the amortisation gap; φ follows the
unrefined bound. Departures from the paper: as in AEVB, both use Adagrad unless another optimiser is asked for, and
the priors are on weight matrices. A step counts a sample a point for every local step, one for θ and one for φ.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel, api.Reparameterised, api.MeanField),
    latents=("continuous",),
    batch="minibatch",
    lower_bound=True,
    schedule=True,
)


class Config(api.Config):
    """Settings of local steps and of both networks."""

    lr: float = api.setting(0.02, "step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    local_steps: int = api.setting(5, "local steps from the recognition model's Gaussian", gt=0)
    local_lr: float = api.setting(0.05, "Adam's step size, of local steps", gt=0)
    n_samples: int = api.setting(1, "samples of z a point in every step", gt=0)
    warmup: int = api.setting(100, "first steps of Adagrad, which only accumulate squared gradients", ge=0)
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """An optimiser for each network, and the noise; local steps begin anew each time."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    theta: api.Optimiser
    phi: api.Optimiser


class Info(NamedTuple):
    """Estimates of the lower bound, nats per datapoint: at the refined Gaussians, and at the recognition model's."""

    refined: Tensor
    amortised: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up an optimiser of θ and one of φ."""
    theta, phi = (api.ascent(problem, config, params) for params in (problem.model.params, problem.recognition.params))
    return State(problem, config, rng, theta, phi)


def step(state: State, batch: api.Batch) -> Info:
    """One turn of Algorithm 1."""
    p, q, config, x = state.problem.model, state.problem.recognition, state.config, batch.x
    M, S = len(batch.index), config.n_samples

    with torch.no_grad():
        local = api.mean_field.Local.at_posterior(q.posterior(x))
    target, lr = api.hmc.joint(p, x), config.local_lr * state.problem.schedule()
    for _ in range(config.local_steps):
        local.ascend(target, lr, S, state.rng)

    z = local.posterior.sample(S, state.rng)  # (S, M, Z)
    log_p, by_theta = api.gradients.log_joint(p, x, z, weight=1 / S)
    state.theta.ascend([by_theta])

    analytic = api.offers(q, api.AnalyticKL)
    bound, _, by_phi = api.gradients.bound(p, q, x, S, state.rng, analytic_kl=analytic)
    state.phi.ascend([by_phi])
    return Info(refined=(log_p - local.posterior.log_prob(z)).mean(), amortised=bound / M)
