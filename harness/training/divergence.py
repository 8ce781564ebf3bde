"""When a run has diverged: how its rows show it, what is to blame, and what may help."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.data import suitability
from harness.errors import RunFailed
from harness.specs.run import EstimatorSpec, RunSpec
from harness.training.evaluation import Estimator
from harness.training.subject import Subject

MIN_NATS = -100.0
"""For every observed dimension or word: a bound below this is no bound of a working model (log 256 is 5.5)."""
POINTS = 100
"""Over so many points is estimated whether a run was far off from the beginning."""


class Divergence(NamedTuple):
    """Why a run has diverged, and what may help."""

    why: str
    remedy: str


class Diagnosis:
    """Tells whether a run has diverged, and of what.

    Args:
        spec: the run.
        subject: its data, and its models.
        estimators: by which it is evaluated; the first says what it was at the beginning.
        unsuited: whether it has been warned that the scale of the data does not suit the model.
    """

    def __init__(
        self, spec: RunSpec, subject: Subject, estimators: Sequence[tuple[EstimatorSpec, Estimator]], unsuited: bool
    ):
        self._spec, self._subject, self._estimators, self._unsuited = spec, subject, estimators, unsuited

    def implausible(self, row: dict[str, Any]) -> str | None:
        """Say what is wrong with the row's estimates, if one is beyond what any working model has."""
        for estimate in row["estimates"]:
            if not estimate["mean"] > MIN_NATS * self._subject.facts.observations:
                return f"the {estimate['estimator']} on {estimate['split']} fell to {estimate['mean']:.4g} nats"
        return None

    def of(self, what: str, samples: int, *, first_step: bool) -> Divergence:
        """Return what is to blame.

        Args:
            what: has shown it, in words.
            samples: after how many.
            first_step: whether a step reported no number, and it was the first.
        """
        why, remedy = f"{what} after {samples:,} samples with {self._tunables()}", "try a smaller step size"
        dataset = self._subject.dataset
        if begin := self._wrong_from_the_beginning(first_step):
            of = "initial weights"
            if self._subject.facts.kind == "real":
                also = "" if self._unsuited else f" and of the {of}"
                of = f"data ({suitability.values(dataset)}){also}"
            return Divergence(f"{why}; {begin}", f"no step size helps: look at the scale of the {of}")
        if self._unsuited:
            remedy += f", and look at the scale of the data ({suitability.values(dataset)})"
        return Divergence(why, remedy)

    def _wrong_from_the_beginning(self, first_step: bool) -> str | None:
        """Say what is wrong with the estimate at the initial weights; None if nothing is, and so the steps are to blame."""
        if not self._estimators:
            return "this was the first step, from the initial weights" if first_step else None
        (asked, estimator), split = self._estimators[0], self._spec.evaluation.splits[0]
        points = min(asked.points or POINTS, POINTS, len(getattr(self._subject.dataset, split)))
        try:
            found = estimator.estimate(self._subject.begun_again(self._spec), split, points, self._spec.seed)
        except RunFailed:
            return None
        if found.mean > MIN_NATS * self._subject.facts.observations:
            return None
        return f"at the initial weights it was {found.mean:.4g} nats already"

    def _tunables(self) -> str:
        """Name the settings that divergence may be blamed on: those with a search space, the step size among them."""
        algorithm = self._spec.algorithm
        fields = algorithm.plugin("algorithms").module.Config.model_fields
        tunable = [name for name, field in fields.items() if (field.json_schema_extra or {}).get("search")]
        return ", ".join(f"{name}={algorithm.settings[name]}" for name in tunable) or "these settings"
