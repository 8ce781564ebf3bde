"""A run with a step schedule, averaged weights and the parameters of its best mark: none of them changes what the others are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Result, user_names

from harness.analysis.export import read, write
from harness.analysis.exported import Exported
from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import chosen
from harness.claims.invariants import _of_one_model
from harness.errors import BadInput
from harness.runs import runner, verify
from harness.runs.evaluate import Trained
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store import checkpoint
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]

DATA = """
from harness import api
from harness.testing import toy
class Config(api.Config): pass
def load(config, data_dir=None):
    data = toy.load(toy.Config(), data_dir)
    train, test, valid, shape = data.train[:15], data.test[:20], data.test[20:], (2, data.train.shape[1] // 2)
    return api.Dataset(train, test, valid=valid, kind="binary", source="drawn at random", shape=shape)
"""

SAMPLES = 1300  # a little beyond the mark at 1260
KEYS = {"last": "estimates", "average": "averaged"}


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    path = tmp_path / "validated.py"
    path.write_text(DATA)
    return make_spec(
        "aevb",
        user_names(path),
        settings={"nz": 2, "hidden": 20, "batch_size": 5, "lr": 0.1, "warmup": 5},
        splits=["train", "valid", "test"],
        first_mark=100,
        schedule="linear:2000:0.8",
        average=300,
        keep="best-valid",
    )


@pytest.fixture
def run(tmp_path: Path, spec: RunSpec) -> Run:
    """The run, in the store in which `harness` looks."""
    store = Store(tmp_path / "results")
    runner.ensure(store, spec, Budget(samples=SAMPLES))
    return store.run(spec.run_id)


def state(run: Run) -> str:
    """Return a digest of all that the next step depends on, clocks apart, and of what is kept of the best mark."""
    found, kept = run.checkpoint(), run.best()
    assert found is not None
    assert kept is not None
    assert {"average", "best"} <= found.keys()
    left_out = ("seconds", "trace", "run")
    return checkpoint.digest({"last": {n: v for n, v in found.items() if n not in left_out}, "best": kept})


def estimates(run: Run) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("estimates", "averaged", "info") if name in row} for row in run.rows()]


def estimate(of: Any, split: str = "test") -> dict[str, Any]:
    """Return the lower bound on all points of a split, and not on those of a mark alone."""
    found: dict[str, Any] = max((e for e in of if e["split"] == split), key=lambda e: e["points"])
    return found


def test_killed_at_any_row_and_resumed_it_is_the_uninterrupted_run(
    spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk had at every row is what a kill leaves."""
    store, left = Store(tmp_path / "results"), list[Path]()
    run = store.run(spec.run_id)

    def watch(training: Any, event: Any) -> None:
        if not isinstance(event, str):
            left.append(shutil.copytree(run.path, tmp_path / f"killed{len(left)}" / "runs" / run.id))

    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    runner.ensure(store, spec, Budget(samples=SAMPLES), watch=watch)
    assert len(left) > 8
    for path in left[1::5]:
        for name in ("owner.json", "owner.lock"):
            (path / name).unlink(missing_ok=True)
        again = Store(path.parent.parent).run(run.id)
        runner.resume(again)
        assert state(again) == state(run), path
        assert estimates(again) == estimates(run)


def test_extended_it_is_what_it_would_have_been_at_once(spec: RunSpec, run: Run, tmp_path: Path) -> None:
    """From an end between marks, before and after the average begins."""
    store = Store(tmp_path / "others")
    for end in (180, 505, SAMPLES):
        runner.ensure(store, spec, Budget(samples=end))
    other = store.run(spec.run_id)
    assert state(other) == state(run)
    at_marks = [
        [one for one, row in zip(estimates(each), each.rows(), strict=True) if row["marks"]] for each in (run, other)
    ]
    assert at_marks[0] == at_marks[1]


def test_neither_of_them_changes_the_other(spec: RunSpec, run: Run, tmp_path: Path) -> None:
    alone = {
        "average": spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"keep": "last"})}),
        "keep": spec.model_copy(update={"average": None}),
    }
    assert len({spec.run_id, *(one.run_id for one in alone.values())}) == 3
    found = {}
    for name, one in alone.items():
        store = Store(tmp_path / name)
        runner.ensure(store, one, Budget(samples=SAMPLES))
        found[name] = store.run(one.run_id)
    assert estimates(found["average"]) == estimates(run)
    best, both = found["keep"].best(), run.best()
    assert checkpoint.digest({**best, "run": ""}) == checkpoint.digest({**both, "run": ""})  # type: ignore[dict-item]


def test_each_word_evaluates_its_own_parameters(run: Run, harness: Harness, tmp_path: Path) -> None:
    kept, last = run.best(), run.rows()[-1]
    assert kept is not None
    samples = kept["ledger"]["samples"]
    assert samples != last["ledger"]["samples"]
    (best,) = (row for row in run.rows() if row["ledger"]["samples"] == samples)
    stored = {word: estimate(last[key]) for word, key in KEYS.items()} | {"best-valid": estimate(best["estimates"])}
    for word, own in stored.items():
        found, _ = Trained(run, weights=word).estimate("lower-bound", "test", own["points"], own["settings"])  # type: ignore[arg-type]
        assert found.row() == {**own, **({} if word == "last" else {"weights": word})}
    assert len({own["mean"] for own in stored.values()}) == 3
    later = run.evaluations()
    assert [one["estimate"].get("weights", "last") for one in later] == list(stored)
    assert [one["ledger"]["samples"] for one in later] == [SAMPLES, SAMPLES, samples]
    shown = harness("show", run.id).out
    assert "lower-bound (average)" in shown
    assert "lower-bound (best-valid)" in shown

    *_, of_last = _of_one_model(StoredRun.load(run), [])
    assert {e["mean"] for e in of_last if e["split"] == "test"} == {stored["last"]["mean"]}

    for form in ("csv", "parquet"):
        write([Exported("runs", *run.content(), later)], form, tmp_path / form)
        (exported,) = read(tmp_path / form)
        assert (exported.evaluations, exported.rows) == (later, run.rows())
    lines = [line.split(",") for line in (tmp_path / "csv" / "estimates.csv").read_text().splitlines()]
    row, weights = lines[0].index("row"), lines[0].index("weights")
    assert [line[weights] for line in lines[1:] if not line[row]] == ["", "average", "best-valid"]


def test_later_estimates_of_other_parameters_are_not_taken_for_those_of_the_last_row(run: Run) -> None:
    """Where the best mark is the last row, too: its estimates are the same, and are not counted twice."""
    (one,) = run.rows()[-1:]
    before = [*_of_one_model(StoredRun.load(run), [])][-1]
    for word in ("average", "best-valid"):
        own = {**estimate(one["estimates"]), "weights": word, "mean": -1.0}
        run.append_evaluation({"ledger": one["ledger"], "estimate": own, "file": None})
    assert len(run.evaluations()) == 2
    assert [*_of_one_model(StoredRun.load(run), [])][-1] == before


def test_all_three_are_verified(run: Run) -> None:
    found = verify._evaluated_again(run, None)
    assert (found.says, found.why, found.rows) == ("agrees", "in every bit", 2)
    kept, rows = run.best(), run.rows()
    assert kept is not None
    (best,) = (row for row in rows if row["ledger"]["samples"] == kept["ledger"]["samples"])
    assert found.values == sum(map(len, (rows[-1]["estimates"], rows[-1]["averaged"], best["estimates"])))
    again = verify._trained_again(run, None)
    assert (again.says, again.why) == ("agrees", "in every bit")


def test_averaged_weights_that_were_changed_do_not_verify(run: Run) -> None:
    found = run.checkpoint()
    assert found is not None
    found["average"]["theta"]["sum"] += 1.0
    run.claim()
    run.save(run.read(), found)
    run.release()
    assert verify._evaluated_again(run, None).says == "differs"


def test_rows_of_averaged_weights_have_a_best_mark_of_their_own(run: Run) -> None:
    stored = StoredRun.load(run)
    (averaged,) = chosen([stored], "average", pytest.fail)
    own = max((row for row in averaged.rows if row["marks"] or row["end"]), key=_on_validation)
    found = averaged.at("best-valid")
    assert found is not None
    assert found["ledger"]["samples"] == own["ledger"]["samples"]
    assert "averaged" in own
    with pytest.raises(BadInput, match="--weights is 'best-valid', and curves are not of the parameters of one mark"):
        chosen([stored], "best-valid", pytest.fail)


def _on_validation(row: dict[str, Any]) -> float:
    return min((e for e in row["estimates"] if e["split"] == "valid"), key=lambda e: int(e["points"]))["mean"]  # type: ignore[no-any-return]


def test_commands_take_each_word_where_it_means_something(run: Run, harness: Harness, tmp_path: Path) -> None:
    means, data = set(), ("--dataset", tmp_path / "validated.py")
    for word in ("last", "average", "best-valid"):
        done = harness("evaluate", run.id, *data, "--estimator", "lower-bound", "--weights", word, "--json")
        assert done.code == 0, done.err
        found = json.loads(done.out)
        assert found.get("weights", "last") == word
        means.add(found["mean"])
    assert len(means) == 3
    picture = tmp_path / "samples.svg"
    assert harness("plot", "samples", run.id, *data, "--weights", "best-valid", "--out", picture).code == 0
    assert "weights of the best mark" in picture.read_text()
    refused = harness("plot", run.id, "--weights", "best-valid")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "choose last or average" in refused.err
    done = harness("compare", run.id, run.path, "--weights", "best-valid")
    assert (done.code, done.err) == (2, "harness: --weights is 'best-valid': choose last or average\n")
