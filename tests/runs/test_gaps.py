"""How the gap between log p(x) and the lower bound is split: by `certify`, in what runs keep, in `show` and in a figure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gaussians import case
from support import Result

from harness.estimators import lower_bound, mean_field
from harness.runs import gaps
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy
from harness.training.evaluation import Estimate

Harness = Callable[..., Result]
QUICK = ("--points", 10, "--distributions", 20, "--chains", 4, "--tolerance", 1000)


def _train(harness: Harness, root: Path, algorithm: str = "aevb", nz: int = 2, *more: object) -> Run:
    words = ["--dataset", toy.__file__, "--nz", nz, "--hidden", 5, "--samples", 20_000, "--eval-points", 20]
    done = harness("run", "--algo", algorithm, *words, *more)
    assert done.code == 0, done.err
    (run,) = (one for one in Store(root).runs() if one.id.startswith(algorithm))
    return run


def _certified(harness: Harness, run: Run, *words: object) -> dict[str, Any]:
    done = harness("certify", run.id, *QUICK, *words, "--json")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)["gaps"]
    return found


def test_both_gaps_are_those_of_the_closed_form() -> None:
    """A linear model and a recognition model of wrong means and variances: within 0.03 nat beside 4.5 standard errors."""
    known = case(points=40)

    class Subject:
        model, recognition = known.model, known.recognition

    def measured(name: str, settings: Any) -> tuple[Estimate, torch.Tensor]:
        module = {"mean-field": mean_field, "lower-bound": lower_bound}[name]
        rng = torch.Generator().manual_seed(1)
        with torch.no_grad():
            found = module.estimate(known.model, known.recognition, known.x, module.Config(**settings), rng)
        return Estimate(name, {}, "lower", "test", 40, found.value.mean().item(), 0.0, 0.0), found.value

    with torch.no_grad():
        values = known.model.log_p_x(known.x)
        posterior = known.recognition.posterior(known.x)
        mean, log_var = posterior.moments()
        off = mean - known.mean
        kl = 0.5 * (
            (off @ known.precision * off).sum(-1)
            + (known.precision.diagonal() * log_var.exp()).sum()
            - log_var.sum()
            - known.precision.logdet()
            - 3
        )
    log_p = Estimate("exact", {}, "exact", "test", 40, values.mean().item(), 0.0, 0.0)
    found = gaps.measure(Subject(), measured, log_p, values, None)  # type: ignore[arg-type]
    approximation = (values - known.bound).mean().item()
    assert abs(found.approximation.mean - approximation) < 0.03 + 4.5 * found.approximation.error
    assert found.amortisation is not None
    assert abs(found.amortisation.mean - (kl.mean().item() - approximation)) < 0.03 + 4.5 * found.amortisation.error
    assert found.row()["reference"] == "exact"


def test_certify_splits_the_gap_and_the_run_keeps_it(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results")
    found = _certified(harness, run)
    assert (found["split"], found["points"], found["reference"], found["sandwich"]) == ("test", 10, "quadrature", None)
    assert found["log_p"] - found["best"] == pytest.approx(found["approximation"]["mean"], abs=1e-4)
    assert found["best"] - found["bound"] == pytest.approx(found["amortisation"]["mean"], abs=1e-4)
    assert found["approximation"]["error"] > 0
    (kept,) = [row for row in run.evaluations() if "gaps" in row]
    assert kept["gaps"] == found
    assert kept["estimate"]["estimator"] == "mean-field"
    estimators = [row["estimate"]["estimator"] for row in run.evaluations()]
    assert estimators.count("mean-field") == 1
    _certified(harness, run)
    assert len([row for row in run.evaluations() if "gaps" in row]) == 1  # once
    shown = harness("show", run.id).out
    certified = harness("certify", run.id, *QUICK).out
    for text in (shown, certified):
        assert "what lies between log p(x) and the lower bound" in text
        assert "10 test" in text
        assert f"{found['bound']:.2f}" in text
        assert "amortisation: the recognition model's Gaussians are not the best ones" in text


def test_the_sandwich_tells_how_far_log_p_may_be_off(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results", nz=4)  # above what quadrature takes
    done = json.loads(harness("certify", run.id, *QUICK, "--json").out)
    assert done["gaps"]["reference"] == "ais"
    assert done["gaps"]["sandwich"] == {"mean": done["gap"], "error": done["gap_error"]}
    assert (
        "log p(x) by ais is a lower bound, too: the sandwich on simulated points leaves" in harness("show", run.id).out
    )


def test_other_points_are_chosen_by_split_and_drawn_side_by_side(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results")
    none = harness("plot", "gaps", run.id)
    assert none.code == 2
    assert f"run {run.id} has no gap that was split: see `harness certify {run.id}`" in none.err
    for split in ("test", "train"):
        assert _certified(harness, run, "--split", split)["split"] == split
    for split in ("dev", "valid", "simulated"):
        refused = harness("certify", run.id, "--split", split)
        assert refused.code == 2
        assert f"--split is '{split}': choose train or test" in refused.err
    drawn = harness("plot", "gaps", run.id, "--out", tmp_path / "gaps.svg")
    assert drawn.code == 0, drawn.err
    text = (tmp_path / "gaps.svg").read_text()
    assert "10 train points" in text
    assert "10 test points" in text


def test_without_a_recognition_model_there_is_no_amortisation(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results", "mcem")
    found = _certified(harness, run)
    assert found["bound"] is None
    assert found["amortisation"] is None
    assert "amortisation: the recognition" not in harness("show", run.id).out
    assert harness("plot", "gaps", run.id, "--out", tmp_path / "gaps.png").code == 0


def test_binary_latents_are_not_split_and_it_says_so(harness: Harness, tmp_path: Path) -> None:
    words = ["--dataset", toy.__file__, "--model", "sbn", "--layers", 3, "--samples", 2000]
    assert harness("run", "--algo", "wake-sleep", *words).code == 0
    assert json.loads(harness("certify", "wake-sleep", "--points", 5, "--json").out)["gaps"] is None
    said = harness("certify", "wake-sleep", "--points", 5).out
    assert "the gap to the lower bound is not split: mean-field inference fits Gaussians" in said
    assert "the model's latents are binary" in said


def test_gaps_that_none_has_are_damage(harness: Harness, tmp_path: Path) -> None:
    run = _train(harness, tmp_path / "results")
    _certified(harness, run)
    (row,) = [one for one in run.evaluations() if "gaps" in one]
    run.append_evaluation({**row, "gaps": {**row["gaps"], "approximation": "much"}})
    refused = harness("show", run.id)
    assert refused.code == 2
    assert "content that none has" in refused.err
