"""Published curves and values."""

import math

import pytest

from harness.analysis import published


def test_each_paper_has_its_label() -> None:
    assert published.label("fig2") == published.label("fig3") == "K&W 2014"
    assert published.label("nvil-table1") == "M&G 2014"
    assert published.label("dlgm-table") == "RM&W 2014"


def test_a_curve_is_interpolated_in_the_logarithm_of_samples_and_ends_where_it_ends() -> None:
    curve = [p for p in published.published("fig2", "mnist_nz3") if (p.algorithm, p.split) == ("aevb", "test")]
    a, b = curve[10:12]
    middle = math.sqrt(a.samples * b.samples)
    assert published.published_at("fig2", "mnist_nz3", "aevb", "test", middle) == pytest.approx((a.value + b.value) / 2)
    assert published.published_at("fig2", "mnist_nz3", "aevb", "test", 2 * curve[-1].samples) is None
    assert published.published_at("fig2", "mnist_nz3", "nvil", "test", 1e6) is None


@pytest.mark.parametrize("samples", [1.0, 1e7, 1e12])
def test_what_was_reached_in_the_end_is_the_same_at_any_number_of_samples(samples: float) -> None:
    """Higher is better: the paper's table has the negative of it."""
    assert published.published_at("nvil-table1", "sbn 200", "nvil", "test", samples) == -113.1
    assert published.published_at("nvil-table1", "fdarn 500", "wake-sleep", "test", samples) == -97.2
    assert published.published_at("nvil-table1", "sbn 200", "aevb", "test", samples) is None
    assert published.published_at("dlgm-table", "diagonal", "aevb", "test", samples) == -87.3
    assert published.published_at("dlgm-table", "rank-one", "aevb", "test", samples) == -86.6
