"""How sure a difference is: Student's t over seeds, paired where the seeds match (DESIGN §5)."""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtrit

LEVEL = 0.95  # of intervals that are shown

MOST_SEEDS = 1000  # beyond which more of them are no answer


class Difference(NamedTuple):
    """A mean difference, or a mean, with its error.

    Attributes:
        mean: nats.
        error: its standard error; None where there are too few values to tell.
        freedom: degrees of freedom of that error.
        n: pairs; of an unpaired difference, values on the side that has fewer.
        paired: whether values of the same seed were subtracted.
    """

    mean: float
    error: float | None
    freedom: float
    n: int
    paired: bool

    def half(self, level: float) -> float:
        """Return how far the one-sided interval of this level reaches from the mean; infinity where no error can be told."""
        return math.inf if self.error is None else float(stdtrit(self.freedom, level)) * self.error

    @property
    def interval(self) -> float | None:
        """Half the two-sided 95 % confidence interval; None where no error can be told."""
        return None if self.error is None else self.half((1 + LEVEL) / 2)

    def more_seeds(self, border: float, level: float) -> int | None:
        """Return how many more seeds would put a border outside the interval, if mean and spread stay; None if too many."""
        distance = abs(self.mean - border)
        if self.error is None:
            return 1
        n = np.arange(self.n + 1, MOST_SEEDS)
        half = stdtrit(self.freedom * (n - 1) / (self.n - 1), level) * self.error * np.sqrt(self.n / n)
        enough = n[half < distance]
        return int(enough[0]) - self.n if len(enough) else None

    def detectable(self, level: float, power: float = 0.95) -> float:
        """Return the true difference that a one-sided test of this level notices with this power, given the spread there is."""
        return math.inf if self.error is None else _detectable(self.freedom, level, power) * self.error


@functools.cache
def _detectable(freedom: float, level: float, power: float) -> float:
    """Return the true mean, in standard errors, that Student's test notices with this power: by bisection."""
    border = stdtrit(freedom, level)
    low, high = 0.0, 1e3
    while high - low > 1e-3 * high:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if 1.0 - nctdtr(freedom, middle, border) < power else (low, middle)
    return high


def mean(values: Sequence[float]) -> Difference:
    """Return the mean of values and its error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Difference(statistics.fmean(values), error, len(values) - 1, len(values), True)


def difference(one: Mapping[Any, float], other: Mapping[Any, float]) -> Difference:
    """Return one less other: paired over the keys (seeds) that both have, if those are two or more, else by Welch's test.

    B. L. Welch, "The generalization of 'Student's' problem when several different population variances are involved",
    Biometrika 34 (1947).

    Args:
        one: values by key.
        other: the same; neither is empty.
    """
    shared = one.keys() & other.keys()
    if len(shared) > 1 or (shared and min(len(one), len(other)) < 2):
        return mean([one[key] - other[key] for key in sorted(shared)])
    a, b = list(one.values()), list(other.values())
    gap, n = statistics.fmean(a) - statistics.fmean(b), min(len(a), len(b))
    if n < 2:
        return Difference(gap, None, 0, n, False)
    squares = [statistics.variance(values) / len(values) for values in (a, b)]
    below = sum(square**2 / (len(values) - 1) for square, values in zip(squares, (a, b), strict=True))
    freedom = sum(squares) ** 2 / below if below else n - 1
    return Difference(gap, math.sqrt(sum(squares)), freedom, n, False)
