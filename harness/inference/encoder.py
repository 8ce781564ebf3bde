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
        self._outs: list[Tensor] | None = None  # the same without autograd, behind the hidden units

    @property
    def statistics(self) -> Tensor:
        """(μ, log σ²), (B, 2Z)."""
        if torch._C._are_functorch_transforms_active():
            W3, W4, b3, b4 = self._params.split()
            return (self._x @ W3 + b3).tanh() @ W4 + b4
        wanted = torch.is_grad_enabled() and self._params.flat.requires_grad
        if self._statistics is None or (wanted and not self._statistics.requires_grad):
            self._statistics = _Encode.apply(self._params.flat, self._x, self._params) if wanted else self._up()[-1]
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

    def _up(self) -> list[Tensor]:
        """Return the hidden units, (B, H), and (μ, log σ²), (B, 2Z)."""
        if self._outs is None:
            self._outs = self._params.stack.up(self._x)
        return self._outs

    def _drawn(self, n: int, rng: torch.Generator) -> native.Draw:
        draw = native.Draw(self._params.stack, self._x, self._noise(n, rng))
        self._outs = draw.outs
        return draw

    def _noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ε for n samples of each point, (n, B, Z)."""
        return self._params.flat.new_empty(n, self._x.shape[0], self._params.stack.m // 2).normal_(generator=rng)


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
