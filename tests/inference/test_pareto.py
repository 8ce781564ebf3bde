"""Pareto k-hat: known tails, what it must not depend on, and weights that have no tail to fit."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from harness.analysis import reliability
from harness.inference import pareto


@pytest.mark.parametrize("k", [0.0, 0.3, 0.7, 1.2])
def test_a_known_tail_is_found(k: float) -> None:
    """Exceedances of a generalised Pareto distribution have its k. The mean over 200 points has a standard error of at most 0.01.

    So a false alarm is beyond 5 standard errors: one of a million.
    """
    weights = 1 + scipy.stats.genpareto.rvs(k, size=(5000, 200), random_state=1)
    found = pareto.k_hat(torch.tensor(weights).log())
    assert found is not None
    n = pareto.tail_length(5000)
    expected = (n * k + 10 * 0.5) / (n + 10)  # as 10 weights more at 0.5
    assert found.mean().item() == pytest.approx(expected, abs=0.055)
    if k != 0.7:
        wrong = (found > pareto.LIMIT) != (k > pareto.LIMIT)
        assert (
            wrong.double().mean() < 0.02
        )  # a point's k-hat has a standard deviation of 0.14 at the most, and k is 3 away


def test_the_fit_is_that_of_the_definition() -> None:
    """For one point, step by step as Zhang & Stephens and Vehtari et al. have it, in plain Python."""
    log_w = np.random.default_rng(3).normal(0.0, 2.0, 400)
    w = np.sort(np.exp(log_w))
    m = math.ceil(min(400 / 5, 3 * math.sqrt(400)))  # 60
    x = w[-m:] - w[-m - 1]
    grid = 30 + int(math.sqrt(m))
    quartile = x[int(m / 4 + 0.5) - 1]
    theta = [1 / x[-1] + (1 - math.sqrt(grid / (j - 0.5))) / (3 * quartile) for j in range(1, grid + 1)]

    def k_of(one: float) -> float:
        return sum(math.log(1 - one * value) for value in x) / m

    likelihood = [m * (math.log(-one / k_of(one)) - k_of(one) - 1) for one in theta]
    weights = [1 / sum(math.exp(other - own) for other in likelihood) for own in likelihood]
    k = k_of(sum(one * weight for one, weight in zip(theta, weights, strict=True)))
    found = pareto.k_hat(torch.tensor(log_w).unsqueeze(1))
    assert found is not None
    assert found.item() == pytest.approx((m * k + 5) / (m + 10), rel=1e-9)


def test_the_scale_of_weights_and_the_order_in_which_they_come_do_not_matter() -> None:
    log_w = 3 * torch.randn(1000, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = pareto.k_hat(log_w)
    assert whole is not None
    tail = pareto.Tail(1000)
    for part in log_w.flip(0).split(3):
        tail.add(part - 5000.0)  # such as log densities of images are
    by_parts = tail.k_hat()
    assert by_parts is not None
    assert torch.allclose(by_parts, whole, rtol=1e-6)


def test_a_mean_that_hangs_on_a_few_weights_is_told_from_one_that_does_not() -> None:
    def of(*few: float) -> float:
        log_w = torch.zeros(5000, 1)
        log_w[: len(few), 0] = torch.tensor(few)
        found = pareto.k_hat(log_w)
        assert found is not None
        return found.item()

    assert of() == -math.inf  # a proposal that is the posterior
    assert of(1.0, 1.0, 1.0) == -math.inf  # together 0.1 % of the mean
    assert of(7.0, 7.0, 7.0) == math.inf  # together two fifths of it
    assert math.isnan(of(math.nan))
    assert pareto.k_hat(torch.zeros(20, 3)) is None
    assert pareto.k_hat(torch.zeros(21, 3)) is not None


def test_what_reports_say_is_what_is_computed() -> None:
    assert f"above {pareto.LIMIT:g}" in reliability.LEGEND
    words = reliability.doubt({"estimator": "e", "split": "test", "reliable": False, "heavy_tails": 0.5})
    assert f"above {pareto.LIMIT:g} at 50 %" in str(words)
