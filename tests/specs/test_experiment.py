"""Experiments: what a file asks for, and one sentence with its line for whatever is wrong in it."""

from pathlib import Path

import pytest

from harness.errors import BadInput
from harness.specs import experiment
from harness.specs.experiment import Experiment, key
from harness.testing import toy

BASE = f"""
[base]
dataset = "{toy.__file__}"
hidden = 5
batch-size = 10
"""


def written(folder: Path, text: str, name: str = "mine.toml") -> Experiment:
    path = folder / name
    path.write_text(text)
    return Experiment(str(path))


def test_lists_multiply_and_grids_add_up(tmp_path: Path) -> None:
    found = written(
        tmp_path,
        BASE
        + """
[[grid]]
algo = ["aevb", "wake-sleep"]
nz = [2, 3]
seed = [0, 1]
samples = 1e4

[[grid]]
algo = "aevb"
nz = 2
seed = 0
samples = 5e4
""",
    )
    assert found.name == "mine"
    assert found.curves == ["aevb", "wake-sleep"]
    tasks = found.tasks()
    assert len(tasks) == 8  # the last grid asks for one of them again, and for longer
    budgets = [task.budget.samples for task in tasks]
    assert sorted(budgets) == [10_000] * 7 + [50_000]
    assert {task.spec.model.settings["nz"] for task in tasks if task.spec} == {2, 3}
    assert len({task.spec.run_id for task in tasks if task.spec}) == 8
    some = found.tasks("nz=2,algo=aevb", scale=0.1)
    assert [task.budget.samples for task in some] == [5000, 1000]
    assert len(found.tasks("nz=2,nz=3.0,seed=1")) == 4


def test_a_run_is_that_of_the_command_line(tmp_path: Path) -> None:
    from harness.specs.run import make_spec

    found = written(
        tmp_path,
        '[[grid]]\nalgo = "aevb"\nnz = 3\nn-train = 1000\nmarginal = "importance"\nfirst-mark = 5e4\nsamples = 1\n',
    )
    (task,) = found.tasks()
    same = make_spec("aevb", settings={"nz": "3"}, n_train="1000", marginal="importance", first_mark="50000")
    assert task.spec is not None
    assert task.spec.digest == same.digest


def test_estimators_at_the_end_alone(tmp_path: Path) -> None:
    text = '[[grid]]\nalgo = "aevb"\nsamples = 1\nnz = 2\nfinal-marginal = "quadrature"\n"final-marginal.nodes" = 4\n'
    (task,) = written(tmp_path, text).tasks()
    assert task.spec is not None
    judge = task.spec.evaluation.estimators[-1]
    assert (judge.name, judge.points, judge.final_points, judge.settings["nodes"]) == ("quadrature", 0, 1000, 4)


def test_settings_that_wait_for_tuning(tmp_path: Path) -> None:
    found = written(tmp_path, BASE + '[[grid]]\nalgo = "aevb"\nnz = 2\nlr = "tuned"\nsamples = 100\n')
    (task,) = found.tasks()
    assert task.spec is None
    (settled,) = found.tasks(tuned={experiment.key(task.options): {"lr": 0.1}})
    assert settled.spec is not None
    assert settled.spec.algorithm.settings["lr"] == 0.1


@pytest.mark.parametrize("name", experiment.built_in())
def test_built_in_experiments_are_sound(name: str) -> None:
    found = Experiment(name)
    assert found.title
    assert found.tasks()


def test_the_second_table_of_belief_nets_is_the_first_with_another_recognition_model() -> None:
    first, second = (Experiment(name).tasks() for name in ("nvil-table", "nvil-table2"))
    assert [task.options | {"recognition": "autoregressive"} for task in first] == [task.options for task in second]
    assert [task.budget for task in first] == [task.budget for task in second]


GRID = '[[grid]]\nalgo = "aevb"\nnz = 2\nsamples = 100\n'
BAD = [
    ("[[grid]\n", r"mine.toml is no TOML: .*line 1"),
    ("title = 1\n" + GRID, r"mine.toml:1: title: 1: input should be a valid string"),
    ("titel = ''\n" + GRID, r"mine.toml:1: titel: there is no such key \(did you mean 'title'\?\): choose one of title, base"),
    (GRID + "[tune]\nsampels = 3\n", r"mine.toml:6: tune.sampels: there is no such key \(did you mean 'samples'\?\)"),
    (GRID + "[[figure.row]]\nover = { nz = [] }\n", r"mine.toml:5: .*nz of over has no values"),
    (GRID + "[[figure.row]]\nylimits = 3\n", r"mine.toml:6: .*did you mean 'y-limits'"),
    ("[grid]\nnz = 3\n", r"mine.toml:1: grid: an experiment needs one or more \[\[grid\]\], with double brackets"),
    (GRID.replace("100", "nan"), r"mine.toml:4: grid.0.samples: nan: give a finite number"),
    (GRID + "[[figure.row]]\nover = { nx = [2] }\n", r"mine.toml:5: runs cannot be chosen by 'nx' .did you mean 'nz'"),
    (GRID + '[figure]\nscale = "cubic"\n', r"mine.toml:6: figure.scale: 'cubic'"),
    ("[base]\nseed = [0, 1]\n" + GRID, r"mine.toml:2: base.seed: \[0, 1\] is a list, and lists that multiply belong in"),
    (GRID + "marginal = true\n", r"mine.toml:5: --marginal is True: give a name"),
    (GRID + '[[figure.row]]\ntitle = "$N_{nz}$"\n', r"mine.toml:5: .*title cannot be filled in .KeyError.*: it may have"),
    (GRID + '[figure]\nx = "minutes"\n', r"mine.toml:6: figure.x: 'minutes': choose one of samples, datapoints"),
    (GRID + '[figure]\nsplits = ["tests"]\n', r"mine.toml:6: figure.splits.0: 'tests'.*'train', 'valid' or 'test'"),
    (GRID + '[figure]\nestimator = "elbo"\n', r"mine.toml:6: figure.estimator: 'elbo': choose one of ais"),
    (GRID + "[tune]\noverride = { seed = 3 }\n", r"mine.toml:6: tune.override: .*seed has a key of its own in \[tune\]"),
    (
        GRID + "[tune.choices.aevv]\nlr = [0.1]\n",
        r"mine.toml:5: choices for 'aevv' .did you mean 'aevb'.*no grid has that algorithm",
    ),
    (GRID + "[tune.choices.aevb]\nlr = []\n", r"mine.toml:6: tune.choices.aevb.lr: "),
    ("[base]\nnz = 2\n", r"mine.toml:1: grid: an experiment needs one or more \[\[grid\]\]"),
    ('[[grid]]\nalgo = []\nsamples = 3\n', r"mine.toml:2: algo has no values: give one or more"),
    ('[[grid]]\nnz = 3\nsamples = 3\n', r"mine.toml:1: this grid has no algo: give one"),
    ('[[grid]]\nalgo = "aevb"\n', r"mine.toml:1: this grid has no samples nor datapoints nor cpu-seconds nor wall-sec"),
    ('[[grid]]\nalgo = "aevb"\nsamples = "many"\n', r"mine.toml:3: samples is 'many': give a number"),
    ('[[grid]]\nalgo = "aevb"\nsamples = -1\n', r"mine.toml:3: --samples is -1: give a whole number from 1"),
    ('[[grid]]\nalgo = "avb"\nsamples = 1\n', r"mine.toml:2: there is no algorithm 'avb' \(did you mean 'aevb'\?\)"),
    ('[base]\nnzz = 3\n\n[[grid]]\nalgo = "aevb"\nsamples = 1\n', r"mine.toml:2: there is no setting --nzz \(did you mean"),
    ('[[grid]]\nalgo = "aevb"\nsamples = 1\nlr = [0.1, -1.0]\n', r"mine.toml:4: --lr of algorithm 'aevb' is -1.0"),
    (
        GRID + '[[grid]]\nalgo = "aevb"\nnz = 2\ncpu-seconds = 5\n',
        r"mine.toml:5: a run is asked for with budgets of samples and of cpu_seconds: give both the same kinds",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD, ids=[said[:50] for _, said in BAD])
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        written(tmp_path, text).tasks()
    assert "\n" not in str(refused.value)


def test_names(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no experiment 'figure4' \(did you mean 'figure3'\?\)"):
        Experiment("figure4")
    with pytest.raises(BadInput, match="does not exist: give the path of a .toml file"):
        Experiment(str(tmp_path / "none.toml"))
    with pytest.raises(BadInput, match="cannot be called 'runs.toml'"):
        written(tmp_path, GRID, "runs.toml")


@pytest.mark.parametrize(
    ("only", "said"),
    [
        ("nz=7", "no run meets it"),
        ("nzz=2", r"no run has an option 'nzz' \(did you mean 'nz'\?\)"),
        ("nz", "no run's id begins with 'nz': give that, or option=value"),
    ],
)
def test_conditions_that_no_run_meets(tmp_path: Path, only: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        written(tmp_path, GRID).tasks(only)


@pytest.mark.parametrize(
    ("only", "values"),
    [
        ("k=1", [None]),
        ("k=3", [3]),
        ("algo.k=1,algo.k=3", [None, 3]),
        ("persistent=false", [None, 3, 25]),
        ("k=7", []),
        ("seed=0,hidden=9", [None, 3, 25]),
    ],
)
def test_runs_are_chosen_by_defaults_of_plugins_too(tmp_path: Path, only: str, values: list[int | None]) -> None:
    grid = '[[grid]]\nalgo = "contrastive-divergence"\nmodel = "rbm"\nhidden = 9\nsamples = 100\n'
    experiment = written(tmp_path, grid + grid + "k = [3, 25]\n")
    if values:
        assert [task.options.get("k") for task in experiment.tasks(only)] == values
    else:
        with pytest.raises(BadInput, match="no run meets it"):
            experiment.tasks(only)


@pytest.mark.parametrize(("name", "runs"), [("dlgm-table", 12), ("dlgm-frey", 12), ("vae-iwae", 6)])
def test_experiments_of_gaussian_latents_make_runs(name: str, runs: int) -> None:
    """Each option belongs to a plugin and has a value that it takes, once step sizes are chosen."""
    experiment = Experiment(name)
    chosen = {key(options): {"lr": 0.05} for grid in experiment._grids for options in grid}
    specs = [task.spec for task in experiment.tasks(tuned=chosen)]
    assert len({spec.run_id for spec in specs if spec}) == runs
    assert {spec.evaluation.estimators[0].name for spec in specs if spec} == {"lower-bound"}
