"""Sweeps on a SLURM cluster of this machine, where one can be started: every run is made once, whatever happens to workers."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from support import PLUGINS, Result, processes, traces

from harness.errors import BadInput
from harness.runs import slurm as workers
from harness.specs import slurm
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

EXPERIMENT = f"""
[base]
algo = "ALGORITHM"
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 40
samples = SAMPLES
[[grid]]
threads = [1, 2]
seed = SEEDS
"""

KILLS = 20

NO_CLUSTER = slurm_cluster.why_not()


def slow(folder: Path, samples: float, seeds: int, seconds: float = 0.01) -> Path:
    """Write an experiment whose steps sleep so long as there is the file `slowly`, and take the processor a moment."""
    (folder / "slowly").touch()
    before, step, after = (PLUGINS / "renyi.py").read_text().partition("    q = state")
    sleep = f"    import os, time; os.path.exists({str(folder / 'slowly')!r}) and time.sleep({seconds})\n"
    (folder / "slow.py").write_text(before + sleep + step + after)
    text = EXPERIMENT.replace("ALGORITHM", str(folder / "slow.py")).replace("SAMPLES", str(samples))
    (folder / "mine.toml").write_text(text.replace("SEEDS", str(list(range(seeds)))))
    return folder / "mine.toml"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm_cluster.Cluster]:
    if NO_CLUSTER:
        pytest.skip(NO_CLUSTER)
    with slurm_cluster.cluster(cpus=2) as one:
        yield one


@pytest.fixture
def mark(cluster: slurm_cluster.Cluster, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What every worker has in its environment; commands of SLURM reach the cluster."""
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm, "config_path", lambda: Path("/nowhere"))
    name = str(random.random())
    monkeypatch.setenv("HARNESS_TEST_MARK", name)
    return f"HARNESS_TEST_MARK={name}".encode()


def of_workers(mark: bytes) -> list[int]:
    """Return the processes of all workers."""
    return [pid for pid in processes(mark) if slurm_cluster.is_of_a_job(pid)]


def of_worker(job: str) -> set[int]:
    """Return the processes of a worker."""
    array, task = job.encode().split(b"_")
    return set(processes(b"SLURM_ARRAY_JOB_ID=" + array)) & set(processes(b"SLURM_ARRAY_TASK_ID=" + task))


def until(met: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.3)


def states(store: Store, group: str = "mine") -> list[str]:
    found = []
    for run in store.runs(group):
        with contextlib.suppress(BadInput):
            found.append(run.read().status)
    return found


def running(name: str) -> list[str]:
    return [worker.job for worker in workers.queue(name) if worker.state == "RUNNING"]


def logs(store: Store) -> dict[str, str]:
    """Return what each worker has printed, by its job."""
    return {log.stem.rpartition("-")[2]: log.read_text() for log in (store.root / workers.FOLDER).iterdir()}


def require_each_made_once(harness: Harness, store: Store, path: Path, runs: int) -> None:
    """All are done and none twice, with the same traces byte for byte as by the local executor."""
    (path.parent / "slowly").unlink(missing_ok=True)
    assert states(store) == ["done"] * runs
    made = traces(store, "mine")
    assert [trace.count(b'"end": true') for trace in made.values()] == [1] * runs
    local = path.parent / "local"
    assert harness("sweep", path, "--jobs", 2, "--results", local).code == 0
    assert made == traces(Store(local), "mine")


@pytest.mark.slow
def test_workers_on_a_cluster_make_every_run_once(
    harness: Harness, store: Store, cluster: slurm_cluster.Cluster, mark: bytes, tmp_path: Path
) -> None:
    """One is told that its time is over, one is killed, and one command more submits what is missing."""
    path, name = slow(tmp_path, 20_000, 2), workers.name_of(store, "mine")
    refused = harness("sweep", path, "--on", "slurm", "--partition", "nowhere")
    assert refused.code == 2
    assert "SLURM says: invalid partition specified: nowhere" in refused.err

    words = ("sweep", path, "--on", "slurm", "--workers", 2)
    assert "now 2 of 2 workers wait or run" in harness(*words).out
    assert "2 workers are there already" in harness(*words).out
    until(lambda: len(running(name)) == 2 and "running" in states(store), 180)
    one, other = running(name)
    cluster.call("scancel", "--signal=USR1", "--batch", one)
    cluster.call("scancel", "--signal=KILL", other)
    until(lambda: [worker.job for worker in workers.queue(name)] == [one], 30)
    assert "interrupted" in states(store)
    assert "submitted array" in harness(*words).out
    assert one in [worker.job for worker in workers.queue(name)]  # the same job, queued again
    until(lambda: not workers.queue(name), 600)
    assert "".join(logs(store).values()).count("DUE TO JOB REQUEUE") == 1
    until(lambda: not of_workers(mark), 30)
    assert harness("sweep", path, "--status").out.startswith("mine: 4 runs, 4 done\nno workers on SLURM")
    require_each_made_once(harness, store, path, 4)


@pytest.mark.slow
def test_workers_are_cancelled_with_their_checkpoints(
    harness: Harness, store: Store, cluster: slurm_cluster.Cluster, mark: bytes, tmp_path: Path, full: bool
) -> None:
    if not full:
        pytest.skip("another minute: pytest --full")
    path, name = slow(tmp_path, 100_000_000, 1), workers.name_of(store, "mine")
    assert harness("sweep", path, "--on", "slurm", "--workers", 2).code == 0
    until(lambda: states(store).count("running") == 2, 180)
    for job in running(name):  # which then must not queue again
        cluster.call("scancel", "--signal=USR1", "--batch", job)
    assert "cancelled" in harness("sweep", path, "--cancel").out
    until(lambda: not workers.queue(name), 30)
    assert states(store) == ["interrupted"] * 2
    until(lambda: not of_workers(mark), 30)
    assert "there are no workers" in harness("sweep", path, "--cancel").out


def lose_the_controller(cluster: slurm_cluster.Cluster, mark: bytes) -> None:
    """It is away for half a minute, in which every worker is told that its time is over."""
    cluster.kill("slurmctld")
    for pid in of_workers(mark):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text() == "slurm_script\n":
                os.kill(pid, signal.SIGUSR1)
    time.sleep(30)
    cluster.start_controller()
    cluster.wait_for(lambda: cluster.call("sinfo"), 30)


def lose_a_node(cluster: slurm_cluster.Cluster, mark: bytes) -> None:
    """SLURM queues its workers again, which first go on there: nobody tells them."""
    cluster.kill("two")
    until(lambda: "two" in cluster.call("sinfo", "--noheader", "--states=down", "--format=%N"), 90)
    cluster.start_node("two")


def go_before(cluster: slurm_cluster.Cluster, mark: bytes) -> None:
    """A job that wants all processors is more urgent than workers."""
    wants = ["--partition=urgent", "--nodes=2", "--ntasks=4", "--output=/dev/null", "--wrap=sleep 20"]
    cluster.call("sbatch", "--parsable", *wants)


@pytest.mark.slow
def test_everything_that_a_cluster_may_do_to_workers(
    harness: Harness,
    store: Store,
    cluster: slurm_cluster.Cluster,
    mark: bytes,
    tmp_path: Path,
    full: bool,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """24 runs of two and a half minutes each, by workers with limits of two.

    First workers are killed, the controller and a node lost, and others go before. Then all workers that are there have their
    time limits, at least twice.
    """
    if not full:
        pytest.skip("it takes half an hour: pytest --full")
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "5")
    rng, start, submitted = random.Random(0), time.monotonic(), 0
    path, name = slow(tmp_path, 40_000, 12, seconds=0.15), workers.name_of(store, "mine")
    words = ("sweep", path, "--on", "slurm", "--workers", 3, "--time", "2m")
    after_kills = {5: lose_the_controller, 10: lose_a_node, 15: go_before}
    killed: dict[str, float] = {}
    limits: dict[str, int] = {}

    while len(killed) < KILLS or min(limits[worker] for worker in limits if worker not in killed) < 2:
        assert time.monotonic() - start < 3600
        done = harness(*words)
        assert done.code == 0, done.err
        submitted += "submitted array" in done.out
        time.sleep(rng.uniform(2, 10))
        there = {worker.job for worker in workers.queue(name)}
        assert there >= limits.keys() - killed, "a worker ended that was not killed, and runs are left"
        limits |= dict.fromkeys(there, 0) | {job: said.count("DUE TO JOB REQUEUE") for job, said in logs(store).items()}
        for job, moment in killed.items():
            assert time.monotonic() - moment < 30 or not of_worker(job)
        if len(killed) < KILLS and (alive := [job for job in running(name) if job not in killed]):
            victim = rng.choice(alive)
            cluster.call("scancel", "--signal=KILL", victim)
            killed[victim] = time.monotonic()
            until(lambda gone=victim: gone not in [worker.job for worker in workers.queue(name)], 60)
            if len(killed) in after_kills:
                after_kills.pop(len(killed))(cluster, mark)

    (path.parent / "slowly").unlink()  # what is left goes quickly
    until(lambda: not workers.queue(name), 1800)
    until(lambda: not of_workers(mark), 30)
    said = logs(store)
    times = {why: sum(log.count(f"DUE TO {why}") for log in said.values())
             for why in ("JOB REQUEUE", "PREEMPTION", "NODE FAILURE")}  # fmt: skip
    assert (len(killed), after_kills) == (KILLS, {})
    assert all(said[job].count("DUE TO JOB REQUEUE") >= 2 for job in said if job not in killed)
    record_property("SLURM", f"{len(said)} workers, {submitted} submissions, {KILLS} kills, times queued again: {times}, "
                             f"{(time.monotonic() - start) / 60:.0f} minutes")  # fmt: skip
    require_each_made_once(harness, store, path, 24)


@pytest.mark.slow
def test_tuning_on_a_cluster(
    harness: Harness, store: Store, cluster: slurm_cluster.Cluster, mark: bytes, full: bool
) -> None:
    if not full:
        pytest.skip("another minute: pytest --full")
    words = f"tune --algo aevb --dataset {toy.__file__} --nz 2 --hidden 5 --samples 5000 --warmup 5".split()
    assert harness(*words, "--on", "slurm", "--workers", 2).code == 0
    until(lambda: list((store.root / "tune").glob("*.json")), 300)
    until(lambda: not cluster.call("squeue", "--noheader"), 300)
    assert len(list((store.root / "tune").glob("*.json"))) == 1
    assert set(states(store, "tune-5000")) == {"done"}
    until(lambda: not of_workers(mark), 30)
