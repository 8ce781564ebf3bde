"""What is seen of runs under way: on a terminal of 80 columns, and by programs."""

import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest
from rich.console import Console
from shared_runs import make
from support import Result

from harness.analysis.underway import Underway, underway
from harness.report import watch
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def run(store: Store) -> Iterator[Run]:
    """A run that this process is making: 10⁵ of its 10⁶ samples are spent."""
    made = make(store, status="running")
    make(store, 1)
    make(store, 2, status="running")  # whose process was killed
    made.claim()
    yield made
    made.release()


def test_only_runs_that_a_process_makes_are_under_way(store: Store, run: Run) -> None:
    (one,) = underway(store.runs())
    assert (one.group, one.run, one.foreign, one.counter) == ("mine", run.id, False, "samples")
    assert (one.spent, one.limit, one.fraction) == (1e5, 1e6, 0.1)
    assert one.left == pytest.approx(9.0)  # a second for a tenth
    assert (one.estimator, one.now) == ("lower-bound", {"train": -149.0, "test": -150.0})
    assert one.curve == [-200.0, -150.0]


def test_elsewhere_a_line_is_printed_once(store: Store, run: Run, harness: Harness) -> None:
    done = harness("watch")
    line = f"mine/{run.id}: 10% of 1,000,000 samples, lower-bound: train -149.00 test -150.00, 0:09 left\n"
    assert (done.code, done.out, done.err) == (0, line, "")
    (found,) = json.loads(harness("watch", "mine", "--json").out)
    assert (found["run"], found["fraction"], found["left"]) == (run.id, 0.1, pytest.approx(9.0))
    run.release()
    assert harness("watch").out == "no run is under way\n"
    done = harness("watch", "nothing")
    assert (done.code, done.err.count("\n")) == (2, 1)


def test_on_a_terminal_it_goes_on_until_runs_end(
    store: Store, run: Run, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, looks = pyte.Screen(80, 24), []
    stream = pyte.ByteStream(screen)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            stream.feed(text.replace("\n", "\r\n").encode())
            return len(text)

    def pause(seconds: float) -> None:
        looks.append([line.rstrip() for line in screen.display if line.strip()])
        record = run.read()
        if len(looks) == 2:
            row = dict(run.rows()[-1])
            row["ledger"] = {**row["ledger"], "samples": 5e5, "wall_seconds": 5.0}
            row["estimates"] = [{**e, "mean": -131.0} for e in row["estimates"]]
            run.append(record, row)
            record.ledger, record.summary = row["ledger"], row["estimates"]
            run.write(record)
        if len(looks) == 4:
            record.status = "done"
            run.write(record)
            run.release()

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    ended: list[str] = []

    def words(one: Underway) -> str:
        ended.append(one.run)
        return f"{one.group}/{one.run}: done"

    watch.watch(lambda: underway(store.runs()), words, pause=pause)
    assert ended == [run.id]
    head, line = looks[0]
    assert head.split() == ["1", "run", "spent", "nats", "left"]
    assert line.split()[0] == run.id
    assert "10%" in line
    assert "-150.00  ▁█" in line
    assert line.endswith("0:09")
    assert "50%" in looks[3][1]
    assert "-131.00  ▁▆█" in looks[3][1]
    assert looks[3][1].endswith("0:05")
    assert all(len(line) <= 80 for look in looks for line in look)
    left = [line.rstrip() for line in screen.display if line.strip()]
    assert left == [f"mine/{run.id}: done", "no run is under way any more"]


def test_many_runs_with_long_ids_fit_80_columns() -> None:
    long = "reweighted-wake-sleep-binarized-mnist-nz200-s0-01234567"
    runs = [
        Underway(
            "mine", long, True, "cpu_seconds", 1.0, 3.0, 86_400.0 * 3, "lower-bound", {"test": -123.456}, [1.0] * 20
        ),
        Underway("mine", "a\x1b[31mb", False, "samples", 0.0, 1.0, None, None, {}, []),
        Underway("mine", "x", False, "samples", 2.0, 1.0, 0.0, "ais", {"train": math.nan}, [math.nan, 1.0, 2.0]),
    ]
    out = io.StringIO()
    Console(file=out, width=80, force_terminal=True, color_system=None).print(watch.table(runs, 80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "reweighted-wake-sle" in lines[1]
    assert "01234567†" in lines[1]
    assert "\x1b[31m" not in lines[2]
    assert "72:00:00" in lines[1]


def test_sparklines() -> None:
    assert watch.sparkline([]) == watch.sparkline([math.nan]) == ""
    assert watch.sparkline([1.0]) == "█"
    assert watch.sparkline([0.0, 7.0, math.inf, 3.0]) == "▁█ ▄"
    assert len(watch.sparkline(list(range(100)))) == watch.SPARKS
