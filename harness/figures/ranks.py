"""A ranking as a picture: differences to the best in every panel, and performance profiles where there are enough panels."""

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness import safe_text
from harness.analysis.profiles import BAND, LARGEST_RATIO, Profile
from harness.analysis.rank import COUNTERS, Ranking
from harness.figures.output import colours_of, legend_below, style

TITLES = {"samples": "samples", "cpu_seconds": "CPU time"}

ROW = 0.32  # inches for each panel and entrant


def draw(ranking: Ranking) -> Figure:
    """Return the figure."""
    names = list(dict.fromkeys(entry.entrant for panel in ranking.panels for entry in panel.entries))
    colours = colours_of(names)
    lines = sum(len(panel.entries) for panel in ranking.panels)
    columns = [counter for counter in COUNTERS if ranking.profiles[counter]]
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(7.2, max(2.6, ROW * lines) + (2.8 if columns else 0.6)), layout="constrained")
        grid = figure.add_gridspec(
            2 if columns else 1, 2, height_ratios=(max(2.6, ROW * lines), 2.4) if columns else None
        )
        axes = figure.add_subplot(grid[0, :])
        y, ticks = 0.0, []
        shown = []
        for panel in ranking.panels:
            begin = y
            for entry in panel.entries:
                found = entry.to_best
                middle, half = (found.mean, found.interval) if found else (0.0, None)
                if found is None and entry is not panel.entries[0]:
                    axes.text(0.0, y, " no estimate", va="center", fontsize=7, color="0.4")
                else:
                    axes.errorbar(
                        middle, y, xerr=half, fmt="o" if found is None or half is not None else "D", ms=4, lw=1.2,
                        color=colours[entry.entrant], capsize=2, mfc="white" if found and half is None else None,
                    )  # fmt: skip
                    shown.append(middle)
                y += 1
            ticks.append((begin + (y - begin - 1) / 2, safe_text.label(panel.about)))
            y += 0.6
        axes.axvline(0.0, color="0.6", lw=0.8, zorder=0)
        largest = max(map(abs, shown), default=1.0)
        if largest > 0:
            axes.set_xscale("symlog", linthresh=max(1.0, 10 ** math.floor(math.log10(largest)) / 100))
        axes.set_yticks([place for place, _ in ticks], [words for _, words in ticks])
        axes.set_ylim(y - 0.4, -0.8)
        axes.set_xlabel("difference to the best on the test set, nats per datapoint (logarithmic beyond the middle)")
        axes.set_title("With the 95 % confidence interval of each, paired over seeds", loc="left")
        for column, counter in enumerate(columns):
            below = figure.add_subplot(grid[1, column])
            for one in ranking.profiles[counter]:
                _profile(below, one, colours[one.entrant])
            below.set_xlim(1.0, LARGEST_RATIO)
            below.set_ylim(-0.03, 1.03)
            below.set_xlabel(f"times the least {TITLES[counter]} to the target")
            if column == 0:
                below.set_ylabel("share of panels")
        handles: list[Artist] = [
            Line2D([], [], color=colours[name], marker="o", lw=1.2, label=safe_text.label(name)) for name in names
        ]
        if any(entry.to_best and entry.to_best.interval is None for panel in ranking.panels for entry in panel.entries):
            handles.append(Line2D([], [], color="0.4", marker="D", mfc="white", lw=0, label="one seed: no interval"))
        if columns:
            handles.append(Patch(color="0.4", alpha=0.2, lw=0, label="95 % of draws of seeds"))
        others = any(entry.foreign for panel in ranking.panels for entry in panel.entries)
        legend_below(figure, handles, 4, "some runs are foreign" if others else "")
    return figure


def _profile(axes: Axes, one: Profile, colour: tuple[float, float, float]) -> None:
    """Draw the share of panels against the ratio, as steps, in its band."""
    ratios = [ratio for ratio in one.ratios if ratio <= LARGEST_RATIO]
    x = np.array([1.0, *ratios, LARGEST_RATIO])
    y = np.array([one.share(ratio) for ratio in x])
    axes.step(x, y, where="post", color=colour, lw=1.6)
    low, high = zip(*one.band, strict=True)
    axes.fill_between(BAND, low, high, step="post", color=colour, alpha=0.2, lw=0)
