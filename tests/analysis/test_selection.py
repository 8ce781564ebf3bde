"""Which runs stand in one panel, and what is compared there: algorithms by default, models, or several options."""

from pathlib import Path
from typing import Any

import pytest
from support import put, stored

from harness.analysis import curves, selection, table
from harness.analysis.stored_run import StoredRun
from harness.claims import check
from harness.claims.evidence import Evidence
from harness.claims.file import Claims
from harness.errors import BadInput
from harness.figures import panels, trace
from harness.report import tables
from harness.specs.experiment import Experiment
from harness.specs.where import in_words, meets, parse_where
from harness.store.store import Store

GRID = '[[grid]]\nalgo = "aevb"\nmodel = ["sbn", "cascade", "rbm"]\nseed = [0, 1]\nsamples = 1e6\n'

KINDS = {"sbn": ("lower-bound", "lower"), "cascade": ("exact", "exact"), "rbm": ("ais", "lower")}


def run(model: str, seed: int, value: float, algorithm: str = "aevb", **settings: Any) -> StoredRun:
    """Return a run of another model, with settings and an estimator of its own, which its specification names first."""
    one = stored(algorithm, seed, (-200.0, -150.0, value))
    name, direction = KINDS[model]
    one.spec["model"] = {"name": model, "settings": settings, "file": None, "sha256": None}
    one.spec["evaluation"] = {"first_mark": 10_000, "estimators": [{"name": name, "settings": {}, "points": 2000}]}
    for row in one.rows:
        row["estimates"] = [{**e, "estimator": name, "direction": direction} for e in row["estimates"]]
    one.record.run = f"{algorithm}-{model}-s{seed}"
    return one


@pytest.fixture
def models() -> list[StoredRun]:
    return [
        run(name, seed, value - seed, **settings)
        for name, value, settings in (
            ("sbn", -130.0, {"nz": 5}),
            ("cascade", -110.0, {"hidden": 9}),
            ("rbm", -120.0, {}),
        )
        for seed in (0, 1)
    ]


def written(folder: Path, text: str) -> Experiment:
    path = folder / "mine.toml"
    path.write_text(text)
    return Experiment(str(path))


def test_models_stand_in_one_panel_and_one_table(tmp_path: Path, models: list[StoredRun]) -> None:
    experiment = written(tmp_path, GRID + '[figure]\ncompare = "model"\n')
    assert selection.panel_options(models, experiment) == ("dataset", "n-train")
    assert curves.estimator_of(experiment, models) is None
    rows = table.rows(experiment, models, [1e6], [])
    assert [(row["model"], row["estimator"], row["bias"]) for row in rows] == [
        ("sbn", "lower-bound", "lower"), ("cascade", "exact", "exact"), ("rbm", "ais", "lower"),
    ]  # fmt: skip
    assert [row.get("difference") for row in rows] == [-20, 0, -10]
    heads, lines = tables.cells(rows)
    assert heads[:4] == ["dataset", "model", "estimator", "bias"]
    assert lines[1][:4] == ["mnist", "cascade", "exact", "exact"]
    figure = panels.draw(experiment, models)
    (axes,) = figure.axes
    assert axes.get_ylabel() == "log p(x) or\na lower bound on it,\nnats per datapoint"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:3] == ["sbn: lower-bound (lower)", "cascade: exact (exact)", "rbm: ais (lower)"]
    assert [text.get_text() for text in axes.texts] == [""]  # nothing is missing


def test_several_options_are_compared_together(tmp_path: Path) -> None:
    text = GRID.replace('"aevb"', '["aevb", "mcem"]').replace('["sbn", "cascade", "rbm"]', '["sbn", "cascade"]')
    experiment = written(tmp_path, text + '[figure]\ncompare = ["model", "algo"]\n')
    assert experiment.curves == ["sbn aevb", "cascade aevb", "sbn mcem", "cascade mcem"]
    runs = [run(model, 0, -130.0, algorithm) for model in ("sbn", "cascade") for algorithm in ("aevb", "mcem")]
    rows = table.rows(experiment, runs, [1e6], [])
    assert [(row["model"], row["algorithm"]) for row in rows] == [
        ("sbn", "aevb"), ("sbn", "mcem"), ("cascade", "aevb"), ("cascade", "mcem"),
    ]  # fmt: skip
    assert [text.get_text() for text in panels.draw(experiment, runs).axes[0].texts] == ["4 missing"]  # their seed 1


def test_what_is_not_compared_must_be_alike(tmp_path: Path, models: list[StoredRun]) -> None:
    models[2] = run("cascade", 0, -110.0, "mcem", hidden=9)
    with pytest.raises(BadInput, match=r"differ in more than model and seed: .* algorithm.name aevb .* mcem; name it"):
        table.rows(written(tmp_path, GRID + '[figure]\ncompare = "model"\n'), models, [1e6], [])
    models[2] = run("cascade", 0, -110.0, hidden=10)
    with pytest.raises(BadInput, match=r"model.hidden 10 and aevb-cascade-s1 has 9"):
        table.rows(written(tmp_path, GRID + '[figure]\ncompare = "model"\n'), models, [1e6], [])


DIFFER = '[figure]\ncompare = "model"\ndiffer = ["schedule", "lr", "eval-points", "marks-per-decade"]\n'


def test_curves_may_differ_in_what_the_experiment_says_and_the_seeds_of_a_curve_in_nothing(
    tmp_path: Path, models: list[StoredRun]
) -> None:
    for one in models[2:]:  # of other models, each of which has a recipe of its own
        one.spec["schedule"] = "linear:1e6"
        one.spec["algorithm"]["settings"]["lr"] = 0.5
        one.spec["evaluation"] |= {"marks_per_decade": 2}
    grid = GRID + 'schedule = "constant"\nlr = 0.02\neval-points = 10\nmarks-per-decade = 10\n'
    plain, differ = written(tmp_path, grid + '[figure]\ncompare = "model"\n'), tmp_path / "differ"
    differ.mkdir()
    with pytest.raises(
        BadInput, match=r"has schedule constant and .* has linear:1e6; name it in compare, panels or differ of"
    ):
        panels.draw(plain, models)
    experiment = written(differ, grid + DIFFER)
    assert len(table.rows(experiment, models, [1e6], [])) == 3
    assert len(panels.draw(experiment, models).legends[0].get_lines()) == 7  # 3 curves, 2 splits, range, dot
    models[-1].spec["schedule"] = "constant"
    with pytest.raises(BadInput, match=r"rbm-s0 has schedule linear:1e6 and aevb-rbm-s1 has constant"):
        panels.draw(experiment, models)


def test_points_that_differ_are_known_by_their_option(models: list[StoredRun]) -> None:
    one, other = models[0], models[2]
    for run_, points in ((one, 100), (other, 200)):
        run_.spec["evaluation"]["estimators"] = [{"name": "exact", "settings": {}, "points": points}]
    found = selection.unlike(one, other, ["model"])
    assert found is not None
    assert found.setting == "evaluation.estimators.exact.points"
    assert selection.unlike(one, other, ["model"], ["eval-points"]) is None


def test_what_may_differ_must_be_an_option(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mine.toml:8: runs cannot be chosen by 'schedul' \(did you mean 'schedule'"):
        written(tmp_path, GRID + '[figure]\ncompare = "model"\ndiffer = ["schedul"]\n')


def both_sides(one: StoredRun) -> StoredRun:
    """Give a run of an unnormalised model an estimate from above, which its specification names first."""
    for row in one.rows:
        below = row["estimates"]
        above = [{**e, "estimator": "log-z-ais", "direction": "upper", "mean": e["mean"] + 5} for e in below]
        row["estimates"] = [*above, *({**e, "estimator": "log-z-raise"} for e in below)]
    one.spec["evaluation"]["estimators"] = [{"name": n, "settings": {}} for n in ("log-z-ais", "log-z-raise")]
    return one


def test_nobody_is_judged_by_what_flatters_and_curves_carry_both_sides(tmp_path: Path, models: list[StoredRun]) -> None:
    models[4:] = [both_sides(one) for one in models[4:]]
    assert models[4].estimators == ["log-z-raise", "log-z-ais"]
    experiment = written(tmp_path, GRID + '[figure]\ncompare = "model"\n')
    data = curves.points(models, None, ["model"])
    assert set(data["run"][data["at_most"].notna()]) == {"aevb-rbm-s0", "aevb-rbm-s1"}
    own = data[data["run"] == "aevb-rbm-s0"]
    assert (own["at_most"] - own["nats"] == 5).all()
    assert set(own["direction"]) == {"lower"}
    figure = panels.draw(experiment, models)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "rbm: log-z-raise (lower)" in texts
    assert "up to the estimate from above" in texts
    (_, high) = figure.axes[0].get_ylim()
    assert high > -115  # what is hatched is within the axes
    hatched = [area for area in figure.axes[0].collections if area.get_hatch()]
    assert len(hatched) == 2  # train and test
    corners = hatched[-1].get_paths()[0].vertices.tolist()
    assert {(1e6, -120.5), (1e6, -115.5)} <= set(map(tuple, corners)) or {(1e6, -119.5), (1e6, -114.5)} <= set(
        map(tuple, corners)
    )
    alone = trace.draw(models[4:5])
    assert alone.axes[0].get_ylabel() == "log p(x) by log-z-raise, nats per datapoint"
    assert "up to the estimate from above" in [text.get_text() for text in alone.legends[0].get_texts()]


def test_a_bound_is_not_taken_for_an_estimate_of_log_p(models: list[StoredRun]) -> None:
    one = both_sides(models[4])
    for row in one.rows:
        for e in row["estimates"]:
            e["estimator"] = e["estimator"].replace("log-z-raise", "lower-bound")
    assert curves.points([one], "lower-bound")["at_most"].isna().all()


def test_panels_by_default_and_as_declared(tmp_path: Path, models: list[StoredRun]) -> None:
    wide = [stored(seed=seed, nz=nz) for seed in (0, 1) for nz in (3, 5)]
    for one, hidden in zip(wide, (10, 10, 20, 20), strict=True):
        one.spec["model"]["settings"]["hidden"] = hidden
        one.spec["seed"] = 0
    grid = '[[grid]]\nalgo = "aevb"\nnz = [3, 5]\nsamples = 1e6\n'
    assert selection.panel_options(wide) == ("dataset", "nz", "n-train")
    assert selection.panel_options(wide, written(tmp_path, grid)) == ("dataset", "nz", "n-train")
    by_hidden = written(tmp_path, grid + "hidden = [10, 20]\n")
    assert selection.panel_options(wide, by_hidden) == ("dataset", "nz", "n-train", "hidden")
    assert len(panels.draw(by_hidden, wide).axes) == 4
    follows = written(
        tmp_path, grid.replace("[3, 5]", "3") + "hidden = 10\n" + grid.replace("[3, 5]", "5") + "hidden = 20\n"
    )
    assert selection.panel_options([wide[0], wide[3]], follows) == ("dataset", "nz", "n-train")  # nz tells hidden apart
    assert selection.panel_options(models, written(tmp_path, GRID)) == ("dataset", "nz", "n-train", "model")
    declared = written(tmp_path, grid + 'hidden = [10, 20]\n[figure]\npanels = ["hidden"]\ncompare = "nz"\n')
    assert selection.panel_options(wide, declared) == ("hidden",)
    rows = table.rows(declared, wide, [1e6], [])
    assert [(row["hidden"], row["nz"]) for row in rows] == [(10, 3), (10, 5), (20, 3), (20, 5)]


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ('panels = ["nz"]\ncompare = "nz"', "panels cannot differ by nz, which is compared in each"),
        ('compare = "modell"', r"mine.toml:7: .*cannot be chosen by 'modell' \(did you mean 'model'\?\)"),
        ('panels = ["hiden"]', r"mine.toml:7: .*cannot be chosen by 'hiden'"),
        ("compare = []", "mine.toml:7: figure.compare"),
    ],
)
def test_bad_panels_are_named_with_their_line(tmp_path: Path, figure: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        written(tmp_path, GRID + "[figure]\n" + figure + "\n")


def test_claims_are_about_what_an_experiment_compares(tmp_path: Path, models: list[StoredRun]) -> None:
    written(tmp_path, GRID + '[figure]\ncompare = "model"\n')
    claim = '[[claim]]\nkind = "{}"\nat = 1e6\nestimator = "exact"\n'
    path, store = tmp_path / "claims.toml", Store(tmp_path / "results")
    for one in models:
        for row in one.rows:
            row["estimates"] = [{**e, "estimator": "exact"} for e in row["estimates"]]
    put(store, models)
    head = 'experiment = "mine.toml"\n'
    path.write_text(
        head + claim.format("order") + 'above = "cascade"\nbelow = "rbm"\n[[claim]]\nkind = "cost"\nat-most = 1e9\n'
    )
    order, *costs = check.check(Evidence(Claims(str(path)), store))
    assert (order.says, order.observed, order.subject) == ("holds", 10.0, "cascade minus rbm at 1,000,000 samples")
    assert "2 pairs" in order.why
    assert sorted(cost.subject for cost in costs) == ["cascade mnist", "rbm mnist", "sbn mnist"]
    path.write_text(head + claim.format("order") + 'above = "cascad"\nbelow = "rbm"\n')
    with pytest.raises(BadInput, match=r"no run is by 'cascad' \(did you mean 'cascade'\?\)"):
        check.check(Evidence(Claims(str(path)), store))


def test_conditions() -> None:
    where = parse_where("nz=3,nz=5,n_train=1e3")
    assert where == {"nz": {"3", "5"}, "n-train": {"1e3"}}
    assert meets({"nz": 5, "n-train": 1000}.get, where)
    assert not meets({"nz": 7, "n-train": 1000}.get, where)
    assert meets({"hidden": [200, 200]}.get, {"hidden": [200, 200]})  # one value, which is a list
    assert parse_where(None) == {}
    assert in_words({"algo": "aevb", "nz": 3, "n-train": None}) == "aevb nz=3"


@pytest.mark.parametrize("word", ["true", "True", "1"])
def test_a_switch_is_selected_as_files_and_command_lines_write_it(word: str) -> None:
    options = {"persistent": True, "average": 1.0}
    assert meets(options.get, parse_where(f"persistent={word}"))
    assert not meets(options.get, parse_where(f"persistent={'false' if word == 'true' else 0}"))
    assert meets(options.get, {"persistent": True, "average": 1})
