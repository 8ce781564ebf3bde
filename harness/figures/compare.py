"""Two sides of a comparison: their curves, and below them the difference at every mark with its interval."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.analysis import curves
from harness.analysis.compare import Comparison
from harness.analysis.statistics import LEVEL
from harness.figures.labels import DASHES, UNRELIABLE, UNRELIABLE_LABEL, counter_label, estimate_label
from harness.figures.output import legend_below, style
from harness.figures.trace import limits, mark_unreliable

COLUMN = 3.2  # inches

MOST_PANELS = 6  # side by side

MOST_LETTERS = 45  # of a side's name in the legend


def draw(comparisons: Sequence[Comparison], names: tuple[str, str], estimator: str, split: str) -> Figure:
    """Return the figure: a column a panel, curves above (means over seeds within their range) and the difference below.

    Args:
        comparisons: the panels; of more than fit side by side the first.
        names: of the two sides.
        estimator: whose estimates were compared.
        split: over which points.
    """
    shown = [one for one in comparisons if one.marks][:MOST_PANELS]
    colours = sns.color_palette("colorblind", 2)
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(max(7.2, COLUMN * len(shown)), 5.0), layout="constrained")
        grid = figure.subplots(2, len(shown), squeeze=False, sharex="col", height_ratios=(2, 1))
        doubtful = False
        for column, one in enumerate(shown):
            above, below = grid[0][column], grid[1][column]
            nats = []
            for runs, colour in zip(one.sides, colours, strict=True):
                data = curves.points(runs, estimator)
                for which, curve in data.groupby("split"):
                    mean = curves.over_seeds(curve, "samples")
                    above.plot(mean["x"], mean["nats"], color=colour, dashes=DASHES.get(str(which)) or (None, None))
                    above.fill_between(mean["x"], mean["low"], mean["high"], color=colour, alpha=0.2, lw=0)
                nats.append(data["nats"])
                doubtful |= mark_unreliable(above, data, "samples")
            above.set_ylim(*limits(pd.concat(nats)))
            above.set_title(one.panel, loc="left")
            x, means = [m.samples for m in one.marks], [m.difference.mean for m in one.marks]
            below.axhline(0.0, color="0.6", lw=0.8)
            below.plot(x, means, color="0.2", lw=1.2, marker="o", ms=2.5)
            if all(m.half_width is not None for m in one.marks):
                low, high = ([m.difference.mean + sign * (m.half_width or 0.0) for m in one.marks] for sign in (-1, 1))
                below.fill_between(x, low, high, color="0.2", alpha=0.15, lw=0)
            tail = one.marks[len(one.marks) // 2 :]  # the first marks would flatten all others
            ends = [m.difference.mean + sign * (m.half_width or 0.0) for m in tail for sign in (-1, 1)] + [0.0]
            margin = 0.1 * max(max(ends) - min(ends), 1e-3)
            below.set_ylim(min(ends) - margin, max(ends) + margin)
            below.set_xscale("log")
            below.set_xlabel(counter_label("samples"))
        grid[0][0].set_ylabel(estimate_label([estimator]))
        grid[1][0].set_ylabel(f"first - second\n({split}), nats")
        short = [name if len(name) <= MOST_LETTERS else f"…{name[-MOST_LETTERS:]}" for name in names]
        lines = [Line2D([], [], color=colour, label=name) for name, colour in zip(short, colours, strict=True)]
        lines += [
            Line2D([], [], color="0.2", dashes=dashes or (None, None), label=f"{which} set")
            for which, dashes in DASHES.items()
        ]
        if any(mark.half_width is not None for one in shown for mark in one.marks):
            lines.append(
                Line2D([], [], color="0.2", alpha=0.15, lw=6, label=f"{LEVEL:.0%} confidence interval over seeds")
            )
        if doubtful:
            lines.append(Line2D([], [], **UNRELIABLE, label=UNRELIABLE_LABEL))
        legend_below(figure, lines, 2)
        if len(comparisons) > len(shown):
            figure.suptitle(f"the first {len(shown)} of {len(comparisons)} panels", fontsize=9, x=0.01, ha="left")
        sns.despine(figure)
    return figure
