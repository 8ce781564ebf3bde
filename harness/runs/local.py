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
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from harness.data.download import MissingData
from harness.errors import BadInput, Busy, Diverged, HarnessError, Interrupted, StoreTrouble
from harness.runs.jobs import CALIBRATION_SECONDS, UNKNOWN_COST, Calibration, CostEstimate, Job, Outcome, Report, Status
from harness.runs.processes import has_place_for_a_socket, how_it_ended, leave_the_terminal, safe_path
from harness.runs.runner import ensure, finished
from harness.runs.signals import on_signals
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.run import RunSpec
from harness.store.store import Store
from harness.training.loop import Row, Tick, Training
from harness.training.process import watch

RETRY_SECONDS = 1.0  # until a run that another process writes is tried again

MOST_REFUSALS = 3  # of the same words, in a row, by which a worker may find that another process writes the run

POLL_SECONDS = 0.2  # at most, between two looks at the workers

REPORT_SECONDS = 0.5  # between a worker's reports of progress

CALIBRATION_POINTS = 50  # of each split, to estimate what its evaluation costs

Task = TypeVar("Task")
Result = TypeVar("Result")


class _Ended(NamedTuple):
    """What a worker says of its job at the end: "busy" if another process writes the run, "unwritable" if the store cannot be."""

    status: Status | Literal["busy", "unwritable"]
    reason: str | None = None


class _Connection(Protocol):
    """The end of a pipe: `multiprocessing.connection.Connection`, and on Windows a class beside it."""

    def send(self, message: Any, /) -> None:
        """Send a message."""

    def recv(self) -> Any:
        """Return the next message, when it is there."""


class _Worker(NamedTuple):
    """A process, and the connection by which it reports."""

    process: BaseProcess
    connection: _Connection


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

    def run(self, jobs: Sequence[Job], report: Report) -> list[Outcome]:
        """Carry out the jobs, in this order as far as there are workers, and return how they ended, in order of time.

        Raises:
            Interrupted: a signal came; every worker has written its checkpoint.
            StoreTrouble: the store cannot be written.
        """
        waiting = deque((0.0, job) for job in jobs)
        active: dict[str, float] = {}
        outcomes: list[Outcome] = []
        unwritable: str | None = None
        refused: dict[str, list[str | None]] = {}  # why workers could not write a run, one after the other

        def start(job: Job) -> _Worker | None:
            if job.stored(self.store).owned():
                return None
            active[job.spec.run_id] = 0.0
            return _start(_run_job, self.store.root, job, self.data_dir)

        def died(how: str) -> _Ended:
            return _Ended("failed", f"its process {how}: the same command resumes it")

        with contextlib.closing(_messages(waiting, self.workers, start, died)) as messages:
            for received in messages:
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
                report(outcomes, active)
        if unwritable:
            raise StoreTrouble(f"{unwritable}; the same command goes on from there")
        return outcomes

    def calibrate(self, specs: Sequence[RunSpec]) -> list[Calibration]:
        """Train each of these for a moment, without storing anything, and return what they cost or why they cannot run.

        Raises:
            Interrupted: a signal came.
        """
        return self.each(_calibrate, [(spec, self.data_dir) for spec in specs], lambda how: UNKNOWN_COST)

    def each(
        self, work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], died: Callable[[str], Result]
    ) -> list[Result]:
        """Do the same for each task in a process of its own, and return what these send.

        Args:
            work: called with the connection to send its result by, and what is in a task.
            tasks: what to do.
            died: returns the result of a process that ended in this way and has sent none.

        Raises:
            Interrupted: a signal came.
        """
        waiting = deque((0.0, number) for number in range(len(tasks)))
        found: dict[int, Result] = {}
        messages = _messages(waiting, self.workers, lambda number: _start(work, *tasks[number]), died)
        with contextlib.closing(messages):
            for received in messages:
                found |= {number: message for number, message in received if not isinstance(message, float)}
        return [found[number] for number in range(len(tasks))]


def _messages(
    waiting: deque[tuple[float, Task]],
    workers: int,
    start: Callable[[Task], _Worker | None],
    died: Callable[[str], Result],
) -> Generator[list[tuple[Task, float | Result]], None, None]:
    """Give each task to a worker of its own, and yield what workers have sent, several times a second, until all have ended.

    Signals are passed on to the workers, which write their checkpoints; a second one kills them.

    Args:
        waiting: the tasks, and the moment of the monotonic clock before which each is not started; the caller may add and remove.
        workers: number of workers at a time.
        start: starts a worker; None if the task has to wait.
        died: returns the result of a worker that ended in this way and has sent none.

    Yields:
        Tasks with what their workers have sent: fractions done, and last a result.

    Raises:
        Interrupted: a signal came; the workers have ended.
    """
    active: dict[Any, tuple[BaseProcess, Task]] = {}
    caught: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        for process, _ in active.values():
            process.kill() if caught else process.terminate()
        caught.append(signum)

    with on_signals(pass_on):
        while waiting or active:
            while not caught and len(active) < workers and waiting and waiting[0][0] <= time.monotonic():
                _, task = waiting.popleft()
                try:
                    worker = start(task)
                except (OSError, EOFError) as error:  # as where the server of workers was killed
                    yield [(task, died(f"could not be started ({type(error).__name__}: {error})"))]
                    continue
                if worker is None:
                    waiting.append((time.monotonic() + RETRY_SECONDS, task))
                    continue
                active[worker.connection] = worker.process, task
                if caught:  # while it started
                    worker.process.terminate()
            if caught:
                waiting.clear()
            if not active:
                time.sleep(POLL_SECONDS)
            received: list[tuple[Task, float | Result]] = []
            ready: list[Any] = wait(list(active), timeout=POLL_SECONDS)
            for connection in ready:
                process, task = active[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    message = None
                if not isinstance(message, float):
                    del active[connection]
                    process.join()
                received.append((task, died(how_it_ended(process)) if message is None else message))
            yield received
    if caught:
        raise Interrupted("interrupted, nothing is lost: the same command goes on", caught[0])


def _start(target: Callable[..., None], *arguments: object) -> _Worker:
    """Start a worker process, which may execute the plugin files that may be executed here.

    Where there is a fork server it has PyTorch imported already, in a process that has done nothing else.
    """
    served = "forkserver" in multiprocessing.get_all_start_methods() and has_place_for_a_socket()
    context: Any = multiprocessing.get_context("forkserver" if served else "spawn")
    if served:
        context.set_forkserver_preload(["harness.runs.local"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(named.files(), target, there, *arguments))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if hasattr(signal, "pthread_sigmask") else None
    try:
        with safe_path():
            process.start()  # Ctrl-C would end the fork server while it imports
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return _Worker(process, here)


# What follows runs in the workers.


def _work(files: Sequence[Path], target: Callable[..., None], *arguments: object) -> None:
    """Do what a worker is started for, with the plugin files that the user has named."""
    named.note(*files)
    target(*arguments)


def _run_job(connection: _Connection, root: Path, job: Job, data_dir: str | None) -> None:
    """Bring a run to its budget, and send the fractions of it that are spent and how the job ended."""
    leave_the_terminal()
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

    store = Store(root)
    try:
        stored = job.stored(store)
        already = stored.exists() and finished(stored.read(), job.budget)
        ensure(store, job.spec, job.budget, group=job.group, data_dir=data_dir, watch=follow, say=said.append)
        end = _Ended("already" if already else "done", "; ".join(said) or None)
    except Exception as error:  # whatever happens to one run, the others go on
        end = _end_by(error)
    _send(connection, end)
    watch.end(0)


def _end_by(error: Exception) -> _Ended:
    """Return how a job ends by an error."""
    match error:
        case Busy():
            return _Ended("busy", str(error))
        case Interrupted():
            return _Ended("interrupted")
        case StoreTrouble():
            return _Ended("unwritable", str(error))
        case Diverged():
            return _Ended("diverged", str(error))
        case HarnessError():
            return _Ended("failed", str(error))
    return _Ended("failed", f"{type(error).__name__}: {error}")


def _calibrate(connection: _Connection, spec: RunSpec, data_dir: str | None) -> None:
    """Send what a run costs, or why it cannot run."""
    leave_the_terminal()
    found: Calibration = UNKNOWN_COST
    try:
        without_marks = spec.evaluation.model_copy(update={"first_mark": 2**62})
        training = Training(spec.model_copy(update={"evaluation": without_marks}), data_dir)
        found = _cost(training)
    except BadInput as error:
        found = "failed" if isinstance(error, MissingData) else "skipped", str(error)
    except Exception:  # is for the run itself to find and to record
        pass
    _send(connection, found)
    watch.end(0)


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
            per_point = (time.process_time() - start) / n
            per_mark += per_point * min(asked.points, size)
            at_end += per_point * min(asked.final_points, size)
    return CostEstimate(per_sample, per_mark, at_end, training.warnings)


def _executor_is_gone() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _send(connection: _Connection, message: float | _Ended | Calibration) -> None:
    with contextlib.suppress(OSError):  # the executor is gone, as `_executor_is_gone` will tell
        connection.send(message)
