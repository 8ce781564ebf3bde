"""Runs and data that travel: between a store, which Dask workers do not see, and rooms in these (`harness.runs.ship_worker`).

The store is what counts. Whoever ships a run owns it in the store while it is out, so no other process makes it meanwhile. What
a worker has of a run is fetched at each of its checkpoints and at its end, looked at as `harness import` looks at what comes in,
and put into the store whole or not at all. When a worker dies, Dask gives the task to another, which is sent the last checkpoint.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from harness.errors import BadInput, HarnessError, RunFailed, StoreTrouble
from harness.files import scratch_folder
from harness.runs import ship_worker
from harness.runs.jobs import Job
from harness.runs.pool import Call
from harness.runs.ship_data import Data, data_of
from harness.runs.ship_worker import PIECE, Collected, NoRoom, Piece, Shipment
from harness.sharing.members import Incoming, Place
from harness.sharing.union import require_sound
from harness.specs.run import RunSpec
from harness.specs.values import MB
from harness.store import parcel
from harness.store.run import Run
from harness.store.store import Store

THREADS = 4  # that fetch and send, so that one slow worker does not keep the others waiting

CLOSE_SECONDS = 5.0  # in which a thread ends what it is at

T = TypeVar("T")

Event = tuple[str, Any]
"""Of a task, by its key: how far it is, what its room tells, what went wrong with it, or None at its end."""


class _Lost(Exception):
    """A worker or its room is gone, or cannot be reached at this moment."""


@dataclass
class _Out:
    """A task that is out.

    Attributes:
        run: which it makes, owned by this process; None where nothing is stored of it.
        data: what it is trained on, as far as it is here.
        rooms: the tokens of those in which it was begun. The last one counts: where a worker dies, another begins.
        state: what the room called the run that was last taken into the store.
        lock: is held by whoever sends or fetches.
    """

    run: Run | None
    data: Data | None
    rooms: list[str] = field(default_factory=list)
    state: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Courier:
    """Sends and fetches what tasks need and have, in threads of its own.

    Args:
        client: a connection to the Dask scheduler.
        store: where runs are kept.
        data_dir: the user's folder of data files.
        most: bytes of a run, or of the data of one, that may travel.
        events: told what goes wrong with a task.
    """

    def __init__(self, client: Any, store: Store, data_dir: str | None, most: int, events: "SimpleQueue[Event]"):
        self._client, self._store, self._data_dir, self._most = client, store, data_dir, most
        self._events = events
        self._out: dict[str, _Out] = {}
        self._known: dict[str, Data | None] = {}
        self._heard: SimpleQueue[Event | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, name="courier", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def send(self, key: str, todo: Call, task: object) -> Shipment:
        """Become the owner of a task's run, and return what the task is told.

        Args:
            key: of the task.
            todo: what is to be done.
            task: a `Job`, or something of which nothing is stored.

        Raises:
            Busy: another process has become the owner of the run.
            StoreTrouble: the store cannot be written.
        """
        run, folder = None, ""
        spec = next((one for one in todo.arguments if isinstance(one, RunSpec)), None)
        if isinstance(task, Job):
            spec, run = task.spec, task.stored(self._store)
            run.claim()
            folder = f"{task.group}/{run.id}"
        out = self._out[key] = _Out(run, None if spec is None else self._data(spec))
        return Shipment(folder, str(self._store.root), out.data)

    def hear(self, key: str, said: Any) -> None:
        """Do what a room asks for, when there is time."""
        self._heard.put((key, said))

    def back(self, key: str) -> None:
        """Give up a task's run, as the task has ended."""
        out = self._out.pop(key)
        if out.run is not None:
            with contextlib.suppress(Exception):  # of a store that cannot be written
                held = out.lock.acquire(timeout=CLOSE_SECONDS)
                out.run.release()
                if held:
                    out.lock.release()

    def close(self) -> None:
        """Give up all runs."""
        for _ in self._threads:
            self._heard.put(None)
        for key in list(self._out):
            self.back(key)

    def _data(self, spec: RunSpec) -> Data | None:
        key = spec.dataset.model_dump_json()
        if key not in self._known:
            self._known[key] = data_of(spec, self._data_dir)
        return self._known[key]

    # -- in the threads

    def _serve(self) -> None:
        while (event := self._heard.get()) is not None:
            key, (what, address, token, *more) = event
            if (out := self._out.get(key)) is None:
                continue
            with out.lock:
                try:
                    if what == "begins":
                        self._furnish(out, address, token, *more)
                    elif token in out.rooms[-1:] and out.run is not None:
                        out.state = self._fetch(out.run, address, token, out.state)
                        if what == "ended":
                            self._there(address, ship_worker.dismiss, token)
                except _Lost:  # if it is for good, Dask gives the task to another worker
                    continue
                except HarnessError as error:
                    self._events.put((key, error))
                except OSError as error:
                    where = error.filename or self._store.root
                    words = f"{where} cannot be read or written ({error.strerror or error})"
                    self._events.put(
                        (key, StoreTrouble(f"{words}: make room or mend it, and give the same command again"))
                    )
                except Exception as error:  # of which else nobody would hear
                    words = f"what the Dask worker {address} said was not understood ({type(error).__name__}: {error})"
                    self._events.put((key, RunFailed(words)))

    def _furnish(self, out: _Out, address: str, token: str, lacks_data: bool) -> None:
        """Send a room what it needs: the run as it is now, and the data if its machine lacks them."""
        if token in out.rooms:  # it asked twice
            return
        files: list[tuple[str, Path]] = []
        if out.run is not None and out.run.exists():
            run, folder = out.run.path, f"{ship_worker.STORE}/{_group(out.run)}/{out.run.id}"
            files += [(f"{folder}/{name}", run / name) for name in parcel.SENT if (run / name).is_file()]
            self._require_size(sum(path.stat().st_size for _, path in files), f"run {out.run.id}")
        if lacks_data and out.data is not None:
            self._require_size(out.data.size, f"dataset {out.data.name!r}", "put its files where workers find them")
            files += [(f"{ship_worker.SENT}/{n}", path) for part in out.data.parts for n, path in part.files()]
        for pieces in _pieces(files):
            self._there(address, ship_worker.fill, token, pieces, False)
        self._there(address, ship_worker.fill, token, [], True)
        out.rooms.append(token)
        out.state = ""

    def _fetch(self, run: Run, address: str, token: str, known: str) -> str:
        """Take what a room has of a run into the store, if it has begun and is another than is known; return its state."""
        coming = _Coming(lambda offset: self._there(address, ship_worker.collect, token, offset, known))
        if "run.json" not in coming.sizes:
            return coming.state
        self._require_size(sum(coming.sizes.values()), f"run {run.id}")
        with scratch_folder(self._store.root / "import") as scratch:
            into = Incoming(
                f"what came back of run {run.id} from the Dask worker {address}", scratch, "nothing of it was stored"
            )
            for name, size in coming.sizes.items():
                if name not in parcel.FILES:
                    raise into.refusal(f"has {name!r}, which is no file of a run")
                into.take(Place(_group(run), run.id, name), coming.file(size), size)
            found = Run(scratch / _group(run) / run.id)
            try:
                record = require_sound(found, under_way=True)
            except BadInput as error:
                raise into.refusal(f"is not sound ({error})") from None
            parcel.take(run, found, record)
        return coming.state

    def _require_size(self, size: int, what: str, otherwise: str = "") -> None:
        if size > self._most:
            raise RunFailed(
                f"{what} takes {size / MB:,.1f} MB, and --ship-limit is {self._most / MB:,.0f}: give a larger one, "
                f"{otherwise and f'or {otherwise}, '}and the same command goes on"
            )

    def _there(self, address: str, function: Callable[..., T], *arguments: object) -> T:
        """Call a function in a worker, and return its result.

        Raises:
            _Lost: there is none.
            StoreTrouble: the worker's disk cannot be written.
        """
        try:
            found: Any = self._client.run(function, *arguments, workers=[address], on_error="return")[address]
        except Exception as error:  # the scheduler is gone, as others find out
            raise _Lost from error
        if isinstance(found, NoRoom):
            raise StoreTrouble(f"on the Dask worker {address}, {found}: make room there, or mend it")
        if isinstance(found, OSError | TimeoutError | KeyError):
            raise _Lost from found
        if isinstance(found, Exception):
            raise RunFailed(f"the Dask worker {address} could not do its part ({type(found).__name__}: {found})")
        return found  # type: ignore[no-any-return]


class _Coming:
    """The files of a run that come piece by piece, one behind the other.

    Args:
        fetch: returns the piece that begins at an offset.

    Attributes:
        sizes: of all of them, by name, as they say.
        state: in which the run is.
    """

    def __init__(self, fetch: Callable[[int], Collected]):
        self._fetch = fetch
        self.sizes, first, self.state = fetch(0)
        self._ready, self._offset = bytearray(first), len(first)

    def file(self, size: int) -> "_File":
        """Return what the next file is read by."""
        return _File(self, size)

    def next(self, most: int) -> bytes:
        """Return at most so many bytes, and at least one unless nothing comes any more."""
        if not self._ready:
            piece = self._fetch(self._offset).piece
            self._ready, self._offset = bytearray(piece), self._offset + len(piece)
        out = bytes(self._ready[:most])
        del self._ready[:most]
        return out


class _File:
    """The next so many bytes of what comes."""

    def __init__(self, coming: _Coming, size: int):
        self._coming, self._left = coming, size

    def read(self, size: int) -> bytes:
        """Return at most so many of them; none at the end."""
        out = self._coming.next(min(size, self._left)) if self._left else b""
        self._left -= len(out)
        return out


def _group(run: Run) -> str:
    return run.path.parent.name


def _pieces(files: list[tuple[str, Path]]) -> Iterator[list[Piece]]:
    """Yield what is in files, by the paths that they have in a room, in lists of at most `PIECE` bytes."""
    pieces: list[Piece] = []
    room = PIECE
    for name, path in files:
        with path.open("rb") as file:
            offset = 0
            while content := file.read(room):
                pieces.append((name, offset, content))
                offset, room = offset + len(content), room - len(content)
                if not room:
                    yield pieces
                    pieces, room = [], PIECE
            if not offset:
                pieces.append((name, 0, b""))
    if pieces:
        yield pieces
