"""Sweeps: every run once and whole, whatever is killed, whoever else is at it; tuning; and what is said of trouble."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import PLUGINS, Result, environment, what_was_learned

from harness.runs import local, pool
from harness.runs.jobs import Ended, Job
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

BASE = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 40
warmup = 5
samples = 20000
"""
GRID = """
[[grid]]
algo = ["aevb", "wake-sleep"]
lr = 0.02
seed = [0, 1]
"""

ONE = """
[[grid]]
algo = "aevb"
lr = 0.02
"""


def write(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(BASE + text)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_sweep_makes_every_run_once(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, GRID)
    planned = json.loads(harness("sweep", path, "--jobs", 2, "--dry-run", "--json").out)
    assert [row["state"] for row in planned] == ["new"] * 4
    assert all(row["seconds_left"] > 0 for row in planned)
    assert not store.root.exists()
    said = harness("sweep", path, "--dry-run").out
    assert "mine: 4 runs, 0 done, 4 to run" in said
    assert "extrapolated from training each kind of run for 0.3 s: " in said

    done = harness("sweep", path, "--jobs", 2)
    assert done.code == 0, done.err
    assert done.out.startswith("mine: 4 done\nnext: harness table ")
    assert done.err.count(": done\n") == 4
    assert "[4/4]" in done.err
    runs = list(store.runs("mine"))
    assert len(runs) == 4
    assert {run.read().ledger["samples"] for run in runs} == {20_000}

    before = {run.id: (run.path / "run.json").stat().st_mtime_ns for run in runs}
    again = harness("sweep", path)
    assert (again.code, again.out.partition("\n")[0]) == (0, "mine: 4 done already")
    assert before == {run.id: (run.path / "run.json").stat().st_mtime_ns for run in runs}
    assert "4 done, 0 to run" in harness("sweep", path, "--dry-run").out


def test_workers_report_by_whatever_connection_the_system_has(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows a pipe ends in `PipeConnection`, a sibling of `Connection`."""
    kinds = set()

    class Sibling(connection._ConnectionBase):  # type: ignore[name-defined, misc]
        _close, _send, _recv, _send_bytes, _recv_bytes, _poll = (
            vars(connection.Connection)[name]
            for name in ("_close", "_send", "_recv", "_send_bytes", "_recv_bytes", "_poll")
        )

        def recv(self) -> object:
            kinds.add(type(self))
            return super().recv()

    def pipe(duplex: bool = True) -> tuple[object, object]:
        here, there = real(duplex)
        return Sibling(os.dup(here.fileno())), there

    real = connection.Pipe
    monkeypatch.setattr(connection, "Pipe", pipe)
    done = harness("sweep", write(tmp_path, ONE), "--jobs", 2)
    assert (done.code, done.out.partition("\n")[0]) == (0, "mine: 1 done")
    assert kinds == {Sibling}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system whose workers need no socket")
@pytest.mark.parametrize("room", ["elsewhere", pytest.param("nowhere", marks=pytest.mark.slow)])
def test_a_long_temporary_folder_is_no_hindrance(
    room: str, started: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, store: Store
) -> None:
    """A socket's address has about 100 characters; workers need none where they are not forked by a server."""
    long = tmp_path.joinpath(*["folder-of-a-batch-job"] * 6)
    long.mkdir(parents=True)
    words = ["sweep", write(tmp_path, ONE), "--jobs", "1", "--results", store.root]
    if room == "elsewhere":
        driver = started(*words, TMPDIR=str(long))
    else:
        code = (
            "from harness.runs import processes\nprocesses.LONGEST_FOLDER = 0\nfrom harness.cli import main\nmain()\n"
        )
        (tmp_path / "without.py").write_text(f"if __name__ == '__main__':\n{textwrap.indent(code, '    ')}")
        command = [sys.executable, "-P", str(tmp_path / "without.py"), *map(str, words)]
        driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    out, err = driver.communicate(timeout=120)
    assert (driver.returncode, out.partition("\n")[0]) == (0, "mine: 1 done"), err
    assert list(long.iterdir()) == []


def test_a_sweep_goes_on_to_larger_budgets(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, GRID)
    assert harness("sweep", path, "--budget-scale", "0.5", "--only", "seed=0").out.startswith(
        "mine: 2 done\nnext: harness table "
    )
    assert [run.read().ledger["samples"] for run in store.runs("mine")] == [10_000] * 2
    planned = json.loads(harness("sweep", path, "--dry-run", "--json").out)
    assert sorted(row["state"] for row in planned) == ["new", "new", "to extend", "to extend"]
    assert harness("sweep", path).out.startswith("mine: 4 done\nnext: harness table ")
    assert [run.read().ledger["samples"] for run in store.runs("mine")] == [20_000] * 4
    fresh = Store(tmp_path / "fresh")
    assert harness("sweep", path, "--results", fresh.root).code == 0
    longer, whole = what_was_learned(store, "mine"), what_was_learned(fresh, "mine")
    for rows in longer.values():  # the shorter budget left a row of its own, where it ended
        for row in rows[:-1]:
            row["end"], row["estimates"] = False, row["estimates"][::2] if row["end"] else row["estimates"]
    assert {name: rows[-1] for name, rows in longer.items()} == {name: rows[-1] for name, rows in whole.items()}


def test_trouble_is_recorded_and_the_rest_goes_on(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"""
[base]
dataset = "{toy.__file__}"
nz = 2
samples = 20000

[[grid]]
algo = ["aevb", "wake-sleep"]
hidden = 5
batch-size = 10
warmup = 5
lr = [0.02, 1e6]

[[grid]]
algo = "mcem"
model = "linear-gaussian"  # which cannot describe binary data
""")
    done = harness("sweep", path, "--jobs", 2)
    assert done.code == 3
    head, *reasons = done.out.splitlines()
    assert sorted(head.removeprefix("mine: ").split(", ")) == ["1 skipped", "2 diverged", "2 done"]
    assert sum(" diverged: run " in reason and "with lr=1000000.0" in reason for reason in reasons) == 2
    (skipped,) = [reason for reason in reasons if " skipped: " in reason]
    assert "model 'linear-gaussian' cannot describe dataset 'toy': its data are binary" in skipped
    again = harness("sweep", path, "--json")
    assert again.code == 3
    outcomes = json.loads(again.out)
    assert sorted(row["status"] for row in outcomes) == ["already", "already", "diverged", "diverged", "skipped"]
    assert sum("to run it again" in str(row["reason"]) for row in outcomes) == 2


def test_a_worker_that_dies_is_told_and_resumed(harness: Harness, store: Store, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly.py"
    before, step, after = (PLUGINS / "renyi.py").read_text().partition("    q = state")
    die = f"    import os; os.path.exists({str(tmp_path / 'die')!r}) and os.kill(os.getpid(), 9)\n"
    deadly.write_text(before + die + step + after)
    path = tmp_path / "mine.toml"
    path.write_text(BASE.replace("warmup = 5\n", "") + f'[[grid]]\nalgo = ["{deadly}", "aevb"]\n')
    (tmp_path / "die").touch()
    done = harness("sweep", path)
    assert done.code == 3
    assert "failed: its process was killed by SIGKILL: the same command resumes it" in done.out
    (tmp_path / "die").unlink()
    assert harness("sweep", path).out.startswith("mine: 1 done already, 1 done\nnext: harness table ")


def test_settings_are_tuned_first(harness: Harness, store: Store, tmp_path: Path) -> None:
    text = GRID.replace("0.02", '"tuned"') + "\n[tune]\nsamples = 5000\n"
    path = write(tmp_path, text)
    planned = json.loads(harness("sweep", path, "--dry-run", "--json").out)
    assert [row["state"] for row in planned] == ["new"] * 6 + ["waits for tuning"] * 4
    assert [row["group"] for row in planned] == ["tune-5000"] * 6 + ["mine"] * 4
    done = harness("sweep", path)
    assert (done.code, done.out.partition("\n")[0]) == (0, "mine: 4 done")
    studies = sorted((store.root / "tune").glob("*.json"))
    assert len(studies) == 2  # seeds share one
    for study in studies:
        content = json.loads(study.read_text())
        assert content["spent"]["samples"] == 15_000
        assert content["trials"][0]["settings"] == content["chosen"]
    chosen = {run.read().spec["algorithm"]["settings"]["lr"] for run in store.runs("mine")}
    assert chosen <= {0.01, 0.02, 0.1}
    assert "4 done, 0 to run" in harness("sweep", path, "--dry-run").out


def test_a_damaged_run_does_not_stop_the_others(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, GRID)
    assert harness("sweep", path, "--only", "algo=aevb,seed=0").code == 0
    (run,) = store.runs("mine")
    (run.path / "run.json").write_text("{")
    done = harness("sweep", path, "--only", "algo=aevb")
    assert done.code == 3
    assert done.out.startswith("mine: 1 failed, 1 done\n")
    assert "is torn or no run of ours: restore it from a copy, or move it away by" in done.out


def test_runs_in_other_hands_are_left_to_them(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = write(tmp_path, GRID)
    assert harness("sweep", path, "--budget-scale", "0.5").code == 0
    one, *_ = store.runs("mine")
    one.claim()
    done = harness("sweep", path, "--leave")
    assert (done.code, done.out.partition("\n")[0]) == (0, "mine: 3 done, 1 left to other workers")
    one.release()
    assert harness("sweep", path, "--leave").out.startswith("mine: 3 done already, 1 done\n")


BAD = [
    (["--jobs", "0"], "--jobs is '0': give a whole number from 1"),
    (["--budget-scale", "-1"], "--budget-scale is '-1': give a number above 0"),
    (["--budget-scale", "nan"], "--budget-scale is 'nan': give a number above 0"),
    (["--only", "nz=99"], "--only is 'nz=99', and no run meets it"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_sentence(harness: Harness, store: Store, tmp_path: Path, words: list[str], said: str) -> None:
    done = harness("sweep", write(tmp_path, GRID), *words)
    assert done.code == 2
    assert done.err.startswith(f"harness: {said}")
    assert done.err.count("\n") == 1
    assert not store.root.exists()


def test_a_full_disk_ends_a_sweep_with_one_sentence(harness: Harness, store: Store, tmp_path: Path) -> None:
    """A limit on the size of files does for writes what a full disk does."""
    path = write(tmp_path, GRID)
    assert harness("sweep", path, "--only", "seed=0").code == 0
    before = what_was_learned(store, "mine")
    command = f"ulimit -f 3; exec {sys.executable} -m harness sweep {path} --jobs 2 --results {store.root}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 3
    *_, last = done.stderr.splitlines()
    said = r"harness: .* cannot be written \(File too large\): make room .*; the same command goes on from there"
    assert re.fullmatch(said, last)
    assert "Traceback" not in done.stderr
    assert harness("sweep", path).out.startswith("mine: 2 done already, 2 done\nnext: harness table ")
    assert what_was_learned(store, "mine").items() >= before.items()


def test_ctrl_c_leaves_checkpoints_and_the_sweep_goes_on(
    harness: Harness, started: Callable[..., "subprocess.Popen[str]"], store: Store, tmp_path: Path
) -> None:
    path = write(tmp_path, GRID.replace("[[grid]]", "[[grid]]\nsamples = 1e7"))
    driver = started("sweep", path, "--jobs", 2, "--results", store.root)
    while not list(store.runs("mine")):
        assert driver.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.1)
    driver.send_signal(signal.SIGINT)  # the same one, as where a batch system signals every process
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert err.splitlines()[-1] == "harness: interrupted, nothing is lost: the same command goes on"
    stopped = [run.read() for run in store.runs("mine")]
    assert {record.status for record in stopped} == {"interrupted"}
    assert all(0 < record.ledger["samples"] < 1e7 for record in stopped)
    planned = json.loads(harness("sweep", path, "--dry-run", "--json").out)
    assert sum(row["state"] == "interrupted" for row in planned) == len(stopped)


def one_line(folder: Path, line: str) -> Path:
    """Write an algorithm with this line in its step, and return its path."""
    path = folder / "odd.py"
    path.write_text((PLUGINS / "renyi.py").read_text().replace("    q = state", f"    {line}\n    q = state"))
    return path


ODD = ["--dataset", toy.__file__, "--nz", "2", "--hidden", "5", "--batch-size", "10", "--samples", "500"]


def test_code_that_changes_the_working_folder_moves_no_store(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = one_line(tmp_path, "import os; os.chdir('/')")
    (tmp_path / "data").mkdir()
    for name, value in {"HARNESS_RESULTS": "mine", "HARNESS_DATA": "data"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    done = harness("run", "--algo", odd, *ODD)
    assert done.code == 0, done.err
    assert (tmp_path / "mine" / "runs").is_dir()
    assert os.environ["HARNESS_DATA"] == str(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    store = Store(Path("mine"))
    monkeypatch.chdir("/")
    assert [run.read().status for run in store.runs()] == ["done"]


def test_a_store_that_goes_away_is_no_other_process(harness: Harness, tmp_path: Path) -> None:
    odd = one_line(tmp_path, f"import shutil; shutil.rmtree({str(tmp_path / 'results')!r}, ignore_errors=True)")
    done = harness("run", "--algo", odd, *ODD)
    assert done.code == 3
    assert re.search(r"the folder '.*/results/runs/odd-.*' is gone.* moved or removed", done.err), done.err


def test_a_run_that_is_wanted_twice_is_made_once(tmp_path: Path) -> None:
    """As where tuning tries the same settings again."""
    spec = make_spec("aevb", toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 40}, first_mark=100)
    job = Job(spec, Budget(samples=400), "runs")
    outcomes = local.LocalExecutor(Store(tmp_path), 2).run([job, job], lambda *_: None)
    assert [outcome.status for outcome in outcomes] == ["done", "already"]


def test_a_job_that_is_refused_in_the_same_way_three_times_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that says each time that the same process writes the run, which no process does; and one that cannot start."""
    spec, started = make_spec("aevb", toy.__file__, settings={"nz": 2}), list[object]()

    def start(*_: object, **__: object) -> pool.Worker:
        here, there = multiprocessing.Pipe()
        said = "odd" if len(started) == 1 else "held by another process"
        started.append(there)
        there.send(pool.Last(Ended("busy", said)))
        return pool.Worker(SimpleNamespace(join=lambda: None, exitcode=0), here)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(pool, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(pool, "_start", start)
    executor, jobs = local.LocalExecutor(Store(tmp_path), 1), [Job(spec, Budget(samples=100), "runs")]
    (outcome,) = executor.run(jobs, lambda *_: None)
    assert outcome.status == "failed"
    assert outcome.reason == "held by another process; so it ended 3 times"
    assert len(started) == 5

    def cannot(*_: object, **__: object) -> pool.Worker:
        raise EOFError("the server is gone")

    monkeypatch.setattr(pool, "_start", cannot)
    (outcome,) = executor.run(jobs, lambda *_: None)
    assert outcome.status == "failed"
    assert "could not be started (EOFError: the server is gone): the same command resumes it" in str(outcome.reason)
