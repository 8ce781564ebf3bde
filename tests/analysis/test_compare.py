"""Two sides side by side: differences paired over seeds, what a target cost, and which sides there are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import MARKS, Result, put, seeds, stored

from harness.analysis import compare
from harness.errors import BadInput
from harness.store.store import Store

Harness = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    put(store, seeds(-130.0, -134.0, -120.0) + seeds(-131.0, -135.5, -121.2, algorithm="wake-sleep"))
    return store


def test_differences_are_paired_over_seeds(store: Store) -> None:
    sides = compare.side(store, "mine:algo=aevb"), compare.side(store, "mine:algo=wake-sleep")
    (one,) = compare.compare(*sides, "lower-bound")
    assert [mark.samples for mark in one.marks] == list(MARKS)
    last = one.marks[-1]
    assert (last.first, last.second) == (pytest.approx(-128.0), pytest.approx(-387.7 / 3))
    assert last.difference.mean == pytest.approx((1 + 1.5 + 1.2) / 3)
    assert last.difference.paired
    assert last.half_width == pytest.approx(4.30265 * last.difference.error, rel=1e-4)
    assert one.target_cost is not None
    assert one.target_cost.target == pytest.approx(last.second)
    assert one.target_cost.samples == (1e6, 1e6)
    assert compare.what_differs(one) == [("algorithm.name", "aevb", "wake-sleep")]
    (early,) = compare.compare(*sides, "lower-bound", target=-150.0)
    assert early.target_cost is not None
    assert early.target_cost.samples == (1e5, 1e5)
    assert early.target_cost.cpu == (pytest.approx(200.0), pytest.approx(200.0))  # 1, 2 and 3 times 100 seconds
    (never,) = compare.compare(*sides, "lower-bound", target=-100.0)
    assert never.target_cost is not None
    assert never.target_cost.samples == (None, None)


def test_other_seeds_are_not_paired_and_one_tells_no_interval(store: Store) -> None:
    put(store, [stored(seed=7)], "other")
    (one,) = compare.compare(compare.side(store, "mine:algo=aevb"), compare.side(store, "other"), "lower-bound")
    assert not one.marks[-1].difference.paired
    assert one.marks[-1].half_width is None


def test_lost_runs_are_left_out_by_name_and_shared_seeds_alone_count(store: Store) -> None:
    put(store, [stored(seed=3, test=(-200.0, -150.0, -400.0)), stored(seed=4, status="diverged", test=(-200.0,))])
    (one,) = compare.compare(
        compare.side(store, "mine:algo=aevb"), compare.side(store, "mine:algo=wake-sleep"), "lower-bound"
    )
    assert one.left_out == ["aevb-nz3-s4-0.02 (diverged)", "aevb-nz3-s3-0.02 (seed 3 is of A alone)"]
    last = one.marks[-1]
    assert last.first == pytest.approx(-128.0)  # without seed 3, which only one side has
    assert last.difference.mean == pytest.approx(last.first - last.second)


def test_panels_in_order_and_sides_of_several_algorithms(store: Store) -> None:
    put(store, [*seeds(-130.0, nz=20), *seeds(-133.0, nz=20, algorithm="wake-sleep"), *seeds(-125.0, nz=5)])
    both = compare.side(store, "mine")
    found = compare.compare(both, both, "lower-bound")
    assert [one.panel for one in found] == [
        "algo=aevb dataset=mnist nz=3", "algo=aevb dataset=mnist nz=5", "algo=aevb dataset=mnist nz=20",
        "algo=wake-sleep dataset=mnist nz=3", "algo=wake-sleep dataset=mnist nz=20",
    ]  # fmt: skip
    assert all(mark.difference.mean == 0 for one in found for mark in one.marks)


def test_other_machines_are_told_in_kernels(store: Store) -> None:
    run = stored(seed=0)
    run.record.provenance[-1] |= {"machine": {"cpu": "another"}, "calibration_seconds": 0.02}
    put(store, [run], "other")
    (one,) = compare.compare(compare.side(store, "mine:algo=aevb,seed=0"), compare.side(store, "other"), "lower-bound")
    assert one.target_cost is not None
    assert one.target_cost.unit == "calibration kernels"
    assert one.target_cost.cpu == (pytest.approx(100_000), pytest.approx(50_000))


def test_sides_are_runs_groups_and_folders(store: Store) -> None:
    run = store.run("aevb-nz3-s0-0.02", "mine")
    for words, n in [
        ("aevb-nz3-s0", 1),
        ("mine", 6),
        (str(store.root), 6),
        (str(store.root / "mine"), 6),
        (str(run.path), 1),
    ]:
        assert len(compare.side(store, words).runs) == n, words
    assert len(compare.side(store, f"{store.root}:algo=aevb,seed=1").runs) == 1


def test_bad_sides(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words, said in [
        ("min", "there is no run 'min'"),
        (str(tmp_path / "empty"), "has no runs: name a run, a group or a folder"),
        ("mine:nz=7", "no run of 'mine' has nz 7: there is 3"),
        ("mine:nz", "'mine:nz' has 'nz': give option=value"),
        ("mine:nzz=3", r"has option 'nzz' .did you mean 'nz'[?]., which no run of 'mine' has"),
    ]:
        with pytest.raises(BadInput, match=said):
            compare.side(store, words)
    mine, aevb = compare.side(store, "mine"), compare.side(store, "mine:algo=aevb")
    put(store, seeds(-1.0, algorithm="mcem") + seeds(-1.0, algorithm="other"), "others")
    with pytest.raises(BadInput, match="choose one of each, as in GROUP:algo=NAME"):
        compare.compare(mine, compare.side(store, "others"), "lower-bound")
    put(store, seeds(-1.0, nz=9), "nine")
    with pytest.raises(BadInput, match="have no estimate by lower-bound on test at a mark in common"):
        compare.compare(aevb, compare.side(store, "nine"), "lower-bound")
    put(store, [stored(lr=0.1), stored(lr=0.2)], "twice")
    with pytest.raises(BadInput, match=r"differ in algorithm.lr, 0.1 and 0.2: say which, as in twice:lr=VALUE"):
        compare.compare(aevb, compare.side(store, "twice"), "lower-bound")
    put(store, seeds(-130.0), "again")
    with pytest.raises(BadInput, match="are the same run in two groups: name the group or the folder of one"):
        compare.compare(compare.side(store, f"{store.root}:algo=aevb,lr=0.02,seed=0"), aevb, "lower-bound")
    put(store, [stored(sha256="b" * 64)], "elsewhere")
    with pytest.raises(BadInput, match="trained on different data"):
        compare.compare(aevb, compare.side(store, "elsewhere"), "lower-bound")
    with pytest.raises(BadInput, match=r"--y is 'lower-bond' \(did you mean 'lower-bound'\?\)"):
        compare.estimator_of(mine, aevb, "lower-bond")


def test_the_command_draws_and_prints(harness: Harness, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "c.png"
    done = harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep", "--out", out, "--target", "-140")
    assert done.code == 0, done.err
    assert "+1.23 ± 0.15" in done.out  # differences 1, 1.5 and 1.2: standard error 0.145, and t of 2 degrees is 4.303
    assert "+0.61 to +1.86" in done.out
    assert "± is the standard error (se) over seeds" in done.out
    assert "A and B differ in algorithm.name aevb and wake-sleep" in done.out
    assert out.stat().st_size > 10_000
    (row,) = json.loads(harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep", "--json").out)
    assert row["marks"][-1]["pairs"] == 3
    assert row["marks"][-1]["points"] == 10_000
    assert row["marks"][-1]["error"] == pytest.approx(0.1453, abs=1e-4)
    assert row["target"]["samples"] == [1e6, 1e6]
    default = harness("compare", "mine:algo=aevb", "mine:algo=wake-sleep")
    assert (store.root / "figures" / "mine-algo-aevb-and-mine-algo-wake-sleep-compared.png").is_file(), default.out
    for words, said in [
        (("--split", "tset"), "choose train or test"),
        (("--target", "x"), "--target is 'x': give a number, such as -140"),
        (("--y", "x"), "--y is 'x'"),
    ]:
        done = harness("compare", "mine", "mine", *words)
        assert done.code == 2
        assert said in done.err
