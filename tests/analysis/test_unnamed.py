"""Runs of no experiment are compared by what they differ in."""

from support import stored

from harness.analysis.unnamed import comparison


def test_settings_of_algorithms_tell_curves_apart_and_those_of_models_and_data_panels() -> None:
    runs = [stored(), stored("wake-sleep", lr=0.1), stored(lr=0.3), stored(nz=5, seed=1)]
    runs[3].spec["model"]["settings"]["activation"] = "relu"
    found = comparison("runs", runs)
    assert found.figure.compare == ("algo", "lr")
    assert found.figure.panels == ("dataset", "nz", "n-train", "activation")
    assert (found.called, found.asked_for({})) == ("runs", set())


def test_settings_that_only_other_algorithms_have_are_no_difference() -> None:
    other = stored("wake-sleep")
    other.spec["algorithm"]["settings"] = {"phases": 2}
    assert comparison("runs", [stored(), other]).figure.compare == ("algo",)


def test_models_that_differ_are_compared_with_their_settings() -> None:
    deep = stored(nz=50)
    deep.spec["model"] |= {"name": "dlgm", "settings": {"layers": "50-50"}}
    deeper = stored(seed=1)
    deeper.spec["model"] |= {"name": "dlgm", "settings": {"layers": "50-50-50"}}
    found = comparison("runs", [stored(), deep, deeper])
    assert found.figure.compare == ("algo", "model", "layers")
    assert found.figure.panels == ("dataset", "nz", "n-train")


def test_options_of_runs_tell_curves_apart() -> None:
    slow = stored()
    slow.spec["schedule"] = "linear:1e7"
    assert comparison("runs", [stored(seed=1), slow]).figure.compare == ("algo", "schedule")
