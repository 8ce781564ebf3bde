from pathlib import Path

import pytest

from harness.errors import BadInput
from harness.estimators import importance
from harness.specs import run
from harness.specs.budget import budget_of
from harness.specs.run import RunSpec, make_spec
from harness.testing import toy


def test_defaults_are_the_papers() -> None:
    found = make_spec("aevb")
    assert found.algorithm.settings == {
        "lr": 0.02, "batch_size": 100, "n_samples": 1, "estimator": "B", "warmup": 100, "optimiser": "adagrad",
    }  # fmt: skip
    assert found.model.settings == {
        "nz": 20, "hidden": 500, "decoder": "auto", "gaussian_mean": "sigmoid", "activation": "tanh",
        "init_sd": 0.01, "prior_sd": 1.0,
    }  # fmt: skip
    assert found.dataset.settings == {"binarize": "none"}
    assert [e.name for e in found.evaluation.estimators] == ["lower-bound"]


def test_id_is_readable_and_stable() -> None:
    """The digest names stored runs: if this changes, every stored run is orphaned."""
    assert make_spec("aevb", settings={"nz": 20}).run_id == "aevb-mnist-nz20-s0-6dced523"
    assert make_spec("aevb", settings={"nz": "3"}, n_train=1000, seed=7).run_id.startswith("aevb-mnist-nz3-n1000-s7-")


def test_where_an_estimators_file_lies_does_not_change_the_id(tmp_path) -> None:
    ids = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "mine.py"
        path.write_text(Path(importance.__file__).read_text())
        ids.add(make_spec("aevb", marginal=str(path)).run_id)
    assert len(ids) == 1


def test_specification_round_trips_and_is_frozen() -> None:
    first = make_spec("aevb", settings={"nz": 3})
    assert RunSpec.model_validate(first.model_dump(mode="json")) == first
    with pytest.raises(ValueError, match="frozen"):
        first.seed = 3  # type: ignore[misc]


def test_what_decides_the_result_changes_the_id_and_nothing_else_does(tmp_path) -> None:
    base = make_spec("aevb", settings={"nz": 20})
    assert make_spec("aevb", settings={"nz": "20", "lr": "0.02"}) == base
    for other in (
        {"settings": {"lr": 0.1}},
        {"seed": 1},
        {"n_train": 1000},
        {"threads": 2},
        {"points": 10},
    ):
        assert make_spec("aevb", **other).digest != base.digest
    source = Path(toy.__file__).read_text()
    specs = []
    for folder, content in (("a", source), ("b", source), ("c", source + "\n# changed\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tiny.py").write_text(content)
        specs.append(make_spec("aevb", str(tmp_path / folder / "tiny.py")))
    assert specs[0].digest == specs[1].digest != specs[2].digest


def test_a_changed_plugin_file_is_not_resumed(tmp_path) -> None:
    path = tmp_path / "data.py"
    path.write_text(Path(toy.__file__).read_text())
    found = make_spec("aevb", str(path))
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(BadInput, match="has changed since this run began"):
        found.dataset.plugin("datasets")


@pytest.mark.parametrize(("text", "samples"), [("1e6", 10**6), ("1000000", 10**6), ("1", 1), ("5E3", 5000)])
def test_budgets_are_read(text: str, samples: int) -> None:
    assert budget_of({"samples": text}).samples == samples
    assert budget_of({"cpu-seconds": "0.5", "wall-seconds": "60"}).limits() == {
        "cpu_seconds": 0.5,
        "wall_seconds": 60.0,
    }


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e400", "nan", "inf", "many", "", "1e30", "0x10"])
def test_bad_budgets_name_the_option_and_the_value(text: str) -> None:
    with pytest.raises(BadInput, match=f"--samples is {text!r}: give a whole number"):
        budget_of({"samples": text})
    if text not in ("1.5", "1e30"):
        with pytest.raises(BadInput, match="--cpu-seconds is .*: give a positive number"):
            budget_of({"cpu-seconds": text})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nz": 0}, "--nz of model 'mlp' is 0: input should be greater than 0"),
        ({"nz": "-3"}, "--nz of model 'mlp' is '-3'"),
        ({"nz": "2.5"}, "--nz of model 'mlp' is '2.5': input should be a valid integer"),
        ({"nz": "many"}, "valid integer"),
        ({"lr": "nan"}, "finite number"),
        ({"lr": "0"}, "--lr of algorithm 'aevb' is '0'"),
        ({"estimator": "C"}, "--estimator of algorithm 'aevb' is 'C': input should be 'A' or 'B'"),
        ({"binarize": "yes"}, "'none', 'stochastic' or 'threshold'"),
        ({"learning-rate": 1}, "there is no setting --learning-rate: the settings of"),
        ({"hiden": 1}, "did you mean 'hidden'"),
        ({"sample": 1}, "did you mean 'samples'"),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput) as error:
        make_spec("aevb", settings=settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_setting_of_two_plugins_must_say_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.algorithms import aevb

    from harness.models import mlp

    class Config(aevb.Config):
        hidden: int = 3

    monkeypatch.setattr(aevb, "Config", Config)
    with pytest.raises(BadInput, match=r"--hidden is a setting of algo and model: say --algo.hidden or --model.hidden"):
        make_spec("aevb", settings={"hidden": 7})
    found = make_spec("aevb", settings={"model.hidden": 7, "algo.hidden": 9})
    assert (found.model.settings["hidden"], found.algorithm.settings["hidden"]) == (7, 9)
    assert mlp.Config is not Config


@pytest.mark.parametrize(("field", "value"), [("seed", "-1"), ("threads", "0"), ("n_train", "none"), ("seed", "x")])
def test_bad_run_options_are_one_sentence(field: str, value: str) -> None:
    with pytest.raises(BadInput, match=f"--{field.replace('_', '-')} of the run is '{value}'"):
        run.make_spec("aevb", **{field: value})
