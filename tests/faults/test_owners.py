"""Who may write: processes that race, owners that die or are suspended, on this machine and another, whatever clocks say."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import Survived, experiment
from support import environment, kill, what_was_learned

from harness.errors import Busy
from harness.store import lease
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Started = Callable[..., "subprocess.Popen[str]"]

RACE = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
samples = 2000
eval-points = 10
final-points = 10

[[grid]]
algo = ["aevb", "wake-sleep"]
batch-size = 10
seed = {{seeds}}
"""

ELSEWHERE = """
import contextlib, os, sys, time
import filelock
from pathlib import Path
from harness.store import lease
from harness.store.record import Record
from harness.store.run import Run

class NoLock:  # of a network's file system whose locks do not reach another machine
    def __init__(self, path): pass
    def acquire(self, timeout): return contextlib.nullcontext()
    def release(self): pass

filelock.FileLock = NoLock
lease.machine = lambda: "another machine"
lease.RENEWAL_SECONDS, lease.LEASE_SECONDS, lease.LOOK_SECONDS = {renewal}, {lease}, 0.05
run = Run(Path(sys.argv[1]))
record = Record(run.id, {{}}, {{}})
run.claim()
print("mine", flush=True)
for line in sys.stdin:
    try:
        run.write(record)
        print("written", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""
RENEWAL, LEASE = 0.2, 1.5


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is short enough to wait for."""
    monkeypatch.setattr(lease, "RENEWAL_SECONDS", RENEWAL)
    monkeypatch.setattr(lease, "LEASE_SECONDS", LEASE)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.05)


def elsewhere(run: Run) -> "subprocess.Popen[str]":
    """Return a process that owns a run as one on another machine would, whose locks do not reach here."""
    other = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE.format(renewal=RENEWAL, lease=LEASE), str(run.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "mine\n"
    return other


def asked(other: "subprocess.Popen[str]") -> str:
    """Let the other owner write, and return what came of it."""
    assert other.stdin is not None
    assert other.stdout is not None
    print("write", file=other.stdin, flush=True)
    return other.stdout.readline().strip()


@pytest.mark.slow
def test_processes_race_for_runs(started: Started, tmp_path: Path, full: bool, survived: Survived) -> None:
    path, store = tmp_path / "mine.toml", Store(tmp_path / "results")
    path.write_text(RACE.format(seeds=list(range(100 if full else 3))))
    racers = [started("sweep", path, "--jobs", 1, "--results", store.root, "--json") for _ in range(4 if full else 3)]
    statuses: dict[str, list[str]] = {}
    for racer in racers:
        out, err = racer.communicate()
        assert racer.returncode == 0, err
        for row in json.loads(out):
            statuses.setdefault(row["run"], []).append(row["status"])
    once = [
        run for run in store.runs("mine") if len(run.read().provenance) == 1 and sum(r["end"] for r in run.rows()) == 1
    ]
    assert all(sorted(found) == ["already"] * (len(racers) - 1) + ["done"] for found in statuses.values()), statuses
    survived(f"{len(racers)} sweeps race for a run", len(statuses), len(once))


def test_a_dead_owner_on_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    run = Run(tmp_path / "runs" / "a-run")
    code = "import sys; from pathlib import Path; from harness.store.run import Run; r = Run(Path(sys.argv[1])); r.claim(); "
    code += "print('mine', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(Busy, match=rf"another process \({other.pid} on "):
            run.claim()
        other.kill()
    begun = time.monotonic()
    run.claim()
    assert time.monotonic() - begun < 1.0
    run.release()
    assert [path.name for path in run.path.iterdir()] == []


def test_a_live_owner_on_another_machine_is_never_robbed_and_a_dead_one_after_its_lease(
    tmp_path: Path, short_lease: None, survived: Survived
) -> None:
    run = Run(tmp_path / "runs" / "a-run")
    other = elsewhere(run)
    kept = 0
    for hour in (0, 3600, -3600):  # as if the clock of either machine had been set
        os.utime(run.path / "owner.json", (time.time() + hour,) * 2)
        lease._seen.clear()
        with pytest.raises(Busy, match="is being written by another process"):
            Run(run.path).claim()
        assert run.owned()
        assert asked(other) == "written"
        kept += 1
    lease._seen.clear()
    assert not run.in_hand(), "one look cannot tell a live owner from a dead one"
    time.sleep(2 * RENEWAL)
    assert run.in_hand()
    kill([other.pid])
    other.wait()
    lease._seen.clear()
    assert run.owned()
    time.sleep(2 * RENEWAL)
    assert not run.in_hand()
    lease._seen.clear()
    said: list[str] = []
    begun = time.monotonic()
    run.claim(said.append)
    waited = time.monotonic() - begun
    assert LEASE - RENEWAL <= waited < LEASE + 5
    assert len(said) == 1
    assert f"was left by another process ({other.pid} on " in said[0]
    run.release()
    survived("a live owner elsewhere, clocks set forward and back an hour", 3, kept)
    other.communicate()


def test_an_owner_that_was_suspended_for_longer_than_its_lease_writes_nothing_any_more(
    tmp_path: Path, short_lease: None, survived: Survived
) -> None:
    run = Run(tmp_path / "runs" / "a-run")
    other = elsewhere(run)
    assert asked(other) == "written"
    other.send_signal(signal.SIGSTOP)
    run.claim()
    record = Record(run.id, {}, {}, status="interrupted")
    run.write(record)
    before = (run.path / "run.json").read_bytes()
    other.send_signal(signal.SIGCONT)
    assert asked(other) == "Busy"
    assert (run.path / "run.json").read_bytes() == before
    run.write(record)
    run.release()
    survived("an owner suspended beyond its lease writes", 1, 1)
    other.kill()
    other.communicate()


@pytest.mark.slow
def test_a_sweep_waits_for_the_owner_elsewhere_and_then_goes_on(
    started: Started, tmp_path: Path, short_lease: None, survived: Survived
) -> None:
    """With the lease as it is; a run that is claimed and never begun by a process on another machine, which then dies."""
    path, store = experiment(tmp_path, seeds=1, samples=2000), Store(tmp_path / "results")
    assert started("sweep", path, "--jobs", 2, "--results", store.root).wait() == 0
    first = next(store.runs("mine"))
    (first.path / "run.json").unlink()
    (first.path / "trace.jsonl").unlink()
    other = elsewhere(first)
    code = (
        "from harness import cli; from harness.store import lease; "
        f"lease.RENEWAL_SECONDS, lease.LEASE_SECONDS = {RENEWAL}, {LEASE}; cli.main()"
    )
    sweep = [sys.executable, "-c", code, "sweep", str(path), "--jobs", "1", "--results", str(store.root)]
    with subprocess.Popen(sweep, env=environment(), stderr=subprocess.PIPE, text=True) as driver:
        time.sleep(8)
        assert driver.poll() is None, driver.communicate()
        assert not first.exists()
        kill([other.pid])
        driver.terminate()  # workers know the lease as it is; the next sweep would wait for it
    (first.path / "owner.json").unlink()
    assert started("sweep", path, "--results", store.root).wait() == 0
    assert len(what_was_learned(store, "mine")) == 3
    survived("a sweep beside an owner elsewhere", 1, 1)
    other.communicate()


JUMPING = """
import random, time
real, jumps = time.time, random.Random(1)
time.time = lambda: real() + jumps.choice([-3600.0, 0.0, 3600.0])
time.time_ns = lambda: int(time.time() * 1e9)
"""


def test_durations_do_not_depend_on_the_clock(tmp_path: Path, tiny_run: list[str], survived: Survived) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    begun = time.monotonic()
    command = [sys.executable, "-P", "-m", "harness", *tiny_run, "--results", str(tmp_path / "results")]
    done = subprocess.run(command, env=environment(PYTHONPATH=str(tmp_path)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    elapsed = time.monotonic() - begun
    (run,) = Store(tmp_path / "results").runs()
    ledgers = [row["ledger"] for row in run.rows()] + [run.read().ledger]
    sane = 0
    for before, after in zip([dict.fromkeys(ledgers[0], 0.0), *ledgers], ledgers, strict=False):
        seconds = [name for name in after if name.endswith("seconds")]
        sane += all(before[name] <= after[name] for name in seconds)
        assert sum(after[name] for name in seconds if name.endswith("wall_seconds")) < elapsed
    survived("a row while the clock jumps by an hour", len(ledgers), sane)
