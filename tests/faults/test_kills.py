"""Whatever is killed at whatever moment: a sweep ends with what an undisturbed one has, and does nothing that was done again."""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import OFTEN, Survived, experiment
from support import kill, processes, what_was_learned

import harness.store.run
from harness.errors import BadInput
from harness.runs import runner
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.store import Store
from harness.testing import toy
from harness.training.loop import Training

Started = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds workers by /proc")


class Killer:
    """Sweeps of one experiment in which processes are killed at random moments.

    Attributes:
        kills: how many moments so far.
        changed: runs that were done and then were not what they had been.
    """

    def __init__(self, started: Started, path: Path, store: Store, rng: random.Random, env: dict[str, str]):
        self._start, self._path, self._store, self._rng, self._env = started, path, store, rng, env
        self.kills, self.changed = 0, set[str]()
        self._done: dict[str, bytes] = {}

    def sweep(self, kills: int) -> None:
        """Sweep until it ends or so many moments are reached; at each a process or all of them are killed."""
        before = self._touched()
        driver = self._start("sweep", self._path, "--jobs", 2, "--results", self._store.root, **self._env)
        while self.kills < kills:
            stirs = self._touched() != before  # until then it is starting up, and there is nothing to lose
            try:
                driver.wait(self._rng.uniform(0.0, 1.0) if stirs else 0.1)
                break
            except subprocess.TimeoutExpired:
                alive = processes(driver.marker)  # type: ignore[attr-defined]
                if stirs and alive:
                    self.kills += 1
                    kill(alive if self._rng.random() < 0.3 else [self._rng.choice(alive)])
                    self.look()
        if self.kills >= kills:
            kill(processes(driver.marker))  # type: ignore[attr-defined]
        driver.communicate()

    def _touched(self) -> set[tuple[str, int]]:
        """Return how long the traces are."""
        found = set()
        for path in self._store.root.glob("mine/*/trace.jsonl"):
            with contextlib.suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_size))
        return found

    def look(self) -> None:
        """Note what is done, and what is no longer as it was."""
        for run in self._store.runs("mine"):
            try:
                if run.read().status == "done":
                    content = (run.path / "run.json").read_bytes() + (run.path / "trace.jsonl").read_bytes()
                    if self._done.setdefault(run.id, content) != content:
                        self.changed.add(run.id)
            except BadInput:
                self.changed.add(run.id)


def undisturbed(started: Started, path: Path, folder: Path) -> dict[str, Any]:
    """Return what the sweep of an experiment ends with when nothing is killed."""
    driver = started("sweep", path, "--jobs", 2, "--results", folder / "calm", **OFTEN)
    assert driver.wait() == 0
    return what_was_learned(Store(folder / "calm"), "mine")


@pytest.mark.slow
def test_sigkill_at_random_moments(started: Started, tmp_path: Path, full: bool, survived: Survived) -> None:
    path = experiment(tmp_path, seeds=8 if full else 1, samples=40_000 if full else 10_000)
    expected = undisturbed(started, path, tmp_path)
    rng, moments, kept, rounds = random.Random(7), 200 if full else 1, 0, 0
    while kept < moments:
        rounds += 1
        store = Store(tmp_path / f"killed-{rounds}")
        killer = Killer(started, path, store, rng, OFTEN)
        wanted = moments - kept
        while killer.kills < wanted:
            before = killer.kills
            killer.sweep(wanted)
            if killer.kills == before:
                break  # all is done
        driver = started("sweep", path, "--jobs", 2, "--results", store.root, **OFTEN)
        assert driver.wait() == 0, driver.communicate()
        killer.look()
        assert killer.changed == set()
        assert what_was_learned(store, "mine") == expected
        assert list(store.damage()) == []
        kept += killer.kills
        assert killer.kills > 0
    survived("SIGKILL of a process of a sweep, or of all", moments, kept)


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing catches it to write anything."""


def test_without_the_cut_of_the_trace_kills_would_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: where rows behind the checkpoint are left where they are, what a killed run ends with differs."""
    spec = make_spec("aevb", toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 10}, first_mark=500)
    whole, killed, as_it_is = (Store(tmp_path / name) for name in ("whole", "killed", "as-it-is"))
    runner.ensure(whole, spec, Budget(samples=4000))
    runner.extend(next(whole.runs()), Budget(samples=10_000))
    expected = what_was_learned(whole, "runs")

    def die(training: Training, event: Any) -> None:
        if training.ledger.samples >= 8000:
            raise Killed

    runner.ensure(killed, spec, Budget(samples=4000))
    with pytest.raises(Killed):
        runner.extend(next(killed.runs()), Budget(samples=10_000), watch=die)
    (run,) = killed.runs()
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    assert (run.path / "trace.jsonl").stat().st_size > checkpoint["trace"]["bytes"]
    shutil.copytree(killed.root, as_it_is.root)
    runner.resume(next(as_it_is.runs()))
    assert what_was_learned(as_it_is, "runs") == expected

    replace = harness.store.run.replace_file
    monkeypatch.setattr(
        harness.store.run, "replace_file", lambda path, content: path.suffix == ".jsonl" or replace(path, content)
    )
    runner.resume(run)
    with pytest.raises(BadInput, match=r"trace.jsonl was edited or damaged"):
        what_was_learned(killed, "runs")
    lines = (run.path / "trace.jsonl").read_bytes().splitlines()
    assert len(lines) > len(expected[run.id])
