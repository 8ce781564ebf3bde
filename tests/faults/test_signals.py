"""SIGTERM, SIGUSR1 and SIGHUP write a checkpoint within ten seconds, whatever a run is doing, and it goes on from there."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import TINY, Survived
from support import PLUGINS, Result, environment

from harness.runs import signals
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Started = Callable[..., "subprocess.Popen[str]"]

LIMIT = 10.0
NEVER = """
    import os, time
    if os.path.exists({flag!r}):
        time.sleep(3600)
"""
LONG = [
    "--marginal",
    "hmc-density",
    "--marginal-points",
    "40",
    "--marginal.n-samples",
    "100000",
    "--first-mark",
    "1000",
]


def hanging(folder: Path) -> tuple[Path, Path]:
    """Return an algorithm whose step does not end while a file is there, and that file."""
    flag, path = folder / "hang", folder / "hanging.py"
    before, step, after = (PLUGINS / "renyi.py").read_text().partition("    q = state")
    path.write_text(before + NEVER.format(flag=str(flag)).lstrip("\n") + step + after)
    return path, flag


def the_run(store: Store, driver: "subprocess.Popen[str]") -> Run:
    """Return the one run of a store, as soon as it is there and trains."""
    while driver.poll() is None:
        for run in store.runs():
            return run
        time.sleep(0.05)
    raise AssertionError(driver.communicate())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
@pytest.mark.parametrize("what", ["evaluation", "training", "hanging"])
def test_signals_while_it_trains_evaluates_and_hangs(
    started: Started, tmp_path: Path, name: str, what: str, full: bool, survived: Survived
) -> None:
    path, flag = hanging(tmp_path)
    words = {
        "training": ["run", "--algo", "aevb", *TINY, "--samples", "1e9", "--first-mark", "1000000000"],
        "evaluation": ["run", "--algo", "aevb", *TINY, "--samples", "1e9", *LONG],
        "hanging": ["run", "--algo", str(path), *TINY, "--samples", "1e9", "--first-mark", "1000000000"],
    }[what]
    signum = getattr(signal, name)
    named = ["--algo", str(path)] if what == "hanging" else []
    tried = ended = 0
    for again in range(3 if full else 1):
        tried += 1
        flag.unlink(missing_ok=True)
        store = Store(tmp_path / f"{again}")
        driver = started(*words, "--results", store.root, HARNESS_CHECKPOINT_SECONDS="0.2")
        run = the_run(store, driver)
        time.sleep(1.5)
        if what == "hanging":
            while run.checkpoint() is None:
                time.sleep(0.1)
            flag.touch()
            time.sleep(0.5)
        begun = time.monotonic()
        driver.send_signal(signum)
        _, err = driver.communicate(timeout=60)
        took = time.monotonic() - begun
        assert driver.returncode == 128 + signum, err
        next_command = " ".join(["harness resume", run.id, *named])
        assert err == f"harness: interrupted, nothing is lost: go on with `{next_command}`\n"
        assert took < LIMIT
        record, checkpoint = run.read(), run.checkpoint()
        assert record.status == "interrupted"
        assert checkpoint is not None
        assert record.ledger["samples"] >= checkpoint["ledger"]["samples"] > 0
        assert not list(store.damage())
        flag.unlink(missing_ok=True)
        went_on = started("resume", run.id, *named, "--results", store.root)
        while run.read().status != "running":
            assert went_on.poll() is None, went_on.communicate()
            time.sleep(0.05)
        went_on.kill()
        ended += 1
    survived("SIGTERM, SIGUSR1 or SIGHUP while a run trains, evaluates, hangs", tried, ended)


FOREVER = ["--algo", "aevb", *TINY, "--samples", "1e9", "--first-mark", "1000000000"]

IN_A_TERMINAL = """
import os, pty, select, sys
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-P", "-m", "harness", *sys.argv[1:]])
while sys.stdin not in (ready := select.select([terminal, sys.stdin], [], [])[0]):
    os.read(terminal, 1 << 16)
os.close(terminal)  # as when the window is closed, or the connection is lost
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without")
@pytest.mark.parametrize("command", ["run", pytest.param("sweep", marks=pytest.mark.slow)])
def test_what_has_lost_its_terminal_loses_nothing(command: str, tmp_path: Path) -> None:
    """The first checkpoint would be written after a minute; progress is drawn on the terminal until it is lost, and beyond."""
    store, path = Store(tmp_path / "results"), tmp_path / "mine.toml"
    base = f'dataset = "{toy.__file__}"\nnz = 2\nhidden = 5\nfirst-mark = 1000000000\nsamples = 1e9\n'
    path.write_text(f'[base]\n{base}[[grid]]\nalgo = "aevb"\nseed = [0, 1]\n')
    words = ["run", *FOREVER] if command == "run" else ["sweep", str(path), "--jobs", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *words, "--results", str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(FORCE_COLOR="1"),  # which has rich draw even where no terminal is any more
    ) as driver:
        while len(list(store.runs())) < (1 if command == "run" else 2):
            assert driver.poll() is None
            time.sleep(0.1)
        time.sleep(1.0)
        out, _ = driver.communicate("close it\n", timeout=60)
    assert int(out) == 128 + signal.SIGHUP
    for run in store.runs():
        checkpoint = run.checkpoint()
        assert checkpoint is not None
        assert checkpoint["ledger"]["samples"] > 0
        assert run.read().status == "interrupted"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without")
def test_a_run_that_is_to_ignore_the_loss_of_its_terminal_goes_on(started: Started, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        driver = started("run", *FOREVER, "--wall-seconds", "2", "--results", store.root)
    finally:
        signal.signal(signal.SIGHUP, before)
    run = the_run(store, driver)
    driver.send_signal(signal.SIGHUP)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 0, err
    assert run.read().status == "done"


def test_a_step_that_hangs_beyond_the_budget_of_wall_time_fails(
    harness: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "HANGING_SECONDS", 1.0)
    path, flag = hanging(tmp_path)
    words = ["run", "--algo", path, *TINY, "--first-mark", "1000000000", "--wall-seconds", "0.5"]
    assert harness(*words, "--samples", "1000").code == 0
    flag.touch()
    done = harness(*words, "--seed", "1")
    assert done.code == 3
    assert "a step of algorithm 'hanging' hangs" in done.err
    flag.unlink()
    (run,) = (run for run in Store(tmp_path / "results").runs() if run.read().status == "failed")
    assert "go on with `harness resume" in harness(*words, "--seed", "1").err
    assert harness("resume", run.id, "--algo", path).code == 0
    assert run.read().status == "done"
