"""Undirected models, p(x) = f(x) / Z with Z unknown, alone or on top: what they can do, a typed protocol for each capability.

Shapes: B points, C chains, D observed dimensions, H hidden units. Densities are in nats per datapoint, and higher is better. What
counts as a sample: a point of which log f is raised, and every move of every chain.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.inference.metered import metered
from harness.inference.parameters import Parameters
from harness.inference.protocols import GenerativeModel


@runtime_checkable
class UnnormalisedModel(GenerativeModel, Protocol):
    """p(x) = f(x) / Z, where log Z is for an estimator. A class that inherits from this one gets `contrast` from `log_f_x`."""

    def log_f_x(self, x: Tensor) -> Tensor:
        """Return log f(x) of x (B, D), minus the free energy, shape (B,), differentiable by θ."""
        ...

    def gibbs(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return x (C, D) after one move that leaves p(x) as it is."""
        ...

    @metered(samples=True, rows="decoder", count="x")
    def contrast(self, x: Tensor, chains: Tensor) -> Tensor:
        """Return the mean log f of points x (B, D) less that of chains (C, D), differentiable by θ.

        Where chains are draws from p(x), its gradient is on average that of the mean log p(x). The moves of chains have been
        counted, so that points alone count here.
        """
        log_f = self.log_f_x(torch.cat([x, chains]))
        return log_f[: len(x)].mean() - log_f[len(x) :].mean()


@runtime_checkable
class AnnealedModel(UnnormalisedModel, Protocol):
    """A model at the end of a path f_β from β = 0, a distribution to draw from whose Z is known, to β = 1, the model itself."""

    def log_z_base(self) -> Tensor:
        """Return log Z at β = 0, a scalar."""
        ...

    def sample_base(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) at β = 0."""
        ...

    def anneal(self, x: Tensor, before: float, after: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log f_after(x) - log f_before(x) of x (C, D), (C,), and x after a move that is reversible at β = after."""
        ...


@runtime_checkable
class BipartiteModel(UnnormalisedModel, Protocol):
    """A model of f(x) = Σ_h f(x, h), of which x can be summed out instead.

    Attributes:
        hidden: H, hidden units h, each 0 or 1.
    """

    hidden: int

    def log_f_h(self, h: Tensor) -> Tensor:
        """Return log Σ_x f(x, h) of h (B, H), (B,)."""
        ...


@runtime_checkable
class LayerwiseModel(GenerativeModel, Protocol):
    """A model of layers that learns a pair of neighbouring layers at a time, each by an undirected machine of its own.

    Attributes:
        pairs: how many; pair 0 is that of the data and the layer next to them.
        parts: the parameters of each pair.
    """

    pairs: int
    parts: Sequence[Parameters]

    def begin(self, pair: int) -> None:
        """Prepare a pair to learn, once those below have learned."""
        ...

    def up(self, x: Tensor, pair: int, rng: torch.Generator) -> Tensor:
        """Draw the lower layer of a pair given x (B, D), (B, ·): x itself for the first."""
        ...

    def gibbs_in(self, pair: int, h: Tensor, rng: torch.Generator) -> Tensor:
        """Return h (C, ·), the lower layer of a pair, after a Gibbs move of its machine."""
        ...

    def contrast_in(self, pair: int, h: Tensor, chains: Tensor) -> Tensor:
        """Return the mean log f of h (B, ·) by the machine of a pair less that of chains (C, ·), differentiable by its part."""
        ...


@runtime_checkable
class DeepModel(LayerwiseModel, Protocol):
    """A model whose uppermost pair is undirected, and whose lower layers are recognised: what evaluation needs, and no algorithm.

    Attributes:
        top: the machine of the uppermost pair.
    """

    top: UnnormalisedModel

    def log_f_bound(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return a lower bound on log Z p(x) of x (B, D), (B,), with Z of the top machine."""
        ...
