"""A linear-Gaussian model whose best diagonal Gaussians are known in closed form: for the tests of mean-field inference."""

from typing import NamedTuple

import torch
from torch import Tensor

from harness import api
from harness.models import linear_gaussian


class Case(NamedTuple):
    """A model in float64, points drawn from it, and the optimum of each.

    The posterior is N(m, Λ⁻¹). Of all diagonal Gaussians, N(m, 1/Λ_jj) is nearest to it, and its KL divergence from it is
    ½ (Σ_j log Λ_jj - log|Λ|).
    """

    model: linear_gaussian.LinearGaussian
    recognition: linear_gaussian.LinearEncoder
    x: Tensor  # (B, D)
    mean: Tensor  # m, (B, Z)
    precision: Tensor  # Λ, (Z, Z)
    bound: Tensor  # (B,)

    @property
    def log_var(self) -> Tensor:
        """log 1/Λ_jj, (Z,)."""
        return -self.precision.diagonal().log()


def case(nz: int = 3, points: int = 20, dim: int = 10) -> Case:
    """Return a case whose posterior's correlations are strong."""
    data, streams = api.DataFacts("real", dim, points), api.Streams(3)
    config = linear_gaussian.Config(nz=nz, init_sd=0.6)
    model, recognition = linear_gaussian.build(config, data, streams, torch.float64)
    x = model.sample(points, streams("points"))
    with torch.no_grad():
        exact = model.exact_posterior(x)
        precision = exact.chol @ exact.chol.T
        kl = 0.5 * (precision.diagonal().log().sum() - precision.logdet())
        return Case(model, recognition, x, exact.mean, precision, model.log_p_x(x) - kl)
