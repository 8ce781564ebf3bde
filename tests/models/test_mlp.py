"""The hand-derived gradients against autograd on a plain implementation in float64, and the densities against known values."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import api
from harness.errors import BadInput
from harness.models import mlp
from harness.native import path
from harness.specs.run import RunSpec, make_spec
from harness.store.names import modern_spec

D, H, Z, B = 9, 6, 3, 5


def pair(
    dtype: torch.dtype = torch.float64, sd: float = 0.7, **settings: Any
) -> tuple[mlp.NetworkDecoder, api.GaussianEncoder]:
    config = mlp.Config(**{"nz": Z, "hidden": H, "init_sd": sd, **settings})
    return mlp.build(config, api.DataFacts("unit", D, 100), api.Streams(3), dtype)


def plain_network(parts: list[Tensor], x: Tensor, activation: str) -> Tensor:
    """A network's outputs, of its weights and then its biases."""
    n = len(parts) // 2
    for number, (W, b) in enumerate(zip(parts[:n], parts[n:], strict=True)):
        x = x if number == 0 else torch.tanh(x) if activation == "tanh" else x * (x > 0)
        x = x @ W + b
    return x


def plain_elbo(
    decoder, encoder, x: Tensor, noise: Tensor, estimator: str, activation: str = "tanh"
) -> tuple[Tensor, Tensor, Tensor]:
    """The objective of Algorithm 1 written with autograd alone, and its two sets of parameters as one tensor each."""
    theta = decoder.params.flat.detach().clone().requires_grad_()
    phi = encoder.params.flat.detach().clone().requires_grad_()
    mean, log_var = plain_network(encoder.params.split(phi), x, activation).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * noise
    logits = plain_network(decoder.params.split(theta), z, activation)
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
@pytest.mark.parametrize("hidden", [H, "4-6", "3-5-4"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_gradients_of_both_estimators_agree_with_autograd(
    estimator: str, L: int, hidden: int | str, activation: str, rng: torch.Generator
) -> None:
    decoder, encoder = pair(hidden=hidden, activation=activation)
    x = torch.rand(B, D, generator=rng, dtype=torch.float64)
    noise = torch.randn(L, B, Z, generator=api.Streams(0)("noise"), dtype=torch.float64)
    plain, theta, phi = plain_elbo(decoder, encoder, x, noise, estimator, activation)
    expected = torch.autograd.grad(plain.sum(), [theta, phi])
    by_hand = api.gradients.bound(decoder, encoder, x, L, api.Streams(0)("noise"), analytic_kl=estimator == "B")
    assert float(by_hand.value) == pytest.approx(plain.sum().item(), rel=1e-10)
    for mine, autograd in zip((by_hand.by_theta, by_hand.by_phi), expected, strict=True):
        torch.testing.assert_close(mine, autograd, rtol=1e-9, atol=1e-12)

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


def test_several_hidden_layers_are_written_as_layers_are(rng: torch.Generator) -> None:
    """The one next to the data is the first of the encoder, and the last of the decoder."""
    decoder, encoder = pair(hidden="6-4")
    assert [view.shape for view in decoder.params.views[:3]] == [(Z, 4), (4, 6), (6, D)]
    assert [view.shape for view in encoder.params.views[:3]] == [(D, 6), (6, 4), (4, 2 * Z)]
    for one in (6, "6", "06"):
        assert mlp.Config(hidden=one).hidden == 6  # a number, as in the runs that were stored before there were several
    assert mlp.Config(hidden="0200-200").hidden == "200-200"
    one, other = (pair(torch.float32, hidden=hidden)[0].params for hidden in (6, "6"))
    assert one.flat.equal(other.flat)


@pytest.mark.parametrize("given", ["200-x", "0", 0, -3, "200-", "-200", "", "2.5", "200-0", "100001", "²", True])
def test_hidden_layers_that_are_no_sizes_are_refused(given: object) -> None:
    with pytest.raises(BadInput, match="--hidden of model 'mlp' is .*: give the size of each layer, from 1 to 100000"):
        make_spec("aevb", settings={"hidden": given} if given is not True else {"hidden": "True"})


def test_the_runs_of_one_hidden_layer_are_called_what_they_were() -> None:
    """A setting that they had not has its default, and theirs is still a number."""
    assert make_spec("aevb", settings={"hidden": 500}).digest == make_spec("aevb").digest
    digests = {make_spec("aevb", settings=s).digest for s in ({"hidden": "500-500"}, {"activation": "relu"}, {})}
    assert len(digests) == 3
    stored = make_spec("aevb").model_dump(mode="json")
    del stored["model"]["settings"]["activation"]
    assert RunSpec.model_validate(modern_spec(stored)) == make_spec("aevb")


def test_deep_networks_are_the_same_compiled_and_not(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """In single precision, to rounding; what units of another kind are made by is PyTorch in any case."""
    x = torch.rand(B, D, generator=rng)
    for activation in ("tanh", "relu"):
        decoder, encoder = pair(torch.float32, hidden="7-5", activation=activation)
        found = []
        for kernels in (path.kernels, None):
            monkeypatch.setattr(path, "kernels", kernels)
            bound = api.gradients.bound(decoder, encoder, x, 2, api.Streams(0)("noise"))
            found.append([torch.as_tensor(part[:]).clone() for part in (bound.by_theta, bound.by_phi)])
        for mine, other in zip(*found, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
