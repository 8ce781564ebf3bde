"""Points drawn from a linear-Gaussian model with known parameters, for which every answer is exact.

x = W z + μ + ε,  z ~ N(0, I),  ε ~ N(0, diag(ψ)):  log p(x) = log N(x; μ, W Wᵀ + diag(ψ)).  The model `linear-gaussian` holds it.
"""

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor

from harness import api


class Config(api.Config):
    """Sizes, and the draw of the true parameters."""

    true_nz: int = api.setting(3, "number of true latents", gt=0)
    dim: int = api.setting(20, "observed dimensions D", gt=0)
    n_train_points: int = api.setting(1000, "training points", gt=0)
    n_test_points: int = api.setting(1000, "test points", gt=0)
    truth: int = api.setting(0, "fixes the true parameters and the points", ge=0)
    missing: float = api.setting(0.0, "share of the entries that are missing, at random", ge=0, lt=1)


class Truth(NamedTuple):
    """The true parameters, in float64: W (Z, D), μ (D,) and ψ (D,)."""

    W: Tensor
    mean: Tensor
    noise: Tensor

    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of points (B, D), (B,)."""
        covariance = self.W.T @ self.W + torch.diag(self.noise)
        log_p: Tensor = torch.distributions.MultivariateNormal(self.mean, covariance).log_prob(x.double())
        return log_p


def truth(config: Config) -> Truth:
    """Return the parameters that the points are drawn with."""
    rng = api.Streams(config.truth)("toy linear gaussian parameters")
    W = torch.randn(config.true_nz, config.dim, generator=rng, dtype=torch.float64)
    mean = torch.randn(config.dim, generator=rng, dtype=torch.float64)
    noise = torch.empty(config.dim, dtype=torch.float64).uniform_(math.log(0.1), math.log(1.0), generator=rng).exp()
    return Truth(W, mean, noise)


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Draw the points; the same settings give the same ones."""
    W, mean, noise = truth(config)
    rng = api.Streams(config.truth)("toy linear gaussian points")
    n = config.n_train_points + config.n_test_points
    z = torch.randn(n, config.true_nz, generator=rng, dtype=torch.float64)
    x = z @ W + mean + noise.sqrt() * torch.randn(n, config.dim, generator=rng, dtype=torch.float64)
    points = x.float()
    if config.missing:
        rng = api.Streams(config.truth)("toy linear gaussian missing")
        points[torch.rand(points.shape, generator=rng) < config.missing] = math.nan
    return api.Dataset(
        train=points[: config.n_train_points],
        test=points[config.n_train_points :],
        kind="real",
        sha256=hashlib.sha256(points.numpy().tobytes()).hexdigest(),
        source="drawn from the model",
        missing=config.missing > 0,
    )
