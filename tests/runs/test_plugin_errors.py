"""A mistake in a plugin is its author's: file, line, function and the line itself, exit code 3, and a run that is failed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import PLUGINS, Result

from harness.errors import PluginFailed
from harness.runs.runner import _never_began
from harness.store.record import Record
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

DATASET = (Path(toy.__file__)).read_text()

MODEL = (PLUGINS / "two_layer_net.py").read_text()

ESTIMATOR = '''"""The lower bound with a mistake."""

from harness.estimators.lower_bound import DIRECTION, NEEDS, Config, skip  # noqa: F401


def estimate(model, recognition, x, config, rng):
    return nothing_of_this_name
'''

WORDS = ["--nz", 2, "--hidden", 4, "--batch-size", 10, "--samples", 100, "--first-mark", 50]


def line_of(text: str, part: str) -> int:
    """Return the number of the line that has this in it."""
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    ("before", "after", "function"),
    [
        ("    params = [", "    oops = tau\n    params = [", "init"),
        ("    q = state", "    oops = tau\n    q = state", "step"),
    ],
)
def test_of_an_algorithm(harness: Harness, tmp_path: Path, before: str, after: str, function: str) -> None:
    text = (PLUGINS / "renyi.py").read_text().replace(before, after, 1)
    (tmp_path / "dreg.py").write_text(text)
    words = ["run", "--algo", tmp_path / "dreg.py", "--dataset", toy.__file__, *WORDS]
    done = harness(*words)
    (run,) = Store(tmp_path / "results").runs()
    said = f"algorithm 'dreg': dreg.py:{line_of(text, 'oops')} in {function}: NameError: name 'tau' is not defined: `oops = tau`"
    assert (done.code, done.out) == (3, "")
    assert done.err == f"harness: run {run.id} failed: {said}; its traceback: `harness show {run.id} --traceback`\n"
    assert (run.read().status, run.read().reason) == ("failed", said)
    shown = harness("show", run.id, "--traceback").out.splitlines()
    assert shown[0] == "Traceback (most recent call last):"
    assert shown[-1] == "NameError: name 'tau' is not defined"
    assert "    oops = tau" in shown
    assert harness("show", run.id).code == 0
    again = harness(*words)
    assert (again.code, again.err.startswith(f"harness: run {run.id} failed before: {said}")) == (3, True)
    assert list(Store(tmp_path / "results").damage()) == []


def test_a_run_that_exists_is_not_written_over(harness: Harness, tmp_path: Path) -> None:
    """A plugin that fails before the first step leaves alone what an earlier session, or another process, has stored."""
    data = tmp_path / "data.py"
    data.write_text(DATASET)
    words = ["run", "--algo", "aevb", "--dataset", data, *WORDS]
    assert harness(*words).code == 0
    (run,) = Store(tmp_path / "results").runs()
    record = run.read()
    record.status = "running"  # as that of a process that was killed, with rows since its last save
    run.claim()
    run.write(record)
    run.append(record, run.rows()[-1])
    run.release()
    before = (run.path / "run.json").read_bytes()
    broken = DATASET.replace("def load(", "def load(*given):\n    return given[0] / 0\n\n\ndef other(")
    record_of = Record(run.id, record.spec, record.budget)
    _never_began(run, record_of, PluginFailed("it failed", "Traceback"), print)
    assert (run.path / "run.json").read_bytes() == before
    data.write_text(broken)
    assert harness("resume", run.id, "--dataset", data).code in (2, 3)
    assert (run.path / "run.json").read_bytes() == before
    assert run.content()[0].status == "running"


def test_of_a_dataset_a_model_and_an_estimator(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        DATASET.replace("def load(", "def load(*given):\n    return given[0] / 0\n\n\ndef other(")
    )
    (tmp_path / "less.py").write_text(
        DATASET.replace("def load(", "def load(*given):\n    return [1, 2]\n\n\ndef other(")
    )
    (tmp_path / "net.py").write_text(
        MODEL.replace("def build(", "def build(*given):\n    return {}['key']\n\n\ndef other(")
    )
    (tmp_path / "bound.py").write_text(ESTIMATOR)
    cases = [
        (["--dataset", tmp_path / "data.py"], "dataset 'data': data.py:", " in load: TypeError: ", "`return given[0] / 0`"),
        (["--dataset", tmp_path / "less.py"], "dataset 'less': less.py: TypeError: load returned list", "and not a", "Dataset"),
        (
            ["--dataset", toy.__file__, "--model", tmp_path / "net.py"],
            "model 'net': net.py:", " in build: KeyError: 'key'", "`return {}['key']`",
        ),
        (
            ["--dataset", toy.__file__, "--marginal", tmp_path / "bound.py"],
            "estimator 'bound': bound.py:7 in estimate: NameError: ", "", "`return nothing_of_this_name`",
        ),
    ]  # fmt: skip
    for more, *parts in cases:
        words = [*WORDS, *more] if "--model" not in more else ["--batch-size", 10, "--samples", 100, *more]
        done = harness("run", "--algo", "aevb", *words)
        assert done.code == 3, done.err
        assert all(part in done.err for part in parts), done.err
    statuses = [run.read().status for run in Store(tmp_path / "results").runs()]
    assert statuses == ["failed"] * len(cases)
    (run,) = [
        run for run in Store(tmp_path / "results").runs() if run.rows() == [] and "toy" in run.id and run.checkpoint()
    ]
    assert "estimator 'bound'" in str(run.read().reason)


def test_a_mistake_in_a_module_beside_it_and_a_later_edit(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "scales.py").write_text("def scale(x):\n    return x / 0\n")
    text = (PLUGINS / "renyi.py").read_text().replace("import torch\n", "import torch\nimport scales\n", 1)
    (tmp_path / "dreg.py").write_text(text.replace("    params = [", "    scales.scale(1)\n    params = [", 1))
    done = harness("run", "--algo", tmp_path / "dreg.py", "--dataset", toy.__file__, *WORDS)
    assert "algorithm 'dreg': scales.py:2 in scale: ZeroDivisionError: division by zero: `return x / 0`" in done.err


def test_evaluating_with_a_mistake_keeps_the_run(harness: Harness, tmp_path: Path) -> None:
    assert harness("run", "--algo", "aevb", "--dataset", toy.__file__, *WORDS).code == 0
    (run,) = Store(tmp_path / "results").runs()
    (tmp_path / "bound.py").write_text(ESTIMATOR)
    done = harness("evaluate", run.id, "--estimator", tmp_path / "bound.py")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("harness: estimator 'bound': bound.py:7 in estimate: NameError")
    assert run.read().status == "done"
    assert "no traceback is stored" in harness("show", run.id, "--traceback").out
    assert (
        "keeps no source" in harness("show", run.id, "--source").out
        or "# toy.py" in harness("show", run.id, "--source").out
    )
