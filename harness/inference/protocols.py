"""What models, recognition models and posteriors can do: a typed protocol for each capability.

Shapes: S samples, B points of a batch, D observed dimensions, Z latents of all layers together, L layers.
Every log density, bound and objective is in nats per datapoint, and higher is better.

A model need not inherit from a protocol: it satisfies those whose members it has. An algorithm names the protocols that it needs
in `Traits.needs`, an estimator in `NEEDS`, and the conformance suite checks every protocol that a plugin satisfies. Protocols of
models whose normaliser is unknown are in `undirected`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from harness.inference.metered import metered
from harness.inference.parameters import Parameters

Kind = Literal["binary", "unit", "real", "counts"]
"""What observations are: {0, 1}, [0, 1], real numbers, or how often each word of a vocabulary occurs in a document.

The density of counts x is that of the words in their order, given how many there are: log p(x) = Σ_w x_w log π_w where words are
independent, without the multinomial coefficient (Σ_w x_w)! / Π_w x_w!. Perplexity per word is then comparable between models.
"""
LatentKind = Literal["continuous", "binary"]


class Layer(NamedTuple):
    """A layer of latent variables: their kind, and how many there are."""

    kind: LatentKind
    size: int


@dataclass(frozen=True)
class Latents:
    """The latent variables of a model.

    Attributes:
        layers: the layers, the one next to the data first.
    """

    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, kind: LatentKind, *sizes: int) -> "Latents":
        """Return layers of one kind with these sizes."""
        return cls(tuple(Layer(kind, size) for size in sizes))

    @property
    def total(self) -> int:
        """Latents of all layers together: the last dimension of every z."""
        return sum(layer.size for layer in self.layers)

    def only(self, kind: LatentKind) -> bool:
        """Say whether all layers are of one kind."""
        return all(layer.kind == kind for layer in self.layers)

    @property
    def kinds(self) -> str:
        """The kinds of the layers, in words."""
        return " and ".join(dict.fromkeys(layer.kind for layer in self.layers))

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the layers of z (..., Z), the one next to the data first."""
        return (z,) if len(self.layers) == 1 else z.split_with_sizes([layer.size for layer in self.layers], dim=-1)


# -- generative models


@runtime_checkable
class GenerativeModel(Protocol):
    """p(x). Methods carry `@api.metered(...)`, which says what they count; others are hidden from algorithms.

    Attributes:
        params: its parameters θ.
        kind: the kind of observation that it describes.
        dim: D, observed dimensions.
        normalised: whether its densities are normalised. If not, a constant log Z is unknown, and log f(x) is no likelihood.
    """

    params: Parameters
    kind: Kind
    dim: int
    normalised: bool

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) from p(x)."""
        ...


@runtime_checkable
class LatentVariableModel(GenerativeModel, Protocol):
    """p(x, z) = p(z) p(x|z), with latents that can be drawn.

    A class that inherits from this one gets `log_p_xz` and `sample` from what it has besides.

    Attributes:
        latents: kind and size of each layer.
    """

    latents: Latents

    def log_p_z(self, z: Tensor) -> Tensor:
        """Return the log prior density of z (S, B, Z), shape (S, B)."""
        ...

    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), shape (S, B)."""
        ...

    @metered(samples=True, rows="decoder", count="z")
    def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x, z), shape (S, B)."""
        return self.log_p_x_given_z(x, z) + self.log_p_z(z)

    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from p(z)."""
        ...

    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        ...

    @metered(fantasies=True, rows="decoder", count="n")
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) from p(x)."""
        return self.sample_xz(n, rng)[0]


@runtime_checkable
class LayeredModel(LatentVariableModel, Protocol):
    """A model whose layers each depend on the one above alone: p(x|z₁) p(z₁|z₂) … p(z_L)."""

    def log_p_layers(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z₁), log p(z₁|z₂), …, log p(z_L), shape (S, B, L + 1): their sum is log p(x, z)."""
        ...


Pull = Callable[[Tensor | float], Tensor]
"""Takes a weight of every log density, or one number for all, and returns the gradient of their weighted sum.

The next call may overwrite it.
"""


@runtime_checkable
class LayerGradients(LayeredModel, Protocol):
    """A layered model that computes gradients itself, sooner than autograd, where the weights of rows are known afterwards."""

    def layer_gradients(self, x: Tensor, z: Tensor) -> tuple[Tensor, Pull]:
        """Return `log_p_layers` (S, B, L + 1), and what takes weights, (S, B) or a number, to ∂/∂θ of Σ weight · log p(x, z)."""
        ...


@runtime_checkable
class FactorialModel(LatentVariableModel, Protocol):
    """A model whose observed entries are independent given z, so that some can be drawn given others."""

    def log_p_entries(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x_d|z) of each entry of x (B, D) given z (S, B, Z), shape (S, B, D), without a gradient."""
        ...

    def sample_x(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (S, B, D) from p(x|z) of z (S, B, Z)."""
        ...


@runtime_checkable
class TractableModel(GenerativeModel, Protocol):
    """A model whose log p(x) can be evaluated and differentiated."""

    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of x (B, D), shape (B,), differentiable by θ."""
        ...


@runtime_checkable
class ClosedFormEM(TractableModel, Protocol):
    """A tractable model with latents that are summed over, both of whose steps of EM have a closed form."""

    def expected_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x) of x (B, D), (B,), and the summed expected statistics of x and its latents, laid out like θ."""
        ...

    def maximise(self, statistics: Tensor, pseudo_count: float) -> None:
        """Set θ to the maximum of the expected log p(x, z) of these statistics plus the log of the prior of a pseudo-count."""
        ...


@runtime_checkable
class OrderAgnosticModel(TractableModel, Protocol):
    """A tractable model of bits with a density in every order of them, which it learns in all at once."""

    def log_p_x_agnostic(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return an unbiased estimate of the mean of log p(x) over all orders, of x (B, D), (B,), differentiable by θ."""
        ...

    def log_p_x_in(self, x: Tensor, orders: Tensor) -> Tensor:
        """Return the log of the mean of p(x) over orders (K, D) of x (B, D), (B,), differentiable by θ."""
        ...


@runtime_checkable
class MeanImage(Protocol):
    """A model that knows the mean of x given z; `harness plot manifold` and `samples` draw it."""

    def mean_x(self, z: Tensor) -> Tensor:
        """Return E[x|z] of z (S, B, Z), shape (S, B, D)."""
        ...


@runtime_checkable
class HandDerived(Protocol):
    """A latent-variable model that computes gradients itself, sooner than autograd.

    A gradient by θ may be overwritten by the next call.
    """

    def gradients(
        self, x: Tensor, z: Tensor, weight: float = 1.0, by_z: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return log p(x|z) (S, B), and of weight · its sum the gradient by θ and, if asked for, by z (S, B, Z)."""
        ...

    def prior_gradients(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return log p(z) (S, B), and of its sum the gradient by θ; None where p(z) has no parameters."""
        ...

    def score(self, x: Tensor, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(x, z) (S, B), if asked for, and its gradient by z (S, B, Z)."""
        ...

    def prior_score(self, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(z) (S, B), if asked for, and its gradient by z (S, B, Z)."""
        ...


# -- posteriors and recognition models


@runtime_checkable
class Posterior(Protocol):
    """q(z|x) for the points of one batch."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n samples a point, shape (n, B, Z), without a gradient."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z|x) of z (S, B, Z), shape (S, B)."""
        ...


@runtime_checkable
class Reparameterised(Posterior, Protocol):
    """A posterior whose samples are a differentiable function of φ and of noise."""

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n samples a point, shape (n, B, Z), differentiable by φ; the same draws as `sample`."""
        ...


@runtime_checkable
class AnalyticKL(Posterior, Protocol):
    """A posterior whose KL to the model's prior has a closed form. Such a prior has no parameters."""

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || p(z)), shape (B,)."""
        ...


@runtime_checkable
class MeanField(Posterior, Protocol):
    """A posterior that is a diagonal Gaussian."""

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return its means (B, Z) and log variances, (B, Z) or (Z,)."""
        ...


@runtime_checkable
class HandDerivedPosterior(Reparameterised, AnalyticKL, Protocol):
    """A posterior that computes gradients itself; each gradient by φ may be overwritten by the next."""

    def reparameterise(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z (n, B, Z) as `rsample` does, and return it with the KL (B,)."""
        ...

    def pull_back(self, g_z: Tensor, g_kl: float) -> Tensor:
        """Return the gradient by φ of what has gradient g_z (n, B, Z) by that z, and g_kl by every KL."""
        ...

    def gradients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(z|x) of z (S, B, Z), shape (S, B), and the gradient by φ of its sum."""
        ...


@runtime_checkable
class LayeredPosterior(Posterior, Protocol):
    """A posterior of layers: q(z₁|x) q(z₂|·) …, where each is given x or layers before it."""

    def log_layers(self, z: Tensor) -> Tensor:
        """Return the log density of each layer of z (S, B, Z), given what it is given, (S, B, L): their sum is log q(z|x)."""
        ...


@runtime_checkable
class LayerGradientsPosterior(LayeredPosterior, Protocol):
    """A posterior of layers that computes gradients itself, where the weights of rows are known afterwards."""

    def layer_gradients(self, z: Tensor) -> tuple[Tensor, Pull]:
        """Return `log_layers` (S, B, L), and what takes weights, (S, B, L), (S, B) or a number, to ∂/∂φ of their sum."""
        ...


@runtime_checkable
class ClosedFormPosterior(Protocol):
    """A model whose own posterior p(z|x) has a closed form."""

    def exact_posterior(self, x: Tensor) -> Posterior:
        """Return p(z|x) for x (B, D)."""
        ...


@runtime_checkable
class Recognition(Protocol):
    """A recognition model.

    Attributes:
        params: its parameters φ.
        posterior_type: the class of its posteriors, whose methods say which protocols they satisfy.
    """

    params: Parameters
    posterior_type: type[Any]

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z|x) for x (B, D)."""
        ...
