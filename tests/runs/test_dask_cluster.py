"""Sweeps on a Dask scheduler and two workers that were started by their own commands, connected to by address."""

import json
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dask_cluster
import pytest
from support import PLUGINS, Result, copied, kill, traces, what_was_learned

from harness.runs import dask, dask_worker
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

Started = Callable[..., "subprocess.Popen[str]"]

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


CLOSING = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""Connections of the library that end after it has been told to close them."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dask_cluster.Cluster]:
    pytest.importorskip("distributed")
    with dask_cluster.cluster() as one:
        yield one


@pytest.mark.slow
@CLOSING
def test_dask_makes_the_runs_that_this_machine_makes(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path
) -> None:
    """With one and two threads a run, with a plugin file by content, and with one that kills its process each time."""
    text, told = (PLUGINS / "renyi.py").read_text(), tmp_path / "told"
    (tmp_path / "telling.py").write_text(f"{text}\nwith open({str(told)!r}, 'a') as file: print(__file__, file=file)\n")
    before, step, after = text.partition("    q = state")
    (tmp_path / "deadly.py").write_text(f"{before}    import os; os.kill(os.getpid(), 9)\n{step}{after}")
    plugins = f'[[grid]]\nalgo = ["{tmp_path / "telling.py"}", "{tmp_path / "deadly.py"}"]\n'
    path = write(tmp_path, GRID + plugins)

    done = harness("sweep", path, "--on", cluster.on)
    assert done.code == 3, done.err
    head, reason = done.out.splitlines()[:2]
    assert head == "mine: 5 done, 1 failed"
    assert "failed: its process was killed by SIGKILL, 3 times; go on with `harness resume deadly-" in reason
    failed = [run.read() for run in store.runs("mine") if run.read().status == "failed"]
    assert [record.reason for record in failed] == ["its process was killed by SIGKILL, 3 times"]
    assert done.err.count(": done\n") == 5
    assert not list(store.root.glob(f"{dask.PROBE}*"))
    here, *there = map(Path, told.read_text().split())
    assert here == tmp_path / "telling.py"
    assert there
    assert all(cluster.folder in path.parents for path in there)
    for pid in (cluster.pid("scheduler"), *cluster.started_by("one")):
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()

    others = tmp_path / "local"
    assert harness("sweep", path, "--results", others).code == 3
    assert len(traces(store, "mine")) == 5
    assert traces(store, "mine") == traces(Store(others), "mine")
    threads = {run.read().spec["threads"]: run.read().provenance[-1]["threads"] for run in store.runs("mine")}
    assert threads == {1: 1, 2: 2}


@pytest.mark.slow
@CLOSING
def test_plans_tuning_and_claims_are_made_on_dask(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path, tiny_run: list[str]
) -> None:
    words = ["tune", *tiny_run[1:-1], "1000", "--lr", "tuned", "--json"]
    done, here = harness(*words, "--on", cluster.on), harness(*words, "--results", tmp_path / "local")
    assert (done.code, here.code) == (0, 0), done.err + here.err
    tuned, expected = json.loads(done.out), json.loads(here.out)
    assert tuned["chosen"] == expected["chosen"]
    assert len(tuned["trials"]) == 3
    assert [trial["value"] for trial in tuned["trials"]] == [trial["value"] for trial in expected["trials"]]

    path = write(tmp_path, GRID.replace("[1, 2]", "1"), 4000)
    plan = harness("sweep", path, "--on", cluster.on, "--dry-run")
    assert plan.code == 0, plan.err
    assert f"of wall time where {cluster.on} makes 2 runs at a time" in plan.out
    claims = tmp_path / "claims.toml"
    claims.write_text('experiment = "mine.toml"\n[[claim]]\nkind = "invariant"\nholds = "resume"\n')
    checked = harness("check", claims, "--run", "--on", cluster.on)
    assert checked.code == 0, checked.out + checked.err
    assert "made 2 of 2 runs" in checked.err


@pytest.mark.slow
@CLOSING
def test_workers_that_cannot_be_used_are_refused(
    harness: Harness, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path
) -> None:
    """One with other source than the driver has, and one that sees another file system in the store's place."""
    path, other = write(tmp_path), copied(tmp_path / "other")
    with (other / "api.py").open("a") as file:
        file.write("# changed\n")
    cluster.start_worker("other", PYTHONPATH=str(other.parent))
    done = harness("sweep", path, "--on", cluster.on)
    cluster.end("other")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    ours = re.escape(dask_worker.versions()["harness"])
    assert re.search(rf"the Dask worker tcp://\S+ has harness \S+ \(\w+\), and here it is {ours}: install", done.err)
    hidden = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{tmp_path}" && exec "$@"', "sh"]
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("a worker that sees another file system is started as root")
    cluster.start_worker("blind", *hidden)
    done = harness("sweep", path, "--on", cluster.on)
    cluster.end("blind")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert f"cannot see the store {str(store.root)!r}: put it on a file system that all workers share" in done.err
    assert not store.root.exists()


@pytest.mark.slow
@CLOSING
def test_whatever_dies_the_same_command_makes_the_rest(
    harness: Harness, started: Started, store: Store, cluster: dask_cluster.Cluster, tmp_path: Path,
    full: bool,
) -> None:  # fmt: skip
    """Workers, the driver, and the scheduler are killed; the driver is interrupted."""
    if not full:
        pytest.skip("it takes some minutes: pytest --full")
    path = write(tmp_path, GRID.replace("threads = [1, 2]", f"seed = {list(range(12))}"), 400_000)
    words = ["sweep", path, "--on", cluster.on, "--results", store.root]
    rng = random.Random(0)

    def under_way() -> bool:
        return any(run.read().status == "running" for run in store.runs("mine"))

    def begin() -> "subprocess.Popen[str]":
        while under_way():  # what is left of the driver before
            time.sleep(0.1)
        driver = started(*words)
        while not under_way():
            assert driver.poll() is None
            time.sleep(0.1)
        return driver

    driver = begin()
    for _ in range(20):
        kill(cluster.started_by(rng.choice(dask_cluster.WORKERS)))  # which its command starts again
        time.sleep(rng.uniform(1, 4))
    driver.kill()
    driver.communicate()

    driver = begin()
    driver.send_signal(2)
    _, err = driver.communicate(timeout=120)
    assert (driver.returncode, err.splitlines()[-1]) == (
        130, "harness: interrupted, nothing is lost: the same command goes on",
    )  # fmt: skip
    assert not any(run.owned() for run in store.runs("mine"))

    driver = begin()
    cluster.end("scheduler")
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 3
    assert "is gone, nothing is lost: start it and its workers, and the same command goes on" in err
    for name in dask_cluster.WORKERS:  # which end without it
        cluster.end(name)
    cluster.start()
    last = started(*words)
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    local = tmp_path / "local"
    assert harness("sweep", path, "--results", local).code == 0
    assert what_was_learned(store, "mine") == what_was_learned(Store(local), "mine")
