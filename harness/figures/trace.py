"""An estimate at the marks against what was spent, for one run or several: train dashed, test solid, a colour a run."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from harness.analysis import curves
from harness.analysis.selection import Stored
from harness.errors import BadInput
from harness.figures.output import style
from harness.specs.budget import COUNTERS
from harness.store.record import Record

LABELS = {
    "samples": "training samples evaluated",
    "datapoints": "training points presented",
    "fantasies": "fantasy points sampled",
    "steps": "parameter updates",
    "cpu_seconds": "CPU seconds of training",
    "wall_seconds": "wall seconds of training",
}

DASHES: dict[str, Any] = {"test": "", "train": (4, 2)}


def frame(runs: Sequence[Stored], counter: str, estimator: str) -> pd.DataFrame:
    """Return `curves.points` with two more columns: label and x, which is the counter's.

    Raises:
        BadInput: an unknown counter.
    """
    if counter not in COUNTERS:
        raise BadInput(f"--x is {counter!r}: choose one of {', '.join(COUNTERS)}")
    records = [record for record, _ in runs]
    names = dict(zip((record.run for record in records), labels(records), strict=True))
    data = curves.points(runs, estimator)
    return data.assign(label=data["run"].map(names), x=data[counter])


def labels(records: Sequence[Record]) -> list[str]:
    """Name each run by its algorithm, by whatever differs between the runs, and by its status if it is not done.

    A setting of an algorithm's own is compared among the runs of that algorithm alone.
    """
    facts = [_facts(record) for record in records]
    out = []
    for record, fact in zip(records, facts, strict=True):
        words = [fact["algorithm"]]
        for key, value in fact.items():
            own = key in record.spec["algorithm"]["settings"]
            rivals = [other for other in facts if not own or other["algorithm"] == fact["algorithm"]]
            if key != "algorithm" and len({str(rival.get(key)) for rival in rivals}) > 1:
                words.append(f"{key} {value}")
        if record.status != "done":
            words.append(f"({record.status})")
        out.append(" ".join(str(word) for word in words))
    return [label if out.count(label) == 1 else record.run for label, record in zip(out, records, strict=True)]


def _facts(record: Record) -> dict[str, Any]:
    """Return everything that a run may differ in, by short name."""
    spec = record.spec
    facts = {"algorithm": spec["algorithm"]["name"], "dataset": spec["dataset"]["name"], "model": spec["model"]["name"]}
    for part in ("model", "algorithm", "dataset"):
        facts |= spec[part]["settings"]
    return facts | {"N": spec["n_train"] or "all", "seed": spec["seed"], "threads": spec["threads"]}


def draw(runs: Sequence[Stored], counter: str = "samples", scale: str = "log", estimator: str | None = None) -> Figure:
    """Return the figure.

    Args:
        runs: records with their rows.
        counter: what is on the x axis, one of the ledger's counters.
        scale: "log" or "linear".
        estimator: whose estimates to draw; if None the lower bound, or what the runs have where none has a bound.

    Raises:
        BadInput: an unknown counter or scale, or nothing to draw.
    """
    if scale not in ("log", "linear"):
        raise BadInput(f"--scale is {scale!r}: choose log or linear")
    there = dict.fromkeys(e["estimator"] for _, rows in runs for row in rows for e in row["estimates"])
    if estimator is None:
        estimator = "lower-bound" if "lower-bound" in there or not there else next(iter(there))
    data = frame(runs, counter, estimator)
    if data.empty:
        reasons = ", ".join(f"{record.run} ({record.status}, {len(rows)} rows)" for record, rows in runs)
        choices = f": --y can be {' or '.join(there)}" if there else ": see `harness show RUN`"
        raise BadInput(f"there is no {estimator} to draw in {reasons}{choices}")
    with style():
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.subplots()
        order = list(dict.fromkeys(data["label"]))
        palette = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
        sns.lineplot(
            data, x="x", y="nats", hue="label", style="split", style_order=list(DASHES), dashes=DASHES, palette=palette,
            errorbar=None, estimator=None, ax=axes, linewidth=1.6,
        )  # fmt: skip
        for (label, _), curve in data.groupby(["label", "split"]):
            axes.fill_between(
                curve["x"], curve["nats"] - curve["error"], curve["nats"] + curve["error"],
                color=palette[label], alpha=0.12, linewidth=0,
            )  # fmt: skip
        for record, label in zip([r for r, _ in runs], labels([r for r, _ in runs]), strict=True):
            if record.status == "diverged" and (data["label"] == label).any():
                end = data[data["label"] == label].iloc[-1]
                axes.plot(end["x"], end["nats"], "X", color=palette[label], markersize=9)
        axes.set_xscale(scale)
        axes.set_ylim(*limits(data["nats"]))
        axes.set_xlabel(LABELS.get(counter, counter.replace("_", " ")))
        what = "lower bound on log p(x)" if estimator == "lower-bound" else f"log p(x) by {estimator}"
        axes.set_ylabel(f"{what}, nats per datapoint")
        if scale == "linear":
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        handles, texts = axes.get_legend_handles_labels()
        kept = [(h, t) for h, t in zip(handles, texts, strict=True) if t not in ("label", "split")]
        names = [t if t not in DASHES else f"{t} set" for _, t in kept]
        axes.legend([h for h, _ in kept], names, loc="lower right", frameon=True, framealpha=0.9, fontsize="small")
        axes.set_title(_title(runs), fontsize="medium", loc="left")
        without = [
            label for (record, _), label in zip(runs, labels([r for r, _ in runs]), strict=True)
            if not (data["run"] == record.run).any()
        ]  # fmt: skip
        points = sorted(data.groupby("split")["points"].max().items(), reverse=True)
        bands = "bands: ± one standard error of the mean over " + " and ".join(f"{n:,} {s} points" for s, n in points)
        bands += f"; no {estimator}: {', '.join(without)}" if without else ""
        figure.supxlabel(bands, x=1.0, ha="right", fontsize="x-small", color="0.35")
        sns.despine(figure)
    return figure


def limits(nats: "pd.Series[float]") -> tuple[float, float]:
    """Return y limits that leave out the climb from an untrained model, which would flatten everything after it."""
    best, median, worst = nats.max(), nats.median(), nats.min()
    span = max(min(best - worst, 2.5 * (best - median)), 1e-3)
    return best - 1.03 * span, best + 0.06 * span


def _title(runs: Sequence[Stored]) -> str:
    """Return what all runs have in common."""
    facts = [_facts(record) for record, _ in runs]
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
    return ", ".join(common)
