"""Performance profiles: in what share of panels an entrant reached the target at no more than so many times the least cost.

Elizabeth Dolan and Jorge Moré, "Benchmarking optimization software with performance profiles" (2002), Mathematical
Programming 91; times to a target and their score as George Dahl et al., "Benchmarking neural network training algorithms" (2023),
arXiv 2306.07179.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

FEW_PANELS = 5
"""With fewer panels a performance profile says little, and is not made."""

LARGEST_RATIO = 4.0
"""How many times the least cost a profile goes to, as in AlgoPerf."""

RESAMPLES = 1000  # of the bootstrap

QUANTILES = (0.025, 0.975)

BAND = tuple(1.0 + step * (LARGEST_RATIO - 1.0) / 60 for step in range(61))
"""The ratios at which a profile's band is told."""


class Times(NamedTuple):
    """What it cost to reach the target, by seed, infinite where it was not reached, and what tuning cost before.

    Attributes:
        by_seed: in the counter's unit, without tuning.
        tuning: of all trials together; 0 if nothing was tuned.
    """

    by_seed: Mapping[int, float]
    tuning: float

    @property
    def median(self) -> float:
        """The median over seeds, with what tuning cost; infinite if half of the seeds missed the target."""
        return statistics.median(self.by_seed.values()) + self.tuning


class Profile(NamedTuple):
    """Of an entrant, in what share of panels it reached the target at no more than so many times the least cost of all.

    Attributes:
        entrant: its name.
        ratios: its cost over the least one in each panel, sorted; infinite where it missed the target or was not there.
        score: the mean share over ratios from 1 to `LARGEST_RATIO`: 1 if it is the cheapest everywhere.
        low: the 2.5 % quantile of the score when seeds are drawn again.
        high: the 97.5 % quantile.
        band: the same quantiles of the share at each of `BAND`.
    """

    entrant: str
    ratios: Sequence[float]
    score: float
    low: float
    high: float
    band: Sequence[tuple[float, float]]

    def share(self, ratio: float) -> float:
        """Return the share of panels in which it cost no more than so many times the least."""
        return sum(one <= ratio for one in self.ratios) / len(self.ratios)


def profiles(times: Sequence[Mapping[str, Times]]) -> list[Profile]:
    """Return the profile of each entrant, the best score first, of its times in every panel; none of too few panels."""
    if len(times) < FEW_PANELS:
        return []
    names = list(dict.fromkeys(name for of_panel in times for name in of_panel))
    ratios = _ratios([{name: one.median for name, one in of_panel.items()} for of_panel in times], names)
    rng = np.random.default_rng(0)
    drawn = [{name: _medians(one, rng) for name, one in of_panel.items()} for of_panel in times]
    again = [_ratios([{n: float(m[i]) for n, m in one.items()} for one in drawn], names) for i in range(RESAMPLES)]
    scores = [[_score(found[name]) for name in names] for found in again]
    cheap = np.array([[found[name] for name in names] for found in again])[..., None, :] <= np.array(BAND)[:, None]
    shares = cheap.mean(-1)  # (draws, entrants, ratios)
    low, high = np.quantile(scores, QUANTILES, axis=0)
    bands = np.quantile(shares, QUANTILES, axis=0)  # (2, entrants, ratios)
    out = [
        Profile(
            name, sorted(ratios[name]), _score(ratios[name]), float(low[i]), float(high[i]),
            [(float(below), float(above)) for below, above in bands[:, i].T],
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    return sorted(out, key=lambda one: -one.score)


def _medians(times: Times, rng: np.random.Generator) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the median when seeds are drawn again, once for each draw."""
    costs = np.array(list(times.by_seed.values()))
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = np.median(
        costs[rng.integers(len(costs), size=(RESAMPLES, len(costs)))], axis=1
    )
    return found + times.tuning


def _ratios(costs: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, list[float]]:
    """Return each entrant's cost over the least in every panel: infinite where it has none, or nobody reached the target."""
    least = [min(one.values()) for one in costs]
    return {
        name: [
            one[name] / floor if math.isfinite(one.get(name, math.inf)) and floor > 0 else math.inf
            for one, floor in zip(costs, least, strict=True)
        ]
        for name in names
    }


def _score(ratios: Sequence[float]) -> float:
    """Return the area below the profile from 1 to the largest ratio, over that range."""
    inside = [max(LARGEST_RATIO - ratio, 0.0) / (LARGEST_RATIO - 1.0) for ratio in ratios]
    return statistics.fmean(inside)
