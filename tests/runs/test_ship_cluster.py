"""Sweeps on Dask workers that see neither the store nor the data: runs and data travel (`--ship`)."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask_cluster
import pytest
from support import PLUGINS, Result, kill, traces, what_was_learned

from harness.runs import ship_worker
from harness.store.store import Store

Harness = Callable[..., Result]

Started = Callable[..., "subprocess.Popen[str]"]

EXPERIMENT = """
[base]
dataset = "DATA"
kind = "real"
gaussian-mean = "linear"
nz = 2
hidden = 5
batch-size = 40
lr = 0.02
samples = SAMPLES
"""
GRID = """
[[grid]]
algo = "aevb"
warmup = 5
threads = [1, 2]
"""

ONE = '[[grid]]\nalgo = "aevb"\nwarmup = 5\n'

CLOSING = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Connections of the library that end after it has been told to close them."""


def table(path: Path, rows: int = 300) -> Path:
    """Write a table of numbers."""
    rng = random.Random(0)
    lines = (",".join(str(rng.gauss(0.5, 0.1)) for _ in range(3)) for _ in range(rows))
    path.write_text("a,b,c\n" + "\n".join(lines) + "\n")
    return path


def write(folder: Path, grid: str = GRID, samples: float = 2000, rows: int = 300) -> Path:
    path = folder / "mine.toml"
    data = str(table(folder / "mine.csv", rows))
    path.write_text(EXPERIMENT.replace("SAMPLES", str(samples)).replace("DATA", data) + grid)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dask_cluster.Cluster]:
    """Workers that do not see the folders of tests, and have no data."""
    pytest.importorskip("distributed")
    hidden = dask_cluster.hidden(tmp_path_factory.getbasetemp())
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("workers that see another file system are started as root")
    env = {"HARNESS_DATA": "", "HARNESS_CHECKPOINT_SECONDS": "0.5"}
    with dask_cluster.cluster(hidden, env) as one:
        yield one


def wait_for(
    found: Callable[[], object], process: "subprocess.Popen[str] | None" = None, seconds: float = 90.0
) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


def rooms(cluster: dask_cluster.Cluster, name: str = "*") -> list[Path]:
    """Return the rooms that there are in workers."""
    return list(cluster.folder.glob(f"{name}/dask-scratch-space/worker-*/harness-room-*"))


def require_clean(cluster: dask_cluster.Cluster, store: Store) -> None:
    """Nothing is owned, half written or damaged, and workers have kept no run."""
    assert not any(run.owned() for run in store.runs())
    assert list(store.damage()) == []
    assert [path for path in store.root.rglob("*") if path.name.startswith((".", "owner"))] == []
    wait_for(lambda: not rooms(cluster))


@pytest.mark.slow
@CLOSING
def test_runs_and_data_travel_to_workers_that_see_neither(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path, full: bool
) -> None:
    """With one and two threads a run, and a plugin file by content; one that kills its process, and one that raises an error."""
    text = (PLUGINS / "renyi.py").read_text()
    (tmp_path / "told.py").write_text(text)
    before, step, after = text.partition("    q = state")
    (tmp_path / "deadly.py").write_text(f"{before}    import os; os.kill(os.getpid(), 9)\n{step}{after}")
    (tmp_path / "broken.py").write_text(f"{before}    raise ArithmeticError\n{step}{after}")
    plugins = ", ".join(f'"{tmp_path / name}.py"' for name in (["told", "deadly", "broken"] if full else ["told"]))
    path = write(tmp_path, f"{GRID}[[grid]]\nalgo = [{plugins}]\n")

    refused = harness("sweep", path, "--on", cluster.on)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert refused.err.endswith("with --results, or give --ship, and runs travel\n")
    done = harness("sweep", path, "--on", cluster.on, "--ship")
    assert done.code == (3 if full else 0), done.err
    assert done.out.splitlines()[0] == ("mine: 3 done, 2 failed" if full else "mine: 3 done")
    assert str(cluster.folder) not in done.out + done.err
    failed = {run.id.split("-")[0]: run for run in store.runs("mine") if run.read().status == "failed"}
    if full:
        assert failed["deadly"].read().reason == "its process was killed by SIGKILL, 3 times"
        assert "ArithmeticError" in str(failed["broken"].traceback())
    require_clean(cluster, store)
    for name in dask_cluster.WORKERS:
        (kept,) = cluster.folder.glob(f"{name}/dask-scratch-space/{ship_worker.DATA}/*/0/mine.csv")
        assert kept.read_bytes() == (tmp_path / "mine.csv").read_bytes()
    for pid in (cluster.pid("scheduler"), *cluster.started_by("one")):
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()

    others = tmp_path / "local"
    assert harness("sweep", path, "--results", others).code == done.code
    assert len(traces(store, "mine")) == 3
    assert traces(store, "mine") == traces(Store(others), "mine")
    threads = {run.read().spec["threads"]: run.read().provenance[-1]["threads"] for run in store.runs("mine")}
    assert threads == {1: 1, 2: 2}
    again = harness("sweep", path, "--on", cluster.on, "--ship", "--json")
    assert [one["status"] for one in json.loads(again.out)].count("already") == 3


@pytest.mark.slow
@CLOSING
def test_runs_go_on_from_what_has_travelled(
    started: Started, harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path, full: bool
) -> None:
    """After Ctrl-C, after the death of their worker, and after that of the driver; another driver leaves them alone."""
    if not full:
        pytest.skip("it takes some minutes: pytest --full")
    path = write(tmp_path, ONE, 3_000_000)
    words = ["sweep", path, "--on", cluster.on, "--ship", "--results", store.root]

    def spent() -> float:
        return sum(run.read().ledger.get("samples", 0) for run in store.runs("mine"))

    driver = started(*words)
    wait_for(lambda: spent() > 0, driver)
    (run,) = store.runs("mine")
    assert run.read().status == "running"
    assert run.owned()
    other = harness("sweep", path, "--leave", "--json")
    assert [one["status"] for one in json.loads(other.out)] == ["left"]
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=120)
    last = "harness: interrupted, nothing is lost: the same command goes on"
    assert (driver.returncode, err.splitlines()[-1]) == (130, last)
    assert run.read().status == "interrupted"
    require_clean(cluster, store)

    before = spent()
    driver = started(*words)
    wait_for(lambda: spent() > before, driver)
    (name,) = (name for name in dask_cluster.WORKERS if rooms(cluster, name))
    before = spent()
    kill(cluster.started_by(name))
    wait_for(lambda: spent() > before, driver)

    driver.kill()
    driver.communicate()
    wait_for(lambda: not rooms(cluster))
    assert run.read().status == "running"
    last_driver = started(*words)
    _, err = last_driver.communicate(timeout=300)
    assert last_driver.returncode == 0, err
    begun = [session["samples"] for session in run.read().provenance]
    assert begun[0] == 0
    assert len(begun) >= 4
    assert begun == sorted(set(begun)), "each session went on from where the one before had been saved"
    require_clean(cluster, store)
    others = tmp_path / "local"
    assert harness("sweep", path, "--results", others).code == 0
    assert what_was_learned(store, "mine") == what_was_learned(Store(others), "mine")


@pytest.mark.slow
@CLOSING
@pytest.mark.parametrize("too_large", ["run", "data"])
def test_what_is_larger_than_may_travel_is_told_with_its_size(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path, too_large: str, full: bool
) -> None:
    """A run at its first checkpoint, and not at its end; with a larger limit the same command makes it."""
    if not full:
        pytest.skip("it takes a minute: pytest --full")
    more, rows = ("hidden = 40000\nlr = 1e-5\n", 300) if too_large == "run" else ("", 20_000)
    path = write(tmp_path, ONE + more, 400, rows)
    words = ["sweep", path, "--on", cluster.on, "--ship"]
    done = harness(*words, "--ship-limit", 1)
    assert done.code == 3, done.err
    assert "MB, and --ship-limit is 1: give a larger one, or put its files" in done.out or too_large == "run", done.out
    assert "MB, and --ship-limit is 1: give a larger one" in done.out, done.out
    assert list(store.runs()) == []
    done = harness(*words)
    assert done.code == 0, done.out + done.err
    require_clean(cluster, store)


@pytest.mark.slow
@CLOSING
@pytest.mark.parametrize("where", ["worker", "driver"])
def test_a_full_disk_is_told_in_one_sentence(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path, where: str, full: bool
) -> None:
    """And says whose it is. What the store had is there, and the same command makes the rest."""
    if not full:
        pytest.skip("it takes a minute: pytest --full")
    path = write(tmp_path, ONE + "seed = [0, 1]\nhidden = 500\n")
    words = ["sweep", str(path), "--on", cluster.on, "--ship", "--results", str(store.root)]
    store.root.mkdir()
    if where == "worker":
        folder = cluster.folder / "full"
        folder.mkdir()
        full = f'mount -t tmpfs -o size=60k none "{folder}" && exec "$@"'
        for name in dask_cluster.WORKERS:
            cluster.end(name)
        cluster.start_worker("full", "unshare", "--mount", "sh", "-c", full, "sh", HARNESS_DATA="")
        done = harness(*words)
        cluster.end("full")
        cluster.start()
        said, code = done.err.splitlines()[-1], done.code
        assert "on the Dask worker tcp://" in said
    else:
        full = f'mount -t tmpfs -o size=60k none "{store.root}" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", full, "sh", sys.executable, "-P", "-m", "harness", *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
        said, code = ended.stderr.splitlines()[-1], ended.returncode
        assert str(store.root) in said
    assert code == 3
    assert "No space left on device" in said
    assert said.endswith("the same command goes on from there")
    done = harness(*words)
    assert done.code == 0, done.err
    require_clean(cluster, store)


@pytest.mark.slow
@CLOSING
def test_files_of_a_built_in_dataset_travel(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path
) -> None:
    """From the folder of data files, each once to each worker. The trials of tuning travel as runs of sweeps do."""
    folder = tmp_path / "data"
    (folder / "debd").mkdir(parents=True)
    for part, rows in (("train", 300), ("valid", 40), ("test", 40)):
        rng = random.Random(part)
        lines = (",".join(str(rng.randrange(2)) for _ in range(6)) for _ in range(rows))
        (folder / "debd" / f"mine.{part}.data").write_text("\n".join(lines) + "\n")
    options = [
        "--algo",
        "aevb",
        "--dataset",
        "debd",
        "--set",
        "mine",
        "--nz",
        "2",
        "--hidden",
        "5",
        "--batch-size",
        "40",
    ]
    words = ["tune", *options, "--warmup", "5", "--samples", "1000", "--lr", "tuned", "--json", "--data-dir", folder]
    done = harness(*words, "--on", cluster.on, "--ship")
    assert done.code == 0, done.err
    for name in dask_cluster.WORKERS:
        kept = list(cluster.folder.glob(f"{name}/dask-scratch-space/{ship_worker.DATA}/*/debd/mine.*.data"))
        assert len(kept) == 3
    here = harness(*words, "--results", tmp_path / "local")
    assert json.loads(done.out)["chosen"] == json.loads(here.out)["chosen"]
    group = next(store.runs()).path.parent.name
    assert traces(store, group) == traces(Store(tmp_path / "local"), group)
    require_clean(cluster, store)
