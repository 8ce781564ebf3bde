"""An experiment's figure: its recipe's panels, from stored runs alone. A colour an algorithm, test solid, train dashed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from harness.analysis import curves, published, selection
from harness.analysis.selection import Stored
from harness.errors import BadInput
from harness.figures.output import style
from harness.figures.trace import DASHES, LABELS, limits
from harness.specs.budget import COUNTERS
from harness.specs.experiment import Experiment
from harness.specs.recipes import FigureRecipe, PanelRow

PANEL = 2.6, 2.5  # inches

GREYS = {0: "0.4", 1: "0.62", 2: "0.78"}  # of published curves, an algorithm each


def draw(
    experiment: Experiment,
    runs: Sequence[Stored],
    x: str | None = None,
    estimator: str | None = None,
    scale: str | None = None,
) -> Figure:
    """Return the figure of an experiment.

    A curve is the mean over seeds within their range; beyond what all seeds have reached, the farthest go on as a thin line.

    Args:
        experiment: with a recipe, or without one: then there is a panel for each combination of options that runs differ in.
        runs: the experiment's, as the store has them.
        x: counter on the x axis; the recipe's if None, as are the next two.
        estimator: whose estimates are curves.
        scale: of the x axis, log or linear.

    Raises:
        BadInput: an unknown counter or scale, or a panel's runs differ in more than algorithm and seed.
    """
    recipe = experiment.figure or FigureRecipe()
    counter = x or recipe.x
    if (scale or recipe.scale) not in ("log", "linear"):
        raise BadInput(f"--scale is {scale!r}: choose log or linear")
    judge = estimator or curves.estimator_of(experiment, runs)
    recipe = recipe.model_copy(update={"scale": scale or recipe.scale, "estimator": judge})
    there = sorted({e["estimator"] for _, rows in runs for row in rows for e in row["estimates"]})
    if recipe.estimator not in there:
        raise BadInput(
            f"no run of {experiment.name} has estimates by {recipe.estimator}: --y can be {' or '.join(there)}"
        )
    if counter not in COUNTERS:
        raise BadInput(f"--x is {counter!r}: choose one of {', '.join(COUNTERS)}")
    rows = recipe.rows or _rows(runs)
    columns = max(len(list(row.panels())) for row in rows)
    colours = _colours(experiment, runs)
    width, height = max(7.2, PANEL[0] * columns), PANEL[1] * len(rows) + 0.9
    if columns <= 2:
        height += 0.8
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.add_gridspec(len(rows), columns)
        shown: set[str] = set()
        for i, row in enumerate(rows):
            for j, where in enumerate(row.panels()):
                axes = figure.add_subplot(grid[i, j])
                shown |= _panel(axes, experiment, recipe, row, where, selection.select(runs, where), counter, colours)
                if j == 0:
                    axes.set_ylabel(_quantity(recipe.estimator))
                axes.set_xlabel(LABELS.get(counter, counter.replace("_", " ")))
        figure.suptitle(experiment.title, fontsize=10, x=0.01, ha="left")
        handles = _legend(recipe, colours, shown, bool(recipe.reference) and counter == "samples")
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(handles), max(4, columns + 2)), frameon=False
        )
        sns.despine(figure)
    return figure


def _quantity(estimator: str) -> str:
    what = "lower bound" if estimator == "lower-bound" else f"log p(x) by {estimator}"
    return f"{what}, nats per datapoint"


def _rows(runs: Sequence[Stored]) -> list[PanelRow]:
    """Return rows of panels for an experiment without a recipe: a row for each dataset, a panel for each N_z and N_train."""
    rows = []
    for dataset in dict.fromkeys(selection.option(record.spec, "dataset") for record, _ in runs):
        own = [record.spec for record, _ in selection.select(runs, {"dataset": dataset})]
        values = {n: list(dict.fromkeys(selection.option(spec, n) for spec in own)) for n in ("nz", "n-train")}
        over = {n: sorted(v, key=lambda one: (one is None, one)) for n, v in values.items() if v != [None]}
        rows.append(PanelRow(where={"dataset": dataset}, over=over))
    return rows


def _colours(experiment: Experiment, runs: Sequence[Stored]) -> dict[str, Any]:
    """Return a colour for each algorithm, in the order of the experiment, so that a figure of half its runs has the same."""
    there = [selection.option(record.spec, "algo") for record, _ in runs]
    order = list(dict.fromkeys([*(name for name in experiment.algorithms if not name.endswith(".py")), *there]))
    return dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))


def _panel(
    axes: Axes,
    experiment: Experiment,
    recipe: FigureRecipe,
    row: PanelRow,
    where: Mapping[str, Any],
    runs: Sequence[Stored],
    counter: str,
    colours: Mapping[str, Any],
) -> set[str]:
    """Draw one panel, and return what the legend has to explain."""
    title = row.title.format(**where) if row.title else ", ".join(_named(*item) for item in where.items())
    axes.set_title(title, loc="left")
    axes.set_xscale(recipe.scale)
    shown: set[str] = set()
    if recipe.reference and row.reference and counter == "samples":
        panel = published.published(recipe.reference, row.reference.format(**where))
        for k, name in enumerate(colours):
            for (split,), curve in _groups(panel[panel["algorithm"] == name], "split"):
                axes.plot(
                    curve["samples"],
                    curve["value"],
                    color=GREYS[min(k, 2)],
                    dashes=DASHES[split] or (None, None),
                    lw=0.8,
                )
                shown.add(f"published {name}")
    selection.require_alike(runs, f"the panel {title!r}")
    data = curves.points(runs, recipe.estimator)
    for (name, split), curve in _groups(data, "algorithm", "split"):
        if split not in DASHES:
            continue
        mean = curves.over_seeds(curve, counter)
        whole, rest = mean[mean["seeds"] == mean["seeds"].max()], mean[mean["seeds"] < mean["seeds"].max()]
        dashes = DASHES[split] or (None, None)
        axes.plot(whole["x"], whole["nats"], color=colours[name], dashes=dashes, lw=1.5)
        axes.fill_between(whole["x"], whole["low"], whole["high"], color=colours[name], alpha=0.2, lw=0)
        if not rest.empty:
            axes.plot(rest["x"], rest["nats"], color=colours[name], dashes=dashes, lw=0.8)
            shown.add("fewer")
        shown |= {name, split} | ({"range"} if mean["seeds"].max() > 1 else set())
    lost = [record.run for record, _ in runs if record.status == "diverged"]
    for (_, name), curve in _groups(data[data["run"].isin(lost) & (data["split"] == "test")], "run", "algorithm"):
        axes.plot(curve[counter].iloc[-1], curve["nats"].iloc[-1], "X", color=colours[name], ms=7)
        shown.add("diverged")
    if recipe.beside:
        ends = curves.points(runs, recipe.beside)
        ends = ends[ends["end"].astype(bool)]
        for (_, _, name), end in _groups(ends, "run", "split", "algorithm"):
            axes.plot(end[counter].iloc[-1], end["nats"].iloc[-1], "D", color=colours[name], ms=4, mfc="none", zorder=3)
            shown.add("beside")
    without = len({record.run for record, _ in runs} - set(data["run"]))
    _notes(axes, runs, experiment.asked_for(where), f"without {recipe.estimator}", without)
    if counter == (experiment.figure or recipe).x and row.x_limits:
        axes.set_xlim(*row.x_limits)
    if row.y_limits:
        axes.set_ylim(*row.y_limits)
    elif not data.empty:
        axes.set_ylim(*limits(data["nats"]))
    if recipe.scale == "linear":
        axes.xaxis.set_major_formatter(FuncFormatter(_in_words))
    return shown


def _named(option: str, value: Any) -> str:
    return str(value) if option == "dataset" else f"{option} = {'all' if value is None else value}"


def _groups(data: pd.DataFrame, *names: str) -> Iterable[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return the parts of a table that have the same words in these columns, with the words."""
    return [(cast(tuple[str, ...], key), part) for key, part in data.groupby(list(names), sort=False)]


def _notes(axes: Axes, runs: Sequence[Stored], asked_for: set[tuple[str, int]], lack: str, without: int) -> None:
    """Say in the panel what is missing from it."""
    if not runs:
        axes.text(0.5, 0.06, "no runs", transform=axes.transAxes, ha="center", backgroundcolor="white", color="0.3")
    there = {(selection.option(record.spec, "algo"), record.spec["seed"]) for record, _ in runs}
    counts = {"missing": len(asked_for - there) if runs else 0, "unfinished": 0, "diverged": 0, "failed": 0}
    for record, _ in runs:
        if record.status != "done":
            counts[record.status if record.status in counts else "unfinished"] += 1
    counts[lack] = without
    notes = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
    axes.text(0.02, 0.98, notes, transform=axes.transAxes, va="top", color="0.4", fontsize=7)


def _in_words(value: float, _: Any = None) -> str:
    """Return a count on an axis as people write it: 60M."""
    return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value:,.10g}"


def _legend(recipe: FigureRecipe, colours: Mapping[str, Any], shown: set[str], beside: bool) -> list[Line2D]:
    """Return the lines of the legend, those alone that a panel shows."""
    lines = [Line2D([], [], color=colour, lw=1.5, label=name) for name, colour in colours.items() if name in shown]
    for split, dashes in DASHES.items():
        if split in shown:
            lines.append(Line2D([], [], color="0.2", lw=1.5, dashes=dashes or (None, None), label=f"{split} set"))
    if "range" in shown:
        lines.append(Line2D([], [], color="0.2", lw=6, alpha=0.2, label="range over seeds"))
    if "fewer" in shown:
        lines.append(Line2D([], [], color="0.2", lw=0.8, label="fewer seeds"))
    if "beside" in shown:
        lines.append(
            Line2D([], [], color="0.2", marker="D", mfc="none", ms=4, lw=0, label=f"{recipe.beside} at the end")
        )
    if "diverged" in shown:
        lines.append(Line2D([], [], color="0.2", marker="X", ms=7, lw=0, label="diverged"))
    if beside:
        for k, name in enumerate(colours):
            if f"published {name}" in shown:
                label = f"{name} ({published.REFERENCE_NAME})"
                lines.append(Line2D([], [], color=GREYS[min(k, 2)], lw=0.8, label=label))
    return lines
