"""Monte Carlo EM: the E-step samples the posterior by Hamiltonian Monte Carlo, with no recognition model at all.

Greg Wei and Martin Tanner (1990), "A Monte Carlo implementation of the EM algorithm", as compared by Kingma & Welling (2014),
arXiv 1312.6114, appendix E. Maximises Σ log p(x) + log p(θ) over θ. A step is one cycle over the whole training set:

    E   one HMC move of every point's persistent chain on log p(z) + log p(x|z); the step size is multiplied or divided towards
        the acceptance rate that is asked for
    M   a few Adagrad updates of θ with the samples acquired, each over all points

The density of a chain's first point is evaluated anew, as θ has changed; a cycle of 10 leapfrog steps and 5 updates therefore
evaluates 16 samples a point, where the paper counts 15. The warm-up, Adagrad's first updates that only accumulate squared
gradients, alone takes 320 samples a point. Points are visited in chunks: only the chains stay in memory.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel,), latents=("continuous",), batch="full", lower_bound=False, schedule=True
)
CHUNK = 500  # points at a time: activations stay in cache


class Config(api.Config):
    """Settings of the cycle."""

    lr: float = api.setting(0.1, "Adagrad's step size", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    leapfrog: int = api.setting(10, "leapfrog steps of an HMC move", gt=0)
    updates: int = api.setting(5, "weight updates with the samples of a move", gt=0)
    target_accept: float = api.setting(0.9, "acceptance rate to tune the leapfrog step size to", gt=0, lt=1)
    step_size: float = api.setting(0.1, "first leapfrog step size", gt=0)
    chains: Literal["prior", "zero", "best"] = api.setting(
        "prior", "where chains begin: a draw from the prior, its mode, or the likeliest of 20 draws"
    )
    burn_in: int = api.setting(0, "HMC moves before the first weight update", ge=0)
    warmup: int = api.setting(100, "first weight updates, which only accumulate squared gradients: 20 cycles", ge=0)


@dataclass
class State:
    """The chains, a row each training point; the leapfrog step size; the optimiser."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    adagrad: api.Adagrad
    z: Tensor  # (N, Z)
    step_size: float
    begun: bool = False


class Info(NamedTuple):
    """Averages over the cycle's points: the acceptance rate, the leapfrog step size, the chains' ESJD and log p(x, z)."""

    acceptance: float
    step_size: float
    esjd: float  # expected squared jumping distance: between a chain's points before and after the move
    log_p_xz: float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Begin the chains, and set up Adagrad for θ."""
    z = torch.zeros(problem.data.n_train, problem.model.latents.total)
    if config.chains != "zero":
        z.normal_(generator=rng)
    adagrad = api.Adagrad(
        problem.model.params, lr=config.lr, prior_weight=1.0, schedule=problem.schedule, warmup=config.warmup
    )
    return State(problem, config, rng, adagrad, z, config.step_size)


def step(state: State, batch: api.Batch) -> Info:
    """One cycle: move every chain, then update the weights."""
    p, config = state.problem.model, state.config
    if not state.begun:
        state.begun = True
        if config.chains == "best":
            _choose_beginnings(state, batch)
        for _ in range(config.burn_in):
            _move_chains(state, batch)
    acceptance, step_size, esjd = _move_chains(state, batch)
    log_p = 0.0
    for _ in range(config.updates):
        log_p, gradient = 0.0, torch.zeros_like(p.params.flat)
        for chunk in batch.split(CHUNK):
            some, by_theta = api.gradients.log_joint(p, chunk.x, state.z.index_select(0, chunk.index).unsqueeze(0))
            gradient += by_theta
            log_p += some.sum().item()
        state.adagrad.ascend([gradient])
    return Info(acceptance, step_size, esjd, log_p / len(batch.index))


def _move_chains(state: State, batch: api.Batch) -> tuple[float, float, float]:
    """Move every chain once, adapt the step size, and return the acceptance rate, the step size used and the ESJD."""
    p, config, used = state.problem.model, state.config, state.step_size
    accepted = esjd = 0.0
    for chunk in batch.split(CHUNK):
        x, z = chunk.x, state.z.index_select(0, chunk.index).unsqueeze(0)  # (B, D), (1, B, Z)
        posterior = api.hmc.joint(p, x)
        new, probability = api.hmc.move(posterior, posterior.at(z), used, config.leapfrog, state.rng)
        state.z.index_copy_(0, chunk.index, new.z.squeeze(0))
        accepted += probability.sum().item()
        esjd += (new.z - z).square().sum().item()
    n = len(batch.index)
    factor = min(1.25, 1.02 ** min(100, n))  # more chains tell the acceptance rate better
    state.step_size *= factor if accepted / n > config.target_accept else 1 / factor
    return accepted / n, used, esjd / n


def _choose_beginnings(state: State, batch: api.Batch, draws: int = 20) -> None:
    """Begin every chain at the draw from the prior under which its point is likeliest."""
    for chunk in batch.split(CHUNK):
        z = torch.randn(draws, len(chunk.index), state.z.shape[1], generator=state.rng)  # (S, B, Z)
        with torch.no_grad():
            best = state.problem.model.log_p_xz(chunk.x, z).argmax(0)
        state.z[chunk.index] = z[best, torch.arange(len(best))]
