"""What the figure says: the right numbers, dashes, labels and limits."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support import Result, environment

from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures import trace
from harness.figures.labels import MOST_CURVES
from harness.figures.output import colours_of
from harness.specs.budget import COUNTERS
from harness.store.record import Record

RESULTS = Path(__file__).parents[2] / "results"
Harness = Callable[..., Result]


def stored(
    seed: int = 0, status: str = "done", means: tuple[float, ...] = (-540.0, -150.0, -120.0), **model: object
) -> StoredRun:
    spec = {
        "algorithm": {"name": "aevb", "settings": {"lr": 0.02}},
        "model": {"name": "mlp", "settings": {"nz": 20, "hidden": 500, **model}},
        "dataset": {"name": "mnist", "settings": {"binarize": "none"}},
        "n_train": None,
        "seed": seed,
        "threads": 1,
    }
    record = Record(f"aevb-s{seed}-{status}", spec, {"samples": 10**6}, status=status)

    def estimate(split: str, points: int, mean: float) -> dict[str, object]:
        errors = {"se_points": 1.0, "se_estimator": 0.0}
        return {"estimator": "lower-bound", "split": split, "points": points, "mean": mean, **errors}

    rows = []
    for k, mean in enumerate(means):
        ledger = dict.fromkeys(COUNTERS, 10.0 ** (4 + k))
        estimates = [
            estimate("train", 2000, mean + 1),
            estimate("test", 2000, mean),
            estimate("test", 10_000, mean - 50),
        ]
        rows.append({"ledger": ledger, "estimates": estimates})
    return StoredRun(record, rows)


def test_curves_are_the_stored_numbers_over_the_curve_points() -> None:
    data = trace.frame([stored()], "samples", "lower-bound")
    test = data[data["split"] == "test"]
    assert test["nats"].tolist() == [-540.0, -150.0, -120.0]
    assert test["x"].tolist() == [1e4, 1e5, 1e6]
    assert set(data["points"]) == {2000}


def test_train_is_dashed_and_test_solid_in_the_colour_of_the_run() -> None:
    figure = trace.draw([stored(0), stored(1)], "samples")
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 4
    assert sorted(line.is_dashed() for line in lines) == [False, False, True, True]
    assert len({to_hex(line.get_color()) for line in lines}) == 2
    for line in lines:
        expected = [-540, -150, -120] if not line.is_dashed() else [-539, -149, -119]
        assert np.asarray(line.get_ydata()).tolist() == expected
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["aevb seed 0", "aevb seed 1", "test set", "train set"]
    assert "bands: ± one standard error" in figure.legends[0].get_title().get_text()
    assert figure.axes[0].get_title("left").endswith("seeds 0, 1")


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_axes_say_what_they_show(scale: str) -> None:
    figure = trace.draw([stored()], "cpu_seconds", scale)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "CPU seconds of training"
    assert "nats per datapoint" in axes.get_ylabel()
    assert axes.get_xscale() == scale
    assert "mnist" in axes.get_title("left")
    assert "nz=20" in axes.get_title("left")
    low, high = axes.get_ylim()
    assert high > -119
    assert -540 < low < -150  # the climb from the untrained model does not flatten the rest


def test_labels_name_what_differs_and_how_a_run_ended() -> None:
    runs = [stored(0, nz=3), stored(0, nz=5), stored(0, "diverged", nz=10)]
    assert trace.labels(runs) == ["aevb nz 3", "aevb nz 5", "aevb nz 10 (diverged)"]
    assert "nz" not in trace.draw([stored(0, nz=3), stored(0, nz=5)]).axes[0].get_title("left")


def test_settings_are_compared_among_the_runs_that_have_them() -> None:
    runs = [stored(0), stored(1), stored(2)]
    for run, name, settings in zip(
        runs,
        ("aevb", "aevb", "mcem"),
        ({"lr": 0.1, "L": 1}, {"lr": 0.02, "L": 1}, {"lr": 0.1, "updates": 5}),
        strict=True,
    ):
        run.spec["algorithm"] = {"name": name, "settings": settings}
        run.spec["seed"] = 0
    assert trace.labels(runs) == ["aevb lr 0.1", "aevb lr 0.02", "mcem lr 0.1"]


def test_a_diverged_run_is_drawn_to_its_last_finite_bound_and_marked() -> None:
    figure = trace.draw([stored(0), stored(1, "diverged", means=(-540.0, -300.0, float("nan")))])
    (marker,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert np.asarray(marker.get_xdata()).tolist() == [1e5]
    assert "diverged" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_of_one_point_is_seen() -> None:
    axes = trace.draw([stored(means=(-540.0,))]).axes[0]
    assert {line.get_ydata()[0] for line in axes.lines if line.get_marker() == "."} == {-540.0, -539.0}


def test_what_ends_below_the_axis_is_pointed_at() -> None:
    good, bad = stored(0, means=(-130.0, -125.0, -120.0)), stored(1, "diverged", means=(-540.0, -9e4, float("nan")))
    figure = trace.draw([good, bad])
    axes, low = figure.axes[0], figure.axes[0].get_ylim()[0]
    colour = {to_hex(line.get_color()) for line in axes.lines if line.get_marker() == "X"}
    arrows = [line for line in axes.lines if line.get_marker() == "v"]
    assert {to_hex(line.get_color()) for line in arrows} == colour
    assert {line.get_xdata()[0] for line in arrows} == {1e5}
    for line in arrows:
        x, y = line.get_transform().transform((line.get_xdata()[0], line.get_ydata()[0]))
        assert axes.transData.inverted().transform((x, y))[1] > low  # within the axes
    assert len([line for line in axes.lines if line.get_marker() == "X"]) == 2  # where it is, and above the arrow
    assert "below the axis" in [text.get_text() for text in figure.legends[0].get_texts()]
    alone = trace.draw([good])
    assert "below the axis" not in [text.get_text() for text in alone.legends[0].get_texts()]


def test_the_final_evaluation_is_a_dot_where_it_is_over_more_points() -> None:
    run = stored()
    for k, row in enumerate(run.rows):
        row["end"] = k == 2
    figure = trace.draw([run])
    axes = figure.axes[0]
    (found,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert (found.get_xdata()[0], found.get_ydata()[0]) == (1e6, -170.0)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "at the end, over 10,000 points (train open, test filled)" in texts


def test_as_many_curves_as_a_figure_may_have_have_as_many_colours() -> None:
    colours = colours_of(map(str, range(MOST_CURVES)))
    assert len(colours) == len({to_hex(colour) for colour in colours.values()}) == MOST_CURVES


def test_runs_without_a_bound_are_refused_by_name() -> None:
    record = stored().record
    with pytest.raises(BadInput, match="no lower-bound to draw in aevb-s0-done"):
        trace.draw([StoredRun(record, [{"ledger": dict.fromkeys(COUNTERS, 1.0), "estimates": []}])])


def test_figures_are_the_same_whatever_the_environment_says_of_drawing(harness: Harness, tmp_path: Path) -> None:
    """A notebook names a backend that need not be installed; a user's own figures may need LaTeX, which need not be, either."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: module://nowhere\n")
    strange = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MATPLOTLIBRC": str(tmp_path)}
    words = ["plot", "first-run/aevb-mnist-nz20-s0", "--results", str(RESULTS), "--out"]
    assert harness(*words, tmp_path / "plain.png").code == 0
    command = [sys.executable, "-P", "-m", "harness", *words, str(tmp_path / "strange.png")]
    done = subprocess.run(command, env=environment(**strange), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "strange.png").read_bytes()


def test_every_counter_can_be_the_x_axis(harness: Harness) -> None:
    for counter in COUNTERS:
        assert not trace.frame([stored()], counter, "lower-bound").empty
