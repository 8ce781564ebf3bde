"""Tables of models: which estimate stands for log p(x), from which side, at what cost, and what is not there."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Result, put, seeds, stored

from harness.analysis import standings
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.report import standings as report
from harness.specs.experiment import Experiment
from harness.store import origin
from harness.store.store import Store

Harness = Callable[..., Result]

EXPERIMENT = """
title = "Models"
[base]
dataset = "mnist"
samples = 1e6
[[grid]]
algo = ["aevb", "wake-sleep", "iwae"]
nz = [3, 5, 10]
seed = [0, 1, 2]
[table]
reference = "nvil-table1"
[[table.row]]
title = "VAE {nz}"
over = { nz = [3, 10] }
reference = "sbn 200"
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    return tmp_path / "mine.toml"


def with_estimates(run: StoredRun, **means: float) -> StoredRun:
    """Add estimates to the last row, over 100 test points: `exact`, `lower_ais`, `upper_ais_reverse`, ..."""
    for name, mean in means.items():
        direction, _, estimator = name.partition("_")
        run.rows[-1]["estimates"].append(
            {
                "estimator": (estimator or direction).replace("_", "-"), "settings": {}, "diagnostics": {}, "split": "test",
                "direction": direction, "points": 100, "mean": mean, "se_points": 0.8, "se_estimator": 0.6,
            }
        )  # fmt: skip
    return run


def only(mine: Path, runs: list[StoredRun], **asked: Any) -> standings.Row:
    """Return the row of the first model."""
    return standings.rows(Experiment(str(mine)), runs, **asked)[0]


def test_the_mean_over_seeds_with_each_kind_of_error(mine: Path) -> None:
    """Points are shared by seeds, so their error stays; the estimator's noise is independent, and shrinks."""
    runs = [with_estimates(run, lower_importance=-100.0 - run.seed) for run in seeds(-110.0, -112.0, -114.0)]
    row = only(mine, runs)
    assert row["log_p"] == {
        "estimator": "importance", "direction": "lower", "nats": -101, "se_points": pytest.approx(0.8),
        "se_estimator": pytest.approx(0.6 / 3**0.5), "se_seeds": pytest.approx(1 / 3**0.5), "points": 100,
    }  # fmt: skip
    assert row["bound"]["nats"] == -112
    assert row["bound"]["points"] == 10_000  # those of the end, and not the curve's
    assert (row["model"], row["algorithm"], row["seeds"], row["at_most"]) == ("VAE 3", "aevb", [0, 1, 2], None)
    assert (row["samples"], row["cpu_seconds"]) == (1e6, 2000)


@pytest.mark.parametrize(
    ("means", "log_p", "at_most"),
    [
        ({"lower_importance": -101.0, "lower_ais": -100.0, "upper_raised": -97.0, "upper_other": -98.0}, -100.0, -98.0),
        ({"exact": -99.0, "lower_ais": -98.9, "upper_other": -99.1}, -99.0, None),
        ({"upper_other": -98.0}, None, -98.0),
        ({}, None, None),
    ],
)
def test_the_estimate_nearest_to_log_p_from_each_side(
    mine: Path, means: dict[str, float], log_p: float | None, at_most: float | None
) -> None:
    """A lower bound of the encoder is never shown as log p(x), and an exact value needs no other side."""
    row = only(mine, [with_estimates(stored(), **means)])
    assert [row[name] and row[name]["nats"] for name in ("log_p", "at_most")] == [log_p, at_most]


@pytest.mark.parametrize(("above", "said"), [(-98.5, "a nat apart: VAE 3 (1.5 nats)"), (-99.5, None)])
def test_two_sides_that_are_far_apart_are_named(mine: Path, above: float, said: str | None) -> None:
    row = only(mine, [with_estimates(stored(), lower_raise=-100.0, upper_ais=above)])
    told = [words for words in report.notes([row]) if "apart" in words]
    assert told == ([f"log p(x) from below and from above is more than {said}"] if said else [])


def test_the_estimator_that_the_recipe_names(mine: Path) -> None:
    mine.write_text(EXPERIMENT.replace('title = "VAE', 'estimator = "importance"\ntitle = "VAE'))
    assert only(mine, [with_estimates(stored(), lower_importance=-101.0, lower_ais=-100.0)])["log_p"]["nats"] == -101


def test_the_published_value_of_the_algorithm(mine: Path) -> None:
    """Where it is a bound, ours is compared by its bound; an algorithm that the paper has not has none."""
    runs = [with_estimates(stored("wake-sleep"), lower_importance=-119.0)]
    row = only(mine, runs)
    assert (row["published"], row["source"], row["difference"]) == (-120.8, "M&G 2014", pytest.approx(1.8))
    mine.write_text(EXPERIMENT + 'against = "bound"\n')
    assert only(mine, runs)["difference"] == pytest.approx(-130 + 120.8)
    assert only(mine, [stored("aevb")])["published"] is None


def test_a_run_that_is_not_done_is_no_part_of_a_row_and_is_named(mine: Path) -> None:
    row = only(mine, [stored(), stored(seed=1, status="interrupted")])
    assert (row["seeds"], row["unfinished"], row["bound"]["nats"]) == ([0], [1], -130.0)


def test_a_model_without_runs_has_a_row(mine: Path) -> None:
    first, second = standings.rows(Experiment(str(mine)), [stored()])
    assert (first["algorithm"], second["model"], second["algorithm"], second["seeds"]) == ("aevb", "VAE 10", None, [])
    assert second["log_p"] is second["samples"] is second["bound"] is None


def test_equal_cpu_seconds(mine: Path) -> None:
    """Seed 1 costs twice as much: within 1000 s it has its bound of 10^5 samples, and seed 0 its last one."""
    runs = seeds(-110.0, -112.0)
    assert only(mine, runs, cpu_seconds=1000.0)["bound"]["nats"] == (-110 - 150) / 2
    short = [stored("wake-sleep", 0, (-200.0, -160.0)), *runs]
    by_fewest = {row["algorithm"]: row for row in standings.rows(Experiment(str(mine)), short, "all")[:2]}
    assert by_fewest["wake-sleep"]["cpu_seconds"] == 100
    assert by_fewest["aevb"]["bound"]["nats"] == (-150 - 200) / 2  # 100 s, and 20 s
    assert only(mine, runs, cpu_seconds=1.0)["bound"] is None


def test_estimates_made_after_training_count_where_they_are_of_the_same_parameters(mine: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put(store, [with_estimates(stored(), lower_importance=-101.0)])
    (run,) = store.runs("mine")
    (end,) = [StoredRun.load(run).rows[-1]]
    better = {**end["estimates"][-1], "mean": -100.5}
    for samples, more in ((1e6, {}), (1e5, {"mean": -90.0}), (1e6, {"mean": -80.0, "weights": "average"})):
        ledger = {**end["ledger"], "samples": samples}
        run.append_evaluation({"ledger": ledger, "estimate": {**better, **more}, "file": None})
    assert only(mine, [StoredRun.load(run)])["log_p"]["nats"] == -100.5


def test_what_is_not_to_be_trusted_is_marked(mine: Path, harness: Harness, tmp_path: Path) -> None:
    run = with_estimates(stored(), lower_importance=-101.0)
    run.rows[-1]["estimates"][-1] |= {"reliable": False, "heavy_tails": 0.3, "instead": "ais"}
    put(Store(tmp_path / "results"), [run])
    shown = harness("table", mine)
    assert shown.code == 0, shown.err
    assert "-101.0 (!)" in shown.out
    assert "(!) importance on test is not to be trusted" in shown.out


def test_runs_of_several_machines(mine: Path) -> None:
    """CPU times are in kernels there, of 0.01 and 0.02 s, and a number of seconds means nothing."""
    other = stored("wake-sleep")
    (session,) = other.record.provenance
    session |= {"machine": {"cpu": "another"}, "calibration_seconds": 0.02}
    first, second, _ = standings.rows(Experiment(str(mine)), [stored(), other])
    assert (first["cpu_unit"], first["cpu_seconds"], second["cpu_seconds"]) == ("calibration kernels", 1e5, 5e4)
    with pytest.raises(BadInput, match="--budget is cpu-seconds=600, and the runs are of several machines"):
        standings.rows(Experiment(str(mine)), [stored(), other], 600.0)


def test_foreign_runs_are_marked(mine: Path, harness: Harness, tmp_path: Path) -> None:
    put(Store(tmp_path / "results"), [stored()])
    (run,) = Store(tmp_path / "results").runs("mine")
    (run.path / origin.NAME).write_bytes(origin.content(run.id, origin.Origin("Alice")))
    shown = harness("table", mine)
    assert shown.code == 0, shown.err
    assert "1†" in shown.out
    assert "† 1 foreign run by Alice; made on a processor" in shown.out


def test_the_command(mine: Path, harness: Harness, tmp_path: Path) -> None:
    runs = [with_estimates(run, lower_importance=-100.0 - run.seed) for run in seeds(-110.0, -112.0)]
    put(Store(tmp_path / "results"), [*runs, with_estimates(stored("wake-sleep"), lower_importance=-119.0)])
    shown = harness("table", mine)
    assert shown.code == 0, shown.err
    head, *lines = shown.out.splitlines()[1:5]
    spent, figures = "seeds samples datapoints CPU s", "log p(x) se points se estimator se seeds by side bound"
    assert head.split() == f"model algorithm {spent} {figures} published difference".split()
    assert lines[0].split()[:3] == ["VAE", "3", "aevb"]
    assert "from below" in lines[0]
    assert lines[2].split()[:4] == ["VAE", "10", "no", "run"]
    assert "published: M&G 2014" in shown.out
    assert "not reached: VAE 10" in shown.out
    told = json.loads(harness("table", mine, "--json").out)
    assert told == standings.rows(
        Experiment(str(mine)), [StoredRun.load(run) for run in Store(tmp_path / "results").runs()]
    )
    table = list(csv.DictReader(io.StringIO(harness("table", mine, "--format", "csv").out)))
    assert [one["log_p nats"] for one in table] == ["-100.5", "-119.0", ""]
    assert harness("table", mine, "--format", "markdown").out.count("|") > 40
    assert r"\begin{tabular}" in harness("table", mine, "--format", "latex").out
    equal = harness("table", mine, "--budget", "cpu-seconds=1000")
    assert "every model within as many CPU seconds of training, 1,000" in equal.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "1e6"], "has a table of models, which --at and --targets are not for"),
        (["--budget", "samples"], "--budget is 'samples': give cpu-seconds"),
        (["--budget", "cpu-seconds=-1"], "--budget is 'cpu-seconds=-1': give cpu-seconds"),
        (["--budget", "cpu-seconds=many"], "--budget is 'cpu-seconds=many'"),
    ],
)
def test_what_is_refused(mine: Path, harness: Harness, tmp_path: Path, words: list[str], said: str) -> None:
    put(Store(tmp_path / "results"), [stored()])
    refused = harness("table", mine, *words)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert said in refused.err


def test_recipes_that_are_refused(mine: Path, harness: Harness, tmp_path: Path) -> None:
    put(Store(tmp_path / "results"), [stored()])
    for change, said in [
        (("[table]", "[table]\nat = [1e5]"), 'at of a [table] with rows names samples: choose "end" or "best-valid"'),
        (
            ('title = "VAE {nz}"\nover = { nz', 'title = "V"\nover = { nx'),
            "runs cannot be chosen by 'nx' (did you mean 'nz'?)",
        ),
        (('title = "VAE {nz}"', 'title = "VAE {lr}"'), "title cannot be filled in"),
        (('title = "VAE {nz}"', 'title = "V"\nestimator = "nothing"'), "choose one of"),
    ]:
        mine.write_text(EXPERIMENT.replace(*change))
        refused = harness("table", mine)
        assert refused.code == 2
        assert said in refused.err
    mine.write_text(EXPERIMENT)
    with pytest.raises(BadInput, match="the row 'VAE 3' would mix runs that differ in more than algorithm and seed"):
        only(mine, [stored(), stored(seed=1, lr=0.5)])
    plain = tmp_path / "plain.toml"
    plain.write_text(EXPERIMENT.partition("[table]")[0])
    put(Store(tmp_path / "results"), [stored()], "plain")
    assert "--budget is for a table of models, and " in harness("table", plain, "--budget", "cpu-seconds").err
