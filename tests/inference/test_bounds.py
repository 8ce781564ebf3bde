"""The bound L_K and its gradients: by enumeration against sums over tuples of states, and unbiased estimates against both."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from harness import api
from harness.inference import bounds
from harness.inference.gradients import Bound
from harness.models import linear_gaussian, sbn

D = 3


def net(layers: str, recognition: str = "factorial") -> tuple[api.BeliefNet, api.BeliefRecognition, Tensor]:
    """Return a net with parameters away from 0, its recognition model, and two points, in float64."""
    config = sbn.Config(layers=layers, recognition=recognition, init_sd=1.0)
    p, q = sbn.build(config, api.DataFacts("binary", D, 100), api.Streams(3), torch.float64)
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return p, q, x


def by_tuples(p: api.BeliefNet, q: api.BeliefRecognition, x: Tensor, K: int) -> list[Tensor]:
    """Return L_K, summed over points, by the sum over all K-tuples of states, and its gradients by autograd."""
    every = next(api.states(p.latents.total, 1 << p.latents.total, torch.float64))
    z = every.unsqueeze(1).expand(-1, len(x), -1)
    log_q = q.posterior(x).log_prob(z)
    log_w = p.log_p_xz(x, z) - log_q
    tuples = torch.tensor(list(itertools.product(range(len(every)), repeat=K)))
    each = log_w[tuples].logsumexp(1) - math.log(K)  # (tuples, B)
    value = (log_q[tuples].sum(1).exp() * each).sum()
    return [value.detach(), *torch.autograd.grad(value, [p.params.flat, q.params.flat])]


@pytest.mark.parametrize(("layers", "K"), [("3-2", 1), ("3-2", 2), ("2-1", 3), ("2", 5)])
@pytest.mark.parametrize("recognition", ["factorial", "autoregressive"])
def test_enumeration_agrees_with_sums_over_tuples(layers: str, K: int, recognition: str) -> None:
    p, q, x = net(layers, recognition)
    for mine, expected in zip(bounds.enumerated(p, q, x, K), by_tuples(p, q, x, K), strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), expected, rtol=1e-10, atol=1e-11)


def test_weights_far_apart_are_no_trouble() -> None:
    """700 nats between the weights of one point, and a probability of e⁻⁵⁰."""
    log_q = torch.tensor([[0.3, 0.7 - math.exp(-50), math.exp(-50)]], dtype=torch.float64).log().T
    log_w = torch.tensor([[300.0], [-400.0], [5.0]], dtype=torch.float64)
    for K in (2, 4):
        expected = sum(
            log_q[list(one)].sum().exp() * (log_w[list(one)].logsumexp(0) - math.log(K))
            for one in itertools.product(range(3), repeat=K)
        )
        value, by_q, by_log_w = bounds.derivatives(log_q, log_w, K)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-9)
        assert by_log_w.sum().item() == pytest.approx(1.0, abs=1e-10)  # of a constant added to every log w
        assert by_q.isfinite().all()


def test_what_is_not_a_number_ends_and_stays_none() -> None:
    log_q = torch.full((4, 1), 0.25, dtype=torch.float64).log()
    log_w = torch.tensor([[0.0], [1.0], [math.nan], [2.0]], dtype=torch.float64)
    assert bounds.derivatives(log_q, log_w, 1)[0].isnan()
    assert not bounds.derivatives(log_q, log_w, 2)[0].isfinite()


def require_mean(draws: list[Bound], expected: list[Tensor]) -> None:
    """Compare means with what is expected: within 4.5 standard errors, each of some 50 numbers; by chance 1 in 3,000 fails."""
    for part, exact in zip(zip(*draws, strict=True), expected, strict=True):
        found = torch.stack([torch.as_tensor(one).double() for one in part])
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - exact).abs() <= 4.5 * error + 1e-12).all()


def copied(drawn: Bound) -> Bound:
    """Return an estimate that the next does not overwrite."""
    return Bound(float(drawn.value), drawn.by_theta.clone(), drawn.by_phi.clone())


@pytest.mark.parametrize("K", [1, 3])
def test_unbiased_estimates_by_the_score_function(K: int) -> None:
    p, q, x = net("3-2")
    rng, copies = api.Streams(1)("noise"), 20
    draws = [copied(bounds.unbiased(p, q, x.repeat(copies, 1), K, rng)) for _ in range(150)]
    require_mean(draws, [part * copies for part in map(torch.as_tensor, bounds.enumerated(p, q, x, K))])


def test_unbiased_estimates_by_reparameterisation_for_one_sample() -> None:
    """L_1 = log p(x) - KL(q || p(z|x)), both of Gaussians in closed form."""
    facts = api.DataFacts("real", 4, 100)
    p, q = linear_gaussian.build(linear_gaussian.Config(nz=2, init_sd=0.7), facts, api.Streams(1), torch.float64)
    x = p.sample(6, api.Streams(2)("points"))
    posterior = p.exact_posterior(x)
    mean, log_var = q.posterior(x).moments()
    covariance = torch.linalg.inv(posterior.chol @ posterior.chol.T)
    normal = torch.distributions.MultivariateNormal
    kl = torch.distributions.kl_divergence(normal(mean, log_var.exp().diag_embed()), normal(posterior.mean, covariance))
    value = (p.log_p_x(x) - kl).sum()
    expected = [value.detach(), *torch.autograd.grad(value, [p.params.flat, q.params.flat])]
    rng = api.Streams(3)("noise")
    require_mean([copied(bounds.unbiased(p, q, x, 1, rng)) for _ in range(300)], expected)


@pytest.mark.parametrize("K", [2, 3])
def test_unbiased_estimates_by_double_reparameterisation(K: int) -> None:
    """Their mean is that of the plain gradient of log 1/K Σ w, whose noise is told apart by both standard errors."""
    facts = api.DataFacts("real", 4, 100)
    p, q = linear_gaussian.build(linear_gaussian.Config(nz=2, init_sd=0.7), facts, api.Streams(1), torch.float64)
    x = p.sample(3, api.Streams(2)("points")).repeat(30, 1)
    rng, other = api.Streams(3)("noise"), api.Streams(4)("noise")
    mine = [copied(bounds.unbiased(p, q, x, K, rng)) for _ in range(100)]
    plain = []
    for _ in range(400):
        posterior = q.posterior(x)
        z = posterior.rsample(K, other)
        value = ((p.log_p_xz(x, z) - posterior.log_prob(z)).logsumexp(0) - math.log(K)).sum()
        plain.append([value.detach(), *torch.autograd.grad(value, [p.params.flat, q.params.flat])])
    for one, two in zip(zip(*mine, strict=True), zip(*plain, strict=True), strict=True):
        a, b = (torch.stack([torch.as_tensor(each).double() for each in part]) for part in (one, two))
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 4.5 * error).all()
