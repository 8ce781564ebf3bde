"""Mean-field variational inference: a Gaussian of its own for every training point, and no recognition model.

Michael Jordan, Zoubin Ghahramani, Tommi Jaakkola and Lawrence Saul (1999), "An introduction to variational methods for graphical
models", Machine Learning 37; by minibatches as the box of Matthew Hoffman, David Blei, Chong Wang and John Paisley (2013),
"Stochastic variational inference", JMLR 14, Figure 4. Maximises, over θ and (μ_n, σ_n) of every training point,

    Σ_n L(θ, μ_n, σ_n; x_n) + log p(θ),    L = E_q_n[log p(x_n, z) - log q_n(z)],    q_n(z) = N(μ_n, diag(σ_n²))

A step visits a minibatch of M points:

    local     a few steps of Adam on L by (μ_n, log σ_n²) of each point
    global    ascend  Σ log p(x_n, z) + M/N · log p(θ)  over θ,  z ~ q_n

Departures from the box: the local optimum has no closed form, so there are local steps, by reparameterised gradients
(`api.mean_field`), from where the point's last visit left it, as in incremental EM (Radford Neal and Geoffrey Hinton 1998). θ is
a point, and not a distribution, and its step is one of Adagrad unless another optimiser is asked for, as in AEVB.
A visit counts a sample a point for every local step, and one for θ.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel,),
    latents=("continuous",),
    batch="minibatch",
    lower_bound=True,
    estimator="mean-field",
    schedule=True,
)


class Config(api.Config):
    """Settings of local and global steps."""

    lr: float = api.setting(0.02, "step size of θ", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    batch_size: int = api.setting(100, "M, points in a minibatch, drawn with replacement", gt=0)
    local_steps: int = api.setting(5, "local steps of a visit, each a sample a point", gt=0)
    local_lr: float = api.setting(0.05, "Adam's step size, of local parameters", gt=0)
    n_samples: int = api.setting(1, "samples of z a point in every step, local or global", gt=0)
    warmup: int = api.setting(100, "first steps of θ by Adagrad, which only accumulate squared gradients", ge=0)
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """The local parameters of all training points, the optimiser of θ and the noise."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    local: api.mean_field.Local
    optimiser: api.Optimiser


class Info(NamedTuple):
    """The objective of a step: the lower bound's estimate at the minibatch's own Gaussians, nats per datapoint."""

    objective: Tensor


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Begin the local parameters at the prior, and set up the optimiser of θ."""
    local = api.mean_field.Local.at_prior(problem.model, problem.data.n_train, rng)
    return State(problem, config, rng, local, api.ascent(problem, config, problem.model.params))


def step(state: State, batch: api.Batch) -> Info:
    """One turn of the box."""
    p, config, x = state.problem.model, state.config, batch.x
    S = config.n_samples

    target, lr = api.hmc.joint(p, x), config.local_lr * state.problem.schedule()
    local = state.local.rows(batch.index)
    for _ in range(config.local_steps):
        local.ascend(target, lr, S, state.rng)
    state.local.put(batch.index, local)

    z = local.posterior.sample(S, state.rng)  # (S, M, Z)
    log_p, by_theta = api.gradients.log_joint(p, x, z, weight=1 / S)
    state.optimiser.ascend([by_theta])
    return Info(objective=(log_p - local.posterior.log_prob(z)).mean())
