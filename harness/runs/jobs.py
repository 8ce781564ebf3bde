"""Jobs: runs to be brought to a budget, what they cost, how they end, and who carries them out."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from harness.specs.budget import Budget
from harness.specs.run import RunSpec
from harness.store.run import Run
from harness.store.store import Store

Status = Literal["done", "already", "skipped", "diverged", "failed", "interrupted", "left"]


class Job(NamedTuple):
    """A run to be brought to a budget, in a group of the store."""

    spec: RunSpec
    budget: Budget
    group: str

    def stored(self, store: Store) -> Run:
        """Return where the run is or would be."""
        return store.run(self.spec.run_id, self.group)


class Place(NamedTuple):
    """Where a worker keeps runs, and finds data: of a `Call` that travels it is replaced on the way.

    Attributes:
        root: of the store.
        data_dir: the user's folder of data files.
    """

    root: Path
    data_dir: str | None


class Outcome(NamedTuple):
    """How a job ended: done now, done already, skipped as its parts do not go together, or without a result; and why.

    One that is "left" is being done by a process that somebody else has started.
    """

    job: Job
    status: Status
    reason: str | None = None


class Ended(NamedTuple):
    """What a worker says of its job at the end: "busy" if another process writes the run, "unwritable" if the store cannot be."""

    status: Status | Literal["busy", "unwritable"]
    reason: str | None = None


CALIBRATION_SECONDS = 0.3
"""Of training, to estimate what a run costs."""


class CostEstimate(NamedTuple):
    """What a run costs by a short calibration.

    Attributes:
        per_sample: CPU seconds of training for each sample.
        per_mark: CPU seconds of the evaluation at a mark.
        at_end: CPU seconds of the evaluation at the end.
        warnings: of data that do not suit the model, in sentences by what they are about.
        samples_a_point: samples for each training point that is presented.
    """

    per_sample: float
    per_mark: float
    at_end: float
    warnings: Mapping[str, str] = {}  # a default that nobody changes
    samples_a_point: float = 1.0

    def seconds(self, job: Job, spent: float = 0.0) -> float:
        """Return the CPU seconds that a job still costs when its run has spent this number of samples."""
        limits = job.budget.limits()
        times = [limits[name] for name in ("cpu_seconds", "wall_seconds") if name in limits]
        samples_of = {"samples": 1.0, "datapoints": self.samples_a_point}
        times += [
            (limits[name] * each - spent) * self.per_sample for name, each in samples_of.items() if name in limits
        ]
        training = max(0.0, min(times))
        last = spent + training / max(self.per_sample, 1e-12)
        evaluation = job.spec.evaluation
        first = max(spent, evaluation.first_mark)
        marks = evaluation.marks_per_decade * math.log10(last / first) if last > first else 0.0
        return training + math.floor(marks + 1) * self.per_mark + self.at_end


UNKNOWN_COST = CostEstimate(0.0, 0.0, 0.0)
"""Of a job whose calibration failed, as the run itself may."""

Calibration = CostEstimate | tuple[Status, str]
"""What a run costs, or how its job ends without being run, and why."""

Report = Callable[[Sequence[Outcome], Mapping[str, float]], None]
"""Told how things stand: the outcomes so far, in order of time, and the fraction of its budget that each active run has spent."""


class Executor(Protocol):
    """Carries out jobs: `harness.runs.local.LocalExecutor` does, in processes of this machine."""

    @property
    def store(self) -> Store:
        """Where the runs are kept."""

    @property
    def workers(self) -> int:
        """How many jobs it carries out at a time."""

    @property
    def data_dir(self) -> str | None:
        """The user's folder of data files."""

    def calibrate(self, specs: Sequence[RunSpec]) -> list[Calibration]:
        """Train each of these for a moment, without storing anything, and return what they cost or why they cannot run.

        Raises:
            Interrupted: a signal came.
        """

    def run(self, jobs: Sequence[Job], report: Report, *, leave: bool = False) -> list[Outcome]:
        """Carry out the jobs, in this order as far as possible, and return how they ended, in order of time.

        Args:
            jobs: what to do; a job that is done already costs little.
            report: called after every event, and several times a second.
            leave: end as soon as all that is left is being done by others, instead of waiting for them.

        Raises:
            Interrupted: a signal came; the same jobs go on from what the store has.
            StoreTrouble: the store cannot be written.
        """
