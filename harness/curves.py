"""Stored runs as tidy tables, for figures and tables alike; and the published curves to lay them beside."""

import bisect
import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from harness.errors import BadInput
from harness.experiment import Experiment, FigureRecipe, same
from harness.ledger import COUNTERS
from harness.store import Record, Run, Store

REFERENCE = Path(__file__).parent / "reference" / "aevb_2014.csv"
REFERENCE_NAME = "K&W 2014"

Stored = tuple[Record, Sequence[dict[str, Any]]]
Where = Mapping[str, Any]


def load(runs: Iterable[Run]) -> list[Stored]:
    """Return records with their rows."""
    return [run.content() for run in runs]


def group(store: Store, experiment: Experiment, say: Callable[[str], None]) -> list[Stored]:
    """Return an experiment's runs, those that are damaged aside.

    Args:
        store: where.
        experiment: whose.
        say: told of each that is damaged.

    Raises:
        BadInput: the store has none.
    """
    found: list[Stored] = []
    for run in store.runs(experiment.name):
        try:
            found.append(run.content())
        except BadInput as error:
            say(str(error))
    if not found:
        raise BadInput(
            f"there are no runs of {experiment.name} in {str(store.root)!r}: make them with `harness sweep {experiment.called}`"
        )
    return found


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


def option(spec: Mapping[str, Any], name: str) -> Any:
    """Return the value that a run's specification has for an option of `harness run`; None if it has none."""
    plugins = {"algo": "algorithm", "model": "model", "dataset": "dataset"}
    if name in plugins:
        return spec[plugins[name]]["name"]
    field = name.replace("-", "_")
    if field in ("n_train", "seed", "threads", "device"):
        return spec.get(field)
    for part in ("algorithm", "model", "dataset"):
        if field in spec[part]["settings"]:
            return spec[part]["settings"][field]
    return None


def select(runs: Iterable[Stored], where: Where) -> list[Stored]:
    """Return the runs that have these options."""
    return [stored for stored in runs if all(same(option(stored[0].spec, n), v) for n, v in where.items())]


def wanted(runs: Iterable[Stored], conditions: Mapping[str, Collection[str]]) -> list[Stored]:
    """Return the runs that have one of the wanted values of each option."""
    return [
        stored
        for stored in runs
        if all(any(same(option(stored[0].spec, n), v) for v in values) for n, values in conditions.items())
    ]


def options(runs: Iterable[Stored]) -> set[str]:
    """Return the options by which some of these runs can be told apart."""
    known = {"algo", "model", "dataset", "n-train", "seed", "threads", "device"}
    for record, _ in runs:
        for part in ("algorithm", "model", "dataset"):
            known |= {name.replace("_", "-") for name in record.spec[part]["settings"]}
    return known


def kernel(record: Record) -> float | None:
    """Return what the calibration kernel took where a run was made, CPU seconds: the median over its sittings."""
    seconds = [sitting["calibration_seconds"] for sitting in record.provenance if "calibration_seconds" in sitting]
    return statistics.median(seconds) if seconds else None


PANEL = ("dataset", "nz", "n-train")
"""Options by which runs that are compared stand in one panel."""


def panel(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run's panel."""
    return {name: option(spec, name) for name in PANEL}


def require_alike(runs: Sequence[Stored], where: str) -> None:
    """Raise BadInput, naming the difference, unless runs differ in algorithm and seed alone, and those of one algorithm in seed.

    Only then do curves in one panel compare algorithms.
    """
    firsts: dict[str, Record] = {}
    for record, _ in runs:
        name = record.spec["algorithm"]["name"]
        first = next(iter(firsts.values()), None)
        for other in (firsts.get(name), first):
            if other is not None and (found := difference(other, record)):
                what, one, two = found
                raise BadInput(
                    f"{where} would mix runs that differ in more than algorithm and seed: {other.run} has {what} {one} and "
                    f"{record.run} has {two}; move the folders of one kind into a group of another name"
                )
        firsts.setdefault(name, record)


_COMMON = ("model", "dataset", "n_train", "threads", "device", "evaluation")


def difference(one: Record, two: Record, except_for: Collection[str] = ()) -> tuple[str, Any, Any] | None:
    """Return what differs between two runs besides the seed, and the two values; None if nothing does.

    Of runs by different algorithms the algorithms' settings may differ.

    Args:
        one: a run.
        two: another.
        except_for: settings that may differ, as options of `harness run`.
    """
    alike = one.spec["algorithm"]["name"] == two.spec["algorithm"]["name"]
    allowed = {name.replace("-", "_") for name in except_for}
    for part in (*_COMMON, "algorithm") if alike else _COMMON:
        own, other = flat(part, one.spec.get(part)), flat(part, two.spec.get(part))
        for name in sorted(own.keys() | other.keys()):
            excused = name.endswith(".file") or name.rpartition(".")[2] in allowed
            if own.get(name) != other.get(name) and not excused:
                return name, own.get(name), other.get(name)
    hashes = [record.provenance[-1]["dataset"]["sha256"][:12] if record.provenance else None for record in (one, two)]
    if None not in hashes and hashes[0] != hashes[1]:
        return "data with SHA-256", hashes[0], hashes[1]
    return None


def flat(name: str, value: Any) -> dict[str, Any]:
    """Return the leaves of nested data, each under a dotted name."""
    if isinstance(value, dict):
        items = [(name if key == "settings" else f"{name}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(f"{name}.{i}", item) for i, item in enumerate(value)]
    else:
        return {name: value}
    return {leaf: content for key, item in items for leaf, content in flat(key, item).items()}


@cache
def _published() -> pd.DataFrame:
    return pd.read_csv(REFERENCE, comment="#")


def published(figure: str, panel: str) -> pd.DataFrame:
    """Return the published curves of a panel: algorithm, split, samples, value. Empty if there are none."""
    data = _published()
    here = (data["figure"] == figure) & (data["panel"] == panel)
    return data.loc[here].sort_values("samples")


def reference(recipe: FigureRecipe, where: Where) -> str | None:
    """Return the name of the published panel that is beside the panel with these options; None if there is none."""
    for row in recipe.rows if recipe.reference else ():
        for own in row.panels():
            if row.reference and all(name not in PANEL or same(where.get(name), given) for name, given in own.items()):
                return row.reference.format(**own)
    return None


def published_at(figure: str, panel: str, algorithm: str, split: str, samples: float) -> float | None:
    """Return a published curve's value, interpolated between its points in the logarithm of samples.

    It is None beyond the curve's ends; curves are thinned, and a flat one may lack the last 5 % before its end.
    """
    curve = published(figure, panel)
    curve = curve[(curve["algorithm"] == algorithm) & (curve["split"] == split) & (curve["samples"] > 0)]
    if curve.empty or not curve["samples"].min() <= samples <= 1.05 * curve["samples"].max():
        return None
    return float(np.interp(math.log(samples), np.log(curve["samples"]), curve["value"]))
