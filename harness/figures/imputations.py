"""What `harness impute` found: the held-out log-likelihood of hidden entries at each iteration of the chains, a curve a run."""

from collections.abc import Sequence
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from harness import safe_text
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import MOST_CURVES
from harness.figures.output import colours_of, legend_below, style
from harness.figures.trace import labels
from harness.store.run import Run

HEIGHT = 3.4  # inches, without the legend

MOST_PANELS = 6

COMPARABLE = ("missing", "chains", "points", "seed")
"""Settings that scores have to have in common to be compared: the same entries are hidden, and chains begin alike."""


def draw(runs: Sequence[Run]) -> Figure:
    """Draw the runs' imputations: a panel for each set of settings that can be compared, in which the last of each run counts.

    Raises:
        BadInput: a run has none, or there are more panels or curves than anybody can read.
    """
    panels: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for run in runs:
        found = [row["imputation"] for row in run.imputations()]
        if not found:
            raise BadInput(f"run {run.id} has no imputation: make one by `harness impute {run.id} --missing 0.6`")
        for one in found:
            panels.setdefault(tuple(one["settings"][name] for name in COMPARABLE), {})[run.id] = one
    if len(panels) > MOST_PANELS or len(runs) > MOST_CURVES:
        raise BadInput(
            f"{len(panels)} panels with {len(runs)} curves are more than anybody can read: choose runs with up to "
            f"{MOST_PANELS} kinds of imputation, which differ in {', '.join(COMPARABLE[:-1])} or {COMPARABLE[-1]}, and up to "
            f"{MOST_CURVES} runs"
        )
    names = dict(zip((run.id for run in runs), labels([StoredRun.load(run) for run in runs]), strict=True))
    colours = colours_of(names)
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(max(7.2, 3.4 * columns), HEIGHT * height), layout="constrained")
        grid = figure.subplots(height, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (settings, own) in zip(grid.flat, panels.items(), strict=False):
            _panel(axes, settings, own, colours)
        for row in grid:
            row[0].set_ylabel("held-out log p of hidden entries,\nnats per datapoint")
        by = {one["settings"]["latents"] for own in panels.values() for one in own.values()}
        handles = [Line2D([], [], color=colours[run], label=safe_text.label(names[run])) for run in names]
        note = f"z by {' or '.join(sorted(by))}; bands: ± one standard error over points; it errs low by few chains"
        figure.set_figheight(HEIGHT * height + legend_below(figure, handles, 3, note))
        sns.despine(figure)
    return figure


def _panel(axes: Axes, settings: tuple[Any, ...], own: dict[str, dict[str, Any]], colours: dict[str, Any]) -> None:
    """Draw a curve for each run."""
    missing, chains, points, seed = settings
    title = f"--missing {missing}", f"{points:,} points, {chains:,} chains, seed {seed}"
    axes.set_title("\n".join(map(safe_text.title, title)), loc="left")
    for run, one in own.items():
        at, nats, errors = zip(*((p["iteration"], p["nats"], p["se"]) for p in one["curve"]), strict=True)
        axes.plot(at, nats, color=colours[run], lw=1.5, marker="o", ms=3)
        low, high = ([v + sign * e for v, e in zip(nats, errors, strict=True)] for sign in (-1, 1))
        axes.fill_between(at, low, high, color=colours[run], alpha=0.15, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("iteration of the chain")
