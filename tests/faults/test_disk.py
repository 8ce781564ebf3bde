"""A disk that is full, at whatever point: one sentence that names the path, nothing finished lost, and on it goes with room."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Survived
from support import Result, environment, what_was_learned

from harness import files
from harness.errors import BadInput, StoreTrouble
from harness.runs import runner
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

SCRIPT = Path(__file__).parent / "small_disk.py"


def unshared() -> list[str]:
    """Return the command that runs another where it may mount, or skip."""
    command = ["unshare", "--mount", "--map-root-user"]
    try:
        tried = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no unshare here: {error}")
    if tried.returncode:
        pytest.skip(f"mounting is not permitted here: {tried.stderr.strip()}")
    return command


@pytest.mark.slow
def test_small_disks(tiny_run: list[str], tmp_path: Path, full: bool, survived: Survived) -> None:
    """On file systems of twenty sizes, or one of half the size needed; see `small_disk.py`."""
    command = [*unshared(), sys.executable, str(SCRIPT), str(tmp_path), "20" if full else "1", *tiny_run]
    done = subprocess.run(
        command, capture_output=True, text=True,
        env=environment(HARNESS_CHECKPOINT_SECONDS="0", PYTHONPATH=str(SCRIPT.parent.parent)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {one["code"] for one in found} >= ({0, 3} if full else {3})
    survived("disk of some small size", len(found), sum(one["survived"] for one in found))
    for one in found:
        assert one["survived"], one


class Full:
    """Makes the n-th call that writes and all after it fail, as a full disk does."""

    def __init__(self, at: int):
        self.at, self.calls = at, 0

    def failing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls >= self.at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args, **kwargs)

        return write


def test_a_write_that_fails_at_every_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool, survived: Survived
) -> None:
    """At every seventh call without `--full`."""
    every = 1 if full else 7
    spec = make_spec(
        "aevb", toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 10}, first_mark=250, points=20
    )  # fmt: skip
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    budget = Budget(samples=1000)
    runner.ensure(Store(tmp_path / "whole"), spec, budget)
    expected = what_was_learned(Store(tmp_path / "whole"), "runs")
    tried = kept = 0
    while True:
        disk, store = Full(1 + tried * every), Store(tmp_path / f"{tried}")
        before: dict[Path, bytes] = {}

        def watch(*_: Any, store: Store = store, before: dict[Path, bytes] = before) -> None:
            before.update({run.path: (run.path / "run.json").read_bytes() for run in store.runs()})

        with monkeypatch.context() as patched:
            for name in ("fsync", "replace", "mkdir"):
                patched.setattr(os, name, disk.failing(getattr(os, name)))
            try:
                runner.ensure(store, spec, budget, watch=watch)
                break  # no call is left to fail
            except (StoreTrouble, BadInput) as error:
                assert "No space left on device" in str(error)
                assert str(tmp_path) in str(error)
        tried += 1
        for run in store.runs():
            assert run.read().status in ("running", "done", "interrupted")  # whole, and checked
        assert {run.path for run in store.runs()} >= before.keys()
        runner.ensure(store, spec, budget)
        kept += what_was_learned(store, "runs") == expected
        assert not list(store.root.rglob(".*")), "leftovers"
    assert tried * every > 60
    survived("a write, fsync or rename that fails, at each call", tried, kept)


def test_a_full_disk_is_one_sentence_for_every_command(
    harness: Harness, tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: Survived
) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    (run,) = Store(tmp_path / "results").runs()
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    commands = [
        ["evaluate", run_id, "--estimator", "lower-bound"],
        ["plot", run_id],
        ["extend", run_id, "--samples", "40000"],
        ["export", "--format", "json", "--out", tmp_path / "out.json"],
        ["compare", run_id, run_id],
    ]
    clear = 0
    for words in commands:
        with monkeypatch.context() as patched:
            for name in ("fsync", "replace", "rename"):
                patched.setattr(os, name, Full(1).failing(getattr(os, name)))
            done = harness(*words)
        assert done.code in (2, 3), (words, done)
        assert done.err.count("\n") == 1, done.err
        assert "No space left on device" in done.err
        assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before, words
        clear += 1
    survived("a full disk in another command", len(commands), clear)
    assert files.read_file(run.path / "run.json") == before["run.json"]
