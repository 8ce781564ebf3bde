"""Imputation: a Markov chain that draws the entries of x that are missing, given those that are observed.

Danilo Rezende, Shakir Mohamed and Daan Wierstra, "Stochastic backpropagation and approximate inference in deep generative models"
(2014), arXiv 1401.4082, appendix F. With v the entries of x, drawn where they are missing, every iteration draws

    z ~ q(z|v)    and then    v_missing ~ p(v_missing|z)

Where q is the posterior, the chain leaves p(z, v_missing | v_observed) as it is, and is Gibbs sampling of it. A recognition model
that is not exact leads to another distribution, near it. Without a recognition model, z takes a step of a Markov chain on its
posterior given the observed entries alone, so that what is drawn for the others does not hold it back.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from harness.inference import gibbs, posterior
from harness.inference.protocols import FactorialModel, LatentVariableModel, Recognition

LEAPFROG, BURN_IN = 4, 50  # steps of an HMC move, and moves before the first iteration, which tune its step sizes

DrawLatents = Callable[[Tensor], Tensor]
"""Draws z (1, B, Z) given complete points v (B, D)."""


class Iteration(NamedTuple):
    """One iteration of the chains of B points.

    Attributes:
        z: latents (1, B, Z), drawn given the points of the iteration before.
        v: the points (B, D), their missing entries drawn given z.
    """

    z: Tensor
    v: Tensor


def chain(
    model: FactorialModel, draw_z: DrawLatents, x: Tensor, start: Tensor, rng: torch.Generator
) -> Iterator[Iteration]:
    """Yield iterations without end.

    Args:
        model: the generative model.
        draw_z: how latents are drawn: `by_recognition`, `by_hmc` or `by_gibbs`.
        x: points (B, D), NaN where an entry is missing.
        start: what its missing entries begin at (B, D).
        rng: draws them.
    """
    missing = x.isnan()
    v = torch.where(missing, start, x)
    while True:
        z = draw_z(v)
        v = torch.where(missing, model.sample_x(z, rng)[0], x)
        yield Iteration(z, v)


def by_recognition(recognition: Recognition, rng: torch.Generator) -> DrawLatents:
    """Return what draws z from q(z|v)."""
    return lambda v: recognition.posterior(v).sample(1, rng)


def by_hmc(model: LatentVariableModel, x: Tensor, rng: torch.Generator) -> DrawLatents:
    """Return what moves z by HMC on p(z | the entries of x that are observed), after a burn-in: for continuous latents.

    Args:
        model: built for data of which entries may be missing.
        x: points (B, D), NaN where an entry is missing.
        rng: randomness.
    """
    chains = posterior.Chains(model, None, x, rng, leapfrog=LEAPFROG, burn_in=BURN_IN)
    return lambda v: chains.sample(1)[0]


def by_gibbs(model: LatentVariableModel, x: Tensor, rng: torch.Generator) -> DrawLatents:
    """Return what updates each z once, in random order, on p(z | the entries of x that are observed): for binary latents.

    Chains begin at the likeliest of many draws from the prior. Arguments are as of `by_hmc`.
    """
    target = gibbs.joint(model, x)
    at = target(posterior.likely(model, None, x, rng, 1))

    def draw(v: Tensor) -> Tensor:
        nonlocal at
        order = torch.randperm(at.z.shape[-1], generator=rng).tolist()
        at, _ = gibbs.move(target, at, order, rng)
        return at.z

    return draw
