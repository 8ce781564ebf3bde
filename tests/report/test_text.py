"""Numbers for people."""

import math

import pytest

from harness.report import text


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-131.6243, 0.0421, "-131.62 ± 0.04"),
        (-131.6243, 0.35, "-131.62 ± 0.35"),
        (-131.6243, 0.36, "-131.6 ± 0.4"),
        (-131.6243, 0.96, "-131.6 ± 1.0"),
        (-131.6243, 1.26, "-131.6 ± 1.3"),
        (917.58, 5.11, "918 ± 5"),
        (902.39, 50.8, "902 ± 51"),
        (902.39, 508.0, "902 ± 508"),
        (-0.5, 1e-12, "-0.500000 ± 0.000000"),
        (-0.5, 0.0, "-0.50 ± 0.00"),
        (-0.5, math.nan, "-0.50 ± nan"),
        (-0.5, None, "-0.50"),
    ],
)
def test_a_number_has_the_digits_that_its_error_allows(value: float, error: float | None, expected: str) -> None:
    assert text.with_error(value, error) == expected


def test_an_interval_has_the_digits_of_its_middle() -> None:
    assert text.with_error(1.2333, 0.1453, sign=True) == "+1.23 ± 0.15"
    assert text.interval_text(1.2333, 0.6252, 0.1453) == "+0.61 to +1.86"
    assert text.interval_text(-5.0, 6.0, 1.4) == "-11.0 to +1.0"


def test_a_column_of_numbers_may_have_signs_and_words() -> None:
    assert text.are_numbers(["+1.2", "-3", "best", "", "4 (1 diverged)"])
    assert not text.are_numbers(["aevb", "1"])
    assert not text.are_numbers(["-x"])
