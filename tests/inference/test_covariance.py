"""Gaussian posteriors with structured covariances against dense matrices, in double precision."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from harness import api
from harness.inference.covariance import FullGaussian, RankOneGaussian

B = 3
LAYERS = [(4,), (3, 4), (1, 2, 3)]
Posterior = RankOneGaussian | FullGaussian


def block_diagonal(blocks: list[Tensor]) -> Tensor:
    """Return (B, Z, Z) from blocks (B, K, K)."""
    return torch.stack([torch.block_diag(*(block[b] for block in blocks)) for b in range(B)])


def rank_one(sizes: tuple[int, ...], size: float = 1.0) -> tuple[RankOneGaussian, Tensor, Tensor]:
    """Return a posterior, its mean, and the dense inverse of its precision D + u uᵀ."""
    rng = api.Streams(0)("parts")
    latents = api.Latents.of("continuous", *sizes)
    mean, log_var, u = (torch.randn(B, latents.total, generator=rng, dtype=torch.float64) for _ in range(3))
    u = size * u
    parts = zip(latents.split(log_var), latents.split(u), strict=True)
    precisions = [torch.diag_embed((-v).exp()) + w.unsqueeze(-1) * w.unsqueeze(-2) for v, w in parts]
    return RankOneGaussian(mean, log_var, u, latents), mean, block_diagonal([p.inverse() for p in precisions])


def full(sizes: tuple[int, ...]) -> tuple[FullGaussian, Tensor, Tensor]:
    """Return a posterior, its mean, and its covariance."""
    rng = api.Streams(0)("parts")
    latents = api.Latents.of("continuous", *sizes)
    mean = torch.randn(B, latents.total, generator=rng, dtype=torch.float64)
    roots = [torch.randn(B, k, k, generator=rng, dtype=torch.float64).tril(-1) for k in sizes]
    roots = [R + torch.diag_embed(R.new_empty(B, len(R[0])).uniform_(0.3, 2.0, generator=rng)) for R in roots]
    return FullGaussian(mean, roots, latents), mean, block_diagonal([R @ R.mT for R in roots])


BOTH = [rank_one, full]


@pytest.mark.parametrize("made", BOTH)
@pytest.mark.parametrize("sizes", LAYERS)
def test_they_are_those_of_the_dense_matrix(made, sizes: tuple[int, ...], rng: torch.Generator) -> None:
    """Covariance of samples, by the root that takes noise to them; density, entropy and KL: all to 1e-10."""
    q, mean, covariance = made(sizes)
    Z = sum(sizes)
    unit = torch.eye(Z, dtype=torch.float64).unsqueeze(1).expand(-1, B, -1)  # (Z, B, Z), each a direction of the noise
    root = (q.transform(unit) - mean).permute(1, 2, 0)  # (B, Z, Z)
    torch.testing.assert_close(root @ root.mT, covariance, rtol=1e-10, atol=1e-10)
    dense = MultivariateNormal(mean, covariance)
    z = torch.randn(5, B, Z, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), dense.log_prob(z), rtol=1e-10, atol=1e-10)
    entropy = 0.5 * (q.log_det() + Z * (1.0 + math.log(2.0 * math.pi)))
    torch.testing.assert_close(entropy, dense.entropy(), rtol=1e-10, atol=1e-10)
    prior = MultivariateNormal(torch.zeros(Z, dtype=torch.float64), torch.eye(Z, dtype=torch.float64))
    torch.testing.assert_close(q.kl(), kl_divergence(dense, prior), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("made", BOTH)
def test_samples_have_their_moments(made) -> None:
    """Mean and covariance of 40,000 draws, within 5 standard errors: of 105 numbers, one in 20,000 seeds fails."""
    q, mean, covariance = made((3, 2))
    n = 40_000
    z = q.sample(n, api.Streams(1)("draws"))
    off = z - mean
    assert ((off.mean(0)) / (covariance.diagonal(dim1=-2, dim2=-1) / n).sqrt()).abs().max() < 5
    products = off.unsqueeze(-1) * off.unsqueeze(-2)  # (n, B, Z, Z)
    assert ((products.mean(0) - covariance) / (products.std(0) / math.sqrt(n))).abs().max() < 5


def test_a_precision_whose_rank_one_part_is_nothing_or_very_large() -> None:
    none, _, covariance = rank_one((3, 4), size=0.0)
    torch.testing.assert_close(none.log_det(), covariance.logdet())
    large, mean, _ = rank_one((3, 4), size=1e6)
    for value in (large.kl(), large.log_prob(mean.unsqueeze(0)), large.sample(2, torch.Generator())):
        assert value.isfinite().all()


def test_rank_one_takes_time_and_memory_linear_in_the_size_of_a_layer() -> None:
    """A matrix of this layer would take 160 GB."""
    mean, log_var, u = torch.randn(3, 1, 200_000, generator=torch.Generator().manual_seed(0)).unbind()
    q = RankOneGaussian(mean, log_var, 0.01 * u, api.Latents.of("continuous", 200_000))
    z = q.sample(2, torch.Generator())
    assert z.isfinite().all()
    assert q.log_prob(z).isfinite().all()
    assert q.kl().isfinite().all()


@pytest.mark.parametrize("made", [api.RankOneEncoder, api.FullEncoder])
def test_networks_may_say_of_each_point_any_covariance(made, rng: torch.Generator) -> None:
    """Different points have different ones, and what is drawn is the same with and without a gradient."""
    encoder = made(5, (2, 3), (4,), 1.0, torch.float64)
    encoder.params.normal_(0.7, rng)
    q = encoder.posterior(torch.randn(B, 5, generator=rng, dtype=torch.float64))
    assert len(q.log_det().unique()) == B
    torch.testing.assert_close(q.sample(2, api.Streams(0)("a")), q.rsample(2, api.Streams(0)("a")), rtol=0, atol=0)
