"""Rankings: who is best, how surely, what a target cost with tuning, and profiles across panels."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from support import Result, put, seeds, stored

from harness.analysis import profiles, rank
from harness.analysis.profiles import Times
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.specs.experiment import Experiment
from harness.store.store import Store

Harness = Callable[..., Result]

EXPERIMENT = """
title = "Three algorithms"
[base]
dataset = "mnist"
samples = 1e6
[[grid]]
algo = ["aevb", "wake-sleep", "iwae"]
nz = [2, 3, 5, 10, 20]
seed = [0, 1, 2]
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "mine.toml"
    path.write_text(EXPERIMENT)
    return Experiment(str(path))


def ranked(
    experiment: Experiment, runs: Sequence[StoredRun], tuning: Mapping[str, Mapping[str, float]] | None = None
) -> rank.Panel:
    """Return the only panel."""
    (panel,) = rank.rank(experiment, runs, tuning or {}).panels
    return panel


def test_a_difference_that_is_sure_makes_a_rank_and_one_that_is_not_a_tie(experiment: Experiment) -> None:
    """Intervals by Student's t of three pairs: iwae is tied with aevb, wake-sleep surely worse; ties have no order."""
    runs = seeds(-120.0, -121.0, -122.0)
    runs += seeds(-121.0, -121.5, -121.0, algorithm="iwae") + seeds(-130.0, -131.0, -132.5, algorithm="wake-sleep")
    panel = ranked(experiment, runs)
    assert panel.about == "mnist nz=3"
    assert (panel.mark, panel.estimator) == (1e6, "lower-bound")
    assert [(one.entrant, one.group) for one in panel.entries] == [("aevb", 1), ("iwae", 1), ("wake-sleep", 2)]
    best, tied, worse = panel.entries
    assert best.to_best is None
    assert tied.to_best is not None
    assert worse.to_best is not None
    assert tied.to_best.mean == pytest.approx(-0.5 / 3)
    assert worse.to_best.mean == pytest.approx(-30.5 / 3)
    assert worse.to_best.interval == pytest.approx(4.30265 * worse.to_best.error, rel=1e-4)
    assert [one.mean for one in panel.entries] == [-121.0, pytest.approx(-363.5 / 3), pytest.approx(-393.5 / 3)]


def test_one_seed_claims_no_order(experiment: Experiment) -> None:
    panel = ranked(experiment, seeds(-120.0) + seeds(-190.0, algorithm="wake-sleep"))
    assert [one.group for one in panel.entries] == [1, 1]
    assert panel.entries[1].to_best is not None
    assert panel.entries[1].to_best.interval is None


def test_the_cost_of_a_target_with_tuning_and_misses(experiment: Experiment) -> None:
    """The target is what all seeds of the second best reach; one that a seed misses costs it infinitely much."""
    runs = seeds(-120.0, -121.0, -122.0) + seeds(-125.0, -126.0, -127.0, algorithm="wake-sleep")
    runs += seeds(-126.0, -150.0, -150.0, algorithm="iwae")
    tuning = {run.id: {"samples": 3e5, "cpu_seconds": 40.0} for run in runs if run.algorithm == "wake-sleep"}
    (panel,) = rank.rank(experiment, runs, tuning).panels
    assert panel.target == -127.0
    cost = {one.entrant: one.times for one in panel.entries}
    assert cost["aevb, not tuned"]["samples"] == ({0: 1e6, 1: 1e6, 2: 1e6}, 0.0)
    assert cost["aevb, not tuned"]["cpu_seconds"].median == 2000.0  # 1, 2 and 3 times 1000 seconds
    tuned, missed = cost["wake-sleep, tuned"], cost["iwae, not tuned"]
    assert tuned["samples"].median == 1.3e6
    assert tuned["cpu_seconds"].median == 2040.0
    assert missed["samples"].by_seed == {0: 1e6, 1: math.inf, 2: math.inf}
    assert missed["samples"].median == math.inf
    (early,) = rank.rank(experiment, runs, {}, target=-150.0).panels
    assert {one.times["samples"].median for one in early.entries} == {1e5}


def test_a_target_is_of_the_points_of_curves(experiment: Experiment) -> None:
    """Ends are compared over more points, over which bounds are a nat better here: a target of theirs no curve would reach."""
    runs = seeds(-120.0, -121.0, -122.0) + seeds(-125.0, -126.0, -127.0, algorithm="wake-sleep")
    for run in runs:
        for estimate in run.rows[-1]["estimates"]:
            estimate["mean"] += 1.0 if estimate["points"] == 10_000 else 0.0
    panel = ranked(experiment, runs)
    assert [one.mean for one in panel.entries] == [-120.0, -125.0]
    assert panel.target == -127.0
    assert {one.times["samples"].median for one in panel.entries} == {1e6}


def test_tuned_and_given_settings_are_entrants_of_their_own(experiment: Experiment) -> None:
    given, tuned = seeds(-125.0, -126.0), seeds(-120.0, -121.0, lr=0.1)
    with pytest.raises(BadInput, match=r"aevb-nz3-s0-0.02 has algorithm.lr 0.02"):
        rank.rank(experiment, given + tuned, {run.id: {"samples": 1.0} for run in tuned})
    found = rank.rank(
        experiment, seeds(-125.0, -126.0, algorithm="iwae") + tuned, {run.id: {"samples": 1.0} for run in tuned}
    )
    assert [one.entrant for one in found.panels[0].entries] == ["aevb, tuned", "iwae, not tuned"]


def test_regret_is_the_mean_distance_from_the_best_curve(experiment: Experiment) -> None:
    runs = [stored(seed=s, test=(-200.0, -140.0, -130.0)) for s in (0, 1)]
    runs += [stored("wake-sleep", seed=s, test=(-180.0, -150.0, -131.0)) for s in (0, 1)]
    panel = ranked(experiment, runs)
    assert {one.entrant: one.regret for one in panel.entries} == {
        "aevb": pytest.approx(20 / 3), "wake-sleep": pytest.approx(11 / 3),
    }  # fmt: skip


def test_diverged_seeds_count(experiment: Experiment) -> None:
    """One has no estimate at the mark, and misses the target; an entrant of nothing else is last."""
    runs = [*seeds(-120.0, -121.0), stored(seed=2, status="diverged", test=(-200.0,))]
    runs += seeds(-125.0, -126.0, -127.0, algorithm="wake-sleep")
    runs += [stored("iwae", seed=s, status="diverged", test=(-200.0,)) for s in (0, 1)]
    panel = ranked(experiment, runs)
    assert [(one.entrant, one.group) for one in panel.entries] == [("aevb", 1), ("wake-sleep", 2), ("iwae", 3)]
    assert panel.entries[0].diverged == [2]
    assert panel.entries[0].times["samples"].by_seed[2] == math.inf
    assert panel.entries[2].mean == -math.inf
    assert panel.entries[2].regret is None


def by_exact(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """Return runs that are evaluated by another estimator instead."""
    for run in runs:
        for row in run.rows:
            row["estimates"] = [{**e, "estimator": "exact"} for e in row["estimates"]]
    return list(runs)


def test_runs_of_different_estimators_are_not_ranked(experiment: Experiment) -> None:
    """One panel of them is left out, and said to be; where there is no other, that is why there is no ranking."""
    mixed = seeds(-120.0, -121.0) + by_exact(seeds(-125.0, -126.0, algorithm="wake-sleep"))
    why = (
        r"mnist nz=3: its runs are evaluated by different estimators \(aevb by lower-bound, wake-sleep by exact\), and only "
        "estimates by one and the same are ranked"
    )
    with pytest.raises(BadInput, match=f"^nothing of mine can be ranked: {why}$"):
        rank.rank(experiment, mixed, {})
    others = seeds(-110.0, -111.0, nz=5) + seeds(-115.0, -116.0, algorithm="wake-sleep", nz=5)
    others += by_exact(seeds(-112.0, -112.0, nz=10) + seeds(-113.0, -113.0, algorithm="wake-sleep", nz=10))
    found = rank.rank(experiment, mixed + others, {})
    assert [(one.about, one.estimator) for one in found.panels] == [
        ("mnist nz=5", "lower-bound"), ("mnist nz=10", "exact"),
    ]  # fmt: skip
    assert len(found.left_out) == 1
    assert re.fullmatch(why, found.left_out[0])


def test_what_cannot_be_ranked_is_said(experiment: Experiment) -> None:
    with pytest.raises(BadInput, match="no panel has two entrants with an estimate at the same mark"):
        rank.rank(experiment, seeds(-120.0, -121.0), {})


def test_profiles() -> None:
    """Shares by hand: b costs 1, 2, 3, 5 and infinitely many times a's; a's own median moves with its seeds alone."""
    ratios = (1.0, 2.0, 3.0, 5.0, math.inf)
    times = [{"a": Times({0: 10.0, 1: 10.0}, 0.0), "b": Times({0: 10.0 * r, 1: 10.0 * r}, 0.0)} for r in ratios]
    a, b = profiles.profiles(times)
    assert (a.entrant, a.score, a.low, a.high) == ("a", 1.0, 1.0, 1.0)
    assert b.ratios == list(ratios)
    assert [b.share(ratio) for ratio in (1.0, 1.9, 2.0, 4.0)] == [0.2, 0.2, 0.4, 0.6]
    assert b.score == pytest.approx((1 + 2 / 3 + 1 / 3) / 5)
    assert (b.low, b.high) == (b.score, b.score)  # both seeds agree
    assert len(b.band) == len(profiles.BAND)
    assert b.band[0] == (0.2, 0.2)
    assert profiles.profiles(times[:4]) == []


def test_the_band_of_a_profile_holds_what_seeds_say() -> None:
    """Two seeds at once and four times the cost: the median of a draw is 1, 2.5 or 4 with chances 1/4, 1/2 and 1/4."""
    times = [{"a": Times({0: 1.0, 1: 1.0}, 0.0), "b": Times({0: 1.0, 1: 4.0}, 0.0)} for _ in range(5)]
    _, b = profiles.profiles(times)
    assert b.ratios == [2.5] * 5
    assert b.low < b.score < b.high
    low, high = b.band[0]
    assert low == 0.0
    assert 0.4 <= high <= 0.8  # of 5 panels at a chance of 1/4, the 97.5 % quantile is 3 of 5


def test_a_target_that_nobody_reaches_is_nobodys() -> None:
    times = [{"a": Times({0: math.inf}, 0.0), "b": Times({0: math.inf}, 5.0)} for _ in range(5)]
    for one in profiles.profiles(times):
        assert one.score == 0.0
        assert one.share(4.0) == 0.0


def test_the_command(harness: Harness, experiment: Experiment, tmp_path: Path) -> None:
    """Of stored runs: text, a picture, and JSON; two marks are refused, and so is an experiment without runs."""
    store = Store(tmp_path / "results")
    runs = [run for nz in (2, 3, 5, 10, 20) for run in seeds(-120.0 - nz, -121.0 - nz, nz=nz)]
    runs += [run for nz in (2, 3, 5, 10, 20) for run in seeds(-130.0, -131.5, nz=nz, algorithm="wake-sleep")]
    put(store, runs, experiment.name)
    toml = str(tmp_path / "mine.toml")
    asked = ("--results", str(store.root))
    found = harness("rank", toml, *asked, "--out", str(tmp_path / "ranked.png"))
    assert found.code == 0, found.err
    assert "share of 5 panels whose target was reached at so many times the least samples" in found.out
    assert (tmp_path / "ranked.png").stat().st_size > 10_000
    data = json.loads(harness("rank", f"{toml}:nz=3", *asked, "--json").out)
    assert [one["about"] for one in data["panels"]] == ["mnist nz=3"]
    assert [(one["entrant"], one["group"]) for one in data["panels"][0]["entrants"]] == [("aevb", 1), ("wake-sleep", 2)]
    few = harness("rank", f"{toml}:nz=3", *asked)
    assert "1 panel: too few to say who is fast in general; a performance profile needs 5 or more" in few.out
    two = harness("rank", toml, *asked, "--at", "1e5,1e6")
    assert (two.code, "--at has 2 marks, and a ranking is at one: give one" in two.err) == (2, True)
    alone = harness("rank", f"{toml}:algo=aevb", *asked)
    assert (alone.code, f"at the same mark; see `harness table {toml}:algo=aevb`" in alone.err) == (2, True)
    none = harness("rank", "figure3", *asked)
    assert (none.code, "there are no runs of figure3" in none.err) == (2, True)
