"""Annealed importance sampling along a geometric path between two densities, with HMC moves, or Gibbs updates of bits.

Undirected models have paths and moves of their own; see `anneal_states`.

Radford Neal, "Annealed importance sampling" (2001), arXiv physics/9803008; schedule and reverse chains as Yuhuai Wu, Yuri Burda,
Ruslan Salakhutdinov and Roger Grosse, "On the quantitative analysis of decoder-based generative models" (2017),
arXiv 1611.04273, and Roger Grosse, Zoubin Ghahramani and Ryan Adams, "Sandwiching the marginal likelihood using bidirectional
Monte Carlo" (2015), arXiv 1511.02543.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from harness.inference import gibbs, hmc
from harness.inference.protocols import Latents, LatentVariableModel, Posterior
from harness.inference.undirected import AnnealedModel

PILOT_CHAINS = 4

NUMBERS = 600_000  # observed numbers of all chains at a time: activations stay in cache

JITTER = 0.5  # of step sizes


class Path(NamedTuple):
    """f_β = f_0^(1-β) f_1^β between two densities, each with its gradient."""

    begin: hmc.Target
    end: hmc.Target


Ends = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The same path where no gradient is needed: z (S, B, Z) -> log f_0 and log f_1, each (S, B)."""


def from_prior(model: LatentVariableModel, x: Tensor) -> Path:
    """Return the path from p(z) to p(x, z) for points x (B, D)."""
    return Path(hmc.prior(model), hmc.joint(model, x))


def ends_from_prior(model: LatentVariableModel, x: Tensor) -> Ends:
    """Return the same path without gradients."""

    def ends(z: Tensor) -> tuple[Tensor, Tensor]:
        log_prior = model.log_p_z(z)
        return log_prior, log_prior + model.log_p_x_given_z(x, z)

    return ends


def ends_from(q: Posterior, model: LatentVariableModel, x: Tensor) -> Ends:
    """Return the path from q(z|x) to p(x, z), without gradients."""
    return lambda z: (q.log_prob(z), model.log_p_xz(x, z))


def refusal(latents: Latents) -> str | None:
    """Return why no chain moves latents of several kinds; None where they are of one."""
    if latents.only("continuous") or latents.only("binary"):
        return None
    return f"a chain moves latents of one kind, and the model's are {latents.kinds}: use importance or quadrature"


def prior_draws(model: LatentVariableModel, n: int, points: int, rng: torch.Generator) -> Tensor:
    """Return n draws of z from the prior for each of so many points, (n, B, Z)."""
    z: Tensor = model.sample_xz(n * points, rng)[1].view(n, points, -1)  # the draws that stored estimates began with
    return z


class Outcome(NamedTuple):
    """Log weights (S, B), and the mean acceptance probability of each point's moves (B,)."""

    log_w: Tensor
    acceptance: Tensor


def points_at_a_time(chains: int, dim: int) -> int:
    """Return how many points of so many dimensions, with so many chains each, to anneal at a time."""
    return max(1, NUMBERS // (chains * dim))


def sigmoid_schedule(n: int, delta: float = 4.0) -> Tensor:
    """Return n + 1 inverse temperatures from 0 to 1, equally spaced through a sigmoid: dense at both ends (Wu et al.)."""
    s = torch.sigmoid(delta * torch.linspace(-1.0, 1.0, n + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def anneal(path: Path, z: Tensor, betas: Tensor, steps: Tensor, leapfrog: int, rng: torch.Generator) -> Outcome:
    """Take chains along a path, from exact samples at its one end.

    From betas 0 to 1, E[w] = Z_1 / Z_0, the ratio of the two densities' normalisers; from 1 to 0 it is Z_0 / Z_1.

    Args:
        path: the path.
        z: exact samples of the density where it begins (S, B, Z).
        betas: inverse temperatures (T + 1,).
        steps: leapfrog step sizes of the moves between them (T - 1, B, 1).
        leapfrog: leapfrog steps of a move.
        rng: randomness.
    """
    outcome, _ = _run(path, z, betas, leapfrog, rng, steps=steps)
    return outcome


def anneal_bits(
    ends: Ends, z: Tensor, betas: Tensor, flips: int, rng: torch.Generator, *, sampler: gibbs.Sampler
) -> Outcome:
    """Take chains of binary latents along a path, as `anneal` does, with updates of the latents in turn.

    Args:
        ends: the path.
        z: exact samples of the density where it begins (S, B, Z).
        betas: inverse temperatures (T + 1,).
        flips: updates between two of them, each of one latent.
        rng: randomness.
        sampler: how a latent is updated.
    """

    def between(beta: float, z: Tensor, parts: tuple[Tensor, ...] = ()) -> gibbs.Point:
        log_p0, log_p1 = parts or ends(z)
        return gibbs.Point(z, (1 - beta) * log_p0 + beta * log_p1, (log_p0, log_p1))

    log_w = torch.zeros(z.shape[:-1], dtype=torch.float64)
    acceptance = torch.zeros(z.shape[1], dtype=z.dtype)
    turns = itertools.cycle(range(z.shape[-1]))
    at = between(0.0, z)
    for t in range(1, len(betas)):
        log_p0, log_p1 = at.parts
        log_w += (betas[t] - betas[t - 1]) * (log_p1 - log_p0)
        if t == len(betas) - 1:
            break
        target = functools.partial(between, betas[t].item())
        some = itertools.islice(turns, flips)
        at, probability = gibbs.move(target, target(at.z, at.parts), some, rng, sampler=sampler)
        acceptance += probability.mean(0) / (len(betas) - 2)
    return Outcome(log_w, acceptance)


def pilot(path: Path, z: Tensor, betas: Tensor, leapfrog: int, rng: torch.Generator, target_accept: float) -> Tensor:
    """Tune the step sizes of `anneal`, a size for each temperature and point, with a few chains that are thrown away."""
    _, steps = _run(path, z[:PILOT_CHAINS], betas, leapfrog, rng, target_accept=target_accept)
    return steps


def anneal_states(model: AnnealedModel, x: Tensor, betas: Tensor, rng: torch.Generator) -> Tensor:
    """Take states x (C, D) along the path of an undirected model, and return their log weights (C,).

    From exact draws at the first of these inverse temperatures, the mean weight is unbiased for Z at the last over Z there.

    Args:
        model: the model.
        x: states at the first inverse temperature.
        betas: inverse temperatures (T + 1,), in the order in which they are gone through.
        rng: randomness.
    """
    log_w = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for before, after in itertools.pairwise(betas.tolist()):
        log_ratio, x = model.anneal(x, before, after, rng)
        log_w += log_ratio
    return log_w


def log_mean(log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log mean of weights (S, ...), its variance by the delta method, and the effective sample size, each (...)."""
    n = len(log_w)
    relative = (log_w - log_w.logsumexp(0) + math.log(n)).exp()  # weights over their mean
    variance = relative.var(0) / n if n > 1 else torch.full_like(log_w[0], math.nan)
    return log_w.logsumexp(0) - math.log(n), variance, n / relative.square().mean(0)


def summarise(outcome: Outcome) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return each point's log mean weight, its variance by the delta method, effective sample size and acceptance rate."""
    value, variance, effective = log_mean(outcome.log_w)
    return value, variance, {"effective_samples": effective, "acceptance": outcome.acceptance}


def _run(
    path: Path,
    z: Tensor,
    betas: Tensor,
    leapfrog: int,
    rng: torch.Generator,
    *,
    steps: Tensor | None = None,
    target_accept: float = 0.0,
) -> tuple[Outcome, Tensor]:
    """Anneal with given step sizes, or adapt them on the way; return the outcome and the step sizes used."""
    log_w = torch.zeros(z.shape[:-1], dtype=torch.float64)
    acceptance = torch.zeros(z.shape[1], dtype=z.dtype)
    log_step = torch.full((z.shape[1], 1), -2.0, dtype=z.dtype)
    used = []
    at = _between(path, 0.0).at(z)
    for t in range(1, len(betas)):
        log_p0, log_p1, _, _ = at.parts
        log_w += (betas[t] - betas[t - 1]) * (log_p1 - log_p0)
        if t == len(betas) - 1:
            break
        beta = betas[t].item()
        step = log_step.exp() if steps is None else steps[t - 1]
        at = _mixed(at.z, at.parts, beta)
        at, probability = hmc.move(_between(path, beta), at, step, leapfrog, rng, jitter=JITTER)
        rate = probability.mean(0)  # (B,)
        acceptance += rate / (len(betas) - 2)
        used.append(step)
        if steps is None:
            # A slow drift: temperatures are many and neighbours want nearly the same step size.
            log_step = log_step + 0.2 * (rate.unsqueeze(-1) - target_accept)
    return Outcome(log_w, acceptance), torch.stack(used) if used else torch.empty(0)


def _mixed(z: Tensor, parts: tuple[Tensor, ...], beta: float) -> hmc.Point:
    """Return the point of f_β at z from the log densities and gradients of both ends."""
    log_p0, log_p1, grad0, grad1 = parts
    return hmc.Point(z, (1 - beta) * log_p0 + beta * log_p1, (1 - beta) * grad0 + beta * grad1, parts)


def _between(path: Path, beta: float) -> hmc.Target:
    """Return the target f_β; its parts are the log densities and gradients of both ends."""

    def at(z: Tensor) -> hmc.Point:
        begin, end = path.begin.at(z), path.end.at(z)
        return _mixed(z, (begin.log_p, end.log_p, begin.grad, end.grad), beta)

    return hmc.Target(at, lambda z: (1 - beta) * path.begin.gradient(z) + beta * path.end.gradient(z))
