"""Runs under a step schedule: what their steps are multiplied by, where they end, and that they can be stopped anywhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from harness import api
from harness.errors import BadInput
from harness.runs import runner
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store.checkpoint import digest
from harness.store.store import Store
from harness.testing import toy
from harness.training.loop import Training

ALGORITHMS = {
    "aevb": {"batch_size": 10, "warmup": 0},
    "wake-sleep": {"batch_size": 10, "warmup": 0},
    "mcem": {"warmup": 0},
    "mean-field": {"batch_size": 10, "warmup": 0, "local_steps": 1},
}
every = pytest.mark.parametrize("algorithm", ALGORITHMS)


def spec_of(algorithm: str, schedule: str, **more: Any) -> RunSpec:
    settings = {"nz": 2, "hidden": 5, "init_sd": 0.1, **ALGORITHMS[algorithm], **more}
    return make_spec(algorithm, toy.__file__, settings=settings, schedule=schedule, first_mark=1000, points=20)


def learned(run: Training, samples: int) -> str:
    for _ in run.rows(Budget(samples=samples)):
        pass
    state = run.checkpoint()
    return digest({name: state[name] for name in ("theta", "phi", "algorithm", "rng", "ledger", "info")})


@every
def test_a_schedule_changes_what_is_learned_and_its_hold_does_not(algorithm: str) -> None:
    """A run that ends before its step size goes down is that of a constant one, bit for bit."""
    constant, held, linear = (
        learned(Training(spec_of(algorithm, schedule)), 4000)
        for schedule in ("constant", "linear:1e5:0.5", "linear:5000")
    )
    assert constant == held != linear


def test_the_factor_is_that_of_the_samples_spent() -> None:
    """Of stochastic gradient ascent on a gradient of ones, whose steps tell the factor."""
    run = Training(spec_of("aevb", "linear:100"))
    sgd = api.Sgd(run.model.params, lr=1.0, schedule=run.problem.schedule)
    moved = []
    for samples in (0, 25, 100, 130):
        run.ledger.samples = samples
        before = run.model.params.flat.detach().clone()
        sgd.ascend([torch.ones_like(before)])
        moved.append((run.model.params.flat.detach() - before).mean().item())
    assert moved == pytest.approx([1.0, 0.75, 0.0, 0.0], abs=1e-6)
    assert Training(spec_of("aevb", "constant")).problem.schedule() == 1.0


@every
def test_a_run_that_was_stopped_is_the_uninterrupted_one_bit_for_bit(algorithm: str) -> None:
    spec = spec_of(algorithm, "cosine:9000:0.1")
    whole, first, second = Training(spec), Training(spec), Training(spec)
    learned(first, 4000)
    second.load(first.checkpoint())
    assert learned(second, 9000) == learned(whole, 9000)


def test_a_run_ends_at_the_horizon_whatever_its_budget(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), spec_of("aevb", "linear:500")
    with pytest.raises(BadInput, match="--samples is 600, and --schedule linear:500"):
        runner.ensure(store, spec, Budget(samples=600))
    assert not store.run(spec.run_id).exists()
    record = runner.ensure(store, spec, Budget(cpu_seconds=1e6))
    assert (record.status, record.ledger["samples"]) == ("done", 500)
    assert record.budget == {"samples": 500, "cpu_seconds": 1e6}
    again = runner.ensure(store, spec, Budget(cpu_seconds=1e7), watch=lambda *event: pytest.fail("it trains"))
    assert again.status == "done"
    for more in (Budget(samples=501), Budget(cpu_seconds=1e7)):
        with pytest.raises(BadInput, match="come to the end of its --schedule linear:500, where the step size is 0"):
            runner.extend(store.run(spec.run_id), more)


def test_a_run_is_extended_up_to_the_horizon(tmp_path: Path) -> None:
    store, spec = Store(tmp_path), spec_of("aevb", "linear:500")
    runner.ensure(store, spec, Budget(samples=200))
    with pytest.raises(BadInput, match="--samples is 501, and --schedule linear:500"):
        runner.extend(store.run(spec.run_id), Budget(samples=501))
    record = runner.extend(store.run(spec.run_id), Budget(wall_seconds=1e6))
    assert (record.status, record.ledger["samples"]) == ("done", 500)
