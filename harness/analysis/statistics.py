"""How sure a difference is: Student's t over seeds, paired where the seeds match (DESIGN §5)."""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

LEVEL = 0.95  # of intervals that are shown

MAX_SEEDS = 1000  # more of them are not worth proposing


class Difference(NamedTuple):
    """An estimated mean, or a difference of two means, with its uncertainty.

    Attributes:
        mean: the estimate, in nats.
        error: its standard error; None where there are too few values to estimate it.
        degrees_of_freedom: of Student's t distribution for that error.
        n: number of pairs; for an unpaired difference, number of values in the smaller sample.
        paired: whether values of the same seed were subtracted.
    """

    mean: float
    error: float | None
    degrees_of_freedom: float
    n: int
    paired: bool

    def half_width(self, level: float) -> float:
        """Return the half-width of the confidence interval: from the mean to the one-sided limit of this level, in nats.

        Infinity where there is no standard error.
        """
        return math.inf if self.error is None else float(stdtrit(self.degrees_of_freedom, level)) * self.error

    @property
    def p_above(self) -> float:
        """The p-value of being above 0, one-sided; 1 where there is no standard error."""
        if self.error is None:
            return 1.0
        if self.error == 0.0:
            return 0.0 if self.mean > 0 else 1.0
        return float(stdtr(self.degrees_of_freedom, -self.mean / self.error))

    @property
    def p_below(self) -> float:
        """The p-value of being below 0; see `p_above`."""
        return self._replace(mean=-self.mean).p_above

    @property
    def interval(self) -> float | None:
        """Half-width of the two-sided 95 % confidence interval; None where there is no standard error."""
        return None if self.error is None else self.half_width((1 + LEVEL) / 2)

    def more_seeds(self, border: float, level: float) -> int | None:
        """Return how many more seeds would exclude a value from the interval, if mean and spread stay; None if too many."""
        distance = abs(self.mean - border)
        if self.error is None:
            return 1
        n = np.arange(self.n + 1, MAX_SEEDS)
        half = stdtrit(self.degrees_of_freedom * (n - 1) / (self.n - 1), level) * self.error * np.sqrt(self.n / n)
        enough = n[half < distance]
        return int(enough[0]) - self.n if len(enough) else None

    def detectable(self, level: float, power: float = 0.95) -> float:
        """Return the smallest true difference that a one-sided test of this level detects with this power, at this spread."""
        return math.inf if self.error is None else _detectable(self.degrees_of_freedom, level, power) * self.error


@functools.cache
def _detectable(degrees_of_freedom: float, level: float, power: float) -> float:
    """Return the smallest true mean, in standard errors, that Student's test detects with this power."""
    from scipy.optimize import brentq  # here, as it takes long to import

    border = float(stdtrit(degrees_of_freedom, level))

    def lacking(mean: float) -> float:
        return float(power - 1.0 + nctdtr(degrees_of_freedom, mean, border))

    high = 1.0
    while lacking(high) > 0.0:
        high *= 2.0
    if math.isnan(lacking(high)):
        return math.inf  # farther out than the distribution can be computed
    return float(brentq(lacking, 0.0, high))


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
    degrees_of_freedom = sum(squares) ** 2 / below if below else n - 1
    return Difference(gap, math.sqrt(sum(squares)), degrees_of_freedom, n, False)
