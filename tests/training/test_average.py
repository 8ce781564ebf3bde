"""Polyak averaging: the mean of the parameters over steps, evaluated beside them, kept in checkpoints, and chosen by nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import PLUGINS, Result
from torch import Tensor

from harness.errors import BadInput
from harness.runs import runner, verify
from harness.runs.evaluate import Trained
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store.checkpoint import digest
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy
from harness.training.average import EVERY
from harness.training.loop import Training
from harness.training.subject import Subject

SMALL = {"nz": 2, "hidden": 5, "init_sd": 0.1, "warmup": 0}
PARTS = ("theta", "phi", "algorithm", "rng", "ledger", "info", "average")


def spec_of(average: int | None, algorithm: str = "aevb", **more: Any) -> RunSpec:
    settings = {**SMALL, **({} if algorithm == "mcem" else {"batch_size": 10})}
    return make_spec(
        algorithm,
        toy.__file__,
        settings=settings,
        average=average,
        first_mark=100,
        marks_per_decade=4,
        points=20,
        **more,
    )


def untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "ledger": {name: n for name, n in row["ledger"].items() if not name.endswith("seconds")}}


def rows(run: Training, samples: int) -> list[dict[str, Any]]:
    return [untimed(event) for event in run.rows(Budget(samples=samples)) if not isinstance(event, str)]


def flats(subject: Subject) -> list[Tensor]:
    return [part.params.flat.detach().clone() for part in subject.parts]


@pytest.mark.parametrize(
    ("algorithm", "begin", "every"), [("aevb", 100, EVERY), ("wake-sleep", 0, EVERY), ("mcem", 2000, 1)]
)
def test_it_is_the_mean_of_the_parameters_after_these_steps(
    algorithm: str, begin: int, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.training.average.BLOCK", 3)
    run, after = Training(spec_of(begin, algorithm)), list[list[Tensor]]()
    assert run.average is not None
    assert run.average.subject() is None
    for _ in range(93 if every > 1 else 7):
        run.step()
        if run.ledger.samples >= begin:
            after.append(flats(run.subject))
    assert len(after) > 2
    before = flats(run.subject)
    mean = run.average.subject()
    assert mean is not None
    for own, *parts in zip(flats(mean), *after[::every], strict=True):
        torch.testing.assert_close(own, torch.stack(parts).double().mean(0).float(), rtol=0, atol=1e-7)
    assert all(map(torch.equal, flats(run.subject), before))
    assert not any(map(torch.equal, flats(mean), before))


def test_it_is_evaluated_beside_the_parameters_with_the_same_noise() -> None:
    """Nothing else of the run is changed by it."""
    run, without = Training(spec_of(200)), Training(spec_of(None))
    found, others = rows(run, 1000), rows(without, 1000)
    assert [{name: part for name, part in row.items() if name != "averaged"} for row in found] == others
    assert ["averaged" in row for row in found] == [row["ledger"]["samples"] >= 200 for row in found]
    assert digest({name: run.checkpoint()[name] for name in PARTS[:-1]}) == digest(
        {name: without.checkpoint()[name] for name in PARTS[:-1]}
    )
    assert "average" not in without.checkpoint()
    last, mean = found[-1], run.average.subject()  # type: ignore[union-attr]
    assert [{**e, "mean": 0, "se_points": 0, "se_estimator": 0} for e in last["estimates"]] == [
        {**{n: v for n, v in e.items() if n != "weights"}, "mean": 0, "se_points": 0, "se_estimator": 0}
        for e in last["averaged"]
    ]
    assert {e["weights"] for e in last["averaged"]} == {"average"}
    (_, estimator), (own, *_) = run.estimators[0], last["averaged"]
    without.subject.load({"theta": flats(mean)[0], "phi": flats(mean)[1]})  # type: ignore[arg-type]
    assert estimator.estimate(without.subject, own["split"], own["points"], 0).mean == own["mean"]


@pytest.mark.parametrize("algorithm", ["aevb", "wake-sleep", "mcem"])
def test_a_run_that_was_stopped_is_the_uninterrupted_one_bit_for_bit(algorithm: str) -> None:
    spec = spec_of(500, algorithm, schedule="linear:5000:0.6")
    whole, first, second = Training(spec), Training(spec), Training(spec)
    kept = rows(first, 2000)
    second.load(first.checkpoint())
    assert [row for row in kept + rows(second, 4000) if row["marks"]] == [
        row for row in rows(whole, 4000) if row["marks"]
    ]
    assert digest({name: second.checkpoint()[name] for name in PARTS}) == digest(
        {name: whole.checkpoint()[name] for name in PARTS}
    )


@pytest.mark.parametrize("damage", [
    lambda state: state.pop("average"), lambda state: state["average"].pop("phi"),
    lambda state: state["average"]["theta"].update(sum=state["average"]["theta"]["sum"][:-1]),
    lambda state: state["average"]["phi"].update(sum=state["average"]["phi"]["sum"].float()),
    lambda state: state["average"]["phi"].update(block=state["average"]["phi"]["block"].double()),
    lambda state: state["average"]["theta"].pop("block"), lambda state: state["average"].update(theta=None),
    lambda state: state["average"].update(phi=None), lambda state: state["average"].update(taken=-1),
    lambda state: state["average"].update(steps=0.5), lambda state: state.update(average=[1]),
])  # fmt: skip
def test_what_is_no_average_of_this_run_is_refused(damage: Callable[[Any], Any], tmp_path: Path) -> None:
    store, spec = Store(tmp_path), spec_of(100)
    runner.ensure(store, spec, Budget(samples=300))
    run = store.run(spec.run_id)
    state = run.checkpoint()
    damage(state)
    run.claim()
    run.save(run.read(), state)  # type: ignore[arg-type]
    run.release()
    with pytest.raises(BadInput, match="does not fit run"):
        runner.extend(run, Budget(samples=600))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with averaged weights, in the store in which `harness` looks."""
    store, spec = Store(tmp_path / "results"), spec_of(100)
    runner.ensure(store, spec, Budget(samples=1000))
    return store.run(spec.run_id)


def test_the_model_of_a_stored_run_is_evaluated_by_either(run: Run) -> None:
    """As at the end of the run, bit for bit; what is added to the run says of which it is."""
    (last,) = run.rows()[-1:]
    for weights, stored in (("last", last["estimates"]), ("average", last["averaged"])):
        own = next(e for e in stored if e["split"] == "test" and e["points"] == 40)
        found, _ = Trained(run, weights=weights).estimate("lower-bound", "test", 40, own["settings"])
        assert found.row() == own
    assert [row["estimate"].get("weights") for row in run.evaluations()] == [None, "average"]


def test_it_is_verified(run: Run) -> None:
    for verified in (verify._evaluated_again, verify._trained_again):
        found = verified(run, None)
        assert (found.says, found.why) == ("agrees", "in every bit")
    assert found.values == sum(len(row["estimates"]) + len(row.get("averaged", ())) for row in run.rows())


def test_commands_take_it_where_they_are_asked_to(run: Run, harness: Callable[..., Result], tmp_path: Path) -> None:
    last, means = run.rows()[-1], {}
    for weights, key in (("last", "estimates"), ("average", "averaged")):
        done = harness("compare", run.id, run.path, "--weights", weights, "--json")
        assert done.code == 0, done.err
        (found,) = json.loads(done.out)
        assert found.get("weights", "last") == weights
        means[weights] = found["marks"][-1]["first"]
        assert means[weights] in [e["mean"] for e in last[key] if e["split"] == "test"]
    assert means["last"] != means["average"]
    shown = harness("show", run.id).out
    assert "average=from 100 samples on" in shown
    assert "lower-bound (average)  test" in shown
    done = harness("evaluate", run.id, "--estimator", "lower-bound", "--points", 10, "--weights", "average", "--json")
    assert json.loads(done.out)["weights"] == "average"
    assert harness("export", "--format", "csv", "--out", tmp_path / "tables").code == 0
    lines = (tmp_path / "tables" / "estimates.csv").read_text().splitlines()
    column = lines[0].split(",").index("weights")
    assert "average" in {line.split(",")[column] for line in lines[1:]}
    drawn = harness("plot", run.id, "--weights", "average", "--out", tmp_path / "average.svg")
    assert drawn.code == 0, drawn.err
    assert "of averaged weights" in (tmp_path / "average.svg").read_text()


def test_what_has_no_average_is_said(run: Run, harness: Callable[..., Result]) -> None:
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--batch-size", 10, "--samples", 200]
    done = harness("run", "--algo", "aevb", *words, "--average", "6e6")
    assert done.code == 0
    assert (
        "--average begins after 6,000,000 samples, beyond the budget, so there will be no averaged weights yet"
        in done.err
    )
    why = "its --average begins after 6,000,000 samples, and it has spent 200; extend it beyond them"
    assert f"no averaged weights yet: {why}" in done.out
    later = next(one for one in Store(run.path.parents[1]).runs() if one.id != run.id)
    assert f"no averaged weights yet: {why}" in harness("show", later.id).out
    for command in (
        ["evaluate", later.id, "--estimator", "lower-bound"],
        ["plot", later.id],
        ["compare", later.id, run.id],
    ):
        done = harness(*command, "--weights", "average")
        assert (done.code, why in done.err) == (2, True), done.err
    assert harness("run", "--algo", "aevb", *words).code == 0
    (never,) = (one for one in Store(run.path.parents[1]).runs() if one.id not in (run.id, later.id))
    done = harness("plot", never.id, run.id, "--weights", "average")
    assert done.code == 0
    assert f"left out, as they have no averaged weights: {never.id} (it was made without --average" in done.err
    for bad in ("-1", "x", "0.5"):
        done = harness("run", "--algo", "aevb", *words, "--average", bad)
        assert (done.code, done.err) == (2, f"harness: --average is {bad!r}: give a whole number from 0, such as 6e6\n")
    with pytest.raises(BadInput, match="--average is 1,000, and --schedule linear:1e3 ends there or before"):
        make_spec("aevb", average=1000, schedule="linear:1000")


def test_it_is_of_any_algorithm(harness: Callable[..., Result]) -> None:
    """One with an optimiser of its own among them."""
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--batch-size", 10, "--samples", 400, "--average", 0]
    done = harness("run", "--algo", PLUGINS / "renyi.py", *words, "--json")
    assert done.code == 0, done.err
    assert len(json.loads(done.out)["averaged"]) == 2
