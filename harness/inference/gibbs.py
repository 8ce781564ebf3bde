"""Gibbs sampling of binary variables for many chains at once, one variable at a time, with any density that can be evaluated.

Chains may be laid out in any shape: ... below stands for (C,), or (S, B) for S chains at each of B data points.

Stuart Geman and Donald Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images", IEEE PAMI 6
(1984); for sigmoid belief nets Radford Neal, "Connectionist learning of belief networks", Artificial Intelligence 56 (1992). An
update proposes to flip a variable, from z to z', and accepts that with probability p(z') / (p(z) + p(z')): the variable is then
drawn from its conditional distribution. Metropolis' rule min(1, p(z') / p(z)) accepts more flips, and leaves p as it is, too (Jun
Liu, "Peskun's theorem and a modified discrete-state Gibbs sampler", Biometrika 83, 1996).
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness.inference.protocols import LatentVariableModel

Sampler = Literal["gibbs", "metropolis"]
"""The rule by which a flip is accepted."""


class Point(NamedTuple):
    """Where chains are.

    Attributes:
        z: their positions (..., Z), 0 or 1.
        log_p: the target's log density there, up to a constant for each chain (...).
        parts: what the target was made of there, if it says so, each (...).
    """

    z: Tensor
    log_p: Tensor
    parts: tuple[Tensor, ...] = ()


Target = Callable[[Tensor], Point]
"""A log density to sample: z (..., Z) -> its value there."""


def joint(model: LatentVariableModel, x: Tensor) -> Target:
    """Return the target log p(x, z) of a model, z (..., B, Z) for its points x (B, D): the posterior, not normalised."""

    @torch.no_grad()
    def at(z: Tensor) -> Point:
        return Point(z, model.log_p_xz(x, z))

    return at


@torch.no_grad()
def move(
    target: Target, at: Point, which: Iterable[int], rng: torch.Generator, *, sampler: Sampler = "gibbs"
) -> tuple[Point, Tensor]:
    """Update some variables of every chain, one after the other, the same ones in all chains.

    The density of where a chain is stays known, so an update evaluates one state a chain.

    Args:
        target: the target.
        at: where the chains are.
        which: the variables to update, in this order, which must not depend on where the chains are.
        rng: randomness.
        sampler: the rule by which a flip is accepted.

    Returns:
        Where the chains are then, and the mean probability with which each chain's flips were accepted (...). A state whose
        density is no number is never entered.
    """
    total, updates = torch.zeros_like(at.log_p), 0
    for i in which:
        z = at.z.clone()
        z[..., i] = 1 - z[..., i]
        new = target(z)
        log_ratio = (new.log_p - at.log_p).nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        probability = log_ratio.sigmoid() if sampler == "gibbs" else log_ratio.clamp(max=0.0).exp()
        accepted = torch.rand(probability.shape, generator=rng, dtype=probability.dtype) < probability
        parts = tuple(torch.where(accepted, *both) for both in zip(new.parts, at.parts, strict=True))
        z = torch.where(accepted.unsqueeze(-1), z, at.z)
        at = Point(z, torch.where(accepted, new.log_p, at.log_p), parts)
        total, updates = total + probability, updates + 1
    return at, total / max(updates, 1)
