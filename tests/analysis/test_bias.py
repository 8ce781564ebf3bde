"""Bias by the means of groups: right error rates without one whatever the correlation, and found where there is one."""

import numpy as np
import pytest

from harness.analysis.bias import FLIPS, bias, size

G, D = 20, 40

SPECTRA = {
    "independent": np.ones(D),
    "one direction": np.eye(1, D)[0],
    "falling": 1.0 / np.arange(1, D + 1) ** 2,
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_without_a_bias_one_in_ten_has_a_p_below_a_tenth(spectrum: str) -> None:
    """200 tries: within 4 standard deviations of 20, 3 to 37; by chance one such test in 15,000 fails."""
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((200, G, D)) * np.sqrt(SPECTRA[spectrum])
    assert 3 <= sum(bias(d @ d.T).p <= 0.1 for d in draws) <= 37


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_a_bias_is_found_and_its_size_is_told(spectrum: str) -> None:
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((G, D)) * np.sqrt(SPECTRA[spectrum])
    draws[:, 1] += 3.0
    found = bias(draws @ draws.T)
    assert found.p <= 1e-4
    assert found.size == pytest.approx(3.0, abs=0.5)
    assert found.limit > 0


def test_small_biases_are_below_the_limit_in_words() -> None:
    """The limit is what two standard errors of the noise look like: of 100 draws without a bias, few show more."""
    rng = np.random.default_rng(2)
    found = [bias(d @ d.T) for d in rng.standard_normal((100, G, D))]
    assert sum(one.size > one.limit for one in found) < 10
    assert {one.size for one in found if one.p > 0.9} == {0.0}


def test_what_never_varies_is_biased_or_exact() -> None:
    assert bias(np.zeros((G, G))) == (0.0, 0.0, 1.0)
    assert bias(np.ones((G, G))).p < 3 / FLIPS


def test_the_size_of_a_noisy_vector_has_no_noise_in_it() -> None:
    rng = np.random.default_rng(3)
    vectors = 2.0 * rng.standard_normal((G, D))  # the square of a mean's noise would add 8
    vectors[:, 0] += 10.0
    assert size(vectors @ vectors.T) == pytest.approx(10.0, abs=1.5)
