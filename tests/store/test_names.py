"""What was stored under former names: read under today's, and called what it was called."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.claims import baseline
from harness.runs import tune
from harness.specs.experiment import TUNED, Experiment
from harness.specs.run import RunSpec, make_spec
from harness.store import checkpoint as checkpoints
from harness.store import names
from harness.store.run import Run
from harness.store.store import Store

ROOT = Path(__file__).parents[2]
KEPT = [*(f"results/{group}" for group in ("figure2", "figure3", "first-run", "three-algorithms")), "tests/data"]
"""Folders of runs that came with the project; `results` also has those of whoever has trained here."""
STORED = sorted({path.parent for folder in KEPT for path in (ROOT / folder).rglob("run.json")})
FORMER = ("accept", "dreams", "jump", "trouble")


def keys(content: object) -> set[str]:
    """Return every key of nested data."""
    if isinstance(content, dict):
        return set(content).union(*map(keys, content.values()))
    return set().union(*map(keys, content)) if isinstance(content, list) else set()


def test_every_stored_run_is_called_today_what_it_was_called() -> None:
    assert len(STORED) > 50
    for path in STORED:
        spec = RunSpec.model_validate(Run(path).read().spec)
        assert spec.run_id == path.name
        assert not keys(spec.model_dump(mode="json")) & set(FORMER)


@pytest.mark.parametrize(
    ("algorithm", "marginal", "run_id"),
    [
        ("aevb", None, "aevb-mnist-nz20-s0-6dced523"),
        ("wake-sleep", None, "wake-sleep-mnist-nz20-s0-114aa42f"),
        ("mcem", None, "mcem-mnist-nz20-s0-d50c850e"),
        ("aevb", "ais", "aevb-mnist-nz20-s0-ea5d8c1c"),
        ("mcem", "importance", "mcem-mnist-nz20-s0-541c912b"),
        ("mcem", "hmc-density", "mcem-mnist-nz20-s0-23df4655"),
    ],
)
def test_defaults_are_called_what_they_were_called(algorithm: str, marginal: str | None, run_id: str) -> None:
    assert make_spec(algorithm, marginal=marginal).run_id == run_id


def test_studies_are_called_what_they_were_called() -> None:
    """The experiments' studies are found by their ids, and those of single runs by what they share with these."""
    store = Store(ROOT / "results")
    for name in ("figure2", "figure3"):
        experiment = Experiment(name)
        for study in tune.studies(experiment.tasks(), experiment.tune).values():
            assert tune.chosen(store, study) is not None, study.id
    options = {"algo": "mcem", "dataset": "mnist", "nz": 3, "hidden": 100, "n-train": 1000, "lr": TUNED}
    found = tune.look_up(store, options)
    assert found["study"] == "mcem-mnist-nz3-n1000-1461841d"
    assert found["problem"]["algorithm"]["settings"]["target_accept"] == 0.9


def test_what_is_read_has_todays_names_alone() -> None:
    for path in STORED:
        run = Run(path)
        record, rows = run.content()
        found = [record.ledger, record.summary, record.spec, rows, run.evaluations()]
        assert not keys(found) & set(FORMER), path
        assert all("fantasies" in row["ledger"] for row in rows)
        if record.spec["algorithm"]["name"] == "mcem":
            assert record.spec["algorithm"]["settings"]["target_accept"] == 0.9
            assert all("esjd" in row["info"] for row in rows if row["info"])
        assert record.spec["device"] == "cpu"


@pytest.mark.parametrize("schema", [1, 2])
def test_checkpoints_have_them_too(schema: int) -> None:
    for path in sorted((ROOT / "tests" / "data" / f"store-schema-{schema}").iterdir()):
        found = Run(path).checkpoint()
        assert found is not None
        assert not keys(found) & set(FORMER)
        assert found["ledger"]["fantasies"] == 0
        assert "adagrad" not in found["algorithm"]
        assert found["algorithm"].get("optimiser") or found["algorithm"].get("wake")
        assert isinstance(found["theta"], torch.Tensor)


def test_what_a_checkpoint_is_about_to_report_is_renamed() -> None:
    before = {"ledger": {}, "info": {"jump": 1.0}, "due": [1.0, 2.0, {"jump": 3.0}], "trouble": None}
    after = {"ledger": {}, "info": {"esjd": 1.0}, "due": [1.0, 2.0, {"esjd": 3.0}], "divergence": None}
    assert names.modern_checkpoint(before, "mcem") == after
    assert names.modern_checkpoint(after, "mcem") == after
    assert names.modern_checkpoint(before, "other")["info"] == {"jump": 1.0}  # another's may be called so


def test_a_run_goes_on_from_a_state_whose_parts_were_renamed(
    tmp_path: Path, harness: Callable[..., Any], tiny_run: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of which the former code wrote the checkpoint becomes, bit for bit, what it is without a break."""
    for root, samples in (("whole", 1000), ("former", 500)):
        assert harness(*tiny_run[:-1], samples, "--results", tmp_path / root).code == 0
    (run,) = Store(tmp_path / "former").runs()
    state = run.checkpoint()
    assert state is not None
    former = dict(state["algorithm"])
    former["adagrad"] = former.pop("optimiser")
    run.checkpoint_path.write_bytes(checkpoints.encode({**state, "algorithm": former}))
    assert harness("extend", run.id, "--samples", 1000, "--results", tmp_path / "former").code == 0
    (whole,) = Store(tmp_path / "whole").runs()
    assert torch.equal(run.checkpoint()["theta"], whole.checkpoint()["theta"])  # type: ignore[index]


def test_a_users_plugin_keeps_the_names_that_it_has() -> None:
    spec = make_spec("mcem").model_dump(mode="json")
    spec["algorithm"] |= {"settings": {"accept": 0.5}, "sha256": "a" * 64}
    assert names.modern_spec(spec) == spec
    assert names.former(spec)["algorithm"] == spec["algorithm"]
    state = {"algorithm": {"adagrad": 1}}
    assert names.modern_state(state, lambda: spec) == state
    ours = {"algorithm": {"name": "aevb", "sha256": None}}
    assert names.modern_state(state, lambda: ours) == {"algorithm": {"optimiser": 1}}


def test_a_setting_added_later_is_left_out_of_the_id_where_it_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec("aevb")
    stored = spec.model_dump(mode="json")
    for name in names.ADDED_OPTIONS:
        del stored[name]
    for name in names.ADDED_TO_EVALUATION:
        del stored["evaluation"][name]
    del stored["algorithm"]["settings"]["warmup"]
    added = {("algorithms", "aevb"): {"warmup": 100}}
    monkeypatch.setattr(names, "ADDED_SETTINGS", added)
    assert names.modern_spec(stored) == spec.model_dump(mode="json")
    assert names.former(spec.model_dump(mode="json")) == stored
    more = {"device": "cuda", "schedule": "linear:1e7", "average": 0}
    other = make_spec("aevb", settings={"warmup": 50}, splits=["valid"], keep="best-valid", **more)
    assert names.former(other.model_dump(mode="json")) == other.model_dump(mode="json")


def test_a_baseline_is_read_under_todays_names() -> None:
    path = ROOT / "harness" / "checks" / "quick.baseline.json"
    assert '"accept"' in path.read_text()
    for run in baseline.runs(baseline.read(path)):
        assert RunSpec.model_validate(run.spec).run_id == run.id


def test_names_are_mapped_both_ways() -> None:
    for path in STORED:
        record = json.loads((path / "run.json").read_text())
        content = record["spec"]
        spec = names.modern_spec(content)
        assert names.modern_spec(spec) == spec
        if record["schema"] == 3:  # the first with today's names
            for name in names.ADDED_TO_EVALUATION:  # all of these, and the next two, were added later
                del spec["evaluation"][name]
            del spec["schedule"], spec["average"]
            for kind, part in [
                *((f"{part}s", spec[part]) for part in ("algorithm", "model", "dataset")),
                *(("estimators", e) for e in spec["evaluation"]["estimators"]),
            ]:
                for name in names.ADDED_SETTINGS.get((kind, part["name"]), {}):
                    del part["settings"][name]
            assert spec == content
            continue
        assert names.former(spec) == {
            name: value for name, value in content.items() if (name, value) != ("device", "cpu")
        }
