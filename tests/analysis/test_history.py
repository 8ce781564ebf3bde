"""Bounds by commit over time."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from shared_runs import make
from support import Result, rewrite

from harness.analysis import selection
from harness.analysis.history import histories
from harness.figures import history as figure
from harness.sharing import exchange
from harness.store.store import Store

Harness = Callable[..., Result]


def made_by(store: Store, commit: str, day: int, *ends: float, dirty: bool = False, **more: object) -> None:
    """Put a run for each seed into a group of their own."""
    code = {"version": "0", "commit": commit, "dirty": dirty, "source_sha256": "s"}
    for seed, end in enumerate(ends):
        make(store, seed, test=(-200.0, end), group=f"day-{day}", code=code, time=f"2026-11-{day:02}T08:00:00Z", **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    made_by(store, "c0ffee123456789", 3, -150.0, -151.0, -152.0)
    made_by(store, "beef00123456789", 1, -152.0, -153.5, -153.0)
    made_by(store, "dead00123456789", 7, -155.0, -156.5, -157.0, dirty=True)
    made_by(store, "dead00123456789", 8, -140.0, algorithm="wake-sleep")
    return store


def test_commits_stand_in_the_order_of_time_with_paired_changes(store: Store, harness: Harness) -> None:
    make(store, 9, group="day-3", status="diverged", code={"version": "0", "commit": "c0ffee123456789", "source_sha256": "s"},
         time="2026-11-03T09:00:00Z")  # fmt: skip
    done = harness("history", "--out", store.root / "drawn.png")
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    dates = [line for line in lines if line and line[0].startswith("2026-11")]
    assert [line[:3] for line in dates[:3]] == [
        ["2026-11-01", "beef00123", "3"], ["2026-11-03", "c0ffee123", "3"], ["2026-11-07", "dead00123+", "3"],
    ]  # fmt: skip
    assert dates[1][3:6] == ["(1", "not", "done)"]
    assert dates[2][-1] == "worse"
    assert "better" not in done.out  # +1.83 ± 0.44 of three seeds may be chance
    found = json.loads(harness("history", "--json").out)
    assert [one["kind"] for one in found] == ["aevb mlp mnist nz=3", "wake-sleep mlp mnist nz=3"]
    points = found[0]["points"]
    assert [point["mean"] for point in points] == pytest.approx([-152.8333333, -151.0, -156.1666667])
    assert [point["change"] for point in points] == [None, pytest.approx(1.8333333), pytest.approx(-5.1666667)]
    assert points[1]["change_error"] == pytest.approx(0.4409586)  # of 2, 2.5 and 1
    assert points[1]["not_done"] == 1
    assert [len(one["points"]) for one in json.loads(harness("history", "day-1", "--json").out)] == [1]
    other = Store(store.root.parent / "other")  # as it is done: a store a commit
    made_by(other, "f00d00123456789", 9, -149.0)
    found = json.loads(harness("history", store.root, other.root, "--json").out)
    assert [point["commit"] for point in found[0]["points"]] == ["beef00123", "c0ffee123", "dead00123+", "f00d00123"]


def test_runs_that_end_elsewhere_are_compared_with_none(store: Store, harness: Harness) -> None:
    """A run of a tenth of the budget is a kind of its own, and not a loss of the commit that made it."""
    code = {"version": "0", "commit": "c0ffee123456789", "source_sha256": "s"}
    run = make(store, 5, test=(-200.0,), group="short", code=code, time="2026-11-03T10:00:00Z")
    record = run.read()
    record.budget = {"samples": 10**5}
    rewrite(run, record)
    found = {one["kind"]: one["points"] for one in json.loads(harness("history", "--json").out)}
    assert list(map(len, found.values())) == [3, 1, 1]
    (short,) = found["aevb mlp mnist nz=3 samples=100000"]
    assert (short["mean"], short["change"]) == (-200.0, None)
    assert [point["mean"] for point in found["aevb mlp mnist nz=3 samples=1000000"]][1] == -151.0


def test_changes_between_other_seeds_are_said_not_to_be_paired(store: Store, harness: Harness) -> None:
    code = {"version": "0", "commit": "f00d00123456789", "source_sha256": "s"}
    for seed in (7, 8):
        make(store, seed, test=(-200.0, -149.0 - seed), group="day-9", code=code, time="2026-11-09T08:00:00Z")
    out = harness("history", "algo=aevb", "--out", store.root / "drawn.png").out
    by_commit = {line.split()[1]: line for line in out.splitlines() if line.startswith("2026-11")}
    assert "3 pairs" in by_commit["c0ffee123"]
    assert "not paired" in by_commit["f00d00123"]
    points = json.loads(harness("history", "algo=aevb", "--json").out)[0]["points"]
    assert [(p["change_paired"], p["change_pairs"]) for p in points] == [
        (None, None),
        (True, 3),
        (True, 3),
        (False, None),
    ]
    axes = figure.draw(histories(selection.load(store.runs())), "test").axes[0]
    assert [line.get_linestyle() for line in axes.lines[:3]] == ["-", "-", ":"]


def test_it_is_drawn(store: Store) -> None:
    drawn = figure.draw(histories(selection.load(store.runs())), "test")
    first, second = drawn.axes
    assert first.get_title("left") == "aevb mlp mnist nz=3: lower-bound"
    assert [list(line.get_xdata()) for line in first.lines[:2]] == [[0, 1], [1, 2]]
    assert list(first.lines[0].get_ydata()) == pytest.approx([-152.8333333, -151.0])
    assert list(first.lines[1].get_ydata()) == pytest.approx([-151.0, -156.1666667])
    assert {line.get_linestyle() for line in first.lines[:2]} == {"-"}
    assert list(second.lines[0].get_xdata()) == [3]
    assert [label.get_text().split()[1] for label in second.get_xticklabels()] == [
        "beef00123",
        "c0ffee123",
        "dead00123+",
        "dead00123",
    ]


def test_foreign_runs_are_marked(store: Store, harness: Harness, tmp_path: Path) -> None:
    theirs = Store(tmp_path / "theirs")
    made_by(theirs, "cafe00123456789", 9, -149.0)
    exchange.publish(list(theirs.runs()), str(tmp_path / "pub"), "Alice", models=False, say=pytest.fail)
    exchange.import_runs(str(tmp_path / "pub"), store)
    out = harness("history", "algo=aevb", "--out", store.root / "drawn.png").out
    assert [line.split()[:3] for line in out.splitlines() if "cafe00123" in line] == [["2026-11-09", "cafe00123", "1†"]]
    assert "† 1 foreign run by Alice" in out


def test_bad_input_is_one_sentence(store: Store, harness: Harness) -> None:
    for words, said in (
        (
            ["--y", "quadrature"],
            "no run that is done has an estimate by quadrature on the test set: --y can be lower-bound",
        ),
        (["--split", "valid"], "no run that is done has an estimate on the valid set"),
        (["nothing"], "there is no run 'nothing'"),
        (["--split", "x"], "--split is 'x'"),
        (["--out", "x.doc"], "--out ends in .doc"),
    ):
        done = harness("history", *words)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), words
        assert said in done.err
