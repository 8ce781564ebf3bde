"""Jobs: runs to be brought to a budget, how they end, and what they cost."""

import math
from typing import Literal, NamedTuple

from harness.specs.budget import Budget
from harness.specs.run import RunSpec
from harness.store.run import Run
from harness.store.store import Store

Status = Literal["done", "already", "skipped", "diverged", "failed", "interrupted"]


class Job(NamedTuple):
    """A run to be brought to a budget, in a group of the store."""

    spec: RunSpec
    budget: Budget
    group: str

    def stored(self, store: Store) -> Run:
        """Return where the run is or would be."""
        return store.run(self.spec.run_id, self.group)


class Outcome(NamedTuple):
    """How a job ended: done now, done already, skipped as its parts do not go together, or without a result; and why."""

    job: Job
    status: Status
    reason: str | None = None


class Cost(NamedTuple):
    """What a calibration found, in CPU seconds: of a sample, of an evaluation at a mark, and of the one at the end."""

    sample: float
    mark: float
    end: float

    def seconds(self, job: Job, spent: float = 0.0) -> float:
        """Return the CPU seconds of a job of which so many samples have been spent."""
        limits = job.budget.limits()
        times = [limits[name] for name in ("cpu_seconds", "wall_seconds") if name in limits]
        if "samples" in limits:
            times.append((limits["samples"] - spent) * self.sample)
        training = max(0.0, min(times))
        last = spent + training / max(self.sample, 1e-12)
        evaluation = job.spec.evaluation
        begun = max(spent, evaluation.first_mark)
        marks = evaluation.marks_per_decade * math.log10(last / begun) if last > begun else 0.0
        return training + math.floor(marks + 1) * self.mark + self.end


UNKNOWN = Cost(0.0, 0.0, 0.0)
"""Of a job whose calibration died, as it may itself."""
