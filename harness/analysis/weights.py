"""Which parameters of a run are meant (`--weights`).

    last         those after its last step
    average      their mean over steps (Polyak averaging; `harness.training.average`)
    best-valid   those of the mark that is best on the validation split, of a run that keeps them (`harness.store.best`)

Nobody chooses between them by what they are worth: whoever reads estimates says which. Rows have estimates of the first two.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from harness.analysis.stored_run import Row, StoredRun
from harness.errors import BadInput
from harness.store.record import Record

Weights = Literal["last", "average", "best-valid"]

MOST_NAMED = 5  # runs that a message names


def no_average(record: Record) -> str | None:
    """Return in words why a run has no mean of its parameters; None if it has one."""
    begin, spent = record.spec["average"], record.ledger.get("samples", 0)
    if begin is None:
        return "it was made without --average; make a run with it"
    if spent < begin or not spent:
        return f"its --average begins after {begin:,} samples, and it has spent {spent:,.0f}; extend it beyond them"
    return None


def averaged(run: StoredRun) -> StoredRun:
    """Return a run with the estimates of its averaged weights alone; rows before the average began are left out."""
    rows = [{**row, "estimates": row["averaged"]} for row in run.rows if "averaged" in row]
    return replace(run, rows=rows, weights="average")


def row_at(run: StoredRun, mark: float | str, weights: Weights) -> Row | None:
    """Return a run's row at a mark (`StoredRun.at`), with the estimates of these weights; None if there is none."""
    return (averaged(run) if weights == "average" else run).at(mark)


def chosen(runs: Sequence[StoredRun], weights: Weights, say: Callable[[str], None]) -> list[StoredRun]:
    """Return runs with the estimates of these weights alone, as if they had no others.

    Args:
        runs: as they are stored.
        weights: "last" leaves them as they are; "average" leaves the rows from the beginning of the average on.
        say: told of runs that are left out, as they have no average yet, or none at all.

    Raises:
        BadInput: none of the runs has an average, or the weights are those that rows have no estimates of.
    """
    if weights == "best-valid":
        raise BadInput(
            "--weights is 'best-valid', and curves are not of the parameters of one mark: choose last or average; `harness table "
            "--at best-valid` compares runs at their best marks"
        )
    if weights == "last":
        return list(runs)
    found, without = list[StoredRun](), list[str]()
    for run in runs:
        if (own := averaged(run)).rows:
            found.append(own)
        else:
            without.append(f"{run.id} ({no_average(run.record) or 'it has no row since its average began'})")
    said = "; ".join(without[:MOST_NAMED]) + (f"; and {len(without) - MOST_NAMED} more" if without[MOST_NAMED:] else "")
    if not found:
        raise BadInput(f"--weights is 'average', and no run has averaged weights: {said}")
    if without:
        say(f"left out, as they have no averaged weights: {said}")
    return found
