"""Tuning: equal trials, the right choice, what it cost, and studies that come back from their runs."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from support import PLUGINS, Result, rewrite

from harness.errors import BadInput, RunFailed
from harness.runs.jobs import Job, Outcome
from harness.runs.runner import ensure
from harness.runs.study import Study
from harness.runs.tune import chosen, look_up, tune
from harness.specs.recipes import TuneRule
from harness.store.store import STUDIES, Store
from harness.testing import toy

Harness = Callable[..., Result]

OPTIONS = {"dataset": toy.__file__, "nz": 2, "hidden": 5}
SMALL = {"algo": "aevb", "batch-size": 10, "warmup": 5, **OPTIONS}
RENYI = {"algo": str(PLUGINS / "renyi.py"), "batch-size": 10, "K": 2, **OPTIONS}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


class Here:
    """Does jobs in this process, and counts those that had to be done."""

    def __init__(self, store: Store):
        self.store, self.done = store, 0

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        out = []
        for job in jobs:
            self.done += not job.stored(self.store).exists()
            try:
                ensure(self.store, job.spec, job.budget, group=job.group)
                out.append(Outcome(job, "done"))
            except RunFailed as error:
                out.append(Outcome(job, "diverged", str(error)))
        return out


def test_the_papers_rule_tries_every_step_size(store: Store) -> None:
    study = Study({**SMALL, "lr": "tuned"}, TuneRule(samples=3000, seeds=(0, 1)))
    assert study.n_trials == 3
    work = Here(store)
    found = tune(store, study, work)
    assert work.done == 6
    assert [trial.settings["lr"] for trial in found.trials if trial.value == max(t.value for t in found.trials)] == [
        found.chosen["lr"]
    ]
    for trial in found.trials:
        assert len(trial.values) == 2
        assert trial.spent["samples"] == 6000
        for value, run in zip(trial.values, trial.runs, strict=True):
            record = store.run(run, study.group).read()
            assert record.spec["algorithm"]["settings"]["lr"] == trial.settings["lr"]
            assert value == next(e["mean"] for e in record.summary if e["split"] == "train" and e["points"] == 60)
    assert found.spent["samples"] == 18_000
    assert found.spent["cpu_seconds"] > 0
    assert chosen(store, study) == found.chosen


def test_test_data_have_no_say(store: Store) -> None:
    study = Study({**SMALL, "lr": "tuned"}, TuneRule(samples=1000))
    tune(store, study, Here(store))
    for run in store.runs(study.group):  # whatever the test set says, the choice is the same
        record = run.read()
        for estimate in record.summary:
            if estimate["split"] == "test":
                estimate["mean"] = 1e3 * record.spec["algorithm"]["settings"]["lr"]
        rewrite(run, record)
    (store.root / STUDIES / f"{study.id}.json").rename(store.root / "before.json")
    again = tune(store, study, Here(store))
    assert again.chosen == json.loads((store.root / "before.json").read_text())["chosen"]


def test_a_diverged_trial_is_the_worst(store: Store) -> None:
    study = Study({**SMALL, "lr": "tuned"}, TuneRule(samples=2000))
    real = study.spec

    def wild(settings: dict[str, float], seed: int) -> object:
        return real({"lr": 1e7} if settings["lr"] == 0.1 else settings, seed)

    object.__setattr__(study, "spec", wild)
    found = tune(store, study, Here(store))
    worst = found.trials[-1]
    assert (worst.settings, worst.value) == ({"lr": 0.1}, -math.inf)
    assert found.chosen != {"lr": 0.1}
    assert worst.spent["samples"] > 0  # it is paid for, too


def test_tpe_goes_on_from_its_runs(store: Store) -> None:
    study = Study({**RENYI, "lr": "tuned"}, TuneRule(samples=500, trials=5))
    work = Here(store)
    found = tune(store, study, work)
    assert (work.done, len(found.trials)) == (5, 5)
    assert all(1e-4 <= trial.settings["lr"] <= 1e-2 for trial in found.trials)
    assert len({trial.settings["lr"] for trial in found.trials}) == 5
    (store.root / STUDIES / f"{study.id}.json").unlink()
    again = tune(store, study, work)
    assert work.done == 5  # rebuilt from the run folders, nothing run again
    assert again == found
    shutil.rmtree(store.run(found.trials[0].runs[0], study.group).path)
    (store.root / STUDIES / f"{study.id}.json").unlink()
    tune(store, study, work)
    assert work.done == 6  # what is missing is made up for
    more = Study(study.options, TuneRule(samples=500, trials=8))
    longer = tune(store, more, work)
    assert work.done == 6 + 3  # it asks for the same settings first
    assert {t.settings["lr"] for t in found.trials} < {t.settings["lr"] for t in longer.trials}


def test_trials_of_another_budget_are_others(store: Store) -> None:
    long, short = (Study({**SMALL, "lr": "tuned"}, TuneRule(samples=samples)) for samples in (3000, 1000))
    tune(store, long, Here(store))
    found = tune(store, short, Here(store))
    assert found.spent["samples"] == 3000
    assert [trial.value for trial in found.trials] != [trial.value for trial in tune(store, long, Here(store)).trials]


def test_tpe_finds_the_better_region(store: Store) -> None:
    """With values that peak at 10⁻³, the last five of 25 trials are nearer to it than the first ten, on average in decades."""
    study = Study({**RENYI, "lr": "tuned"}, TuneRule(samples=100, trials=25))
    object.__setattr__(
        study, "_value", lambda record: -(math.log10(record.spec["algorithm"]["settings"]["lr"] / 1e-3) ** 2)
    )
    order: list[float] = []

    def work(jobs: Sequence[Job]) -> list[Outcome]:
        order.extend(job.spec.algorithm.settings["lr"] for job in jobs)
        return Here(store)(jobs)

    tune(store, study, work)
    off = [abs(math.log10(lr / 1e-3)) for lr in order]
    assert sum(off[-5:]) / 5 < sum(off[:10]) / 10


def test_trials_of_monte_carlo_em_are_judged_by_likelihood(store: Store) -> None:
    options = {"algo": "mcem", **OPTIONS, "warmup": 0, "lr": "tuned", "marginal": "importance", "marginal-points": 20}
    study = Study(options, TuneRule(samples=2000, override={"n-train": 30}))
    assert study.estimator == "hmc-density"
    spec = study.spec({"lr": 0.1}, 0)
    assert spec.n_train == 30
    assert [(judge.name, judge.points) for judge in spec.evaluation.estimators] == [
        ("lower-bound", 2000),
        ("hmc-density", 0),
    ]
    found = tune(store, study, Here(store))
    assert all(math.isfinite(trial.value) for trial in found.trials)


def test_choices_of_the_rule_stand_for_those_of_the_algorithm() -> None:
    options = {**SMALL, "lr": "tuned"}
    plain = Study(options, TuneRule(samples=3000))
    other = Study(options, TuneRule(samples=3000, choices={"wake-sleep": {"lr": (0.5,)}}))
    assert other.id == plain.id  # which it has had since before rules had choices
    assert other.grid() == plain.grid()
    own = TuneRule(samples=3000, choices={"aevb": {"lr": (0.003, 0.03), "batch-size": (5, 7)}})
    study = Study({**options, "batch-size": "tuned"}, own)
    pairs = [(one["lr"], one["batch-size"]) for one in study.grid()]
    assert sorted(pairs) == [(0.003, 5), (0.003, 7), (0.03, 5), (0.03, 7)]
    assert Study(options, own).grid() == [{"lr": 0.003}, {"lr": 0.03}]
    assert Study(options, own).id != plain.id
    with pytest.raises(BadInput, match=r"choices for aevb have 'lrr' .did you mean 'lr'.*: it has no such setting"):
        Study(options, TuneRule(choices={"aevb": {"lrr": (1,)}}))


def test_the_choice_is_used_by_runs(harness: Harness, store: Store, tiny_run: list[str]) -> None:
    words = tiny_run[1:-2]  # without `run` and the budget
    untuned = harness("run", *words, "--lr", "tuned", "--samples", "1000")
    assert untuned.code == 2
    assert untuned.err.startswith(
        "harness: lr of aevb has not been tuned for this run: do it with `harness tune --algo aevb"
    )
    tuned = harness("tune", *words, "--samples", "1000", "--jobs", "2")
    assert tuned.code == 0, tuned.err
    assert tuned.err.count("] trial ") == 3, tuned.err
    assert "next: harness run --lr tuned" in tuned.out
    assert "spent 3,000 samples and " in tuned.out
    (path,) = (store.root / STUDIES).glob("*.json")
    lr = json.loads(path.read_text())["chosen"]["lr"]
    assert f"--lr {lr}" in tuned.out
    done = harness("run", *words, "--lr", "tuned", "--samples", "1000", "--seed", "5")
    assert done.code == 0, done.err
    assert done.err.startswith(f"tuned: {path.stem}: --lr {lr}, by 3 trials of 3,000 samples and ")
    (run,) = store.runs("runs")
    assert run.read().spec["algorithm"]["settings"]["lr"] == lr
    data = json.loads(harness("tune", *words, "--samples", "1000", "--json").out)
    assert data["chosen"] == {"lr": lr}
    assert len(data["trials"]) == 3


BAD = [
    (["--nz", "tuned"], r"nz cannot be tuned: the settings of aevb with a search space are lr"),
    (["--lr", "0.1"], "there is nothing to tune: the settings of aevb with a search space are lr"),
    (["--seeds", "a"], "--seeds is 'a': give a whole number from 0"),
    (["--trials", "0"], "--trials is '0': give a whole number from 1"),
    (["--samples", "-5"], "--samples is '-5': give a whole number from 1"),
    (["--jobs", "0"], "--jobs is '0': give a whole number from 1"),
    (["--estimator", "quadratur"], "there is no estimator 'quadratur'"),
    (["--nzz", "3"], "there is no setting --nzz"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_one_sentence(harness: Harness, store: Store, words: list[str], said: str) -> None:
    done = harness("tune", "--algo", "aevb", "--dataset", toy.__file__, *words)
    assert done.code == 2, done.err
    assert done.err.startswith(f"harness: {said}")
    assert done.err.count("\n") == 1
    assert not store.root.exists()


def test_studies_of_other_data_or_rules_are_others(store: Store) -> None:
    one = Study({**SMALL, "lr": "tuned"}, TuneRule())
    assert one.id != Study({**SMALL, "lr": "tuned", "nz": 3}, TuneRule()).id
    assert one.id != Study({**SMALL, "lr": "tuned"}, TuneRule(samples=100)).id
    assert one.id == Study({**SMALL, "lr": "tuned", "marginal": "importance"}, TuneRule()).id
    for setting in ("K", "marginal.K"):
        assert one.id == Study({**SMALL, "lr": "tuned", "marginal": "importance", setting: 7}, TuneRule()).id
    with pytest.raises(BadInput, match="hidden cannot be tuned"):
        Study({**SMALL, "hidden": "tuned"}, TuneRule())


def test_a_step_size_is_tuned_for_a_schedule(store: Store) -> None:
    """What was chosen under one schedule says nothing of another; a trial ends before the horizon."""
    short = TuneRule(samples=500)
    constant, linear = (Study({**SMALL, "lr": "tuned", "schedule": s}, short) for s in ("constant", "linear:1e3"))
    assert constant.id == Study({**SMALL, "lr": "tuned"}, short).id != linear.id
    assert [job.spec.schedule for job in linear.jobs(linear.grid())] == ["linear:1e3"] * 3
    tune(store, linear, Here(store))
    assert look_up(store, {**SMALL, "lr": "tuned", "schedule": "linear:1000"})["study"] == linear.id
    with pytest.raises(BadInput, match="lr of aevb has not been tuned"):
        look_up(store, {**SMALL, "lr": "tuned"})
    with pytest.raises(BadInput, match="--samples is 2,000, and --schedule linear:1e3"):
        long = Study({**SMALL, "lr": "tuned", "schedule": "linear:1e3"}, TuneRule(samples=2000))
        tune(store, long, Here(store))
