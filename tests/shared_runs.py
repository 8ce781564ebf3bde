"""Runs to be shared: with the ids of their specifications, and files that agree with one another."""

from dataclasses import asdict
from typing import Any

from support import stored

from harness.specs.run import make_spec
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store


def make(
    store: Store, seed: int = 0, test: tuple[float, ...] = (-200.0, -150.0), group: str = "mine", status: str = "done",
    cpu: str = "a processor", kernel: float = 0.01, algorithm: str = "aevb", **session: Any,
) -> Run:  # fmt: skip
    """Put a run with these bounds at its marks into a store, and return it."""
    like = stored(algorithm, seed, test, status=status)
    spec = make_spec(algorithm, settings={"nz": 3}, seed=seed)
    provenance = {**like.record.provenance[0], "machine": {"cpu": cpu}, "calibration_seconds": kernel, **session}
    run = store.run(spec.run_id, group)
    record = Record(run.id, spec.model_dump(mode="json"), {"samples": 10**6}, status=status, provenance=[provenance])
    rows = [
        {**row, "end": False, "estimates": [e for e in row["estimates"] if e["points"] == 2000]} for row in like.rows
    ]
    run.claim()
    run.begin(record, None)
    for row in rows:
        run.append(record, row)
    record.ledger, record.summary = rows[-1]["ledger"], rows[-1]["estimates"]
    run.write(record)
    run.release()
    return run


def evaluated(run: Run, mean: float) -> dict[str, Any]:
    """Add an estimate to a run, as `harness evaluate` does."""
    estimate = {**run.read().summary[0], "estimator": "importance", "mean": mean}
    row = {"time": "2026-11-21T11:34:29Z", "ledger": {"samples": 1}, "estimate": estimate, "file": None}
    run.append_evaluation(row)
    return row


def content(store: Store) -> dict[str, Any]:
    """Return all that a store has of its runs, but where they come from."""
    return {
        f"{run.path.parent.name}/{run.id}": [asdict(run.read()), run.rows(), run.evaluations()] for run in store.runs()
    }
