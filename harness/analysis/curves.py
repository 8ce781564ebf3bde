"""Stored runs as tidy tables, for figures and tables alike."""

import bisect
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from harness.analysis.reliability import unreliable
from harness.analysis.selection import COMPARE
from harness.analysis.stored_run import Row, StoredRun
from harness.files import encoded, without_collection
from harness.specs.budget import COUNTERS
from harness.specs.recipes import Compared
from harness.store.record import BOUNDS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd  # which takes a second to import: `harness table` does without


_COLUMNS = (
    "run", "curve", "seed", "estimator", "direction", "mark", "end", "split", "nats", "error", "points", "reliable", "at_most",
)  # fmt: skip


def estimator_of(experiment: Compared, runs: Sequence[StoredRun]) -> str | None:
    """Return whose estimates an experiment compares, None where each run has its own.

    It is what its recipe names; else the first that all runs have estimates by, in the order of a run's specification.
    """
    if experiment.figure.estimator is not None:
        return experiment.figure.estimator
    have = [names for run in runs if (names := run.estimators)]
    if not have:
        return "lower-bound"
    return next((name for name in have[0] if all(name in names for names in have)), None)


def estimator_for(run: StoredRun, estimator: str | None) -> str:
    """Return an estimator, or a run's default where it is None."""
    return estimator or next(iter(run.estimators), "lower-bound")


def nearest(runs: Iterable[StoredRun], samples: float) -> str:
    """Return the marks of these runs next below and above a number of samples, in words."""
    marks = sorted({mark for run in runs for mark in run.sound_marks})
    above = bisect.bisect(marks, samples)
    return " and ".join(f"{n:,.0f}" for n in marks[max(0, above - 1) : above + 1]) or "none"


def common_points(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Return for each estimator and split the largest number of points over which every row that has any has an estimate."""
    counts: dict[tuple[str, str], list[set[int]]] = {}
    of_what = itemgetter("estimator", "split", "points")
    for kind in dict.fromkeys(tuple(map(of_what, row["estimates"])) for row in rows):  # most rows are of one kind
        own: dict[tuple[str, str], set[int]] = {}
        for estimator, split, n in kind:
            own.setdefault((estimator, split), set()).add(n)
        for key, points in own.items():
            counts.setdefault(key, []).append(points)
    return {key: max(shared) for key, points in counts.items() if (shared := set.intersection(*points))}


def value(row: Row, estimator: str, split: str, points: Mapping[tuple[str, str], int]) -> float | None:
    """Return a row's estimate over these points, nats per datapoint; None if it has none, or none that is finite."""
    found = estimate(row, estimator, split, points)
    return None if found is None else float(found["mean"])


def estimate(row: Row, estimator: str, split: str, points: Mapping[tuple[str, str], int]) -> dict[str, Any] | None:
    """Return the estimate of which `value` is the mean, with all that is stored of it."""
    for e in row["estimates"]:
        wanted = (e["estimator"], e["split"]) == (estimator, split) and e["points"] == points.get((estimator, split))
        if wanted and math.isfinite(e["mean"]):
            return dict(e)
    return None


def of_curve(row: Row, estimator: str, split: str) -> float | None:
    """Return the value of a row that its curve has, over the points of every mark; None without one that is finite."""
    found = [e["mean"] for e in _of_each_split(row["estimates"], estimator, False) if e["split"] == split]
    return float(found[0]) if found and math.isfinite(found[0]) else None


def points(
    runs: Iterable[StoredRun],
    estimator: str | None,
    compare: Sequence[str] = COMPARE,
    counters: Sequence[str] = COUNTERS,
) -> "pd.DataFrame":
    """Return the lines of `estimates` as a table, with these counters."""
    import pandas as pd

    names = (*_COLUMNS, *counters)
    with without_collection():
        columns = zip(*_lines(runs, estimator, compare, counters), strict=True)
        return pd.DataFrame(dict(zip(names, columns, strict=False)), columns=list(names))  # which may have no lines


def estimates(
    runs: Iterable[StoredRun], estimator: str | None, compare: Sequence[str] = COMPARE, *, most: bool = False
) -> list[dict[str, Any]]:
    """Return a line for every row and split that has an estimate by this estimator, or by the run's default if it is None.

    Columns: run, curve, seed, estimator, direction (of its bias), split; nats, error (standard error over points and noise),
    points, reliable (False where its own diagnostics say that it is not); `at_most`, where log p(x) is estimated from below and
    from above; every counter of the ledger; `mark`, the samples at which other runs have a row too; and `end`. Of a row the
    estimate over the fewest points is taken, which are the curve's, and not the one over more points at the end, or over the
    most; what is not finite is left out.
    """
    names = (*_COLUMNS, *COUNTERS)
    return [dict(zip(names, line, strict=True)) for line in _lines(runs, estimator, compare, COUNTERS, most=most)]


def _lines(
    runs: Iterable[StoredRun],
    estimator: str | None,
    compare: Sequence[str],
    counters: Sequence[str],
    *,
    most: bool = False,
) -> Iterator[tuple[Any, ...]]:
    """Yield the lines of `estimates`, the values of their columns in order."""
    for run in runs:
        name = estimator_for(run, estimator)
        own = run.id, run.curve(compare), run.seed, encoded(name).decode()  # pandas has no half surrogate pairs
        for row, mark in zip(run.rows, run.marks, strict=True):
            spent, end = [row["ledger"].get(counter, math.nan) for counter in counters], row.get("end", False)
            for e in _of_each_split(row["estimates"], name, most):
                if math.isfinite(e["mean"]):
                    error = math.hypot(e["se_points"], e["se_estimator"])
                    found = e["split"], e["mean"], error, e["points"], not unreliable(e), _at_most(e, row)
                    yield *own, e.get("direction", ""), mark, end, *found, *spent


def _at_most(estimate: Mapping[str, Any], row: Row) -> float:
    """Return an estimate from above beside one of log p(x) from below, over the same points; NaN where there is none."""
    if estimate.get("direction") != "lower" or estimate["estimator"] in BOUNDS:
        return math.nan
    alike = itemgetter("split", "points")
    above = (e["mean"] for e in row["estimates"] if e.get("direction") == "upper" and alike(e) == alike(estimate))
    return min(above, default=math.nan)


def _of_each_split(estimates: Sequence[dict[str, Any]], estimator: str, most: bool) -> list[dict[str, Any]]:
    """Return of each split the estimate over the fewest points, or over the most."""
    own = [e for e in estimates if e["estimator"] == estimator]
    own.sort(key=itemgetter("points"), reverse=not most)
    return list({e["split"]: e for e in own}.values())


def finals(runs: Sequence[StoredRun], estimator: str | None, compare: Sequence[str] = COMPARE) -> list[dict[str, Any]]:
    """Return where the curves of a panel end, if a table compares them there over more points than those of the curve.

    Args:
        runs: the panel's.
        estimator: whose estimates; each run's default if None.
        compare: options by which curves differ.

    Returns:
        A line for each curve and split: curve, split, points; nats and every counter of the ledger, means over the seeds that go
        farthest; and whether all of these are reliable.
    """
    out: list[dict[str, Any]] = []
    members: dict[str, list[StoredRun]] = {}
    for run in runs:
        if run.sound_rows:
            members.setdefault(run.curve(compare), []).append(run)
    for name, own in members.items():
        mark, judge = max(run.sound_marks[-1] for run in own), estimator_for(own[0], estimator)
        over = common_points([row for run in runs if (row := run.at(mark)) is not None])
        rows = [row for run in own if (row := run.at(mark)) is not None]
        for split in sorted({split for one, split in over if one == judge}):
            fewest = [
                e["points"]
                for row in rows
                for e in _of_each_split(row["estimates"], judge, False)
                if e["split"] == split
            ]
            found = [(row, e) for row in rows if (e := estimate(row, judge, split, over)) is not None]
            if not found or over[judge, split] <= min(fewest):
                continue
            spent = {c: statistics.fmean(row["ledger"].get(c, math.nan) for row, _ in found) for c in COUNTERS}
            ends = {
                "nats": statistics.fmean(e["mean"] for _, e in found),
                "reliable": not any(unreliable(e) for _, e in found),
            }
            out.append({"curve": name, "split": split, "points": over[judge, split], **ends, **spent})
    return out


def over_seeds(curve: "pd.DataFrame", counter: str, *others: str) -> "pd.DataFrame":
    """Return the mean over seeds of one curve's points on one split, with their range: x, nats, low, high, seeds.

    x is the mean of a counter; means of others have the names of these.

    Only marks that all seeds have reached are means over all; from the last of them the seeds that went farthest go on, with
    their number. Where there is no mark that all have, these are all there is.
    """
    import numpy as np
    import pandas as pd

    marks, at = np.unique(curve["mark"].to_numpy(), return_inverse=True)
    seeds, of = np.unique(curve["seed"].to_numpy(), return_inverse=True)

    def of_each(name: str) -> "np.ndarray[Any, Any]":
        """Return a column's mean for each seed and mark, NaN where there is no value."""
        values, (total, count) = curve[name].to_numpy(dtype=float), np.zeros((2, len(seeds), len(marks)))
        known = ~np.isnan(values)
        np.add.at(total, (of[known], at[known]), values[known])
        np.add.at(count, (of[known], at[known]), 1)
        return _quotient(total, count)

    table = {name: of_each(name) for name in dict.fromkeys(("nats", counter, *others))}
    reached = ~np.isnan(table["nats"])
    whole = reached.all(axis=0)
    last = marks[whole].max() if whole.any() else -math.inf
    farthest = reached[:, -1]
    beyond = reached[farthest].all(axis=0) & (marks >= last)
    if farthest.all() or (whole.any() and beyond.sum() < 2):
        beyond[:] = False
    parts = []
    for own, kept in ((np.full(len(seeds), True), whole), (farthest, beyond)):
        if kept.any():
            some = {name: values[own][:, kept] for name, values in table.items()}
            low, high = some["nats"].min(axis=0), some["nats"].max(axis=0)
            columns = {
                "x": _mean(some[counter]),
                "nats": _mean(some["nats"]),
                "low": low,
                "high": high,
                "seeds": own.sum(),
            }
            columns |= {other: _mean(some[other]) for other in others}
            parts.append(pd.DataFrame(columns, index=pd.Index(marks[kept], name="mark")))
    return pd.concat(parts)


def _mean(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return the mean over seeds at each mark, of those that have a value there; NaN where none has."""
    import numpy as np

    known = ~np.isnan(values)
    return _quotient(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def _quotient(total: "np.ndarray[Any, Any]", count: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return means of sums of so many values; NaN for none."""
    import numpy as np

    mean: np.ndarray[Any, Any] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean
