"""Figures, tables and claims take runs of the user's files and of the experiment as they are now, and say what they left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PLUGINS, Result, put, stored

from harness.analysis import selection, versions
from harness.errors import BadInput
from harness.runs.runner import ensure
from harness.specs.experiment import Experiment
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

EXPERIMENT = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 4
batch-size = 10
samples = 200
first-mark = 100

[[grid]]
algo = ["aevb", "dreg.py"]
seed = [0, 1]
"""

CLAIMS = """
experiment = "e.toml"
baseline = "base.json"

[[claim]]
kind = "baseline"
tolerance = 1
at = "end"
where = { algo = "dreg" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dreg.py").write_text((PLUGINS / "renyi.py").read_text())
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    (tmp_path / "c.toml").write_text(CLAIMS)
    return tmp_path


def make(only: str | None = None) -> None:
    """Make the runs of the experiment."""
    for task in Experiment("e.toml").tasks(only):
        assert task.spec is not None
        ensure(Store(Path("results")), task.spec, task.budget, group="e")


def algorithms(harness: Harness, *words: str) -> list[tuple[str, str | None, list[int]]]:
    """Return algorithm, version and seeds of the rows of the experiment's table."""
    rows = json.loads(harness("table", "e.toml", *words, "--json").out)
    return [(row["algorithm"], row.get("version"), row["seeds"]) for row in rows]


def test_runs_of_an_edited_file_are_left_out_and_shown_side_by_side(harness: Harness, folder: Path) -> None:
    make()
    assert harness("table", "e.toml").err == ""
    assert algorithms(harness) == [("aevb", None, [0, 1]), ("dreg", None, [0, 1])]
    assert harness("baseline", "save", "c.toml").code == 0
    assert harness("check", "c.toml").code == 0

    (folder / "dreg.py").write_text((PLUGINS / "renyi.py").read_text() + "# a comment is enough\n")
    left = "harness: left out of 4 runs: 2 of an earlier version of dreg.py; `harness table e.toml --versions all` shows them"
    for words in (["table", "e.toml"], ["plot", "e.toml", "--out", "a.png"]):
        done = harness(*words)
        assert (done.code, done.err.partition(",")[0]) == (0, left), words
    assert algorithms(harness) == [("aevb", None, [0, 1])]
    refused = harness("check", "c.toml")
    assert refused.code == 1, refused.err
    assert (refused.err.partition(",")[0], "it selects no run" in refused.out) == (left, True)
    runs = Store(folder / "results")
    listed = json.loads(harness("list", "e:algo=dreg", "--json").out)
    assert [row["earlier_version_of"] for row in listed] == [["dreg.py"], ["dreg.py"]]
    old = listed[0]["run"]
    assert f"note: run {old} is of an earlier version of dreg.py" in harness("show", old).out
    assert "2 runs are of an earlier version" in harness("compare", "e:algo=aevb", "e:algo=dreg", "--json").err
    assert "dreg.py" in harness("plot", old, "--out", "b.png").err

    # The model of such a run needs no algorithm, and its code is kept.
    assert harness("evaluate", old, "--estimator", "importance", "--K", 5, "--points", 10).code == 0
    assert harness("show", old, "--source").out.startswith(
        f"# dreg.py\n{(PLUGINS / 'renyi.py').read_text()}\n# toy.py\n"
    )

    make()
    date = next(runs.runs("e")).read().provenance[0]["time"][:10]
    done = harness("table", "e.toml", "--versions", "all")
    assert done.err == "harness: 2 runs are of an earlier version of dreg.py\n"
    assert sorted(map(str, algorithms(harness, "--versions", "all"))) == sorted(
        map(str, [("aevb", "now", [0, 1]), ("dreg", date, [0, 1]), ("dreg", "now", [0, 1])])
    )
    assert harness("plot", "e.toml", "--versions", "all", "--out", "c.svg").code == 0
    assert (
        f"dreg ({date})" in (folder / "c.svg").read_text().replace("&#8201;", " ") or (folder / "c.svg").stat().st_size
    )
    gated = harness("check", "c.toml")  # paired by options: the baseline gates the file as it is now
    assert gated.code == 0, gated.err
    assert "holds" in gated.out


def test_a_broken_or_missing_file_is_named(harness: Harness, folder: Path) -> None:
    make("seed=0")
    (folder / "dreg.py").write_text("def (")
    assert "1 of an earlier version of dreg.py" in harness("table", "e.toml").err
    (folder / "dreg.py").unlink()
    done = harness("table", "e.toml")
    assert (done.code, done.err) == (
        0,
        "harness: dreg.py cannot be read, so nobody can tell whether run "
        f"{next(run.id for run in Store(folder / 'results').runs('e') if run.id.startswith('dreg'))} is of its present version\n",
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("hidden = 4", "hidden = 5"),
        ("hidden = 4\n", ""),
        ("batch-size = 10\n", ""),
        ("seed = [0, 1]", "seed = [2, 3]"),
        ("nz = 2\n", "nz = 2\nn-train = 20\n"),
        ("seed = [0, 1]", "seed = [0, 1]\nlr = 0.5"),
    ],
)
def test_runs_that_an_experiment_no_longer_asks_for_are_no_evidence(
    harness: Harness, folder: Path, before: str, now: str
) -> None:
    (folder / "e.toml").write_text(EXPERIMENT.replace(', "dreg.py"', ""))
    make()
    (folder / "e.toml").write_text(EXPERIMENT.replace(before, now))
    done = harness("table", "e.toml")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "harness: none of the 2 stored runs is of the present version (2 that e.toml does not ask for as it is now): make the "
        "present ones with `harness sweep e.toml`; `harness table e.toml --versions all` shows them\n"
    )
    assert harness("plot", "e.toml").code == 2
    assert harness("check", "c.toml").code == 2
    assert [row[2] for row in algorithms(harness, "--versions", "all")] == [[0, 1]]


@pytest.mark.parametrize("earlier", [3, 5])
def test_panels_without_earlier_runs_stand_in_a_table_with_those_that_have_some(
    harness: Harness, folder: Path, earlier: int
) -> None:
    put(Store(Path("results")), [stored(nz=3), stored(nz=5), stored(nz=earlier, lr=0.5)], "e")
    (folder / "e.toml").write_text('[[grid]]\nalgo = "aevb"\nlr = 0.02\nnz = [3, 5]\nseed = 0\nsamples = 1e6\n')
    found = json.loads(harness("table", "e.toml", "--versions", "all", "--json").out)
    expected = [(3, "now"), (5, "now"), (earlier, "not asked for")]
    assert sorted((row["nz"], row["version"]) for row in found) == sorted(expected)
    for form in ("text", "markdown", "csv", "latex"):
        done = harness("table", "e.toml", "--versions", "all", "--format", form)
        assert (done.code, done.out.count("not asked for"), done.out.count("now")) == (0, 1, 2), done


def test_plugins_of_one_name_and_two_kinds_are_told_apart(harness: Harness, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "dreg.py").write_text(Path(toy.__file__).read_text())
    (folder / "e.toml").write_text(EXPERIMENT.replace(toy.__file__, str(folder / "data" / "dreg.py")))
    make()
    done = harness("table", "e.toml")
    assert (done.code, done.err) == (0, "")


def test_a_strangers_record_does_no_harm(harness: Harness, folder: Path) -> None:
    make("seed=0")
    run = next(run for run in Store(folder / "results").runs() if run.id.startswith("dreg"))
    record = run.read()
    for file in ("../../etc/passwd.py", None):
        record.spec["algorithm"]["file"] = file
        run.claim()
        run.write(record)
        run.release()
        assert harness("list").code == 0
    record.spec["algorithm"]["file"] = 5
    run.claim()
    run.write(record)
    run.release()
    assert "has content that no run has" in harness("list").err


def test_what_an_experiment_asks_for_is_told_by_its_options(folder: Path) -> None:
    (folder / "e.toml").write_text(EXPERIMENT.replace("nz = 2", 'nz = 2\nlr = "tuned"'))
    asks = Experiment("e.toml").asks_for
    run = {
        "algo": "dreg",
        "dataset": "toy",
        "model": "mlp",
        "nz": 2,
        "hidden": 4,
        "batch-size": 10,
        "seed": 1,
        "threads": 1,
    }
    run |= {"device": "cpu", "n-train": None, "schedule": "constant", "lr": 0.5}
    assert asks(run.get)
    for option, value in (
        ("algo", "mcem"),
        ("nz", 3),
        ("seed", 2),
        ("n-train", 10),
        ("threads", 2),
        ("batch-size", 11),
    ):
        assert not asks({**run, option: value}.get), option


def test_reference_runs_are_what_the_built_in_experiments_ask_for() -> None:
    store = Store(Path(__file__).parents[2] / "results")
    for name in ("figure2", "figure3"):
        said: list[str] = []
        runs = selection.load(store.runs(name))
        assert versions.present(runs, Experiment(name), said.append) == runs
        assert said == []


def test_conditions_restrict_tables_and_figures(harness: Harness, folder: Path) -> None:
    make()
    rows = json.loads(harness("table", "e.toml:algo=./dreg.py,seed=1", "--json").out)
    assert [(row["algorithm"], row["seeds"]) for row in rows] == [("dreg", [1])]
    assert "no run of e meets seed=7" in harness("table", "e.toml:seed=7").err
    assert "runs cannot be chosen by 'sed' (did you mean 'seed'?)" in harness("plot", "e.toml:sed=1").err
    with pytest.raises(BadInput, match="the file must|there is no experiment|does not exist"):
        Experiment("none.toml")
