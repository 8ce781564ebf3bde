"""Stored runs as tidy tables, for figures and tables alike; and the published curves to lay them beside."""

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from harness.analysis.selection import Stored
from harness.specs.budget import COUNTERS
from harness.specs.experiment import Experiment
from harness.store.record import Record


def estimator_of(experiment: Experiment, runs: Sequence[Stored]) -> str:
    """Return whose estimates an experiment compares: its recipe's; else the lower bound, unless more runs have another's."""
    if experiment.figure is not None:
        return experiment.figure.estimator
    counts: dict[str, int] = {"lower-bound": 0}
    for _, rows in runs:
        for name in {e["estimator"] for row in rows for e in row["estimates"]}:
            counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name])


def mark(record: Record, row: Mapping[str, Any]) -> float:
    """Return the samples of a row's mark, which other runs have too; of an end between marks, those of the budget.

    One step may go beyond the budget.
    """
    samples = row.get("marks", {}).get("samples", row["ledger"]["samples"])
    return float(min(samples, record.budget.get("samples", math.inf)) if row.get("end") else samples)


def sound(stored: Stored) -> Sequence[dict[str, Any]]:
    """Return a run's rows without the one that shows that it diverged."""
    record, rows = stored
    return rows[:-1] if record.status == "diverged" else rows


def row_at(stored: Stored, samples: float | str) -> dict[str, Any] | None:
    """Return a run's row at so many samples, or at its "end"; None if it has none."""
    if isinstance(samples, str):
        return next((row for row in reversed(sound(stored)) if row["end"] and stored[0].status == "done"), None)
    for row in sound(stored):
        if abs(mark(stored[0], row) - samples) < 1e-6 * samples + 1:
            return row
    return None


def nearest(runs: Iterable[Stored], samples: float) -> str:
    """Return the marks of these runs next below and above so many samples, in words."""
    marks = sorted({mark(stored[0], row) for stored in runs for row in sound(stored)})
    above = bisect.bisect(marks, samples)
    return " and ".join(f"{n:,.0f}" for n in marks[max(0, above - 1) : above + 1]) or "none"


def common_points(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """Return for each estimator and split the largest number of points over which every row that has any has an estimate."""
    counts: dict[tuple[str, str], list[set[int]]] = {}
    for row in rows:
        own: dict[tuple[str, str], set[int]] = {}
        for e in row["estimates"]:
            own.setdefault((e["estimator"], e["split"]), set()).add(e["points"])
        for key, points in own.items():
            counts.setdefault(key, []).append(points)
    return {key: max(shared) for key, points in counts.items() if (shared := set.intersection(*points))}


def value(row: Mapping[str, Any], estimator: str, split: str, points: Mapping[tuple[str, str], int]) -> float | None:
    """Return a row's estimate over these points; None if it has none, or none that is finite."""
    for e in row["estimates"]:
        wanted = (e["estimator"], e["split"]) == (estimator, split) and e["points"] == points.get((estimator, split))
        if wanted and math.isfinite(e["mean"]):
            return float(e["mean"])
    return None


def points(runs: Iterable[Stored], estimator: str) -> pd.DataFrame:
    """Return a line for every row and split that has an estimate by this estimator.

    Columns: run, algorithm, seed, split; nats, error (standard error over points and noise), points; every counter of the ledger;
    `mark`, the samples at which other runs have a row too; and `end`. Of a row the estimate over the curve's points is taken, not
    the one over more points at the end; what is not finite is left out.
    """
    out = []
    for record, rows in runs:
        own = {"run": record.run, "algorithm": record.spec["algorithm"]["name"], "seed": record.spec["seed"]}
        for row in rows:
            spent = {name: row["ledger"].get(name, math.nan) for name in COUNTERS}
            place = {"mark": mark(record, row), "end": row.get("end", False)}
            for e in _on_the_curve(row["estimates"], estimator):
                error = math.hypot(e["se_points"], e["se_estimator"])
                estimate = {"split": e["split"], "nats": e["mean"], "error": error, "points": e["points"]}
                out.append(own | place | estimate | spent)
    names = ["run", "algorithm", "seed", "mark", "end", "split", "nats", "error", "points", *COUNTERS]
    data = pd.DataFrame(out, columns=names)
    return data[np.isfinite(data["nats"].astype(float))]


def _on_the_curve(estimates: Sequence[dict[str, Any]], estimator: str) -> list[dict[str, Any]]:
    """Return of each split the estimate over the fewest points."""
    fewest: dict[str, dict[str, Any]] = {}
    for e in estimates:
        if e["estimator"] == estimator and (e["split"] not in fewest or e["points"] < fewest[e["split"]]["points"]):
            fewest[e["split"]] = e
    return list(fewest.values())


def over_seeds(curves: pd.DataFrame, counter: str) -> pd.DataFrame:
    """Return the mean over seeds of one algorithm's and split's points, with their range: x, nats, low, high, seeds.

    Only marks that all seeds have reached are means over all; from the last of them the seeds that went farthest go on, with
    their number.
    """
    table = curves.pivot_table(index="mark", columns="seed", values=["nats", counter])
    nats, x = cast(pd.DataFrame, table["nats"]), cast(pd.DataFrame, table[counter])
    reached = nats.notna()
    whole = reached.all(axis="columns")
    last = float(nats.index[whole.to_numpy()].max()) if whole.any() else -math.inf
    farthest = nats.columns[reached.iloc[-1].to_numpy()]
    beyond = reached[farthest].all(axis="columns") & (nats.index >= last)
    if len(farthest) == len(nats.columns) or beyond.sum() < 2:
        beyond[:] = False
    parts = []
    for seeds, kept in ((nats.columns, whole), (farthest, beyond)):
        some, at = nats.loc[kept, seeds], x.loc[kept, seeds]
        mean, low, high = some.mean(axis="columns"), some.min(axis="columns"), some.max(axis="columns")
        columns = {"x": at.mean(axis="columns"), "nats": mean, "low": low, "high": high, "seeds": len(seeds)}
        parts.append(pd.DataFrame(columns))
    return pd.concat([part for part in parts if not part.empty])


def kernel(record: Record) -> float | None:
    """Return what the calibration kernel took where a run was made, CPU seconds: the median over its sessions."""
    seconds = [session["calibration_seconds"] for session in record.provenance if "calibration_seconds" in session]
    return statistics.median(seconds) if seconds else None
