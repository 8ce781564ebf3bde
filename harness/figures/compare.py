"""Two sides of a comparison: their curves, and below them the difference at every mark with its interval."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness import safe_text
from harness.analysis import curves
from harness.analysis.compare import Comparison
from harness.analysis.statistics import LEVEL
from harness.figures.labels import (
    DASHES,
    SPLITS,
    counter_label,
    dashes_of,
    differing_settings,
    estimate_label,
    of_others,
    of_weights,
    over_points,
    seeds_in_words,
    set_label,
)
from harness.figures.marks import (
    below_handle,
    dot,
    dot_handle,
    mark_unreliable,
    point_below,
    unreliable_handle,
)
from harness.figures.output import MINOR, legend_below, style
from harness.figures.trace import limits

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
    dots: set[int] = set()
    every: list[pd.DataFrame] = []
    ranges = below_axis = False
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(max(7.2, COLUMN * len(shown)), 5.0), layout="constrained")
        grid = figure.subplots(2, len(shown), squeeze=False, sharex="col", height_ratios=(2, 1))
        doubtful = False
        for column, one in enumerate(shown):
            above, below = grid[0][column], grid[1][column]
            drawn = []
            for runs, colour in zip(one.sides, colours, strict=True):
                data = curves.points(runs, estimator)
                data = data[data["split"].isin(SPLITS)]
                for which, curve in data.groupby("split"):
                    mean = curves.over_seeds(curve, "samples")
                    dashes, marker = DASHES[str(which)] or (None, None), "." if len(mean) == 1 else None
                    above.plot(mean["x"], mean["nats"], color=colour, dashes=dashes, marker=marker)
                    above.fill_between(mean["x"], mean["low"], mean["high"], color=colour, alpha=0.2, lw=0)
                drawn.append(data)
                ranges |= data["seed"].nunique() > 1
                doubtful |= mark_unreliable(above, data, "samples")
            last, both = one.marks[-1], pd.concat(drawn)
            if last.points > both.loc[both["split"] == split, "points"].min():
                for nats, colour in zip((last.first, last.second), colours, strict=True):
                    dot(above, last.samples, nats, split, colour)
                dots.add(last.points)
            above.set_ylim(*limits(both["nats"]))
            every.append(both)
            below_axis |= point_below(above)
            above.set_title(safe_text.label(one.panel), loc="left")
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
            below.tick_params(axis="x", which="minor", labelsize=MINOR)
            below.set_xlabel(counter_label("samples"))
        grid[0][0].set_ylabel(estimate_label([estimator]))
        grid[1][0].set_ylabel(f"first - second\n({split}), nats")
        short = [name if len(name) <= MOST_LETTERS else f"…{name[-MOST_LETTERS:]}" for name in names]
        sides = [[run for one in shown for run in one.sides[k]] for k in (0, 1)]
        settings = differing_settings(dict(zip(("first", "second"), sides, strict=True))).values()
        told = [f" ({words})" if words else "" for words in settings]
        full = [f"{place}: {name}{words}" for place, name, words in zip(("first", "second"), short, told, strict=True)]
        lines = [
            Line2D([], [], color=colour, label=safe_text.label(name))
            for name, colour in zip(full, colours, strict=True)
        ]
        lines += [
            Line2D([], [], color="0.2", dashes=dashes or (None, None), label=set_label(which))
            for which, dashes in dashes_of(SPLITS).items()
        ]
        if ranges:
            lines.append(Line2D([], [], color=colours[0], alpha=0.2, lw=6, label="range over seeds"))
        if dots:
            lines.append(dot_handle(sorted(dots)))
        if any(mark.half_width is not None for one in shown for mark in one.marks):
            lines.append(
                Line2D([], [], color="0.2", alpha=0.15, lw=6, label=f"{LEVEL:.0%} confidence interval over seeds")
            )
        if below_axis:
            lines.append(below_handle())
        if doubtful:
            lines.append(unreliable_handle())
        others = of_others([run for one in shown for runs in one.sides for run in runs])
        legend_below(
            figure, lines, 2, f"curves: {over_points(pd.concat(every))}{of_weights(shown[0].sides[0])}{others}"
        )
        seeds = [seeds_in_words(side) for side in sides]
        title = seeds[0] if seeds[0] == seeds[1] else f"first: {seeds[0]}; second: {seeds[1]}"
        if len(comparisons) > len(shown):
            title += f"; the first {len(shown)} of {len(comparisons)} panels"
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
        sns.despine(figure)
    return figure
