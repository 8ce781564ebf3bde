"""CPU time of commands that read many stored runs, as a ratio to what they cannot avoid: their libraries and the stored JSON.

Both are whole processes that take turns, so that what slows one down slows down the other.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import floors
import pytest
from support import environment, stored

from harness.files import seal
from harness.store.store import Store

pytestmark = pytest.mark.slow

RESULTS = Path(__file__).parents[2] / "results"
EXPERIMENT = """
[[grid]]
algo = ["aevb", "wake-sleep"]
nz = 3
samples = 1e6

[figure]
reference = "fig2"

[[figure.row]]
where = { dataset = "mnist" }
over = { nz = [3, 5] }
title = "MNIST, {nz}"
reference = "mnist_nz{nz}"
"""
FLOOR = """
import json, pathlib, sys
import {libraries}
for path in pathlib.Path(sys.argv[1]).rglob("*.json*"):
    content = path.read_bytes()
    for part in content.splitlines() if path.suffix == ".jsonl" else [content]:
        json.loads(part)
"""


@dataclass(frozen=True)
class Command:
    """A command on a store, and its limit.

    Attributes:
        words: the command.
        libraries: what it cannot do without.
        goal: CPU seconds to aim at.
        at_most: the limit, times a process that imports the libraries and parses every stored file.
        runs: number of runs in the store; 0 for the reference runs of the project.
    """

    words: str
    libraries: str
    goal: float
    at_most: float
    runs: int = 0


COMMANDS = [
    Command("check reference", "scipy.stats", 5, 1.8),
    Command("plot figure2 --out figure.png", "seaborn", 15, 3.5),
    Command("plot figure3 --out figure.png", "seaborn", 15, 2.5),
    Command("plot mine.toml --out figure.png", "seaborn", 5, 4, runs=1000),
    Command("export --format csv --out export", "pandas", 10, 8, runs=1000),
]


def filled(folder: Path, runs: int) -> Path:
    """Return a store of so many runs, each of 31 marks with four estimates."""
    store = Store(folder / "results")
    _, rows = stored()
    (estimate, *_) = rows[0]["estimates"]
    estimates = [
        {**estimate, "mean": -100 / 3, "split": split, "points": points,
         "settings": {"n_samples": 50}, "diagnostics": {"acceptance": 0.9, "effective_sample_size": 11.0}}
        for split in ("train", "test") for points in (2000, 10_000)
    ]  # fmt: skip
    trace = [
        {**rows[0], "marks": {"samples": mark}, "ledger": {**rows[0]["ledger"], "samples": mark}, "estimates": estimates}
        for mark in (10 ** (4 + k / 10) for k in range(31))
    ]  # fmt: skip
    content = "".join(json.dumps(row) + "\n" for row in trace).encode()
    for number in range(runs):
        record, _ = stored("aevb" if number % 2 else "wake-sleep", seed=number // 2)
        run = store.run(f"run-{number}", "mine")
        run.path.mkdir(parents=True)
        (run.path / "trace.jsonl").write_bytes(content)
        record.run = run.id
        record.trace = {"rows": len(trace), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (run.path / "run.json").write_bytes(seal(asdict(record)))
    return store.root


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_command(command: Command, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    results = filled(tmp_path, command.runs) if command.runs else RESULTS
    if not results.is_dir():
        pytest.skip("the reference runs are not here")
    env = environment(GITHUB_ACTIONS="", HARNESS_RESULTS=str(results))
    seconds = []

    def run(*words: object) -> None:
        subprocess.run([sys.executable, *map(str, words)], env=env, cwd=tmp_path, check=True, capture_output=True)

    def work() -> None:
        before = floors.children_seconds()
        run("-m", "harness", *command.words.split())
        seconds.append(floors.children_seconds() - before)

    def floor() -> None:
        run("-c", FLOOR.format(libraries=command.libraries), results)

    run("-m", "harness", *command.words.split())  # compiles
    ratio = floors.in_turn(work, floor, rounds=3, calls=1, clock=floors.children_seconds)
    over = f" over {command.runs:,} runs" if command.runs else ""
    beside = f"{ratio:.2f} × importing {command.libraries} and parsing the store"
    record_property(f"harness {command.words}{over}", f"{min(seconds):.1f} CPU s (goal {command.goal:g}), {beside}")
    assert ratio <= command.at_most
