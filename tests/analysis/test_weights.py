"""Which parameters estimates are of: those after the last step, or their mean over steps."""

import re
from dataclasses import replace

import pytest
from support import MARKS, stored

from harness.analysis import curves, weights
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput


def averaged(run: StoredRun, begin: int) -> StoredRun:
    """A run whose estimates of averaged weights are 7 nats better, from so many samples on."""
    rows = []
    for row in run.rows:
        mean = [{**e, "mean": e["mean"] + 7, "weights": "average"} for e in row["estimates"]]
        rows.append({**row, "averaged": mean} if row["ledger"]["samples"] >= begin else row)
    record = replace(run.record, spec={**run.spec, "average": begin}, ledger=rows[-1]["ledger"])
    return replace(run, record=record, rows=rows)


def means(runs: list[StoredRun]) -> list[list[float]]:
    """The estimates of each row on the test set."""
    return [sorted({e["mean"] for e in row["estimates"] if e["split"] == "test"}) for run in runs for row in run.rows]


def test_estimates_of_either_are_as_they_are_stored() -> None:
    run, said = averaged(stored(test=(-200.0, -150.0, -130.0)), MARKS[1]), list[str]()
    last, mean = (weights.chosen([run], which, said.append) for which in ("last", "average"))
    assert means(last) == [[-200.0], [-150.0], [-130.0]]
    assert means(mean) == [[-143.0], [-123.0]]
    assert [one.mark(row) for one in mean for row in one.rows] == list(MARKS[1:3])
    assert (last[0].weights, mean[0].weights, said) == ("last", "average", [])
    assert list(curves.points(mean, "lower-bound")["mark"].unique()) == list(MARKS[1:3])


def test_a_diverged_run_keeps_its_last_row() -> None:
    """It is the one that shows divergence, and is told from the sound ones by its place."""
    run = averaged(stored(test=(-200.0, -150.0, -1e9), status="diverged"), MARKS[1])
    (mean,) = weights.chosen([run], "average", pytest.fail)
    assert means([replace(mean, rows=mean.sound_rows)]) == [[-143.0]]


def test_runs_without_are_left_out_and_named() -> None:
    never, early = stored(seed=1), averaged(stored(seed=2), 10**9)
    begun, said = averaged(stored(seed=0), 0), list[str]()
    assert [run.id for run in weights.chosen([never, begun, early], "average", said.append)] == [begun.id]
    (words,) = said
    assert re.fullmatch(
        f"left out, as they have no averaged weights: {never.id} \\(it was made without --average; make a run with it\\); "
        f"{early.id} \\(its --average begins after 1,000,000,000 samples, and it has spent 1,000,000; extend it beyond them\\)",
        words,
    )
    with pytest.raises(BadInput, match="--weights is 'average', and no run has averaged weights: .*; and 3 more$"):
        weights.chosen([stored(seed=seed) for seed in range(8)], "average", pytest.fail)
