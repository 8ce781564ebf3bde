"""What runs in the workers of a Dask scheduler: each of their threads is a slot, which does a task at a time in another process.

PyTorch is imported by those processes alone. So a Dask worker is small, and answers its scheduler while they begin.
"""

import contextlib
import multiprocessing
import os
import pickle
import platform
import secrets
import time
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from harness.runs.code import code_version
from harness.runs.pool import Died, Slot
from harness.runs.ship_worker import Shipment, opened

REPORT_SECONDS = 2.0  # between two reports of how far a task is

Versions = dict[str, str]


class Package(NamedTuple):
    """A plugin file and the modules beside it, by content: what is in them, by path within their folder."""

    name: str
    sha256: str
    files: dict[str, bytes]


class Order(NamedTuple):
    """What a slot is to do.

    Attributes:
        todo: a `harness.runs.pool.Call`, pickled.
        tries: how often it is tried if its process dies.
        plugins: the plugin files that it may execute.
        data: the files of data that the user named.
        versions: those of whoever orders it.
        probe: a file in the store, which whoever does it must see; empty where runs travel.
        topic: of the events by which it is told how far this is.
        shipment: what travels with it; None where the store is seen.
    """

    todo: bytes
    tries: int
    plugins: tuple[Package, ...]
    data: tuple[str, ...]
    versions: Versions
    probe: str
    topic: str
    shipment: Shipment | None = None

    def pickled(self) -> bytes:
        """Return a pickle that does it when a Dask worker loads it, and is nothing but bytes to the scheduler.

        A scheduler loads the functions of tasks, and would have to import them. `pickle.loads` is everywhere.
        """
        return pickle.dumps(_Done(self))


class _Done:
    """Is pickled as a call of `do`."""

    def __init__(self, order: Order):
        self._order = order

    def __reduce__(self) -> tuple[Callable[[Order], Any], tuple[Order]]:
        return do, (self._order,)


class Death(NamedTuple):
    """What a slot returns where the process of its task has died, as often as it was tried: how, and whether by itself."""

    how: str
    by_itself: bool = False


class Unfit(Exception):
    """This worker cannot be used, for the reason in the message."""


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    own = code_version()
    packages = {name: version(name) for name in ("torch", "numpy")}
    python = ".".join(platform.python_version_tuple()[:2])
    return tuple({"harness": f"{own['version']} ({own['source_sha256']})", "Python": python, **packages}.items())


def versions() -> Versions:
    """Return the versions that numbers and pickles depend on; of the harness by its source when this was first asked."""
    return dict(_versions())


def unfit(theirs: Versions, probe: str) -> str | None:
    """Return in words why this worker cannot be used, such as other versions, naming both; None if it can.

    Args:
        theirs: the versions of whoever asks.
        probe: a file that they have put into the store; empty where it need not be seen.
    """
    for name, other in theirs.items():
        own = versions().get(name)
        if own != other:
            return (
                f"has {name} {own}, and here it is {other}: install the same on both and start the worker again, or runs of one "
                "sweep would differ"
            )
    if not probe:
        return None
    store = Path(probe).parent
    if not Path(probe).is_file():
        wrong = "see"
    elif not os.access(store, os.W_OK | os.X_OK):
        wrong = "write"
    else:
        return None
    return (
        f"cannot {wrong} the store {str(store)!r}: put it on a file system that all workers share, and name it with --results, "
        "or give --ship, and runs travel"
    )


_stopped: set[str] = set()  # the topics of drivers that were interrupted

_slots: list[Slot] = []  # those that have nothing to do


def stop(topic: str) -> None:
    """Have the tasks of a driver write their checkpoints and end."""
    _stopped.add(topic)


def do(order: Order) -> Any:
    """Do a task in a process of a slot, and return its result, or a `Death`.

    Raises:
        Unfit: this worker cannot be used.
    """
    from distributed import get_worker

    worker = get_worker()
    if why := unfit(order.versions, order.probe):  # of a worker that came later than the driver
        raise Unfit(f"the Dask worker {worker.address} {why}")
    key, told = str(worker.get_current_task()), 0.0
    names: tuple[Path | str, ...] = (
        *(unpacked(package, Path(worker.local_directory)) for package in order.plugins),
        *order.data,
    )

    def report(fraction: float) -> None:
        nonlocal told
        if time.monotonic() - told > REPORT_SECONDS:
            told = time.monotonic()
            worker.log_event(order.topic, (key, fraction))

    def gone() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"  # as where the driver is gone

    def stopped() -> bool:
        return order.topic in _stopped or gone()

    def tried(todo: bytes, *more: str, look: Callable[[], None] = lambda: None) -> Any:
        def asked() -> bool:
            look()
            return stopped()

        deaths: list[str] = []
        while len(deaths) < order.tries:
            try:
                return slot.do(todo, (*names, *more), report, asked)
            except Died as died:
                if stopped():
                    return Death(str(died))
                deaths.append(str(died))
        return Death(deaths[0] if order.tries == 1 else f"{deaths[-1]}, {order.tries} times", by_itself=True)

    def tell(*words: object) -> None:
        worker.log_event(order.topic, (key, words))

    multiprocessing.current_process().daemon = False  # which may have no children; ours end with it
    slot = _slots.pop() if _slots else Slot()
    try:
        if order.shipment is None:
            return tried(order.todo)
        with opened(order.shipment, Path(worker.local_directory), worker.address, tell) as room:
            if ended := room.furnish(stopped):
                return ended
            return room.hand_over(tried(room.call(order.todo), *room.words, look=room.look), gone)
    finally:
        _slots.append(slot)


def unpacked(package: Package, folder: Path) -> Path:
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
