"""Recognition models that are one network, and the diagonal-Gaussian encoder, all differentiated by hand.

Kingma & Welling (2014), arXiv 1312.6114, appendix C.2:  q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness import native
from harness.inference.factored import Factored, from_factors
from harness.inference.metered import MeteredFunction, metered
from harness.inference.parameters import Parameters
from harness.inference.posterior import DiagonalGaussian
from harness.inference.protocols import Latents


class Encoded:
    """What a network says of the points x (B, D) of one batch, its statistics, computed when first asked for.

    Args:
        params: of the network.
        x: the points.
        latents: the layers of z.
    """

    def __init__(self, params: Parameters, x: Tensor, latents: Latents):
        self._params, self._x, self._latents = params, x, latents
        self._statistics: Tensor | None = None
        self._outs: list[Tensor] | None = None  # the same without autograd, behind the hidden units

    @property
    def statistics(self) -> Tensor:
        """The network's outputs (B, ·)."""
        if torch._C._are_functorch_transforms_active():
            return self._params.outputs(self._x)
        wanted = torch.is_grad_enabled() and self._params.flat.requires_grad
        if self._statistics is None or (wanted and not self._statistics.requires_grad):
            self._statistics = _Encode.apply(self._params.flat, self._x, self._params) if wanted else self._up()[-1]
        return self._statistics

    def _anew(self) -> None:
        """Give samples that are to be differentiated a graph of their own, which results asked for afterwards share."""
        if torch.is_grad_enabled():
            self._statistics = None

    def _up(self) -> list[Tensor]:
        """Return the hidden units, (B, ·) each, and the statistics."""
        if self._outs is None:
            self._outs = self._params.stack.up(self._x)
        return self._outs

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ε for n samples of each point, (n, B, Z)."""
        return self._params.flat.new_empty(n, self._x.shape[0], self._latents.total).normal_(generator=rng)


class EncodedGaussian(Encoded, DiagonalGaussian):
    """q(z|x) = N(μ, σ² I) for the points x (B, D) of one batch, beside the prior N(0, I).

    With the statistics (μ, log σ²) (B, 2Z), σ = exp(½ log σ²) and ε ~ N(0, I)

        z = μ + σ ε                                                ∂z/∂μ = 1                 ∂z/∂ log σ² = ½ σ ε
        KL = ½ Σ_j μ_j² + σ_j² - log σ_j² - 1                      ∂KL/∂μ = μ                ∂KL/∂ log σ² = ½ (σ² - 1)
        log q = -½ Σ_j e_j² + log σ_j² + log 2π,  e = (z - μ)/σ    ∂ log q/∂μ = e/σ          ∂ log q/∂ log σ² = ½ (e² - 1)
    """

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return μ and log σ², (B, Z) each."""
        mean, log_var = self.statistics.chunk(2, dim=-1)
        return mean, log_var

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z = μ + σ ε (eq. 4), (n, B, Z), differentiable in μ and σ."""
        self._anew()
        statistics = self.statistics
        mean, log_var = statistics.chunk(2, dim=-1)
        return torch.addcmul(mean, (0.5 * log_var).exp(), self._noise(n, rng))

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), without a gradient."""
        if not native.serves(self._params.flat):
            return super().sample(n, rng)
        return self._drawn(n, rng).z

    # The same without autograd, for algorithms that ask for gradients themselves. Every gradient of φ is overwritten by the next.

    def reparameterise(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z (n, B, Z) and return it with the KL (B,); `pull_back` then has their gradient."""
        self._draw = self._drawn(n, rng)
        return self._draw.z, self._draw.kl

    def pull_back(self, g_z: Tensor, g_kl: float) -> Tensor:
        """Return ∂/∂φ of what has derivative g_z (n, B, Z) by the z that `reparameterise` drew, and g_kl by each KL."""
        return from_factors(self._params, self._draw.pull(g_z, g_kl))

    def gradients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(z|x) of z (S, B, Z), (S, B), and ∂/∂φ of its sum."""
        *units, statistics = self._up()
        log_q, g_s = native.gaussian_score(statistics, z.detach())
        return log_q, from_factors(self._params, self._params.stack.down(self._x, units, g_s)[0])

    def _drawn(self, n: int, rng: torch.Generator) -> native.Draw:
        draw = native.Draw(self._params.stack, self._x, self._noise(n, rng))
        self._outs = draw.outs
        return draw


class Encoder:
    """A recognition model that is one network of x; a kind of encoder says what its posteriors are.

    Args:
        dim: D, observed dimensions.
        sizes: of the layers of latents.
        hidden: units of each hidden layer, the one next to the data first.
        prior_sd: of the prior on weight matrices.
        dtype: of the parameters.
        activation: of the hidden units.
        mean: of the data (D,), which stands for entries of x that are missing; None where none may be.
    """

    posterior_type: type[Any]

    def __init__(
        self,
        dim: int,
        sizes: Sequence[int],
        hidden: Sequence[int],
        prior_sd: float,
        dtype: torch.dtype,
        activation: native.Activation = "tanh",
        mean: Tensor | None = None,
    ):
        self._mean = mean
        self._latents = Latents.of("continuous", *sizes)
        self.params = Parameters.network(
            [dim, *hidden, self.n_outputs(sizes)],
            first=len(hidden) + 2,  # behind those of a decoder like this
            prior_sd=prior_sd,
            dtype=dtype,
            activation=activation,
        )

    @staticmethod
    def n_outputs(sizes: Sequence[int]) -> int:
        """Return how many outputs the network has, for layers of these sizes."""
        raise NotImplementedError

    @metered(rows="encoder", count="x")
    def posterior(self, x: Tensor) -> Any:
        """Return q(z|x) for x (B, D)."""
        if self._mean is not None:
            x = torch.where(x.isnan(), self._mean.to(x), x)
        return self.posterior_type(self.params, x, self._latents)


class GaussianEncoder(Encoder):
    """The recognition model q(z|x) = N(μ, σ² I), for z of the prior N(0, I). See `Encoder` for the arguments."""

    posterior_type = EncodedGaussian

    @staticmethod
    def n_outputs(sizes: Sequence[int]) -> int:
        """See `Encoder.n_outputs`: a mean and a log variance for each latent."""
        return 2 * sum(sizes)


class _Encode(MeteredFunction):
    """(μ, log σ²), for autograd."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, params: Parameters) -> Tensor:
        *units, statistics = params.stack.up(x)
        ctx.save_for_backward(flat, x, *units)
        ctx.params = params
        return statistics

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        MeteredFunction.enter(ctx)
        flat, x, *units = ctx.saved_tensors
        factors, _ = ctx.params.stack.down(x, units, grad)
        return Factored(ctx.params, factors).dense(torch.empty_like(flat)), None, None
