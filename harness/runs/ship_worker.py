"""What runs in a Dask worker that does not see the store: a room for each task, where its run is made, and what comes and goes.

A room tells the driver what it needs and what it has. The driver does the rest, by calls in this process: it fills the room with
the run as the store has it and with data that this machine lacks (`fill`), fetches the run at each checkpoint and at its end
(`collect`), and lets the room go when the run is in its store (`dismiss`). Rooms are never gone on from: the store is.
"""

import contextlib
import pickle
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.runs.jobs import Ended, Place
from harness.runs.pool import POLL_SECONDS, Call, Connection, Last
from harness.runs.ship_data import Data
from harness.store import checkpoint, parcel
from harness.store.run import Run

PIECE = 1 << 24  # bytes of files in a message

AGAIN_SECONDS = 30.0  # after which the driver is told again what it has not done

DATA = "harness-data"
"""The folder beside those of this machine's Dask workers in which data are kept that were sent."""

SENT, STORE, _FROZEN = "data", "store", "frozen"

Piece = tuple[str, int, bytes]
"""Of a file of a room: its path, where in it this is, and what."""

Asked = Callable[[], bool]


class Shipment(NamedTuple):
    """What a task is told whose run travels.

    Attributes:
        run: its folder in a store, such as `runs/ID`; empty where nothing is kept.
        store: the driver's, as it is called in messages.
        data: what it is trained on; None where the driver has none.
    """

    run: str
    store: str
    data: Data | None


class Collected(NamedTuple):
    """A piece of a run.

    Attributes:
        sizes: of all its files, by name.
        piece: of what is in them, one behind the other.
        state: another one whenever the run has been saved.
    """

    sizes: dict[str, int]
    piece: bytes
    state: str


class NoRoom(Exception):
    """The disk of this machine cannot be written, or what came is not what was sent."""


class Room:
    """A folder in which a task is done.

    Args:
        shipment: what the task was told.
        scratch: the Dask worker's own folder.
        address: of the Dask worker.
        tell: tells the driver what there is: a word, and more about it.
    """

    def __init__(self, shipment: Shipment, scratch: Path, address: str, tell: Callable[..., None]):
        self._shipment, self._scratch, self._address = shipment, scratch, address
        self.token = secrets.token_hex(8)
        self._tell = tell
        self.folder = scratch / f"harness-room-{self.token}"
        self._run = Run(self.folder / STORE / shipment.run) if shipment.run else None
        self._filled, self._dismissed = threading.Event(), threading.Event()
        self._trouble: str | None = None
        self._sizes: dict[str, int] = {}  # of what is being fetched
        self._state = ""
        self._stamp: object = None  # of the last checkpoint that the driver has or was told of
        self._waits, self._told = False, 0.0  # whether the driver is to fetch one, and when it was told
        self._data_dir: Path | None = None

    # -- in the thread of the task

    def furnish(self, stopped: Asked) -> Ended | None:
        """Have the driver send what is needed; return how the task has ended if it cannot begin."""
        data = self._shipment.data
        with self._noting_trouble():
            self.folder.mkdir(parents=True)
            if data is None or data.is_here():
                self._ask("begins", self._filled, stopped, False)
            else:
                self._data_dir = self._scratch.parent / DATA / data.key
                with _alone(self._data_dir, stopped):
                    sent = self._data_dir.is_dir()
                    self._ask("begins", self._filled, stopped, not sent)
                    if not sent and self._filled.is_set() and not self._trouble:
                        self._keep(data, self._data_dir)
        if self._trouble is not None:
            words = f"on the Dask worker {self._address}, {self._trouble}: make room there, or mend it"
            return Ended("unwritable" if self._run else "failed", words)
        if not self._filled.is_set():
            return Ended("interrupted")
        if self._run is not None:
            self._stamp = parcel.stamp(self._run.path / checkpoint.NAME)
        return None

    def call(self, todo: bytes) -> bytes:
        """Return what is to be done, pickled, of what is to be done where the driver is."""
        own = self._shipment.data is not None and self._shipment.data.own
        data_dir = None if own or self._data_dir is None else str(self._data_dir)
        return pickle.dumps(Call(here, (todo, str(self.folder / STORE), data_dir)))

    @property
    def words(self) -> list[str]:
        """The user's own data, as they are named where they were sent."""
        word = self._data_dir and self._shipment.data and self._shipment.data.word(self._data_dir)
        return [word] if word else []

    def look(self) -> None:
        """Tell the driver of a new checkpoint, unless it was just told of one and has yet to fetch it."""
        if self._run is None or (self._waits and time.monotonic() - self._told < AGAIN_SECONDS):
            return
        stamp = parcel.stamp(self._run.path / checkpoint.NAME)
        if self._waits or stamp not in (None, self._stamp):
            self._stamp, self._waits, self._told = stamp, True, time.monotonic()
            self._tell("checkpoint")

    def hand_over(self, result: Any, gone: Asked) -> Any:
        """Have the driver fetch the run as it is at its end, wait until it has, and return the result as it is told there."""
        if self._run is None:
            return result
        self._ask("ended", self._dismissed, gone)
        if isinstance(result, Ended) and result.reason:
            if result.status == "unwritable":
                return result._replace(reason=f"on the Dask worker {self._address}, {result.reason}")
            here = str(self.folder / STORE)
            return result._replace(reason=result.reason.replace(here, self._shipment.store))
        return result

    def _ask(self, what: str, until: threading.Event, gone: Asked, *more: object) -> None:
        """Tell the driver something, and wait until it has been done."""
        told = -AGAIN_SECONDS
        while not until.is_set() and not gone():
            if time.monotonic() - told >= AGAIN_SECONDS:
                told = time.monotonic()
                self._tell(what, *more)
            until.wait(POLL_SECONDS)

    def _keep(self, data: Data, there: Path) -> None:
        """Keep data that came for all tasks of this machine, if they are what was sent."""
        sent = self.folder / SENT
        if data.is_in(sent):
            sent.rename(there)
        else:
            self._trouble = f"data of dataset {data.name!r} came with another content"

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._trouble = f"{error.filename or self.folder} cannot be written ({error.strerror})"

    # -- called by the driver

    def fill(self, pieces: Sequence[Piece], *, whole: bool) -> None:
        """Write pieces of files; see `fill`."""
        if self._filled.is_set():  # they came twice
            return
        with self._noting_trouble():
            for name, offset, content in pieces:
                self._write(self.folder / name, offset, content)
        if whole or self._trouble:
            self._filled.set()
        if self._trouble:
            raise NoRoom(self._trouble)

    def _write(self, path: Path, offset: int, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(offset)
            file.write(content)

    def collect(self, offset: int, known: str) -> Collected:
        """Return sizes of the run's files, and a piece; see `collect`."""
        assert self._run is not None
        folder = self.folder / _FROZEN
        if offset == 0:
            self._waits = False  # what is written from here on is another checkpoint
            self._state, self._sizes = str(parcel.stamps(self._run)), {}
            if self._state != known:
                self._sizes = parcel.freeze(self._run, folder)
        out, end = bytearray(), offset
        for name, size in self._sizes.items():
            if offset < size and len(out) < PIECE:
                with (folder / name).open("rb") as file:
                    file.seek(offset)
                    out += file.read(min(size - offset, PIECE - len(out)))
            offset = max(0, offset - size)
        if end + len(out) >= sum(self._sizes.values()):
            shutil.rmtree(folder, ignore_errors=True)
        return Collected(self._sizes, bytes(out), self._state)

    def dismiss(self) -> None:
        """Let the task end."""
        self._dismissed.set()


_rooms: dict[str, Room] = {}


@contextlib.contextmanager
def opened(shipment: Shipment, scratch: Path, address: str, tell: Callable[..., None]) -> Iterator[Room]:
    """Make a room, which the driver finds by its token, and remove it at the end."""
    room = Room(shipment, scratch, address, lambda what, *more: tell(what, address, room.token, *more))
    _rooms[room.token] = room
    try:
        yield room
    finally:
        del _rooms[room.token]
        shutil.rmtree(room.folder, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path, stopped: Asked) -> Iterator[None]:
    """Be the only one of this machine who gets certain data, so that they are sent once."""
    import filelock

    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{folder}.lock")
    while not folder.is_dir() and not stopped():
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=POLL_SECONDS)
            break
    try:
        yield
    finally:
        lock.release()


def fill(token: str, pieces: Sequence[Piece], whole: bool) -> None:
    """Write pieces of files into a room; `whole` says that these are the last.

    Raises:
        KeyError: there is no such room.
        NoRoom: they cannot be written.
    """
    _rooms[token].fill(pieces, whole=whole)


def collect(token: str, offset: int, known: str) -> Collected:
    """Return a piece of what is in a run's files, one behind the other.

    At offset 0 the run is taken as it is now; later pieces are of the same.

    Args:
        token: of the room.
        offset: where the piece begins.
        known: the state of the run that the driver has; if that is the state now, there are no files.

    Raises:
        KeyError: there is no such room.
        NoRoom: it cannot be read, or a copy of it cannot be written.
    """
    room = _rooms[token]
    try:
        return room.collect(offset, known)
    except OSError as error:
        raise NoRoom(f"{error.filename or room.folder} cannot be read or written ({error.strerror or error})") from None


def dismiss(token: str) -> None:
    """Let the task of a room end, as its run is in the driver's store."""
    _rooms[token].dismiss()


def here(connection: Connection, todo: bytes, root: str, data_dir: str | None) -> Last:
    """Do, in a process of a slot, what the driver ordered, with the runs and the data that are here."""
    call: Call = pickle.loads(todo)
    place = Place(Path(root), data_dir)
    return call.function(connection, *(place if isinstance(one, Place) else one for one in call.arguments))
