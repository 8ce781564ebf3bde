"""Mean-field and refined inference: the optimum of local parameters, what a visit costs, what is kept, and bad input."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gaussians import case
from harness.algorithms import mean_field, svi_refined
from support import Result

from harness import api
from harness.specs.budget import Budget, Ledger
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.training.loop import Training

Harness = Callable[..., Result]
M = 10


def test_local_parameters_converge_to_the_closed_form() -> None:
    """With θ held, by a warm-up without end, and steps that a schedule takes to 0.

    Means of 20 points are within a tenth of a standard deviation, log variances within a tenth, and the bound within 0.02.
    """
    known = case()
    data = api.DataFacts("real", 10, 20)
    config = mean_field.Config(batch_size=20, local_lr=0.05, local_steps=20, n_samples=4, warmup=10**9)
    factors = itertools.chain.from_iterable(itertools.repeat(1 - visit / 50, 2) for visit in range(50))  # of θ, too
    problem = api.Problem(known.model, None, data, lambda: next(factors))
    state = mean_field.init(problem, config, api.Streams(0)("noise"))
    for _ in range(50):
        mean_field.step(state, api.Batch(known.x, torch.arange(20)))
    mean, log_var = state.local.posterior.moments()
    scale = (0.5 * known.log_var).exp()
    assert ((mean - known.mean) / scale).abs().max() < 0.1
    assert (log_var - known.log_var).abs().max() < 0.1
    noise = state.local.noise(4000, api.Streams(1)("noise"))
    with torch.no_grad():
        bound = api.mean_field.bounds(known.model, known.x, state.local, noise)
    assert abs((bound.mean(0) - known.bound).mean()) < 0.02


@pytest.mark.slow
def test_it_learns_the_truth_as_other_algorithms_do() -> None:
    """Its bound is tight where latents do not depend on one another in the posterior, and it finds such a rotation."""
    from harness.datasets import toy_linear_gaussian

    settings = {"lr": 0.3, "nz": 3, "init_sd": 0.1, "n_samples": 2}
    training = Training(make_spec("mean-field", "toy-linear-gaussian", "linear-gaussian", settings=settings, points=0))
    test = training.dataset.test
    before = training.model.log_p_x(test).mean().item()
    for _ in training.rows(Budget(samples=2_000_000)):
        pass
    after = training.model.log_p_x(test).mean().item()
    truth = toy_linear_gaussian.truth(toy_linear_gaussian.Config()).log_p_x(test).mean().item()
    assert before < truth - 5
    assert truth - 0.5 < after < truth + 0.1


@pytest.mark.parametrize(("k", "S"), [(1, 1), (5, 1), (3, 2)])
def test_a_visit_counts_a_sample_a_point_for_every_local_step_and_one_for_theta(k: int, S: int) -> None:
    run = conformance.training("mean-field", batch_size=M, local_steps=k, n_samples=S, warmup=0)
    for _ in range(4):
        run.step()
    rows = 4 * M * S * (k + 1)
    assert run.ledger == Ledger(
        samples=rows, datapoints=4 * M, decoder_rows=rows, decoder_rows_grad=rows, steps=4
    )  # and none of an encoder


def test_a_refined_step_counts_one_for_phi_too() -> None:
    run = conformance.training("svi-refined", batch_size=M, local_steps=3, warmup=0)
    for _ in range(4):
        run.step()
    assert run.ledger.samples == run.ledger.decoder_rows_grad == 4 * M * (3 + 2)
    assert (run.ledger.encoder_rows, run.ledger.encoder_rows_grad) == (2 * 4 * M, 4 * M)


def test_local_steps_go_from_the_recognition_model_to_the_closed_form() -> None:
    """One step, with θ and φ held: the unrefined bound is nats below that of the best Gaussians, the refined one within 0.2."""
    known = case()
    config = svi_refined.Config(batch_size=20, local_steps=400, n_samples=8, warmup=10**9)
    problem = api.Problem(known.model, known.recognition, api.DataFacts("real", 10, 20))
    state = svi_refined.init(problem, config, api.Streams(0)("noise"))
    info = svi_refined.step(state, api.Batch(known.x, torch.arange(20)))
    best = known.bound.mean().item()
    assert float(info.refined) == pytest.approx(best, abs=0.2)
    assert float(info.amortised) < best - 2


def test_only_the_points_of_the_minibatch_move() -> None:
    run = conformance.training("mean-field", batch_size=M)
    before = run.state.local.statistics.clone()
    batch = run._batch()
    mean_field.step(run.state, batch)
    moved = (run.state.local.statistics != before).any(-1)
    assert set(moved.nonzero().flatten().tolist()) == set(batch.index.tolist())
    assert run.state.local.steps[moved].unique().tolist() == [5.0]


def test_local_parameters_are_in_the_checkpoint() -> None:
    run = conformance.training("mean-field", batch_size=M)
    for _ in range(3):
        run.step()
    saved = run.checkpoint()
    assert saved["phi"] is None
    kept = saved["algorithm"]["local"]
    assert kept["statistics"].shape == kept["means"].shape == kept["squares"].shape == (60, 4)
    again = conformance.training("mean-field", batch_size=M)
    again.load(saved)
    assert torch.equal(again.state.local.statistics, run.state.local.statistics)


def test_its_bound_is_evaluated_at_marks_and_shown(harness: Harness, tmp_path: Path) -> None:
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--samples", 30_000, "--eval-points", 20]
    done = harness("run", "--algo", "mean-field", *words, "--final-points", 40)
    assert done.code == 0, done.err
    assert "mean-field on 40 test points" in done.out
    assert "no lower bound" not in done.out
    shown = harness("show", "mean-field").out
    assert "samples 500" in shown  # what inference of a test point costs
    assert "lower" in shown
    assert "test bound" in harness("list").out
    drawn = harness("plot", "mean-field", "--out", tmp_path / "drawn.svg")
    assert drawn.code == 0, drawn.err
    assert "mean-field, nats per datapoint" in (tmp_path / "drawn.svg").read_text()


@pytest.mark.parametrize("algorithm", ["mean-field", "svi-refined"])
def test_bad_input(algorithm: str, harness: Harness) -> None:
    words: list[Any] = ["run", "--algo", algorithm, "--dataset", toy.__file__, "--samples", 1000]
    refused = harness(*words, "--model", "sbn")
    assert refused.code == 2
    assert "the model's latents are binary, and it infers continuous ones" in refused.err
    assert "wake-sleep" in refused.err
    for setting in ("--local-steps", "--batch-size", "--n-samples"):
        none = harness(*words, setting, 0)
        assert none.code == 2
        assert f"{setting} of algorithm '{algorithm}' is '0': input should be greater than 0" in none.err
    assert svi_refined.TRAITS.recognition
    assert not mean_field.TRAITS.recognition
