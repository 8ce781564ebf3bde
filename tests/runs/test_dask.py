"""Sweeps on Dask: a scheduler and two workers that were started by their own commands, connected to by address."""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from support import PLUGINS, Result, environment, kill, processes, user_names, what_was_learned

from harness.errors import BadInput, RunFailed
from harness.runs import dask, local
from harness.runs.jobs import Job
from harness.runs.pool import Call, Died, Last, Slot
from harness.runs.runner import ensure
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

EXPERIMENT = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 40
samples = SAMPLES
"""
GRID = """
[[grid]]
algo = ["aevb", "wake-sleep"]
warmup = 5
lr = 0.02
threads = [1, 2]
"""


def write(folder: Path, grid: str = GRID, samples: float = 20_000) -> Path:
    path = folder / "mine.toml"
    path.write_text(EXPERIMENT.replace("SAMPLES", str(samples)) + grid)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


# -- what is refused


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_scheduler_that_is_not_there_is_told(harness: Harness, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    address = f"dask://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    done = harness("sweep", write(tmp_path), "--on", address)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert f"there is no Dask scheduler to be reached at {address}" in done.err
    assert dask.REACH_SECONDS < 10
    assert time.monotonic() - begun < 60
    assert not store.root.exists()


def test_without_the_package_the_extra_is_named(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = harness("sweep", write(tmp_path), "--on", "dask://127.0.0.1:8786")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the package distributed is not installed: pip install 'inference-harness[dask]'" in done.err


@pytest.mark.parametrize("name", ["harness", "torch", "numpy"])
def test_other_versions_are_refused_naming_both(name: str) -> None:
    here = {"harness": "0.1.0 (abc)", "torch": "2.13.0", "numpy": "2.4.6"}
    dask._require_versions(here, dict(here), "tcp://10.0.0.1:1")
    said = rf"the Dask worker tcp://10.0.0.1:1 has {name} other, and here it is {re.escape(here[name])}: install"
    with pytest.raises(BadInput, match=said):
        dask._require_versions(here, here | {name: "other"}, "tcp://10.0.0.1:1")


@pytest.mark.parametrize(
    ("address", "local"),
    [("tcp://127.0.0.1:1", True), ("tcp://localhost:1", True), ("tcp://[::1]:1", True), ("tcp://10.0.0.1:1", False),
     ("tcp://far.away:1", False)],
)  # fmt: skip
def test_what_is_local_needs_no_tls(address: str, local: bool) -> None:
    assert dask._is_local(address) == local


def test_a_worker_that_does_not_see_the_store_says_so(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    assert dask._sees(str(tmp_path / "probe")) is None
    assert (
        dask._sees(str(tmp_path / "elsewhere" / "probe")) == f"does not see the store {str(tmp_path / 'elsewhere')!r}"
    )


def test_a_plugin_file_travels_with_the_modules_beside_it(tmp_path: Path) -> None:
    package = dask._Package("mine.py", "abc", {"mine.py": b"import beside", "beside.py": b"A = 1"})
    path = dask._unpacked(package, tmp_path)
    assert path.read_bytes() == b"import beside"
    assert path.with_name("beside.py").read_bytes() == b"A = 1"
    assert dask._unpacked(package, tmp_path) == path
    assert len(list(path.parent.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("status", "connection", "said"),
    [("lost", "running", None), ("pending", "running", None), ("cancelled", "running", None),
     ("cancelled", "connecting", "is gone, nothing is lost"), ("cancelled", "closed", "is gone, nothing is lost")],
)  # fmt: skip
def test_a_lost_task_is_not_taken_for_a_lost_scheduler(
    status: str, connection: str, said: str | None, store: Store
) -> None:
    pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status=connection), address="dask://here:1")
    future = SimpleNamespace(status=status, cancel=lambda: None)
    if said is None:
        assert executor._result(future, stopping=False) == dask._Death("was lost by Dask")
    else:
        with pytest.raises(RunFailed, match=said):
            executor._result(future, stopping=False)


def test_deaths_that_the_scheduler_counted_are_not_the_runs_own(store: Store) -> None:
    distributed = pytest.importorskip("distributed")
    executor = dask.DaskExecutor(store, 1, client=SimpleNamespace(status="running"), address="dask://here:1")
    error = distributed.KilledWorker("task", SimpleNamespace(clean=lambda: "worker"), 3)
    found = executor._result(SimpleNamespace(status="error", exception=lambda: error), stopping=False)
    assert isinstance(found, dask._Death)
    assert not found.own


# -- a slot


def tiny_spec(algorithm: str) -> RunSpec:
    return make_spec(
        algorithm, toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 40}, first_mark=100
    )


def test_a_slot_runs_a_plugin_file_that_lies_elsewhere_than_where_it_was_specified(
    store: Store, tmp_path: Path
) -> None:
    """Its path is the driver's; here there is what was unpacked. Then the driver stores that the run failed."""
    path = tmp_path / "renyi.py"
    path.write_bytes((PLUGINS / "renyi.py").read_bytes())
    spec, budget = tiny_spec(user_names(path)), Budget(samples=400)
    packages = dask._packages()
    named.forget()
    path.unlink()
    job, slot, names = Job(spec, budget, "mine"), Slot(), dask._unpacked(packages[-1], tmp_path / "worker")
    ended = slot.do(Call(local._run_job, (store.root, job, None)), (names,), lambda fraction: None, lambda: False)
    assert ended == local.Ended("done")
    assert job.stored(store).read().spec["algorithm"]["file"] == str(path)


def test_a_slot_knows_the_data_files_that_the_driver_was_told(tmp_path: Path) -> None:
    slot, data = Slot(), str(tmp_path / "data.npz")
    Path(data).touch()

    def know(*names: str) -> object:
        return slot.do(Call(known_data, ()), names, lambda fraction: None, lambda: False)

    assert know() == ()
    assert know(data) == (data,)
    assert know() == ()


def known_data(connection: object) -> Last:
    return Last(named.data(), True)


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_that_kills_its_process_is_stored_as_failed(store: Store, begun: bool) -> None:
    spec, budget = tiny_spec("aevb"), Budget(samples=400)
    job = Job(spec, budget, "mine")
    if begun:
        ensure(store, spec, budget, group="mine")
    ended = dask.DaskExecutor(store, 1)._fail(job, "its process was killed by SIGKILL, 3 times")
    run = job.stored(store)
    record = run.read()
    assert (record.status, record.reason) == ("failed", "its process was killed by SIGKILL, 3 times")
    assert ended.status == "failed"
    assert f"harness resume {run.id}" in str(ended.reason)
    assert not run.owned()
    assert list(store.damage()) == []


def name_process(connection: object, wait: float = 0.0) -> Last:
    time.sleep(wait)
    return Last(os.getpid(), True)


def die(connection: object) -> Last:
    os.kill(os.getpid(), 9)
    raise AssertionError


def test_a_slot_keeps_its_process_until_it_dies_or_is_stopped() -> None:
    slot = Slot()

    def do(function: Callable[..., Last], *arguments: object, stopped: bool = False) -> int:
        found: int = slot.do(Call(function, arguments), (), lambda fraction: None, lambda: stopped)
        return found

    first = do(name_process)
    assert do(name_process) == first != os.getpid()
    with pytest.raises(Died, match="was killed by SIGKILL"):
        do(die)
    with pytest.raises(Died, match="was killed by SIGTERM"):
        do(name_process, 60.0, stopped=True)
    assert do(name_process) != first


# -- a scheduler and two workers


class Cluster(NamedTuple):
    """A scheduler's address, and its processes and those of its workers."""

    address: str
    processes: "dict[str, subprocess.Popen[bytes]]"
    marker: bytes

    @property
    def on(self) -> str:
        return self.address.replace("tcp://", "dask://")

    def start_worker(self, name: str, **env: str) -> None:
        words = ["worker", self.address, "--name", name, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        self._start(name, *words, "--local-directory", str(Path(env.pop("folder"))), **env)

    def start_scheduler(self) -> None:
        self._start(
            "scheduler", "scheduler", "--port", self.address.rpartition(":")[2], "--host", "127.0.0.1", "--no-dashboard"
        )

    def _start(self, name: str, *words: str, **env: str) -> None:
        mark = self.marker.decode().partition("=")
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-P", "-m", "dask", *words], env=environment(**{mark[0]: mark[2]}, **env),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    folder = str(tmp_path_factory.mktemp("dask"))
    one = Cluster(f"tcp://127.0.0.1:{free_port()}", {}, f"HARNESS_TEST_MARK={random.random()}".encode())
    try:
        one.start_scheduler()
        for name in ("one", "two"):
            one.start_worker(name, folder=folder)
        from distributed import Client

        with contextlib.closing(Client(one.address, timeout=120, set_as_default=False)) as client:
            client.wait_for_workers(2, timeout=120)
        yield one
    finally:
        kill(processes(one.marker))
        for process in one.processes.values():
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_dask_makes_the_runs_that_this_machine_makes(
    harness: Harness, store: Store, cluster: Cluster, tmp_path: Path
) -> None:
    """With one and two threads a run, with a plugin file, and with one that kills its process each time."""
    deadly = tmp_path / "deadly.py"
    before, step, after = (PLUGINS / "renyi.py").read_text().partition("    q = state")
    deadly.write_text(f"{before}    import os; os.kill(os.getpid(), 9)\n{step}{after}")
    plugins = f'[[grid]]\nalgo = ["{PLUGINS / "renyi.py"}", "{deadly}"]\n'
    path = write(tmp_path, GRID + plugins)
    done = harness("sweep", path, "--on", cluster.on)
    assert done.code == 3, done.err
    head, reason = done.out.splitlines()[:2]
    assert head == "mine: 5 done, 1 failed"
    assert "failed: its process was killed by SIGKILL, 3 times; go on with `harness resume deadly-" in reason
    failed = [run.read() for run in store.runs("mine") if run.read().status == "failed"]
    assert [record.reason for record in failed] == ["its process was killed by SIGKILL, 3 times"]
    assert done.err.count(": done\n") == 5

    others = tmp_path / "local"
    assert harness("sweep", path, "--results", others).code == 3
    found, expected = (
        {run.id: run.content()[1] for run in one.runs("mine") if run.read().status == "done"}
        for one in (store, Store(others))
    )
    for rows in (*found.values(), *expected.values()):
        for row in rows:
            row["ledger"] = {name: n for name, n in row["ledger"].items() if not name.endswith("seconds")}
    assert len(found) == 5
    assert found == expected
    threads = {run.read().spec["threads"]: run.read().provenance[-1]["threads"] for run in store.runs("mine")}
    assert threads == {1: 1, 2: 2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_dies_the_same_command_makes_the_rest(
    harness: Harness, started: Callable[..., "subprocess.Popen[str]"], store: Store, cluster: Cluster, tmp_path: Path, full: bool
) -> None:  # fmt: skip
    """A worker, the driver, and the scheduler are killed; the driver is interrupted."""
    if not full:
        pytest.skip("it takes minutes: pytest --full")
    path = write(tmp_path, GRID.replace("lr = 0.02", "lr = 0.02\nseed = [0, 1, 2]"), 400_000)
    words = ["sweep", path, "--on", cluster.on, "--results", store.root]
    rng = random.Random(0)

    def under_way(driver: "subprocess.Popen[str]") -> None:
        while not any(run.read().status == "running" for run in store.runs("mine")):
            assert driver.poll() is None
            time.sleep(0.1)

    driver = started(*words)
    under_way(driver)
    nannies = [process.pid for name, process in cluster.processes.items() if name != "scheduler"]
    for _ in range(20):
        shown = subprocess.run(["ps", "-o", "pid=", "--ppid", str(rng.choice(nannies))], capture_output=True, text=True)
        kill(map(int, shown.stdout.split()))  # the worker itself, which its nanny starts again
        time.sleep(rng.uniform(1, 4))
    driver.kill()
    driver.communicate()
    driver = started(*words)
    under_way(driver)
    driver.send_signal(2)
    _, err = driver.communicate(timeout=60)
    assert (driver.returncode, err.splitlines()[-1]) == (
        130,
        "harness: interrupted, nothing is lost: the same command goes on",
    )
    assert not any(run.owned() for run in store.runs("mine"))
    driver = started(*words)
    under_way(driver)
    scheduler = cluster.processes.pop("scheduler")
    scheduler.kill()
    scheduler.wait()
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 3
    assert "is gone, nothing is lost: the same command goes on" in err
    cluster.start_scheduler()
    end = time.monotonic() + 300
    while True:
        again = started(*words)
        _, err = again.communicate(timeout=600)
        if again.returncode == 0:
            break
        assert time.monotonic() < end, err
        time.sleep(2)
    local = tmp_path / "local"
    assert harness("sweep", path, "--results", local).code == 0
    assert what_was_learned(store, "mine") == what_was_learned(Store(local), "mine")
