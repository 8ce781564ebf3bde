"""Algorithms that misbehave: each run says why it has no result and keeps its rows, and the sweep goes on."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import TINY, Survived
from support import PLUGINS, Result, environment

from harness.report import runs
from harness.runs import runner
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

WORDS = [*TINY, "--first-mark", "1000", "--samples", "10000"]
AFTER = 60  # steps of sound training, of 10 points and 5 samples each
FAULTS = {
    "nan": ("return Info(float('nan'))", "diverged", "objective became nan after 3,000 samples"),
    "infinite": ("return Info(float('inf'))", "diverged", "objective became inf after 3,000 samples"),
    "minus-infinite": ("return Info(float('-inf'))", "diverged", "objective became -inf after 3,000 samples"),
    "poisons": ("state.problem.model.params.flat.data.fill_(float('nan'))", "diverged", "became nan after"),
    "raises": (
        "raise ValueError('no such thing')",
        "failed",
        "in step: ValueError: no such thing: `raise ValueError('no such thing')`",
    ),
    "exits": ("import sys; sys.exit(0)", "failed", "in step: SystemExit: 0: `import sys; sys.exit(0)`"),
    "out-of-memory": ("torch.empty(10**15)", "failed", "allocate"),
    "forks": ("import os; os.fork()", "failed", "forked, and what another process computes cannot be metered"),
    "leaves-a-child": ("import os\n    if os.fork() == 0: import time; time.sleep(2)", "failed", "forked"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "failed", "its process was killed by SIGKILL"),
    "no-info": ("return None", "failed", "no-info.py: AttributeError"),
    "says-a-word": ("return Info('much')", "failed", "says-a-word.py: ValueError"),
    "wrong-shape": ("state.problem.model.log_p_xz(batch.x, torch.zeros(3, 7, 9))", "failed", "in step: RuntimeError"),
}
HEAD = """
    global steps
    steps += 1
    if steps > {after}:
        {fault}
"""


def written(folder: Path, name: str, fault: str) -> Path:
    """Write an algorithm that trains soundly for some steps and then has this fault."""
    before, step, after = (PLUGINS / "renyi.py").read_text().partition("    q = state")
    before = before.replace("class Config", "steps = 0\n\nclass Config")
    path = folder / f"{name}.py"
    path.write_text(before + HEAD.format(after=AFTER, fault=fault.replace("\n", "\n    ")).lstrip("\n") + step + after)
    return path


def run_alone(path: Path, results: Path) -> "subprocess.CompletedProcess[str]":
    """Run an algorithm in a process of its own."""
    command = [sys.executable, "-P", "-m", "harness", "run", "--algo", str(path), *WORDS, "--results", str(results)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


@pytest.mark.slow
def test_a_sweep_of_algorithms_that_misbehave(harness: Harness, tmp_path: Path, full: bool, survived: Survived) -> None:
    faults = {name: FAULTS[name] for name in (FAULTS if full else ("nan", "killed"))}
    paths = {name: written(tmp_path, name, fault) for name, (fault, _, _) in faults.items()}
    files = ", ".join(f'"{path}"' for path in paths.values())
    sweep = tmp_path / "mine.toml"
    sweep.write_text(f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 10
first-mark = 1000
samples = 10000

[[grid]]
algo = [{files}, "{PLUGINS / "renyi.py"}"]

[[grid]]
algo = ["aevb", "wake-sleep"]
lr = 10

[figure]
x = "samples"
""")
    done = harness("sweep", sweep, "--json", "--jobs", 2)
    assert done.code == 3, done.err
    assert "Traceback" not in done.err
    outcomes = json.loads(done.out)
    found = {re.sub(r"-toy-.*", "", row["run"]): row for row in outcomes}
    store, kept = Store(tmp_path / "results"), 0
    for name, (_, status, reason) in faults.items():
        assert found[name]["status"] == status, found[name]
        assert reason in found[name]["reason"], found[name]
        run = store.find(found[name]["run"])
        record, rows = run.content()
        assert record.status == ("running" if name == "killed" else status)
        assert [row["ledger"]["samples"] for row in rows][:5] == [1000, 1300, 1600, 2000, 2550]
        kept += 1
    assert found["renyi"]["status"] == "done"
    tens = [row["status"] for row in outcomes if row["run"].startswith(("aevb", "wake"))]
    assert set(tens) <= {"diverged", "done"}  # Adagrad makes less of a step of 10
    assert list(store.damage()) == []
    survived("an algorithm that misbehaves in a sweep", len(faults) + 2, kept + 2)

    diverged = sum(status == "diverged" for _, status, _ in faults.values()) + tens.count("diverged")
    assert harness("list").out.count(" diverged ") == diverged
    table = harness("table", sweep)
    assert table.code == 0, table.err
    assert "diverged" in table.out + table.err
    drawn = tmp_path / "figure.svg"
    assert harness("plot", sweep, "--only", "algo=aevb", "--out", drawn).code in (0, 2)


def test_step_size_ten_on_mnist_ends_as_diverged_or_done(harness: Harness, mnist: object, tmp_path: Path) -> None:
    done = harness(
        "run", "--algo", "aevb", "--nz", "3", "--hidden", "20", "--lr", "10", "--warmup", "1", "--samples", "20000"
    )
    (run,) = Store(tmp_path / "results").runs()
    record = run.read()
    assert (done.code, record.status) in {(3, "diverged"), (0, "done")}
    if record.status == "diverged":
        assert "with lr=10" in done.err
        assert "try a smaller step size" in done.err


def test_an_algorithm_that_leaks_is_reported(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "GROWTH_BYTES", 50e6)
    leak = "keep.append(torch.ones(1_000_000))"
    path = written(tmp_path, "leaks", leak)
    path.write_text(path.read_text().replace("steps = 0", "steps, keep = 0, []"))
    done = run_alone(path, tmp_path / "results")
    assert done.returncode == 0, done.stderr
    (run,) = Store(tmp_path / "results").runs()
    memory = run.read().provenance[0]["memory"]
    assert memory["most"] >= memory["last"] > memory["first"] + 50e6
    assert "note: memory grew from " in harness("show", run.id).out


def test_a_fork_leaves_one_process_that_writes(harness: Harness, tmp_path: Path) -> None:
    path = written(tmp_path, "forks", FAULTS["forks"][0])
    done = run_alone(path, tmp_path / "results")
    assert done.returncode == 3
    assert done.stderr.count("\nharness: ") == 1  # behind the lines of its marks
    assert "forked" in done.stderr
    (run,) = Store(tmp_path / "results").runs()
    assert run.read().status == "failed"
    assert not run.owned()


def test_a_failed_step_leaves_no_half_step_behind(harness: Harness, tmp_path: Path) -> None:
    """A step that fails after it has changed the parameters: what goes on is the state before it, or nothing."""
    path = written(tmp_path, "half", "state.problem.model.params.flat.data += 1; 1 / 0")
    flag = tmp_path / "flag"
    sound = f"if steps > {AFTER}"
    path.write_text(path.read_text().replace(sound, f"{sound} and __import__('os').path.exists('{flag}')"))
    flag.touch()
    done = harness("run", "--algo", path, *WORDS)
    assert done.code == 3
    assert "in step: ZeroDivisionError" in done.err
    flag.unlink()
    (run,) = Store(tmp_path / "results").runs()
    assert harness("resume", run.id, "--algo", path).code == 0
    torn = run.rows()
    whole = harness("run", "--algo", path, *WORDS, "--results", tmp_path / "whole")
    assert whole.code == 0
    (undisturbed,) = Store(tmp_path / "whole").runs()
    assert [row["estimates"] for row in torn] == [row["estimates"] for row in undisturbed.rows()]
    assert os.listdir(run.path)
    assert runner.finished(run.read(), runner._budget(run.read()))
