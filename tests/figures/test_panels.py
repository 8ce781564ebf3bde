"""An experiment's figure and table, from stored runs alone: means, ranges, published curves, refusals, what is missing."""

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support import Result, environment, stored

from harness.analysis import curves, published, table
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures import output, panels
from harness.report import tables
from harness.specs.experiment import Experiment
from harness.store.store import Store

Harness = Callable[..., Result]

SPEC = '[[grid]]\nalgo = ["aevb", "wake-sleep"]\nnz = 3\nsamples = 1e6\n'
FIGURE2 = """
[figure]
reference = "fig2"

[[figure.row]]
where = { dataset = "mnist" }
over = { nz = [3, 5] }
title = "MNIST, {nz}"
reference = "mnist_nz{nz}"
x-limits = [1e5, 1e8]
y-limits = [-150, -100]
"""


def experiment(folder: Path, text: str = SPEC + FIGURE2) -> Experiment:
    path = folder / "mine.toml"
    path.write_text(text)
    return Experiment(str(path))


def drawn(axes: Any, colour: str, dashed: bool) -> list[tuple[list[float], list[float]]]:
    curves_ = [line for line in axes.lines if line.get_marker() == "None"]
    lines = [line for line in curves_ if to_hex(line.get_color()) == colour and line.is_dashed() == dashed]
    return [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in lines]


def colour_of(figure: Any, name: str) -> str:
    (legend,) = figure.legends
    (line,) = [line for line in legend.get_lines() if line.get_label() == name]
    return to_hex(line.get_color())


def test_a_curve_is_the_mean_over_seeds_within_their_range(tmp_path: Path) -> None:
    runs = [
        stored(seed=0),
        stored(seed=1, test=(-220.0, -170.0, -134.0)),
        stored("wake-sleep", test=(-210.0, -160.0, -140.0)),
    ]
    figure = panels.draw(experiment(tmp_path), runs)
    axes = figure.axes[0]
    blue = colour_of(figure, "aevb")
    assert drawn(axes, blue, False) == [([1e4, 1e5, 1e6], [-210.0, -160.0, -132.0])]
    assert drawn(axes, blue, True) == [([1e4, 1e5, 1e6], [-209.0, -159.0, -131.0])]
    band = axes.collections[0].get_paths()[0].vertices
    assert {(1e6, -130.0), (1e6, -134.0)} <= {tuple(corner) for corner in band.tolist()} or {
        (1e6, -129.0), (1e6, -133.0)
    } <= {tuple(corner) for corner in band.tolist()}  # fmt: skip
    assert axes.get_title("left") == "MNIST, 3"
    assert (axes.get_xlim(), axes.get_ylim(), axes.get_xscale()) == ((1e5, 1e8), (-150.0, -100.0), "log")


def test_seeds_that_go_farther_go_on_alone_and_thin(tmp_path: Path) -> None:
    runs = [stored(seed=0), stored(seed=1, test=(-220.0, -170.0)), stored(seed=2, test=(-240.0, -180.0))]
    figure = panels.draw(experiment(tmp_path), runs)
    found = drawn(figure.axes[0], colour_of(figure, "aevb"), False)
    assert found == [([1e4, 1e5], [-220.0, -500 / 3]), ([1e5, 1e6], [-150.0, -130.0])]
    assert "fewer seeds" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_published_curves_lie_behind_on_their_own_axis_alone(tmp_path: Path) -> None:
    runs = [stored(), stored("wake-sleep")]
    figure = panels.draw(experiment(tmp_path), runs)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"aevb (K&W 2014)", "wake-sleep (K&W 2014)"} <= set(texts)
    grey = [line for line in figure.axes[0].lines if to_hex(line.get_color()) == to_hex(panels.GREYS[0])]
    assert sorted(line.is_dashed() for line in grey) == [False, True]
    other = [line for line in figure.axes[0].lines if to_hex(line.get_color()) == to_hex(panels.GREYS[1])]
    assert {line.get_marker() for line in other} == {"x"}
    assert {line.get_marker() for line in grey} == {""}
    assert [line.get_marker() for line in figure.legends[0].get_lines() if "K&W" in str(line.get_label())] == ["", "x"]
    by_time = panels.draw(experiment(tmp_path), runs, "cpu_seconds")
    assert not any("K&W" in text.get_text() for text in by_time.legends[0].get_texts())
    assert by_time.axes[0].get_xlabel() == "CPU seconds of training"
    found = drawn(by_time.axes[0], colour_of(by_time, "aevb"), False)
    assert found == [([10.0, 100.0, 1000.0], [-200.0, -150.0, -130.0])]


def test_panels_say_what_is_missing(tmp_path: Path) -> None:
    runs = [stored(status="interrupted"), stored("wake-sleep", status="diverged", test=(-200.0, float("nan")))]
    figure = panels.draw(experiment(tmp_path), runs)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1 unfinished, 1 diverged"]
    missing = panels.draw(experiment(tmp_path), [stored()])
    assert [text.get_text() for text in missing.axes[0].texts] == ["1 missing"]
    assert "no runs" in [text.get_text() for text in figure.axes[1].texts]
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert np.asarray(cross.get_xdata()).tolist() == [1e4]


def test_all_the_data_is_a_size_of_its_own(tmp_path: Path) -> None:
    small, whole = stored(), stored()
    small.spec["n_train"] = 1000
    bare = experiment(tmp_path, SPEC)
    titles = [axes.get_title("left") for axes in panels.draw(bare, [small, whole]).axes]
    assert titles == ["mnist, nz = 3, n-train = 1000", "mnist, nz = 3, n-train = all"]
    rows = table.rows(bare, [small, whole], [], [])
    assert [row["n-train"] for row in rows] == [1000, None]
    assert [line[2] for line in tables.cells(rows)[1]] == ["1000", "all"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 1, "lr": 0.1}, "algorithm.lr 0.02 and aevb-nz3-s1-0.1 has 0.1"),
        ({"algorithm": "wake-sleep", "sha256": "b" * 64}, "data with SHA-256 aaaaaaaaaaaa and .* has bbbbbbbbbbbb"),
    ],
)
def test_mixed_settings_are_refused_by_name(tmp_path: Path, other: dict[str, Any], said: str) -> None:
    runs = [stored(), stored(**other)]
    with pytest.raises(BadInput, match=f"'MNIST, 3' would mix runs .*{said}"):
        panels.draw(experiment(tmp_path), runs)
    with pytest.raises(BadInput, match="nz 3 would mix runs"):
        table.rows(experiment(tmp_path), runs, [], [])


def test_settings_may_differ_between_algorithms_and_the_legend_says_so(tmp_path: Path) -> None:
    def legend(*runs: StoredRun) -> list[str]:
        return [text.get_text() for text in panels.draw(experiment(tmp_path), runs).legends[0].get_texts()]

    assert {"aevb (lr 0.02)", "wake-sleep (lr 0.1)"} <= set(legend(stored(lr=0.02), stored("wake-sleep", lr=0.1)))
    assert {"aevb", "wake-sleep"} <= set(legend(stored(lr=0.1), stored("wake-sleep", lr=0.1)))
    by_panel = legend(
        stored(lr=0.02), stored(nz=5, lr=0.01), stored("wake-sleep", lr=0.1), stored("wake-sleep", nz=5, lr=0.1)
    )
    assert {"aevb (lr 0.01 or 0.02 by panel)", "wake-sleep (lr 0.1)"} <= set(by_panel)


def test_the_title_says_which_seeds_there_are(tmp_path: Path) -> None:
    alike = [stored(seed=s, nz=nz) for s in (0, 2) for nz in (3, 5)]
    titled = experiment(tmp_path, 'title = "Mine"\n' + SPEC + FIGURE2)
    assert panels.draw(titled, alike).get_suptitle() == "Mine; seeds 0, 2"
    nameless = experiment(tmp_path, SPEC)
    assert panels.draw(nameless, [stored()]).get_suptitle() == "seed 0"
    many = [stored(seed=s) for s in range(1, 9)]
    assert panels.draw(titled, many).get_suptitle() == "Mine; seeds 1 to 8"
    figure = panels.draw(titled, alike[:3])
    assert figure.get_suptitle() == "Mine"
    assert [axes.get_title("left") for axes in figure.axes] == ["MNIST, 3, seeds 0, 2", "MNIST, 5, seed 0"]


def test_a_curve_below_the_axis_is_pointed_at(tmp_path: Path) -> None:
    figure = panels.draw(experiment(tmp_path), [stored(), stored("wake-sleep", test=(-900.0, -800.0, -700.0))])
    orange = colour_of(figure, "wake-sleep")
    arrows = [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert {(to_hex(line.get_color()), line.get_xdata()[0]) for line in arrows} == {(orange, 1e6)}
    assert "below the axis" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_experiment_without_a_recipe_has_panels_by_size(tmp_path: Path) -> None:
    figure = panels.draw(experiment(tmp_path, SPEC), [stored(nz=5), stored(nz=3), stored("wake-sleep", nz=3)])
    assert [axes.get_title("left") for axes in figure.axes] == ["mnist, nz = 3", "mnist, nz = 5"]


def test_files_name_runs_code_and_data_and_come_out_the_same_twice(tmp_path: Path) -> None:
    runs = [stored(), stored("wake-sleep")]
    records = [run.record for run in runs]
    for folder in ("a", "b"):
        figure = panels.draw(experiment(tmp_path), runs)
        paths = output.save(figure, tmp_path / folder / "figure", records, output.FORMATS)
    assert [path.suffix for path in paths] == [".png", ".svg", ".pdf"]
    for path in paths:
        content = path.read_bytes()
        assert content == (tmp_path / "a" / path.name).read_bytes(), path
        if path.suffix != ".pdf":  # whose strings are encoded
            for words in ("aevb-nz3-s0-0.02, wake-sleep-nz3-s0-0.02", "c0ffee", "a" * 64):
                assert words.encode() in content, (path, words)


# -- the table


def test_the_table_compares_at_a_number_of_samples(tmp_path: Path) -> None:
    runs = [
        stored(seed=0, test=(-200.0, -150.0, -130.0)),
        stored(seed=1, test=(-200.0, -152.0, -131.0)),
        stored("wake-sleep", seed=0, test=(-210.0, -160.0, -140.0)),
        stored("wake-sleep", seed=1, test=(-210.0, -164.0, -145.0)),
    ]
    best, other = table.rows(experiment(tmp_path), runs, [1e6], [-151.0, -100.0])
    assert (best["algorithm"], best["nz"], best["samples"], best["seeds"]) == ("aevb", 3, 1e6, [0, 1])
    assert best["lower-bound test"] == table.Spread(-130.5, pytest.approx(0.5), pytest.approx(math.sqrt(0.5)))
    assert best["points"] == {"lower-bound train": 10_000, "lower-bound test": 10_000}
    assert best["lower-bound train"].mean == -129.5
    assert best["difference"] == 0
    # differences are -10 and -14: mean -12, sd √8, and Student's t for one degree of freedom is 12.706
    assert other["difference"] == -12
    assert other["error"] == pytest.approx(math.sqrt(8 / 2))
    assert other["interval"] == pytest.approx(12.7062 * math.sqrt(8 / 2), rel=1e-4)
    paper = published.published_at("fig2", "mnist_nz3", "aevb", "test", 1e6)
    assert paper == pytest.approx(-153.0, abs=0.3)
    assert best["distance"] == pytest.approx(-130.5 - best["paper"])
    reached, never = best["targets"]
    assert (reached["samples"], reached["reached"], reached["of"]) == ((1e5 + 1e6) / 2, 2, 2)
    assert reached["cpu_seconds"] == (1e5 / 1e3 + 1e6 / 1e3 * 2) / 2
    assert (never["samples"], never["reached"]) == (None, 0)


def test_one_seed_has_no_interval_and_unequal_points_are_not_compared(tmp_path: Path) -> None:
    short = stored("wake-sleep", test=(-210.0, -160.0))
    short.rows[-1]["estimates"] = [e for e in short.rows[-1]["estimates"] if e["points"] == 10_000]
    long = stored()
    rows = table.rows(experiment(tmp_path), [long, stored("wake-sleep")], [1e5], [])
    assert [row["interval"] for row in rows] == [None, None]
    assert rows[1]["lower-bound test"].sd is None
    assert "lower-bound test" not in table.rows(experiment(tmp_path), [long, short], [1e5], [])[0]


def test_the_table_as_text_for_every_reader(tmp_path: Path) -> None:
    runs = [stored(seed=s, test=(-200.0, -150.0, -130.0 - s)) for s in (0, 1)] + [stored("wake-sleep")]
    rows = table.rows(experiment(tmp_path), runs, [1e6], [-151.0])
    heads, lines = tables.cells(rows)
    assert heads[:4] == ["dataset", "nz", "algorithm", "at samples"]
    assert "lower-bound test ± se" in heads
    assert tables.note(rows) == (
        "nats per datapoint over 10,000 train and 10,000 test points, means over seeds; ± is the standard error (se) over seeds"
    )
    assert "-130.5 ± 0.5" in lines[0]
    assert "1,000,000" in lines[0]
    assert tables.markdown(heads, lines).splitlines()[1].startswith("| --- |")
    (first, _) = csv.DictReader(io.StringIO(tables.comma_separated(rows)))
    assert float(first["lower-bound test"]) == -130.5
    assert float(first["lower-bound test se"]) == pytest.approx(0.5)
    assert float(first["lower-bound test sd"]) == pytest.approx(math.sqrt(0.5))
    assert first["lower-bound test points"] == "10000"
    assert json.loads(json.dumps(table.plain(rows)))[0]["lower-bound test"]["mean"] == -130.5


def test_what_diverged_is_told_and_compared_with_nothing(tmp_path: Path) -> None:
    nan = float("nan")
    runs = [stored(seed=s, status="diverged", test=(-200.0, -1e6, nan)[: 3 - s]) for s in (0, 1)] + [
        stored("wake-sleep")
    ]
    rows = table.rows(experiment(tmp_path), runs, [1e5, 1e6], [])
    early, other, late, best = rows
    assert (early["seeds"], early["diverged"], early["lower-bound test"].mean) == ([0], [1], -1e6)
    assert other["difference"] == 0
    assert (late["seeds"], late["diverged"]) == ([], [0, 1])
    assert late["lower-bound test"] is None
    assert (best["algorithm"], best.get("difference")) == ("wake-sleep", None)  # it has no rival left
    assert "0 (2 diverged)" in tables.cells(rows)[1][2]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
@pytest.mark.parametrize("mark", ["end", "best-valid"])
def test_a_run_that_may_go_on_is_not_in_a_mean_and_is_named(tmp_path: Path, mark: str, status: str) -> None:
    """Its best mark may still be another; at a number of samples that it has come to, it counts."""
    runs = [stored(seed=0), stored(seed=1, status=status, test=(-200.0, -150.0))]
    for run in runs:
        run.spec["evaluation"]["estimators"] = [{"name": "lower-bound", "points": 10**6}]
        for row in run.rows:
            row["estimates"] += [e | {"split": "valid"} for e in row["estimates"] if e["split"] == "test"]
    (row,) = (rows := table.rows(experiment(tmp_path), runs, [mark], []))
    assert (row["seeds"], row["unfinished"], row["lower-bound test"].mean) == ([0], [1], -130.0)
    assert "1 (1 unfinished)" in tables.cells(rows)[1][0]
    (there,) = table.rows(experiment(tmp_path), runs, [1e5], [])
    assert (there["seeds"], there["unfinished"]) == ([0, 1], [])
    with pytest.raises(BadInput, match=r"no run of \S+ is done"):
        table.rows(experiment(tmp_path), runs[1:], [mark], [])


def test_by_default_the_last_mark_that_all_algorithms_have(tmp_path: Path) -> None:
    ends = [stored(), stored("wake-sleep", test=(-210.0, -160.0))]
    assert [row["samples"] for row in table.rows(experiment(tmp_path), ends, [], [])] == [1e5, 1e5]


def judged_by(name: str, run: StoredRun) -> StoredRun:
    """Return the run with another estimator's estimates beside its own, or instead of them where it has no bound."""
    for row in run.rows:
        others = [{**e, "estimator": name, "mean": e["mean"] + 5} for e in row["estimates"]]
        row["estimates"] = others if run.algorithm == "mcem" else row["estimates"] + others
    return run


def test_what_all_runs_have_judges_where_no_recipe_says(tmp_path: Path) -> None:
    runs = [judged_by("hmc-density", stored(name)) for name in ("aevb", "mcem")]
    bare = experiment(tmp_path, SPEC)
    assert curves.estimator_of(bare, runs) == "hmc-density"
    rows = table.rows(bare, runs, [1e6], [-128.0])
    assert [row["targets"][0]["reached"] for row in rows] == [1, 1]
    assert "hmc-density: difference to best" in tables.cells(rows)[0]
    figure = panels.draw(bare, runs)
    assert {"aevb", "mcem"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    by_bound = panels.draw(bare, runs, estimator="lower-bound")
    assert [text.get_text() for text in by_bound.axes[0].texts] == ["1 missing, 1 without lower-bound"]
    by_recipe = experiment(tmp_path, SPEC + FIGURE2.replace("[figure]", '[figure]\nestimator = "lower-bound"'))
    (_, mcem) = table.rows(by_recipe, runs, [1e6], [-128.0])
    assert (mcem["targets"][0]["of"], mcem.get("difference")) == (0, None)
    with pytest.raises(BadInput, match="no run of mine has estimates by ais: --y can be hmc-density or lower-bound"):
        panels.draw(bare, runs, estimator="ais")


def test_a_step_beyond_the_budget_is_no_other_number_of_samples(tmp_path: Path) -> None:
    exact, beyond = stored(), stored("mcem")
    last = beyond.rows[-1]
    last["ledger"]["samples"], last["marks"] = 1e6 + 15_000, {}
    rows = table.rows(experiment(tmp_path), [exact, beyond], [1e6], [])
    assert [row["seeds"] for row in rows] == [[0], [0]]
    assert [(row["mark"], row["samples"]) for row in rows] == [(1e6, 1e6), (1e6, 1_015_000)]


def judged_over_more(run: StoredRun, better: float) -> StoredRun:
    """Return the run with other values over the many points of its end than over the few of its curve."""
    for e in run.rows[-1]["estimates"]:
        e["mean"] += better * (e["points"] == 10_000)
    return run


def judged_on_valid(run: StoredRun, better: float = -2.0) -> StoredRun:
    """Return the run with estimates on the validation split, too."""
    for row in run.rows:
        ours = [e for e in row["estimates"] if e["split"] == "test"]
        row["estimates"] += [{**e, "split": "valid", "mean": e["mean"] + better} for e in ours]
    return run


def test_a_recipe_says_whose_estimates_are_drawn_on_which_split(tmp_path: Path) -> None:
    """The validation split alone, solid; beside another it has dashes of its own; and it is not drawn where nobody asks."""
    runs = [judged_on_valid(stored()), stored("wake-sleep")]
    asked = FIGURE2.replace("[figure]", '[figure]\nsplits = ["valid"]')
    alone = panels.draw(experiment(tmp_path, SPEC + asked), runs)
    assert drawn(alone.axes[0], colour_of(alone, "aevb"), False) == [([1e4, 1e5, 1e6], [-202.0, -152.0, -132.0])]
    assert not drawn(alone.axes[0], colour_of(alone, "aevb"), True)
    assert [text.get_text() for text in alone.axes[0].texts] == ["1 without lower-bound on valid"]
    texts = [text.get_text() for text in alone.legends[0].get_texts()]
    assert texts == ["aevb", "validation set", "at the end, over 10,000 points"]  # no published curve is on this split
    assert alone.legends[0].get_title().get_text() == "curves: over 2,000 valid points"
    both = panels.draw(experiment(tmp_path, SPEC + asked.replace('["valid"]', '["valid", "test"]')), runs[:1])
    blue = colour_of(both, "aevb")
    assert drawn(both.axes[0], blue, False) == [([1e4, 1e5, 1e6], [-200.0, -150.0, -130.0])]
    assert drawn(both.axes[0], blue, True) == [([1e4, 1e5, 1e6], [-202.0, -152.0, -132.0])]
    silent = panels.draw(experiment(tmp_path), runs[:1])
    plain = panels.draw(experiment(tmp_path), [stored()])
    assert [len(figure.axes[0].lines) for figure in (silent, plain)] == [len(plain.axes[0].lines)] * 2


def test_a_setting_of_the_algorithm_is_compared(tmp_path: Path) -> None:
    """A curve for each combination of the settings in `compare`, in the order of the file."""
    text = """
[base]
algo = "nvil"
model = "sbn"
samples = 1e6

[[grid]]
baseline = ["none", "input"]
variance-normalisation = false

[[grid]]
baseline = "input"
variance-normalisation = true

[figure]
compare = ["baseline", "variance-normalisation"]
"""
    runs = []
    for k, (baseline, normalised) in enumerate((("none", False), ("input", False), ("input", True))):
        one = stored("nvil", test=(-200.0, -150.0, -130.0 + k))
        one.spec["algorithm"]["settings"] |= {"baseline": baseline, "variance_normalisation": normalised}
        runs.append(one)
    figure = panels.draw(experiment(tmp_path, text), runs)
    assert [text.get_text() for text in figure.axes[0].texts] == [""]
    names = [text.get_text() for text in figure.legends[0].get_texts()][:3]
    assert names == [
        f"baseline={b} variance-normalisation={v}" for b, v in (("none", False), ("input", False), ("input", True))
    ]
    ends = [drawn(figure.axes[0], colour_of(figure, name), False)[0][1][-1] for name in names]
    assert ends == [-130.0, -129.0, -128.0]


def test_a_figure_ends_at_the_numbers_of_the_table(tmp_path: Path) -> None:
    """Curves are over the points of every mark; the end is also over more, and a table has those that all runs share."""
    longer = stored("wake-sleep", test=(-210.0, -160.0, -140.0))
    runs = [judged_over_more(stored(seed=s, test=(-200.0, -150.0, -130.0 - s)), 3.0) for s in (0, 1)]
    for others, nats, points in (([judged_over_more(longer, 4.0)], -127.5, 10_000), ([], -127.5, 10_000)):
        every = runs + others
        row, *_ = table.rows(experiment(tmp_path), every, [1e6], [])
        assert (row["lower-bound test"].mean, row["points"]["lower-bound test"]) == (nats, points)
        figure = panels.draw(experiment(tmp_path), every)
        blue = colour_of(figure, "aevb")
        dots = [line for line in figure.axes[0].lines if line.get_marker() == "o" and to_hex(line.get_color()) == blue]
        assert sorted((line.get_xdata()[0], line.get_ydata()[0]) for line in dots) == [(1e6, nats), (1e6, nats + 1)]
        texts = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "at the end, over 10,000 points (train open, test filled)" in texts
        assert figure.legends[0].get_title().get_text() == "curves: over 2,000 train and 2,000 test points"
    longer.rows[-1]["estimates"] = [e for e in longer.rows[-1]["estimates"] if e["points"] == 2000]
    row, *_ = table.rows(experiment(tmp_path), [*runs, longer], [1e6], [])  # the other goes on from there
    assert (row["lower-bound test"].mean, row["points"]["lower-bound test"]) == (-130.5, 2000)
    figure = panels.draw(experiment(tmp_path), [*runs, longer])
    assert not [line for line in figure.axes[0].lines if line.get_marker() == "o"]


def test_a_mark_that_nobody_reached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no run of mine has a row at 7,000,000 samples: .*, the nearest are 1,000,000"):
        table.rows(experiment(tmp_path), [stored()], [7e6], [])
    with pytest.raises(BadInput, match="a row at 20,000, 3 samples: .*, the nearest are 10,000 and 100,000, 10,000"):
        table.rows(experiment(tmp_path), [stored()], [2e4, 3], [])
    with pytest.raises(BadInput, match="no run of mine has a row yet: continue with `harness sweep"):
        table.rows(experiment(tmp_path), [StoredRun(stored().record, [])], [], [])
    with pytest.raises(BadInput, match="no run of mine has a row at 1,000,000 samples: .*, the nearest are 100,000"):
        table.rows(experiment(tmp_path), [stored(status="diverged")], [], [])  # its last row shows that it diverged


# -- the commands


def fill(store: Store, name: str, runs: Sequence[StoredRun]) -> None:
    for one in runs:
        record, rows = one.record, one.rows
        run = store.run(record.run, name)
        run.claim()
        for row in rows:
            run.append(record, row)
        run.write(record)
        run.release()


def test_commands(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "results")
    path = tmp_path / "mine.toml"
    path.write_text(SPEC + FIGURE2)
    nothing = harness("plot", path)
    assert nothing.code == 2
    assert nothing.err.startswith("harness: there are no runs of mine in ")
    assert nothing.err.endswith("make them with `harness sweep mine`\n") or "harness sweep" in nothing.err
    assert harness("table", path).code == 2
    fill(store, "mine", [stored(), stored("wake-sleep", test=(-210.0, -160.0, -140.0))])
    done = harness("plot", path)
    assert done.code == 0, done.err
    assert [Path(line).name for line in done.out.splitlines()] == [
        f"mine-curves-by-samples.{form}" for form in ("png", "svg", "pdf")
    ]
    monkeypatch.setattr(output, "FORMATS", ("png",))  # the others take as long
    assert harness("plot", path, "--x", "cpu_seconds", "--out", tmp_path / "t.svg").out == f"{tmp_path / 't.svg'}\n"
    by_time = harness("plot", path, "--x", "cpu_seconds", "--y", "lower-bound").out.splitlines()
    assert Path(by_time[0]).name == "mine-curves-of-lower-bound-by-cpu_seconds.png"
    first, *_ = Store(tmp_path / "results").runs("mine")
    assert Path(harness("plot", first.id).out.splitlines()[0]).name == f"{first.id}-curve-by-samples.png"
    every = harness("plot", *(run.id for run in Store(tmp_path / "results").runs("mine"))).out.splitlines()
    assert Path(every[0]).name == f"{first.id}-and-1-more-curves-by-samples.png"
    bad = harness("plot", path, "--x", "minutes")
    assert (bad.code, bad.err.count("\n")) == (2, 1)
    assert "-10.00" in harness("table", path).out
    assert json.loads(harness("table", path, "--json").out)[1]["difference"] == -10
    for words, said in (
        (["--format", "html"], "--format is 'html': choose text, markdown, csv or latex"),
        (["--at", "soon"], "--at is 'soon': give numbers with commas between"),
        (["--targets", "nan"], "--targets is 'nan': give numbers with commas between"),
    ):
        refused = harness("table", path, *words)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert refused.err.startswith(f"harness: {said}")


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("figure2", "combined")), "figure3"]
)
def test_the_stored_reference_runs_are_drawn_without_data_or_network(name: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2] / "results"
    if not (root / name).is_dir():
        pytest.skip(f"{name} has no stored runs yet")
    bare = environment(HARNESS_DATA="", XDG_CACHE_HOME=str(tmp_path), no_proxy="", https_proxy="http://127.0.0.1:9")
    out = tmp_path / "figure.png"
    words = [sys.executable, "-m", "harness", "plot", name, "--results", str(root), "--out", str(out)]
    done = subprocess.run(words, env=bare, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"\x89PNG")


def test_what_a_paper_reached_in_the_end_is_a_level_line(tmp_path: Path) -> None:
    text = SPEC + FIGURE2.replace('"fig2"', '"nvil-table1"').replace('"mnist_nz{nz}"', '"sbn 200"')
    assert '"sbn 200"' in text
    mine = experiment(tmp_path, text)
    figure = panels.draw(mine, [stored(), stored("wake-sleep")])
    assert [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]] == [-120.8]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "wake-sleep, end of training (M&G 2014)" in texts
    papers = {row["algorithm"]: row["paper"] for row in table.rows(mine, [stored(), stored("wake-sleep")], [1e6], [])}
    assert papers == {"aevb": None, "wake-sleep": -120.8}
