"""The published curves that stored runs are compared with."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from harness.specs.recipes import FigureRecipe
from harness.specs.where import Where, same

REFERENCE = Path(__file__).parent.parent / "reference" / "aevb_2014.csv"

REFERENCE_NAME = "K&W 2014"


@cache
def _published() -> pd.DataFrame:
    return pd.read_csv(REFERENCE, comment="#")


def published(figure: str, panel: str) -> pd.DataFrame:
    """Return the published curves of a panel: algorithm, split, samples, value. Empty if there are none."""
    data = _published()
    here = (data["figure"] == figure) & (data["panel"] == panel)
    return data.loc[here].sort_values("samples")


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
    curve = published(figure, panel)
    curve = curve[(curve["algorithm"] == algorithm) & (curve["split"] == split) & (curve["samples"] > 0)]
    if curve.empty or not curve["samples"].min() <= samples <= 1.05 * curve["samples"].max():
        return None
    return float(np.interp(math.log(samples), np.log(curve["samples"]), curve["value"]))
