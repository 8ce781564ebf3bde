"""Worker processes of this machine: each does one task after the other, and one that dies costs its own task alone."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol, TypeVar

from harness.errors import Interrupted
from harness.runs.processes import (
    forget_peak_memory,
    how_it_ended,
    leave_the_terminal,
    undisturbed,
    workers_context,
)
from harness.runs.signals import SAME_SIGNAL_SECONDS, on_signals
from harness.specs import named

RETRY_SECONDS = 1.0  # until a task that has to wait is tried again

POLL_SECONDS = 0.2  # at most, between two looks at the workers

Task = TypeVar("Task")
Result = TypeVar("Result")


class Connection(Protocol):
    """The end of a pipe: `multiprocessing.connection.Connection`, and on Windows a class beside it."""

    def send(self, message: Any, /) -> None:
        """Send a message."""

    def send_bytes(self, pickled: Any, /) -> None:
        """Send a message that is pickled."""

    def recv(self) -> Any:
        """Return the next message, when it is there."""

    def close(self) -> None:
        """Close it."""


class Call(NamedTuple):
    """What a worker is to do: a function, called with the worker's connection and these arguments, which returns a `Last`."""

    function: Callable[..., "Last"]
    arguments: tuple[Any, ...]


class Last(NamedTuple):
    """A worker's last message of a task: its result, and whether it takes another task, having run nobody's code but ours."""

    result: Any
    goes_on: bool = False


class Worker(NamedTuple):
    """A process, and the connection by which it is given tasks and reports."""

    process: BaseProcess
    connection: Connection


def messages(
    waiting: deque[tuple[float, Task]],
    workers: int,
    call: Callable[[Task], Call | None],
    died: Callable[[str], Result],
) -> Generator[list[tuple[Task, float | Result]], None, None]:
    """Give each task to a worker, and yield what workers have sent, several times a second, until all tasks have ended.

    A worker that has ended its task well takes the next one. Signals are passed on to the workers, which write their
    checkpoints; a second one kills them.

    Args:
        waiting: the tasks, and the moment of the monotonic clock before which each is not started; the caller may add and remove.
        workers: number of workers at a time.
        call: returns what is to be done for a task; None if it has to wait.
        died: returns the result of a worker that ended in this way and has sent none.

    Yields:
        Tasks with what their workers have sent: fractions done, and last a result.

    Raises:
        Interrupted: a signal came; the workers have ended.
    """
    active: dict[Any, tuple[BaseProcess, Task]] = {}
    idle: list[Worker] = []
    caught: list[int] = []
    first = 0.0

    def pass_on(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if caught and time.monotonic() - first <= SAME_SIGNAL_SECONDS:
            return
        for process, _ in active.values():
            process.kill() if caught else process.terminate()
        first = time.monotonic()
        caught.append(signum)

    with on_signals(pass_on):
        while waiting or active:
            while not caught and len(active) < workers and waiting and waiting[0][0] <= time.monotonic():
                _, task = waiting.popleft()
                todo = call(task)
                if todo is None:
                    waiting.append((time.monotonic() + RETRY_SECONDS, task))
                    continue
                try:
                    worker = _given(todo, idle)
                except (OSError, EOFError) as error:  # as where the server of workers was killed
                    yield [(task, died(f"could not be started ({type(error).__name__}: {error})"))]
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
                if isinstance(message, float):
                    received.append((task, message))
                    continue
                del active[connection]
                if message is not None and message.goes_on and not caught:
                    idle.append(Worker(process, connection))
                else:
                    process.join()
                if message is not None:
                    received.append((task, message.result))
                elif not caught:  # else a signal of ours ended it before it could say so
                    received.append((task, died(how_it_ended(process))))
            yield received
            if not waiting:
                _dismiss(idle)
    if caught:
        raise Interrupted("interrupted, nothing is lost: the same command goes on", caught[0])


class Died(Exception):
    """The process of a task ended without a result; the message says how."""


class Slot:
    """Does one task at a time in a process of its own, which is kept for the next one where it may be, and ends with this one."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._names: tuple[Path | str, ...] = ()

    def do(
        self,
        todo: bytes,
        names: tuple[Path | str, ...],
        report: Callable[[float], None],
        stopped: Callable[[], bool],
    ) -> Any:
        """Do a task, and return its result.

        Args:
            todo: the task, a `Call`, pickled: what it needs is imported by the process that does it, and not by this one.
            names: the plugin files that it may execute, and the files of data that the user named.
            report: told the fractions of it that are done.
            stopped: asked several times a second whether the task is to write its checkpoint and end.

        Raises:
            Died: the process ended without a result, or could not be started.
        """
        if names != self._names:  # which a process is told when it starts
            _dismiss(self._idle)
            self._names = names
        try:
            worker = _taken_up(todo, self._idle) or _begun(todo, names, ends_with_us=True)
        except (OSError, EOFError) as error:
            raise Died(f"could not be started ({type(error).__name__}: {error})") from None
        told, ready = False, list[Any]([worker.connection])
        while True:
            if not told and stopped():
                told = True
                worker.process.terminate()
            if not wait(ready, timeout=POLL_SECONDS):
                continue
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join()
                raise Died(how_it_ended(worker.process)) from None
            if isinstance(message, float):
                report(message)
                continue
            if message.goes_on and not told:
                self._idle.append(worker)
            else:
                worker.process.join()
            return message.result


def _given(todo: Call, idle: list[Worker]) -> Worker:
    """Give a task to a worker that has none, or to a new one, and return it."""
    pickled = bytes(ForkingPickler.dumps(todo))
    return _taken_up(pickled, idle) or _begun(pickled, (*named.files(), *named.data()))


def _taken_up(todo: bytes, idle: list[Worker]) -> Worker | None:
    """Give a pickled task to a worker that has none, and return it; None if there is none."""
    while idle:
        worker = idle.pop()
        with contextlib.suppress(OSError):  # it was killed meanwhile
            worker.connection.send_bytes(todo)
            return worker
        worker.process.join()
    return None


def _begun(todo: bytes, names: tuple[Path | str, ...], *, ends_with_us: bool = False) -> Worker:
    """Give a pickled task to a new worker, and return it."""
    worker = _start(names, ends_with_us=ends_with_us)
    worker.connection.send_bytes(todo)
    return worker


def _dismiss(idle: list[Worker]) -> None:
    """Let workers end that have nothing to do."""
    for worker in idle:
        worker.connection.close()
    while idle:
        idle.pop().process.join()


def _start(names: tuple[Path | str, ...], *, ends_with_us: bool = False) -> Worker:
    """Start a worker process, which may execute these plugin files, and knows these files of data."""
    context = workers_context()
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(names, there), daemon=ends_with_us)
    with undisturbed():
        process.start()
    there.close()
    return Worker(process, here)


# What follows runs in the workers.


def _work(files: Sequence[Path | str], connection: Connection) -> None:
    """Do one task after the other, with the plugin files that the user has named, until there is none or one may leave traces."""
    from harness.training.process import watch
    from harness.training.subject import keep_last_dataset

    named.note(*files)
    keep_last_dataset()
    while True:
        try:
            function, arguments = connection.recv()
        except (EOFError, OSError):  # there are no more tasks, or the executor is gone
            break
        leave_the_terminal()
        forget_peak_memory()
        last = function(connection, *arguments)
        with contextlib.suppress(OSError):
            connection.send(last)
        if not last.goes_on:
            break
    watch.end(0)
