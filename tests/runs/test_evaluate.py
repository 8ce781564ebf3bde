"""`harness evaluate` and `harness certify`: what they print, what they add to the run, and bad input."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Result

from harness.errors import BadInput
from harness.files import to_json
from harness.inference import pareto
from harness.store.run import Run
from harness.store.schema1 import checksum
from harness.store.store import Store
from harness.testing import toy
from harness.training.evaluation import Estimate

Harness = Callable[..., Result]


def _train(harness: Harness, root: Path, nz: int = 2, algorithm: str = "aevb", *more: object) -> Run:
    words = ["--dataset", toy.__file__, "--nz", nz, "--hidden", 5, "--samples", 20_000, *more]
    done = harness("run", "--algo", algorithm, *words)
    assert done.code == 0, done.err
    (run,) = Store(root).runs()
    return run


@pytest.fixture
def run(harness: Harness, tmp_path: Path) -> Run:
    return _train(harness, tmp_path / "results")


def test_of_several_runs_those_that_cannot_be_evaluated_are_named_and_the_others_are(
    harness: Harness, tmp_path: Path
) -> None:
    """Without a checkpoint, with parameters that are no numbers; whichever of them comes first."""
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--samples", 200]
    for seed in range(4):
        assert harness("run", "--algo", "aevb", *words, "--seed", seed).code == 0
    runs = list(Store(tmp_path / "results").runs())
    first, _, third, _ = runs
    (first.path / "checkpoint.safetensors").unlink()
    (third.path / "run.json").write_text("{}")
    done = harness("evaluate", "runs", "--estimator", "lower-bound", "--points", 10, "--json")
    assert done.code == 2
    good = [run.id for run in runs if run not in (first, third)]
    assert [row["run"] for row in json.loads(done.out)] == good
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"harness: run {first.id} has no checkpoint")
    assert str(third.path) in lines[1]
    assert lines[2] == f"harness: 2 of 4 runs could not be evaluated: {first.id}, {third.id}"
    assert [len(run.evaluations()) for run in runs if run.id in good] == [1, 1]
    shown = harness("evaluate", "runs", "--estimator", "lower-bound", "--points", 10)
    assert (shown.code, shown.out.count("lower-bound")) == (2, 2)
    alone = harness("evaluate", first.id, "--estimator", "lower-bound")
    assert (alone.code, alone.err.count("\n")) == (2, 1)


QUICK: dict[str, list[object]] = {
    "hmc-density": [],
    "importance": ["--K", 100],
    "ais": ["--distributions", 20, "--chains", 4],
    "quadrature": [],
    "lower-bound": [],
    "mean-field": ["--steps", 20],
}


@pytest.mark.parametrize("estimator", QUICK)
def test_an_estimate_is_printed_and_added_to_the_run(estimator: str, run: Run, harness: Harness) -> None:
    before = run.read()
    words = [run.id, "--estimator", estimator, "--points", 10, *QUICK[estimator]]
    answer = harness("evaluate", *words, "--json")
    assert answer.code == 0, answer.err
    printed = json.loads(answer.out)
    (row,) = run.evaluations()
    assert row["estimate"] == printed
    assert row["ledger"]["samples"] == 20_000
    assert printed["points"] == 10
    assert printed["split"] == "test"
    assert printed["direction"] in ("lower", "upper", "exact")
    assert {"mean", "se_points", "se_estimator", "settings"} <= printed.keys()
    expected = {
        "hmc-density": {"acceptance"},
        "importance": {"effective_samples"},
        "ais": {"acceptance", "effective_samples"},
        "quadrature": {"moved", "found_once", "modes", "nodes", "accepted"},
        "lower-bound": set(),
        "mean-field": {"gain", "samples"},
    }
    assert printed["diagnostics"].keys() == expected[estimator]
    assert run.read() == before
    table = harness("evaluate", *words, "--split", "train")
    assert f"{estimator} " in table.out
    assert f"{printed['mean']:.2f}" in harness("show", run.id).out
    shown = json.loads(harness("show", run.id, "--json").out)
    assert [e["estimate"]["split"] for e in shown["evaluations"]] == ["test", "train"]


def test_the_same_estimate_again_is_the_same_number(run: Run, harness: Harness) -> None:
    words = ["evaluate", run.id, "--estimator", "importance", "--K", 50, "--points", 10, "--json"]
    first, second = (json.loads(harness(*words).out) for _ in range(2))
    assert first == second
    (stored,) = run.evaluations()  # once
    assert stored["estimate"] == first


def test_estimates_survive_an_extension_and_say_what_training_they_had(run: Run, harness: Harness) -> None:
    harness("evaluate", run.id, "--estimator", "quadrature", "--points", 10)
    assert harness("extend", run.id, "--samples", 30_000).code == 0
    harness("evaluate", run.id, "--estimator", "quadrature", "--points", 10)
    assert [row["ledger"]["samples"] for row in run.evaluations()] == [20_000, 30_000]
    assert run.evaluations()[0]["estimate"]["mean"] != run.evaluations()[1]["estimate"]["mean"]


def test_marginal_is_evaluated_at_every_mark(harness: Harness, tmp_path: Path) -> None:
    more = ["--marginal", "importance", "--K", 20, "--marginal-points", 15, "--n-train", 50]
    run = _train(harness, tmp_path / "results", 2, "aevb", *more)
    for row in run.rows():
        found = {(e["estimator"], e["split"]): e for e in row["estimates"]}
        assert found["importance", "test"]["points"] == 15
        assert found["importance", "train"]["settings"]["K"] == 20
        assert found["importance", "test"]["mean"] > found["lower-bound", "test"]["mean"] - 1.0
    listed = json.loads(harness("list", "--json").out)[0]
    assert listed["marginal"] == "importance"
    assert listed["marginal_test"] is not None
    assert "test log p(x)" in harness("list").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--estimator", "aiz"], "there is no estimator 'aiz' (did you mean 'ais'?)"),
        (["--estimator", "ais", "--chains", 0], "--chains of estimator 'ais' is '0': input should be greater than 0"),
        (["--estimator", "ais", "--chians", 3], "no setting --chians (did you mean 'chains'?)"),
        (["--estimator", "ais", "--chains"], "--chains needs a value"),
        (["--estimator", "ais", "--split", "dev"], "--split is 'dev': choose train or test or simulated"),
        (["--estimator", "ais", "--split", "valid"], "--split is 'valid'"),
        (["--estimator", "ais-reverse"], "choose simulated for ais-reverse"),
        (["--estimator", "ais", "--points", 0], "--points is '0': give a whole number from 1"),
        (["--estimator", "ais", "--points", "many"], "--points is 'many'"),
        (["--estimator", "exact"], "no closed form: use importance"),
        (["--estimator", "importance", "--proposal", "posterior"], "no closed form"),
        ([], "Missing option '--estimator'"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    words: list[object], told: str, run: Run, harness: Harness
) -> None:
    before = sorted(os.listdir(run.path))
    done = harness("evaluate", run.id, *words)
    assert done.code == 2
    assert told in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    assert sorted(os.listdir(run.path)) == before


def test_hmc_density_above_five_latents_is_refused_and_can_be_forced(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results", 6)
    words = [run.id, "--estimator", "hmc-density", "--points", 5]
    refused = harness("evaluate", *words)
    assert refused.code == 2
    assert "its error grows fast above 5 latents (appendix D), and the model has 6" in refused.err
    assert "--force" in refused.err
    assert harness("evaluate", *words, "--force").code == 0
    quadrature = harness("evaluate", run.id, "--estimator", "quadrature")
    assert quadrature.code == 2
    assert "3 latents at the most, and the model has 6" in quadrature.err
    other = ["run", "--algo", "aevb", "--dataset", toy.__file__, "--nz", 7, "--marginal"]
    at_marks = harness(*other)
    assert at_marks.code == 2
    assert "estimator hmc-density cannot evaluate this run" in at_marks.err
    assert len(list(Store(tmp_path / "results").runs())) == 1


@pytest.mark.parametrize("name", ["lower-bound", "ais-reverse", "aiz"])
def test_marginal_must_be_an_estimator_for_data(name: str, harness: Harness, tmp_path: Path) -> None:
    done = harness("run", "--algo", "aevb", "--dataset", toy.__file__, "--marginal", name)
    assert done.code == 2
    assert "hmc-density" in done.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("marginal", ["hmc-density", "quadrature", "importance", "ais"])
def test_a_model_that_is_not_finite_diverges_and_cannot_be_evaluated(
    marginal: str, harness: Harness, tmp_path: Path
) -> None:
    """Whatever the estimator makes of it, the run ends as diverged and keeps its rows."""
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--lr", "1e30", "--init-sd", 3, "--warmup", 0]
    done = harness("run", "--algo", "mcem", *words, "--marginal", marginal, "--marginal-points", 5, "--samples", 20_000)
    assert done.code == 3, done.err
    assert "diverged" in done.err
    (run,) = Store(tmp_path / "results").runs()
    assert run.rows()
    refused = harness("evaluate", run.id, "--estimator", marginal)
    assert refused.code == 2
    assert "parameters that are not finite" in refused.err


def test_a_run_whose_checkpoint_is_gone_cannot_be_evaluated(run: Run, harness: Harness) -> None:
    (run.path / "checkpoint.safetensors").unlink()
    for command in (["evaluate", run.id, "--estimator", "importance"], ["certify", run.id]):
        done = harness(*command)
        assert done.code == 2
        assert "has no checkpoint" in done.err
    assert run.evaluations() == []


def test_an_edited_evaluation_is_found(run: Run, harness: Harness) -> None:
    harness("evaluate", run.id, "--estimator", "lower-bound", "--points", 10)
    harness("evaluate", run.id, "--estimator", "lower-bound", "--points", 20)
    assert [row["estimate"]["points"] for row in run.evaluations()] == [10, 20]
    path = run.path / "evaluations.json"
    path.write_text(path.read_text().replace('"points": 10', '"points": 11'))
    for command in (("show", run.id), ("evaluate", run.id, "--estimator", "lower-bound", "--points", 10)):
        done = harness(*command)
        assert done.code == 2
        assert "evaluations.json was edited or damaged" in done.err


def test_evaluations_of_schema_1_are_read_and_none_of_them_edited(run: Run) -> None:
    estimate = Estimate("exact", {}, "exact", "test", 10, 1.5, 0.1, 0.0).row()
    row = {"ledger": {"samples": 1}, "file": None, "estimate": estimate}
    path = run.path / "evaluations.jsonl"
    path.write_text(to_json({**row, "checksum": checksum(row)}) + "\n")
    run.append_evaluation({**row, "estimate": {**estimate, "mean": 2.5}})
    assert [one["estimate"]["mean"] for one in run.evaluations()] == [1.5, 2.5]
    path.write_text(path.read_text().replace("1.5", "1.6"))
    with pytest.raises(BadInput, match="line 1 of"):
        run.evaluations()


def _certify(harness: Harness, run: Run, *words: object) -> tuple[int, dict[str, Any]]:
    done = harness("certify", run.id, "--points", 10, "--json", *words)
    assert all(line.startswith("estimating log p(x): ") for line in done.err.splitlines()), done.err
    return done.code, json.loads(done.out)


def test_certify_prints_the_sandwich_and_the_verdict(run: Run, harness: Harness) -> None:
    harness("evaluate", run.id, "--estimator", "hmc-density", "--points", 10)
    code, found = _certify(harness, run, "--distributions", 100)
    assert code == 0
    assert found["trustworthy"]
    kinds = [(e["estimator"], e["split"]) for e in found["estimates"]]
    assert kinds == [
        ("ais", "simulated"), ("ais-reverse", "simulated"), ("quadrature", "simulated"), ("ais", "test"), ("hmc-density", "test"),
    ]  # fmt: skip
    mean = {kind: e["mean"] for kind, e in zip(kinds, found["estimates"], strict=True)}
    assert mean["ais", "simulated"] - 0.1 < mean["quadrature", "simulated"] < mean["ais-reverse", "simulated"] + 0.1
    assert found["gap"] == pytest.approx(mean["ais-reverse", "simulated"] - mean["ais", "simulated"])
    assert found["disagreement"][0] == "hmc-density"
    text = harness("certify", run.id, "--points", 10, "--distributions", 100)
    assert text.code == 0
    assert "sandwich on simulated points" in text.out
    assert "trustworthy: nothing is off by more than 0.5 nats" in text.out


def test_certify_does_not_trust_a_gap(run: Run, harness: Harness) -> None:
    code, found = _certify(harness, run, "--distributions", 2, "--chains", 2, "--tolerance", "0.001")
    assert code == 1
    assert not found["trustworthy"]
    done = harness("certify", run.id, "--points", 10, "--distributions", 2, "--chains", 2, "--tolerance", "0.0001")
    assert done.code == 1
    assert "not trustworthy" in done.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--chains", 1], "--chains is 1, and one alone tells no error: give 2 or more"),
        (["--points", 1], "--points is 1, and one alone"),
        (["--tolerance", "nan"], "--tolerance is 'nan': give a positive number"),
        (["--tolerance", "-1"], "--tolerance is '-1': give a positive number"),
        (["--tolerance", "much"], "--tolerance is 'much': give a positive number"),
    ],
)
def test_certify_refuses_what_tells_nothing(words: list[object], told: str, run: Run, harness: Harness) -> None:
    done = harness("certify", run.id, *words)
    assert done.code == 2
    assert told in done.err
    assert run.evaluations() == []


def test_settings_before_the_run_are_told_apart_from_its_id(run: Run, harness: Harness) -> None:
    done = harness("evaluate", "--estimator", "importance", "--K", 100, run.id)
    assert done.code == 2
    assert "put the id before all settings" in done.err


def test_certify_compares_everything_that_the_run_reports(harness: Harness, tmp_path: Path) -> None:
    """A poor estimate at the marks stays one, however good an estimate is made afterwards; AIS itself may be the poor one."""
    more = ["--marginal", "ais", "--distributions", 2, "--chains", 2, "--marginal-points", 10, "--init-sd", 2]
    run = _train(harness, tmp_path / "results", 2, "wake-sleep", *more)
    harness("evaluate", run.id, "--estimator", "importance", "--K", 2, "--points", 10)
    harness("evaluate", run.id, "--estimator", "importance", "--K", 500, "--points", 10)
    code, found = _certify(harness, run, "--distributions", 100)
    judged = [
        (e["estimator"], e["settings"].get("K") or e["settings"].get("distributions")) for e in found["estimates"]
    ]
    assert judged[-4:] == [("ais", 100), ("ais", 2), ("importance", 2), ("importance", 500)]
    worst, difference, error = found["disagreement"]
    assert code == (
        0 if abs(difference) + 2 * error <= 0.5 and abs(found["gap"]) + 2 * found["gap_error"] <= 0.5 else 1
    )
    differences = {e["settings"]["K"]: e["mean"] - found["estimates"][-4]["mean"] for e in found["estimates"][-2:]}
    assert abs(difference) >= max(map(abs, differences.values())) - 1e-9 or worst == "importance"


def test_certify_leaves_quadrature_out_above_three_latents(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results", 4)
    _, found = _certify(harness, run, "--distributions", 10)
    assert "quadrature" not in [e["estimator"] for e in found["estimates"]]
    assert found["disagreement"] is None


def test_a_run_without_an_encoder_is_judged_without_one(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results", 2, "mcem")
    for words in (["importance", "--K", 50], ["hmc-density"], ["ais", "--distributions", 20]):
        assert harness("evaluate", run.id, "--points", 5, "--estimator", *words).code == 0
    refused = harness("evaluate", run.id, "--estimator", "ais", "--start", "encoder")
    assert refused.code == 2
    assert "use --start prior" in refused.err


def test_an_estimate_that_its_weights_contradict_looks_like_it_wherever_it_is_shown(
    harness: Harness, tmp_path: Path
) -> None:
    """An encoder that has hardly been trained is no proposal for a sharp posterior."""
    more = ["--marginal", "importance", "--K", 200, "--marginal-points", 20, "--init-sd", 1, "--seed", 1]
    run = _train(harness, tmp_path / "results", 3, "aevb", *more)
    words = [run.id, "--estimator", "importance", "--K", 200, "--points", 20]
    row = json.loads(harness("evaluate", *words, "--json").out)
    assert row["reliable"] is False
    assert 0.05 < row["heavy_tails"] <= 1.0
    assert row["instead"] == "quadrature"
    why = "(!) importance on test is not to be trusted: Pareto k-hat of its weights is above 0.7 at"
    mean = f"{row['mean']:.2f} (!)"
    evaluated, shown = harness("evaluate", *words).out, harness("show", run.id).out
    for text in (evaluated, shown):
        assert mean in text
        assert why in text
        assert "use quadrature" in text
        assert f"k-hat > 0.7 at {row['heavy_tails']:.0%}".replace("%", " %") in text
    assert " (!)" in harness("list").out
    assert json.loads(harness("list", "--json").out)[0]["unreliable"] == ["marginal_train", "marginal_test"]
    again = harness(
        "run", "--algo", "aevb", "--dataset", toy.__file__, "--nz", 3, "--hidden", 5, "--samples", 20_000, *more
    )
    assert why in again.out
    certified = harness("certify", run.id, "--points", 10, "--distributions", 50)
    assert why in certified.out
    harness("export", "--format", "csv", "--out", tmp_path / "out")
    lines = csv.DictReader((tmp_path / "out" / "estimates.csv").read_text().splitlines())
    first = next(line for line in lines if line["estimator"] == "importance")
    assert (first["reliable"], first["instead"]) == ("False", "quadrature")
    assert float(first["heavy_tails"]) > 0.05
    judged = tmp_path / "claims.toml"
    claim = '[[claim]]\nkind = "bound"\nestimator = "importance"\nleast = -1000\nat = "end"\n'
    judged.write_text('group = "runs"\n' + claim)
    (verdict,) = json.loads(harness("check", judged, "--json").out)
    assert verdict["says"] == "cannot tell"
    assert f"run {run.id}, importance on test is not to be trusted" in verdict["why"]
    assert harness("check", judged).code == 0
    assert harness("check", judged, "--strict").code == 1
    judged.write_text('group = "runs"\n' + claim.replace("importance", "lower-bound"))
    assert json.loads(harness("check", judged, "--json").out)[0]["says"] == "holds"


def test_a_proposal_that_fits_is_trusted_and_too_few_samples_tell_nothing(run: Run, harness: Harness) -> None:
    words = [run.id, "--estimator", "importance", "--proposal", "gaussian", "--points", 20]
    trusted = json.loads(harness("evaluate", *words, "--K", 500, "--json").out)
    assert trusted["reliable"] is True
    assert trusted["heavy_tails"] <= 0.05
    assert "instead" not in trusted
    few = json.loads(harness("evaluate", *words, "--K", 20, "--json").out)
    assert not {"reliable", "heavy_tails", "instead"} & few.keys()
    shown = harness("show", run.id).out
    assert "(!)" not in shown
    assert "k-hat > 0.7 at" in shown
    assert "k-hat unknown" in shown


def test_the_diagnostic_changes_no_estimate(run: Run, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["evaluate", run.id, "--estimator", "importance", "--K", 100, "--points", 20, "--json"]
    with_it = json.loads(harness(*words).out)
    monkeypatch.setattr(pareto.Tail, "add", lambda self, log_w: None)
    without = json.loads(harness(*words).out)
    assert with_it.pop("heavy_tails") >= 0.0
    assert {name: value for name, value in with_it.items() if name in without} == without
