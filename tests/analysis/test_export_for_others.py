"""What is exported for TensorBoard and for actions that watch benchmarks, as these read it."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shared_runs import evaluated, make
from support import Result

from harness.analysis import selection
from harness.analysis.kinds import kinds
from harness.sharing import exchange
from harness.store.store import Store

Harness = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_tensorboard_reads_back_what_was_exported(
    store: Store, harness: Harness, tiny_run: list[str], tmp_path: Path
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import metadata

    run_id = harness(*tiny_run).out.partition(":")[0]
    made = make(store, test=(-200.0, -150.0, -130.0))
    evaluated(made, -99.0)
    out = tmp_path / "board"
    done = harness("export", "--format", "tensorboard", "--out", out)
    assert done.code == 0
    assert done.out.startswith(f"{out}: 2 runs")
    assert f"no picture of {run_id}" in done.err  # its data are no images
    for run in store.runs():
        read = accumulator.EventAccumulator(str(out / run.path.parent.name / run.id), size_guidance={"scalars": 0})
        read.Reload()
        record, rows = run.content()
        for estimate in rows[-1]["estimates"]:
            tag = f"{estimate['estimator']}/{estimate['split']}"
            events = read.Scalars(tag)
            own = [e for row in rows for e in row["estimates"] if (e["estimator"], e["split"]) == tuple(tag.split("/"))]
            steps = [row["ledger"]["samples"] for row in rows for e in row["estimates"]
                     if (e["estimator"], e["split"]) == tuple(tag.split("/"))]  # fmt: skip
            assert [event.step for event in events] == steps
            assert [event.value for event in events] == pytest.approx([e["mean"] for e in own])
        assert [event.value for event in read.Scalars("spent/cpu_seconds")] == pytest.approx(
            [row["ledger"]["cpu_seconds"] for row in rows]
        )
        times = [event.wall_time for event in read.Scalars("spent/cpu_seconds")]
        assert np.diff(times) == pytest.approx(np.diff([row["ledger"]["wall_seconds"] for row in rows]), abs=1e-3)
        for name in rows[-1]["info"]:
            assert len(read.Scalars(f"steps/{name}")) == len(rows)
        content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        started = metadata.parse_session_start_info_plugin_data(content)
        settings = {name: value.ListFields()[0][1] for name, value in started.hparams.items() if value.ListFields()}
        assert settings["algorithm"] == "aevb"
        assert settings["algorithm.lr"] == record.spec["algorithm"]["settings"]["lr"]
        assert settings["seed"] if record.spec["seed"] else True
        assert settings["n_train"] == "none"
        experiment = metadata.parse_experiment_plugin_data(
            read.SummaryMetadata("_hparams_/experiment").plugin_data.content
        )
        assert {one.name.tag for one in experiment.metric_infos} == {
            f"{e['estimator']}/{e['split']}" for e in record.summary
        }
    read = accumulator.EventAccumulator(str(out / "mine" / made.id))
    read.Reload()
    assert [event.value for event in read.Scalars("later/importance/train")] == [-99.0]
    assert harness("export", "mine", "--format", "tensorboard", "--out", out).code == 0  # an earlier export is replaced
    assert os.listdir(out) == ["mine"]
    (out / "notes.txt").write_text("mine")
    refused = harness("export", "mine", "--format", "tensorboard", "--out", out)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "is no folder of an earlier export" in refused.err


def test_pictures_of_models_are_in_tensorboard(store: Store, harness: Harness, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["run", "--algo", "aevb", "--dataset", "digits", "--nz", "2", "--hidden", "5", "--samples", "500"]
    made = harness(*words)
    if made.code:
        pytest.skip(made.err)
    run_id = made.out.partition(":")[0]
    done = harness("export", "--format", "tensorboard", "--out", tmp_path / "board")
    assert (done.code, done.err) == (0, "")
    read = accumulator.EventAccumulator(str(tmp_path / "board" / "runs" / run_id))
    read.Reload()
    assert read.Tags()["images"] == ["prior-samples", "latent-plane"]
    from matplotlib.image import imread

    for name in read.Tags()["images"]:
        (event,) = read.Images(name)
        (tmp_path / "x.png").write_bytes(event.encoded_image_string)
        picture = imread(tmp_path / "x.png")
        assert picture.shape == (event.height, event.width, 3)
        assert picture.std() > 0.05  # something is drawn


def test_benchmarks_are_lists_of_what_larger_is_better(store: Store, harness: Harness, tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        make(store, seed, test=(-200.0, -150.0 - seed))
    make(store, 3, status="diverged")
    make(store, 0, algorithm="wake-sleep", group="alone")
    theirs = Store(tmp_path / "theirs")
    make(theirs, 0, group="theirs")
    exchange.publish(list(theirs.runs()), str(tmp_path / "pub"), "Alice", models=False, say=pytest.fail)
    exchange.import_runs(str(tmp_path / "pub"), store)
    out = tmp_path / "benchmark.json"
    for _ in range(2):  # an earlier one is replaced
        done = harness("export", "--format", "json-benchmark", "--out", out)
        assert (done.code, done.out) == (0, f"{out}: 6 values\n")
    assert re.fullmatch(r"harness: left out, as it is not done: mine/aevb-mnist-nz3-s3-\w{8} is diverged\n", done.err)
    found = {one["name"]: one for one in json.loads(out.read_text())}
    assert found["mine: aevb mlp mnist nz=3: lower-bound on test"] == {
        "name": "mine: aevb mlp mnist nz=3: lower-bound on test", "unit": "nats", "value": -151.0,
        "range": f"± {1 / 3**0.5:.6f}", "extra": "3 of 4 seeds\n2000 test points",
    }  # fmt: skip
    assert found["mine: aevb mlp mnist nz=3: lower-bound on train"]["value"] == -150.0
    assert "range" not in found["alone: wake-sleep mlp mnist nz=3: lower-bound on test"]  # one seed has no spread
    assert "foreign run by Alice" in found["theirs: aevb mlp mnist nz=3: lower-bound on test"]["extra"]
    (tmp_path / "other.json").write_text("[]")
    assert harness("export", "--format", "json-benchmark", "--out", tmp_path / "other.json").code == 2
    assert harness("export", "status=diverged", "--format", "json-benchmark", "--out", tmp_path / "none.json").code == 2
    assert not (tmp_path / "none.json").exists()


def test_kinds_are_told_apart_by_what_differs(store: Store) -> None:
    from support import rewrite

    from harness.store.run import Run

    runs = [make(store, seed, group=group) for seed in (0, 1) for group in ("a", "b")]
    assert {name: len(own) for name, own in kinds(selection.load(runs)).items()} == {"aevb mlp mnist nz=3": 4}
    for run in runs[2:]:
        record = run.read()
        record.spec["algorithm"]["settings"]["lr"] = 0.5
        record.spec["algorithm"]["sha256"] = "of another version of the file"
        rewrite(Run(run.path), record)
    assert {name: len(own) for name, own in kinds(selection.load(runs)).items()} == {
        "aevb mlp mnist nz=3 lr=0.02": 2,
        "aevb mlp mnist nz=3 lr=0.5": 2,
    }


def test_the_library_that_is_missing_is_told(
    store: Store, harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    done = harness("export", "--format", "tensorboard", "--out", tmp_path / "board")
    assert (done.code, done.out) == (2, "")
    assert "python -m pip install 'inference-harness[tensorboard]'" in done.err
    assert not (tmp_path / "board").exists()
