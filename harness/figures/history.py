"""Histories as a picture: a panel for each kind of run, a point for each commit in the order of time."""

import itertools
from collections.abc import Sequence

import seaborn as sns
from matplotlib.figure import Figure

from harness import safe_text
from harness.analysis.history import History
from harness.analysis.statistics import mean
from harness.figures.output import style

MOST_PANELS = 8

MOST_TICKS = 12

PANEL = 1.7  # inches


def draw(histories: Sequence[History], split: str) -> Figure:
    """Return the figure; of more kinds than `MOST_PANELS` those with the most commits."""
    shown = sorted(histories, key=lambda one: -len(one.points))[:MOST_PANELS]
    commits = {point.commit: point.time for one in reversed(shown) for point in reversed(one.points)}
    order = sorted(commits, key=lambda commit: (commits[commit], commit))
    place = {commit: k for k, commit in enumerate(order)}
    colour = sns.color_palette("colorblind")[0]
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(7.2, PANEL * len(shown) + 1.1), layout="constrained")
        for axes, one in zip(figure.subplots(len(shown), 1, squeeze=False, sharex=True)[:, 0], shown, strict=True):
            points = [point for point in one.points if point.values]
            spreads = [mean(list(point.values.values())) for point in points]
            x, y = [place[point.commit] for point in points], [spread.mean for spread in spreads]
            for k, (before, point) in enumerate(itertools.pairwise(points)):
                same = before.values.keys() == point.values.keys()
                axes.plot(x[k : k + 2], y[k : k + 2], color=colour, lw=1.2, ls="-" if same else ":", zorder=1)
            for k, point, spread in zip(x, points, spreads, strict=True):
                axes.errorbar(
                    k, spread.mean, yerr=spread.error, fmt="o", ms=4, capsize=2, color=colour,
                    mfc="white" if spread.error is None else colour,
                )  # fmt: skip
                for value in point.values.values():
                    axes.plot(k, value, ".", color="0.6", ms=3, zorder=0)
            whose = ", with foreign runs" if any(point.foreign for point in points) else ""
            axes.set_title(safe_text.label(f"{one.kind}: {one.estimator}{whose}"), loc="left")
            axes.set_ylabel("nats")
        step = -(-len(order) // MOST_TICKS)
        ticks = range(0, len(order), step)
        axes.set_xlim(-0.5, len(order) - 0.5)
        axes.set_xticks(
            ticks, [safe_text.label(f"{commits[order[k]][:10]} {order[k]}") for k in ticks], rotation=30, ha="right"
        )
        more = f"; {len(shown)} of {len(histories)} kinds of runs" if len(shown) < len(histories) else ""
        figure.suptitle(
            f"{split} set, nats per datapoint: mean over seeds ± standard error; grey: seeds; open: one seed; "
            f"dotted: the seeds differ{more}",
            fontsize=8, x=0.01, ha="left",
        )  # fmt: skip
        sns.despine(figure)
    return figure
