"""The published curves that stored runs are compared with."""

import csv
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.specs.recipes import FigureRecipe
from harness.specs.where import Where, same

REFERENCE = Path(__file__).parent.parent / "reference" / "aevb_2014.csv"

REFERENCE_NAME = "K&W 2014"


class Point(NamedTuple):
    """A point of a published curve.

    Attributes:
        algorithm: whose curve.
        split: train or test.
        samples: training samples evaluated.
        value: nats per datapoint.
    """

    algorithm: str
    split: str
    samples: float
    value: float


@cache
def _published() -> dict[tuple[str, str], list[Point]]:
    """Return the points of all panels, by figure and panel, in the order of samples."""
    found: dict[tuple[str, str], list[Point]] = {}
    lines = [line for line in REFERENCE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        point = Point(row["algorithm"], row["split"], float(row["samples"]), float(row["value"]))
        found.setdefault((row["figure"], row["panel"]), []).append(point)
    return {panel: sorted(points, key=lambda point: point.samples) for panel, points in found.items()}


def published(figure: str, panel: str) -> list[Point]:
    """Return the points of a panel's published curves, in the order of samples. Empty if there are none."""
    return _published().get((figure, panel), [])


def reference(recipe: FigureRecipe, where: Where) -> str | None:
    """Return the name of the published panel for the panel with these options; None if there is none."""
    for row in recipe.rows if recipe.reference else ():
        for own in row.panels():
            if row.reference and all(name not in where or same(where[name], given) for name, given in own.items()):
                return row.reference.format(**own)
    return None


def published_at(figure: str, panel: str, algorithm: str, split: str, samples: float) -> float | None:
    """Return a published curve's value, interpolated between its points in the logarithm of samples.

    It is None beyond the curve's ends; curves are thinned, and a flat one may lack the last 5 % before its end.
    """
    curve = [p for p in published(figure, panel) if (p.algorithm, p.split) == (algorithm, split) and p.samples > 0]
    if not curve or not curve[0].samples <= samples <= 1.05 * curve[-1].samples:
        return None
    at, values = [point.samples for point in curve], [point.value for point in curve]
    return float(np.interp(math.log(samples), np.log(at), values))
