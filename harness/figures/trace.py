"""An estimate at the marks against what was spent, for one run or several: train dashed, test solid, a colour a run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness import safe_text
from harness.analysis import curves
from harness.analysis.machines import SECONDS, comparable
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import (
    MOST_CURVES,
    SPLITS,
    counter_label,
    dashes_of,
    estimate_label,
    of_others,
    of_weights,
    over_points,
    seeds_in_words,
    set_label,
)
from harness.figures.marks import (
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
from harness.specs.budget import COUNTERS

HEIGHT = 4.0  # inches, without the legend


def frame(runs: Sequence[StoredRun], counter: str, estimator: str) -> pd.DataFrame:
    """Return `curves.points` with two more columns: label and x, which is the counter's.

    Raises:
        BadInput: an unknown counter.
    """
    if counter not in COUNTERS:
        raise BadInput(f"--x is {counter!r}: choose one of {', '.join(COUNTERS)}")
    names = dict(zip((run.id for run in runs), labels(runs), strict=True))
    data = curves.points(runs, estimator)
    data = data[data["split"].isin(SPLITS)]
    return data.assign(label=data["run"].map(names), x=data[counter])


def labels(runs: Sequence[StoredRun]) -> list[str]:
    """Name each run by its algorithm, by whatever differs between the runs, and by its status if it is not done.

    A setting is compared among the runs that have it.
    """
    facts = [_facts(run) for run in runs]
    out = []
    for run, fact in zip(runs, facts, strict=True):
        words = [fact["algorithm"]]
        for key, value in fact.items():
            if key != "algorithm" and len({str(other[key]) for other in facts if key in other}) > 1:
                words.append(f"{key} {value}")
        if run.status != "done":
            words.append(f"({run.status})")
        out.append(" ".join(str(word) for word in words))
    return [safe_text.label(name if out.count(name) == 1 else run.id) for name, run in zip(out, runs, strict=True)]


def _facts(run: StoredRun) -> dict[str, Any]:
    """Return everything that a run may differ in, by short name."""
    spec = run.spec
    facts = {"algorithm": run.algorithm, "dataset": spec["dataset"]["name"], "model": spec["model"]["name"]}
    for part in ("model", "algorithm", "dataset"):
        facts |= spec[part]["settings"]
    begin = spec.get("average")
    facts |= {"N": spec["n_train"] or "all", "seed": run.seed, "threads": spec["threads"]}
    average = "none" if begin is None else f"from {begin:,} samples"
    return facts | {"schedule": spec.get("schedule", "constant"), "average": average}


def draw(
    runs: Sequence[StoredRun], counter: str = "samples", scale: str = "log", estimator: str | None = None
) -> Figure:
    """Return the figure.

    Args:
        runs: the runs.
        counter: what is on the x axis, one of the ledger's counters.
        scale: "log" or "linear".
        estimator: whose estimates to draw; if None the lower bound, or what the runs have where none has a bound.

    Raises:
        BadInput: an unknown counter or scale, nothing to draw, more runs than can be told apart, or CPU times that cannot be
            compared.
    """
    if scale not in ("log", "linear"):
        raise BadInput(f"--scale is {scale!r}: choose log or linear")
    if len(runs) > MOST_CURVES:
        raise BadInput(
            f"{len(runs):,} runs are chosen, and each is a curve, of which up to {MOST_CURVES} can be told apart: choose fewer, "
            f"as in `harness plot GROUP:algo={runs[0].algorithm},seed={runs[0].seed}`, or draw an experiment by "
            "`harness plot FILE.toml`, whose curves are means over seeds"
        )
    unit = SECONDS
    if counter == "cpu_seconds":
        runs, unit = comparable(runs)
    there = dict.fromkeys(name for run in runs for name in run.estimators)
    if estimator is None:
        estimator = "lower-bound" if "lower-bound" in there or not there else next(iter(there))
    data = frame(runs, counter, estimator)
    if data.empty:
        reasons = ", ".join(f"{run.id} ({run.status}, {len(run.rows)} rows)" for run in runs)
        choices = f": --y can be {' or '.join(there)}" if there else ": see `harness show RUN`"
        raise BadInput(f"there is no {estimator} to draw in {reasons}{choices}")
    with style():
        figure = Figure(figsize=(7.2, HEIGHT), layout="constrained")
        axes = figure.subplots()
        names_of = dict(zip((run.id for run in runs), labels(runs), strict=True))
        order = list(dict.fromkeys(data["label"]))
        palette = colours_of(order)
        sns.lineplot(
            data, x="x", y="nats", hue="label", style="split", style_order=SPLITS, dashes=dashes_of(SPLITS), palette=palette,
            errorbar=None, estimator=None, ax=axes, linewidth=1.6,
        )  # fmt: skip
        both_sides = data["at_most"].notna().any()
        for (label, _), curve in data.groupby(["label", "split"]):
            if both_sides:
                between(axes, curve["x"], curve["nats"], curve["at_most"], palette[label])
            if len(curve) == 1:  # whose line is none
                axes.plot(curve["x"], curve["nats"], ".", color=palette[label])
            axes.fill_between(
                curve["x"], curve["nats"] - curve["error"], curve["nats"] + curve["error"],
                color=palette[label], alpha=0.12, linewidth=0,
            )  # fmt: skip
        for run, label in zip(runs, labels(runs), strict=True):
            if run.status == "diverged" and (data["label"] == label).any():
                end = data[data["label"] == label].iloc[-1]
                cross(axes, end["x"], end["nats"], palette[label])
        dots = _finals(runs, data, estimator)
        for final in dots:
            label = names_of[final["run"]]
            dot(axes, final[counter], final["nats"], final["split"], palette[label])
        doubtful = [mark_unreliable(axes, data, "x"), mark_unreliable(axes, pd.DataFrame(dots), counter)]
        axes.set_xscale(scale)
        axes.tick_params(axis="x", which="minor", labelsize=MINOR)
        axes.set_ylim(*limits(data["nats"], data["at_most"]))
        axes.set_xlabel(counter_label(counter, unit))
        axes.set_ylabel(estimate_label([estimator]))
        if scale == "linear":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        handles, texts = axes.get_legend_handles_labels()
        kept = [(h, t) for h, t in zip(handles, texts, strict=True) if t not in ("label", "split")]
        for handle, text in kept:
            handle.set_label(set_label(text) if text in SPLITS else text)
        handles = [handle for handle, _ in kept]
        if both_sides:
            handles.append(between_handle())
        if dots:
            handles.append(dot_handle(sorted({final["points"] for final in dots})))
        if any(run.status == "diverged" for run in runs):
            handles.append(cross_handle())
        if any(doubtful):
            handles.append(unreliable_handle())
        if point_below(axes):
            handles.append(below_handle())
        if (own := axes.get_legend()) is not None:  # seaborn's, which lies over the curves
            own.remove()
        axes.set_title(safe_text.label(_title(runs)), fontsize="medium", loc="left")
        without = [label for run, label in zip(runs, labels(runs), strict=True) if not (data["run"] == run.id).any()]
        words = f"curves: {over_points(data)}; bands: ± one standard error of that mean"
        words += of_weights(runs) + of_others(runs, counter)
        words += f"; no {safe_text.label(estimator)}: {', '.join(without)}" if without else ""
        figure.set_figheight(HEIGHT + legend_below(figure, handles, 3, words))
        sns.despine(figure)
    return figure


def _finals(runs: Sequence[StoredRun], data: pd.DataFrame, estimator: str) -> list[dict[str, Any]]:
    """Return the estimates at the ends of runs that are over more points than their curves."""
    own = data.groupby(["run", "split"])["points"].min()
    every = curves.estimates(runs, estimator, most=True)
    return [e for e in every if e["end"] and e["split"] in SPLITS and e["points"] > own[e["run"], e["split"]]]


def limits(nats: "pd.Series[float]", *above: "pd.Series[float]") -> tuple[float, float]:
    """Return y limits that leave out the climb from an untrained model, which would flatten everything after it."""
    best, median, worst = pd.concat([nats, *above]).max(), nats.median(), nats.min()
    span = max(min(best - worst, 2.5 * (best - median)), 1e-3)
    return best - 1.03 * span, best + 0.06 * span


def _title(runs: Sequence[StoredRun]) -> str:
    """Return what all runs have in common."""
    facts = [_facts(run) for run in runs]
    words = [
        str(value)
        for value in (
            *(facts[0].get(key) for key in ("dataset", "model")),
            *(f"{key}={facts[0][key]}" for key in ("nz", "hidden", "binarize", "lr", "N") if key in facts[0]),
        )
    ]
    common = [
        w for w in words if all(w in {str(v) for v in f.values()} | {f"{k}={v}" for k, v in f.items()} for f in facts)
    ]
    return ", ".join([*common, seeds_in_words(runs)])
