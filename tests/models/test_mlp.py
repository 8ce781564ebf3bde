"""The hand-derived gradients against autograd on a plain implementation in float64, and the densities against known values."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import api
from harness.models import mlp

D, H, Z, B = 9, 6, 3, 5


def pair(dtype: torch.dtype = torch.float64, sd: float = 0.7) -> tuple[mlp.BernoulliDecoder, api.GaussianEncoder]:
    config = mlp.Config(nz=Z, hidden=H, init_sd=sd)
    return mlp.build(config, api.DataFacts("unit", D, 100), api.Streams(3), dtype)


def plain_elbo(decoder, encoder, x: Tensor, noise: Tensor, estimator: str) -> tuple[Tensor, Tensor, Tensor]:
    """The objective of Algorithm 1 written with autograd alone, and its two sets of parameters as one tensor each."""
    theta = decoder.params.flat.detach().clone().requires_grad_()
    phi = encoder.params.flat.detach().clone().requires_grad_()
    W1, W2, b1, b2 = decoder.params.split(theta)
    W3, W4, b3, b4 = encoder.params.split(phi)
    mean, log_var = (torch.tanh(x @ W3 + b3) @ W4 + b4).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * noise
    logits = torch.tanh(z @ W1 + b1) @ W2 + b2
    log_lik = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    if estimator == "B":
        bound = log_lik.mean(0) + 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1)
    else:
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        q = torch.distributions.Normal(mean, torch.exp(0.5 * log_var)).log_prob(z).sum(-1)
        bound = (log_lik + prior - q).mean(0)
    return bound, theta, phi


@pytest.mark.parametrize("estimator", ["A", "B"])
@pytest.mark.parametrize("L", [1, 4])
def test_gradients_of_both_estimators_agree_with_autograd(estimator: str, L: int, rng: torch.Generator) -> None:
    decoder, encoder = pair()
    x = torch.rand(B, D, generator=rng, dtype=torch.float64)
    noise = torch.randn(L, B, Z, generator=api.Streams(0)("noise"), dtype=torch.float64)
    plain, theta, phi = plain_elbo(decoder, encoder, x, noise, estimator)
    expected = torch.autograd.grad(plain.sum(), [theta, phi])

    posterior = encoder.posterior(x)
    z = posterior.rsample(L, api.Streams(0)("noise"))
    if estimator == "A":
        bound = (decoder.log_p_xz(x, z) - posterior.log_prob(z)).mean(0)
    else:
        bound = decoder.log_p_x_given_z(x, z).mean(0) - posterior.kl()
    found = torch.autograd.grad(bound.sum(), [decoder.params.flat, encoder.params.flat])

    torch.testing.assert_close(bound, plain, rtol=1e-10, atol=0)
    for mine, autograd in zip(found, expected, strict=True):
        assert (mine - autograd).norm() / autograd.norm() < 1e-6


def test_analytic_kl_is_within_four_standard_errors_of_monte_carlo(rng: torch.Generator) -> None:
    """Ten points; the chance that a right KL fails is 10 × 6e-5."""
    decoder, encoder = pair()
    posterior = encoder.posterior(torch.rand(10, D, generator=rng, dtype=torch.float64))
    z = posterior.sample(50_000, rng)
    draws = posterior.log_prob(z) - decoder.log_p_z(z)
    error = (draws.mean(0) - posterior.kl()) / (draws.std(0) / math.sqrt(len(z)))
    assert error.abs().max() < 4


def test_densities_are_those_of_torch_distributions(rng: torch.Generator) -> None:
    decoder, encoder = pair()
    x = torch.bernoulli(torch.full((B, D), 0.5), generator=rng).double()
    z = torch.randn(4, B, Z, generator=rng, dtype=torch.float64)
    W1, W2, b1, b2 = decoder.params.views
    logits = torch.tanh(z @ W1 + b1) @ W2 + b2
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x.expand_as(logits)).sum(-1)
    torch.testing.assert_close(decoder.log_p_x_given_z(x, z), expected)
    torch.testing.assert_close(decoder.log_p_z(z), torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1).double())
    posterior = encoder.posterior(x)
    mean, log_var = posterior.statistics.chunk(2, -1)
    expected = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z).sum(-1)
    torch.testing.assert_close(posterior.log_prob(z), expected)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1e4])
def test_log_likelihood_is_stable_in_float32_at_any_logit(size: float) -> None:
    """Against float64; the tolerance is the rounding of a float32 sum of this size."""
    decoder, _ = pair(torch.float32)
    exact, _ = pair(torch.float64)
    with torch.no_grad():
        for d in (decoder, exact):
            d.params.flat.zero_()
            d.params.views[3].copy_(torch.linspace(-size, size, D))
    x, z = torch.linspace(0, 1, D).expand(1, D), torch.zeros(1, 1, Z)
    found = decoder.log_p_x_given_z(x, z)
    expected = exact.log_p_x_given_z(x.double(), z.double())
    reference = -F.binary_cross_entropy_with_logits(
        torch.linspace(-size, size, D).double(), x[0].double(), reduction="sum"
    )
    torch.testing.assert_close(expected[0, 0], reference, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.double(), expected, rtol=3e-6, atol=3e-6)


def test_gradient_of_z_is_the_same_with_frozen_weights(rng: torch.Generator) -> None:
    decoder, _ = pair()
    x, z = torch.rand(B, D, dtype=torch.float64), torch.randn(2, B, Z, dtype=torch.float64, requires_grad=True)
    decoder.params.flat.requires_grad_(False)
    (g,) = torch.autograd.grad(decoder.log_p_xz(x, z).sum(), [z])
    decoder.params.flat.requires_grad_(True)
    (h,) = torch.autograd.grad(decoder.log_p_xz(x, z).sum(), [z])
    torch.testing.assert_close(g, h)


def test_initial_parameters_have_the_asked_spread_and_their_own_streams() -> None:
    config = mlp.Config(nz=20, hidden=200, init_sd=0.01)
    decoder, encoder = mlp.build(config, api.DataFacts("unit", 784, 100), api.Streams(0))
    again, _ = mlp.build(config, api.DataFacts("unit", 784, 100), api.Streams(0))
    other, _ = mlp.build(config, api.DataFacts("unit", 784, 100), api.Streams(1))
    for flat in (decoder.params.flat, encoder.params.flat):
        assert flat.std().item() == pytest.approx(0.01, rel=0.02)  # 160,000 draws: a standard error of 0.2 %
        assert abs(flat.mean().item()) < 1e-4
    assert torch.equal(decoder.params.flat, again.params.flat)
    assert not torch.equal(decoder.params.flat, other.params.flat)
    assert not torch.equal(decoder.params.flat[:1000], encoder.params.flat[:1000])


def test_samples_come_from_the_model() -> None:
    """The mean of sampled pixels against the mean of their probabilities, 5 standard errors over 9 pixels: 5e-6."""
    decoder, _ = pair()
    x, z = decoder.sample_xz(40_000, api.Streams(0)("fantasies"))
    W1, W2, b1, b2 = decoder.params.views
    y = torch.sigmoid(torch.tanh(z @ W1 + b1) @ W2 + b2)
    assert ((x - y).mean(0).abs() / (x.std(0) / 200)).max() < 5
    assert (z.mean(0).abs() * 200).max() < 5


def test_prior_is_on_weights_alone() -> None:
    decoder, _ = pair()
    expected = -0.5 * sum(view.square().sum() for view in decoder.params.views[:2])
    on_weights = decoder.params.flat[: decoder.params.n_weights]  # what optimisers decay
    torch.testing.assert_close(-0.5 * on_weights.square().sum(), expected)


def test_a_posterior_may_be_sampled_and_differentiated_again(rng: torch.Generator) -> None:
    _, encoder = pair()
    posterior = encoder.posterior(torch.rand(B, D, generator=rng, dtype=torch.float64))
    for _ in range(2):
        z = posterior.rsample(1, rng)
        torch.autograd.grad(z.sum() - posterior.kl().sum(), encoder.params.flat)


def test_the_encoder_runs_once_for_fixed_weights(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where annealing begins at the encoder: gradients of log q by z alone."""
    _, encoder = pair()
    posterior = encoder.posterior(torch.rand(B, D, generator=rng, dtype=torch.float64))
    passes, up = [], api.native.Stack.up
    monkeypatch.setattr(api.native.Stack, "up", lambda *given: passes.append(1) or up(*given))
    target = api.hmc.target(posterior.log_prob, encoder.params)
    for _ in range(5):
        target.gradient(torch.zeros(2, B, Z, dtype=torch.float64))
    assert len(passes) == 1


def test_gradients_of_z_that_is_itself_differentiable(rng: torch.Generator) -> None:
    decoder, encoder = pair()
    x = torch.rand(B, D, generator=rng, dtype=torch.float64)
    z = encoder.posterior(x).rsample(1, rng)
    value, by_theta = api.gradients.log_joint(decoder, x, z)
    expected, plain = api.gradients.log_joint(decoder, x, z.detach())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(by_theta, plain)
    assert not value.requires_grad
    api.gradients.log_posterior(encoder, x, z)


def test_parameters_that_stay_where_they_are_stay_the_same_tensor() -> None:
    decoder, _ = pair()
    held = decoder.params.flat
    decoder.params.to(torch.device("cpu"))
    assert decoder.params.flat is held


def test_parameters_that_are_moved_have_their_layers_where_they_are() -> None:
    decoder, _ = pair()
    params = decoder.params
    assert params.stack.layers[1] is params.stacks[1].layers[0] is params.layers[1]
    params.to(torch.device("meta"))
    for layer in (params.layers[1], params.stack.layers[1], params.stacks[1].layers[0]):
        assert layer.W.device.type == layer.b.device.type == "meta"
