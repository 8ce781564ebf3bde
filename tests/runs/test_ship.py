"""Runs and data that travel, without a scheduler: what is sent and fetched, what is refused, and what a kill leaves."""

import os
import pickle
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from support import Result, traces

from harness.errors import BadInput, Busy, HarnessError, RunFailed, StoreTrouble
from harness.files import seal, unseal
from harness.runs import local, machine, ship, ship_data, ship_worker
from harness.runs.jobs import Ended, Job, Place
from harness.runs.pool import Call
from harness.runs.runner import ensure
from harness.runs.ship import Courier
from harness.sharing.union import require_sound
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store import parcel
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

ADDRESS = "tcp://there:1"


def job(samples: float = 400, dataset: str = toy.__file__, **settings: Any) -> Job:
    spec = make_spec(
        "aevb", dataset, settings={"nz": 2, "hidden": 5, "batch_size": 40, **settings}, first_mark=100, points=20
    )
    return Job(spec, Budget(samples=samples), "mine")


class Client:
    """Calls the functions of a worker in this process; `changed` may change what they return."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.changed: Callable[[str, Any], Any] = lambda name, found: found

    def run(self, function: Callable[..., Any], *arguments: Any, workers: list[str], on_error: str) -> dict[str, Any]:
        self.calls.append(function.__name__)
        try:
            found = function(*pickle.loads(pickle.dumps(arguments)))
            return {workers[0]: self.changed(function.__name__, found)}
        except Exception as error:
            return {workers[0]: error}


class Ship:
    """A courier, and a worker that it serves."""

    def __init__(self, store: Store, scratch: Path, most: int = 10**9):
        self.store, self.scratch, self.client = store, scratch / "worker-1", Client()
        self.events: SimpleQueue[Any] = SimpleQueue()
        self.courier = Courier(self.client, store, None, most, self.events)

    def make(self, one: Job, during: Callable[[ship_worker.Room], None] = lambda room: None) -> Any:
        """Make a run in a room, and return how that ended, or what went wrong with what came back."""
        todo = Call(local._run_job, (Place(self.store.root, None), one))
        shipment = self.courier.send("key", todo, one)
        wrong: list[HarnessError] = []

        def gone() -> bool:
            if not self.events.empty():
                wrong.append(self.events.get()[1])
            return bool(wrong)

        hear = self.courier.hear
        try:
            with ship_worker.opened(shipment, self.scratch, ADDRESS, lambda *words: hear("key", words)) as room:
                ended = room.furnish(gone)
                if ended is None:
                    during(room)
                    call = pickle.loads(room.call(pickle.dumps(todo)))
                    ended = call.function(SimpleNamespace(send=lambda message: None), *call.arguments).result
                    ended = room.hand_over(ended, gone)
        finally:
            self.courier.back("key")
        assert list(self.scratch.iterdir()) == []
        return wrong[0] if wrong else ended


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs begin without the calibration of the machine, which takes longer than they do."""
    monkeypatch.setattr(machine, "calibrate", lambda: 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def shipping(store: Store, tmp_path: Path) -> Iterator[Ship]:
    one = Ship(store, tmp_path)
    yield one
    one.courier.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    named.forget()  # those of other tests, with the same content
    path = tmp_path / "mine.csv"
    path.write_text("a,b\n" + "".join(f"{i % 7 / 7},{i % 5 / 5}\n" for i in range(100)))
    return path


def require_clean(store: Store) -> None:
    assert list(store.damage()) == []
    assert [path.name for path in store.root.rglob("*") if path.name.startswith((".", "owner"))] == []


# -- runs


def test_a_run_travels_and_goes_on_where_it_was_saved(store: Store, shipping: Ship, tmp_path: Path) -> None:
    here = Store(tmp_path / "local")
    for samples, status in ((400, "done"), (400, "already"), (4000, "done")):
        assert shipping.make(job(samples)) == Ended(status)
        ensure(here, job(samples).spec, job(samples).budget, group="mine")
        assert traces(store, "mine") == traces(here, "mine")
    record = job().stored(store).read()
    assert [session["samples"] for session in record.provenance] == [0, 400]
    assert record.ledger["samples"] == 4000
    require_clean(store)


def test_it_travels_in_as_many_pieces_as_it_takes(
    store: Store, shipping: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "PIECE", 1000)
    monkeypatch.setattr(ship_worker, "PIECE", 1000)
    shipping.make(job())
    assert shipping.make(job(4000)) == Ended("done")
    assert shipping.client.calls.count("collect") > 5
    assert shipping.client.calls.count("fill") > 5
    require_clean(store)


def test_the_run_is_owned_while_it_is_out(store: Store, shipping: Ship) -> None:
    def look(room: object) -> None:
        assert job().stored(store).owned()
        with pytest.raises(Busy):
            shipping.courier.send("other", Call(local._run_job, ()), job())

    assert shipping.make(job(), look) == Ended("done")
    assert not job().stored(store).owned()


def test_what_comes_back_is_not_written_over_what_another_owner_has(store: Store, shipping: Ship) -> None:
    """As where the driver was suspended for so long that it was taken for dead."""

    def take_over(room: object) -> None:
        run = job().stored(store)
        (run.path / "owner.json").unlink()
        (run.path / "owner.lock").unlink()
        ensure(store, job().spec, Budget(samples=100), group="mine")

    wrong = shipping.make(job(), take_over)
    assert isinstance(wrong, Busy)
    assert job().stored(store).read().ledger["samples"] == 120
    require_clean(store)


def test_checkpoints_travel_while_the_run_is_under_way(
    store: Store, shipping: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is fetched is a run that could go on, each time; the store has it at once."""
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    run, seen = job().stored(store), []
    write = Run.write

    def follow(room: ship_worker.Room) -> None:
        def written(self: Run, record: Any) -> None:
            write(self, record)
            if self.path != run.path and threading.current_thread() is threading.main_thread():
                room.look()
                end = time.monotonic() + 20
                while room._waits or shipping.courier._out["key"].lock.locked():
                    assert time.monotonic() < end
                    time.sleep(0.005)
                if run.exists():
                    seen.append(run.read().ledger.get("samples", 0))
                    assert run.damage() == []

        monkeypatch.setattr(Run, "write", written)

    assert shipping.make(job(2000), follow) == Ended("done")
    assert len({*seen}) > 3
    assert seen == sorted(seen)


def test_a_checkpoint_that_was_not_fetched_is_told_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a worker could not be reached for a moment."""
    told: list[Any] = []
    room = ship_worker.Room(
        ship_worker.Shipment("mine/run", "store", None), tmp_path, ADDRESS, lambda *words: told.append(words)
    )
    room.look()
    path = room.folder / ship_worker.STORE / "mine" / "run" / "checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    for _ in range(3):
        room.look()
    assert told == [("checkpoint",)]
    monkeypatch.setattr(ship_worker, "AGAIN_SECONDS", 0.0)
    room.look()
    assert told == [("checkpoint",)] * 2
    room.collect(0, "")
    room.look()
    assert told == [("checkpoint",)] * 2


def test_more_than_may_travel_is_told_with_its_size(store: Store, tmp_path: Path) -> None:
    small = Ship(store, tmp_path, 3000)
    wrong = small.make(job())
    small.courier.close()
    assert isinstance(wrong, RunFailed)
    said = (
        r"run aevb-toy-nz2-s0-\w+ takes 0\.0 MB, and --ship-limit is 0: give a larger one, and the same command goes on"
    )
    assert re.fullmatch(said, str(wrong))
    assert list(store.runs()) == []


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "trace.jsonl", "run.json"])
def test_what_came_back_damaged_is_not_taken(name: str, store: Store, shipping: Ship) -> None:
    shipping.make(job())
    before = {path: path.read_bytes() for path in job().stored(store).path.iterdir()}

    def changed(function: str, found: Any) -> Any:
        if function != "collect" or not found.sizes:
            return found
        at, content = 0, bytearray(found.piece)
        for one, size in found.sizes.items():
            if one == name:
                content[at + size // 2] ^= 4
            at += size
        return found._replace(piece=bytes(content))

    shipping.client.changed = changed
    wrong = shipping.make(one := job(4000))
    assert isinstance(wrong, BadInput)
    assert str(wrong).startswith(
        f"what came back of run {one.spec.run_id} from the Dask worker {ADDRESS} is not sound ("
    )
    assert str(wrong).endswith("): nothing of it was stored")
    assert {path: path.read_bytes() for path in job().stored(store).path.iterdir()} == before
    require_clean(store)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"run.json": 5, "../../evil": 5}, "has '../../evil', which is no file of a run"),
        ({"run.json": 5, "evaluations.json": 5}, "has 'evaluations.json', which is no file of a run"),
        ({"run.json": 5, "trace.jsonl": 2**40}, "and --ship-limit is 1,000"),
        ({"run.json": 5}, "is not sound ("),
    ],
)
def test_only_files_of_a_run_come_in(sizes: dict[str, int], said: str, store: Store, shipping: Ship) -> None:
    sent: list[int] = []

    def once(function: str, found: Any) -> Any:
        if function == "collect":
            sent.append(1)
            return found._replace(sizes=sizes, piece=b"0" * 10 if len(sent) == 1 else b"")
        return found

    shipping.client.changed = once
    wrong = shipping.make(job())
    assert isinstance(wrong, HarnessError)
    assert said in str(wrong)
    assert list(store.runs()) == []
    require_clean(store)


def test_what_a_worker_says_in_a_way_of_its_own_is_no_hang(store: Store, shipping: Ship) -> None:
    shipping.client.changed = lambda function, found: "nonsense" if function == "collect" else found
    wrong = shipping.make(job())
    assert str(wrong).startswith(f"what the Dask worker {ADDRESS} said was not understood (")
    assert list(store.runs()) == []


def test_a_room_that_was_given_up_is_not_heard_any_more(store: Store, shipping: Ship) -> None:
    """As that of a worker that was cut off, after another has begun."""

    def again(room: ship_worker.Room) -> None:
        shipping.courier._out["key"].rooms.insert(0, "other")
        shipping.courier.hear("key", ("begins", ADDRESS, "other", False))
        shipping.courier.hear("key", ("checkpoint", ADDRESS, "other"))

    assert shipping.make(job(), again) == Ended("done")
    assert shipping.client.calls == ["fill", "collect", "dismiss"]
    require_clean(store)


def test_another_run_is_not_taken(store: Store, shipping: Ship) -> None:
    other = job(hidden=6)
    ensure(store, other.spec, other.budget, group="others")
    content = (other.stored(store).path.parent.parent / "others" / other.spec.run_id / "run.json").read_bytes()
    forged = seal({**unseal(content), "run": job().spec.run_id})

    def changed(function: str, found: Any) -> Any:
        if function != "collect":
            return found
        return found._replace(sizes={"run.json": len(forged)}, piece=forged)

    shipping.client.changed = changed
    wrong = shipping.make(job())
    assert isinstance(wrong, BadInput)
    assert not job().stored(store).exists()


def test_whenever_the_process_dies_the_run_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer run is put into the place of one that was interrupted, one step less each time."""
    one, longer = Store(tmp_path / "one"), Store(tmp_path / "longer")
    spec, run_of = job().spec, job().stored
    ensure(one, spec, Budget(samples=400), group="mine")
    shutil.copytree(one.root, longer.root)
    ensure(longer, spec, Budget(samples=2000), group="mine")

    class Killed(BaseException):
        pass

    steps = 0
    for allowed in range(50):
        store = Store(tmp_path / f"store-{allowed}")
        for of, to in ((one, run_of(store).path), (longer, tmp_path / f"in-{allowed}" / spec.run_id)):
            shutil.copytree(run_of(of).path, to)
        steps, replace = 0, os.replace

        def counted(*paths: Any, replace: Any = replace, allowed: int = allowed) -> None:
            nonlocal steps
            steps += 1
            if steps > allowed:
                raise Killed
            replace(*paths)

        run, incoming = run_of(store), Run(tmp_path / f"in-{allowed}" / spec.run_id)
        record = require_sound(incoming, under_way=True)
        run.claim()
        try:
            with monkeypatch.context() as patched:
                patched.setattr(os, "replace", counted)
                parcel.take(run, incoming, record)
        except Killed:
            run.release()
            assert run.damage() == []
            ensure(store, spec, Budget(samples=2000), group="mine")
            assert traces(store, "mine") == traces(longer, "mine")
            continue
        run.release()
        assert traces(store, "mine") == traces(longer, "mine")
        break
    assert allowed == steps > 3


def test_what_does_not_go_on_from_here_is_not_taken(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    for store in (one, other):
        ensure(store, job().spec, Budget(samples=400), group="mine")  # with other times
    run = job().stored(one)
    before = (run.path / "trace.jsonl").read_bytes()
    run.claim()
    incoming = job().stored(other)
    with pytest.raises(BadInput, match="does not go on from its checkpoint here"):
        parcel.take(run, incoming, incoming.read())
    run.release()
    assert (run.path / "trace.jsonl").read_bytes() == before
    require_clean(one)


def test_what_is_frozen_stays_as_it_is_when_the_run_goes_on(store: Store, tmp_path: Path) -> None:
    ensure(store, job().spec, Budget(samples=400), group="mine")
    run, frozen = job().stored(store), tmp_path / "frozen"
    sizes = parcel.freeze(run, frozen)
    before = {path.name: path.read_bytes() for path in frozen.iterdir()}
    assert sizes == {name: len(content) for name, content in before.items()}
    ensure(store, job().spec, Budget(samples=2000), group="mine")
    assert {path.name: path.read_bytes() for path in frozen.iterdir()} == before
    assert (run.path / "trace.jsonl").read_bytes() != before["trace.jsonl"]


# -- disks


def test_a_full_disk_at_the_worker_is_its_own(shipping: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    shipping.make(job())

    def full(self: object, *more: object, **named: object) -> None:
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(ship_worker.Room, "_write", full)
    ended = shipping.make(job(4000))
    said = "on the Dask worker tcp://there:1, there cannot be written (No space left on device): make room there, or mend it"
    assert isinstance(ended, StoreTrouble | Ended)
    assert said in str(ended)
    if isinstance(ended, Ended):
        assert ended.status == "unwritable"


def test_a_full_disk_at_the_worker_before_anything_is_there(
    data: Path, shipping: Ship, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> Any:
        raise OSError(28, "No space left on device", "there")

    monkeypatch.setattr(ship_data.Data, "is_here", lambda self: False)
    monkeypatch.setattr(ship_worker, "_alone", full)
    said = "on the Dask worker tcp://there:1, there cannot be written (No space left on device): make room there, or mend it"
    assert shipping.make(job(400, str(data), kind="real")) == Ended("unwritable", said)


def test_a_full_disk_here_is_told_as_the_stores(shipping: Ship, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "/here/trace.jsonl")

    monkeypatch.setattr(parcel, "take", full)
    wrong = shipping.make(job())
    assert isinstance(wrong, StoreTrouble)
    assert str(wrong).startswith("/here/trace.jsonl cannot be read or written (No space left on device): make room")


# -- data


def test_own_data_are_sent_once_to_a_machine_that_lacks_them(
    data: Path, store: Store, shipping: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(400, str(data), kind="real", nz=nz) for nz in (2, 3)]
    for one in jobs:
        assert shipping.make(one) == Ended("done")
    assert not (tmp_path / ship_worker.DATA).exists(), "they are here"
    monkeypatch.setattr(ship_data.Data, "is_here", lambda self: False)
    for one in jobs:
        assert shipping.make(one._replace(group="others")) == Ended("done")
    (kept,) = (tmp_path / ship_worker.DATA).glob("*/0/mine.csv")
    assert kept.read_bytes() == data.read_bytes()
    assert kept.parents[2].stat().st_mode & 0o077 == 0, "others do not see them"
    assert shipping.client.calls.count("fill") == 5, "four runs, and the data once"


def test_data_that_came_with_other_content_are_not_used(
    data: Path, shipping: Ship, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_data.Data, "is_here", lambda self: False)
    one = job(400, str(data), kind="real")
    assert shipping.courier._data(one.spec) is not None
    data.write_text(data.read_text() + "1,1\n")
    ended = shipping.make(one)
    assert ended.status == "unwritable"
    assert "data of dataset 'mine.csv' came with another content" in ended.reason
    assert not list((tmp_path / ship_worker.DATA).glob("*/0"))


def test_data_that_are_larger_than_may_travel_are_told_with_their_size(
    data: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_data.Data, "is_here", lambda self: False)
    small = Ship(store, tmp_path, 1000)
    wrong = small.make(job(400, str(data), kind="real"))
    small.courier.close()
    assert "dataset 'mine.csv' takes 0.0 MB, and --ship-limit is 0: give a larger one, or put its files where" in str(
        wrong
    )


def test_files_that_a_dataset_reads_are_found_and_none_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", "")
    spec = make_spec("aevb", "debd", settings={"set": "mine", "nz": 2})
    assert ship_data.data_of(spec, None) is None
    for part in ("train", "valid", "test"):
        (tmp_path / "debd").mkdir(exist_ok=True)
        (tmp_path / "debd" / f"mine.{part}.data").write_text("0,1,1\n1,0,0\n")
    found = ship_data.data_of(spec, str(tmp_path))
    assert found is not None
    assert [part.name for part in found.parts] == [f"debd/mine.{part}.data" for part in ("test", "train", "valid")]
    assert found.is_in(tmp_path)
    assert not found.is_here()
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert found.is_here()
    (tmp_path / "debd" / "mine.test.data").write_text("0,0,1\n")
    assert not found.is_here()


def test_toy_data_need_no_file() -> None:
    assert ship_data.data_of(job().spec, None) is None


# -- the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ship"], "--ship is for --on dask://HOST:PORT, and --on is 'local': leave out one"),
        (["--ship", "--on", "slurm"], "--ship is for --on dask://HOST:PORT, and --on is 'slurm': leave out one"),
        (["--ship-limit", "5"], "--ship-limit is for --on dask://HOST:PORT, and --on is 'local': leave out one"),
        (
            ["--ship-limit", "5", "--on", "dask://127.0.0.1:1"],
            "--ship-limit is 5, and nothing travels without --ship: give that, too, or leave it out",
        ),
        (["--ship", "--ship-limit", "0", "--on", "dask://127.0.0.1:1"], "give a whole number from 1"),
        (["--jobs", "2", "--on", "dask://127.0.0.1:1"], "--jobs is 2, and on Dask the threads of its workers say"),
    ],
)
@pytest.mark.parametrize("command", ["sweep", "tune", "check"])
def test_what_does_not_go_together_is_told(
    command: str, words: list[str], said: str, harness: Harness, store: Store
) -> None:
    what = {"sweep": ["figure2"], "tune": ["--algo", "aevb"], "check": ["paper"]}[command]
    done = harness(command, *what, *words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert said in done.err
    assert not store.root.exists()
