"""A Gaussian encoder with one tanh layer, differentiated by hand.

Kingma & Welling (2014), arXiv 1312.6114, appendix C.2:  q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄.
"""

from typing import Any

import torch
from torch import Tensor

from harness import native
from harness.inference.factored import Factored, from_factors
from harness.inference.metered import MeteredFunction, metered
from harness.inference.parameters import Parameters
from harness.inference.posterior import DiagonalGaussian


class EncodedGaussian(DiagonalGaussian):
    """q(z|x) = N(μ, σ² I) for the points x (B, D) of one batch, beside the prior N(0, I).

    (μ, log σ²) = W₄ h + b₄, h = tanh(W₃ x + b₃), are computed when first asked for. With σ = exp(½ log σ²) and ε ~ N(0, I)

        z = μ + σ ε                                                ∂z/∂μ = 1                 ∂z/∂ log σ² = ½ σ ε
        KL = ½ Σ_j μ_j² + σ_j² - log σ_j² - 1                      ∂KL/∂μ = μ                ∂KL/∂ log σ² = ½ (σ² - 1)
        log q = -½ Σ_j e_j² + log σ_j² + log 2π,  e = (z - μ)/σ    ∂ log q/∂μ = e/σ          ∂ log q/∂ log σ² = ½ (e² - 1)
    """

    def __init__(self, params: Parameters, x: Tensor):
        self._params, self._x = params, x
        self._statistics: Tensor | None = None
        self._encoded: tuple[Tensor, Tensor] | None = None  # the same without autograd, behind the hidden units

    @property
    def statistics(self) -> Tensor:
        """(μ, log σ²), (B, 2Z)."""
        if torch._C._are_functorch_transforms_active():
            W3, W4, b3, b4 = self._params.split()
            return (self._x @ W3 + b3).tanh() @ W4 + b4
        wanted = torch.is_grad_enabled() and self._params.flat.requires_grad
        if self._statistics is None or (wanted and not self._statistics.requires_grad):
            self._statistics = _Encode.apply(self._params.flat, self._x, self._params) if wanted else self._up()
        return self._statistics

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return μ and log σ², (B, Z) each."""
        mean, log_var = self.statistics.chunk(2, dim=-1)
        return mean, log_var

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z = μ + σ ε (eq. 4), (n, B, Z), differentiable in μ and σ."""
        if torch.is_grad_enabled():
            self._statistics = None  # a graph of its own, which results asked for afterwards share
        statistics = self.statistics
        mean, log_var = statistics.chunk(2, dim=-1)
        return torch.addcmul(mean, (0.5 * log_var).exp(), gaussian_noise(n, statistics, rng))

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), without a gradient."""
        if not native.serves(self._params.flat):
            return super().sample(n, rng)
        statistics = self._up()
        return native.gaussian_draw(statistics, gaussian_noise(n, statistics, rng))[0]

    # The same without autograd, for algorithms that ask for gradients themselves. Every gradient of φ is overwritten by the next.

    def reparameterise(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z (n, B, Z) and return it with the KL (B,); `pull_back` then has their gradient."""
        statistics = self._up()
        noise = gaussian_noise(n, statistics, rng)
        z, self._moved, kl = native.gaussian_draw(statistics, noise)
        return z, kl

    def pull_back(self, g_z: Tensor, g_kl: float) -> Tensor:
        """Return ∂/∂φ of what has derivative g_z (n, B, Z) by the z that `reparameterise` drew, and g_kl by each KL."""
        return self._gradient(native.gaussian_pull(self._up(), self._moved, g_z, g_kl))

    def gradients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(z|x) of z (S, B, Z), (S, B), and ∂/∂φ of its sum."""
        log_q, g_s = native.gaussian_score(self._up(), z.detach())
        return log_q, self._gradient(g_s)

    def _up(self) -> Tensor:
        """Return (μ, log σ²), (B, 2Z)."""
        if self._encoded is None:
            self._encoded = _encode(self._params, self._x)
        return self._encoded[1]

    def _gradient(self, g_s: Tensor) -> Tensor:
        assert self._encoded is not None
        return from_factors(self._params, _factors(self._params, self._x, self._encoded[0], g_s))


class GaussianEncoder:
    """The recognition model q(z|x), for z of the prior N(0, I).

    Args:
        dim: D, observed dimensions.
        nz: Z, latents.
        hidden: tanh units.
        prior_sd: of the prior on weight matrices.
        dtype: of the parameters.
    """

    posterior_type = EncodedGaussian

    def __init__(self, dim: int, nz: int, hidden: int, prior_sd: float, dtype: torch.dtype):
        Z, H = nz, hidden
        self.params = Parameters(
            {"W3": (dim, H), "W4": (H, 2 * Z)}, {"b3": (H,), "b4": (2 * Z,)}, prior_sd=prior_sd, dtype=dtype
        )

    @metered(rows="encoder", count="x")
    def posterior(self, x: Tensor) -> EncodedGaussian:
        """Return q(z|x) for x (B, D)."""
        return EncodedGaussian(self.params, x)


def gaussian_noise(n: int, statistics: Tensor, rng: torch.Generator) -> Tensor:
    """Draw ε for n samples of each point of (μ, log σ²) (B, 2Z), (n, B, Z)."""
    B, Z = statistics.shape[0], statistics.shape[1] // 2
    return torch.randn(n, B, Z, generator=rng, dtype=statistics.dtype, device=statistics.device)


def _encode(params: Parameters, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return h = tanh(W₃ x + b₃) (B, H) and (μ, log σ²) = W₄ h + b₄ (B, 2Z)."""
    hidden, last = params.layers
    h = hidden.tanh(x)
    return h, last.affine(h)


def _factors(params: Parameters, x: Tensor, h: Tensor, g_s: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Take ∂/∂(μ, log σ²) (B, 2Z) down through W₄ and tanh, and return the factors of ∂/∂φ."""
    return [(x, params.layers[1].tanh_back(g_s, h)), (h, g_s)]


class _Encode(MeteredFunction):
    """(μ, log σ²), for autograd."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, params: Parameters) -> Tensor:
        h, statistics = _encode(params, x)
        ctx.save_for_backward(flat, x, h)
        ctx.params = params
        return statistics

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        MeteredFunction.enter(ctx)
        flat, x, h = ctx.saved_tensors
        factors = _factors(ctx.params, x, h, grad)
        return Factored(ctx.params, factors).dense(torch.empty_like(flat)), None, None
