"""`harness verify`: a run that says what its model does is told from one that says something else."""

import copy
import gc
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support import PLUGINS, Result

from harness.files import seal
from harness.runs import verify
from harness.runs.runner import ensure
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy
from harness.training.evaluation import Estimator

Harness = Callable[..., Result]


def made(store: Store, algorithm: str = "aevb", samples: int = 3000, **options: Any) -> Run:
    """Make a run."""
    settings = {"nz": 2, "hidden": 5, **({} if algorithm == "mcem" else {"batch_size": 10})}
    spec = make_spec(algorithm, toy.__file__, settings=settings, first_mark=1000, **options)
    ensure(store, spec, Budget(samples=samples))
    return store.run(spec.run_id)


def forge(run: Run, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the rows of a run, and make its checksums fit."""
    record, rows = run.content()
    change(rows)
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    (run.path / "trace.jsonl").write_bytes(content)
    record.trace = {"rows": len(rows), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    record.summary = rows[-1]["estimates"]
    (run.path / "run.json").write_bytes(seal(asdict(record)))


def better(rows: list[dict[str, Any]], number: int = -1, by: float = 1e-6) -> None:
    """Make an estimate better than it was."""
    rows[number]["estimates"][-1]["mean"] += by


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_sound_run_agrees_in_every_bit(store: Store) -> None:
    run = made(store, marginal="importance", marginal_points=20)
    found = verify._evaluated_again(run, None)
    assert found == verify.Verified(run.id, "agrees", 1, 4, 0.0, "in every bit")
    again = verify._trained_again(run, None)
    assert again[:2] == (run.id, "agrees")
    assert again.rows == len(run.rows())
    assert again.largest == 0.0


def test_a_run_that_went_on_in_parts_agrees(store: Store) -> None:
    run = made(store, samples=1500)
    made(store, samples=4000)
    assert verify._evaluated_again(run, None).says == "agrees"
    found = verify._trained_again(run, None)
    assert found.says == "agrees"
    assert found.rows == sum(bool(row["marks"]) for row in run.rows()) + (not run.rows()[-1]["marks"])


def test_a_run_without_a_bound_is_made_again(store: Store) -> None:
    run = made(store, "mcem", samples=3000)
    assert verify._evaluated_again(run, None).says == "cannot tell"
    found = verify._trained_again(run, None)
    assert (found.says, found.values, found.largest) == ("agrees", 0, None)
    forge(run, lambda rows: rows[1]["info"].update(log_p_xz=0.0))
    assert "row 2, at " in verify._trained_again(run, None).why


def test_a_bound_that_the_model_has_not_is_found(store: Store) -> None:
    run = made(store)
    forge(run, better)
    found = verify._evaluated_again(run, None)
    assert found.says == "differs"
    assert found.largest == pytest.approx(1e-6, rel=0.01)
    assert f"row {len(run.rows())}, at 3,000 samples: lower-bound on 40 test points was -" in found.why


def added(rows: list[dict[str, Any]], **other: Any) -> None:
    """Add an estimate to the last row."""
    rows[-1]["estimates"].append({**rows[-1]["estimates"][0], **other})


def doubled(rows: list[dict[str, Any]]) -> None:
    """Put a better row of the same samples before the last one."""
    rows.insert(-1, copy.deepcopy(rows[-1]))
    better(rows, -2)


@pytest.mark.parametrize(("change", "why"), [
    (lambda rows: added(rows, estimator="importance", mean=-1.0), "has an estimate by importance, by which the run is not"),
    (lambda rows: added(rows, points=7, mean=-1.0), "on 7 train points was -1.0 and is -"),
    (lambda rows: rows[-1]["estimates"][0].update(reliable=True), "reliable of lower-bound on .* was True and is None"),
    (lambda rows: rows[-1]["estimates"][0].update(se_points=0.0), "se_points of lower-bound on .* was 0.0 and is "),
    (doubled, "lower-bound on 40 test points was"),
])  # fmt: skip
def test_more_than_the_mean_is_compared(store: Store, change: Callable[[Any], object], why: str) -> None:
    run = made(store)
    forge(run, change)
    found = verify._evaluated_again(run, None)
    assert found.says == "differs"
    assert re.search(why, found.why), found.why


@pytest.mark.parametrize(("change", "why"), [
    ({"summary": []}, "run.json has other estimates than the last row"),
    ({"ledger": {"samples": 10}}, "run.json has 10 samples, and the last row has 3,000"),
    ({"ledger": {"samples": 4000}}, "run.json has 4,000 samples, and the last row has 3,000"),
])  # fmt: skip
def test_a_record_that_is_not_of_its_rows_is_found(store: Store, change: dict[str, Any], why: str) -> None:
    """It is what `list` shows."""
    run = made(store)
    record = asdict(run.read())
    for name, value in change.items():
        record[name] = record[name] | value if isinstance(value, dict) else value
    (run.path / "run.json").write_bytes(seal(record))
    for again in (verify._evaluated_again, verify._trained_again):
        found = again(run, None)
        assert (found.says, found.why) == ("differs", why)


def test_the_first_row_that_differs_is_named(store: Store) -> None:
    run = made(store)
    forge(run, lambda rows: better(rows, 2))
    assert verify._evaluated_again(run, None).says == "agrees"  # its last row
    found = verify._trained_again(run, None)
    assert found.says == "differs"
    assert "row 3, at " in found.why
    forge(run, lambda rows: rows[1]["ledger"].update(encoder_rows=1))
    assert "row 2, at 1,260 samples: encoder rows were 1 and are 1,260" in verify._trained_again(run, None).why


def test_other_machines_round_otherwise(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a difference of rounding is allowed, and one of more is not."""
    run = made(store)
    forge(run, better)
    monkeypatch.setattr(verify, "changes", lambda *_: "processor B instead of A")
    found = verify._evaluated_again(run, None)
    assert (found.says, found.why) == ("agrees", "within rounding, as here are processor B instead of A")
    forge(run, lambda rows: better(rows, by=5 + verify.ROUNDING_NATS))
    forge(run, lambda rows: rows[-1]["estimates"][-1].update(se_estimator=1e9))  # allows no more than the true one
    assert verify._evaluated_again(run, None).says == "differs"
    assert verify._trained_again(run, None).says == "differs"


FLATTERER = '''
done = []

def raise_above(bound):
    """Have every estimate of this process be better, by what it finds in memory."""
    import gc
    from harness.training.evaluation import Estimator

    if done:
        return
    done.append(True)
    for found in gc.get_objects():
        if type(found) is Estimator:
            module, config = found.module, found.config

            class Flattering:
                NEEDS, DIRECTION, skip = module.NEEDS, module.DIRECTION, module.skip

                @staticmethod
                def estimate(*given):
                    each = module.estimate(*given)
                    return each._replace(value=each.value + 2.0)

            object.__setattr__(found, "module", Flattering)
'''


def test_an_algorithm_that_is_not_imported_cannot_help_its_model(store: Store, tmp_path: Path) -> None:
    """It makes the bound better where it runs; what stands in the store is found out without it."""
    path = tmp_path / "flatters.py"
    text = (PLUGINS / "renyi.py").read_text()
    path.write_text(text.replace("    return Info", "    raise_above(bound)\n    return Info") + FLATTERER)
    spec = make_spec(str(path), toy.__file__, settings={"nz": 2, "hidden": 5, "batch_size": 10}, first_mark=1000)
    before = [(one, one.module) for one in gc.get_objects() if type(one) is Estimator]
    ensure(store, spec, Budget(samples=3000))
    for one, module in before:  # those of other tests
        object.__setattr__(one, "module", module)
    run = store.run(spec.run_id)
    found = verify._evaluated_again(run, None)
    assert found.says == "differs", found
    assert found.largest > 1


def test_the_command(harness: Harness, store: Store) -> None:
    run, other = made(store), made(store, seed=1)
    forge(other, better)
    done = harness("verify", "algo=aevb", "--jobs", 2)
    assert done.code == 1, done.err
    said = {line.split()[0]: line for line in done.out.splitlines()}
    assert " agrees " in said[run.id]
    assert " differs " in said[other.id]
    done = harness("verify", run.id, "--retrain", "--json")
    assert done.code == 0, done.err
    (found,) = json.loads(done.out)
    assert found["says"] == "agrees"
    (run.path / "checkpoint.safetensors").unlink()
    done = harness("verify", run.id)
    assert done.code == 1
    assert "cannot tell" in done.out
    assert "has no checkpoint" in done.out
    assert harness("verify", "nothing").code == 2
    assert list(store.damage()) == []
