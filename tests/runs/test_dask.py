"""Sweeps on Dask, without a scheduler: what is refused, how tasks end, and what a slot does."""

import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_slots import die, known_data, name_process
from support import PLUGINS, Result, user_names

from harness.errors import BadInput, RunFailed
from harness.runs import dask, dask_worker, local
from harness.runs.dask_worker import Death, Package
from harness.runs.jobs import Ended, Job, Place
from harness.runs.pool import Call, Died, Slot
from harness.runs.runner import ensure, fail, resume
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

EXPERIMENT = f'[base]\ndataset = "{toy.__file__}"\nnz = 2\nsamples = 400\n[[grid]]\nalgo = "aevb"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An experiment of a run."""
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    return tmp_path / "mine.toml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


# -- what is refused


@pytest.mark.parametrize(
    ("address", "warned", "what"),
    [
        ("dask://192.0.2.1:8786", True, "start one with `dask scheduler`"),
        ("dask://127.0.0.1:1", False, "start one with `dask scheduler`"),
        ("tls://192.0.2.1:8786", False, "name its certificates in Dask's settings"),
    ],
)
def test_a_scheduler_that_is_not_there_is_told(
    address: str, warned: bool, what: str, harness: Harness, store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that others could read is warned of: neither on this machine nor TLS."""
    pytest.importorskip("distributed")
    assert dask.REACH_SECONDS < 10
    monkeypatch.setattr(dask, "REACH_SECONDS", 0.2)
    done = harness("sweep", path, "--on", address)
    assert (done.code, done.err.count("\n")) == (2, 1 + warned), done.err
    assert f"there is no Dask scheduler to be reached at {address} (" in done.err
    assert done.err.endswith(f"): {what}\n")
    assert (f"warning: the connection to {address} is not encrypted" in done.err) == warned
    assert not store.root.exists()


def test_without_the_package_the_extra_is_named(harness: Harness, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = harness("sweep", path, "--on", "dask://127.0.0.1:8786")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the package distributed is not installed: pip install 'inference-harness[dask]'" in done.err


def test_other_versions_are_refused_naming_both(store: Store) -> None:
    with dask.seen_by_workers(store) as probe:
        own = dask_worker.versions()
        assert dask_worker.unfit(own, str(probe)) is None
        assert list(own) == ["harness", "Python", "torch", "numpy"]
        for name, version in own.items():
            why = dask_worker.unfit(own | {name: "other"}, str(probe))
            assert str(why).startswith(f"has {name} {version}, and here it is other: install the same on both")


def test_a_worker_says_that_it_does_not_see_the_store(store: Store) -> None:
    with dask.seen_by_workers(store) as probe:
        pass
    why = dask_worker.unfit({}, str(probe))
    assert str(why).startswith(
        f"cannot see the store {str(store.root)!r}: put it on a file system that all workers share"
    )
    assert not store.root.exists(), "nothing is left where no run was made"


def test_what_a_killed_command_has_left_in_the_store_goes_in_the_end(store: Store) -> None:
    store.root.mkdir()
    old, new = (store.root / f"{dask.PROBE}{name}" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    with dask.seen_by_workers(store) as probe:
        assert set(store.root.iterdir()) == {new, probe}
    assert store.root.exists()


@pytest.mark.parametrize(
    ("address", "local"),
    [("tcp://127.0.0.1:1", True), ("tcp://localhost:1", True), ("tcp://[::1]:1", True), ("tcp://10.0.0.1:1", False),
     ("tcp://far.away:1", False)],
)  # fmt: skip
def test_what_is_local_needs_no_tls(address: str, local: bool) -> None:
    assert dask.is_local(address) == local


# -- how tasks end


def future(status: str, error: Exception | None = None) -> Any:
    def ended(timeout: float) -> Exception | None:
        if status == "finished" and error:
            raise error
        return error

    return SimpleNamespace(status=status, result=ended, exception=ended)


@pytest.mark.parametrize("connection", ["running", "connecting", "closed"])
@pytest.mark.parametrize(
    ("status", "error"), [("lost", None), ("cancelled", None), ("finished", CancelledError()), ("error", OSError())]
)
def test_a_lost_task_is_not_taken_for_a_lost_scheduler(
    status: str, error: Exception | None, connection: str, store: Store
) -> None:
    pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status=connection), address="dask://here:1")
    if connection == "running":
        found = executor._result(future(status, error))
        assert found.how.startswith("was lost by Dask")
        assert not found.by_itself
    else:
        with pytest.raises(RunFailed, match="the Dask scheduler dask://here:1 is gone, nothing is lost"):
            executor._result(future(status, error))


def test_a_result_that_has_not_come_yet_is_asked_for_again(store: Store) -> None:
    pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status="running"))
    assert executor._result(future("finished", TimeoutError())) is None


def test_deaths_that_the_scheduler_counted_are_not_the_runs_own(store: Store) -> None:
    distributed = pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status="running"))
    error = distributed.KilledWorker("task", SimpleNamespace(clean=lambda: "worker"), 3)
    found = executor._result(future("error", error))
    assert found == Death("was on Dask workers that died, as often as their scheduler allows")
    job = Job(tiny_spec("aevb"), Budget(samples=400), "mine")
    assert executor._ended(found, job, lambda how: how) == found.how
    assert not job.stored(store).exists()


def test_a_worker_that_came_later_and_cannot_be_used_ends_the_sweep(store: Store) -> None:
    pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status="running"))
    with pytest.raises(BadInput, match="the Dask worker tcp://a:1 has torch 1"):
        executor._result(future("error", dask_worker.Unfit("the Dask worker tcp://a:1 has torch 1")))


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_kills_its_process_is_stored_as_failed(store: Store, begun: bool) -> None:
    spec, budget = tiny_spec("aevb"), Budget(samples=400)
    job = Job(spec, budget, "mine")
    if begun:
        ensure(store, spec, budget, group="mine")
    death = Death("was killed by SIGKILL, 3 times", by_itself=True)
    ended = dask.DaskExecutor(store, 1)._ended(death, job, lambda how: how)
    run = job.stored(store)
    record = run.read()
    assert (record.status, record.reason) == ("failed", "its process was killed by SIGKILL, 3 times")
    assert ended.status == "failed"
    assert f"harness resume {run.id}" in str(ended.reason)
    assert not run.owned()
    assert list(store.damage()) == []


@pytest.mark.parametrize("after", [1, 2])
def test_what_a_run_wrote_before_it_killed_its_process_is_not_taken_for_damage(
    after: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first rows are there with a checkpoint or without one, and more than its record knows."""
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0" if after > 1 else "60")
    spec, budget = tiny_spec("aevb"), Budget(samples=4000)

    class Killed(BaseException):
        pass

    rows = 0

    def watch(training: object, event: object) -> None:
        nonlocal rows
        rows += not isinstance(event, str)
        if rows > after:
            raise Killed

    with pytest.raises(Killed):
        ensure(store, spec, budget, group="mine", watch=watch)
    run = store.run(spec.run_id, "mine")
    assert (run.path / "trace.jsonl").read_bytes().count(b"\n") == after + 1
    fail(run, spec, budget, "its process was killed")
    assert list(store.damage()) == []
    assert len(run.rows()) == (after if after > 1 else 0)
    assert resume(run).status == "done"


# -- a slot


def tiny_spec(algorithm: str) -> RunSpec:
    return make_spec(algorithm, toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 40}, first_mark=100)


def do(slot: Slot, call: Call, *names: Path | str, stopped: bool = False) -> Any:
    return slot.do(pickle.dumps(call), names, lambda fraction: None, lambda: stopped)


def test_a_plugin_file_travels_with_the_modules_beside_it(tmp_path: Path) -> None:
    package = Package("mine.py", "abc", {"mine.py": b"import beside", "beside.py": b"A = 1"})
    path = dask_worker.unpacked(package, tmp_path)
    assert path.read_bytes() == b"import beside"
    assert path.with_name("beside.py").read_bytes() == b"A = 1"
    assert dask_worker.unpacked(package, tmp_path) == path
    assert len(list(path.parent.parent.iterdir())) == 1


def test_a_slot_runs_a_plugin_file_that_lies_elsewhere_than_where_it_was_specified(
    store: Store, tmp_path: Path
) -> None:
    """Its path is the driver's; here there is what was unpacked."""
    path = tmp_path / "renyi.py"
    path.write_bytes((PLUGINS / "renyi.py").read_bytes())
    job = Job(tiny_spec(user_names(path)), Budget(samples=400), "mine")
    *_, package = dask._packages()
    named.forget()
    path.unlink()
    ended = do(
        Slot(), Call(local._run_job, (Place(store.root, None), job)), dask_worker.unpacked(package, tmp_path / "worker")
    )
    assert ended == Ended("done")
    assert job.stored(store).read().spec["algorithm"]["file"] == str(path)


def test_a_slot_knows_the_data_files_that_the_driver_was_told(tmp_path: Path) -> None:
    slot, data = Slot(), str(tmp_path / "data.npz")
    Path(data).touch()
    assert do(slot, Call(known_data, ())) == ()
    assert do(slot, Call(known_data, ()), data) == (data,)
    assert do(slot, Call(known_data, ())) == ()


def test_a_slot_keeps_its_process_until_it_dies_or_is_stopped() -> None:
    slot = Slot()
    first = do(slot, Call(name_process, ()))
    assert do(slot, Call(name_process, ())) == first != os.getpid()
    with pytest.raises(Died, match="was killed by SIGKILL"):
        do(slot, Call(die, ()))
    with pytest.raises(Died, match="was killed by SIGTERM"):
        do(slot, Call(name_process, (60.0,)), stopped=True)
    assert do(slot, Call(name_process, ())) != first
