"""Marks, reproducibility, exact resumption, and runs that go wrong."""

import functools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.datasets import mnist as mnist_plugin

from harness import api
from harness.errors import Diverged, RunFailed
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.checkpoint import digest
from harness.testing import conformance, toy
from harness.training import loop
from harness.training.checkpoint import pack, restore
from harness.training.loop import TICK, Training
from harness.training.marks import Marks

CLOCKS = ("cpu_seconds", "wall_seconds")


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its clocks."""
    return {**row, "ledger": {k: v for k, v in row["ledger"].items() if not k.endswith(CLOCKS)}}


def rows(run: Training, samples: int) -> list[dict[str, Any]]:
    return [untimed(event) for event in run.rows(Budget(samples=samples)) if not isinstance(event, str)]


def small(seed: int = 0, **settings: Any) -> Training:
    spec = make_spec(
        "aevb", toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 10, "warmup": 3, "init_sd": 0.1, **settings},
        first_mark=100, points=20, seed=seed,
    )  # fmt: skip
    return Training(spec)


def test_marks_are_ten_a_decade_whatever_the_budget() -> None:
    marks = Marks(10_000, 10)
    found, spent = [], 0.0
    while spent < 1e5:
        spent = marks.after(spent)
        found.append(spent)
    assert found == pytest.approx([10_000 * 10 ** (k / 10) for k in range(11)])
    assert marks.after(10_000) == pytest.approx(12_589.25, rel=1e-5)
    assert marks.after(9_999.9) == 10_000
    assert marks.after(1e300) > 1e300


def test_rows_lie_at_the_marks_and_at_the_end() -> None:
    found = rows(small(), 1005)
    assert [row["ledger"]["samples"] for row in found] == [100, 130, 160, 200, 260, 320, 400, 510, 640, 800, 1000, 1010]
    assert [row["end"] for row in found] == [False] * 11 + [True]
    assert [e["points"] for e in found[0]["estimates"]] == [20, 20]
    assert [(e["split"], e["points"]) for e in found[-1]["estimates"]] == [
        ("train", 20), ("train", 60), ("test", 20), ("test", 40)
    ]  # fmt: skip


def test_cpu_budgets_have_marks_of_cpu_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small()
    run.schedule.cpu_seconds = Marks(0.05, 10)
    marks = [event["marks"] for event in run.rows(Budget(cpu_seconds=0.3)) if not isinstance(event, str)]
    assert sum("cpu_seconds" in mark for mark in marks) >= 5
    assert any("samples" in mark for mark in marks)


def test_same_seed_and_threads_give_identical_traces_on_mnist(mnist: api.Dataset) -> None:
    def trace(seed: int) -> tuple[list[dict[str, Any]], str]:
        spec = make_spec("aevb", settings={"nz": 5, "hidden": 50}, points=500, final_points=500, seed=seed)
        run = Training(spec)
        return rows(run, 15_000), digest(run.checkpoint()["theta"])

    first, again, other = trace(0), trace(0), trace(1)
    assert first == again
    assert first != other


@pytest.mark.parametrize("binarize", ["none", "stochastic"])
def test_resumed_at_any_step_is_uninterrupted_bit_for_bit(
    mnist: api.Dataset, monkeypatch: pytest.MonkeyPatch, binarize: str, full: bool
) -> None:
    """Stopped after every one of many steps, before, at and after marks, and within the warm-up; every third without `--full`."""
    monkeypatch.setattr(loop, "TICK_SECONDS", 0.0)
    monkeypatch.setattr(mnist_plugin, "_contents", functools.cache(mnist_plugin._contents))
    spec = make_spec(
        "aevb", settings={"nz": 3, "hidden": 20, "warmup": 5, "binarize": binarize},
        first_mark=300, points=100, final_points=150,
    )  # fmt: skip
    whole = Training(spec)
    checkpoints, trace = [], []
    for event in whole.rows(Budget(samples=2000)):
        if isinstance(event, str):
            checkpoints.append((len(trace), whole.checkpoint()))
        else:
            trace.append(untimed(event))
            checkpoints.append((len(trace), whole.checkpoint()))
    end = digest({k: whole.checkpoint()[k] for k in ("theta", "phi", "algorithm", "rng", "ledger")})
    assert len(checkpoints) == 20
    for n, checkpoint in checkpoints[:: 1 if full else 3]:
        resumed = Training(spec)
        resumed.load(checkpoint)
        assert trace[:n] + rows(resumed, 2000) == trace
        assert digest({k: resumed.checkpoint()[k] for k in ("theta", "phi", "algorithm", "rng", "ledger")}) == end


def test_an_extended_run_is_one_with_the_larger_budget() -> None:
    whole = rows(small(), 1000)
    run = small()
    first = rows(run, 500)
    again = small()
    again.load(run.checkpoint())
    joined = first + rows(again, 1000)
    assert joined[-1] == whole[-1]
    assert [row for row in joined if not row["end"]] == [row for row in whole if not row["end"]]


def test_seeds_are_paired_across_settings() -> None:
    """Another step size: the same weights at the start and the same minibatches."""
    a, b = small(lr=0.01), small(lr=0.5)
    assert torch.equal(a.model.params.flat, b.model.params.flat)
    for _ in range(5):
        assert torch.equal(a._batch().x, b._batch().x)


@pytest.mark.slow
def test_it_learns(mnist: api.Dataset) -> None:
    """Real MNIST, 100,000 samples: 30 nats above the best model without latents, and the same on both splits."""
    x = mnist.test.double() / 256
    mean = (mnist.train.double().mean(0) / 256).clamp(1e-4, 1 - 1e-4)
    no_latents = (x * mean.log() + (1 - x) * (-mean).log1p()).sum(1).mean().item()
    run = Training(make_spec("aevb", settings={"nz": 20}, first_mark=100_000))
    (row,) = rows(run, 100_000)
    bounds = {(e["split"], e["points"]): e["mean"] for e in row["estimates"]}
    assert bounds["test", 10_000] > no_latents + 30
    assert bounds["train", 10_000] == pytest.approx(bounds["test", 10_000], abs=5)
    assert row["info"]["objective"] < bounds["train", 10_000]  # the mean over the climb


def test_a_huge_step_diverges_with_its_rows_and_names_the_step() -> None:
    run = small(lr=1e6)
    found: list[Any] = []
    with pytest.raises(Diverged, match=r"lr=1000000.0"):
        for event in run.rows(Budget(samples=10_000)):
            found.append(event)
    last = [event for event in found if event != TICK][-1]
    assert last["end"] or last["estimates"][0]["mean"] < -1200 or math.isnan(last["estimates"][0]["mean"])


def _plugin(folder: Path, step: str) -> str:
    path = folder / "odd.py"
    path.write_text(
        '"""An odd algorithm."""\n'
        "from dataclasses import dataclass\nfrom typing import NamedTuple\nfrom harness import api\n"
        "TRAITS = api.Traits()\n"
        'class Config(api.Config):\n    batch_size: int = api.setting(10, "M", gt=0)\n'
        "@dataclass\nclass State:\n    n: int\n"
        "class Info(NamedTuple):\n    objective: float\n"
        "def init(problem, config, rng):\n    return State(0)\n"
        f"def step(state, batch):\n    state.n += 1\n    {step}\n"
    )
    return str(path)


def test_nan_objective_diverges_at_the_step(tmp_path: Path) -> None:
    run = conformance.training(_plugin(tmp_path, "return Info(float('nan') if state.n == 7 else 0.0)"))
    events: list[Any] = []
    with pytest.raises(Diverged, match="objective became nan"):
        for event in run.rows(Budget(wall_seconds=60)):
            events.append(event)
    assert events[-1]["end"]
    assert events[-1]["ledger"]["datapoints"] == 70


def test_an_algorithm_that_raises_fails_with_its_words(tmp_path: Path) -> None:
    run = conformance.training(_plugin(tmp_path, "raise ValueError('no such luck')"))
    with pytest.raises(RunFailed, match=r"'odd': odd\.py:\d+ in step: ValueError: no such luck: `raise "):
        list(run.rows(Budget(samples=100)))


def test_an_algorithm_that_spends_nothing_cannot_run_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TICK_SECONDS", 0.0)
    run = conformance.training(_plugin(tmp_path, "return Info(0.0)"))
    with pytest.raises(RunFailed, match="--cpu-seconds"):
        list(run.rows(Budget(samples=100)))
    run = conformance.training(_plugin(tmp_path, "return Info(0.0)"))
    list(run.rows(Budget(wall_seconds=0.05)))


def test_state_that_cannot_be_kept_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"state\['f'\]\[0\] is a function"):
        pack({"f": [lambda: None]})


def test_pack_and_restore_are_inverse(rng: torch.Generator) -> None:
    other = torch.Generator().manual_seed(9)
    value = {"t": torch.randn(3, generator=rng), "g": rng, "n": [1, 2.5, "x", None, True]}
    packed = pack(value)
    target = {"t": torch.zeros(3), "g": other, "n": [0, 0.0, "", None, False]}
    restored = restore(target, packed)
    assert torch.equal(restored["t"], value["t"])
    assert restored["n"] == value["n"]
    assert torch.equal(torch.randn(4, generator=other), torch.randn(4, generator=rng))
