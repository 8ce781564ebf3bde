"""Runs are selected in one way everywhere, and removed by it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, put, seeds, stored

from harness.analysis import chosen
from harness.errors import BadInput
from harness.safe_text import is_word
from harness.specs.where import parse_selection
from harness.store.store import Store

Harness = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def filled(store: Store) -> Store:
    put(store, [*seeds(-130.0, -131.0), *seeds(-140.0, algorithm="my-dreg"), stored(nz=5)], "mine")
    put(store, [stored(status="failed", seed=7)], "runs")
    return store


def ids(runs: list[object]) -> list[str]:
    return [run.id for run in runs]  # type: ignore[attr-defined]


def test_a_selection_is_a_name_conditions_or_both(filled: Store) -> None:
    every = len(list(filled.runs()))
    for text, n in [
        ("", every), ("mine", 4), ("runs", 1), ("aevb-nz3", 1), ("mine/aevb-nz3", 2), ("mine:algo=aevb", 3),
        ("mine:algo=aevb,nz=3,nz=5", 3), ("algo=my_dreg", 1), ("mine:algo=./my_dreg.py", 1), ("algo=elsewhere/my-dreg.py", 1),
        ("status=failed", 1), ("nz=3.0,seed=0", 2),
    ]:  # fmt: skip
        assert len(chosen.runs(filled, text)) == n, text
    assert len(chosen.several(filled, ["mine:seed=0", "mine:algo=aevb"])) == 4
    for text, said in [
        ("mein", "there is no run 'mein'"),
        ("mine:nz=7", "no run of 'mine' has nz 7: there is 3 and 5"),
        ("mine:nzz=3", r"'mine:nzz=3' has option 'nzz' .did you mean 'nz'"),
        ("mine:nz", "'mine:nz' has 'nz': give option=value"),
        ("=3", "give option=value"),
    ]:
        with pytest.raises(BadInput, match=said):
            chosen.runs(filled, text)
    assert parse_selection("C:/results").where == {}


def test_one_run_is_meant_or_all_are_named(filled: Store) -> None:
    assert chosen.one(filled, "mine:algo=my-dreg").id.startswith("my-dreg")
    assert chosen.one(filled, "runs").id == next(filled.runs("runs")).id
    with pytest.raises(
        BadInput, match=r"'mine:algo=aevb' means 3 runs, and one is wanted: aevb-.*see `harness list mine:"
    ):
        chosen.one(filled, "mine:algo=aevb")


def test_the_last_digits_name_a_run(store: Store) -> None:
    put(store, [stored()])
    (run,) = store.runs()
    assert store.find(run.id.rpartition("-")[2]).id == run.id


def test_listing_selects_sorts_and_limits(harness: Harness, filled: Store) -> None:
    rows = json.loads(harness("list", "mine:algo=aevb", "--sort", "samples", "--json").out)
    assert [row["samples"] for row in rows] == sorted((row["samples"] for row in rows), reverse=True)
    assert len(json.loads(harness("list", "--limit", 2, "--json").out)) == 2
    assert {row["model"] for row in rows} == {"mlp"}
    assert harness("list", "mine", "--sort", "worst").code == 2


def test_removing_asks_and_takes_what_is_selected(harness: Harness, filled: Store) -> None:
    refused = harness("rm", "mine:algo=aevb")
    assert (refused.code, refused.err) == (
        2,
        "harness: 3 runs would be removed, and nobody can be asked: give --yes to do so\n",
    )
    assert harness("rm", "mine:algo=aevb", "--dry-run").code == 0
    assert len(list(filled.runs())) == 5
    done = harness("rm", "mine:algo=aevb", "status=failed", "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, "removed 4 runs")
    assert [run.path.parent.name for run in filled.runs()] == ["mine"]
    assert not (filled.root / "runs").exists()
    assert harness("rm", "mine:algo=aevb", "--yes").code == 2
    assert harness("rm").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [([""], "a selection is empty"), (["runs", ""], "a selection is empty"), ([":"], "nothing behind the colon"),
     (["mine:"], "'mine:' has nothing behind the colon")],
)  # fmt: skip
def test_nothing_is_removed_by_a_variable_that_is_not_set(
    harness: Harness, filled: Store, words: list[str], said: str
) -> None:
    done = harness("rm", "--yes", *words)
    assert (done.code, said in done.err) == (2, True), done.err
    assert len(list(filled.runs())) == 5


def test_ones_own_runs_go_before_those_of_other_groups(store: Store) -> None:
    put(store, [stored(seed=1), stored(seed=0)], "runs")
    put(store, [stored(seed=1)], "tune-z")
    assert {run.path.parent.name for run in chosen.runs(store, "aevb")} == {"runs"}


def test_a_run_that_is_being_written_is_not_removed(harness: Harness, filled: Store) -> None:
    run = next(filled.runs("runs"))
    run.claim()
    try:
        done = harness("rm", "runs", "mine:algo=my-dreg", "--yes")
    finally:
        run.release()
    assert done.code == 3
    assert f"{run.path} is left: run {run.id} is being written" in done.err
    assert done.out.splitlines()[-1] == "removed 1 run"
    assert run.exists()


def test_a_damaged_run_can_be_removed_by_its_id(harness: Harness, filled: Store) -> None:
    run = next(filled.runs("runs"))
    (run.path / "run.json").write_text("{}")
    assert harness("rm", "nz=3", "--yes", "--dry-run").err.startswith(f"harness: {run.path / 'run.json'} is torn")
    assert harness("rm", run.id, "--yes").out.splitlines()[-1] == "removed 1 run"


def test_export_and_only_take_selections(harness: Harness, filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert harness("export", "mine:algo=my-dreg", "runs", "--format", "json", "--out", out).code == 0
    assert len(json.loads(out.read_text())) == 2
    assert harness("export", "--format", "json", "--out", out, "--only", "mine:nz=5").code == 0
    assert len(json.loads(out.read_text())) == 1


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("mi", ["mine"]),
        ("mine:al", ["mine:algo=aevb", "mine:algo=my-dreg"]),
        ("mine:algo=aevb,n", ["mine:algo=aevb,nz=3", "mine:algo=aevb,nz=5"]),
    ],
)
def test_a_shell_completes_selections(
    harness: Harness, filled: Store, monkeypatch: pytest.MonkeyPatch, typed: str, found: list[str]
) -> None:
    from click.shell_completion import ShellComplete

    from harness.cli.app import cli

    monkeypatch.setenv("HARNESS_RESULTS", str(filled.root))
    completion = ShellComplete(cli, {}, "harness", "_HARNESS_COMPLETE")
    assert [item.value for item in completion.get_completions(["list"], typed)] == found


def test_a_shell_completes_nothing_that_it_would_obey(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups, runs and settings of a stranger's store."""
    from click.shell_completion import ShellComplete

    from harness.cli.app import cli

    monkeypatch.setenv("HARNESS_RESULTS", str(filled.root))
    completion = ShellComplete(cli, {}, "harness", "_HARNESS_COMPLETE")
    (run,) = list(filled.runs("runs"))
    for name in ("$(touch x)", "a\nplain,b", "-rf", "\x1b[31m"):
        shutil.copytree(run.path, filled.root / name / f"{name}x")
    other = stored(seed=7)
    other.record.spec["algorithm"]["name"] = "$(touch x)"
    put(filled, [other], "mine")
    said = [item.value for item in completion.get_completions(["list"], "")]
    assert {"mine", "runs", run.id} <= set(said)
    assert {item.value for item in completion.get_completions(["list"], "mine:algo=")} == {
        "mine:algo=aevb",
        "mine:algo=my-dreg",
    }
    assert all(map(is_word, said))
