"""IWAE's gradients against the gradient of E[L_K] by quadrature over the samples of one point, and their variances."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from harness.algorithms import iwae
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from harness import api
from harness.models import linear_gaussian
from harness.specs.run import make_spec
from harness.testing import conformance
from harness.training.loop import Training

POINT = torch.tensor([0.8, -0.4], dtype=torch.float64)
NODES = 40  # a dimension: doubling them moves no gradient below by 1e-9


def problem(seed: int = 1) -> api.Problem:
    """Return a linear-Gaussian model of one latent, and an encoder that is not its posterior, in float64."""
    facts = api.DataFacts("real", len(POINT), 100)
    models = linear_gaussian.build(linear_gaussian.Config(nz=1, init_sd=0.7), facts, api.Streams(seed), torch.float64)
    return api.Problem(*models, facts)


def exact(given: api.Problem, K: int) -> tuple[float, list[Tensor]]:
    """Return E[L_K] at POINT and its gradients by θ and φ: Gauss-Hermite quadrature over ε of z_k = m + σ ε_k, k = 1 … K."""
    u, weights = np.polynomial.hermite_e.hermegauss(NODES)
    grid = torch.tensor(list(itertools.product(u, repeat=K)))  # (nodes^K, K)
    mass = torch.tensor(list(itertools.product(weights, repeat=K))).prod(-1)
    W, mean, log_noise = given.model.params.split()
    A, a, log_var = given.recognition.params.split()
    q = Normal(POINT @ A + a, (0.5 * log_var).exp())
    z = (q.loc + q.scale * grid).unsqueeze(-1)  # (nodes^K, K, 1)
    log_p = Normal(0.0, 1.0).log_prob(z.squeeze(-1)) + Normal(z @ W + mean, (0.5 * log_noise).exp()).log_prob(
        POINT
    ).sum(-1)
    log_w = log_p - q.log_prob(z).squeeze(-1)
    bound = (mass / mass.sum() * (log_w.logsumexp(-1) - math.log(K))).sum()
    return bound.item(), list(torch.autograd.grad(bound, [given.model.params.flat, given.recognition.params.flat]))


def gradient_of(given: api.Problem, x: Tensor, rng: torch.Generator, **settings: Any) -> api.gradients.Bound:
    """Return an estimate of L_K and of its gradients, summed over points."""
    return iwae.gradient(iwae.init(given, iwae.Config(**settings), rng), api.Batch(x, torch.arange(len(x))))


def drawn(given: api.Problem, K: int, gradient: str, n: int = 100, rows: int = 500) -> tuple[Tensor, list[Tensor]]:
    """Return n independent estimates of L_K and of its gradients by θ and φ, each averaged over rows equal points."""
    x, rng = POINT.expand(rows, -1), api.Streams(3)("noise")
    estimates = [gradient_of(given, x, rng, K=K, gradient=gradient) for _ in range(n)]
    bounds, by_theta, by_phi = (torch.stack(part) / rows for part in zip(*estimates, strict=True))
    return bounds, [by_theta, by_phi]


def standard_errors(estimates: Tensor, of: Tensor | float) -> Tensor:
    """Return by how many standard errors the mean of estimates (n, ·) is away from something."""
    return (estimates.mean(0) - of) / (estimates.std(0) / len(estimates) ** 0.5)


@pytest.mark.parametrize("gradient", ["standard", "dreg"])
@pytest.mark.parametrize("K", [1, 2, 3])
def test_gradients_agree_with_quadrature(K: int, gradient: str) -> None:
    """11 numbers within 4 standard errors of 99 degrees of freedom: by chance one of 700 such tests fails."""
    given = problem()
    bound, parts = exact(given, K)
    bounds, estimates = drawn(given, K, gradient)
    assert abs(standard_errors(bounds, bound)) < 4
    for estimate, expected in zip(estimates, parts, strict=True):
        assert (standard_errors(estimate, expected).abs() < 4).all(), (estimate.mean(0), expected)


def test_quadrature_itself_agrees_with_a_closed_form() -> None:
    """L_1 = log p(x) - KL(q || p(z|x)), both of Gaussians."""
    given = problem()
    q, p = given.recognition.posterior(POINT.unsqueeze(0)), given.model.exact_posterior(POINT.unsqueeze(0))
    mean, log_var = q.moments()
    covariance = torch.linalg.inv(p.chol @ p.chol.T)
    kl = torch.distributions.kl_divergence(
        MultivariateNormal(mean, log_var.exp().diag_embed()), MultivariateNormal(p.mean, covariance)
    )
    expected = given.model.log_p_x(POINT.unsqueeze(0)) - kl
    bound, parts = exact(given, 1)
    assert bound == pytest.approx(expected.item(), abs=1e-10)
    flats = [given.model.params.flat, given.recognition.params.flat]
    for part, other in zip(parts, torch.autograd.grad(expected.sum(), flats), strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-9)
    assert exact(given, 2)[0] > bound + 0.01


def test_sticking_the_landing_is_unbiased_for_one_sample_alone() -> None:
    """K = 1: 11 numbers within 4 standard errors. K = 3: φ's mean is far away, as the docstring says, and θ's is not."""
    given = problem()
    for estimate, expected in zip(drawn(given, 1, "stl")[1], exact(given, 1)[1], strict=True):
        assert (standard_errors(estimate, expected).abs() < 4).all()
    by_theta, by_phi = drawn(given, 3, "stl")[1]
    theta, phi = exact(given, 3)[1]
    assert (standard_errors(by_theta, theta).abs() < 4).all()
    assert standard_errors(by_phi, phi).abs().max() > 20


def test_for_one_sample_dreg_is_sticking_the_landing() -> None:
    given, x = problem(), POINT.expand(5, -1)
    stl, dreg = (gradient_of(given, x, api.Streams(4)("noise"), K=1, gradient=gradient) for gradient in ("stl", "dreg"))
    for one, other in zip(stl, dreg, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_at_the_exact_posterior_each_gradient_of_phi_vanishes(gradient: str) -> None:
    """There every weight is p(x), whatever z is."""
    given = problem()
    W, mean, log_noise = given.model.params.views
    A, a, log_var = given.recognition.params.views
    variance = given.model.exact_posterior(POINT.unsqueeze(0)).chol.detach()[0, 0] ** -2
    A.copy_(variance * (W * (-log_noise).exp()).T)
    a.copy_(-mean @ A)
    log_var.fill_(variance.log())
    x = given.model.sample(20, api.Streams(5)("points"))
    bound, by_theta, by_phi = gradient_of(given, x, api.Streams(6)("noise"), K=5, gradient=gradient)
    assert float(bound) == pytest.approx(given.model.log_p_x(x).sum().item())
    assert by_phi.abs().max() < 1e-10
    assert by_theta.abs().max() > 1e-3


def test_dreg_has_less_variance_for_phi_than_the_standard_gradient() -> None:
    """On a trained model whose posterior is not in q's family, K = 50: its trace over φ by a factor above 20.

    It is about 140; 80 draws estimate each trace to a fifth or so.
    """
    settings = {"nz": 3, "dim": 8, "init_sd": 0.1, "K": 50, "warmup": 5, "lr": 0.1}
    run = Training(make_spec("iwae", "toy-linear-gaussian", "linear-gaussian", settings=settings))
    for _ in range(100):
        objective = run.step()["objective"]
    x = run.dataset.train[:60]
    assert objective == pytest.approx(run.model.log_p_x(run.dataset.train).mean().item(), abs=1.0)  # L_50, of one batch
    assert run.recognition.posterior(x).moments()[0].std(0).min() > 0.5  # its latents are used
    given = api.Problem(run.model, run.recognition, run.facts)

    def variance(gradient: str) -> float:
        rng = api.Streams(7)("noise")
        draws = [gradient_of(given, x, rng, K=50, gradient=gradient).by_phi for _ in range(80)]
        return torch.stack(draws).var(0).sum().item()

    assert variance("standard") > 20 * variance("dreg")


@pytest.mark.parametrize("gradient", ["standard", "stl", "dreg"])
def test_what_a_step_costs(gradient: str) -> None:
    """M·K samples; the encoder's rows are M, and each is differentiated once."""
    run = conformance.training("iwae", K=4, batch_size=10, gradient=gradient)
    run.step()
    ledger = run.ledger
    assert (ledger.samples, ledger.datapoints, ledger.fantasies) == (40, 10, 0)
    assert (ledger.decoder_rows, ledger.decoder_rows_grad) == (40, 40)
    assert (ledger.encoder_rows, ledger.encoder_rows_grad) == (10, 10)
