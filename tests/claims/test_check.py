"""Claims over stored runs: what each kind says, what it refuses, and what continuous integration is told."""

import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import Result, put, rewrite, seeds, stored

from harness.analysis.stored_run import StoredRun
from harness.claims import baseline, check
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Claims, built_in
from harness.errors import BadInput
from harness.specs import experiment
from harness.store.store import Store

Harness = Callable[..., Result]
ROOT = Path(__file__).parents[2]
AT = "at = 1e6\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def claims(tmp_path: Path) -> Callable[[str], Claims]:
    """Write a file of claims about the group `mine`."""

    def write(text: str) -> Claims:
        path = tmp_path / "claims.toml"
        path.write_text('group = "mine"\nbaseline = "base.json"\n' + text)
        return Claims(str(path))

    return write


@pytest.fixture
def judged(store: Store, claims: Callable[[str], Claims]) -> Callable[..., list[Verdict]]:
    """Put runs into the store and judge one claim about them."""

    def judge(text: str, runs: Iterable[StoredRun] = (), **more: Any) -> list[Verdict]:
        put(store, runs)
        return check.check(Evidence(claims("[[claim]]\n" + text), store, **more))

    return judge


def test_bound(judged: Callable[..., list[Verdict]]) -> None:
    runs = seeds(-130.0, -134.0)
    (verdict,) = judged('kind = "bound"\nleast = -132.5\n' + AT, runs)
    assert (verdict.says, verdict.observed, verdict.error) == ("holds", -132.0, 2.0)
    (verdict,) = judged('kind = "bound"\nleast = -131\ntolerance = 0.5\n' + AT)
    assert verdict.says == "fails"
    assert verdict.required == "≥ -131 - 0.5"
    assert "0.5 nats below" in verdict.why
    (verdict,) = judged('kind = "bound"\nmost = -133\n' + AT)
    assert (verdict.says, verdict.why) == ("fails", "1 nats above what is allowed")
    (verdict,) = judged('kind = "bound"\nleast = -131.5\nsplit = "train"\nat = "end"\n')
    assert verdict.says == "holds"  # train is one nat better
    assert [v.says for v in judged('kind = "bound"\nleast = -175\nat = [1e4, 1e5]\n')] == ["fails", "holds"]


def test_order(judged: Callable[..., list[Verdict]]) -> None:
    runs = seeds(-130.0, -134.0, -120.0) + seeds(-131.0, -135.5, -121.2, algorithm="wake-sleep")
    (verdict,) = judged('kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT, runs)
    assert verdict.says == "holds"  # for every seed, though the seeds are 14 nats apart
    assert verdict.observed == pytest.approx((1 + 1.5 + 1.2) / 3)
    (verdict,) = judged('kind = "order"\nabove = "wake-sleep"\nbelow = "aevb"\n' + AT)
    assert verdict.says == "fails"
    assert verdict.why.startswith("it is below")
    (verdict,) = judged('kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\nat = 1e5\n')
    assert verdict.says == "fails"  # they are the same there
    assert verdict.why.startswith("not shown")


def test_order_over_panels_and_in_each(judged: Callable[..., list[Verdict]]) -> None:
    runs = []
    for nz, gap in ((3, 2.0), (5, 1.0)):
        for seed in (0, 1):
            runs.append(stored("aevb", seed, (-200.0, -150.0, -130.0 - seed), nz=nz))
            runs.append(stored("wake-sleep", seed, (-200.0, -150.0, -130.0 - seed * 1.01 - gap), nz=nz))
    text = 'kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT
    (verdict,) = judged(text, runs)
    assert (verdict.says, verdict.observed) == ("holds", pytest.approx(1.505))
    assert "4 pairs" in verdict.why
    apart = judged(text + 'per = ["nz"]\n')
    assert [(v.says, v.subject.split()[3]) for v in apart] == [("holds", "nz=3"), ("holds", "nz=5")]


def test_baseline(judged: Callable[..., list[Verdict]], store: Store, claims: Callable[[str], Claims]) -> None:
    text = 'kind = "baseline"\ntolerance = 0.25\n' + AT
    put(store, seeds(-130.0, -134.0, -132.0))
    file = claims("[[claim]]\n" + text)
    baseline.save(file.path.parent / "base.json", check.baseline_content(Evidence(file, store)))
    (verdict,) = judged(text)
    assert (verdict.says, verdict.observed, verdict.error) == ("holds", 0.0, 0.0)
    (verdict,) = judged(text, seeds(-130.4, -134.41, -132.42))
    assert verdict.says == "fails"
    (verdict,) = judged(text, seeds(-129.0, -133.01, -131.02))
    assert verdict.says == "better"
    (verdict,) = judged(text, seeds(-133.0, -130.0, -132.0))
    assert verdict.says == "cannot tell"
    assert "needs about" in verdict.why
    assert not check.failed([verdict])
    assert check.failed([verdict], strict=True)
    shutil.rmtree(store.root)
    others = [
        stored(seed=seed, test=(-200.0, -150.0, value)) for seed, value in ((7, -150.0), (8, -151.0), (9, -150.4))
    ]
    (verdict,) = judged(text, others)  # no seed of the baseline's
    assert verdict.says == "fails"
    assert "unpaired" in verdict.why


def test_a_baseline_of_other_data_or_settings_is_refused(
    judged: Callable[..., list[Verdict]], store: Store, claims: Callable[[str], Claims]
) -> None:
    text = 'kind = "baseline"\ntolerance = 0.25\n' + AT
    put(store, seeds(-130.0, -134.0))
    file = claims("[[claim]]\n" + text)
    baseline.save(file.path.parent / "base.json", check.baseline_content(Evidence(file, store)))
    shutil.rmtree(store.root)
    with pytest.raises(BadInput, match=r"claims.toml:3: .*data with SHA-256 aaaaaaaaaaaa where .* has bbbbbbbbbbbb"):
        judged(text, seeds(-130.0, -134.0, sha256="b" * 64))
    shutil.rmtree(store.root)
    changed = seeds(-130.5, -134.51, lr=0.1)
    with pytest.raises(BadInput, match=r"has algorithm.lr 0.02 where .* has 0.1.*or name 'lr' in differing"):
        judged(text, changed)
    (verdict,) = judged(text + 'differing = ["lr"]\n')
    assert verdict.says == "fails"
    shutil.rmtree(store.root)
    with pytest.raises(BadInput, match="the baseline has no runs of aevb mnist nz=7"):
        judged(text, seeds(-130.0, -131.0, nz=7))


def test_paper(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    text = 'experiment = "figure2"\n[[claim]]\nkind = "paper"\nwithin = 3\nat = 1e6\nwhere = {{ algo = "{}" }}\n'
    path.write_text(text.format("aevb"))
    paper = -152.91  # of the digitised curve
    for ours, says in ((-150.0, "holds"), (-160.0, "fails"), (-130.0, "better")):
        put(store, [stored(test=(-200.0, -160.0, ours))], "figure2")
        (verdict,) = check.check(Evidence(Claims(str(path)), store))
        assert verdict.says == says
        assert verdict.observed == pytest.approx(ours - paper, abs=0.01)
    figure2 = (ROOT / "harness" / "experiments" / "figure2.toml").read_text()
    (tmp_path / "figure7.toml").write_text(figure2.replace("nz = [3, 5, 10, 20, 200]", "nz = 7", 1))
    path.write_text(path.read_text().replace("figure2", "figure7.toml"))
    put(store, [stored(nz=7)], "figure7")
    with pytest.raises(BadInput, match="no published curve of aevb mnist nz=7"):
        check.check(Evidence(Claims(str(path)), store))


def test_cost(judged: Callable[..., list[Verdict]], store: Store, claims: Callable[[str], Claims]) -> None:
    runs = seeds(-130.0, -130.0, -130.0)  # 1, 2 and 3 seconds for a thousand samples, and a kernel takes 0.01
    (verdict,) = judged('kind = "cost"\nat-most = 200\n', runs)
    assert (verdict.says, verdict.observed) == ("holds", pytest.approx(200))
    (verdict,) = judged('kind = "cost"\nat-most = 199\n')
    assert verdict.says == "fails"
    text = '[[claim]]\nkind = "cost"\ntimes-baseline = 1.5\n'
    file = claims(text)
    baseline.save(file.path.parent / "base.json", check.baseline_content(Evidence(file, store)))
    (verdict,) = check.check(Evidence(file, store))
    assert (verdict.says, verdict.observed) == ("holds", pytest.approx(1.0))
    for run in runs:
        for row in run.rows:
            row["ledger"]["cpu_seconds"] *= 2
        put(store, [run])
    (verdict,) = check.check(Evidence(file, store))
    assert (verdict.says, verdict.observed) == ("fails", pytest.approx(2.0))
    for run in runs:
        run.record.provenance[-1]["machine"] = {"cpu": "another"}
        put(store, [run])
    (verdict,) = check.check(Evidence(file, store))
    assert verdict.says == "cannot tell"
    assert "a processor with 1 threads" in verdict.why


def saved(folder: Path, **extra: Any) -> Path:
    path = folder / "bench.json"
    path.write_text(json.dumps({"benchmarks": [{"name": "test_row[aevb]", "extra_info": extra}]}))
    return path


def test_benchmarks(judged: Callable[..., list[Verdict]], tmp_path: Path) -> None:
    text = 'kind = "benchmark"\ntest = "test_row[aevb]"\nat-most = 1.75\n'
    for ratio, says in ((1.5, "holds"), (1.8, "fails")):
        (verdict,) = judged(text, benchmarks=saved(tmp_path, ratio=ratio))
        assert (verdict.says, verdict.observed) == (says, ratio)
    with pytest.raises(BadInput, match="has no ratio to a floor"):
        judged(text, benchmarks=saved(tmp_path))
    with pytest.raises(BadInput, match=r"has no benchmark 'test_row\[mcem\]' \(did you mean 'test_row\[aevb\]'\?\)"):
        judged(text.replace("aevb", "mcem"), benchmarks=saved(tmp_path, ratio=1.0))
    with pytest.raises(BadInput, match=r"cannot be read .No such file.*pytest -n 0 tests/benchmarks --benchmark-json"):
        judged(text, benchmarks=tmp_path / "none.json")
    (tmp_path / "bench.json").write_text("[]")
    with pytest.raises(BadInput, match="no file that pytest-benchmark saved"):
        judged(text, benchmarks=tmp_path / "bench.json")
    with pytest.raises(BadInput, match="no file of benchmarks is named: give --benchmarks FILE"):
        judged(text)


def estimate(name: str, direction: str, mean: float, points: int = 100) -> dict[str, Any]:
    return {
        "estimator": name, "settings": {}, "direction": direction, "split": "test", "points": points, "mean": mean,
        "se_points": 1.0, "se_estimator": 0.01, "diagnostics": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("estimates", "says"),
    [
        ([("lower", -110.0), ("exact", -105.0), ("upper", -104.0)], "holds"),
        ([("lower", -104.9), ("exact", -105.0)], "holds"),  # within the errors
        ([("lower", -104.0), ("exact", -105.0)], "fails"),
        ([("exact", -103.0), ("upper", -104.0)], "fails"),
        ([("lower", -104.0), ("lower", -105.0)], "fails"),  # nothing to compare
    ],
)
def test_bias_order(judged: Callable[..., list[Verdict]], estimates: list[tuple[str, float]], says: str) -> None:
    changed = stored()
    rows = changed.rows
    for row in rows:
        row["estimates"] = [estimate(f"one-{i}", *e) for i, e in enumerate(estimates)]
    (verdict,) = judged('kind = "invariant"\nholds = "bias-order"\n', [changed])
    assert verdict.says == says


def test_bias_order_of_estimates_made_afterwards(judged: Callable[..., list[Verdict]], store: Store) -> None:
    changed = stored()
    record, rows = changed.record, changed.rows
    put(store, [changed])
    run = store.run(record.run, "mine")
    added = estimate("quadrature", "exact", -140.0, points=10_000)  # and the bound over these points is -130
    run.append_evaluation({"ledger": rows[-1]["ledger"], "file": None, "estimate": added})
    (verdict,) = judged('kind = "invariant"\nholds = "bias-order"\n')
    assert verdict.says == "fails"
    assert "lower-bound minus quadrature" in verdict.why


def test_ledger(judged: Callable[..., list[Verdict]]) -> None:
    changed = stored()
    rows = changed.rows
    for row in rows:
        row["ledger"] |= {"datapoints": row["ledger"]["samples"], "fantasies": 0}
    text = 'kind = "invariant"\nholds = "ledger"\nper-datapoint = { samples = 1, fantasies = 0 }\n'
    (verdict,) = judged(text, [changed])
    assert verdict.says == "holds", verdict.why
    (verdict,) = judged(text.replace("samples = 1", "samples = 2"))
    assert verdict.says == "fails"
    assert "counts 10,000 samples for 10,000 datapoints, and 20,000 were expected" in verdict.why
    rows[1]["ledger"]["samples"] = 5.0
    (verdict,) = judged(text, [changed])
    assert verdict.why.endswith("samples of aevb-nz3-s0-0.02 fell from 10,000 to 5")
    with pytest.raises(BadInput, match=r"claims.toml:3: no ledger counts 'fantasy' .did you mean 'fantasies'"):
        judged(text.replace("fantasies", "fantasy"))


def test_what_needs_training_says_so(judged: Callable[..., list[Verdict]]) -> None:
    for holds in ("resume", "stationary", "fresh-fantasies", "importance"):
        (verdict,) = judged(f'kind = "invariant"\nholds = "{holds}"\n', [stored()])
        assert verdict.says == "cannot tell"
        assert "give --run" in verdict.why


def test_a_claim_that_selects_nothing_fails(judged: Callable[..., list[Verdict]]) -> None:
    (verdict,) = judged('kind = "bound"\nleast = -200\nwhere = { nz = 7 }\n' + AT, [stored()])
    assert (verdict.says, verdict.why) == ("fails", "it selects no run")
    (verdict,) = judged('kind = "bound"\nleast = -200\nat = 2e7\n')
    assert verdict.says == "fails"
    assert "no run has a row at 20,000,000 samples: the nearest marks are 1,000,000" in verdict.why
    (verdict,) = judged('kind = "bound"\nleast = -200\nestimator = "ais"\n' + AT)
    assert "has no finite estimate by ais on test at 1,000,000 samples" in verdict.why
    (verdict,) = judged('kind = "invariant"\nholds = "ledger"\nwhere = { nz = 7 }\n')
    assert verdict.says == "fails"


def test_a_run_that_diverged_fails_its_claims(judged: Callable[..., list[Verdict]]) -> None:
    changed = stored(seed=1, status="diverged", test=(-200.0, -1e9))
    record = changed.record
    record.reason = "objective became nan"
    (verdict,) = judged('kind = "bound"\nleast = -200\n' + AT, [stored(), changed])
    assert verdict.says == "fails"
    assert "diverged: objective became nan" in verdict.why


BAD = [
    ('kind = ["bound"]\n', r"claims.toml:4: this claim is of kind \['bound'\]"),
    ('kind = "cost"\nat-most = 1\ngroup = "../x"\n', r"claims.toml:6: claim.0.group: '../x': string should match"),
    ('kind = "invariant"\nholds = "resume"\ntolerance = 1\n', r"claims.toml:3: .*tolerance has no meaning for resume"),
    ('kind = "baseline"\ntolerance = 1\nat = 1\nper = ["nz"]\n', r"claims.toml:7: claim.0.per: there is no such key"),
    ("", r"claims.toml:3: this claim has no kind: choose one of bound, order"),
    ('kind = "bond"\n', r"claims.toml:4: this claim is of kind 'bond' \(did you mean 'bound'\?\)"),
    ('kind = "bound"\nleest = 3\nat = 1\n', r"claims.toml:5: .*there is no such key \(did you mean 'least'\?\)"),
    ('kind = "bound"\nat = 1\n', r"claims.toml:3: .*it bounds nothing: give least or most"),
    ('kind = "bound"\nleast = 1\n', r"claims.toml:3: claim.0.at: it is needed, and not there"),
    ('kind = "bound"\nleast = 1\nat = -3\n', r"claims.toml:6: claim.0.at: .*give samples above 0"),
    ('kind = "bound"\nleast = 1\nat = []\n', r"claims.toml:6: claim.0.at: .*give samples above 0"),
    ('kind = "bound"\nleast = nan\nat = 1\n', r"claims.toml:5: claim.0.least: nan: give a finite number"),
    ('kind = "bound"\nleast = 1\nat = 1\nestimator = "elbow"\n', r"claims.toml:7: .*there is no such estimator"),
    ('kind = "bound"\nleast = 2\nmost = 1\nat = 1\n', r"contradicts the one of line 3: at least 2 and at most 1"),
    (
        'kind = "bound"\nleast = 2\nat = 1\n[[claim]]\nkind = "bound"\nmost = 1\nat = [1, 2]\n',
        r"claims.toml:7: this claim contradicts the one of line 3: at least 2 and at most 1",
    ),
    (
        'kind = "order"\nabove = "a"\nbelow = "b"\nat = 1\n[[claim]]\nkind = "order"\nabove = "b"\nbelow = "a"\nat = 1\n',
        r"claims.toml:8: this claim contradicts the one of line 3: b would be above a and below it",
    ),
    ('kind = "order"\nabove = "a"\nbelow = "a"\nat = 1\n', r"claims.toml:3: this claim contradicts"),
    ('kind = "baseline"\ntolerance = 0\nat = 1\n', r"claims.toml:5: claim.0.tolerance: 0: input should be greater than 0"),
    ('kind = "order"\nabove = "a"\nbelow = "b"\nat = 1\nlevel = 2\n', r"claims.toml:8: .*less than 1"),
    ('kind = "cost"\n', r"claims.toml:3: .*it limits nothing: give at-most or times-baseline"),
    ('kind = "invariant"\nholds = "truth"\n', r"claims.toml:5: .*'bias-order', 'importance'"),
    ('kind = "cost"\nat-most = 1\nexperiment = "figure4"\n', r"claims.toml:6: there is no experiment 'figure4'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said[:60] for _, said in BAD])
def test_bad_claims_are_named_with_their_line(claims: Callable[[str], Claims], text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        claims("[[claim]]\n" + text)
    assert "\n" not in str(refused.value)


def test_orders_that_go_together_are_no_contradiction(claims: Callable[[str], Claims]) -> None:
    order = '[[claim]]\nkind = "order"\nabove = "{}"\nbelow = "{}"\nat = 1\n'
    assert len(claims(order.format("a", "b") + order.format("b", "c")).claims) == 2


def test_claims_need_runs_options_and_seeds(judged: Callable[..., list[Verdict]], store: Store) -> None:
    with pytest.raises(BadInput, match=r"claims.toml:3: there are no runs of mine in .*: see `harness list`"):
        judged('kind = "bound"\nleast = 1\n' + AT)
    with pytest.raises(BadInput, match=r"runs cannot be chosen by 'nzz' \(did you mean 'nz'\?\)"):
        judged('kind = "bound"\nleast = 1\nwhere = { nzz = 3 }\n' + AT, [stored(), stored("wake-sleep")])
    with pytest.raises(BadInput, match=r"no run is by 'aev' \(did you mean 'aevb'\?\)"):
        judged('kind = "order"\nabove = "aev"\nbelow = "wake-sleep"\n' + AT)
    with pytest.raises(BadInput, match="there is one seed .*, and an interval needs two"):
        judged('kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT)
    with pytest.raises(
        BadInput, match=r"the baseline '.*base.json' cannot be read .*make it with `harness baseline save`"
    ):
        judged('kind = "baseline"\ntolerance = 1\n' + AT)


def test_a_file_of_claims_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    for text, said in [
        ("title = 'x'\n", "a file of claims needs one or more"),
        (
            "[[claim]]\nkind = 'cost'\nat-most = 1\n",
            "claims.toml:1: a claim is about the runs of an experiment or of a group",
        ),
        ("experiment = 'quick'\ngroup = 'x'\n[[claim]]\nkind = 'cost'\nat-most = 1\n", "give one of the two"),
        ("[claim]\nkind = 'cost'\n", "needs one or more"),
    ]:
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            Claims(str(path))
    with pytest.raises(BadInput, match=r"there is no claims 'quik' \(did you mean 'quick'\?\)"):
        Claims("quik")


@pytest.mark.parametrize("name", built_in())
def test_built_in_claims_are_sound(name: str) -> None:
    assert Claims(name).claims


def test_the_command(harness: Harness, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, report, summary = tmp_path / "claims.toml", tmp_path / "out" / "report.xml", tmp_path / "summary.md"
    put(store, seeds(-130.0, -134.0))
    good = '[[claim]]\nname = "learns"\nkind = "bound"\nleast = -133\nat = 1e6\n'
    path.write_text('group = "mine"\n' + good)
    done = harness("check", path)
    assert (done.code, done.err) == (0, "")
    assert "learns" in done.out
    assert "1 hold" in done.out
    path.write_text('group = "mine"\n' + good + good.replace("-133", "-100").replace("learns", "learns, 100%"))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    done = harness("check", path, "--junit", report, "--json")
    assert done.code == 1
    rows = json.loads(done.out)
    assert [row["says"] for row in rows] == ["holds", "fails"]
    assert rows[1]["observed"] == -132
    assert done.err.startswith(
        f"::error file={path},line=7,title=learns%2C 100%25 fails::at 1,000,000 samples fails: 32 nats"
    )
    assert "| learns | at 1,000,000 samples |" in summary.read_text()
    suite = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in suite] == [False, True]
    for words, said in [
        (("check", path, "--run"), "its claims are about no experiment, so --run does not know what to make"),
        (("check", path, "--only", "nz=9"), "--only is 'nz=9', and no claim of"),
        (("check", path, "--junit", tmp_path), "which cannot be written"),
        (("check", tmp_path / "none.toml"), "does not exist"),
        (("baseline", "save", path), "names no baseline"),
        (("baseline", "save", path, "--out", tmp_path / "b.json"), "no claim about a baseline selects a run"),
        (("baseline", "show", path), "names no baseline"),
        (("baseline", "show", report), "is no baseline"),
    ]:
        done = harness(*words)
        assert done.code == 2, words
        assert said in done.err
        assert "Traceback" not in done.err


def test_a_baseline_is_small_text_and_says_where_it_is_from(harness: Harness, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(
        'group = "mine"\nbaseline = "base.json"\n[[claim]]\nkind = "baseline"\ntolerance = 1\nat = [1e5, 1e6]\n'
    )
    put(store, seeds(-130.0, -134.0))
    done = harness("baseline", "save", path)
    assert done.code == 0, done.err
    assert "2 runs" in done.out
    text = (tmp_path / "base.json").read_text()
    before = text.splitlines()
    assert len(text) < 10_000
    put(store, seeds(-130.0, -133.0))
    assert harness("baseline", "save", path).code == 0
    changed = [
        line for line, old in zip((tmp_path / "base.json").read_text().splitlines(), before, strict=True) if line != old
    ]
    assert len(changed) == 1  # a row
    assert "-133.0" in changed[0]
    shown = harness("baseline", "show", path)
    assert "data aaaaaaaaaaaa, on a processor" in shown.out
    assert harness("baseline", "show", tmp_path / "base.json").out == shown.out
    assert json.loads(harness("baseline", "show", path, "--json").out)["schema"] == 1
    for content, said in (
        ('{"schema": 2, "runs": {}}', "has schema 2"),
        ("[1]", "is no baseline"),
        ("{", "is no baseline"),
    ):
        (tmp_path / "base.json").write_text(content)
        done = harness("check", path)
        assert done.code == 2
        assert said in done.err


@pytest.mark.slow
def test_made_runs_are_of_this_code(harness: Harness, store: Store, tmp_path: Path) -> None:
    """With --run every claim that trains holds on tiny data, in a group of the code's own; done runs are not made again."""
    from harness.testing import toy

    (tmp_path / "small.toml").write_text(
        f'[base]\ndataset = "{toy.__file__}"\nnz = 2\nhidden = 5\nsamples = 4000\nseed = 0\neval-points = 20\n'
        'final-points = 20\nmarginal = "hmc-density"\nmarginal-points = 20\nfirst-mark = 1000\nmarks-per-decade = 2\n'
        '[[grid]]\nalgo = ["aevb", "wake-sleep"]\nbatch-size = 10\nwarmup = 5\n[[grid]]\nalgo = "mcem"\nwarmup = 5\n'
    )
    path = tmp_path / "claims.toml"
    text = 'experiment = "small.toml"\n[[claim]]\nkind = "invariant"\nholds = "resume"\n'
    text += '[[claim]]\nkind = "invariant"\nholds = "fresh-fantasies"\nwhere = { algo = "wake-sleep" }\n'
    text += '[[claim]]\nkind = "invariant"\nholds = "importance"\nwhere = { algo = "aevb" }\npoints = 30\n'
    text += '[[claim]]\nkind = "invariant"\nholds = "bias-order"\nwhere = { algo = "aevb" }\ntolerance = 0.5\n'
    path.write_text(text)
    done = harness("check", path, "--run", "--json", "--jobs", "2")
    assert done.code == 0, done.out + done.err
    assert {row["says"] for row in json.loads(done.out)} == {"holds"}
    (group,) = {run.path.parent.name for run in store.runs()}
    assert group.startswith("check-small-")
    assert "made 3 of 3 runs" in done.err
    shutil.rmtree(store.root)  # what --only leaves out is not made, and its claims are left out rather than failing
    some = harness("check", path, "--run", "--only", "algo=mcem", "--json")
    assert some.code == 0, some.out + some.err
    assert {row["holds"] for row in json.loads(some.out)} == {"resume"}
    again = harness("check", path, "--run", "--only", "algo=mcem")
    assert "made 0 of 1 runs" in again.err
    assert "importance" not in again.out
    path.write_text(text.replace('where = { algo = "aevb" }\npoints', 'where = { algo = "mcem" }\npoints'))
    assert "no recognition model to propose with" in harness("check", path, "--run").out
    (tmp_path / "small.toml").write_text((tmp_path / "small.toml").read_text() + "lr = 1e9\n")
    failed = harness("check", path, "--run", "--junit", tmp_path / "report.xml")
    assert failed.code == 3
    assert "diverged" in failed.err
    assert (
        len({run.path.parent.name for run in store.runs()}) == 2
    )  # another experiment's runs are not mixed with these
    assert ElementTree.parse(tmp_path / "report.xml").getroot().get("errors") == "1"
    plugin = ['"""No data."""', "from harness import api", "from harness.testing.toy import Config"]
    plugin += ["def load(config, data_dir=None):", "    raise api.files.MissingData('gone')"]
    (tmp_path / "gone.py").write_text("\n".join(plugin))
    text = (tmp_path / "small.toml").read_text()
    (tmp_path / "small.toml").write_text(text.replace(toy.__file__, str(tmp_path / "gone.py")))
    gone = harness("check", path, "--run")
    assert (gone.code, gone.out) == (3, "")
    assert "failed: gone" in gone.err


def test_the_reference_results_hold(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a checkout in which runs are being made, those that are done."""
    monkeypatch.setenv("GITHUB_ACTIONS", "")
    results = ROOT / "results"
    for run in Store(results).runs("figure[23]"):
        if run.read().status == "done":
            shutil.copytree(
                run.path, tmp_path / run.path.relative_to(results), ignore=shutil.ignore_patterns("*.pt", "*.lock")
            )
    done = harness("check", "reference", "--results", tmp_path)
    assert done.code == 0, done.out + done.err
    assert "fail" not in done.out.rsplit("\n\n", 1)[-1]


def test_runs_without_a_value_are_no_silent_pass(judged: Callable[..., list[Verdict]]) -> None:
    text = 'kind = "bound"\nleast = -135\n' + AT
    changed = stored(seed=1, test=(-200.0, -150.0))
    record = changed.record
    record.status = "interrupted"
    (verdict,) = judged(text, [stored(), changed])
    assert (verdict.says, verdict.why) == ("fails", f"run {record.run} is interrupted after 2 rows")
    record.status = "done"  # with a smaller budget, which is no fault
    (verdict,) = judged(text, [changed])
    assert (verdict.says, verdict.why) == ("holds", "mean of 1 run, 1 run shorter")
    for value in (math.nan, math.inf):
        (verdict,) = judged(text, [stored(seed=1, test=(-200.0, -150.0, value))])
        assert verdict.says == "fails"
        assert "has no finite estimate" in verdict.why


def test_runs_that_would_count_as_one_are_refused(judged: Callable[..., list[Verdict]]) -> None:
    runs = [*seeds(-130.0, -131.0), *seeds(-300.0, -301.0, lr=0.5), *seeds(-140.0, -141.0, algorithm="wake-sleep")]
    with pytest.raises(BadInput, match=r"would mix runs that differ in more than .*algorithm.lr 0.02 and .* has 0.5"):
        judged('kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT, runs)
    with pytest.raises(BadInput, match="would mix runs"):
        judged('kind = "cost"\nat-most = 1e9\n')


def test_other_data_are_refused_in_an_order(judged: Callable[..., list[Verdict]]) -> None:
    runs = [*seeds(-130.0, -131.0), *seeds(-140.0, -141.0, algorithm="wake-sleep", sha256="b" * 64)]
    with pytest.raises(BadInput, match="data with SHA-256"):
        judged('kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n' + AT, runs)


def test_ends_after_the_same_data_compare_at_any_number_of_samples(judged: Callable[..., list[Verdict]]) -> None:
    runs = [*seeds(-130.0, -131.0), *(stored("wake-sleep", seed, (-200.0, -150.0 - seed)) for seed in (0, 1))]
    text = 'kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\nat = "end"\n'
    for run in runs:
        run.record.budget = {"datapoints": 5e4}
    assert [verdict.says for verdict in judged(text, runs)] == ["holds"]
    for other in ({"datapoints": 4e4}, {"datapoints": 5e4, "cpu_seconds": 60.0}, {"samples": 1e6}):
        runs[0].record.budget = other
        with pytest.raises(BadInput, match="ends do not compare: give a mark as at, or the runs the same --datapoints"):
            judged(text, runs)


def test_ends_at_different_marks_do_not_compare(judged: Callable[..., list[Verdict]]) -> None:
    short = stored(seed=1, test=(-200.0, -150.0))
    short.record.budget = {"samples": 1e5}
    with pytest.raises(BadInput, match="runs end at 100,000 and 1,000,000 samples, so their ends do not compare"):
        judged('kind = "bound"\nleast = -500\nat = "end"\n', [stored(), short])


def test_only_chooses_runs_and_hides_nothing(judged: Callable[..., list[Verdict]]) -> None:
    runs = [*seeds(-130.0, -131.0), *seeds(-100.0, -101.0, nz=5), *seeds(-140.0, -141.0, algorithm="wake-sleep")]
    (verdict,) = judged('kind = "bound"\nleast = -500\nwhere = { algo = "aevb" }\n' + AT, runs, only="nz=5")
    assert verdict.observed == -100.5
    (verdict,) = judged('kind = "bound"\nleast = -500\nwhere = { nz = 7 }\n' + AT, only="nz=5")
    assert (verdict.says, verdict.why) == ("fails", "it selects no run")
    order = 'kind = "order"\nabove = "{}"\nbelow = "wake-sleep"\n' + AT
    with pytest.raises(BadInput, match="no claim of .* is about such runs"):
        judged(order.format("aevb"), only="algo=aevb")
    with pytest.raises(BadInput, match="no run is by 'aev'"):
        judged(order.format("aev"), only="algo=aevb")


def test_an_interrupted_run_counts_soundly(judged: Callable[..., list[Verdict]], store: Store) -> None:
    changed = stored()
    record, rows = changed.record, changed.rows
    put(store, [changed])
    run = store.run(record.run, "mine")
    record.status, record.ledger = "interrupted", {**rows[-1]["ledger"], "samples": 1.5e6}
    rewrite(run, record)
    (verdict,) = judged('kind = "invariant"\nholds = "ledger"\n')
    assert verdict.says == "holds", verdict.why
    record.status = "done"
    rewrite(run, record)
    (verdict,) = judged('kind = "invariant"\nholds = "ledger"\n')
    assert verdict.says == "fails"


def test_experiments_cannot_be_called_as_groups_of_checks(tmp_path: Path) -> None:
    path = tmp_path / "check-mine.toml"
    path.write_text("")
    with pytest.raises(BadInput, match="cannot be called"):
        experiment.Experiment(str(path))
