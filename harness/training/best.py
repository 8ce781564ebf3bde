"""The parameters of the mark that was best on the validation split, kept beside those that are trained (`--keep best-valid`)."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.errors import BadInput
from harness.specs.budget import Ledger
from harness.specs.run import EstimatorSpec, RunSpec
from harness.store.best import better, on_validation
from harness.training.checkpoint import pack
from harness.training.subject import Subject

Kept = dict[str, Any]
"""Parameters `theta` and `phi`, the counters of the `ledger`, and the `estimate` on the validation split: plain data."""


class Best:
    """Keeps the parameters of the best mark so far, where the run is to.

    Those of an end between marks count while the run does not go on: an extended run keeps what it would have kept at once.

    Args:
        spec: the run.
        asked: its estimators that can evaluate it. The first that is evaluated at marks decides.

    Raises:
        BadInput: parameters are to be kept by estimates that there will not be.
    """

    def __init__(self, spec: RunSpec, asked: Sequence[EstimatorSpec]):
        spec.evaluation.require_validation()
        self._asked: dict[str, Any] | None = None
        self._at_marks: Kept | None = None
        self._at_end: Kept | None = None
        if spec.evaluation.keep == "last":
            return
        deciding = next((one for one in asked if one.points), None)
        if deciding is None:
            raise BadInput(
                f"--keep is {spec.evaluation.keep!r}, and no estimator that can evaluate algorithm {spec.algorithm.name!r} is "
                "evaluated at marks: give --marginal, or leave --keep out"
            )
        self._asked = deciding.model_dump()

    def see(self, row: dict[str, Any], subject: Subject) -> None:
        """Keep the parameters if the row that was evaluated with them is the best so far."""
        if self._asked is None:
            return
        self._at_end = None
        estimate = on_validation(self._asked, row)
        if estimate is None or not better(estimate, self.kept and self.kept["estimate"]):
            return
        theta, *phi = (pack(part.params.flat) for part in subject.parts)
        counters = {name: row["ledger"][name] for name in asdict(Ledger())}
        kept = {"theta": theta, "phi": phi[0] if phi else None, "ledger": counters, "estimate": dict(estimate)}
        if row["marks"]:
            self._at_marks = kept
        else:
            self._at_end = kept

    @property
    def kept(self) -> Kept | None:
        """The best so far; None before the first mark, or where nothing is to be kept."""
        return self._at_end or self._at_marks

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs of it."""
        return {} if self._asked is None else {"best": {"marks": self._at_marks, "end": self._at_end}}

    def load(self, checkpoint: dict[str, Any], subject: Subject) -> None:
        """Go on where a checkpoint was taken; BadInput if what it keeps is of other models."""
        if self._asked is None:
            return
        self._at_marks, self._at_end = (checkpoint["best"][when] for when in ("marks", "end"))
        for kept in (self._at_marks, self._at_end):
            if kept is not None:
                subject.require_parameters(kept)
