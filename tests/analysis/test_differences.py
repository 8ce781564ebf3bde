"""Intervals over seeds: against scipy's tests, by simulation, and on recorded traces with known losses."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.analysis.statistics import difference, mean
from harness.claims.regression import no_worse

Note = Callable[[str, object], None]
Recorded = dict[str, dict[int, float]]

TOLERANCE, LEVEL = 0.25, 0.98  # as in harness/checks/quick.toml
TRIALS = 1000


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    """Lower bounds on the test set at 2e5 samples of AEVB in the experiment `quick`, by what was changed and by seed.

    `as it is`; `other rounding`: initial weights times 1 + 3e-7; `other noise`: other streams of training noise.
    """
    found = json.loads((Path(__file__).parents[1] / "data" / "aevb_quick_at_2e5.json").read_text())
    return {what: {int(seed): nats for seed, nats in by_seed.items()} for what, by_seed in found["bounds"].items()}


def test_paired_and_unpaired_are_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(0.3, 2, 7)
    paired = difference(dict(enumerate(a)), dict(enumerate(b)))
    test = stats.ttest_rel(a, b[:5])
    assert (paired.paired, paired.n) == (True, 5)
    assert paired.mean / (paired.error or 0) == pytest.approx(test.statistic)
    unpaired = difference(dict(enumerate(a)), {10 + i: v for i, v in enumerate(b)})
    welch = stats.ttest_ind(a, b, equal_var=False)
    assert (unpaired.paired, unpaired.n) == (False, 5)
    assert unpaired.mean / (unpaired.error or 0) == pytest.approx(welch.statistic)
    assert unpaired.degrees_of_freedom == pytest.approx(welch.df)
    low, high = paired.mean - paired.half_width(0.975), paired.mean + paired.half_width(0.975)
    assert (low, high) == pytest.approx(test.confidence_interval(0.95))


def test_one_seed_tells_no_error() -> None:
    for found in (mean([1.0]), difference({0: 1.0}, {0: 2.0}), difference({0: 1.0}, {1: 2.0, 2: 3.0})):
        assert found.error is None
        assert found.half_width(0.95) == math.inf
        assert found.detectable(0.95) == math.inf
        assert found.more_seeds(0.0, 0.95) == 1


def test_more_seeds_are_enough() -> None:
    found = mean([0.1, 0.5, -0.2, 0.4])
    more = found.more_seeds(0.0, 0.95)
    assert more is not None
    spread = (found.error or 0) * 2

    def excludes(n: int) -> bool:
        return stats.t.ppf(0.95, n - 1) * spread / math.sqrt(n) < found.mean

    assert excludes(4 + more)
    assert not excludes(4 + more - 1)
    assert mean([1e-4, -1e-4 + 1e-9]).more_seeds(0.0, 0.95) is None


def test_detectable_is_what_a_simulation_detects() -> None:
    """A true loss of the detectable size is noticed in 95 % of 20,000 trials; the error rate of this test is below 1e-3."""
    rng = np.random.default_rng(1)
    n, spread = 5, 0.7
    reference = mean(list(np.array([-1.0, 1.0, 0.0, 0.5, -0.5])))
    at = reference.detectable(0.98) / (reference.error or 1) * spread / math.sqrt(n)
    draws = rng.normal(-at, spread, (20_000, n))
    half = stats.t.ppf(0.98, n - 1) * draws.std(1, ddof=1) / math.sqrt(n)
    assert np.mean(draws.mean(1) + half < 0) == pytest.approx(0.95, abs=0.006)


def flagged(new: dict[int, float], old: dict[int, float], loss: float, *, seeds: int, pairs: bool = True) -> float:
    """Return how often a loss is flagged that is taken from recorded runs, over random choices of so many seeds.

    Unpaired, the two sides are of different seeds.
    """
    rng, hits = np.random.default_rng(2), 0
    for _ in range(TRIALS):
        chosen = [int(seed) for seed in rng.choice(sorted(new), 2 * seeds, replace=False)]
        own, other = chosen[:seeds], chosen[:seeds] if pairs else chosen[seeds:]
        found = difference({seed: new[seed] - loss for seed in own}, {seed: old[seed] for seed in other})
        hits += no_worse(found, TOLERANCE, LEVEL)[0] == "fails"
    return hits / TRIALS


def test_a_loss_of_one_nat_is_flagged_and_no_change_is_not(recorded: Recorded, record_property: Note) -> None:
    """Five seeds, the same random streams, other rounding as between machines: what CI compares."""
    old, new = recorded["as it is"], recorded["other rounding"]
    spread = float(np.std([new[seed] - old[seed] for seed in old], ddof=1))
    half, one, none = (flagged(new, old, loss, seeds=5) for loss in (0.5, 1.0, 0.0))
    record_property("spread of paired differences, other rounding", f"{spread:.4f} nats at 2e5 samples")
    record_property("flagged with 5 seeds, losses of 1, 0.5 and 0 nats", f"{one:.1%}, {half:.1%}, {none:.1%}")
    assert one >= 0.95
    assert half >= 0.95
    assert none <= 0.02


def test_redrawn_noise_is_no_loss(recorded: Recorded, record_property: Note) -> None:
    """Where a change draws other noise, pairs share less: what is then flagged, and that no change is not."""
    old, new = recorded["as it is"], recorded["other noise"]
    spread = float(np.std([new[seed] - old[seed] for seed in old], ddof=1))
    seeds = float(np.std(list(old.values()), ddof=1))
    gap = float(np.mean([new[seed] - old[seed] for seed in old]))  # of these ten seeds, of which the truth is 0
    centred = {seed: nats - gap for seed, nats in new.items()}
    none, unpaired = flagged(centred, old, 0.0, seeds=5), flagged(old, old, 0.0, seeds=5, pairs=False)
    least = TOLERANCE + mean([new[seed] - old[seed] for seed in sorted(old)[:5]]).detectable(LEVEL)
    record_property(
        "spread between seeds, and of pairs with other noise", f"{seeds:.2f} and {spread:.2f} nats at 2e5 samples"
    )
    record_property("detectable with 5 seeds and other noise", f"{least:.1f} nats")
    record_property("no change flagged, other noise paired, and unpaired", f"{none:.1%}, {unpaired:.1%}")
    assert none <= 0.02
    assert unpaired <= 0.02


def test_verdicts() -> None:
    same = {seed: -100.0 - seed for seed in range(5)}
    jitter = [0.01, -0.02, 0.0, 0.02, -0.01]

    def judged(shift: float, noise: float = 1.0) -> str:
        new = {seed: nats + shift + noise * jitter[seed] for seed, nats in same.items()}
        return no_worse(difference(new, same), TOLERANCE, LEVEL)[0]

    assert judged(0.0) == "holds"
    assert judged(-0.2) == "holds"
    assert judged(-0.3) == "fails"
    assert judged(0.3) == "better"
    assert judged(-0.3, noise=100) == "cannot tell"
    assert judged(0.0, noise=100) == "cannot tell"
    assert no_worse(difference(same, same), TOLERANCE, LEVEL)[0] == "holds"
    why = no_worse(difference({s: v - 0.5 + 30 * jitter[s] for s, v in same.items()}, same), TOLERANCE, LEVEL)[1]
    assert "needs about" in why
    assert "more seeds" in why
