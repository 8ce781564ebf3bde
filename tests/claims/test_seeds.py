"""What single seeds do to claims: those that collapse, those that one side lacks, and tests over a whole file."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import Result, put, seeds, stored

from harness.analysis.losses import Adjusted
from harness.analysis.stored_run import StoredRun
from harness.claims import baseline, check
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Claims
from harness.claims.regression import _Pairs
from harness.store.store import Store

Harness = Callable[..., Result]
AT = "at = 1e6\n"
BASELINE = '[[claim]]\nkind = "baseline"\ntolerance = 0.25\n' + AT
OLD = (-130.0, -131.0, -129.5, -130.2, -131.4)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def judged(store: Store, tmp_path: Path) -> Callable[..., list[Verdict]]:
    """Judge claims about runs, and where there are old ones against a baseline of those."""

    def judge(text: str, runs: Iterable[StoredRun], old: Iterable[StoredRun] = (), **more: Any) -> list[Verdict]:
        path = tmp_path / "claims.toml"
        path.write_text('group = "mine"\nbaseline = "base.json"\n' + text)
        if old := list(old):
            put(store, old)
            baseline.save(tmp_path / "base.json", check.baseline_content(Evidence(Claims(str(path)), store)))
            shutil.rmtree(store.root)
        put(store, runs)
        return check.check(Evidence(Claims(str(path)), store, **more))

    return judge


def lost(*losses: float) -> list[StoredRun]:
    return seeds(*(old + loss for old, loss in zip(OLD, losses, strict=False)))


@pytest.mark.parametrize(
    ("losses", "says", "why"),
    [
        ((-5, -5.1, -4.9, -5, -5.05), "fails", "worse by 4.89 nats or more: 5 pairs"),
        ((-5, -5.1, -4.9, -5, -60), "fails", "collapsed seed 4: -60 nats where the other pairs have -5 on average; without it"),
        ((0, 0, 0, 0, -60), "fails", "collapsed seed 4: -60 nats where the other pairs have +0 on average; p < 0.0001"),
        ((0, -60, 0, 0, -70), "fails", "collapsed seeds 1 and 4: -60, -70 nats"),
        ((-5, -5.1, -4.9, -5, 60), "fails", "worse in 4 of 5 pairs, and seed 4 hides it in the mean"),
        ((0, 0, -60), "fails", "collapsed seed 2"),
        ((0, -60), "fails", "collapsed seed 1"),
        ((0, 0, 0, 0, -0.2), "holds", "5 pairs"),
        ((1.5, -1.2, 0.4, -2.1, 0.9), "cannot tell", "the loss may be up to"),
    ],
)  # fmt: skip
def test_a_baseline_shows_a_seed_that_collapsed(
    judged: Callable[..., list[Verdict]], losses: tuple[float, ...], says: str, why: str
) -> None:
    from harness.claims.wording import why as in_words

    (verdict,) = judged(BASELINE, lost(*losses), lost(*(0.0 for _ in losses)))
    assert verdict.says == says, verdict.why
    assert why in in_words(verdict)
    assert bool(verdict.collapsed) == ("collapsed" in why)
    assert check.failed([verdict]) == (says == "fails")


def test_seeds_that_one_side_lacks_fail_unless_they_are_allowed(
    judged: Callable[..., list[Verdict]], store: Store
) -> None:
    old = lost(0, 0, 0, 0)
    (verdict,) = judged(BASELINE, lost(0, 0), old)
    assert verdict.says == "fails"
    assert verdict.why.startswith(
        "seeds 2 and 3 are of the baseline alone: make them, or allow it with allow-unmatched"
    )
    assert judged(BASELINE, [], unmatched=True)[0].says == "holds"
    (verdict,) = judged(BASELINE + "allow-unmatched-seeds = true\n", [])
    assert verdict.says == "holds"
    assert verdict.why.endswith("; seeds 2 and 3 are of the baseline alone, which is allowed")
    (verdict,) = judged(BASELINE, [], only="seed=0,seed=1")  # who names seeds asks for no others
    assert verdict.says == "holds", verdict.why
    assert judged(BASELINE + "where = { algo = 'aevb' }\n", lost(0, 0, 0, 0))[0].says == "holds"
    (verdict,) = judged(BASELINE, [stored(seed=9, test=(-200.0, -150.0, -190.0))])  # worse, and unmatched
    assert (verdict.says, verdict.why.partition(":")[0]) == ("fails", "seed 9 is of these runs alone")


def test_an_order_names_the_pairs_that_one_side_lacks(judged: Callable[..., list[Verdict]]) -> None:
    text = '[[claim]]\nkind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT
    runs = seeds(-130.0, -131.0, -130.5) + seeds(-135.0, -136.1, algorithm="wake-sleep")
    (verdict,) = judged(text, runs)
    assert verdict.says == "fails"
    assert "seed 2 is of aevb alone" in verdict.why
    (verdict,) = judged(text + "allow-unmatched-seeds = true\n", [])
    assert verdict.says == "holds"


def test_no_mean_holds_by_hiding_a_run(judged: Callable[..., list[Verdict]], tmp_path: Path) -> None:
    good = (-100.0, -100.2, -99.9, -100.1, -100.3)
    bound = '[[claim]]\nkind = "bound"\nleast = -110\n' + AT
    (verdict,) = judged(bound, seeds(*good[:-1], -140.0))  # their mean is -108
    assert verdict.says == "fails"
    assert verdict.why.startswith("collapsed seed: aevb-nz3-s4-0.02 at -140, where the others have -100.1 on average")
    (verdict,) = judged(bound.replace("-110", "-145"), [])
    assert verdict.says == "holds"  # it stands apart, and is no contradiction
    (verdict,) = judged(bound.replace("least = -110", "most = -90"), seeds(*good[:-1], -20.0))
    assert verdict.says == "fails"  # in its mean
    (verdict,) = judged(bound.replace("least = -110", "most = -80"), seeds(*good[:-1], -20.0))
    assert verdict.says == "fails"  # apart on the other side
    order = '[[claim]]\nkind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT
    worse = seeds(
        *(value - gap for value, gap in zip(good, (5, 5.1, 4.9, 5, -0.5), strict=True)), algorithm="wake-sleep"
    )
    (verdict,) = judged(order, [*seeds(*good), *worse])
    assert (verdict.says, verdict.collapsed) == ("fails", ("mnist nz=3 seed 4",)), verdict.why
    assert len(verdict.tests) == 2


def test_panels_that_differ_make_no_seed_collapse(judged: Callable[..., list[Verdict]], store: Store) -> None:
    """A difference that is small in one panel and large in others: seeds are compared with those of their panel."""
    text = '[[claim]]\nkind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT
    small, noise = (0.5, 0.3, -0.1, 0.4, 0.2), (0.1, -0.2, 0.0, 0.2, -0.1)

    def runs(*gaps: tuple[float, ...]) -> list[StoredRun]:
        shutil.rmtree(store.root, ignore_errors=True)
        return [
            run
            for nz, own in zip((3, 5, 10), gaps, strict=True)
            for algorithm, sign in (("aevb", 1), ("wake-sleep", 0))
            for run in seeds(*(-130.0 + sign * gap for gap in own), algorithm=algorithm, nz=nz)
        ]

    large = tuple(20 + one for one in noise)
    (verdict,) = judged(text, runs(small, large, large))
    assert (verdict.says, verdict.collapsed) == ("holds", ()), verdict.why
    (verdict,) = judged(text, runs((0.5, 0.3, -40.0, 0.4, 0.2), large, large))
    assert (verdict.says, verdict.collapsed) == ("fails", ("mnist nz=3 seed 2",))
    assert "where the others have 0.35 on average" in verdict.why
    (verdict,) = judged(text, runs((0.5, -0.1), large[:2], large[:2]))  # two of each, compared with all
    assert verdict.says == "fails"
    (verdict,) = judged(text, runs((-0.1,), large, large))  # one that cannot be compared
    assert verdict.says == "holds"
    assert "mnist nz=3 seed 0 by itself is beyond, at -0.1" in verdict.why
    bound = '[[claim]]\nkind = "bound"\nleast = -130\nwhere = { algo = "aevb" }\n' + AT
    (verdict,) = judged(bound, runs(small, large, large))
    assert verdict.says == "holds", verdict.why


def test_a_paper_claim_hides_no_run(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(
        'experiment = "figure2"\n[[claim]]\nkind = "paper"\nwithin = 3\nat = 1e6\nwhere = { algo = "aevb" }\n'
    )
    runs = [stored(seed=k, test=(-200.0, -160.0, nats)) for k, nats in enumerate((-150, -150.01, -160.5))]
    put(store, runs, "figure2")  # the paper has -152.91, and their mean is -153.5
    (verdict,) = check.check(Evidence(Claims(str(path)), store))
    assert verdict.says == "fails"
    assert verdict.why.startswith("collapsed seed: seed 2 at -7.59")


def test_two_runs_of_which_one_is_beyond_the_limit_say_so(judged: Callable[..., list[Verdict]]) -> None:
    (verdict,) = judged('[[claim]]\nkind = "bound"\nleast = -110\n' + AT, seeds(-60.0, -150.0))
    assert verdict.says == "holds"
    assert "aevb-nz3-s1-0.02 by itself is beyond, at -150" in verdict.why


def test_the_optimum_hides_no_seed() -> None:
    from harness.claims.probes import _off_the_optimum

    def judge(*pulls: float) -> Any:
        return _off_the_optimum(pulls, 0.06, range(len(pulls)), "", "why")

    assert judge(1.0, 1.01, 0.99).p > 0.02
    assert judge(1.10, 1.11, 1.105).p <= 0.02  # of a KL with a weight of 1.1
    assert judge(1.11, 1.105, 1.10, 1.108, 5.0).p <= 0.02
    found = judge(1.0, 1.01, 0.99, 1.0, 0.2)
    assert found.p <= 0.02
    assert found.otherwise.startswith("collapsed seed 4, at 0.2")


def test_the_level_is_that_of_the_file(judged: Callable[..., list[Verdict]]) -> None:
    """A loss that is shown by a claim alone, and not among 24 claims."""
    losses = (-1.0, -1.6, -0.7, -1.2, -1.9)
    (verdict,) = judged(BASELINE, lost(*losses), lost(*[0.0] * 5))
    assert verdict.says == "fails"
    verdicts = judged(BASELINE + "".join(BASELINE.replace("0.25", f"{10 + k}") for k in range(23)), [])
    assert verdicts[0].says == "cannot tell"
    ((shows, level, adjusted),) = verdicts[0].tests
    assert (shows, level, adjusted.tests, adjusted.left) == ("loss", 0.98, 24, 24)
    assert adjusted.p == pytest.approx(24 * verdict.tests[0][2].p)


def test_a_loss_that_the_file_does_not_show_says_so(judged: Callable[..., list[Verdict]]) -> None:
    """Holm's procedure stops at the first test that shows nothing, whatever a later one would show by itself."""
    old = [0.0] * 5
    (verdict,) = judged(BASELINE, lost(-1.0, -1.6, -0.7, -1.2, -1.9), lost(*old))
    pairs = _Pairs(
        verdict.claim, dict(enumerate((-1.0, -1.6, -0.7, -1.2, -1.9))), dict(enumerate(old)), spread=0.9, freedom=4
    )  # type: ignore[arg-type]
    says, why, collapsed = pairs.judged(Adjusted(0.03, 3, 1))
    assert (says, collapsed) == ("cannot tell", ())
    assert why.startswith("not shown at the level of all 3 tests: worse by ")


def test_every_output_says_how_many_tests_there_are(
    harness: Harness,
    judged: Callable[..., list[Verdict]],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = BASELINE + BASELINE.replace("0.25", "200")
    judged(text, lost(0, 0, 0, 0, -60), lost(*[0.0] * 5))
    path, report, summary = tmp_path / "claims.toml", tmp_path / "report.xml", tmp_path / "summary.md"
    words = "2 tests for losses over seeds; the chance of any false alarm is at most 0.02 (Holm's procedure)"
    done = harness("check", path)
    assert done.code == 1
    assert words in done.out
    assert "p < 0.0001 of 2" in done.out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    rows = json.loads(harness("check", path, "--json", "--junit", report).out)
    assert rows[0]["collapsed"] == ["seed 4"]
    assert [test | {"adjusted_p": 0} for test in rows[1]["tests"]] == [
        {"shows": "loss", "level": 0.98, "adjusted_p": 0, "tests": 2}
    ]
    assert words in summary.read_text()
    suite = ElementTree.parse(report).getroot()
    assert [one.get("value") for one in suite.iter("property")] == [words]
    assert [one.get("type") for one in suite.iter("failure")] == ["collapsed seed"]
    put(store, lost(0, 0, 0, 0, 0, 0))
    shutil.rmtree(store.root)
    put(store, lost(0, 0))
    assert harness("check", path).code == 1
    assert harness("check", path, "--allow-unmatched-seeds").code == 0
