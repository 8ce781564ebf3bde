"""Linear-Gaussian model, factor analysis or probabilistic PCA: log p(x), posterior and gradients have closed forms.

    p(z) = N(0, I)    p(x|z) = N(x; W z + μ, Ψ)    p(x) = N(x; μ, W Wᵀ + Ψ)    p(z|x) = N(z; Σ Wᵀ Ψ⁻¹ (x - μ), Σ)
    Σ = (I + Wᵀ Ψ⁻¹ W)⁻¹

Ψ is diagonal (factor analysis), or a multiple of I (Michael Tipping and Christopher Bishop, "Probabilistic principal component
analysis", 1999). The recognition model is linear with one variance a latent; the true posterior lies in its family where Σ is
diagonal. Where entries of x are missing, all of this is of the rows of W, μ and Ψ of the others: each point has a Σ of its own.
The recognition model is given the data's mean in their place.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from harness import api

OBSERVES = ("real", "unit")

MISSING = True

LOG_2PI = math.log(2.0 * math.pi)


class Config(api.Config):
    """Sizes, noise, initialisation and prior."""

    nz: int = api.setting(3, "number of latents", gt=0)
    noise: Literal["diagonal", "isotropic"] = api.setting("diagonal", "diagonal: factor analysis; isotropic: PPCA")
    init_sd: float = api.setting(0.01, "initial weights and biases are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["LinearGaussian", "LinearEncoder"]:
    """Return a new model and its recognition model."""
    model, recognition = LinearGaussian(config, data, dtype), LinearEncoder(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


class LinearGaussian(api.LatentVariableModel):
    """p(x, z), with p(x) and p(z|x) in closed form. Parameters: Wᵀ (Z, D), μ (D,) and log Ψ, (D,) or (1,)."""

    normalised = True

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        self.kind, self.dim, self._missing = data.kind, data.dim, data.missing
        self.latents = api.Latents.of("continuous", config.nz)
        noise = (data.dim if config.noise == "diagonal" else 1,)
        self.expects = api.Expects(learned_variance=config.noise == "diagonal")
        self.params = api.Parameters(
            {"W": (config.nz, data.dim)},
            {"mean": (data.dim,), "log_noise": noise},
            prior_sd=config.prior_sd,
            dtype=dtype,
        )

    @api.metered()
    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I), (S, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        return -0.5 * self._terms(x, z).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    @torch.no_grad()
    def log_p_entries(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x_d|z) of each entry of x (B, D) given z (S, B, Z), (S, B, D)."""
        return -0.5 * self._terms(x, z)

    def _terms(self, x: Tensor, z: Tensor) -> Tensor:
        """Return -2 log p(x_d|z) (S, B, D); 0 where an entry is missing."""
        W, mean, log_noise = self.params.split()
        if not self._missing:
            error = x - z @ W - mean
            return error.square() * (-log_noise).exp() + log_noise + LOG_2PI
        gone = x.isnan()
        error = x.masked_fill(gone, 0.0) - z @ W - mean
        return (error.square() * (-log_noise).exp() + log_noise + LOG_2PI).masked_fill(gone, 0.0)

    @api.metered(rows="decoder", count="z")
    @torch.no_grad()
    def mean_x(self, z: Tensor) -> Tensor:
        """Return E[x|z] of z (S, B, Z), (S, B, D)."""
        W, mean, _ = self.params.views
        return z @ W + mean

    @api.metered(fantasies=True, rows="decoder", count="z")
    @torch.no_grad()
    def sample_x(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (S, B, D) from p(x|z) of z (S, B, Z)."""
        W, mean, log_noise = self.params.views
        noise = torch.randn(*z.shape[:-1], len(mean), generator=rng, dtype=W.dtype)
        return z @ W + mean + (0.5 * log_noise).exp() * noise

    @api.metered()
    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from N(0, I)."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        z = self.sample_z(n, rng)
        return self.sample_x(z, rng), z

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of x (B, D), (B,), differentiable: by Σ, in Z dimensions (Woodbury), and not in D."""
        W, mean, log_noise = self.params.split()
        centred = x - mean
        mu, chol = self._posterior(W, centred, log_noise)
        # log p(x) = log p(x, z) - log p(z|x) at z = E[z|x], where log p(z|x) = -½ Z log 2π + ½ log |Σ⁻¹|.
        log_joint = self.log_p_xz(x, mu.unsqueeze(0)).squeeze(0)
        return log_joint + 0.5 * len(W) * LOG_2PI - chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @api.metered(rows="decoder", count="x")
    def exact_posterior(self, x: Tensor) -> "FullGaussian":
        """Return p(z|x) for x (B, D)."""
        W, mean, log_noise = self.params.split()
        return FullGaussian(*self._posterior(W, x - mean, log_noise))

    def _posterior(self, W: Tensor, centred: Tensor, log_noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return E[z|x] (B, Z) and the Cholesky factor of Σ⁻¹, (Z, Z), or (B, Z, Z) where entries may be missing."""
        scaled = W * (-log_noise).exp()  # Wᵀ Ψ⁻¹
        if not self._missing:
            chol = torch.linalg.cholesky(torch.eye(len(W), dtype=W.dtype) + scaled @ W.T)
            return torch.cholesky_solve((centred @ scaled.T).T, chol).T, chol
        gone = centred.isnan()
        outer = (scaled.unsqueeze(1) * W).flatten(0, 1)  # of each entry, (Z², D)
        precision = ((~gone).to(W.dtype) @ outer.T).view(-1, len(W), len(W))  # summed over those observed
        chol = torch.linalg.cholesky(torch.eye(len(W), dtype=W.dtype) + precision)
        pulled = centred.masked_fill(gone, 0.0) @ scaled.T  # (B, Z)
        return torch.cholesky_solve(pulled.unsqueeze(-1), chol).squeeze(-1), chol


class FullGaussian:
    """N(m, (C Cᵀ)⁻¹) for every point of a batch: means m (B, Z), and C, the Cholesky factor of the precision.

    C is (Z, Z), or (B, Z, Z) where each point has its own.
    """

    def __init__(self, mean: Tensor, chol: Tensor):
        self.mean, self.chol = mean, chol

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), differentiable."""
        noise = torch.randn(n, *self.mean.shape, generator=rng, dtype=self.mean.dtype)
        moved = torch.linalg.solve_triangular(self.chol, self._rows(noise), upper=False, left=False)
        z: Tensor = self.mean + moved.view_as(noise)
        return z

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), without a gradient."""
        return self.rsample(n, rng)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        white = (self._rows(z - self.mean) @ self.chol).view_as(z)
        log_det = self.chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_p: Tensor = -0.5 * (white.square() + LOG_2PI).sum(-1) + log_det
        return log_p

    def _rows(self, z: Tensor) -> Tensor:
        """Return z (S, B, Z) as what C multiplies: each row by itself where it has a C of its own."""
        return z if self.chol.ndim == 2 else z.unsqueeze(-2)


class LinearEncoder:
    """q(z|x) = N(A x + a, diag(σ²)), the variances the same for all points."""

    posterior_type = api.posterior.DiagonalGaussian

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        self._mean = data.mean.to(dtype) if data.missing else None  # for entries that are missing
        self.params = api.Parameters(
            {"A": (data.dim, config.nz)},
            {"a": (config.nz,), "log_var": (config.nz,)},
            prior_sd=config.prior_sd,
            dtype=dtype,
        )

    @api.metered(rows="encoder", count="x")
    def posterior(self, x: Tensor) -> api.posterior.DiagonalGaussian:
        """Return q(z|x) for x (B, D)."""
        A, a, log_var = self.params.split()
        if self._mean is not None:
            x = torch.where(x.isnan(), self._mean.to(x), x)
        return api.posterior.DiagonalGaussian(torch.addmm(a, x, A), log_var)
