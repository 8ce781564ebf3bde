"""Mean-field inference against closed forms and quadrature. Seeds are fixed; error rates are stated."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gaussians import case
from torch import Tensor

from harness import api
from harness.inference import hmc, mean_field
from harness.inference.mean_field import Local
from harness.models import mlp

DRAWS = 20_000


def gradients(model: Any, x: Tensor, local: Local, rng: torch.Generator, n: int = 4000) -> Tensor:
    """Return n estimates of the gradient for each point (n, B, 2Z), each from one draw."""
    many = local.rows(torch.arange(len(x)).repeat(n))
    found = mean_field.gradient(many.statistics, hmc.joint(model, x.repeat(n, 1)), many.noise(1, rng))
    return found.view(n, len(x), -1)


def test_the_gradient_is_that_of_the_closed_form() -> None:
    """∂L/∂μ = -Λ (μ - m) and ∂L/∂ log σ² = ½ (1 - Λ_jj σ_j²), away from the optimum: 120 means within 4.5 standard errors."""
    known = case()
    rng = api.Streams(0)("noise")
    mean = known.mean + 0.5 * torch.randn(known.mean.shape, generator=rng, dtype=torch.float64)
    log_var = 0.3 * torch.randn(mean.shape, generator=rng, dtype=torch.float64)
    draws = gradients(known.model, known.x, Local.at(mean, log_var), rng)
    by_mean = -(mean - known.mean) @ known.precision
    by_log_var = 0.5 * (1 - known.precision.diagonal() * log_var.exp())
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - torch.cat([by_mean, by_log_var], -1)) / error).abs().max() < 4.5


def test_several_samples_are_averaged() -> None:
    known, rng = case(), api.Streams(0)("noise")
    local, target = Local.at(known.mean + 0.1, known.log_var), hmc.joint(known.model, known.x)
    noise = local.noise(3, rng)
    each = [mean_field.gradient(local.statistics, target, one.unsqueeze(0)) for one in noise]
    torch.testing.assert_close(mean_field.gradient(local.statistics, target, noise), torch.stack(each).mean(0))


def test_no_draw_of_the_gradient_is_off_zero_at_the_posterior() -> None:
    """With one latent the posterior is in the family: not only the mean over noise vanishes."""
    known = case(nz=1)
    local = Local.at(known.mean, known.log_var)
    gradient = mean_field.gradient(
        local.statistics, hmc.joint(known.model, known.x), local.noise(50, api.Streams(0)("noise"))
    )
    assert gradient.abs().max() < 1e-10


def by_quadrature(decoder: api.Decoder, x: Tensor, statistics: Tensor) -> Tensor:
    """The bound of each point (B,) by 80 Gauss-Hermite nodes, differentiable by (μ, log σ²)."""
    nodes, weights = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(80))
    mean, log_var = statistics.chunk(2, -1)
    z = mean + (0.5 * log_var).exp() * nodes[:, None, None]
    log_q = api.posterior.DiagonalGaussian(mean, log_var).log_prob(z)
    return ((weights / math.sqrt(2 * math.pi))[:, None] * (decoder.log_p_xz(x, z) - log_q)).sum(0)


def test_gradient_and_bound_of_a_network_are_those_of_quadrature(rng: torch.Generator) -> None:
    """Bernoulli decoder of one latent: 20 means within 4.5 standard errors."""
    config = mlp.Config(nz=1, hidden=8, init_sd=0.8)
    decoder, _ = mlp.build(config, api.DataFacts("binary", 12, 60), api.Streams(5), torch.float64)
    x = decoder.sample(5, rng)
    statistics = 0.5 * torch.randn(5, 2, generator=rng, dtype=torch.float64)
    free = statistics.clone().requires_grad_()
    bound = by_quadrature(decoder, x, free)
    (expected,) = torch.autograd.grad(bound.sum(), free)
    local = Local.at(*statistics.chunk(2, -1))
    draws = gradients(decoder, x, local, rng)
    assert ((draws.mean(0) - expected) / (draws.std(0) / math.sqrt(len(draws)))).abs().max() < 4.5
    with torch.no_grad():
        values = mean_field.bounds(decoder, x, local, local.noise(DRAWS, rng))  # (S, B)
    assert ((values.mean(0) - bound) / (values.std(0) / math.sqrt(DRAWS))).abs().max() < 4.5


@torch.no_grad()
def test_bounds_at_the_optimum_have_the_closed_forms_mean() -> None:
    """20 means within 4.5 standard errors, whatever pieces they are taken in."""
    known = case()
    local = Local.at(known.mean, known.log_var)
    values = mean_field.bounds(known.model, known.x, local, local.noise(DRAWS, api.Streams(0)("noise")))
    assert values.shape == (DRAWS, 20)
    error = values.std(0) / math.sqrt(DRAWS)
    assert ((values.mean(0) - known.bound) / error).abs().max() < 4.5
    assert (known.bound < known.model.log_p_x(known.x) - 0.1).all()  # else the case would show nothing


def test_a_step_is_adams_for_every_row_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside `torch.optim.Adam` with the same gradients: rows that took other numbers of steps, to 1e-12."""
    gradients = torch.randn(6, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    local = Local.at(torch.zeros(4, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    plain = [torch.zeros(2, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    adams = [torch.optim.Adam([row], lr=0.1, betas=mean_field.BETAS, maximize=True) for row in plain]
    for t, every in enumerate(gradients):
        index = torch.tensor([0, 1, 2, 3]) if t % 2 else torch.tensor([1, 3])
        monkeypatch.setattr(mean_field, "gradient", lambda *_, index=index, every=every: every[index])
        rows = local.rows(index)
        rows.ascend(hmc.Target(None, None), 0.1, 1, torch.Generator())  # type: ignore[arg-type]
        local.put(index, rows)
        for i in index.tolist():
            plain[i].grad = every[i].clone()
            adams[i].step()
    torch.testing.assert_close(local.statistics, torch.stack(plain).detach(), rtol=1e-12, atol=1e-12)


def test_of_a_row_that_is_put_several_times_the_last_stays() -> None:
    local = Local.at(torch.zeros(5, 1), torch.zeros(5, 1))
    rows = local.rows(torch.tensor([3, 1, 3, 3]))
    rows.statistics.copy_(torch.arange(4.0)[:, None])
    rows.steps.copy_(torch.arange(4.0)[:, None])
    assert (local.statistics == 0).all()  # rows are copies
    local.put(torch.tensor([3, 1, 3, 3]), rows)
    assert local.statistics[:, 0].tolist() == local.steps[:, 0].tolist() == [0.0, 1.0, 0.0, 3.0, 0.0]


def test_it_begins_at_the_moments_of_the_prior_or_of_a_recognition_model() -> None:
    known = case()
    local = Local.at_prior(known.model, 7, api.Streams(0)("noise"))
    assert local.statistics.shape == (7, 6)
    assert local.statistics.abs().max() < 4.5 / math.sqrt(mean_field.PRIOR_DRAWS / 2)  # of N(0, I), at 6 moments
    mean, log_var = known.recognition.posterior(known.x).moments()
    at = Local.at_posterior(known.recognition.posterior(known.x)).statistics
    assert torch.equal(at, torch.cat([mean, log_var.expand_as(mean)], -1))
    assert not at.requires_grad
