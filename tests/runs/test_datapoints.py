"""Budgets of datapoints: K samples a point do not decide how much data is seen, wherever a budget is given or shown."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import PLUGINS, Result, stored

from harness.analysis import table
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput, RunFailed
from harness.report import sweeps, tables
from harness.runs import runner
from harness.runs.jobs import CostEstimate, Job, Outcome
from harness.runs.local import _cost
from harness.runs.study import Study
from harness.runs.sweep import Planned
from harness.runs.tune import filled, tune
from harness.specs.budget import Budget, budget_of
from harness.specs.experiment import Experiment
from harness.specs.recipes import TuneRule
from harness.specs.run import RunSpec, make_spec
from harness.store.store import Store
from harness.testing import conformance, toy
from harness.training import idle
from harness.training.loop import Training

Harness = Callable[..., Result]

RENYI = str(PLUGINS / "renyi.py")

SETTINGS = {"nz": 2, "hidden": 5, "batch_size": 10}

IDLE = """
from dataclasses import dataclass
from typing import NamedTuple
from harness import api
TRAITS = api.Traits(needs=(api.LatentVariableModel,))
class Config(api.Config): batch_size: int = 0
@dataclass
class State: problem: api.Problem
class Info(NamedTuple): objective: float
def init(problem, config, rng): return State(problem)
def step(state, batch): return Info(0.0)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def spec(k: int = 5, **more: object) -> RunSpec:
    return make_spec(RENYI, toy.__file__, settings={**SETTINGS, "K": k}, first_mark=1000, **more)


@pytest.mark.parametrize("k", [1, 5])
def test_how_many_samples_a_point_has_does_not_decide_how_much_data_is_seen(k: int) -> None:
    run = conformance.training(RENYI, batch_size=30, K=k)
    rows = [event for event in run.rows(Budget(datapoints=1001)) if not isinstance(event, str)]
    assert (run.ledger.datapoints, run.ledger.samples, run.ledger.steps) == (1020, 1020 * k, 34)
    assert rows[-1]["end"]
    assert rows[-1]["ledger"]["datapoints"] == 1020


def test_whichever_is_reached_first_ends_the_run() -> None:
    for budget, datapoints in ((Budget(samples=300, datapoints=1000), 60), (Budget(samples=10**9, datapoints=90), 90)):
        run = conformance.training(RENYI, batch_size=30, K=5)
        assert list(run.rows(budget))
        assert run.ledger.datapoints == datapoints


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (
            Budget(datapoints=1),
            "was presented no training point in .* so --datapoints would never end: give --cpu-seconds or",
        ),
        (
            Budget(samples=1),
            "evaluated no sample in .* so --samples would never end: give --datapoints, --cpu-seconds or",
        ),
        (
            Budget(samples=1, datapoints=1),
            "evaluated no sample and was presented no .* so --samples and --datapoints would",
        ),
    ],
)
def test_steps_without_data_cannot_go_on_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: Budget, said: str
) -> None:
    monkeypatch.setattr(idle, "MAX_STEPS", 10)
    (tmp_path / "idle.py").write_text(IDLE)
    run = conformance.training(str(tmp_path / "idle.py"))
    with pytest.raises(RunFailed, match=said):
        list(run.rows(budget))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "nan", "inf", "many", ""])
def test_bad_budgets_name_the_option_and_the_value(text: str) -> None:
    with pytest.raises(BadInput, match=f"--datapoints is {text!r}: give a whole number from 1"):
        budget_of({"datapoints": text})


def test_scaled_budgets_stay_whole() -> None:
    assert budget_of({"datapoints": 1001}, 0.1) == Budget(datapoints=100)
    assert budget_of({"datapoints": 3}, 1e-3) == Budget(datapoints=1)


def test_an_interrupted_and_extended_run_is_the_uninterrupted_one(store: Store) -> None:
    whole = runner.ensure(store, spec(), Budget(datapoints=1500), group="whole")
    run = store.run(spec().run_id)
    runner.ensure(store, spec(), Budget(datapoints=310))
    with pytest.raises(BadInput, match="has spent 310 datapoints already: give a larger budget"):
        runner.extend(run, Budget(datapoints=310))
    again = runner.extend(run, Budget(datapoints=1500))
    for name in ("samples", "datapoints", "steps"):
        assert again.ledger[name] == whole.ledger[name]
    assert again.budget == {"datapoints": 1500}
    theta, other = (one.checkpoint() for one in (run, store.run(spec().run_id, "whole")))
    assert theta is not None
    assert other is not None
    assert theta["theta"].equal(other["theta"])
    marks = [
        [row["ledger"]["samples"] for row in one.rows() if row["marks"]] for one in (run, store.run(run.id, "whole"))
    ]
    assert marks[0] == marks[1]  # in samples, whatever the budget


def test_log_z_costs_the_same_for_any_number_of_points() -> None:
    words = {"hidden": 4, "batch_size": 10}
    rbm = make_spec("contrastive-divergence", toy.__file__, "rbm", settings=words)
    points = {"points": 1, "final_points": 1000}
    estimators = tuple(one.model_copy(update=points) for one in rbm.evaluation.estimators)
    rbm = rbm.model_copy(update={"evaluation": rbm.evaluation.model_copy(update={"estimators": estimators})})
    estimate = _cost(Training(rbm))
    assert estimate.per_mark == estimate.at_end > 0


def test_costs_of_runs_are_extrapolated_from_samples_a_point() -> None:
    estimate = _cost(conformance.training(RENYI, batch_size=10, K=5))
    assert estimate.samples_a_point == 5
    per_sample = CostEstimate(0.001, 0.0, 0.0, {}, 5.0)
    by_points, by_samples = (
        Job(spec(), budget, "runs") for budget in (Budget(datapoints=2000), Budget(samples=10_000))
    )
    assert per_sample.seconds(by_points, 5000.0) == per_sample.seconds(by_samples, 5000.0) == pytest.approx(5.0)
    both = Job(spec(), Budget(samples=10_000, datapoints=400), "runs")
    assert per_sample.seconds(both) == pytest.approx(2.0)


EXPERIMENT = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
batch-size = 10
first-mark = 1000
datapoints = 300
[[grid]]
algo = "aevb"
lr = 0.02
[[grid]]
algo = "{RENYI}"
K = 5
"""


def test_commands_take_and_show_them(harness: Harness, store: Store, tmp_path: Path) -> None:
    words = ["--algo", RENYI, "--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--batch-size", 10, "--K", 5]
    done = harness("run", *words, "--datapoints", "300", "--first-mark", 1000)
    assert done.code == 0, done.err
    assert "spent 1,500 samples, 300 datapoints, " in done.out
    assert "300 of 300 datapoints" in done.err
    (row,) = json.loads(harness("list", "--json").out)
    assert (row["samples"], row["datapoints"]) == (1500, 300)
    assert "datapoints" in harness("list").out.splitlines()[0]
    shown = harness("show", "renyi").out
    assert "budget: datapoints=300" in shown
    assert "\nsamples  datapoints  CPU s" in shown
    assert harness("extend", "renyi", "--datapoints", 600, "--algo", RENYI).code == 0
    assert store.run(row["run"]).read().ledger["datapoints"] == 600
    refused = harness("run", *words, "--datapoints", "0.5")
    assert (refused.code, refused.err.count("\n")) == (2, 1)

    path = tmp_path / "mine.toml"
    path.write_text(EXPERIMENT)
    for task in Experiment(str(path)).tasks():
        assert task.spec is not None
        runner.ensure(store, task.spec, task.budget, group="mine")
    found = json.loads(harness("table", path, "--json").out)
    assert [(row["mark"], row["samples"], row["datapoints"]) for row in found] == [
        ("end", 300, 300),
        ("end", 1500, 300),
    ]
    assert [row["points"]["lower-bound test"] for row in found] == [40, 40]
    head = harness("table", path).out.splitlines()[1]
    assert head.split()[3:7] == ["at", "at", "samples", "datapoints"]
    compared = harness("compare", "mine:algo=aevb", "mine:algo=renyi", "--json")
    assert compared.code == 2  # they have no mark of samples in common
    assert "at a mark in common" in compared.err


def measured(run: StoredRun, k: int) -> StoredRun:
    """Return the run with a budget of datapoints, of which each had k samples."""
    for row in run.rows:
        row["ledger"]["datapoints"] = row["ledger"]["samples"] / k
    run.record.ledger = run.rows[-1]["ledger"]
    run.record.budget = {"datapoints": run.rows[-1]["ledger"]["datapoints"]}
    return run


def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "mine.toml"
    path.write_text('[[grid]]\nalgo = ["aevb", "wake-sleep"]\nnz = 3\nseed = [0, 1]\nsamples = 1e6\n')
    return Experiment(str(path))


def test_a_table_compares_ends_where_budgets_are_of_datapoints(tmp_path: Path) -> None:
    runs = [measured(stored(seed=s), 10) for s in (0, 1)]
    runs += [measured(stored("wake-sleep", s, (-210.0, -160.0)), 1) for s in (0, 1)]
    rows = table.rows(experiment(tmp_path), runs, [], [])
    assert [(row["mark"], row["samples"], row["datapoints"]) for row in rows] == [("end", 1e6, 1e5), ("end", 1e5, 1e5)]
    assert [row["lower-bound test"].mean for row in rows] == [-130.0, -160.0]
    heads, lines = tables.cells(rows)
    assert [lines[0][heads.index(name)] for name in ("at", "at samples", "datapoints")] == [
        "end",
        "1,000,000",
        "100,000",
    ]
    runs[0].record.budget = {"samples": 1e6}
    assert {row["mark"] for row in table.rows(experiment(tmp_path), runs, [], [])} == {1e5}
    assert {row["mark"] for row in table.rows(experiment(tmp_path), runs, [1e4, "end"], [])} == {1e4, "end"}
    for run in runs:
        run.record.status = "interrupted"
    with pytest.raises(BadInput, match="no run of mine is done, so none has an end: give --at samples"):
        table.rows(experiment(tmp_path), runs, ["end"], [])


def test_datapoints_are_shown_only_where_samples_do_not_tell_them(tmp_path: Path) -> None:
    runs = [measured(stored(seed=s), 1) for s in (0, 1)]
    assert "datapoints" not in tables.cells(table.rows(experiment(tmp_path), runs, [1e6], []))[0]
    measured(runs[0], 5)
    heads, lines = tables.cells(table.rows(experiment(tmp_path), runs, [1e6], []))
    assert lines[0][heads.index("datapoints")] == "600,000"  # the mean of 200,000 and 1,000,000


@pytest.mark.parametrize("limit", [0, -1, 1.5, 2**63, math.nan])
def test_trials_of_tuning_have_whole_budgets(limit: float) -> None:
    for name in ("samples", "datapoints"):
        with pytest.raises(ValueError, match=r"whole number from 1|finite number"):
            TuneRule(**{name: limit})


def test_studies_by_samples_are_called_as_before_and_others_have_groups_of_their_own() -> None:
    options = {"algo": RENYI, "dataset": toy.__file__, "nz": 2, "lr": "tuned"}
    rules = [TuneRule(), TuneRule(datapoints=200), TuneRule(samples=1e4, datapoints=200)]
    plain = {"seeds": [0], "trials": None, "estimator": None, "override": {}}
    assert rules[0].model_dump(mode="json") == {"samples": 20_000.0, **plain}  # which ids are computed from
    assert [rule.limits for rule in rules] == [
        {"samples": 20_000},
        {"datapoints": 200},
        {"samples": 10**4, "datapoints": 200},
    ]
    studies = [Study(options, rule) for rule in rules]
    assert len({study.id for study in studies}) == 3
    assert [study.group for study in studies] == ["tune-20000", "tune-datapoints-200", "tune-10000-datapoints-200"]
    assert studies[1].budget == Budget(datapoints=200)


def test_tuning_by_datapoints(store: Store) -> None:
    options = {"algo": RENYI, "dataset": toy.__file__, "nz": 2, "hidden": 5, "batch-size": 10, "K": 3}
    study = Study({**options, "lr": "tuned"}, TuneRule(datapoints=40, trials=1))

    def work(jobs: Sequence[Job]) -> list[Outcome]:
        for job in jobs:
            runner.ensure(store, job.spec, job.budget, group=job.group)
        return [Outcome(job, "done") for job in jobs]

    found = tune(store, study, work)
    assert (found.spent["samples"], found.spent["datapoints"]) == (120, 40)
    chosen, words = filled(store, options, {"lr": "tuned"})
    assert chosen == found.chosen
    assert "by 1 trials of 120 samples, 40 datapoints and " in words


def test_a_plan_shows_how_much_data_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    by_points = Planned(Job(spec(), Budget(datapoints=400), "mine"), "interrupted", 1500.0, 2.0, None, 300.0)
    assert sweeps.planned_row(by_points)["datapoints"] == 300
    sweeps.print_plan("mine", [by_points], 1)
    head, row = capsys.readouterr().out.splitlines()[:2]
    assert head.split()[3:5] == ["samples", "datapoints"]
    assert row.split()[1:6] == ["400", "datapoints", "interrupted", "1,500", "300"]
    sweeps.print_plan("mine", [by_points._replace(job=Job(spec(), Budget(samples=400), "mine"))], 1)
    assert "datapoints" not in capsys.readouterr().out
