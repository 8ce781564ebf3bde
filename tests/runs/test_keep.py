"""The parameters of the mark that is best on the validation split: which they are, where they are kept, who uses them."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Result, user_names

from harness.analysis import table
from harness.analysis.export import read, write
from harness.analysis.exported import Exported
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.runs import runner, verify
from harness.runs.evaluate import Trained
from harness.specs.budget import Budget
from harness.specs.experiment import Experiment
from harness.specs.run import RunSpec, make_spec
from harness.store import best, checkpoint
from harness.store.gc import collect
from harness.store.run import Run
from harness.store.store import Store
from harness.training.loop import Training

Harness = Callable[..., Result]

DATA = """
from harness import api
from harness.testing import toy
class Config(api.Config): pass
def load(config, data_dir=None):
    data = toy.load(toy.Config(), data_dir)
    return api.Dataset(data.train[:15], data.test[:20], valid=data.test[20:], kind="binary", source="drawn at random")
"""

NETWORK = {"nz": 2, "hidden": 20, "batch_size": 5, "lr": 0.1, "warmup": 5}  # a step so large that marks go up and down

SAMPLES = 1300  # a little beyond the mark at 1260


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "validated.py"
    path.write_text(DATA)
    return user_names(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def spec_of(data: str, algorithm: str = "aevb", **more: Any) -> RunSpec:
    options = {
        "splits": ["train", "valid", "test"],
        "keep": "best-valid",
        "first_mark": 100,
        "settings": NETWORK,
    } | more
    return make_spec(algorithm, data, **options)


def kept(run: Run) -> dict[str, Any]:
    found = run.best()
    assert found is not None
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return checkpoint.digest(one) == checkpoint.digest(other)


def rows_of(spec: RunSpec, budget: Budget) -> list[tuple[dict[str, Any], Any]]:
    """Return every row of a run, and the parameters of its generative model then."""
    training = Training(spec)
    rows = (event for event in training.rows(budget) if not isinstance(event, str))
    return [(row, training.model.params.flat.detach().clone()) for row in rows]


def on_validation(row: dict[str, Any]) -> float:
    return next(float(e["mean"]) for e in row["estimates"] if e["split"] == "valid")


def test_it_keeps_the_parameters_of_the_best_mark_and_never_looks_at_test_data(store: Store, data: str) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=SAMPLES))
    run = store.run(spec.run_id)
    rows = rows_of(spec, Budget(samples=SAMPLES))
    row, theta = max(rows, key=lambda one: on_validation(one[0]))
    test = [next(e["mean"] for e in one["estimates"] if e["split"] == "test") for one, _ in rows]
    assert test.index(max(test)) != rows.index((row, theta))  # another mark is best on test data
    assert not rows[-1][1].equal(theta)
    found = kept(run)
    assert found["theta"].equal(theta)
    assert found["ledger"]["samples"] == row["ledger"]["samples"]
    assert found["estimate"]["mean"] == on_validation(row)
    assert found["estimate"]["se_points"] > 0
    assert StoredRun.load(run).at("best-valid") == {**row, "ledger": StoredRun.load(run).at("best-valid")["ledger"]}


def test_runs_without_it_are_what_they_were(store: Store, data: str) -> None:
    with_it = spec_of(data)
    without = spec_of(data, keep=None)
    assert without == spec_of(data, keep="last")
    assert without.run_id != with_it.run_id
    assert make_spec("aevb", settings={"nz": 3}).run_id == "aevb-mnist-nz3-s0-2c9332d3"
    for spec in (with_it, without):
        runner.ensure(store, spec, Budget(samples=200))
    states = [store.run(spec.run_id).checkpoint() for spec in (with_it, without)]
    assert states[0] is not None
    assert states[1] is not None
    assert "best" not in states[1]
    assert states[0]["theta"].equal(states[1]["theta"])
    assert not (store.run(without.run_id).path / best.NAME).exists()


def test_killed_at_any_row_and_resumed_it_keeps_the_same(
    store: Store, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk had at every row is what a kill leaves; the last checkpoint is of up to four rows before."""
    spec = spec_of(data)
    run, left, n = store.run(spec.run_id), [], 0

    def watch(training: Training, event: Any) -> None:
        nonlocal n
        n += not isinstance(event, str)
        if not isinstance(event, str):
            left.append(shutil.copytree(run.path, tmp_path / f"killed{n}" / "runs" / run.id))

    save = Run.save
    saved = 0

    def seldom(self: Run, record: Any, *state: Any) -> None:
        nonlocal saved
        saved += 1
        if saved % 4 == 0 or record.status != "running":
            save(self, record, *state)

    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    budget = Budget(samples=SAMPLES)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "save", seldom)
        runner.ensure(store, spec, budget, watch=watch)
    assert len(left) > 8
    assert len({(path / best.NAME).exists() for path in left}) == 2
    for path in left[1::4]:
        for name in ("owner.json", "owner.lock"):
            (path / name).unlink(missing_ok=True)
        again = Store(path.parent.parent).run(run.id)
        runner.resume(again)
        assert same(kept(again), kept(run)), path
        assert [one["estimates"] for one in again.rows()] == [one["estimates"] for one in run.rows()]


def test_a_run_without_a_recognition_model(data: str) -> None:
    spec = spec_of(data, "mcem", marginal="importance", settings={"nz": 2, "hidden": 5})
    training, again = Training(spec), Training(spec)
    value = {"estimator": "importance", "split": "valid", "points": 20, "mean": -7.0}
    training.best.see({"marks": {"samples": 1.0}, "ledger": training.spent(), "estimates": [value]}, training.subject)
    again.load(training.checkpoint())
    for one in (training, again):
        assert one.best.kept is not None
        assert one.best.kept["phi"] is None
        assert one.best.kept["theta"].equal(training.model.params.flat)
        assert one.best.kept["estimate"] == value


@pytest.mark.parametrize("ends", [(330, 505), (300, 450, 900)])
def test_an_extended_run_keeps_what_it_would_have_kept_at_once(store: Store, data: str, ends: tuple[int, ...]) -> None:
    """An end between marks counts for its own budget, and not for a larger one."""
    spec = spec_of(data)
    run = store.run(spec.run_id)
    runner.ensure(store, spec, Budget(samples=SAMPLES), group="whole")
    for end in (*ends, SAMPLES):
        runner.ensure(store, spec, Budget(samples=end))
        at_marks = [row for row in run.rows() if row["marks"]] + run.rows()[-1:]
        assert kept(run)["ledger"]["samples"] == max(at_marks, key=on_validation)["ledger"]["samples"]
        found = StoredRun.load(run).at("best-valid")
        assert found is not None
        assert kept(run)["ledger"]["samples"] == found["ledger"]["samples"]
    assert same(kept(run), kept(store.run(spec.run_id, "whole")))


def row(mark: float | None, samples: int, **means: float) -> dict[str, Any]:
    estimates = [{"estimator": "bound", "split": split, "points": 20, "mean": mean} for split, mean in means.items()]
    return {
        "marks": {"samples": mark} if mark else {},
        "end": not mark,
        "ledger": {"samples": samples},
        "estimates": estimates,
    }


def test_which_row_is_best() -> None:
    asked = [{"name": "other", "points": 20}, {"name": "bound", "points": 20}]
    rows = [row(1.0, 1, valid=-3.0, test=-9.0), row(2.0, 2, valid=-2.0), row(3.0, 3, valid=-2.0, test=-1.0)]
    found = best.best_row(asked, rows)
    assert found is not None
    assert found[0]["ledger"]["samples"] == 2  # the first of equal ones
    end, nan = row(None, 4, valid=-1.0), row(5.0, 5, valid=math.nan)
    assert best.best_row(asked, [*rows, end])[0] is end  # type: ignore[index]
    assert best.best_row(asked, [*rows, end, nan])[0] is rows[1]  # type: ignore[index]
    assert best.best_row(asked, [nan]) is None
    assert best.best_row(asked, [row(1.0, 1, test=-1.0)]) is None
    assert best.best_row([{"name": "bound", "points": 10}], rows) is None  # estimates at ends alone
    assert best.best_row([], rows) is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"splits": ["train", "test"]},
        "--splits is 'train,test': parameters are chosen on the validation split alone, so give",
    ),
    ({"points": 0}, "--eval-points is 0: parameters are chosen by estimates at marks"),
    ({"keep": "best-test"}, "keep.*best-test"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_chosen_on_validation_is_refused(data: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        spec_of(data, **options)


def test_no_validation_split_and_no_estimator_at_marks_are_refused(data: str) -> None:
    from harness.testing import toy

    with pytest.raises(BadInput, match="has no such points: leave it out, and any --keep"):
        Training(spec_of(toy.__file__))
    with pytest.raises(
        BadInput, match="no estimator that can evaluate algorithm 'mcem' is evaluated at marks: give --marg"
    ):
        Training(spec_of(data, "mcem", settings={"nz": 2, "hidden": 5}))


def test_commands_know_it(harness: Harness, store: Store, data: str, tmp_path: Path) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=SAMPLES))
    run = store.run(spec.run_id)
    samples, bound = kept(run)["ledger"]["samples"], kept(run)["estimate"]
    words = ("evaluate", run.id, "--estimator", "lower-bound", "--dataset", data, "--split", "valid")
    found = json.loads(harness(*words, "--weights", "best-valid", "--json").out)
    assert found["mean"] == bound["mean"]
    assert json.loads(harness(*words, "--json").out)["mean"] == on_validation(run.rows()[-1])
    assert [one["estimate"].get("weights") for one in run.evaluations()] == ["best-valid", None]
    assert run.evaluations()[0]["ledger"]["samples"] == samples
    shown = harness("show", run.id).out
    assert f"points, at {samples:,} samples; its parameters are kept" in shown
    assert "best on the validation split: " in shown
    assert "lower-bound (best-valid)  valid" in shown
    (refused,) = {harness(*words, "--weights", word).err for word in ("best", "best")}
    assert refused == "harness: --weights is 'best': choose last, average or best-valid\n"

    write([Exported("runs", *run.content(), run.evaluations())], "csv", tmp_path / "out")
    (exported,) = read(tmp_path / "out")
    assert exported.evaluations == run.evaluations()
    columns = (tmp_path / "out" / "runs.csv").read_text().splitlines()[0].split(",")
    assert {"best_valid.samples", "best_valid.mean", "best_valid.se_points", "evaluation.keep"} <= {
        name.removeprefix("spec.") for name in columns
    }

    assert verify._evaluated_again(run, None).says == "agrees"
    assert harness("doctor", "--store").code == 0
    assert [one.path.name for one in collect(store, checkpoints=True)] == [checkpoint.NAME, best.NAME]
    gone = harness(*words, "--weights", "best-valid")
    assert (gone.code, gone.err.count("\n")) == (2, 1)
    assert "has no parameters of its best mark" in gone.err
    assert "its parameters are not there" in harness("show", run.id).out
    other = spec_of(data, keep=None)
    runner.ensure(store, other, Budget(samples=100))
    with pytest.raises(BadInput, match="was made without --keep best-valid, so it has no parameters of its best mark"):
        Trained(store.run(other.run_id), weights="best-valid")


def test_damage_is_found_and_moved_away_alone(store: Store, data: str) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=300))
    run = store.run(spec.run_id)
    path = run.path / best.NAME
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (damage,) = store.damage()
    assert (damage.file, damage.run.id) == (best.NAME, run.id)
    with pytest.raises(BadInput, match=f"{best.NAME} was edited or damaged"):
        Trained(run, weights="best-valid")
    assert Trained(run).ledger["samples"] == 300
    store.quarantine(damage)
    assert list(store.damage()) == []
    runner.extend(run, Budget(samples=305))  # its checkpoint has them, too
    state = kept(run)
    assert same(state, checkpoint.decode(content))
    for change in ({"theta": state["theta"][:-1]}, {"theta": None}, {"estimate": {}}, {"run": "another"}):
        path.write_bytes(checkpoint.encode({**state, **change}))
        with pytest.raises(BadInput, match=best.NAME):
            Trained(run, weights="best-valid")


def test_parameters_of_another_mark_do_not_verify(store: Store, data: str) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=SAMPLES))
    run = store.run(spec.run_id)
    state, last = kept(run), run.checkpoint()
    assert last is not None
    path = run.path / best.NAME
    path.write_bytes(checkpoint.encode({**state, "theta": last["theta"]}))
    found = verify._evaluated_again(run, None)
    assert found.says == "differs"
    path.write_bytes(checkpoint.encode({**state, "theta": last["theta"], "phi": last["phi"], "ledger": last["ledger"]}))
    assert "it keeps parameters of 1,300 samples, and was best at" in str(verify._evaluated_again(run, None).why)


@pytest.mark.parametrize("part", ["theta", "phi", "estimate"])
def test_what_is_kept_is_compared_when_a_run_is_made_again(store: Store, data: str, part: str) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=SAMPLES))
    run = store.run(spec.run_id)
    assert verify._trained_again(run, None).why == "in every bit"
    state = kept(run)
    changed = {**state["estimate"], "se_points": 0.5} if part == "estimate" else state[part] + 1e-6
    (run.path / best.NAME).write_bytes(checkpoint.encode({**state, part: changed}))
    found = verify._trained_again(run, None)
    assert found.says == "differs"
    assert f"what it keeps of its best mark has another {part}" in found.why
    (run.path / best.NAME).unlink()  # as in a store that was committed
    assert verify._trained_again(run, None).says == "agrees"


def test_a_run_that_begins_again_has_none_of_before(store: Store, data: str) -> None:
    spec = spec_of(data)
    runner.ensure(store, spec, Budget(samples=300))
    run = store.run(spec.run_id)
    record = run.read()
    record.status = "interrupted"
    run.claim()
    run.write(record)
    run.release()
    (run.path / checkpoint.NAME).unlink()
    seen: list[bool] = []
    runner.resume(run, watch=lambda training, event: seen.append((run.path / best.NAME).exists()))
    assert seen[0] is False
    assert (run.path / best.NAME).exists()


def test_splits_are_read_in_experiments_and_refused_with_their_line(data: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = f'[base]\ndataset = "{data}"\nsamples = 1000\nkeep = "best-valid"\n[[grid]]\nalgo = "aevb"\n'
    path.write_text(text + 'splits = "train,valid"\n')
    (task,) = Experiment(str(path)).tasks()
    assert task.spec is not None
    assert (task.spec.evaluation.splits, task.spec.evaluation.keep) == (("train", "valid"), "best-valid")
    path.write_text(text)
    with pytest.raises(BadInput, match=r"mine.toml:4: --keep is 'best-valid', and --splits is 'train,test'"):
        Experiment(str(path)).tasks()
    path.write_text(text + 'splits = "train,dev"\n')
    with pytest.raises(BadInput, match=r"mine.toml:7: --splits is 'train,dev': choose of train, valid, test"):
        Experiment(str(path)).tasks()


def test_a_table_at_the_best_mark_of_each_run(store: Store, data: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    options = "hidden = 20\nnz = 2\nbatch-size = 5\nlr = 0.1\nwarmup = 5\nfirst-mark = 100"
    text = f'[base]\ndataset = "{data}"\nsamples = {SAMPLES}\nsplits = "train,valid,test"\n{options}\n[[grid]]\nalgo = "aevb"\n'
    path.write_text(text + 'seed = [0, 1]\n[table]\nat = ["best-valid"]\n')
    experiment, runs = Experiment(str(path)), []
    for task in experiment.tasks():
        assert task.spec is not None
        runner.ensure(store, task.spec, task.budget, group="mine")
        runs.append(StoredRun.load(store.run(task.spec.run_id, "mine")))
    (found,) = table.rows(experiment, runs, [], [])
    chosen = [max(run.rows, key=on_validation) for run in runs]
    means = [next(e["mean"] for e in one["estimates"] if e["split"] == "test") for one in chosen]
    assert found["mark"] == "best-valid"
    assert found["lower-bound test"].mean == pytest.approx(sum(means) / 2)
    assert found["lower-bound valid"].mean == pytest.approx(sum(map(on_validation, chosen)) / 2)
    assert found["samples"] == sum(one["ledger"]["samples"] for one in chosen) / 2
    for run in runs:
        for one in run.rows:
            one["estimates"] = [e for e in one["estimates"] if e["split"] != "valid"]
    with pytest.raises(BadInput, match="no run of mine is done and has estimates on the validation split at its marks"):
        table.rows(experiment, runs, [], [])


def test_runs_with_and_without_it_are_compared(data: str) -> None:
    from harness.analysis.selection import unlike
    from harness.store.record import Record

    specs = [spec_of(data), spec_of(data, keep="last", seed=1)]
    one, other = (StoredRun(Record(spec.run_id, spec.model_dump(mode="json"), {"samples": 1}), ()) for spec in specs)
    assert unlike(one, other) is None
