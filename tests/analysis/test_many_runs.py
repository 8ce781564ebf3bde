"""Commands over thousands of runs: work is counted instead of timed, per run, and does not grow with their number."""

import random
from pathlib import Path
from typing import Any

import pytest
from support import put, stored

from harness.analysis import compare, selection, table
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures import panels, trace
from harness.figures.labels import MOST_CURVES
from harness.specs.experiment import Experiment
from harness.specs.where import Index, meets
from harness.store import gc
from harness.store import run as store_run
from harness.store.store import Store

TEXT = '[[grid]]\nalgo = ["aevb", "wake-sleep"]\nnz = [3, 5]\nseed = {seeds}\nlr = {rates}\nsamples = 1e6\n{figure}'


def experiment(folder: Path, seeds: int, rates: int = 1, figure: str = "") -> tuple[Experiment, list[StoredRun]]:
    lrs = [0.02 + k for k in range(rates)]
    (folder / "mine.toml").write_text(TEXT.format(seeds=list(range(seeds)), rates=lrs, figure=figure))
    algorithms = ("aevb", "wake-sleep")
    runs = [stored(a, s, nz=nz, lr=lr) for a in algorithms for nz in (3, 5) for lr in lrs for s in range(seeds)]
    return Experiment(str(folder / "mine.toml")), runs


class Calls:
    """Counts the calls of a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str):
        self.n, real = 0, getattr(owner, name)

        def counted(*args: Any, **more: Any) -> Any:
            self.n += 1
            return real(*args, **more)

        monkeypatch.setattr(owner, name, counted)

    def take(self) -> int:
        """Return the calls since the last time."""
        n, self.n = self.n, 0
        return n


def test_a_table_asks_each_run_the_same_number_of_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, per_run = Calls(monkeypatch, StoredRun, "option"), []
    for seeds in (5, 40):
        mine, runs = experiment(tmp_path, seeds)
        table.rows(mine, runs, [], [])
        per_run.append(calls.take() / len(runs))
    assert per_run[1] <= per_run[0]


def test_every_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, runs = experiment(tmp_path, 3)
    store = Store(tmp_path / "results")
    put(store, runs)
    calls = Calls(monkeypatch, store_run, "read_file")
    assert len(selection.group(store, mine, lambda words: None)) == len(runs)
    assert calls.take() == 2 * len(runs)


def test_only_traces_of_runs_that_are_meant_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a damaged one of another run is not told, and one of theirs is; without any that can be read there is an error."""
    mine, runs = experiment(tmp_path, 3)
    store, said = Store(tmp_path / "results"), list[str]()
    put(store, runs)
    one, other = (
        next(run.id for run in runs if (run.algorithm, run.seed) == (name, 0)) for name in ("aevb", "wake-sleep")
    )
    for name in (one, other):
        (store.run(name, mine.name).path / "trace.jsonl").write_bytes(b"{}\n")
    calls = Calls(monkeypatch, store_run, "read_file")
    found = selection.group(store, mine, said.append, where={"algo": "aevb"})
    assert len(found) == len(runs) // 2 - 1
    assert all(run.rows for run in found)
    assert calls.take() == len(runs) + len(runs) // 2 + 1  # of a damaged run the record is read again
    assert [one in words for words in said] == [True]
    with pytest.raises(BadInput, match="no run of mine that is meant can be read"):
        selection.group(store, mine, said.append, where={"algo": "aevb", "nz": 3, "seed": 0})


@pytest.mark.parametrize("text", ["mine", "mine:algo=aevb,algo=wake-sleep"])
def test_every_file_of_a_side_is_read_once(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runs = experiment(tmp_path, 3)
    store = Store(tmp_path / "results")
    put(store, runs)
    calls = Calls(monkeypatch, store_run, "read_file")
    side = compare.side(store, text)
    assert calls.take() == 2 * len(runs)
    assert [(run.record, run.rows) for run in side.runs] == [run.content() for run in store.runs()]


def test_both_sides_read_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runs = experiment(tmp_path, 3)
    store = Store(tmp_path / "results")
    put(store, runs)
    calls = Calls(monkeypatch, store_run, "read_file")
    sides = compare.sides_of(store, "mine:algo=aevb", "mine:algo=wake-sleep")
    assert calls.take() == 2 * len(runs)
    alone = [compare.side(store, one.name) for one in sides]
    assert [[run.id for run in one.runs] for one in sides] == [[run.id for run in one.runs] for one in alone]
    assert {run.id for one in sides for run in one.runs} == {run.id for run in store.runs()}


def test_a_check_of_the_store_reads_every_file_once_and_searches_no_whole_run_for_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, runs = experiment(tmp_path, 3)
    store = Store(tmp_path / "results")
    put(store, runs)
    reads, searches = Calls(monkeypatch, store_run, "read_file"), Calls(monkeypatch, store_run, "leftovers")
    assert list(store.damage()) == []
    assert reads.take() == 2 * len(runs)
    assert gc.collect(store, dry_run=True) == []
    assert (reads.take(), searches.take()) == (0, 0)
    half = next(store.runs()).path / ".run.json.0123abcd"
    half.write_bytes(b"{")
    assert [one.path for one in gc.collect(store, dry_run=True)] == [half]
    assert searches.take() > 0


def test_sides_compare_no_pairs_of_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch, selection, "unlike")
    sides = [compare.Side(name, [stored(name, seed) for seed in range(60)], name) for name in ("aevb", "wake-sleep")]
    compare.compare(sides[0], sides[1], "lower-bound")
    assert calls.take() <= 120
    with pytest.raises(BadInput, match="differ in algorithm.lr"):
        compare.compare(
            sides[0], compare.Side("b", [*sides[1].runs, stored("wake-sleep", 99, lr=0.5)], "b"), "lower-bound"
        )
    with pytest.raises(BadInput, match="are the same run in two groups"):
        compare.compare(sides[0], compare.Side("b", [*sides[1].runs, stored("wake-sleep", 7)], "b"), "lower-bound")


def test_an_index_finds_what_meets_the_conditions() -> None:
    rng = random.Random(0)
    values = [
        1,
        1.0,
        "1",
        True,
        "True",
        "true",
        None,
        "None",
        [1, 2],
        "[1, 2]",
        "nan",
        2,
        "2.0",
        "my_file.py",
        "my-file",
    ]
    runs = [{"a": rng.choice(values), "algo": rng.choice(["my_file.py", "my-file", "aevb", None])} for _ in range(200)]
    index = Index(runs, dict.get)
    for value in [*values, frozenset({"1", "2"}), frozenset()]:
        for where in ({"a": value}, {"algo": "my-file", "a": value}, {}):
            assert index.meeting(where) == [run for run in runs if meets(run.get, where)], where


def test_figures_say_where_there_is_more_than_can_be_read(tmp_path: Path) -> None:
    mine, runs = experiment(tmp_path, 1, rates=30, figure='[figure]\ncompare = ["algo", "lr"]')
    with pytest.raises(BadInput, match=rf"60 curves, and up to {MOST_CURVES} can be told apart.*mine.toml:lr=0.02"):
        panels.draw(mine, runs)
    with pytest.raises(BadInput, match="120 runs are chosen"):
        trace.draw(runs)
    mine, runs = experiment(tmp_path, 1, rates=60, figure='[figure]\npanels = ["nz", "lr"]')
    with pytest.raises(BadInput, match="120 panels in a row, and up to 100 are drawn.*mine.toml:lr=0.02"):
        panels.draw(mine, runs)
    mine, runs = experiment(tmp_path, 1, rates=6, figure='[figure]\npanels = ["nz", "lr"]')
    figure = panels.draw(mine, runs)
    heights = {round(axes.get_position().y0, 3) for axes in figure.axes}
    assert (len(figure.axes), len(heights)) == (12, 2)
