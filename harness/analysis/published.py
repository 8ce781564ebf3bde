"""The published curves and values that stored runs are compared with."""

import csv
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.specs.recipes import FigureRecipe
from harness.specs.where import Where, same

REFERENCE = Path(__file__).parent.parent / "reference"
"""A file for each paper; a line `# label: ...` says how its numbers are called."""


class Point(NamedTuple):
    """A point of a published curve.

    Attributes:
        algorithm: whose curve.
        split: train or test.
        samples: training samples evaluated; infinity where a paper does not say how many, but gives what was reached in the end.
        value: nats per datapoint.
    """

    algorithm: str
    split: str
    samples: float
    value: float


class _Published(NamedTuple):
    """The points of all panels, by figure and panel, in the order of samples; and what each figure's are called."""

    points: dict[tuple[str, str], list[Point]]
    labels: dict[str, str]


@cache
def _published() -> _Published:
    found: dict[tuple[str, str], list[Point]] = {}
    labels: dict[str, str] = {}
    for path in sorted(REFERENCE.glob("*.csv")):
        text = path.read_text(encoding="utf-8").splitlines()
        (label,) = (line.removeprefix(LABEL) for line in text if line.startswith(LABEL))
        for row in csv.DictReader(line for line in text if not line.startswith("#")):
            samples = float(row["samples"] or math.inf)
            point = Point(row["algorithm"], row["split"], samples, float(row["value"]))
            found.setdefault((row["figure"], row["panel"]), []).append(point)
            labels[row["figure"]] = label
    return _Published(
        {panel: sorted(points, key=lambda point: point.samples) for panel, points in found.items()}, labels
    )


LABEL = "# label: "


def label(figure: str) -> str:
    """Return how the numbers of a figure's or table's paper are called, such as K&W 2014."""
    return _published().labels[figure]


def published(figure: str, panel: str) -> list[Point]:
    """Return the points of a panel's published curves, in the order of samples. Empty if there are none."""
    return _published().points.get((figure, panel), [])


def reference(recipe: FigureRecipe, where: Where) -> str | None:
    """Return the name of the published panel for the panel with these options; None if there is none."""
    for row in recipe.rows if recipe.reference else ():
        for own in row.panels():
            if row.reference and all(name not in where or same(where[name], given) for name, given in own.items()):
                return row.reference.format(**own)
    return None


def final(figure: str, panel: str, algorithm: str) -> float | None:
    """Return what an algorithm reached in the end, or any algorithm where the file names none; None if there is none."""
    return next(
        (one.value for one in published(figure, panel) if one.samples == math.inf and one.algorithm in ("", algorithm)),
        None,
    )


def published_at(figure: str, panel: str, algorithm: str, split: str, samples: float) -> float | None:
    """Return a published curve's value, interpolated between its points in the logarithm of samples.

    It is None beyond the curve's ends; curves are thinned, and a flat one may lack the last 5 % before its end. A value that was
    reached in the end is the same at any number of samples.
    """
    own = [point for point in published(figure, panel) if (point.algorithm, point.split) == (algorithm, split)]
    if own and own[-1].samples == math.inf:
        return own[-1].value
    curve = [point for point in own if point.samples > 0]
    if not curve or not curve[0].samples <= samples <= 1.05 * curve[-1].samples:
        return None
    at, values = [point.samples for point in curve], [point.value for point in curve]
    return float(np.interp(math.log(samples), np.log(at), values))
