"""Worker processes: one for each run, each run once, whatever is killed.

A driver hands jobs to workers and listens. All that lasts is written by the workers through the store, so whoever hands out the
same jobs again finds what is done, resumes what was interrupted and extends what is to be longer; and drivers that go on at the
same time, on machines that share a folder, divide the work by the runs' locks.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any

from harness.errors import BadInput, Busy, Diverged, HarnessError, Interrupted, StoreTrouble
from harness.runs.jobs import UNKNOWN, Cost, Job, Outcome, Status
from harness.runs.runner import ensure, finished
from harness.runs.signals import on_signals
from harness.specs.budget import Budget
from harness.specs.run import RunSpec
from harness.store.store import Store

BUSY_SECONDS = 1.0  # until a run that another process is at is looked at again

LOOK_SECONDS = 0.2  # between looks at the workers

REPORT_SECONDS = 0.5  # between a worker's reports of progress

CALIBRATION_SECONDS = 0.3  # of training, to tell what a run will cost

CALIBRATION_POINTS = 50  # of each split, to tell what its evaluation will cost


@dataclass
class LocalExecutor:
    """Jobs under way.

    Args:
        store: where runs are kept.
        workers: how many at a time.
        data_dir: the user's folder of data files.
        watch: called with the pool after every event, and some times a second.

    Attributes:
        outcomes: how jobs ended, in order of time.
        active: fraction of its budget that each run under way has spent, by run id.
    """

    store: Store
    workers: int
    data_dir: str | None = None
    watch: Callable[["LocalExecutor"], None] = lambda pool: None
    outcomes: list[Outcome] = field(default_factory=list)
    active: dict[str, float] = field(default_factory=dict)

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the jobs, in this order as far as there are workers, and return how they ended.

        Raises:
            Interrupted: a signal came; every worker has written its checkpoint.
            StoreTrouble: the store cannot be written.
        """
        waiting: deque[tuple[float, Job]] = deque((0.0, job) for job in jobs)
        pool: dict[Connection, tuple[Any, Job]] = {}
        trouble: Outcome | None = None
        first = len(self.outcomes)
        with _forwarded_signals(lambda: [process for process, _ in pool.values()]) as caught:
            while waiting or pool:
                if caught or trouble:
                    waiting.clear()
                while not caught and len(pool) < self.workers and waiting and waiting[0][0] <= time.monotonic():
                    _, job = waiting.popleft()
                    if job.stored(self.store).owned():
                        waiting.append((time.monotonic() + BUSY_SECONDS, job))
                        continue
                    connection, process = _start(_work, self.store.root, job, self.data_dir)
                    pool[connection] = process, job
                    self.active[job.spec.run_id] = 0.0
                    if caught:  # while it started
                        process.terminate()
                if not pool:
                    time.sleep(LOOK_SECONDS)
                for connection in _ready(pool):
                    process, job = pool[connection]
                    message = _received(connection)
                    if isinstance(message, float):
                        self.active[job.spec.run_id] = message
                        continue
                    del pool[connection], self.active[job.spec.run_id]
                    process.join()
                    if message == "busy":
                        waiting.append((time.monotonic() + BUSY_SECONDS, job))
                        continue
                    status, reason = message or _death(process)
                    self.outcomes.append(Outcome(job, "failed" if status == "store" else status, reason))
                    trouble = self.outcomes[-1] if status == "store" else trouble
                self.watch(self)
        if caught:
            raise Interrupted("interrupted, nothing is lost: the same command goes on", caught[0])
        if trouble:
            raise StoreTrouble(f"{trouble.reason}; the same command goes on from there")
        return self.outcomes[first:]


def calibrate(specs: Sequence[RunSpec], workers: int, data_dir: str | None = None) -> list[Cost | tuple[Status, str]]:
    """Train each of these for a moment, without storing anything, and return what they cost or why they cannot run."""
    found: dict[int, Cost | tuple[Status, str]] = {}
    waiting = deque(enumerate(specs))
    pool: dict[Connection, tuple[Any, int]] = {}
    with _forwarded_signals(lambda: [process for process, _ in pool.values()]) as caught:
        while waiting or pool:
            if caught:
                waiting.clear()
            while not caught and len(pool) < workers and waiting:
                number, spec = waiting.popleft()
                connection, process = _start(_measure, spec, data_dir)
                pool[connection] = process, number
                if caught:
                    process.terminate()
            for connection in _ready(pool):
                process, number = pool.pop(connection)
                message = _received(connection)
                process.join()
                found[number] = message or UNKNOWN
    if caught:
        raise Interrupted("interrupted before anything began", caught[0])
    return [found[number] for number in range(len(specs))]


@contextlib.contextmanager
def _forwarded_signals(processes: Callable[[], Sequence[Any]]) -> Iterator[list[int]]:
    """Collect signals, and pass them on to workers, which write their checkpoints; a second one kills them."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        for process in processes():
            process.kill() if caught else process.terminate()
        caught.append(signum)

    with on_signals(note):
        yield caught


def _start(target: Callable[..., None], *arguments: Any) -> tuple[Connection, Any]:
    """Start a worker process, and return where it reports to with the process.

    Where there is a fork server it has PyTorch imported already, in a process that has done nothing else.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["harness.runs.local"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(there, *arguments))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if hasattr(signal, "pthread_sigmask") else None
    try:
        process.start()  # Ctrl-C would end the fork server while it imports
    finally:
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    there.close()
    return here, process


def _received(connection: Connection) -> Any:
    """Return a worker's message, None where it died without one."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _ready(pool: Iterable[Connection]) -> list[Connection]:
    """Wait a moment, and return the connections that have something to say."""
    return [connection for connection in wait(list(pool), timeout=LOOK_SECONDS) if isinstance(connection, Connection)]


def _death(process: Any) -> tuple[Status, str]:
    """Return the outcome of a process that ended without a word."""
    code = process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return "failed", f"its process {how}: the same command resumes it"


def _work(report: Connection, root: Path, job: Job, data_dir: str | None) -> None:
    """Bring a run to its budget, and report its progress and its end."""
    _own_process()
    last, said = time.monotonic(), list[str]()

    def watch(training: Any, event: Any) -> None:
        nonlocal last
        if _orphaned():  # the driver was killed: write a checkpoint and end
            os.kill(os.getpid(), signal.SIGTERM)
        elif time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            spent = training.spent()
            fraction = max(spent[name] / limit for name, limit in job.budget.limits().items())
            _send(report, min(1.0, float(fraction)))

    store = Store(root)
    try:
        stored = job.stored(store)
        already = stored.exists() and finished(stored.read(), job.budget)
        ensure(store, job.spec, job.budget, group=job.group, data_dir=data_dir, watch=watch, say=said.append)
        end: Any = ("already" if already else "done", "; ".join(said) or None)
    except Exception as error:  # whatever happens to one run, the others go on
        end = _ending(error)
    _send(report, end)


def _ending(error: Exception) -> Any:
    """Return what a worker reports of an error."""
    if isinstance(error, Busy):
        return "busy"
    kinds: list[tuple[type[Exception], str]] = [
        (Interrupted, "interrupted"), (StoreTrouble, "store"), (Diverged, "diverged"),
    ]  # fmt: skip
    status = next((status for kind, status in kinds if isinstance(error, kind)), "failed")
    if status == "interrupted":
        return status, None
    return status, str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"


def _measure(report: Connection, spec: RunSpec, data_dir: str | None) -> None:
    """Report what a run costs: train for a moment, then evaluate a few points."""
    from harness.data.download import MissingData
    from harness.training.loop import Training

    _own_process()
    try:
        without_marks = spec.evaluation.model_copy(update={"first_mark": 2**62})
        training = Training(spec.model_copy(update={"evaluation": without_marks}), data_dir)
    except BadInput as error:
        _send(report, ("failed" if isinstance(error, MissingData) else "skipped", str(error)))
        return
    except Exception:  # as below
        _send(report, UNKNOWN)
        return
    with contextlib.suppress(Exception):  # that it fails or diverges is for the run itself to find and to record
        for _ in training.rows(Budget(wall_seconds=math.inf)):
            if training.clocks.wall() >= CALIBRATION_SECONDS or _orphaned():
                break
    sample = training.clocks.cpu() / max(1, training.ledger.samples)
    mark = end = 0.0
    for asked, estimator in training.estimators:
        for split in training.splits:
            there = len(getattr(training.dataset, split))
            n = min(CALIBRATION_POINTS, there)
            begun = time.process_time()
            with contextlib.suppress(Exception):
                estimator.estimate(training.subject, split, n, 0)
            point = (time.process_time() - begun) / n
            mark += point * min(asked.points, there)
            end += point * min(asked.final_points, there)
    _send(report, Cost(sample, mark, end))


def _own_process() -> None:
    """Leave the terminal's process group, so that Ctrl-C reaches workers once, from the driver."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _orphaned() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _send(report: Connection, message: Any) -> None:
    with contextlib.suppress(OSError):  # the driver is gone, which `_orphaned` will tell
        report.send(message)
