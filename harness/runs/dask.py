"""Dask: the same jobs, on the workers of a Dask scheduler, wherever these are.

Each thread of a Dask worker is a slot: it does one task at a time, in a process of its own as a worker of this machine has. So
the clocks, the signals and the memory of a run are its own, and a run that dies takes nothing with it. All that lasts is written
through the store, which every worker has to see; what comes back by the scheduler is how far a run is, and how it ended.

Dask hands tasks about as pickles: whoever can reach a scheduler can run code on its workers. So keep it in a network of your own.
"""

import contextlib
import ipaddress
import logging
import multiprocessing
import os
import pickle
import platform
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, NamedTuple

from harness.errors import BadInput, HarnessError, Interrupted, RunFailed
from harness.runs.code import code_version
from harness.runs.jobs import Job
from harness.runs.local import Ended, LocalExecutor
from harness.runs.pool import POLL_SECONDS, RETRY_SECONDS, Call, Died, Result, Slot, Task
from harness.runs.runner import again, fail
from harness.runs.signals import on_signals
from harness.specs import named, plugin_file
from harness.store.store import Store

REACH_SECONDS = 8.0  # in which a scheduler must answer

STOP_SECONDS = 20.0  # in which workers write their checkpoints when a signal has come

LOOK_SECONDS = 2.0  # between two looks at how many workers there are, and between two reports of a run

MOST_DEATHS = 3  # of the process of one task

Versions = dict[str, str]


class _Package(NamedTuple):
    """A plugin file and the modules beside it, by content."""

    name: str
    sha256: str
    files: dict[str, bytes]


class _Death(NamedTuple):
    """What a slot returns where the process of its task has died: how, and whether that is for the task to answer."""

    how: str
    own: bool = False


class OtherVersions(Exception):
    """A worker has other versions than the driver; its message names both."""


@dataclass(frozen=True)
class DaskExecutor(LocalExecutor):
    """Carries out jobs on Dask workers that see the store; `connect` makes one. What it hands out is what the local one does.

    Args:
        store: where runs are kept.
        workers: how many slots there are.
        data_dir: the folder of data files, as workers see it.
        client: a connection to the scheduler.
        address: of the scheduler, as the user gave it.
    """

    client: Any = field(default=None, kw_only=True)
    address: str = field(default="", kw_only=True)

    def _messages(
        self, waiting: deque[tuple[float, Task]], call: Callable[[Task], Call | None], died: Callable[[str], Result]
    ) -> Generator[list[tuple[Task, float | Result]], None, None]:
        """Give each task to a slot, and yield what slots have sent; see `harness.runs.pool.messages`."""
        client, topic = self.client, f"harness-{secrets.token_hex(8)}"
        events: SimpleQueue[tuple[str, float | None]] = SimpleQueue()
        active: dict[str, tuple[Any, Task]] = {}
        deaths: Counter[int] = Counter()
        caught: list[int] = []
        plugins, data, versions = _packages(), named.data(), versions_here()
        slots, looked, stopped = self.workers, time.monotonic(), 0.0

        def note(signum: int, frame: FrameType | None) -> None:
            caught.append(signum)

        client.subscribe_topic(topic, lambda event: events.put(event[1]))
        try:
            with on_signals(note):
                while waiting or active:
                    if client.status != "running" and not stopped:
                        raise self._gone()
                    if time.monotonic() - looked > LOOK_SECONDS:
                        with contextlib.suppress(OSError):  # the scheduler has just gone
                            slots = max(1, sum(client.nthreads().values()))
                        looked = time.monotonic()
                    while not caught and len(active) < slots and waiting and waiting[0][0] <= time.monotonic():
                        _, task = waiting.popleft()
                        todo = call(task)
                        if todo is None:
                            waiting.append((time.monotonic() + RETRY_SECONDS, task))
                            continue
                        content = pickle.dumps((todo, plugins, data))
                        future = client.submit(_do, content, versions, topic, key=f"{topic}-{secrets.token_hex(8)}")
                        active[future.key] = future, task
                        future.add_done_callback(lambda done: events.put((done.key, None)))
                    if caught and not stopped:
                        stopped = time.monotonic()
                        waiting.clear()
                        with contextlib.suppress(Exception):  # the scheduler has just gone
                            client.run(_stop, topic)
                    if len(caught) > 1 or (stopped and time.monotonic() - stopped > STOP_SECONDS):
                        break
                    received: list[tuple[Task, float | Result]] = []
                    for key, fraction in _drained(events):
                        if key not in active:
                            continue
                        if fraction is not None:
                            received.append((active[key][1], fraction))
                            continue
                        future, task = active.pop(key)
                        result = self._result(future, stopping=bool(stopped))
                        if isinstance(result, _Death) and not stopped:
                            deaths[id(task)] += 1
                            if deaths[id(task)] < MOST_DEATHS:
                                waiting.append((time.monotonic() + RETRY_SECONDS, task))
                                received.append((task, 0.0))
                                continue
                            how = f"{result.how}, {MOST_DEATHS} times"
                            failed = result.own and isinstance(task, Job)
                            result = self._fail(task, f"its process {how}") if failed else died(how)
                        elif isinstance(result, _Death):
                            result = died(result.how)
                        received.append((task, result))
                    yield received
        finally:
            with contextlib.suppress(Exception):  # of a connection that is lost
                client.unsubscribe_topic(topic)
                client.cancel([future for future, _ in active.values()])
        if caught:
            raise Interrupted("interrupted, nothing is lost: the same command goes on", caught[0])

    def _fail(self, job: Job, reason: str) -> Ended:
        """Store that a run failed, and return that it did."""
        run = job.stored(self.store)
        try:
            fail(run, job.spec, job.budget, reason)
        except (HarnessError, OSError) as error:
            return Ended("failed", f"{reason}, which could not be stored ({error}): the same command resumes it")
        return Ended("failed", f"run {run.id} failed: {reason}; {again(run, run.read())}")

    def _result(self, future: Any, *, stopping: bool) -> Any:
        """Return what a task has ended with.

        Raises:
            RunFailed: the scheduler is gone.
            BadInput: a worker has other versions.
        """
        from distributed import KilledWorker

        if future.status == "finished":
            return future.result()
        if future.status != "error":  # its Dask worker died too soon, or others cancelled it
            if self.client.status != "running" and not stopping:
                raise self._gone()
            future.cancel()
            return _Death("was lost by Dask")
        error = future.exception()
        if isinstance(error, OtherVersions):
            raise BadInput(str(error))
        if isinstance(error, KilledWorker):
            return _Death("was on Dask workers that died, as often as their scheduler allows")
        return _Death(f"raised {type(error).__name__}: {error}")

    def _gone(self) -> RunFailed:
        return RunFailed(
            f"the Dask scheduler {self.address} is gone, nothing is lost: start it, and the same command goes on"
        )


def connect(address: str, store: Store, data_dir: str | None, warn: Callable[[str], None]) -> DaskExecutor:
    """Connect to a scheduler, look at its workers, and return an executor of jobs on them.

    Args:
        address: such as dask://HOST:8786, or tls://HOST:8786 with Dask's own settings of certificates.
        store: where runs are kept; every worker must see and write it under the same path.
        data_dir: the user's folder of data files; by default HARNESS_DATA.
        warn: told of a connection that others can read.

    Raises:
        BadInput: the scheduler cannot be reached, or has no workers, or these have other versions or do not see the store.
    """
    try:
        from distributed import Client
    except ImportError:
        raise BadInput(
            f"--on is {address!r}, and the package distributed is not installed: pip install 'inference-harness[dask]'"
        ) from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is told by us
    there = address.rstrip("/").replace("dask://", "tcp://")
    if there.startswith("tcp://") and not _is_local(there):
        warn(
            f"the connection to {address} is not encrypted, and whoever reaches a Dask scheduler can run code on its workers: "
            "use tls://, or a network of your own"
        )
    try:
        client = Client(there, timeout=REACH_SECONDS, set_as_default=False)
    except Exception as error:  # of the network, or of certificates
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"there is no Dask scheduler to be reached at {address} ({said}): start one with `dask scheduler`"
        ) from None
    try:
        _require_workers(client, address, store)
    except BaseException:
        client.close()
        raise
    slots = sum(client.nthreads().values())
    return DaskExecutor(store, slots, data_dir or os.environ.get("HARNESS_DATA"), client=client, address=address)


def _require_workers(client: Any, address: str, store: Store) -> None:
    """Raise BadInput unless there are workers, of the same versions, that see and can write the store."""
    store.require_writable()
    if not client.nthreads():
        raise BadInput(
            f"the Dask scheduler {address} has no workers: start some with `dask worker {client.scheduler.address}`"
        )
    for worker, found in client.run(_look, on_error="return").items():
        if isinstance(found, Exception):
            why = f"{type(found).__name__}: {found}"
            raise BadInput(f"the Dask worker {worker} cannot import this harness ({why}): install it there")
        _require_versions(versions_here(), found, worker)
    made = [folder for folder in (store.root, *store.root.parents) if not folder.exists()]
    store.root.mkdir(parents=True, exist_ok=True)
    probe = store.root / f".seen-{secrets.token_hex(8)}"
    try:
        probe.touch()
        for worker, reason in client.run(_sees, str(probe)).items():
            if reason is not None:
                raise BadInput(
                    f"the Dask worker {worker} {reason}: put the store on a file system that all workers share, and name it with "
                    "--results"
                )
    except BaseException:
        probe.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    probe.unlink(missing_ok=True)


@cache
def _versions_here() -> tuple[tuple[str, str], ...]:
    own = code_version()
    packages = {name: version(name) for name in ("torch", "numpy")}
    return tuple({"harness": f"{own['version']} ({own['source_sha256']})", **packages}.items())


def versions_here() -> Versions:
    """Return the versions that numbers depend on, of the harness by its source."""
    return dict(_versions_here())


def _require_versions(driver: Versions, worker: Versions, address: str) -> None:
    """Raise BadInput naming both where a worker has other versions."""
    for name, own in driver.items():
        if worker.get(name) != own:
            raise BadInput(
                f"the Dask worker {address} has {name} {worker.get(name)}, and here it is {own}: install the same on both, or "
                "runs of one sweep would differ"
            )


def _packages() -> list[_Package]:
    """Return the plugin files that may be executed here, by content."""
    found = []
    for path in named.files():
        if path not in named.OWN:
            with contextlib.suppress(OSError, BadInput):
                source = plugin_file.read(path)
                files = {source.path.name: source.content, **source.helpers}
                found.append(_Package(source.path.name, source.sha256, files))
    return found


def _is_local(address: str) -> bool:
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    if host in ("localhost", platform.node()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _drained(events: "SimpleQueue[tuple[str, float | None]]") -> Iterator[tuple[str, float | None]]:
    """Yield what has come, waiting a moment for the first."""
    with contextlib.suppress(Empty):
        yield events.get(timeout=POLL_SECONDS)
        while True:
            yield events.get_nowait()


# What follows runs in the Dask workers.

_slots: list[Slot] = []
"""Those of this Dask worker that have nothing to do."""

_stopped: set[str] = set()
"""The topics of drivers that were interrupted."""


def _look() -> Versions:
    return versions_here()


def _sees(probe: str) -> str | None:
    """Return what is wrong with the store that a file was put into, in words; None if it can be used."""
    path = Path(probe)
    if not path.is_file():
        return f"does not see the store {str(path.parent)!r}"
    return None if os.access(path.parent, os.W_OK | os.X_OK) else f"cannot write the store {str(path.parent)!r}"


def _stop(topic: str) -> None:
    _stopped.add(topic)


def _do(content: bytes, driver: Versions, topic: str) -> Any:
    """Do a task in a process of a slot, and return its result, or how the process died.

    Args:
        content: what to do, the plugin files for it, and the names of files of data, pickled.
        driver: the versions that it was pickled by.
        topic: under which the driver is told how far it is.
    """
    from distributed import get_worker

    worker = get_worker()
    try:
        _require_versions(driver, versions_here(), worker.address)
    except BadInput as error:
        raise OtherVersions(str(error)) from None
    key, told = str(worker.get_current_task()), 0.0
    todo, plugins, data = pickle.loads(content)
    names = (*(_unpacked(package, Path(worker.local_directory)) for package in plugins), *data)

    def report(fraction: float) -> None:
        nonlocal told
        if time.monotonic() - told > LOOK_SECONDS:
            told = time.monotonic()
            worker.log_event(topic, (key, fraction))

    def stopped() -> bool:
        task = worker.state.tasks.get(key)
        return topic in _stopped or task is None or task.state == "cancelled"  # as where the driver is gone

    multiprocessing.current_process().daemon = False  # which may have no children; ours end with it
    try:
        slot = _slots.pop()
    except IndexError:
        slot = Slot()
    try:
        return slot.do(todo, names, report, stopped)
    except Died as died:
        return _Death(str(died), own=not stopped())
    finally:
        _slots.append(slot)


def _unpacked(package: _Package, folder: Path) -> Path:
    """Write a plugin file and the modules beside it into a worker's own folder, unless they are there; return its path."""
    there = folder / "harness-plugins" / package.sha256
    if not (there / package.name).is_file():
        making = there.with_name(f"{there.name}-{secrets.token_hex(4)}")
        for name, content in package.files.items():
            path = making / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        with contextlib.suppress(OSError):  # another slot was faster
            making.rename(there)
    return there / package.name
