"""The local executor: jobs in worker processes of this machine, each run once, whatever is killed.

The executor hands jobs to workers and listens. All that lasts is written by the workers through the store. So whoever hands out
the same jobs again finds what is done, resumes what was interrupted and extends what is to be longer; and executors that work at
the same time, on machines that share a folder, divide the jobs by the locks of the runs.
"""

import contextlib
import math
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.data.download import MissingData
from harness.errors import BadInput, Busy, Diverged, HarnessError, Interrupted, StoreTrouble
from harness.runs.jobs import (
    CALIBRATION_SECONDS,
    UNKNOWN_COST,
    Calibration,
    CostEstimate,
    Ended,
    Job,
    Outcome,
    Place,
    Report,
)
from harness.runs.pool import RETRY_SECONDS, Call, Connection, Last, Result, Task, messages
from harness.runs.runner import ensure, finished
from harness.specs.budget import Budget
from harness.specs.run import RunSpec
from harness.store.store import Store
from harness.training.loop import Row, Tick, Training

MOST_REFUSALS = 3  # of the same words, in a row, by which a worker may find that another process writes the run

LOOKS = 3  # in a row that must find all runs in other hands: whoever looks at a lock holds it for a moment

REPORT_SECONDS = 0.5  # between a worker's reports of progress

CALIBRATION_POINTS = 50  # of each split, to estimate what its evaluation costs


@dataclass(frozen=True)
class LocalExecutor:
    """Carries out jobs in worker processes of this machine; see `harness.runs.jobs.Executor`.

    Args:
        store: where runs are kept.
        workers: number of jobs at a time.
        data_dir: the user's folder of data files.
    """

    store: Store
    workers: int
    data_dir: str | None = None

    def run(self, jobs: Sequence[Job], report: Report, *, leave: bool = False) -> list[Outcome]:
        """Carry out the jobs, in this order as far as there are workers, and return how they ended, in order of time.

        Args:
            jobs: what to do.
            report: told how things stand.
            leave: end as soon as all that is left is being done by others.

        Raises:
            Interrupted: a signal came; every worker has written its checkpoint.
            StoreTrouble: the store cannot be written.
        """
        waiting = deque((0.0, job) for job in jobs)
        active: dict[str, float] = {}
        outcomes: list[Outcome] = []
        unwritable: str | None = None
        refused: dict[str, list[str | None]] = {}  # why workers could not write a run, one after the other
        looks = 0

        def call(job: Job) -> Call | None:
            if job.spec.run_id in active or job.stored(self.store).owned():
                return None
            active[job.spec.run_id] = 0.0
            return Call(_run_job, (self._place, job))

        def died(how: str) -> Ended:
            return Ended("failed", f"its process {how}: the same command resumes it")

        with contextlib.closing(self._messages(waiting, call, died)) as sent:
            for received in sent:
                for job, message in received:
                    if isinstance(message, float):
                        active[job.spec.run_id] = message
                        continue
                    del active[job.spec.run_id]
                    status, reason = message
                    if status == "busy":
                        said = refused.setdefault(job.spec.run_id, [])
                        said.append(reason)
                        if said[-MOST_REFUSALS:] != [reason] * MOST_REFUSALS:
                            waiting.append((time.monotonic() + RETRY_SECONDS, job))
                            continue
                        status, reason = "failed", f"{reason}; so it ended {MOST_REFUSALS} times"
                    if status == "unwritable":
                        status, unwritable = "failed", reason
                    outcomes.append(Outcome(job, status, reason))
                if unwritable:
                    waiting.clear()
                if leave and not active:
                    looks = looks + 1 if all(job.stored(self.store).in_hand() for _, job in waiting) else 0
                    if looks == LOOKS:
                        outcomes += [Outcome(job, "left") for _, job in waiting]
                        waiting.clear()
                report(outcomes, active)
        if unwritable:
            raise StoreTrouble(f"{unwritable}; the same command goes on from there")
        return outcomes

    def calibrate(self, specs: Sequence[RunSpec]) -> list[Calibration]:
        """Train each of these for a moment, without storing anything, and return what they cost or why they cannot run.

        Raises:
            Interrupted: a signal came.
        """
        return self.each(_calibrate, [(self._place, spec) for spec in specs], lambda how: UNKNOWN_COST)

    def each(
        self, work: Callable[..., Last], tasks: Sequence[tuple[Any, ...]], died: Callable[[str], Result]
    ) -> list[Result]:
        """Do the same for each task in worker processes, and return the results.

        Args:
            work: called with a connection and what is in a task; returns its result, and whether the same process may do more.
            tasks: what to do.
            died: returns the result of a process that ended in this way and has sent none.

        Raises:
            Interrupted: a signal came.
        """
        waiting = deque((0.0, number) for number in range(len(tasks)))
        found: dict[int, Result] = {}
        with contextlib.closing(self._messages(waiting, lambda number: Call(work, tasks[number]), died)) as sent:
            for received in sent:
                found |= {number: message for number, message in received if not isinstance(message, float)}
        return [found[number] for number in range(len(tasks))]

    @property
    def _place(self) -> Place:
        return Place(self.store.root, self.data_dir)

    def _messages(
        self, waiting: deque[tuple[float, Task]], call: Callable[[Task], Call | None], died: Callable[[str], Result]
    ) -> Generator[list[tuple[Task, float | Result]], None, None]:
        return messages(waiting, self.workers, call, died)


# What follows runs in the workers.


def _is_ours(spec: RunSpec) -> bool:
    """Say whether a run executes nobody's code but that of the harness, so that it leaves nothing behind for the next one."""
    of_run = [spec.algorithm.plugin("algorithms"), spec.model.plugin("models"), spec.dataset.plugin("datasets")]
    of_run += [estimator.plugin("estimators") for estimator in spec.evaluation.estimators]
    return all(plugin.is_ours for plugin in of_run)


def _run_job(connection: Connection, place: Place, job: Job) -> Last:
    """Bring a run to its budget, send the fractions of it that are spent, and return how the job ended."""
    last, said = time.monotonic(), list[str]()

    def follow(training: Training, event: Row | Tick) -> None:
        nonlocal last
        if _executor_is_gone():  # it was killed: write a checkpoint and end
            signal.raise_signal(signal.SIGTERM)
        elif time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            spent = training.spent()
            fraction = max(spent[name] / limit for name, limit in job.budget.limits().items())
            _send(connection, min(1.0, float(fraction)))

    store = Store(place.root)
    try:
        stored = job.stored(store)
        already = stored.exists() and finished(stored.read(), job.budget)
        ensure(store, job.spec, job.budget, group=job.group, data_dir=place.data_dir, watch=follow, say=said.append)
        end = Ended("already" if already else "done", "; ".join(said) or None)
    except Exception as error:  # whatever happens to one run, the others go on
        return Last(end_by(error))
    return Last(end, _is_ours(job.spec))


def end_by(error: Exception) -> Ended:
    """Return how a job ends by an error."""
    match error:
        case Busy():
            return Ended("busy", str(error))
        case Interrupted():
            return Ended("interrupted")
        case StoreTrouble():
            return Ended("unwritable", str(error))
        case Diverged():
            return Ended("diverged", str(error))
        case HarnessError():
            return Ended("failed", str(error))
    return Ended("failed", f"{type(error).__name__}: {error}")


def _calibrate(_: Connection, place: Place, spec: RunSpec) -> Last:
    """Return what a run costs, or why it cannot run."""
    try:
        without_marks = spec.evaluation.model_copy(update={"first_mark": 2**62})
        training = Training(spec.model_copy(update={"evaluation": without_marks}), place.data_dir)
        return Last(_cost(training), _is_ours(spec))
    except BadInput as error:
        return Last(("failed" if isinstance(error, MissingData) else "skipped", str(error)))
    except Exception:  # is for the run itself to find and to record
        return Last(UNKNOWN_COST)


def _cost(training: Training) -> CostEstimate:
    """Train for a moment, then evaluate a few points, and return the times; what fails or diverges is left to the run itself."""
    with contextlib.suppress(Exception):
        for _ in training.rows(Budget(wall_seconds=math.inf)):
            if training.clocks.wall() >= CALIBRATION_SECONDS or _executor_is_gone():
                break
    per_sample = training.clocks.cpu() / max(1, training.ledger.samples)
    per_mark = at_end = 0.0
    for asked, estimator in training.estimators:
        for split in training.splits:
            size = len(getattr(training.dataset, split))
            n = min(CALIBRATION_POINTS, size)
            start = time.process_time()
            with contextlib.suppress(Exception):
                estimator.estimate(training.subject, split, n, 0)
            seconds = (time.process_time() - start) * (1 if training.average is None else 2)
            of_model = estimator.of_log_z  # and takes as long for any number of points
            per_mark += seconds * (1 if of_model else min(asked.points, size) / n)
            at_end += seconds * (1 if of_model else min(asked.final_points, size) / n)
    samples_a_point = training.ledger.samples / max(1, training.ledger.datapoints)
    return CostEstimate(per_sample, per_mark, at_end, training.warnings, samples_a_point)


def _executor_is_gone() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _send(connection: Connection, message: float) -> None:
    with contextlib.suppress(OSError):  # the executor is gone, as `_executor_is_gone` will tell
        connection.send(message)
