"""Whether pairs of seeds show a loss that no single seed can hide, and which seeds stand apart from the others.

A mean over seeds hides a seed that collapses twice: among good ones it costs the mean little, and among bad ones it widens the
interval until nothing is shown any more. So a loss is looked for in four ways, with a p-value each:

`mean`       Student's t over all pairs: the mean loss is above the tolerance
`all but one`   the same without the one pair whose absence shows it best, times the number of pairs (four pairs or more)
`apart`      some pairs lie farther below the others than their spread explains (four pairs or more): each number j of lowest
             pairs below half of all is tried. The j-th is compared with mean and standard deviation of the rest by Student's t
             with n - j - 1 degrees of freedom, times the number of ways to choose j of n pairs, times how many j are tried: B.
             Rosner, "Percentage points for a generalized ESD many-outlier procedure", Technometrics 25 (1983), with
             Bonferroni's bound in the place of simulated points
`spread`     the worst pair has lost more than the tolerance and a multiple of the spread of the baseline's own seeds explains:
             sqrt(2) t standard deviations, as two runs of other noise differ by sqrt(2) of them, times the number of pairs

They share the level as WAYS says, so one test of a loss errs no more often than its level, if pairs are normal (Bonferroni).
All functions take arrays of any leading shape, with pairs along the last axis, so that simulations are quick.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtr

FEWEST = 4  # pairs by whose own spread one of them is judged

OF_TWO_PAIRS = 0.71
"""What is left of Bonferroni's bound where two pairs are judged by the spread of two seeds: if it is small by chance, both pairs
seem lost. Simulated, for p-values up to 0.2."""

WAYS = {
    True: {"mean": 3 / 6, "all but one": 1 / 6, "apart": 1 / 6, "spread": 1 / 6},
    False: {"mean": 0.5, "spread": 0.5},
}
"""Shares of the level, by whether there are as many pairs as FEWEST."""

Array = Any


class Adjusted(NamedTuple):
    """A p-value among those of other tests, by Holm's procedure.

    Attributes:
        p: the adjusted one: the test rejects where it is at most 1 - level.
        tests: how many tests there are.
        left: the step at which it was decided, as the number by which the p-value counts.
    """

    p: float
    tests: int
    left: int


def holm(tests: Sequence[tuple[float, float]]) -> list[Adjusted]:
    """Return adjusted p-values, by which the chance that any true hypothesis is rejected is at most 1 - the lowest level.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979). p-values
    count relative to their own level.

    Args:
        tests: p-value and level of each.
    """
    ratios = [p / (1 - level) for p, level in tests]
    out: dict[int, Adjusted] = {}
    highest = 0.0
    for step, k in enumerate(sorted(range(len(tests)), key=ratios.__getitem__)):
        left = len(tests) - step
        highest = max(highest, left * ratios[k])
        out[k] = Adjusted(min(1.0, highest * (1 - tests[k][1])), len(tests), left)
    return [out[k] for k in range(len(tests))]


def below(values: Array, limit: float, margin: Array = 0.0) -> Array:
    """Return for each value the p-value of lying below the limit and so far below the others that it is not one of them.

    Args:
        values: (..., n); with fewer than three, nothing is below the others.
        limit: values above it are no fault, whatever the others are.
        margin: distance from the others that is no fault.
    """
    values = np.asarray(values, float)
    n = values.shape[-1]
    out = np.ones(values.shape)
    order = np.argsort(values, -1)
    ranked = np.take_along_axis(values, order, -1)
    sizes = range(1, (n + 1) // 2)  # fewer than half may be apart
    for j in sizes:
        rest = ranked[..., j:]
        gap = rest.mean(-1) - margin - ranked[..., j - 1]
        scale = rest.std(-1, ddof=1) * math.sqrt(1 + 1 / (n - j))
        p = np.minimum(1.0, len(sizes) * math.comb(n, j) * _tail(gap, scale, n - j - 1))
        np.put_along_axis(
            out, order[..., :j], np.minimum(np.take_along_axis(out, order[..., :j], -1), p[..., None]), -1
        )
    return np.where(values < limit, out, 1.0)


def by_spread(differences: Array, tolerance: float, spread: Array, freedom: float) -> Array:
    """Return for each pair the p-value of a loss above the tolerance and what seeds of this spread explain; see `spread` above.

    Args:
        differences: (..., n), new minus old.
        tolerance: nats.
        spread: standard deviation between seeds, (...).
        freedom: its degrees of freedom; 0 where it is not known.
    """
    differences = np.asarray(differences, float)
    if freedom < 1:
        return np.ones(differences.shape)
    scale = math.sqrt(2) * np.broadcast_to(np.asarray(spread, float)[..., None], differences.shape)
    pairs = differences.shape[-1]
    times = pairs * (OF_TWO_PAIRS if (pairs, freedom) == (2, 1) else 1)
    return np.minimum(1.0, times * _tail(-tolerance - differences, scale, freedom))


def by_mean(differences: Array, tolerance: float) -> Array:
    """Return the p-value of a mean loss above the tolerance, (...)."""
    differences = np.asarray(differences, float)
    n = differences.shape[-1]
    return _tail(-tolerance - differences.mean(-1), differences.std(-1, ddof=1) / math.sqrt(n), n - 1)


def all_but_one(differences: Array, tolerance: float) -> Array:
    """Return the p-value of a mean loss above the tolerance of all pairs but the one that hides it most, (...)."""
    differences = np.asarray(differences, float)
    n = differences.shape[-1]
    others = np.arange(n) + 1 + np.arange(n - 1)[:, None]  # (n - 1, n): of each its others
    without = np.moveaxis(differences[..., others % n], -2, -1)  # (..., n, n - 1)
    return np.minimum(1.0, n * by_mean(without, tolerance).min(-1))


class Loss(NamedTuple):
    """What pairs of seeds show of a loss.

    Attributes:
        p: the p-value of the test as a whole, (...).
        ways: those of its ways as they count, divided by their shares of the level; of `apart` and `spread` for each pair.
    """

    p: Array
    ways: dict[str, Array]

    def lost(self, level: float) -> Array:
        """Return which pairs have collapsed at a level: each by itself, unless all did alike."""
        seeds = np.minimum(self.ways.get("apart", 1.0), self.ways["spread"]) <= 1 - level
        return seeds & ~seeds.all(-1, keepdims=True)


def loss(differences: Array, tolerance: float, spread: Array, freedom: float, mean: Array | None = None) -> Loss:
    """Return what pairs show of a loss above a tolerance.

    Args:
        differences: (..., n), new minus old; two or more. Of unpaired seeds each less the other side's mean.
        tolerance: nats.
        spread: standard deviation between the baseline's seeds, (...).
        freedom: its degrees of freedom.
        mean: the p-value of the mean where it is not that of these differences, as they are unpaired.
    """
    differences = np.asarray(differences, float)
    enough = differences.shape[-1] >= FEWEST
    found = {
        "mean": by_mean(differences, tolerance) if mean is None else np.asarray(mean),
        "spread": by_spread(differences, tolerance, spread, freedom),
    }
    if enough:
        found["all but one"] = all_but_one(differences, tolerance) if mean is None else np.ones(differences.shape[:-1])
        found["apart"] = below(differences, -tolerance, tolerance)
    ways = {name: p / WAYS[enough][name] for name, p in found.items()}
    least = [p if name in ("mean", "all but one") else p.min(-1) for name, p in ways.items()]
    return Loss(np.minimum(1.0, np.minimum.reduce(least)), ways)


def _tail(gap: Array, scale: Array, freedom: float) -> Array:
    """Return the chance of Student's t above gap / scale; 0 or 1 where the scale is 0, by whether there is a gap."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(scale > 0, gap / scale, np.where(gap > 0, np.inf, -np.inf))
    return stdtr(freedom, -t)
