"""Runs that a process is making at this moment: how far they are, what they have reached, and how long they will take."""

from collections.abc import Iterable
from typing import NamedTuple

from harness.errors import BadInput
from harness.store.record import BOUNDS
from harness.store.run import Run


class Underway(NamedTuple):
    """A run under way, as of its last mark or checkpoint.

    Attributes:
        group: of the store.
        run: its id.
        foreign: whether somebody else began it.
        counter: of the limits of its budget the one that will be reached first.
        spent: how much of it.
        limit: how much there is.
        left: wall seconds of training that are left; None before the first mark.
        estimator: whose estimates follow; the lower bound where there is one, else the run's first. None before the first mark.
        now: its last estimate by split, nats per datapoint.
        curve: its estimates at all marks, on the test set where it has them.
    """

    group: str
    run: str
    foreign: bool
    counter: str
    spent: float
    limit: float
    left: float | None
    estimator: str | None
    now: dict[str, float]
    curve: list[float]

    @property
    def fraction(self) -> float:
        """How much of the budget is spent, 0 to 1."""
        return min(self.spent / self.limit, 1.0) if self.limit else 1.0


def underway(runs: Iterable[Run]) -> list[Underway]:
    """Return those of these runs that a process owns and that have not ended; one that cannot be read just now is left out."""
    found = []
    for run in runs:
        if run.owned():
            try:
                if (one := _state(run)) is not None:
                    found.append(one)
            except (BadInput, OSError):  # its owner is replacing a file, or it ended and is gone
                continue
    return found


def _state(run: Run) -> Underway | None:
    record, rows = run.content()
    if record.status != "running" or not record.budget:
        return None
    last = rows[-1]["ledger"] if rows else {}
    spent = {name: max(record.ledger.get(name, 0.0), last.get(name, 0.0)) for name in {*record.ledger, *last}}
    counter = max(record.budget, key=lambda name: spent.get(name, 0.0) / (record.budget[name] or 1.0))
    fraction = spent.get(counter, 0.0) / (record.budget[counter] or 1.0)
    left = spent["wall_seconds"] * (1 / fraction - 1) if 0 < fraction <= 1 and "wall_seconds" in spent else None
    there = dict.fromkeys(e["estimator"] for row in rows for e in row["estimates"])
    estimator = next((name for name in (*BOUNDS, *there) if name in there), None)
    curves: dict[str, list[float]] = {}
    for row in rows:
        for split, mean in {e["split"]: e["mean"] for e in row["estimates"] if e["estimator"] == estimator}.items():
            curves.setdefault(split, []).append(mean)
    shown = curves.get("test") or next(iter(curves.values()), [])
    now = {split: own[-1] for split, own in curves.items()}
    facts = run.path.parent.name, run.id, run.origin() is not None
    return Underway(*facts, counter, spent.get(counter, 0.0), record.budget[counter], left, estimator, now, shown)
