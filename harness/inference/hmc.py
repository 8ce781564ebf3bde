"""Hamiltonian Monte Carlo for many chains at once, a chain a row, with any target density.

Chains may be laid out in any shape: ... below stands for (C,), or (S, B) for S chains at each of B data points.

Simon Duane et al., "Hybrid Monte Carlo", Physics Letters B 195 (1987); Radford Neal, "MCMC using Hamiltonian dynamics" (2011),
arXiv 1206.1901. A move draws momenta r ~ N(0, I), follows Hamilton's equations for a number of leapfrog steps, and is
accepted with probability min(1, exp(H(z, r) - H(z', r'))), H = -log p(z) + ½ r·r.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.inference.gradients import by_hand
from harness.inference.parameters import Parameters
from harness.inference.protocols import LatentVariableModel


class Point(NamedTuple):
    """Where chains are.

    Attributes:
        z: their positions (..., Z).
        log_p: the target's log density there, up to a constant for each chain (...).
        grad: its gradient (..., Z).
        parts: what the target was made of there, if it says so: anything (...) or (..., Z).
    """

    z: Tensor
    log_p: Tensor
    grad: Tensor
    parts: tuple[Tensor, ...] = ()


class Target(NamedTuple):
    """A log density to sample.

    Attributes:
        at: z (..., Z) -> its density and gradient there.
        gradient: z (..., Z) -> the gradient alone, (..., Z), which is all that a trajectory needs on its way.
    """

    at: Callable[[Tensor], Point]
    gradient: Callable[[Tensor], Tensor]


def target(log_density: Callable[[Tensor], Tensor], params: Parameters) -> Target:
    """Return the target of a log density z (..., Z) -> (...) that autograd differentiates, its parameters held fixed."""

    def at(z: Tensor) -> Point:
        with torch.enable_grad(), params.fixed():
            z = z.detach().requires_grad_()
            log_p = log_density(z)
            (grad,) = torch.autograd.grad(log_p.sum(), z)
        return Point(z.detach(), log_p.detach(), grad)

    return Target(at, lambda z: at(z).grad)


def joint(model: LatentVariableModel, x: Tensor) -> Target:
    """Return the target log p(x, z) of a model, z (..., B, Z) for its points x (B, D): the posterior, not normalised."""
    if by_hand(model):
        return _scored(lambda z, value: model.score(x, z, value))
    return target(lambda z: model.log_p_xz(x, z), model.params)


def prior(model: LatentVariableModel) -> Target:
    """Return the target log p(z) of a model."""
    if by_hand(model):
        return _scored(model.prior_score)
    return target(model.log_p_z, model.params)


def _scored(score: Callable[[Tensor, bool], Any]) -> Target:
    """Return the target of a model that gives its gradients itself."""
    return Target(lambda z: Point(z, *score(z, True)), lambda z: score(z, False)[1])


def leapfrog(log_p: Target, at: Point, r: Tensor, step: Tensor | float, n_steps: int) -> tuple[Point, Tensor]:
    """Follow Hamilton's equations by n leapfrog steps.

    The map preserves volume, and is its own inverse once the momentum's sign is turned round.

    Args:
        log_p: the target.
        at: where the chains are.
        r: their momenta (..., Z).
        step: the step size, one for all or (..., 1).
        n_steps: number of steps, and of evaluations of the target.

    Returns:
        Where they arrive, and with which momenta.
    """
    z = at.z
    r = r + 0.5 * step * at.grad
    for _ in range(n_steps - 1):
        z = z + step * r
        r = r + step * log_p.gradient(z)
    end = log_p.at(z + step * r)
    return end, r + 0.5 * step * end.grad


def move(
    log_p: Target, at: Point, step: Tensor | float, n_steps: int, rng: torch.Generator, *, jitter: float = 0.0
) -> tuple[Point, Tensor]:
    """Move every chain once.

    Args:
        log_p: the target.
        at: where the chains are.
        step: the step size, one for all or (..., 1).
        n_steps: leapfrog steps.
        rng: randomness.
        jitter: each chain's step size is multiplied by a draw from [1 - jitter, 1 + jitter], lest a trajectory of just one period
            of the target bring it back to where it was (Neal 2011, section 3.2).

    Returns:
        Where the chains are then, and the probability with which each proposal was accepted (...). A trajectory that leaves
        the numbers is rejected.
    """
    r = torch.randn(at.z.shape, generator=rng, dtype=at.z.dtype)
    if jitter:
        uniform = torch.rand(*at.log_p.shape, 1, generator=rng, dtype=at.z.dtype)
        step = step * (1.0 + jitter * (2.0 * uniform - 1.0))
    new, r_new = leapfrog(log_p, at, r, step, n_steps)
    log_ratio = new.log_p - at.log_p + 0.5 * (r.square() - r_new.square()).sum(-1)
    probability = log_ratio.nan_to_num(-torch.inf, posinf=-torch.inf).clamp(max=0.0).exp()  # (...)
    accepted = torch.rand(probability.shape, generator=rng, dtype=probability.dtype) < probability

    def kept(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(accepted if new.ndim == accepted.ndim else accepted.unsqueeze(-1), new, old)

    parts = tuple(map(kept, new.parts, at.parts))
    return Point(kept(new.z, at.z), kept(new.log_p, at.log_p), kept(new.grad, at.grad), parts), probability


def tune(
    log_p: Target,
    at: Point,
    step: Tensor,
    n_steps: int,
    rng: torch.Generator,
    *,
    moves: int,
    target_accept: float = 0.9,
    jitter: float = 0.0,
) -> tuple[Point, Tensor]:
    """Move every chain, and adapt each one's own step size towards an acceptance probability; only a pilot may do this.

    After move i the logarithm of a step size grows by (probability - target_accept) · 4 / √i (Robbins & Monro 1951). The
    average over the second half of the moves is returned, to be used unchanged from then on.

    Args:
        log_p: the target.
        at: where the chains are.
        step: the first step sizes (..., 1).
        n_steps: leapfrog steps a move.
        rng: randomness.
        moves: how many moves.
        target_accept: the acceptance probability to reach.
        jitter: see `move`.

    Returns:
        Where the chains are then, and the step sizes (..., 1).
    """
    log_step, total = step.log(), torch.zeros_like(step)
    for i in range(1, moves + 1):
        at, probability = move(log_p, at, log_step.exp(), n_steps, rng, jitter=jitter)
        log_step = log_step + (probability.unsqueeze(-1) - target_accept) * 4.0 / i**0.5
        if i > moves // 2:
            total += log_step
    return at, (total / (moves - moves // 2)).exp()
