"""Runs of others are marked wherever they are shown, and CPU times of several machines are compared in kernels or not at all."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_runs import make
from support import Result, rewrite

from harness.analysis import chosen, foreign, selection
from harness.analysis.machines import KERNELS, SECONDS, comparable, time_unit
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.sharing import exchange
from harness.store.store import Store

Harness = Callable[..., Result]
EXPERIMENT = """
[base]
nz = 3
samples = 1e5
[[grid]]
algo = ["aevb", "wake-sleep"]
seed = [0, 1]
[figure]
estimator = "lower-bound"
"""
WHO = "by Alice, imported from"
MADE = "made on their processor, harness 0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which aevb is ours and wake-sleep is Alice's, whose processor takes twice as long for the kernel."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    ours, theirs = Store(tmp_path / "results"), Store(tmp_path / "theirs")
    for seed in (0, 1):
        make(ours, seed)
        make(theirs, seed, test=(-190.0, -140.0), algorithm="wake-sleep", cpu="their processor", kernel=0.02)
    exchange.publish(list(theirs.runs()), str(tmp_path / "pub"), "Alice", models=False, say=pytest.fail)
    exchange.import_runs(str(tmp_path / "pub"), ours)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "marks"),
    [
        (["list"], ["done†", f"† 2 foreign runs {WHO}", MADE]),
        (["show", "wake-sleep-mnist-nz3-s0"], [f"† foreign: {WHO}", MADE]),
        (["table", "mine.toml"], ["2†", f"† 2 foreign runs {WHO}", MADE]),
        (["table", "mine.toml", "--format", "markdown"], ["2†", "† 2 foreign runs by Alice", "their processor"]),
        (["table", "mine.toml", "--format", "latex"], ["foreign runs by Alice", "their processor"]),
        (["rank", "mine.toml"], ["2†", f"wake-sleep: † 2 foreign runs {WHO}", MADE]),
        (["compare", "mine:algo=aevb", "mine:algo=wake-sleep"], [f"B: † 2 foreign runs {WHO}", MADE]),
    ],
)
def test_foreign_runs_are_marked_in_every_table(
    words: list[str], marks: list[str], folder: Path, harness: Harness
) -> None:
    done = harness(*words)
    assert done.code == 0, done.err
    for mark in marks:
        assert mark in done.out, done.out


def test_programs_are_told_too(folder: Path, harness: Harness) -> None:
    rows = json.loads(harness("list", "--json").out)
    assert [row["foreign"] and row["foreign"]["by"] for row in rows] == [None, None, "Alice", "Alice"]
    assert rows[2]["foreign"]["processor"] == "their processor"
    assert json.loads(harness("show", "wake-sleep-mnist-nz3-s1", "--json").out)["origin"]["by"] == "Alice"
    assert json.loads(harness("show", "aevb-mnist-nz3-s1", "--json").out)["origin"] is None
    lines = list(csv.DictReader(io.StringIO(harness("table", "mine.toml", "--format", "csv").out)))
    assert [WHO in line["foreign"] for line in lines] == [False, True]
    ranked = json.loads(harness("rank", "mine.toml", "--json").out)
    assert [bool(one["foreign"]) for one in ranked["panels"][0]["entrants"]] == [True, False]
    (compared,) = json.loads(harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep", "--json").out)
    assert WHO in compared["foreign"][0]


def test_cpu_times_of_several_machines_are_in_kernels(folder: Path, harness: Harness) -> None:
    """Both spent 100 and 200 CPU seconds at 10⁵ samples, of kernels of 0.01 and of 0.02 seconds."""
    done = harness("table", "mine.toml", "--targets", "-150")
    assert "kernels to -150" in done.out
    assert "CPU time is in calibration kernels, as the runs are of several machines" in done.out
    by = {row["algorithm"]: row for row in json.loads(harness("table", "mine.toml", "--targets", "-150", "--json").out)}
    costs = {name: row["targets"][0]["cpu_seconds"] for name, row in by.items()}
    assert costs == {"aevb": pytest.approx(150 / 0.01), "wake-sleep": pytest.approx(150 / 0.02)}
    assert by["aevb"]["cpu_unit"] == KERNELS
    ranked = harness("rank", "mine.toml", "--target", "-150").out
    assert "CPU time is in calibration kernels, as the runs are of several machines" in ranked
    compared = harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep", "--target", "-150").out
    assert "calibration kernels A" in compared
    assert "of several machines, so CPU time is in calibration kernels" in compared


def test_two_people_with_one_processor_have_two_machines(tmp_path: Path) -> None:
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    make(ours), make(theirs, 1)
    exchange.publish(list(theirs.runs()), str(tmp_path / "pub"), "Alice", models=False, say=pytest.fail)
    own, others = (selection.load(Store(tmp_path / name).runs()) for name in ("ours", "pub"))
    assert time_unit(own) == time_unit(others) == SECONDS
    assert time_unit([*own, *others]) == KERNELS
    assert comparable(own) == (own, SECONDS)
    assert foreign.number([*own, *others]) == 1


@pytest.mark.parametrize("kernel", [None, 0.0])
def test_a_run_that_does_not_tell_how_fast_its_machine_is_is_refused(
    kernel: float | None, folder: Path, harness: Harness
) -> None:
    run = chosen.one(Store(folder / "results"), "wake-sleep-mnist-nz3-s0")
    record = run.read()
    if kernel is None:
        del record.provenance[0]["calibration_seconds"]
    else:
        record.provenance[0]["calibration_seconds"] = kernel
    rewrite(run, record)
    with pytest.raises(
        BadInput, match="compared by what the calibration kernel took on each, and wake-sleep-mnist-nz3-s0"
    ):
        comparable(selection.load(Store(folder / "results").runs()))
    for words in (
        ["plot", "mine.toml", "--x", "cpu_seconds"], ["plot", "mine", "--x", "cpu_seconds"], ["rank", "mine.toml"],
        ["table", "mine.toml", "--targets", "-150"],
    ):  # fmt: skip
        done = harness(*words)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), words
        assert "leave it out, or compare samples" in done.err
    assert harness("table", "mine.toml").code == harness("plot", "mine.toml", "--out", "x.png").code == 0
    done = harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep", "--target", "-150")
    assert "unknown" in done.out


def test_figures_say_so(folder: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.figures import labels, panels, trace
    from harness.specs.experiment import Experiment

    runs = selection.load(Store(folder / "results").runs())
    assert labels.of_others(runs) == "; 2 of 4 runs are foreign, by Alice"
    assert labels.of_others(runs, "wall_seconds").endswith("; wall seconds are of several machines")
    assert labels.of_others(runs[:2], "wall_seconds") == ""
    for figure in (trace.draw(runs, "cpu_seconds"), panels.draw(Experiment("mine.toml"), runs, "cpu_seconds")):
        axes = figure.axes[0]
        assert axes.get_xlabel() == "CPU time of training, calibration kernels"
        assert "2 of 4 runs are foreign, by Alice" in figure.legends[0].get_title().get_text()
        ends = {round(line.get_xdata()[-1]) for line in axes.lines if len(line.get_xdata()) == 2}
        assert ends <= {5000, 10_000, 7500, 15_000, 20_000}, ends
    assert trace.draw(runs[:2], "cpu_seconds").axes[0].get_xlabel() == "CPU seconds of training"


def test_curves_of_a_page_say_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPU times of curves are in kernels as well: 100 seconds are 10⁴ of ours, 5000 of Alice's; the whole of a page is marked."""
    from harness.page import sections
    from harness.page.content import Asked, gather
    from harness.page.lines import drawn

    monkeypatch.setattr(sections, "_drawn", lambda ranking: None)  # a picture, which takes seconds
    content = gather(Store(folder / "results"), Asked(("mine.toml",)))
    data = drawn(content.compared, content.panels)
    assert dict(data["counters"])["cpu_seconds"] == "CPU time of training, calibration kernels"
    assert dict(data["counters"])["wall_seconds"] == "wall seconds of training, of several machines"
    cpu = {run["name"]: run["lines"][0]["x"]["cpu_seconds"][-1] for run in data["runs"] if run["seed"] == 0}
    assert sorted((name.partition("-")[0], name[-1] == "†", x) for name, x in cpu.items()) == [
        ("aevb", False, 10_000), ("wake", True, 5000),
    ]  # fmt: skip
    assert {data["curves"][mean["curve"]]: mean.get("foreign") for mean in data["means"]} == {
        "aevb": None, "wake-sleep": True,
    }  # fmt: skip
    body = {section.id: section.body for section in sections.sections(content)}
    assert f"† 2 foreign runs {WHO}" in body["compared"]
    assert f"wake-sleep: † 2 foreign runs {WHO}" in body["ranking"]
    assert body["runs"].count(f"† 1 foreign run {WHO}") == 2
    assert "There is no axis of CPU time" not in body["curves"]

    run = chosen.one(Store(folder / "results"), "wake-sleep-mnist-nz3-s0")
    record = run.read()
    del record.provenance[0]["calibration_seconds"]
    rewrite(run, record)
    content = gather(Store(folder / "results"), Asked(("mine.toml",)))
    data = drawn(content.compared, content.panels)
    assert "cpu_seconds" not in dict(data["counters"])
    assert all("cpu_seconds" not in line["x"] for run in data["runs"] for line in run["lines"])
    body = {section.id: section.body for section in sections.sections(content)}
    assert "There is no axis of CPU time: CPU times of several machines are compared by" in body["curves"]


def test_claims_say_so(folder: Path, harness: Harness) -> None:
    (folder / "ours.toml").write_text('experiment = "mine.toml"\n[[claim]]\nkind = "bound"\nat = 1e5\nleast = -200\n')
    done = harness("check", "ours.toml")
    assert f"† 2 foreign runs {WHO}" in done.err
    assert done.code == 0


def test_who_made_a_run_cannot_write_on_the_terminal(folder: Path, harness: Harness) -> None:
    from harness.store.origin import Origin, content

    run = chosen.one(Store(folder / "results"), "wake-sleep-mnist-nz3-s0")
    (run.path / "origin.json").write_bytes(content(run.id, Origin("\x1b[31m::error::\u202e$x_{", "x\ny")))
    for words in (["list"], ["show", run.id], ["table", "mine.toml"], ["rank", "mine.toml"], ["plot", "mine.toml"]):
        done = harness(*words)
        assert done.code == 0, done.err
        assert not {"\x1b", "\u202e"} & set(done.out + done.err)
    assert StoredRun.load(run).origin is not None
