"""Estimates that are not to be trusted, in tables, comparisons, figures, claims and baselines: marked, never silently used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, put, seeds

from harness import safe_text
from harness.analysis import compare, reliability, table
from harness.analysis.stored_run import StoredRun
from harness.claims import baseline, check
from harness.claims.evidence import Evidence
from harness.claims.file import Claims
from harness.figures import panels, trace
from harness.figures.compare import draw as draw_comparison
from harness.figures.marks import UNRELIABLE_LABEL
from harness.report import tables
from harness.specs.experiment import Experiment
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

HEAVY = {"heavy_tails": 0.8, "reliable": False, "instead": "ais"}

SPEC = 'estimators = []\n[[grid]]\nalgo = ["aevb", "wake-sleep"]\nnz = 3\nsamples = 1e6\nseed = [0, 1, 2]\n'


def by_importance(runs: list[StoredRun], **more: object) -> list[StoredRun]:
    """Let these runs have been evaluated by importance sampling, with more keys of each estimate at the last mark."""
    for run in runs:
        for row in run.rows:
            for e in row["estimates"]:
                e["estimator"] = "importance"
                if row["end"]:
                    e |= more
    return runs


@pytest.fixture
def runs() -> list[StoredRun]:
    sound = by_importance(seeds(-131.0, -135.5, -121.2, algorithm="wake-sleep"))
    return by_importance(seeds(-130.0, -134.0, -120.0), **HEAVY) + sound


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    path = tmp_path / "mine.toml"
    path.write_text(SPEC.removeprefix("estimators = []\n"))
    return Experiment(str(path))


def test_a_table_marks_them_and_what_is_computed_from_them(runs: list[StoredRun], experiment: Experiment) -> None:
    rows = table.rows(experiment, runs, [], [])
    by_name = {row["algorithm"]: row for row in rows}
    assert by_name["aevb"]["unreliable"] == ["importance train", "importance test", "difference"]
    assert by_name["wake-sleep"]["unreliable"] == ["difference"]  # from the best, which is not to be trusted
    heads, lines = tables.cells(rows)
    test = next(i for i, head in enumerate(heads) if head.startswith("importance test"))
    cells = {line[heads.index("algorithm")]: line[test] for line in lines}
    assert cells["aevb"].endswith(" (!)")
    assert "(!)" not in cells["wake-sleep"]
    assert "(!)" in tables.markdown(heads, lines)
    (first, second) = tables.notes(rows)
    assert first.startswith("(!) importance on train is not to be trusted: ")
    assert second.endswith(
        "above 0.7 at 80 % of the points, so it may be off by far more than its standard error; use ais"
    )
    assert r"80 \%" in safe_text.latex(second)
    assert "importance train; importance test; difference" in tables.comma_separated(rows)
    at_first = table.rows(experiment, runs, [1e4], [])
    assert tables.notes(at_first) == []
    assert all(row["unreliable"] == [] for row in at_first)


def test_a_comparison_marks_them(runs: list[StoredRun], tmp_path: Path, harness: Harness) -> None:
    store = Store(tmp_path / "results")
    put(store, runs)
    sides = [compare.side(store, f"mine:algo={name}") for name in ("wake-sleep", "aevb")]
    (found,) = compare.compare(*sides, "importance")
    assert [mark.unreliable for mark in found.marks] == [(False, False), (False, False), (False, True)]
    assert [words[:20] for words in found.doubts] == ["B: importance on tes"]
    printed = harness("compare", "mine:algo=wake-sleep", "mine:algo=aevb", "--out", tmp_path / "a.png").out
    assert "B: importance on test is not to be trusted: Pareto k-hat" in printed
    last = next(line for line in printed.splitlines() if "1,000,000" in line)
    assert last.count("(!)") == 2  # B, and the difference
    plain = json.loads(harness("compare", "mine:algo=wake-sleep", "mine:algo=aevb", "--json").out)
    assert plain[0]["marks"][-1]["unreliable"] == [False, True]


@pytest.mark.parametrize("doubtful", [True, False])
def test_figures_mark_them(runs: list[StoredRun], experiment: Experiment, tmp_path: Path, doubtful: bool) -> None:
    if not doubtful:
        runs = runs[3:]
    store = Store(tmp_path / "results")
    put(store, runs)
    sides = [compare.side(store, f"mine:algo={run.algorithm},seed=0") for run in (runs[-1], runs[0])]
    figures = [
        trace.draw(runs[:1], estimator="importance"),
        panels.draw(experiment, runs, estimator="importance"),
        draw_comparison(compare.compare(*sides, "importance"), ("A", "B"), "importance", "test"),
    ]
    for figure in figures:
        legends = [*figure.legends, *(legend for axes in figure.axes if (legend := axes.get_legend()))]
        told = [text.get_text() for legend in legends for text in legend.get_texts()]
        marked = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "v"]
        assert (UNRELIABLE_LABEL in told, bool(marked)) == (doubtful, doubtful)
        assert {x for line in marked for x in line.get_xdata()} <= {1e6}


CLAIMS = {
    "bound": 'kind = "bound"\nleast = -140\nwhere = { algo = "aevb" }\n',
    "order": 'kind = "order"\nabove = "aevb"\nbelow = "wake-sleep"\n',
    "baseline": 'kind = "baseline"\ntolerance = 1.0\nwhere = { algo = "aevb" }\n',
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_claim_does_not_hold_by_them(kind: str, runs: list[StoredRun], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put(store, runs)
    path = tmp_path / "claims.toml"

    def judged(at: str) -> tuple[str, str]:
        path.write_text(
            f'group = "mine"\nbaseline = "base.json"\n[[claim]]\nestimator = "importance"\nat = {at}\n{CLAIMS[kind]}'
        )
        evidence = Evidence(Claims(str(path)), store)
        if kind == "baseline":
            baseline.save(tmp_path / "base.json", check.baseline_content(evidence))
        (verdict,) = check.check(evidence)
        return verdict.says, verdict.why

    says, why = judged("1e6")
    assert says == "cannot tell"
    assert "3 of 3 estimates cannot be relied on: run aevb-nz3-s0-0.02, importance on test is not to be trusted" in why
    assert why.endswith("use ais")
    if kind == "baseline":
        (*_, last) = baseline.summary(baseline.read(tmp_path / "base.json"))
        assert last[-1].endswith(" (!)")
    if kind != "order":  # which does not hold where all are the same
        says, why = judged("1e5") if kind == "baseline" else ("holds", "")
        assert says == "holds"
        assert "relied" not in why


def test_what_fails_by_them_still_fails_and_says_so(runs: list[StoredRun], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    put(store, runs)
    path = tmp_path / "claims.toml"
    text = 'group = "mine"\n[[claim]]\nkind = "bound"\nestimator = "importance"\nat = 1e6\nleast = -100\n'
    path.write_text(text + 'where = { algo = "aevb" }\n')
    (verdict,) = check.check(Evidence(Claims(str(path)), store))
    assert verdict.says == "fails"
    assert "cannot be relied on" in verdict.why


def test_the_order_of_biases_says_which_comparisons_tell_little(runs: list[StoredRun], tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for row in runs[0].rows:
        lower = row["estimates"][-1]
        row["estimates"].append(
            {**lower, "estimator": "quadrature", "direction": "exact", "mean": -100.0, "reliable": True}
        )
    runs[0].rows[:] = runs[0].rows[-1:]
    put(store, runs[:1])
    path = tmp_path / "claims.toml"
    path.write_text('group = "mine"\n[[claim]]\nkind = "invariant"\nholds = "bias-order"\n')
    (verdict,) = check.check(Evidence(Claims(str(path)), store))
    assert verdict.says == "cannot tell"
    assert "1 of them tell little: run aevb-nz3-s0-0.02, importance on test" in verdict.why


def test_of_many_doubts_each_is_told_once_and_old_estimates_are_unknown() -> None:
    e = {"estimator": "importance", "split": "test", "diagnostics": {}}
    assert reliability.tails(e) == "k-hat unknown"
    assert reliability.tails({**e, "estimator": "ais"}) is None
    assert reliability.doubt(e) is None
    (told,) = reliability.doubts([{**e, **HEAVY}, {**e, **HEAVY, "heavy_tails": 0.9}, e])
    assert "at 90 %" in told


def test_tuning_by_them_says_so(harness: Harness) -> None:
    """An encoder that has hardly been trained is no proposal for the posterior of weights of this size."""
    words = ["--algo", "aevb", "--dataset", toy.__file__, "--nz", 3, "--hidden", 5, "--init-sd", 1]
    tuned = harness("tune", *words, "--samples", 500, "--estimator", "importance")
    assert tuned.code == 0
    assert tuned.out.count("(!)") == 4  # three trials, and why
    assert "(!) importance on train is not to be trusted" in tuned.out
    run = harness("run", *words, "--samples", 500, "--lr", "tuned")
    assert "the estimates of 3 trials are not to be trusted by their own diagnostics" in run.err
