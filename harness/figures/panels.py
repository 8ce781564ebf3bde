"""An experiment's figure: its recipe's panels, from stored runs alone. Every curve has a colour; splits are told by dashes."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from harness import safe_text
from harness.analysis import curves, published, selection
from harness.analysis.machines import SECONDS, comparable
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import (
    MOST_CURVES,
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
    GOES_ON,
    below_handle,
    between,
    between_handle,
    cross,
    cross_handle,
    dot,
    dot_handle,
    mark_unreliable,
    point_below,
    unreliable_handle,
)
from harness.figures.output import MINOR, colours_of, legend_below, style
from harness.figures.trace import limits
from harness.specs.budget import COUNTERS
from harness.specs.experiment import Experiment
from harness.specs.recipes import MOST_PANELS, FigureRecipe, PanelRow
from harness.specs.where import Where

PANEL_SIZE = 2.6, 2.5  # inches

IN_A_ROW = 10  # panels, where the experiment names no rows

GREYS = {0: "0.4", 1: "0.62", 2: "0.78"}  # of published curves, an algorithm each

MARKERS = {0: "", 1: "x", 2: "+"}  # along them, as greys alone are hard to tell apart


_Panels = list[tuple[Where, list[StoredRun]]]
"""The options of each panel of a row, and its runs."""


def draw(
    experiment: Experiment,
    runs: Sequence[StoredRun],
    x: str | None = None,
    estimator: str | None = None,
    scale: str | None = None,
) -> Figure:
    """Return the figure of an experiment.

    A curve is the mean over seeds within their range; beyond what all seeds have reached, the farthest go on as a thin line. A
    dot at a curve's end is over the points of the final evaluation, as in a table, where they are more than the curve's.

    Args:
        experiment: its recipe says what is compared in which panels; by default there is one for each combination of the options
            by which panels differ.
        runs: the experiment's, as the store has them.
        x: counter on the x axis; the recipe's if None, as are the next two.
        estimator: whose estimates are curves.
        scale: of the x axis, log or linear.

    Raises:
        BadInput: an unknown counter or scale, a panel's runs differ in more than their seed and what is compared, or there are
            more curves or panels than anybody can read.
    """
    recipe = experiment.figure
    counter = x or recipe.x
    if (scale or recipe.scale) not in ("log", "linear"):
        raise BadInput(f"--scale is {scale!r}: choose log or linear")
    recipe = recipe.model_copy(
        update={"scale": scale or recipe.scale, "estimator": estimator or curves.estimator_of(experiment, runs)}
    )
    there = sorted({name for run in runs for name in run.estimators})
    if recipe.estimator is not None and recipe.estimator not in there:
        raise BadInput(
            f"no run of {experiment.name} has estimates by {recipe.estimator}: --y can be {' or '.join(there)}"
        )
    if counter not in COUNTERS:
        raise BadInput(f"--x is {counter!r}: choose one of {', '.join(COUNTERS)}")
    unit = SECONDS
    if counter == "cpu_seconds":
        runs, unit = comparable(runs)
    rows = recipe.rows or _rows(experiment, runs, selection.panel_options(runs, experiment))
    index = selection.index(runs)
    parts = [[(where, index.meeting(where)) for where in row.panels()] for row in rows]
    if not recipe.rows:
        rows, parts = _wrapped(rows, parts)
    _require_readable(experiment, runs)
    columns = max(map(len, parts))
    seeds = sorted({seeds_in_words(here) for row in parts for _, here in row if here})
    colours = _colours(experiment, runs)
    data = curves.points(runs, recipe.estimator, recipe.compare, (counter,))
    data = data[data["split"].isin(recipe.splits)].reset_index(drop=True)
    places = data.groupby("run", sort=False).indices
    label = estimate_label(set(data["estimator"].unique()) or {"lower-bound"}, set(data["direction"].unique()))
    width, height = max(7.2, PANEL_SIZE[0] * columns), PANEL_SIZE[1] * len(rows) + 0.9
    if columns <= 2:
        height += 0.8 if columns * len(rows) > 1 else 1.8  # one alone has the width of two
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.add_gridspec(len(rows), columns)
        shown: set[str] = set()
        for i, (row, panels) in enumerate(zip(rows, parts, strict=True)):
            for j, (where, here) in enumerate(panels):
                axes = figure.add_subplot(grid[i, j])
                points = data.iloc[[place for run in here for place in places.get(run.id, ())]]
                shown |= _panel(axes, experiment, recipe, row, where, here, points, counter, colours)
                if len(seeds) > 1 and here:
                    axes.set_title(f"{axes.get_title('left')}, {seeds_in_words(here)}", loc="left")
                if j == 0:
                    axes.set_ylabel(label)
                axes.set_xlabel(counter_label(counter, unit))
        title = [safe_text.title(experiment.title), *(seeds if len(seeds) == 1 else ())]
        figure.suptitle("; ".join(filter(None, title)), fontsize=10, x=0.01, ha="left")
        words = f"curves: {over_points(data)}{of_weights(runs)}{of_others(runs, counter)}"
        settings = _settings(experiment, list(itertools.chain.from_iterable(parts)))
        legend_below(figure, _legend(recipe, data, colours, shown, settings), max(4, columns + 2), words)
        sns.despine(figure)
    return figure


def _rows(experiment: Experiment, runs: Sequence[StoredRun], options: Sequence[str]) -> list[PanelRow]:
    """Return rows of panels for an experiment that names none: a row for each data set, a panel for each part of it.

    Raises:
        BadInput: there are too many panels.
    """
    rows = []
    by_row = [name for name in options if name == "dataset"]
    for where in selection.distinct([run.options(by_row) for run in runs]):
        own = selection.select(runs, where)
        values = {n: list(dict.fromkeys(run.option(n) for run in own)) for n in options if n not in by_row}
        over = {
            n: sorted(v, key=lambda one: (one is None, isinstance(one, str), one))
            for n, v in values.items()
            if v != [None]
        }
        if (panels := math.prod(map(len, over.values()))) > MOST_PANELS:
            name = max(over, key=lambda name: len(over[name]))
            raise BadInput(
                f"the figure of {experiment.name} would have {panels:,} panels in a row, and up to {MOST_PANELS} are drawn: "
                f"choose runs, as in `harness plot {experiment.called}:{name}={over[name][0]}`, or name fewer options in "
                "panels of the experiment's [figure]"
            )
        rows.append(PanelRow(where=where, over=over))
    return rows


def _wrapped(rows: Sequence[PanelRow], parts: Sequence[_Panels]) -> tuple[list[PanelRow], list[_Panels]]:
    """Return rows of panels so that none is too long."""
    lines = [
        (row, own[k : k + IN_A_ROW]) for row, own in zip(rows, parts, strict=True) for k in range(0, len(own), IN_A_ROW)
    ]
    return [row for row, _ in lines], [own for _, own in lines]


def _require_readable(experiment: Experiment, runs: Sequence[StoredRun]) -> None:
    """Raise BadInput where there are more curves than can be told apart."""
    compare = experiment.figure.compare
    if (curves_ := len({run.curve(compare) for run in runs})) > MOST_CURVES:
        name = max(compare, key=lambda name: len({str(run.option(name)) for run in runs}))
        raise BadInput(
            f"the figure of {experiment.name} would have {curves_:,} curves, and up to {MOST_CURVES} can be told apart: choose "
            f"runs, as in `harness plot {experiment.called}:{name}={runs[0].option(name)}`, or name fewer options in compare of "
            f"the experiment's [figure]; `harness table {experiment.called}` has all of them"
        )


def _colours(experiment: Experiment, runs: Sequence[StoredRun]) -> dict[str, Any]:
    """Return a colour for each curve, in the order of the experiment, so that a figure of half its runs has the same.

    Where the experiment has more than ten, only those that are there have one, as the first ten are told apart best.
    """
    there = dict.fromkeys(run.curve(experiment.figure.compare) for run in runs)
    order = list(dict.fromkeys([*experiment.curves, *there]))
    return colours_of(order if len(order) <= 10 else [name for name in order if name in there])


def _panel(
    axes: Axes,
    experiment: Experiment,
    recipe: FigureRecipe,
    row: PanelRow,
    where: Where,
    runs: Sequence[StoredRun],
    data: pd.DataFrame,
    counter: str,
    colours: Mapping[str, Any],
) -> set[str]:
    """Draw one panel, and return what the legend has to explain; `data` has the points of its runs."""
    title = row.title.format(**where) if row.title else ", ".join(_named(*item) for item in where.items())
    axes.set_title(safe_text.title(title), loc="left")
    axes.set_xscale(recipe.scale)
    axes.tick_params(axis="x", which="minor", labelsize=MINOR)
    dashed = {split: dashes or (None, None) for split, dashes in dashes_of(recipe.splits).items()}
    shown: set[str] = set()
    if recipe.reference and row.reference and counter == "samples":
        panel = published.published(recipe.reference, row.reference.format(**where))
        for k, name in enumerate(colours):
            for split in sorted({point.split for point in panel if point.algorithm == name} & dashed.keys()):
                line = [point for point in panel if (point.algorithm, point.split) == (name, split)]
                if line[-1].samples == math.inf:
                    axes.axhline(line[-1].value, dashes=dashed[split], **_published_line(k) | {"marker": ""})
                    shown.add(f"published end of {name}")
                    continue
                axes.plot(
                    [point.samples for point in line],
                    [point.value for point in line],
                    dashes=dashed[split],
                    **_published_line(k),
                )
                shown.add(f"published {name}")
    selection.require_alike(runs, f"the panel {title!r}", recipe.compare, recipe.differ)
    for (name, split), curve in _groups(data, "curve", "split"):
        mean = curves.over_seeds(curve, counter, "at_most")
        whole, rest = mean[mean["seeds"] == mean["seeds"].max()], mean[mean["seeds"] < mean["seeds"].max()]
        gid = None if rest.empty else GOES_ON
        marker = "." if len(mean) == 1 else None  # a line of one point is none
        axes.plot(whole["x"], whole["nats"], color=colours[name], dashes=dashed[split], lw=1.5, gid=gid, marker=marker)
        axes.fill_between(whole["x"], whole["low"], whole["high"], color=colours[name], alpha=0.2, lw=0)
        if whole["at_most"].notna().any():
            between(axes, whole["x"], whole["nats"], whole["at_most"], colours[name])
            shown.add("at most")
        if not rest.empty:
            axes.plot(rest["x"], rest["nats"], color=colours[name], dashes=dashed[split], lw=0.8)
            shown.add("fewer")
        shown |= {name, split} | ({"range"} if mean["seeds"].max() > 1 else set())
    finals = [final for final in curves.finals(runs, recipe.estimator, recipe.compare) if final["split"] in dashed]
    for final in finals:
        dot(axes, final[counter], final["nats"], final["split"], colours[final["curve"]])
        shown |= {f"dot of {final['points']}"}
    drawn = [data, pd.DataFrame(finals)]
    diverged = [run.id for run in runs if run.status == "diverged"]
    ends_at = data["split"] == ("test" if "test" in dashed else recipe.splits[0])
    for (_, name), curve in _groups(data[data["run"].isin(diverged) & ends_at], "run", "curve"):
        cross(axes, curve[counter].iloc[-1], curve["nats"].iloc[-1], colours[name])
        shown.add("diverged")
    if recipe.end_estimator:
        every = curves.estimates(runs, recipe.end_estimator, recipe.compare, most=True)
        ends = [e for e in every if e["end"] and e["split"] in dashed]
        for end in ends:
            axes.plot(end[counter], end["nats"], "D", color=colours[end["curve"]], ms=4, mfc="none", zorder=3)
            shown.add("end")
        drawn.append(pd.DataFrame(ends))
    for points in drawn:
        if mark_unreliable(axes, points, counter):
            shown.add("unreliable")
    without = len({run.id for run in runs} - set(data["run"]))
    missed = "" if "test" in dashed else f" on {' or '.join(recipe.splits)}"
    counts = _counts(runs, experiment.asked_for(where), recipe.compare) | {
        f"without {recipe.estimator or 'estimates'}{missed}": without
    }
    _write_counts(axes, bool(runs), counts)
    if counter == experiment.figure.x and row.x_limits:
        axes.set_xlim(*row.x_limits)
    if row.y_limits:
        axes.set_ylim(*row.y_limits)
    elif not data.empty:
        axes.set_ylim(*limits(data["nats"], data["at_most"]))
    if point_below(axes):
        shown.add("below")
    if recipe.scale == "linear":
        axes.xaxis.set_major_formatter(FuncFormatter(_in_words))
    return shown


def _published_line(k: int) -> dict[str, Any]:
    """Return how the published curves of the k-th algorithm are drawn."""
    grey, marker = GREYS[min(k, 2)], MARKERS[min(k, 2)]
    return {"color": grey, "lw": 0.8, "marker": marker, "ms": 4, "mew": 0.8, "markevery": 0.12, "gid": GOES_ON}


def _named(option: str, value: Any) -> str:
    if option == "dataset":
        return str(value)
    return f"{option} = {value if value is not None else 'all' if option == 'n-train' else 'none'}"


def _groups(data: pd.DataFrame, *names: str) -> Iterable[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return the parts of a table that have the same words in these columns, with the words."""
    return [(cast(tuple[str, ...], key), part) for key, part in data.groupby(list(names), sort=False)]


def _counts(runs: Sequence[StoredRun], asked_for: set[tuple[str, int]], compare: Sequence[str]) -> dict[str, int]:
    """Return how many runs of a panel are missing, or have not ended well."""
    there = {(run.curve(compare), run.seed) for run in runs}
    counts = {"missing": len(asked_for - there) if runs else 0, "unfinished": 0, "diverged": 0, "failed": 0}
    for run in runs:
        if run.status != "done":
            counts[run.status if run.status in counts else "unfinished"] += 1
    return counts


def _write_counts(axes: Axes, there: bool, counts: Mapping[str, int]) -> None:
    """Say in the panel what is missing from it."""
    if not there:
        axes.text(0.5, 0.06, "no runs", transform=axes.transAxes, ha="center", backgroundcolor="white", color="0.3")
    words = safe_text.label(", ".join(f"{n} {what}" for what, n in counts.items() if n))
    axes.text(0.02, 0.98, words, transform=axes.transAxes, va="top", color="0.4", fontsize=7)


def _in_words(value: float, _: Any = None) -> str:
    """Return a count on an axis as people write it: 60M."""
    return f"{value / 1e6:g}M" if abs(value) >= 1e6 else f"{value:,.10g}"


def _settings(experiment: Experiment, parts: Sequence[tuple[Where, Sequence[StoredRun]]]) -> dict[str, str]:
    """Return for each curve the settings that the legend tells; panels tell of those by which they differ."""
    compare, members = experiment.figure.compare, dict[str, list[StoredRun]]()
    for _, here in parts:
        for run in here:
            members.setdefault(run.curve(compare), []).append(run)
    hidden = {*compare, *itertools.chain.from_iterable(where for where, _ in parts)}
    return differing_settings(members, hidden, experiment.varying)


def _legend(
    recipe: FigureRecipe, data: pd.DataFrame, colours: Mapping[str, Any], shown: set[str], settings: Mapping[str, str]
) -> list[Artist]:
    """Return the lines of the legend: those alone that a panel shows. Curves of several estimators say which is theirs."""
    several = data["estimator"].nunique() > 1
    lines: list[Artist] = []
    for name, colour in colours.items():
        if name in shown:
            own = data[data["curve"] == name].drop_duplicates("estimator")
            used = " and ".join(
                f"{e} ({d})" if d else e for e, d in zip(own["estimator"], own["direction"], strict=True)
            )
            label = f"{name} ({settings[name]})" if settings.get(name) else name
            label += f": {used}" if several else ""
            lines.append(Line2D([], [], color=colour, lw=1.5, label=safe_text.label(label)))
    for split, dashes in dashes_of(recipe.splits).items():
        if split in shown:
            lines.append(Line2D([], [], color="0.2", lw=1.5, dashes=dashes or (None, None), label=set_label(split)))
    if "range" in shown:
        lines.append(Line2D([], [], color="0.2", lw=6, alpha=0.2, label="range over seeds"))
    if "at most" in shown:
        lines.append(between_handle())
    if "fewer" in shown:
        lines.append(Line2D([], [], color="0.2", lw=0.8, label="fewer seeds"))
    if dots := sorted(int(word.removeprefix("dot of ")) for word in shown if word.startswith("dot of ")):
        lines.append(dot_handle(dots, recipe.splits))
    if "end" in shown:
        label = safe_text.label(f"{recipe.end_estimator} at the end")
        lines.append(Line2D([], [], color="0.2", marker="D", mfc="none", ms=4, lw=0, label=label))
    if "unreliable" in shown:
        lines.append(unreliable_handle())
    if "diverged" in shown:
        lines.append(cross_handle())
    if "below" in shown:
        lines.append(below_handle())
    for k, name in enumerate(colours):
        if f"published {name}" in shown:
            label = safe_text.label(f"{name} ({published.label(str(recipe.reference))})")
            lines.append(Line2D([], [], label=label, **_published_line(k)))
        if f"published end of {name}" in shown:
            label = safe_text.label(f"{name}, end of training ({published.label(str(recipe.reference))})")
            lines.append(Line2D([], [], label=label, **_published_line(k) | {"marker": ""}))
    return lines
