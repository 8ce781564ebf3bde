"""`harness gradients`: what it prints and adds to a run, the picture along training, and bad input."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import PLUGINS, Result

from harness.files import seal
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

QUICK = ("--draws", 40, "--fit", 10, "--reference", 40, "--points", 10)


def trained(harness: Harness, root: Path, algorithm: str, model: str, *more: object) -> Run:
    words = ["--algo", algorithm, "--model", model, "--dataset", toy.__file__, "--samples", 2000, "--first-mark", 100]
    done = harness("run", *words, *more)
    assert done.code == 0, done.err
    return next(iter(Store(root).runs()))


@pytest.fixture
def net(harness: Harness, tmp_path: Path) -> Run:
    return trained(harness, tmp_path / "results", "nvil", "sbn", "--layers", "3-2", "--lr", 0.01)


def test_what_is_measured_is_printed_and_added_to_the_run(net: Run, harness: Harness) -> None:
    before = net.read()
    words = ["gradients", net.id, "--estimators", "nvil,score-function:n-samples=2,vimco:K=3", *QUICK]
    answer = harness(*words, "--json")
    assert answer.code == 0, answer.err
    printed = json.loads(answer.out)
    assert net.gradients() == [printed]
    assert net.read() == before
    assert net.damage() == []
    by_name = {one["estimator"]: one for one in printed["estimators"]}
    assert list(by_name) == ["nvil", "score-function:n-samples=2", "vimco:K=3"]
    assert printed["ledger"]["samples"] == 2000
    assert [one["K"] for one in by_name.values()] == [1, 1, 3]
    assert [one["samples"] for one in by_name.values()] == [10, 20, 30]
    assert by_name["nvil"]["settings"]["lr"] == 0.01  # the run's own
    assert [one["fitted"] for one in by_name.values()] == [True, False, False]
    for one in by_name.values():
        assert one["reference"]["exact"]
        assert one["bound"] == pytest.approx(one["reference"]["bound"], abs=5 * one["bound_se"])
        parts = {(b["part"], b["name"]): b for b in one["blocks"]}
        assert {"", "W0", "W1", "b0", "b1"} <= {name for part, name in parts if part == "phi"}
        named = sum(b["variance"] for (part, name), b in parts.items() if part == "phi" and name)
        assert parts["phi", ""]["variance"] == pytest.approx(named)
        assert not any(b["biased"] for b in parts.values())

    table = harness(*words)
    assert max(map(len, table.out.splitlines())) <= 80
    assert "gradient by φ, " in table.out
    assert "W0" not in table.out
    assert "gradient by φ W0" in harness(*words, "--blocks").out
    assert len(net.gradients()) == 3  # as seconds differ
    again, first = ([{**one, "cpu_seconds": 0} for one in row["estimators"]] for row in (net.gradients()[-1], printed))
    assert again == first
    shown = json.loads(harness("show", net.id, "--json").out)
    assert len(shown["gradients"]) == 3


def test_a_bias_is_marked(harness: Harness, tmp_path: Path) -> None:
    run = trained(harness, tmp_path / "results", "aevb", "linear-gaussian", "--kind", "real", "--lr", 0.1)
    words = ["gradients", run.id, "--estimators", "iwae:K=5:gradient=stl,aevb", *QUICK, "--draws", 200]
    table = harness(*words)
    assert table.code == 0, table.err
    phi = table.out.partition("gradient by φ")[2].splitlines()
    assert "(!)" in phi[2]
    assert phi[2].startswith("iwae:K=5:gradient=stl")
    assert "(!)" not in phi[3]
    assert "reference ± se" in table.out
    assert "the mean of 40 draws of an unbiased estimate" in " ".join(table.out.split())


def test_along_training(net: Run, harness: Harness, tmp_path: Path) -> None:
    """The run is made again: its last parameters are those of the checkpoint, and what is measured there is the same."""
    estimators = ["--estimators", "nvil:baseline=none,nvil", *QUICK]
    drawn = tmp_path / "along.svg"
    answer = harness("gradients", net.id, *estimators, "--along", "--marks-per-decade", 1, "--out", drawn, "--json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)
    assert [row["ledger"]["samples"] for row in rows] == [100, 1000, 2000]
    assert {row["made_again"] for row in rows} == {"the same"}
    assert net.gradients() == rows
    now = json.loads(harness("gradients", net.id, *estimators, "--json").out)
    assert now["made_again"] is None
    for one, other in zip(rows[-1]["estimators"], now["estimators"], strict=True):
        assert {**one, "cpu_seconds": 0} == {**other, "cpu_seconds": 0}
    assert rows[0]["estimators"] != rows[-1]["estimators"]
    picture = drawn.read_text()
    assert picture.startswith("<?xml")
    again = tmp_path / "again.svg"
    assert harness("plot", "gradients", net.id, "--out", again).code == 0  # of those, and one more at the last mark
    assert set(re.findall("nvil[^ <]*", picture)) == set(re.findall("nvil[^ <]*", again.read_text()))


def test_a_run_that_is_another_when_it_is_made_again_says_so(
    net: Run, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.inference.optimisers import Sgd

    kernel, move = Sgd._kernel, Sgd._move
    monkeypatch.setattr(Sgd, "_kernel", lambda self, *a, lr, decay: kernel(self, *a, lr=1.01 * lr, decay=decay))
    monkeypatch.setattr(Sgd, "_move", lambda self, lr: move(self, 1.01 * lr))
    answer = harness("gradients", net.id, "--estimators", "nvil", *QUICK, "--along", "--marks-per-decade", 1)
    assert f"{net.id}-gradient-variance.png" in answer.out
    assert answer.code == 0, answer.err
    assert "its last parameters are not those that are stored" in " ".join(answer.out.split())
    assert {row["made_again"] for row in net.gradients()} == {"another"}


BAD: list[tuple[list[Any], str]] = [
    (["--estimators", "nvill"], "there is no algorithm 'nvill' (did you mean 'nvil'?)"),
    (["--estimators", "nvil,"], "there is no algorithm ''"),
    (["--estimators", "nvil:baseline"], "'baseline' is no setting: give it as name=value, such as nvil:baseline=none"),
    (["--estimators", "nvil:baseline=some"], "--baseline of algorithm 'nvil' is 'some'"),
    (["--estimators", "nvil:base=none"], "there is no setting --base"),
    (["--estimators", "vimco:K=1"], "--K of algorithm 'vimco' is '1'"),
    (["--estimators", "nvil,nvil"], "--estimators has 'nvil' twice: name each once"),
    (["--estimators", "aevb"], "it infers continuous ones; nvil, reinforce-loo, score-function, vimco can"),
    (
        ["--estimators", "wake-sleep"],
        "it has no gradient(state, batch) that estimates the gradient of one bound; nvil,",
    ),
    (["--estimators", "nowhere.py"], "the plugin file 'nowhere.py' does not exist"),
    (["--estimators", PLUGINS / "renyi.py"], "it has no gradient(state, batch)"),
    (["--estimators", "nvil", "--draws", 1], "--draws is 1: give a whole number from 40"),
    (["--estimators", "nvil", "--reference", 39], "--reference is 39: give a whole number from 40"),
    (["--estimators", "nvil", "--draws", "many"], "--draws is 'many': give a whole number"),
    (["--estimators", "nvil", "--points", 61], "--points is 61, and the run has 60 training points"),
    (["--estimators", "nvil", "--points", 0], "--points is '0': give a whole number from 1"),
    (["--estimators", "nvil", "--weights", "average"], "has no averaged weights"),
    (["--estimators", "nvil", "--weights", "average", "--along"], "leave it out"),
    (["--estimators", "nvil", "--out", "a.png"], "give --along"),
    ([], "Missing option '--estimators'"),
]


def test_bad_input_is_one_sentence(net: Run, harness: Harness) -> None:
    for words, said in BAD:
        done = harness("gradients", net.id, *words)
        assert (done.code, done.out) == (2, ""), (words, done)
        assert said in done.err, (words, done.err)
        assert len(done.err.splitlines()) == 1
    assert net.gradients() == []
    assert "no run" in harness("gradients", "nothing", "--estimators", "nvil").err
    done = harness("plot", "gradients", net.id)
    assert done.code == 2
    assert "no gradient of this run was measured" in done.err
    net.checkpoint_path.unlink()
    done = harness("gradients", net.id, "--estimators", "nvil")
    assert done.code == 2
    assert "has no checkpoint" in done.err


def test_a_run_without_a_recognition_model_is_refused(harness: Harness, tmp_path: Path) -> None:
    run = trained(harness, tmp_path / "results", "mcem", "sbn", "--layers", "2")
    done = harness("gradients", run.id, "--estimators", "nvil")
    assert done.code == 2
    assert "was trained by mcem without a recognition model" in done.err


def test_measurements_that_were_edited_or_made_up_are_told(net: Run, harness: Harness) -> None:
    assert harness("gradients", net.id, "--estimators", "score-function", *QUICK).code == 0
    path = net.path / "gradients.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"score", b"scare"))
    done = harness("plot", "gradients", net.id)
    assert done.code == 2
    assert "gradients.json was edited or damaged" in done.err
    assert [one.file for one in net.damage()] == ["gradients.json"]
    path.write_bytes(seal({"run": net.id, "gradients": [{"estimators": [3]}]}))
    done = harness("plot", "gradients", net.id)
    assert done.code == 2
    assert "have content that none has" in done.err
