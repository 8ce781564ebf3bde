"""Monte Carlo EM: the E-step samples the posterior by a Markov chain for every point, with no recognition model at all.

Greg Wei and Martin Tanner (1990), "A Monte Carlo implementation of the EM algorithm", as compared by Kingma & Welling (2014),
arXiv 1312.6114, appendix E, by Hamiltonian Monte Carlo; binary latents as Radford Neal (1992), "Connectionist learning of belief
networks". Maximises Σ log p(x) + log p(θ) over θ. A step is one cycle over the whole training set:

    E   one move of every point's persistent chain on log p(z) + log p(x|z). Continuous latents: an HMC move, whose step size is
        multiplied or divided towards the acceptance rate that is asked for. Binary latents: a few updates, each of one latent
    M   a few Adagrad updates of θ with the samples acquired, each over all points

The density of a chain's first point is evaluated anew, as θ has changed; a cycle of 10 leapfrog steps (or updates of a latent)
and 5 updates of θ therefore evaluates 16 samples a point, where the paper counts 15. The warm-up, Adagrad's first updates that
only accumulate squared gradients, alone takes 320 samples a point. Points are visited in chunks: only the chains stay in memory.
"""

import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(
    needs=(api.LatentVariableModel,),
    latents=("continuous", "binary"),
    batch="full",
    lower_bound=False,
    schedule=True,
)
CHUNK = 500  # points at a time: activations stay in cache


class Config(api.Config):
    """Settings of the cycle."""

    lr: float = api.setting(0.1, "step size of θ", gt=0, search=api.Choice((0.01, 0.02, 0.1)))
    leapfrog: int = api.setting(10, "leapfrog steps of an HMC move; for continuous latents alone", gt=0)
    updates: int = api.setting(5, "weight updates with the samples of a move", gt=0)
    target_accept: float = api.setting(
        0.9, "acceptance rate to tune the leapfrog step size to; for continuous latents alone", gt=0, lt=1
    )
    step_size: float = api.setting(0.1, "first leapfrog step size; for continuous latents alone", gt=0)
    flips: int = api.setting(
        10, "updates of a move, each of one latent, in random order; for binary latents alone", gt=0
    )
    sampler: Literal["gibbs", "metropolis"] = api.setting(
        "gibbs", "how a latent is updated: by Gibbs sampling or by Metropolis' rule; for binary latents alone"
    )
    chains: Literal["prior", "zero", "best"] = api.setting(
        "prior", "where chains begin: a draw from the prior, zero, or the likeliest of 20 draws"
    )
    burn_in: int = api.setting(0, "moves before the first weight update", ge=0)
    warmup: int = api.setting(
        100, "first weight updates of Adagrad, which only accumulate squared gradients: 20 cycles", ge=0
    )
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("adagrad", "what the step size is of")


@dataclass
class State:
    """The chains, a row each training point; the leapfrog step size; the optimiser."""

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser
    z: Tensor  # (N, Z)
    step_size: float
    begun: bool = False


class Info(NamedTuple):
    """Averages over the cycle's points: the acceptance rate, the chains' ESJD and log p(x, z); the leapfrog step size."""

    acceptance: float
    step_size: float
    esjd: float  # expected squared jumping distance: between a chain's points before and after the move
    log_p_xz: float


class BinaryInfo(NamedTuple):
    """The same for binary latents: no step size, and the ESJD is the number of latents that a move has changed."""

    acceptance: float
    esjd: float
    log_p_xz: float


def skip(problem: api.Problem) -> str | None:
    """Refuse latents of several kinds."""
    latents = problem.model.latents
    if latents.only("continuous") or latents.only("binary"):
        return None
    return f"the model's latents are {latents.kinds}, and a chain moves latents of one kind"


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Begin the chains, and set up the optimiser of θ."""
    p, n = problem.model, problem.data.n_train
    z = torch.zeros(n, p.latents.total, dtype=p.params.flat.dtype) if config.chains == "zero" else p.sample_z(n, rng)
    optimiser = api.optimiser(
        config.optimiser, p.params, lr=config.lr, prior_weight=1.0, schedule=problem.schedule, warmup=config.warmup
    )
    return State(problem, config, rng, optimiser, z, config.step_size)


def step(state: State, batch: api.Batch) -> Info | BinaryInfo:
    """One cycle: move every chain, then update the weights."""
    p, config = state.problem.model, state.config
    if not state.begun:
        state.begun = True
        if config.chains == "best":
            _choose_beginnings(state, batch)
        for _ in range(config.burn_in):
            _move_chains(state, batch)
    step_size = state.step_size
    acceptance, esjd = _move_chains(state, batch)
    log_p = 0.0
    for _ in range(config.updates):
        log_p, gradient = 0.0, torch.zeros_like(p.params.flat)
        for chunk in batch.split(CHUNK):
            some, by_theta = api.gradients.log_joint(p, chunk.x, state.z.index_select(0, chunk.index).unsqueeze(0))
            gradient += by_theta
            log_p += some.sum().item()
        state.optimiser.ascend([gradient])
    log_p /= len(batch.index)
    if p.latents.only("binary"):
        return BinaryInfo(acceptance, esjd, log_p)
    return Info(acceptance, step_size, esjd, log_p)


def _move_chains(state: State, batch: api.Batch) -> tuple[float, float]:
    """Move every chain once, adapt the leapfrog step size, and return the acceptance rate and the ESJD."""
    binary = state.problem.model.latents.only("binary")
    accepted = esjd = 0.0
    for chunk in batch.split(CHUNK):
        x, z = chunk.x, state.z.index_select(0, chunk.index).unsqueeze(0)  # (B, D), (1, B, Z)
        new, probability = (_update_bits if binary else _move)(state, x, z)
        state.z.index_copy_(0, chunk.index, new.squeeze(0))
        accepted += probability.sum().item()
        esjd += (new - z).square().sum().item()
    n = len(batch.index)
    if not binary:
        factor = min(1.25, 1.02 ** min(100, n))  # more chains tell the acceptance rate better
        state.step_size *= factor if accepted / n > state.config.target_accept else 1 / factor
    return accepted / n, esjd / n


def _move(state: State, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Move continuous latents z (1, B, Z) of points x (B, D) by HMC, and return with which probability each was accepted."""
    posterior = api.hmc.joint(state.problem.model, x)
    new, probability = api.hmc.move(posterior, posterior.at(z), state.step_size, state.config.leapfrog, state.rng)
    return new.z, probability


def _update_bits(state: State, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Update binary latents in random order, each again only when all have been, and return how likely a flip was accepted."""
    posterior = api.gibbs.joint(state.problem.model, x)
    order = torch.randperm(z.shape[-1], generator=state.rng).tolist()
    which = itertools.islice(itertools.cycle(order), state.config.flips)
    new, probability = api.gibbs.move(posterior, posterior(z), which, state.rng, sampler=state.config.sampler)
    return new.z, probability


def _choose_beginnings(state: State, batch: api.Batch, draws: int = 20) -> None:
    """Begin every chain at the draw from the prior under which its point is likeliest."""
    p = state.problem.model
    for chunk in batch.split(CHUNK):
        n = len(chunk.index)
        z = p.sample_z(draws * n, state.rng).view(draws, n, -1)  # (S, B, Z)
        with torch.no_grad():
            best = p.log_p_xz(chunk.x, z).argmax(0)
        state.z[chunk.index] = z[best, torch.arange(n)]
