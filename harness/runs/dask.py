"""Dask: the same jobs, on the workers of a Dask scheduler, wherever these are.

All that lasts is written through the store, which every worker has to see. What comes back by the scheduler is how far a run is,
and how it ended. Where workers do not see the store, runs travel, too: see `harness.runs.ship`. What runs in the workers is in
`harness.runs.dask_worker`.

Dask hands tasks about as pickles: whoever can reach a scheduler can run code on its workers. So keep it in a network of your own.
"""

import contextlib
import ipaddress
import logging
import math
import os
import pickle
import platform
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from harness.errors import BadInput, HarnessError, Interrupted, RunFailed
from harness.runs import dask_worker
from harness.runs.dask_worker import Death, Order, Package, Unfit
from harness.runs.jobs import Ended, Job
from harness.runs.local import LocalExecutor, end_by
from harness.runs.pool import POLL_SECONDS, RETRY_SECONDS, Call, Result, Task
from harness.runs.runner import again, fail
from harness.runs.ship import Courier, Event
from harness.runs.signals import SAME_SIGNAL_SECONDS, on_signals
from harness.specs import named, plugin_file
from harness.store.store import Store

REACH_SECONDS = 5.0  # in which a scheduler must answer, so that one that does not is told within 10 s, imports included

STOP_SECONDS = 20.0  # in which workers write their checkpoints when a signal has come

LOOK_SECONDS = 2.0  # between two looks at how many workers there are

GATHER_SECONDS = 1.0  # in which a result that is there comes, unless its worker has died meanwhile

MOST_DEATHS = 3  # of the process of a run, in a row

PROBE = ".seen-"  # what names of files begin with by which workers show that they see the store

LEFT_SECONDS = 86400.0  # after which such a file is nobody's


@dataclass(frozen=True)
class DaskExecutor(LocalExecutor):
    """Carries out jobs on Dask workers; `connect` makes one. What it hands out is what the local one does.

    Args:
        store: where runs are kept.
        workers: how many slots there are.
        data_dir: the folder of data files, as workers see it; by default each has its own. Where runs travel, it is one here.
        client: a connection to the scheduler.
        address: of the scheduler, as the user gave it.
        ship: how many bytes of a run, or of its data, may travel; None where workers see the store.
    """

    client: Any = field(default=None, kw_only=True)
    address: str = field(default="", kw_only=True)
    ship: int | None = field(default=None, kw_only=True)

    def _messages(
        self, waiting: deque[tuple[float, Task]], call: Callable[[Task], Call | None], died: Callable[[str], Result]
    ) -> Generator[list[tuple[Task, float | Result]], None, None]:
        """Give each task to a slot, and yield what slots have sent; see `harness.runs.pool.messages`."""
        client, topic = self.client, f"harness-{secrets.token_hex(8)}"
        active: dict[str, tuple[Any, Task]] = {}
        caught: list[float] = []  # when signals came
        signums: list[int] = []
        slots, looked, give_up = self.workers, time.monotonic(), math.inf

        def note(signum: int, frame: FrameType | None) -> None:
            if not caught or time.monotonic() - caught[0] > SAME_SIGNAL_SECONDS:
                caught.append(time.monotonic())
                signums.append(signum)

        with (
            self._probe() as probe,
            self._subscribed(topic) as events,
            on_signals(note),
            self._courier(events) as courier,
        ):
            order = Order(b"", 1, tuple(_packages()), named.data(), dask_worker.versions(), str(probe or ""), topic)
            try:
                while waiting or active:
                    if client.status != "running":
                        if caught:
                            break
                        raise self._gone()
                    if time.monotonic() - looked > LOOK_SECONDS:
                        slots, looked = self._slots(), time.monotonic()
                        if probe:
                            with contextlib.suppress(OSError):  # others look how old it is
                                os.utime(probe)
                    while not caught and len(active) < slots and waiting and waiting[0][0] <= time.monotonic():
                        _, task = waiting.popleft()
                        todo = call(task)
                        if todo is None:
                            waiting.append((time.monotonic() + RETRY_SECONDS, task))
                            continue
                        key = f"{topic}-{secrets.token_hex(8)}"
                        try:
                            shipment = courier.send(key, todo, task) if courier else None
                        except HarnessError as error:
                            yield [(task, _gone_wrong(error, task, died))]
                            continue
                        this = order._replace(
                            todo=pickle.dumps(todo),
                            tries=MOST_DEATHS if isinstance(task, Job) else 1,
                            shipment=shipment,
                        )
                        future = client.submit(pickle.loads, this.pickled(), key=key)
                        active[key] = future, task
                        future.add_done_callback(lambda done: events.put((done.key, None)))
                    if caught:
                        waiting.clear()
                    if caught and give_up == math.inf:
                        give_up = time.monotonic() + STOP_SECONDS
                        with contextlib.suppress(Exception):  # the scheduler has just gone
                            client.run(dask_worker.stop, topic)
                    if len(caught) > 1 or time.monotonic() > give_up:
                        break
                    received: list[tuple[Task, float | Result]] = []
                    for key, said in _drained(events):
                        if key not in active:
                            continue
                        future, task = active[key]
                        if isinstance(said, float):
                            received.append((task, said))
                            continue
                        if courier and isinstance(said, tuple | list):
                            courier.hear(key, said)
                            continue
                        if said is None and (result := self._result(future)) is None:
                            events.put((key, None))  # look again
                            continue
                        del active[key]
                        if courier:
                            courier.back(key)
                        if isinstance(said, HarnessError):
                            client.cancel([future])
                            received.append((task, _gone_wrong(said, task, died)))
                        else:
                            received.append((task, self._ended(result, task, died)))
                    yield received
            finally:
                with contextlib.suppress(Exception):  # of a connection that is lost
                    client.cancel([future for future, _ in active.values()])
        if caught:
            raise Interrupted("interrupted, nothing is lost: the same command goes on", signums[0])

    @contextlib.contextmanager
    def _subscribed(self, topic: str) -> Iterator["SimpleQueue[Event]"]:
        """Yield what is told of tasks, see `harness.runs.ship.Event`."""
        events: SimpleQueue[Event] = SimpleQueue()
        try:
            self.client.subscribe_topic(topic, lambda event: events.put(event[1]))
        except OSError:
            raise self._gone() from None
        try:
            yield events
        finally:
            with contextlib.suppress(Exception):  # of a connection that is lost
                self.client.unsubscribe_topic(topic)

    @contextlib.contextmanager
    def _courier(self, events: "SimpleQueue[Event]") -> Iterator[Courier | None]:
        """Yield what lets runs travel; None where workers see the store."""
        if self.ship is None:
            yield None
            return
        courier = Courier(self.client, self.store, self.data_dir, self.ship, events)
        try:
            yield courier
        finally:
            courier.close()

    def _probe(self) -> contextlib.AbstractContextManager[Path | None]:
        return seen_by_workers(self.store) if self.ship is None else contextlib.nullcontext()

    def _slots(self) -> int:
        """Return how many slots there are now; one where there are none, whose task waits for a worker to come."""
        try:
            return max(1, _threads(self.client))
        except OSError:  # the scheduler has just gone
            return 1

    def _result(self, future: Any) -> Any:
        """Return what a task has ended with, a `Death` if it was lost; None if that is not here yet.

        Raises:
            BadInput: its worker cannot be used.
            RunFailed: the scheduler is gone.
        """
        from distributed import KilledWorker

        try:
            if future.status == "finished":
                return future.result(timeout=GATHER_SECONDS)
            error = future.exception(timeout=GATHER_SECONDS) if future.status == "error" else None
        except TimeoutError:
            return None
        except Exception as lost:
            error = lost
        if isinstance(error, Unfit):
            raise BadInput(str(error))
        if isinstance(error, KilledWorker):
            return Death("was on Dask workers that died, as often as their scheduler allows")
        if self.client.status != "running":
            raise self._gone()
        return Death("was lost by Dask" if error is None else f"was lost by Dask ({type(error).__name__}: {error})")

    def _ended(self, result: Any, task: Task, died: Callable[[str], Result]) -> Any:
        """Return a task's result. A run whose process has died by itself is stored as failed."""
        if not isinstance(result, Death):
            return result
        if not (result.by_itself and isinstance(task, Job)):
            return died(result.how)
        run, reason = task.stored(self.store), f"its process {result.how}"
        try:
            fail(run, task.spec, task.budget, reason)
        except (HarnessError, OSError) as error:
            return Ended("failed", f"{reason}, which could not be stored ({error}): the same command resumes it")
        return Ended("failed", f"run {run.id} failed: {reason}; {again(run, run.read())}")

    def _gone(self) -> RunFailed:
        return RunFailed(
            f"the Dask scheduler {self.address} is gone, nothing is lost: start it and its workers, and the same command goes on"
        )


def connect(
    address: str, store: Store, data_dir: str | None, warn: Callable[[str], None], ship: int | None = None
) -> DaskExecutor:
    """Connect to a scheduler, look at its workers, and return an executor of jobs on them.

    Args:
        address: such as dask://HOST:8786, or tls://HOST:8786 with Dask's own settings of certificates.
        store: where runs are kept; every worker must see and write it under the same path, unless runs travel.
        data_dir: the user's folder of data files, as workers see it; by default each has its own.
        warn: told of a connection that others can read.
        ship: how many bytes of a run, or of its data, may travel; None where workers see the store.

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
    if there.startswith("tcp://") and not is_local(there):
        warn(
            f"the connection to {address} is not encrypted, and whoever reaches a Dask scheduler can run code on its workers: "
            "use tls://, or a network of your own"
        )
    try:
        client = Client(there, timeout=REACH_SECONDS, set_as_default=False)
    except Exception as error:  # of the network, or of certificates
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = (
            "name its certificates in Dask's settings"
            if there.startswith("tls://")
            else "start one with `dask scheduler`"
        )
        raise BadInput(f"there is no Dask scheduler to be reached at {address} ({said}): {what}") from None
    try:
        _require_workers(client, address, store, ships=ship is not None)
    except BaseException:
        client.close()
        raise
    return DaskExecutor(store, _threads(client), data_dir, client=client, address=address, ship=ship)


def _require_workers(client: Any, address: str, store: Store, *, ships: bool) -> None:
    """Raise BadInput unless there are workers, of the same versions, that see and can write the store if runs do not travel."""
    store.require_writable()
    if not _threads(client):
        raise BadInput(
            f"the Dask scheduler {address} has no workers: start some with `dask worker {client.scheduler.address}`"
        )
    with contextlib.nullcontext("") if ships else seen_by_workers(store) as probe:
        found = client.run(dask_worker.unfit, dask_worker.versions(), str(probe), on_error="return")
    for worker, why in found.items():
        if isinstance(why, Exception):
            why = f"cannot import this harness ({type(why).__name__}: {why}): install it there"
        if why is not None:
            raise BadInput(f"the Dask worker {worker} {why}")


def _threads(client: Any) -> int:
    """Return how many threads the workers of a scheduler have."""
    return sum(map(int, client.nthreads().values()))


@contextlib.contextmanager
def seen_by_workers(store: Store) -> Iterator[Path]:
    """Yield a file in the store that workers must see; what had to be made for it is removed, if nothing else was put there."""
    made = [folder for folder in (store.root, *store.root.parents) if not folder.exists()]
    store.root.mkdir(parents=True, exist_ok=True)
    probe = store.root / f"{PROBE}{secrets.token_hex(8)}"
    try:
        probe.touch()
        for left in store.root.glob(f"{PROBE}*"):  # by a command that was killed
            with contextlib.suppress(OSError):
                if probe.stat().st_mtime - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()
        yield probe
    finally:
        probe.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _packages() -> Iterator[Package]:
    """Yield the plugin files that may be executed here, by content."""
    for path in named.files():
        if path not in named.OWN:
            with contextlib.suppress(OSError, BadInput):
                source = plugin_file.read(path)
                yield Package(source.path.name, source.sha256, {source.path.name: source.content, **source.helpers})


def is_local(address: str) -> bool:
    """Say whether an address, such as tcp://localhost:8786, is of this machine."""
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    if host in ("localhost", platform.node()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _gone_wrong(error: HarnessError, task: Task, died: Callable[[str], Result]) -> Any:
    """Return how a task ends that could not be sent, or whose run could not be taken into the store."""
    return end_by(error) if isinstance(task, Job) else died(str(error))


def _drained(events: "SimpleQueue[Event]") -> list[Event]:
    """Return what has come, waiting a moment for the first."""
    found = []
    with contextlib.suppress(Empty):
        found.append(events.get(timeout=POLL_SECONDS))
        while True:
            found.append(events.get_nowait())
    return found
