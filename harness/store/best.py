"""The mark of a run with the best estimate on the validation split: which it is, and the file that keeps its parameters.

`best-valid.safetensors` has the format of a checkpoint (`harness.store.checkpoint`): the parameters `theta` and `phi`, the
counters of the `ledger` at the mark, and the `estimate` that chose it, with both standard errors. The test split has no say.

Candidates are the rows at marks, and the last row of a run. The row at the end of a smaller budget is none of a run that went
on, so an extended run keeps what it would have kept at once. Of equal values the first counts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NAME = "best-valid.safetensors"

Estimate = Mapping[str, Any]


def on_validation(asked: Mapping[str, Any], row: Mapping[str, Any]) -> Estimate | None:
    """Return a row's estimate on the validation split over the points of a mark; None if it has none.

    Args:
        asked: the estimator in the specification of the run, with its `name` and its `points` at marks.
        row: of the trace.
    """
    found = [
        e
        for e in row["estimates"]
        if (e["estimator"], e["split"]) == (asked["name"], "valid") and e["points"] <= asked["points"]
    ]
    return max(found, key=lambda e: e["points"], default=None)


def better(one: Estimate, other: Estimate | None) -> bool:
    """Say whether an estimate is a finite number above another one; any such number is better than none."""
    return math.isfinite(one["mean"]) and (other is None or bool(one["mean"] > other["mean"]))


def best_row(
    estimators: Iterable[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, Any], Estimate] | None:
    """Return the row that was best on the validation split, and the estimate that says so; None if no row has one.

    Args:
        estimators: of the run's specification. The first that has estimates on the validation split at marks decides.
        rows: of the trace.
    """
    asked = next((one for one in estimators if any(on_validation(one, row) for row in rows)), None)
    if asked is None:
        return None
    best: tuple[Mapping[str, Any], Estimate] | None = None
    for number, row in enumerate(rows, 1):
        estimate = on_validation(asked, row)
        candidate = row["marks"] or number == len(rows)
        if candidate and estimate is not None and better(estimate, best and best[1]):
            best = row, estimate
    return best
