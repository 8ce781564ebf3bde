"""Full variational Bayes against Bayesian linear regression, whose mean-field optimum is known in closed form."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.algorithms import full_vb

from harness import api
from harness.models import mlp
from harness.specs import registry

REGRESSION = Path(__file__).parents[1] / "plugins" / "bayesian_regression.py"
N, D, PRIOR_SD = 40, 6, 2.0


def problem(regression: Any) -> tuple[api.Problem, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return it with its data (N, D), and the mean and precision of p(w | data)."""
    facts = api.DataFacts("real", D, N)
    F = regression.features(D, torch.float64)
    w = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
    x = F @ w + regression.NOISE * torch.randn(N, D, generator=api.Streams(3)("x"), dtype=torch.float64)
    precision = N * F.t() @ F / regression.NOISE**2 + torch.eye(3) / PRIOR_SD**2
    mean = torch.linalg.solve(precision, F.t() @ x.sum(0) / regression.NOISE**2)
    models = regression.build(regression.Config(prior_sd=PRIOR_SD), facts, api.Streams(1), torch.float64)
    return api.Problem(*models, facts), x, mean, precision


def test_the_mean_field_optimum_of_linear_regression() -> None:
    """Exact means, and variances 1 / Λ_jj; the last of three stages of falling steps averages over its noise."""
    regression = registry.get("models", str(REGRESSION)).module
    task, x, mean, precision = problem(regression)
    state = full_vb.init(task, full_vb.Config(lr=0.05, batch_size=N, warmup=0), api.Streams(2)("noise"))
    batch, means, variances, objectives = api.Batch(x, torch.arange(N)), [], [], []
    for stage, lr in enumerate((0.1, 0.02, 0.005)):
        state.of_mean.lr = state.of_others.lr = lr
        for _ in range(1200):
            info = full_vb.step(state, batch)
            if stage == 2:
                means.append(task.model.params.flat.detach().clone())
                variances.append((2 * state.log_sd.flat.detach()).exp())
                objectives.append(float(info.objective))
    sd = precision.diagonal().rsqrt()
    assert ((torch.stack(means).mean(0) - mean).abs() < 0.05 * sd).all()
    torch.testing.assert_close(torch.stack(variances).mean(0), sd.square(), rtol=0.05, atol=0.0)

    # The bound at the optimum: E log p(x|w) - KL, in closed form.
    F, s = regression.features(D, torch.float64), regression.NOISE
    residual = x - F @ mean
    log_p = -0.5 * (residual.square().sum() + N * ((F.square() @ sd.square()).sum())) / s**2
    log_p -= 0.5 * N * D * math.log(2 * math.pi * s**2)
    ratio = sd.square() / PRIOR_SD**2
    kl = 0.5 * (mean.square() / PRIOR_SD**2 + ratio - 1 - ratio.log()).sum()
    assert float(info.kl_weights) * N == pytest.approx(kl.item(), rel=0.02)
    spread = torch.tensor(objectives).std() / len(objectives) ** 0.5
    assert torch.tensor(objectives).mean().item() == pytest.approx(
        ((log_p - kl) / N).item(), abs=4 * spread.item() + 0.01
    )


def test_the_gradient_of_a_step_is_that_of_the_objective() -> None:
    """Against autograd through w = μ + σ ζ and eq. (10), with the same noise, in float64: Adagrad's sums hold its square."""
    facts, x = api.DataFacts("unit", 9, 50), torch.rand(8, 9, generator=api.Streams(0)("x"), dtype=torch.float64)
    p, q = mlp.build(mlp.Config(nz=3, hidden=6, init_sd=0.5), facts, api.Streams(1), torch.float64)
    task = api.Problem(p, q, facts)
    state = full_vb.init(task, full_vb.Config(batch_size=8, init_weight_sd=0.3, warmup=10), api.Streams(2)("noise"))
    before = p.params.flat.detach().clone()
    info = full_vb.step(state, api.Batch(x, torch.arange(8)))
    assert torch.equal(p.params.flat.detach(), before)  # warm-up moves nothing, and w is μ again

    rng, n = api.Streams(2)("noise"), p.params.n_weights
    log_sd = torch.full((n,), math.log(0.3), dtype=torch.float64, requires_grad=True)
    mean = before.clone().requires_grad_()
    moved = log_sd.exp() * torch.randn(n, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        p.params.flat[:n] += moved.detach()
    bound, by_theta, by_phi = api.gradients.bound(p, q, x, 1, rng)
    by_theta = by_theta + 0.0
    weights = mean[:n] + moved
    ratio = (2 * log_sd).exp()
    kl = 0.5 * (mean[:n].square() + ratio - 1 - ratio.log()).sum()
    (by_theta[:n] * weights - 8 / 50 * kl / n).sum().backward()
    expected = mean.grad.clone()
    expected[n:] = by_theta[n:]
    for sums, gradient in zip(
        [*state.of_mean.sums, *state.of_others.sums], [expected, by_phi + 0.0, log_sd.grad], strict=True
    ):
        torch.testing.assert_close(sums, gradient.square() + 1e-8, rtol=1e-9, atol=1e-12)
    assert float(info.objective) == pytest.approx(float(bound) / 8 - kl.item() / 50, rel=1e-9)


def test_a_flat_prior_is_refused() -> None:
    facts = api.DataFacts("unit", 9, 50)
    models = mlp.build(mlp.Config(nz=3, hidden=6), facts, api.Streams(1))
    models[0].params.prior_precision = 0.0
    with pytest.raises(api.BadInput, match="needs a prior on the weights: give --prior-sd a finite value"):
        full_vb.init(api.Problem(*models, facts), full_vb.Config(), api.Streams(2)("noise"))
