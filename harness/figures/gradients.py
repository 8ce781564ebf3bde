"""Variance of gradient estimators along the training of a run: a panel each for φ and θ, a colour an estimator."""

from collections.abc import Mapping, Sequence
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness import safe_text
from harness.errors import BadInput
from harness.figures.labels import MOST_CURVES, counter_label
from harness.figures.output import MINOR, colours_of, legend_below, style

HEIGHT = 3.4  # inches, without the legend

NAME = "gradient-variance"

PANELS = {"phi": "φ, the recognition model", "theta": "θ, the generative model"}

EFFORT = ("weights", "points", "draws", "fit", "seed")
"""What measurements have to have in common to be points of one curve."""

Row = Mapping[str, Any]


def latest(rows: Sequence[Row]) -> list[Row]:
    """Return the measurements that belong in one picture: those with as many points and draws as the last one.

    Raises:
        BadInput: there is none.
    """
    if not rows:
        raise BadInput(
            "no gradient of this run was measured: measure some by `harness gradients RUN --estimators ... --along`"
        )
    return [row for row in rows if all(row[name] == rows[-1][name] for name in EFFORT)]


def curves(rows: Sequence[Row]) -> dict[str, dict[str, list[tuple[float, float, float]]]]:
    """Return samples, variance and its standard error, in the order of samples, by estimator and part; the latest counts."""
    found: dict[str, dict[str, dict[float, tuple[float, float, float]]]] = {}
    for row in rows:
        for one in row["estimators"]:
            for block in one["blocks"]:
                if not block["name"]:
                    samples = float(row["ledger"]["samples"])
                    point = samples, block["variance"], block["se"]
                    found.setdefault(one["estimator"], {}).setdefault(block["part"], {})[samples] = point
    return {name: {part: sorted(own.values()) for part, own in parts.items()} for name, parts in found.items()}


def draw(run: str, rows: Sequence[Row]) -> Figure:
    """Return the figure.

    Args:
        run: its id.
        rows: measurements that belong together, as `latest` returns them.

    Raises:
        BadInput: more estimators than can be told apart.
    """
    every = curves(rows)
    if len(every) > MOST_CURVES:
        raise BadInput(
            f"{len(every)} estimators were measured, and up to {MOST_CURVES} can be told apart: measure fewer"
        )
    with style():
        figure = Figure(figsize=(7.2, HEIGHT), layout="constrained")
        palette = colours_of(every)
        grid = figure.subplots(1, len(PANELS), squeeze=False)[0]
        for axes, (part, title) in zip(grid, PANELS.items(), strict=True):
            for name, parts in every.items():
                x, y, error = zip(*parts[part], strict=True)
                axes.plot(x, y, color=palette[name], lw=1.6, marker="o", ms=3)
                low, high = ([v + sign * e for v, e in zip(y, error, strict=True)] for sign in (-1, 1))
                axes.fill_between(x, low, high, color=palette[name], alpha=0.15, linewidth=0)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.tick_params(which="minor", labelsize=MINOR)
            axes.set_title(title, fontsize="medium", loc="left")
            axes.set_xlabel(counter_label("samples"))
        grid[0].set_ylabel("variance of the gradient per datapoint\n(trace of the covariance)")
        last = rows[-1]
        note = f"{last['draws']:,} draws at {last['points']:,} training points; bands: ± one standard error"
        if any(one["fitted"] for row in rows for one in row["estimators"]):
            note += f"; baselines fitted in {last['fit']:,} steps"
        spent = {one["estimator"]: one["samples"] for row in rows for one in row["estimators"]}
        labels = {name: safe_text.label(f"{name} ({spent[name]:,.0f} samples a draw)") for name in palette}
        handles = [Line2D([], [], color=colour, label=labels[name]) for name, colour in palette.items()]
        figure.suptitle(safe_text.label(run), fontsize=9, x=0.01, ha="left")
        figure.set_figheight(HEIGHT + legend_below(figure, handles, 3, note))
        sns.despine(figure)
    return figure
