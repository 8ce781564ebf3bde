"""The model whose log p(x), posterior and gradients are known, and every algorithm on it."""

import math
from typing import Any

import pytest
import torch
from harness.datasets import toy_linear_gaussian as toy
from torch.distributions import MultivariateNormal

from harness import api
from harness.models import linear_gaussian
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.training.loop import Training


def built(
    nz: int = 3, dim: int = 12, sd: float = 0.5, **settings: Any
) -> tuple[linear_gaussian.LinearGaussian, linear_gaussian.LinearEncoder]:
    """A model with random parameters, in float64."""
    config = linear_gaussian.Config(nz=nz, init_sd=sd, **settings)
    return linear_gaussian.build(config, api.DataFacts("real", dim, 100), api.Streams(2), torch.float64)


def plain(model: linear_gaussian.LinearGaussian) -> MultivariateNormal:
    """p(x), by way of its covariance."""
    W, mean, log_noise = model.params.split()
    return MultivariateNormal(mean, W.T @ W + torch.diag(log_noise.exp().expand(len(mean))))


@pytest.mark.parametrize("noise", ["diagonal", "isotropic"])
def test_log_p_x_and_its_gradient_are_those_of_the_full_covariance(noise: str, rng: torch.Generator) -> None:
    model, _ = built(noise=noise)
    x = model.sample(7, rng)
    torch.testing.assert_close(model.log_p_x(x), plain(model).log_prob(x), rtol=1e-10, atol=0)
    (mine,) = torch.autograd.grad(model.log_p_x(x).sum(), model.params.flat)
    (expected,) = torch.autograd.grad(plain(model).log_prob(x).sum(), model.params.flat)
    assert (mine - expected).norm() / expected.norm() < 1e-10


def test_posterior_is_bayes_theorem(rng: torch.Generator) -> None:
    """log p(z|x) = log p(x, z) - log p(x) wherever z lies; and its samples have its moments, within 4.5 standard errors."""
    model, _ = built()
    x = model.sample(5, rng)
    posterior = model.exact_posterior(x)
    z = torch.randn(4, 5, 3, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(posterior.log_prob(z), model.log_p_xz(x, z) - model.log_p_x(x), rtol=1e-9, atol=1e-9)
    n = 20_000
    draws = posterior.sample(n, rng)
    covariance = torch.linalg.inv(posterior.chol @ posterior.chol.T)
    error = (draws.mean(0) - posterior.mean) / (covariance.diagonal() / n).sqrt()
    assert error.abs().max() < 4.5
    torch.testing.assert_close(torch.cov(draws[:, 0].T), covariance, rtol=0.1, atol=0.01)


def test_fishers_identity(rng: torch.Generator) -> None:
    """The gradient of log p(x) is the posterior's mean of that of log p(x, z): what wake-sleep and MCEM live on; 4.5 errors."""
    model, _ = built(nz=2, dim=4)
    x = model.sample(1, rng)
    (expected,) = torch.autograd.grad(model.log_p_x(x).sum(), model.params.flat)
    z = model.exact_posterior(x).sample(4000, rng)
    draws = torch.stack([torch.autograd.grad(model.log_p_xz(x, s[None]).sum(), model.params.flat)[0] for s in z])
    assert ((draws.mean(0) - expected) / (draws.std(0) / math.sqrt(len(draws)))).abs().max() < 4.5


def test_the_true_posterior_is_learnt_where_it_lies_in_the_recognition_models_family(rng: torch.Generator) -> None:
    """With one latent the bound is tight at the right parameters of the encoder, set here by hand."""
    model, encoder = built(nz=1)
    x = model.sample(6, rng)
    W, mean, log_noise = model.params.views
    precision = 1 + (W.square() * (-log_noise).exp()).sum()
    A = (W * (-log_noise).exp() / precision).T
    with torch.no_grad():
        encoder.params.flat.copy_(torch.cat([A.flatten(), -(mean @ A), -precision.log().reshape(1)]))
    q = encoder.posterior(x)
    z = q.sample(3, rng)
    exact = model.log_p_x(x).expand(3, -1)
    torch.testing.assert_close(model.log_p_xz(x, z) - q.log_prob(z), exact, rtol=1e-9, atol=1e-9)


def test_scikit_learns_factor_analysis_gives_the_same_score(mnist: api.Dataset) -> None:
    """An outside check: its parameters, fitted to the middle of real digits, give its own log-likelihood."""
    from sklearn.decomposition import FactorAnalysis

    x = mnist.rows("train", torch.arange(3000), torch.Generator()).double().view(-1, 28, 28)[:, 7:21, 7:21].flatten(1)
    fitted = FactorAnalysis(n_components=5).fit(x.numpy())
    model, _ = built(nz=5, dim=x.shape[1])
    W, mean, noise = (torch.from_numpy(a) for a in (fitted.components_, fitted.mean_, fitted.noise_variance_))
    with torch.no_grad():
        model.params.flat.copy_(torch.cat([W.flatten(), mean, noise.log()]))
    assert model.log_p_x(x).mean().item() == pytest.approx(fitted.score(x.numpy()), rel=1e-4)
    each = torch.from_numpy(fitted.score_samples(x.numpy()))
    torch.testing.assert_close(model.log_p_x(x), each, rtol=1e-4, atol=1e-3)


def test_the_toy_data_come_from_the_parameters_that_they_name() -> None:
    """The mean of log p(x) under the truth is minus its entropy, within 4.5 standard errors."""
    config = toy.Config(n_test_points=5000)
    data, truth = toy.load(config), toy.truth(config)
    log_p = truth.log_p_x(data.test)
    covariance = truth.W.T @ truth.W + torch.diag(truth.noise)
    entropy = MultivariateNormal(truth.mean, covariance).entropy().item()
    assert abs(log_p.mean().item() + entropy) < 4.5 * log_p.std().item() / math.sqrt(len(log_p))


@pytest.mark.parametrize(
    ("algorithm", "settings", "samples", "near"),
    [
        ("aevb", {"n_samples": 4}, 1_000_000, 0.25),
        ("wake-sleep", {"n_samples": 4}, 1_000_000, 0.5),
        ("mcem", {"warmup": 0}, 2_000_000, 0.1),
    ],
)
@pytest.mark.slow
def test_every_algorithm_comes_near_the_truth(
    algorithm: str, settings: dict[str, Any], samples: int, near: float
) -> None:
    """The exact test log p(x) of what is learnt lies below the truth's by no more than what 1000 points and a family cost."""
    spec = make_spec(
        algorithm, "toy-linear-gaussian", "linear-gaussian", settings={**settings, "lr": 0.3, "nz": 3, "init_sd": 0.1}
    )
    training = Training(spec)
    test = training.dataset.test
    before = training.model.log_p_x(test).mean().item()
    for _ in training.rows(Budget(samples=samples)):
        pass
    after = training.model.log_p_x(test).mean().item()
    truth = toy.truth(toy.Config()).log_p_x(test).mean().item()
    print(f"{algorithm}: {before:.2f} before, {after:.3f} after, {truth:.3f} true")
    assert before < truth - 5
    assert truth - near < after < truth + 0.1
