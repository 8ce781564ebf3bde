"""Step schedules: what they are called, their factors, and the budgets of runs that have one."""

import math
import re
from pathlib import Path

import pytest
from support import PLUGINS

from harness.errors import BadInput
from harness.specs import named
from harness.specs.budget import Budget
from harness.specs.experiment import Experiment
from harness.specs.horizon import up_to, within
from harness.specs.options import OPTIONS
from harness.specs.run import make_spec
from harness.specs.schedule import StepSchedule
from harness.specs.where import parse_selection, same

BAD = {
    "linear": "it has no horizon", "cosine": "it has no horizon", "linear:0": "must be a whole number of samples from 1",
    "linear:abc": "must be a whole number", "linear:1.5": "must be a whole number", "linear:-1e6": "must be a whole number",
    "linear:nan": "must be a whole number", "linear:inf": "must be a whole number", "linear:": "must be a whole number",
    "quadratic:1e6": "give constant, linear:SAMPLES", "linear:1e6:1": "at least 0 and below 1", "": "give constant",
    "linear:1e6:x": "at least 0 and below 1", "linear:1e6:0.5:3": "give constant", "constant:1e6": "has no horizon",
}  # fmt: skip


@pytest.mark.parametrize(("given", "called"), [
    ("constant", "constant"), ("linear:1e7", "linear:1e7"), ("linear:10000000", "linear:1e7"), ("cosine:2.5e6", "cosine:2.5e6"),
    ("linear:60500", "linear:60500"), ("linear:1e7:0", "linear:1e7"), ("linear:1e7:.60", "linear:1e7:0.6"),
    ("linear:1", "linear:1"), ("linear:12345000", "linear:1.2345e7"),
])  # fmt: skip
def test_equal_schedules_are_called_the_same(given: str, called: str) -> None:
    assert OPTIONS["schedule"].read(given) == called
    assert StepSchedule.parse(called) == StepSchedule.parse(given)
    assert make_spec("aevb", schedule=given).run_id == make_spec("aevb", schedule=called).run_id


@pytest.mark.parametrize("given", BAD)
def test_what_is_no_schedule_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match=rf"--schedule is '{re.escape(given)}': .*{BAD[given]}"):
        OPTIONS["schedule"].read(given)
    with pytest.raises(BadInput, match=f"--schedule of the run is .*{BAD[given]}"):
        make_spec("aevb", schedule=given)


def test_factors_are_the_formulas() -> None:
    linear, late, cosine = map(StepSchedule.parse, ("linear:1000", "linear:1000:0.6", "cosine:1000"))
    assert [linear.factor(n) for n in (0, 250, 1000, 1100)] == [1.0, 0.75, 0.0, 0.0]
    assert [late.factor(n) for n in (0, 600, 800, 1000, 1e9)] == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    for n in (0, 250, 500, 999, 1000):
        assert cosine.factor(n) == pytest.approx(0.5 * (1 + math.cos(math.pi * n / 1000)), abs=1e-15)
    assert StepSchedule().factor(1e12) == 1.0


def test_the_default_leaves_ids_as_they_are() -> None:
    """Stored runs have this id since the first version."""
    assert make_spec("aevb", settings={"nz": 20}, schedule="constant").run_id == "aevb-mnist-nz20-s0-6dced523"
    ids = {make_spec("aevb", schedule=s).digest for s in ("constant", "linear:1e7", "cosine:1e7", "linear:1e7:0.6")}
    assert len(ids) == 4


def test_budgets_end_at_the_horizon() -> None:
    assert within("linear:1000", Budget(samples=1000)) == Budget(samples=1000)
    assert within("linear:1000", Budget(cpu_seconds=5.0)) == Budget(samples=1000, cpu_seconds=5.0)
    assert within("constant", Budget(wall_seconds=5.0)) == Budget(wall_seconds=5.0)
    with pytest.raises(BadInput, match="--samples is 1,001, and --schedule linear:1e3 .* give --samples 1000 or fewer"):
        within("linear:1e3", Budget(samples=1001, cpu_seconds=5.0))
    assert up_to("linear:1000", 1100) == Budget(samples=1000)
    assert up_to("constant", 1100) == Budget(samples=1100)


def test_an_algorithm_that_takes_none_is_refused() -> None:
    path = str(PLUGINS / "renyi.py")
    named.note(path)
    assert make_spec(path, schedule="constant")
    with pytest.raises(
        BadInput,
        match="'linear:1e7', and algorithm 'renyi' takes no schedule .* choose aevb or contrastive-divergence or",
    ):
        make_spec(path, schedule="linear:1e7")


def test_runs_are_selected_by_it() -> None:
    chosen = parse_selection("figure2:schedule=linear:1e7:0.6,nz=20")
    assert (chosen.name, chosen.where) == ("figure2", {"schedule": {"linear:1e7:0.6"}, "nz": {"20"}})
    assert parse_selection("schedule=linear:1e7").where == {"schedule": {"linear:1e7"}}
    assert parse_selection("../other/results:schedule=linear:1e7").name == "../other/results"
    assert parse_selection("a=b:nz=20")[1:] == ("a=b", {"nz": {"20"}})
    options = {"schedule": "linear:1e7"}
    for written in ("linear:1e7", "linear:10000000", "linear:1e7:0"):
        assert chosen._replace(name="", where={"schedule": {written}}).meets("a-run", "runs", options.get)
    assert not chosen._replace(name="", where={"schedule": {"linear:1e6"}}).meets("a-run", "runs", options.get)
    assert not same("linear:1e7", "constant")


EXPERIMENT = """
[base]
algo = "aevb"
nz = 2
samples = 1e6
[figure]
compare = "schedule"
[[grid]]
schedule = ["constant", "linear:1e6", "linear:1000000:0.6"]
"""


def test_experiments_have_it(tmp_path: Path) -> None:
    path = tmp_path / "decayed.toml"
    path.write_text(EXPERIMENT)
    experiment = Experiment(str(path))
    assert [task.spec.schedule for task in experiment.tasks() if task.spec] == [
        "constant", "linear:1e6", "linear:1e6:0.6"
    ]  # fmt: skip
    assert experiment.curves == ["schedule=constant", "schedule=linear:1e6", "schedule=linear:1e6:0.6"]
    assert len(experiment.tasks("schedule=linear:1e6")) == 1
    stored = {"algo": "aevb", "dataset": "mnist", "model": "mlp", "nz": 2, "seed": 0, "threads": 1, "device": "cpu"}
    for schedule, asked in (("linear:1e6:0.6", True), ("linear:1e5", False), ("constant", True)):
        assert experiment.asks_for({**stored, "schedule": schedule}.get) == asked
    path.write_text(EXPERIMENT.replace("samples = 1e6", 'lr = "tuned"\nsamples = 2e6'))
    with pytest.raises(BadInput, match=r"toml:6: --samples is 2,000,000, and --schedule linear:1e6"):
        Experiment(str(path)).tasks()
