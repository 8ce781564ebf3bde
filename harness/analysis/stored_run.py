"""A stored run as analyses see it: its record and its rows."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.errors import BadInput
from harness.files import encoded
from harness.specs.options import STORED
from harness.specs.where import PLUGINS, Where, in_words, meets
from harness.store.best import best_row
from harness.store.origin import Origin
from harness.store.record import Record
from harness.store.run import Run

OF_RUN = tuple(name for name in STORED if name not in PLUGINS)
"""Options of a run itself, by which its specification has them, too."""

Row = dict[str, Any]
"""A line of a run's trace: its marks, ledger, estimates and what steps reported."""


@dataclass(frozen=True)
class StoredRun:
    """A run that the store has, or a baseline.

    Attributes:
        record: its run.json.
        rows: its trace.
        folder: where it is; None of a run that a baseline has.
        version: what tells its version of the user's code from the present one, where both are shown; else empty.
        weights: of which parameters the estimates of its rows are; see `harness.analysis.weights`.
    """

    record: Record
    rows: Sequence[Row]
    folder: Run | None = None
    version: str = ""
    weights: str = "last"

    @classmethod
    def load(cls, run: Run) -> "StoredRun":
        """Read a run; BadInput if it is damaged."""
        return cls(*run.content(), run)

    def with_rows(self) -> "StoredRun":
        """Return the run with its rows, of which nothing was read until now; BadInput if they are damaged."""
        record, rows = self.on_disk.content(self.record)
        return replace(self, record=record, rows=rows)

    @property
    def on_disk(self) -> Run:
        """Its folder in the store; BadInput if it has none."""
        if self.folder is None:
            raise BadInput(f"run {self.id} is of a baseline, which has neither its model nor its evaluations")
        return self.folder

    @property
    def id(self) -> str:
        """The run's id."""
        return self.record.run

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification, as plain data."""
        return self.record.spec

    @property
    def algorithm(self) -> str:
        """The name of its algorithm."""
        return str(self.spec["algorithm"]["name"])

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.spec["seed"])

    @property
    def status(self) -> str:
        """How it ended, or that it is running."""
        return self.record.status

    @cached_property
    def origin(self) -> Origin | None:
        """Where it comes from if it is somebody else's; None if it is the user's own, or of a baseline."""
        return None if self.folder is None else self.folder.origin()

    @property
    def last_session(self) -> Mapping[str, Any]:
        """What the run's last session ran on; empty if nothing is known."""
        return self.record.provenance[-1] if self.record.provenance else {}

    @property
    def dataset_sha256(self) -> str | None:
        """SHA-256 of the data that it was trained on; None if it is not known."""
        sha256 = self.last_session.get("dataset", {}).get("sha256")
        return None if sha256 is None else str(sha256)

    @property
    def processor(self) -> str | None:
        """The processor that it was last trained on; None if it is not known."""
        processor = self.last_session.get("machine", {}).get("cpu")
        return None if processor is None else str(processor)

    @property
    def calibration_seconds(self) -> float | None:
        """CPU seconds of the calibration kernel where it was made: the median over its sessions; None if not known."""
        seconds = [one["calibration_seconds"] for one in self.record.provenance if "calibration_seconds" in one]
        return statistics.median(seconds) if seconds else None

    def option(self, name: str) -> Any:
        """Return its value of an option of `harness run`; None if it has none."""
        if name in PLUGINS:
            return self.spec[PLUGINS[name]]["name"]
        field = name.replace("-", "_")
        if field.replace("_", "-") in OF_RUN:
            return self.spec.get(field)
        if name == "status":
            return self.status
        owner, dot, own = field.rpartition(".")
        for option, part in PLUGINS.items():
            if own in self.spec[part]["settings"] and (not dot or owner == option):
                return self.spec[part]["settings"][own]
        return None

    def options(self, names: Sequence[str]) -> dict[str, Any]:
        """Return its values of options."""
        return {name: self.option(name) for name in names}

    def curve(self, compare: Sequence[str]) -> str:
        """Return the name of the curve that it belongs to: its values of the options that are compared, in words."""
        words = in_words(self.options(compare)) + (f" ({self.version})" if self.version else "")
        return encoded(words).decode()  # pandas has no half surrogate pairs

    @property
    def sound_rows(self) -> Sequence[Row]:
        """Its rows without the one that shows that it diverged."""
        return self.rows[:-1] if self.status == "diverged" else self.rows

    def mark(self, row: Row) -> float:
        """Return the samples of a row's mark, which other runs have too; of an end between marks, those of the budget.

        One step may go beyond the budget.
        """
        samples = row.get("marks", {}).get("samples", row["ledger"]["samples"])
        return float(min(samples, self.record.budget.get("samples", math.inf)) if row.get("end") else samples)

    @cached_property
    def marks(self) -> Sequence[float]:
        """The marks of its rows."""
        return [self.mark(row) for row in self.rows]

    @property
    def sound_marks(self) -> Sequence[float]:
        """The marks of `sound_rows`."""
        return self.marks[: len(self.sound_rows)]

    def at(self, mark: float | str) -> Row | None:
        """Return the row at a mark; None if there is none.

        Args:
            mark: a number of samples; "end"; or "best-valid", which was best on the validation split (`harness.store.best`). The
                words are of a run that is done, as those of another may still be elsewhere.
        """
        if isinstance(mark, str) and self.status != "done":
            return None
        if mark == "best-valid":
            found = best_row(self.spec.get("evaluation", {}).get("estimators", ()), self.sound_rows)
            return found and dict(found[0])
        if isinstance(mark, str):
            return next((row for row in reversed(self.sound_rows) if row["end"]), None)
        near = (
            row for row, own in zip(self.sound_rows, self.sound_marks, strict=True) if abs(own - mark) < 1e-6 * mark + 1
        )
        return next(near, None)

    @property
    def estimators(self) -> list[str]:
        """The estimators that it has estimates by, in the order of its specification: first the one it is judged by.

        Those that err high come last, so that no model is judged by what flatters it where there is another estimate.
        """
        there = {e["estimator"]: e.get("direction") == "upper" for row in self.rows for e in row["estimates"]}
        asked = [e["name"] for e in self.spec.get("evaluation", {}).get("estimators", ())]
        found = [*(name for name in asked if name in there), *(name for name in there if name not in asked)]
        return sorted(found, key=lambda name: there[name])

    def matches(self, where: Where) -> bool:
        """Say whether it has one of the values of each option."""
        return meets(self.option, where)
