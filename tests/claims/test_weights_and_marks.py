"""Claims about averaged weights, and at the mark of each run that is best on the validation split."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from support import Result, put, stored

from harness.analysis.stored_run import StoredRun
from harness.claims import baseline, check
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Claims
from harness.errors import BadInput
from harness.store.store import Store

BOUND = 'kind = "bound"\nleast = -135\n'
BASELINE = 'kind = "baseline"\ntolerance = 0.25\n'
BEST = 'at = "best-valid"\n'
AVERAGE = 'weights = "average"\n'


def rich(
    seed: int = 0, valid: tuple[float, ...] = (-200.0, -120.0, -160.0), averaged: float = 5.0, **more: Any
) -> StoredRun:
    """Return a run with estimates on the validation split; those of averaged weights are so much better, from row 2 on."""
    one = stored(seed=seed, **more)
    one.spec["average"] = 50_000
    one.spec["evaluation"]["estimators"] = [
        {"name": "lower-bound", "settings": {}, "file": None, "sha256": None, "points": 2000, "final_points": 10_000}
    ]
    for row, nats in zip(one.rows, valid, strict=True):
        row["estimates"].append({**row["estimates"][0], "split": "valid", "mean": nats})
        row["ledger"]["datapoints"] = row["ledger"]["samples"] / 5
    for row in one.rows[1:]:
        row["averaged"] = [{**e, "mean": e["mean"] + averaged, "weights": "average"} for e in row["estimates"]]
    return one


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Claims]:
    """Write a file of one claim about the group `mine`."""

    def write(text: str) -> Claims:
        path = tmp_path / "claims.toml"
        path.write_text(f'group = "mine"\nbaseline = "base.json"\n[[claim]]\n{text}')
        return Claims(str(path))

    return write


@pytest.fixture
def judged(store: Store, file: Callable[[str], Claims]) -> Callable[..., list[Verdict]]:
    """Put runs into the store and judge a claim about them."""

    def judge(text: str, runs: Iterable[StoredRun] = ()) -> list[Verdict]:
        put(store, runs)
        return check.check(Evidence(file(text), store))

    return judge


def test_each_run_at_its_own_best_mark(judged: Callable[..., list[Verdict]]) -> None:
    """Test values there, though another mark is best on the test set; marks may differ between runs."""
    runs = [rich(), rich(1, valid=(-200.0, -160.0, -120.0), test=(-201.0, -151.0, -131.0))]
    (verdict,) = judged(BOUND + BEST, runs)
    assert (verdict.says, verdict.observed) == ("fails", (-150.0 - 131.0) / 2)
    assert verdict.subject == "at the best mark on the validation split"
    (verdict,) = judged(BOUND + 'at = "end"\n')
    assert (verdict.says, verdict.observed) == ("holds", (-130.0 - 131.0) / 2)


def test_averaged_weights_are_judged_where_they_are_asked_for(judged: Callable[..., list[Verdict]]) -> None:
    runs = [rich(), rich(1, test=(-201.0, -151.0, -131.0))]
    (verdict,) = judged(BOUND + AVERAGE + "at = 1e6\n", runs)
    assert (verdict.says, verdict.observed) == ("holds", -125.5)
    assert verdict.subject == "at 1,000,000 samples, averaged weights"
    (verdict,) = judged(BOUND + AVERAGE + "at = 1e4\n")  # before the average began
    assert verdict.says == "fails"
    assert "no run has a row at 10,000 samples" in verdict.why
    (verdict,) = judged(BOUND + AVERAGE + BEST)
    assert verdict.observed == -145.5


@pytest.mark.parametrize("text", ["at = 1e6\n", BEST, AVERAGE + BEST, AVERAGE + 'at = "end"\n'])
def test_a_baseline_has_what_its_claims_need(
    text: str, judged: Callable[..., list[Verdict]], store: Store, file: Callable[[str], Claims], tmp_path: Path
) -> None:
    """The same runs lose nothing; others one nat, and where averaged weights have lost one more, two."""
    put(store, [rich(seed, test=(-200.0, -150.0 - seed, -130.0 - seed)) for seed in (0, 1, 2)])
    baseline.save(tmp_path / "base.json", check.baseline_content(Evidence(file(BASELINE + text), store)))
    for run in json.loads((tmp_path / "base.json").read_text())["runs"].values():
        assert run["rows"]
        assert all(row["ledger"]["datapoints"] == row["ledger"]["samples"] / 5 for row in run["rows"])
    (verdict,) = judged(BASELINE + text)
    assert (verdict.says, verdict.observed) == ("holds", 0.0)
    worse = [rich(seed, averaged=4.0, test=(-200.0, -151.0 - seed, -131.0 - seed)) for seed in (0, 1, 2)]
    (verdict,) = judged(BASELINE + text, worse)
    assert (verdict.says, verdict.observed) == ("fails", -2.0 if AVERAGE in text else -1.0)


def test_a_baseline_that_lacks_what_a_claim_needs_is_refused(
    judged: Callable[..., list[Verdict]], store: Store, file: Callable[[str], Claims], tmp_path: Path
) -> None:
    """One that was saved for another mark, and one of before datapoints were kept, which is enough for what it was saved for."""
    put(store, [rich(seed) for seed in (0, 1)])
    content = check.baseline_content(Evidence(file(BASELINE + "at = 1e6\n"), store))
    baseline.save(tmp_path / "base.json", content)
    with pytest.raises(BadInput, match=r"in the baseline, .* the validation split.*save it again with"):
        judged(BASELINE + BEST)
    for run in content["runs"].values():
        run["spent"].pop("datapoints", None)
        for row in run["rows"]:
            del row["ledger"]["datapoints"], row["averaged"]
    baseline.save(tmp_path / "base.json", content)
    assert [verdict.says for verdict in judged(BASELINE + "at = 1e6\n")] == ["holds"]
    with pytest.raises(BadInput, match="in the baseline, no run has a row at the end: save it again with"):
        judged(BASELINE + AVERAGE + 'at = "end"\n')


def test_a_run_without_them_fails_the_claim_as_an_unfinished_one_does(judged: Callable[..., list[Verdict]]) -> None:
    plain = stored(seed=1)
    for text, said in (
        (BEST, "has no estimates on the validation split (--splits train,valid,test) at its marks"),
        (AVERAGE + "at = 1e6\n", "has no averaged weights: it was made without --average; make a run with it"),
    ):
        (verdict,) = judged(BOUND + text, [rich(), plain])
        assert (verdict.says, verdict.why) == ("fails", f"run {plain.id} {said}")
    (verdict,) = judged(BOUND + BEST, [rich(status="interrupted"), rich(1)])
    assert (verdict.says, verdict.why) == ("fails", f"run {rich().id} is interrupted after 3 rows")


@pytest.mark.parametrize(("text", "said"), [
    ('at = "best"\n', "claim.0.at"), ('at = 1\nweights = "best-valid"\n', "'last' or 'average'"),
])  # fmt: skip
def test_bad_claims(harness: Callable[..., Result], tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(f'group = "mine"\n[[claim]]\n{BOUND}{text}')
    done = harness("check", path)
    assert (done.code, done.err.count("\n"), said in done.err) == (2, 1, True), done.err
