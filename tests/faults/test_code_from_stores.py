"""Code that a store names is not executed: it is planted in every place of every stored file, and commands are run on that.

The planted file makes a folder when it is executed. Where a place has neighbours that make it more believable, such as the
SHA-256 of the file, they are planted, too.
"""

import contextlib
import copy
import importlib.util
import json
import py_compile
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from faulty import Survived
from support import PLUGINS, Result, user_names

from harness.analysis import export
from harness.errors import BadInput, HarnessError
from harness.files import seal, unseal
from harness.specs import named, plugin_file, registry
from harness.store import checkpoint as checkpoints
from harness.store.run import Run
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]
Place = tuple[str | int, ...]

NEAR = {"algorithm", "model", "dataset", "estimators", "file", "estimator"}  # parts of a place where plugins are named

EXECUTING = (
    ("evaluate", "{run}", "--estimator", "lower-bound", "--points", 5),
    ("certify", "{run}", "--points", 2, "--distributions", 2, "--chains", 2),
    ("extend", "{run}", "--samples", 500),
    ("resume", "{run}"),
    ("plot", "samples", "{run}", "--out", "{folder}/a.png"),
)

READING = (
    ("show", "{run}"), ("show", "{run}", "--source"), ("list",), ("list", "algo=aevb"), ("compare", "{run}", "{run}", "--json"),
    ("export", "--format", "json", "--out", "{folder}/a.json"), ("gc", "--dry-run"), ("rm", "{run}", "--dry-run"),
    ("doctor", "--store"), ("plot", "{run}", "--out", "{folder}/b.png"),
)  # fmt: skip

ESTIMATOR = '''"""The same for all points."""
import torch
from harness import api
DIRECTION, NEEDS = "lower", ()
class Config(api.Config):
    """None."""
def skip(config, model, recognition):
    return None
def estimate(model, recognition, x, config, rng):
    return api.PerPoint(torch.full((len(x),), -5.0), torch.zeros(len(x)))
'''


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A folder that is made when planted code is executed."""
    return tmp_path / "executed"


@pytest.fixture
def planted(tmp_path: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The planted file, in the working folder, which is not in the store."""
    path = tmp_path / "here" / "evil.py"
    path.parent.mkdir()
    path.write_text(f"import os\nos.makedirs({str(sentinel)!r}, exist_ok=True)\n{ESTIMATOR}")
    monkeypatch.chdir(path.parent)
    return path


@pytest.fixture
def run(harness: Harness, tmp_path: Path) -> Run:
    """A run that was evaluated by another estimator afterwards."""
    words = ["--algo", "aevb", "--dataset", toy.__file__, "--nz", 2, "--hidden", 4, "--batch-size", 20]
    assert harness("run", *words, "--samples", 300, "--eval-points", 20).code == 0
    (run,) = Store(tmp_path / "results").runs()
    assert harness("evaluate", run.id, "--estimator", "importance", "--points", 5).code == 0
    return run


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield the places of plain data where there is no number, with what is there."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*place, key))
    elif value is None or isinstance(value, str):
        yield place, value


def plantings(content: Any, path: str, sha: str) -> Iterator[tuple[Place, Any]]:
    """Yield the content with the path in each place, alone and with the neighbours that make it believable."""
    for place, _ in leaves(content):
        changed = copy.deepcopy(content)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = path
        yield place, copy.deepcopy(changed)
        if place[-1] == "file":
            inner["sha256"] = sha
            if "name" in inner:
                inner["name"] = "evil"
            elif "estimate" in inner:
                inner["estimate"]["estimator"] = "evil"
            yield place, changed


def variants(name: str, whole: Path, path: str, sha: str) -> Iterator[tuple[Place, dict[str, bytes]]]:
    """Yield files of a run with the path planted in one of them, sealed like any other."""
    content = (whole / name).read_bytes()
    if name in ("run.json", "evaluations.json"):
        for place, changed in plantings(unseal(content), path, sha):
            yield place, {name: seal(changed)}
    elif name == "trace.jsonl":
        record = unseal((whole / "run.json").read_bytes())
        for place, rows in plantings([json.loads(line) for line in content.splitlines()], path, sha):
            trace = "".join(json.dumps(row) + "\n" for row in rows).encode()
            of = {"rows": len(rows), "bytes": len(trace), "sha256": sha256(trace).hexdigest()}
            yield place, {name: trace, "run.json": seal(record | {"trace": of})}
    elif name == checkpoints.NAME:
        for place, state in plantings(checkpoints.decode(content), path, sha):
            yield place, {name: checkpoints.encode(state)}
    else:
        yield (), {name: path.encode()}
        yield (), {name: json.dumps({"file": path, "host": path, "pid": path}).encode()}


def ways(planted: Path) -> list[str]:
    """Return how the file can be written so that a check of its place might be passed."""
    here = planted.parent
    (here / "link.py").symlink_to(planted)
    (here.parent / "linked").symlink_to(here)
    return [
        "evil.py", "evil.py.py", f"/proc/self/cwd/{planted.name}", str(here / "link.py"), f"{here.parent}/linked/evil.py",
        f"{here}/../{here.name}/evil.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["run.json", "evaluations.json", "trace.jsonl", checkpoints.NAME, "owner.json", "traceback.txt"]
)
def test_nothing_that_a_store_names_is_executed(
    name: str, run: Run, planted: Path, sentinel: Path, harness: Harness, tmp_path: Path, survived: Survived, full: bool
) -> None:
    whole, tried = tmp_path / "whole", 0
    shutil.copytree(run.path, whole)
    (whole / "traceback.txt").touch()
    (whole / "owner.json").touch()
    sha = plugin_file.read(planted).sha256
    for path in [str(planted), *ways(planted)]:
        for place, files in variants(name, whole, path, sha):
            last = str((*place, "")[-1])
            near = bool(NEAR & set(map(str, place))) and last in ("file", "name", "estimator")
            if path != str(planted) and not (near and (full or last == "file")):
                continue
            commands = [*(EXECUTING if near or full else ()), *(READING if full else READING[:1])]
            for words in commands:
                shutil.rmtree(run.path)
                shutil.copytree(whole, run.path, ignore=shutil.ignore_patterns("traceback.txt", "owner.json"))
                for file, content in files.items():
                    (run.path / file).write_bytes(content)
                done = harness(*(str(word).format(run=run.id, folder=tmp_path) for word in words))
                assert not sentinel.exists(), (words, place, path)
                assert "Traceback" not in done.err
                tried += 1
    assert tried
    survived("code planted in a stored file, and a command", tried, tried)


@pytest.mark.parametrize("name", ["run.json", "evaluations.json"])
def test_what_verification_starts_executes_nothing_that_a_store_names(
    name: str, run: Run, planted: Path, sentinel: Path, tmp_path: Path, survived: Survived
) -> None:
    """The part of it that its processes do, which know what files the user has named and no more."""
    from harness.runs.verify import _evaluated_again, _trained_again

    whole, tried = tmp_path / "whole", 0
    shutil.copytree(run.path, whole)
    sha = plugin_file.read(planted).sha256
    named.forget()
    for place, files in variants(name, whole, str(planted), sha):
        if NEAR & set(map(str, place)) and place[-1] in ("file", "name", "estimator"):
            (run.path / name).write_bytes(files[name])
            for again in (_evaluated_again, _trained_again):
                with contextlib.suppress(HarnessError):
                    again(Run(run.path), None)
                assert not sentinel.exists(), (again, place)
                tried += 1
    assert tried
    survived("code planted in a stored file, and verification", tried, tried)


def test_no_baseline_names_code(
    planted: Path, sentinel: Path, harness: Harness, tmp_path: Path, survived: Survived
) -> None:
    """It has the specifications of runs, which name files."""
    base, claims = tmp_path / "base.json", tmp_path / "claims.toml"
    claims.write_text(
        'group = "runs"\nbaseline = "base.json"\n[[claim]]\nkind = "baseline"\nat = "end"\ntolerance = 0.1\n'
        '[[claim]]\nkind = "cost"\ntimes-baseline = 2\n'
    )
    for seed in (0, 1):
        words = ["--algo", "aevb", "--dataset", toy.__file__, "--nz", 2, "--hidden", 4, "--seed", seed]
        assert harness("run", *words, "--samples", 300, "--eval-points", 20).code == 0
    assert harness("baseline", "save", claims).code == 0
    assert harness("check", claims).code == 0
    tried = 0
    for place, changed in plantings(json.loads(base.read_text()), str(planted), plugin_file.read(planted).sha256):
        base.write_text(json.dumps(changed))
        for words in (("check", claims), ("baseline", "show", base)):
            done = harness(*words)
            assert not sentinel.exists(), (words, place)
            assert done.code in (0, 1, 2), (place, done.err)
            tried += 1
    survived("code planted in a baseline, and a command", tried, tried)


def test_no_export_names_code(
    run: Run, planted: Path, sentinel: Path, harness: Harness, tmp_path: Path, survived: Survived
) -> None:
    """No command reads one but to see that it is one, and what reads it returns plain data."""
    out, tried = tmp_path / "out.json", 0
    assert harness("export", "--format", "json", "--out", out).code == 0
    for _, changed in plantings(json.loads(out.read_text()), str(planted), plugin_file.read(planted).sha256):
        out.write_text(json.dumps(changed))
        with contextlib.suppress(BadInput):
            export.read(out)
        assert not sentinel.exists()
        tried += 1
    assert harness("export", "--format", "json", "--out", out).code == 2  # as it is written otherwise
    survived("code planted in an export, and read", tried, tried)


def algorithm(folder: Path, sentinel: Path) -> Path:
    """Return an algorithm's file, which makes a folder when it is executed."""
    path = folder / "mine.py"
    text = (PLUGINS / "renyi.py").read_text().replace("import math\n", "import math, os\n", 1)
    path.write_text(text.replace("TRAITS =", f"os.makedirs({str(sentinel)!r}, exist_ok=True)\nTRAITS =", 1))
    return path


def unloaded(sentinel: Path) -> None:
    """Forget that planted code was executed, and that it is imported."""
    shutil.rmtree(sentinel)
    for name in [name for name in sys.modules if name.startswith(plugin_file.PREFIX)]:
        del sys.modules[name]


def test_a_run_goes_on_when_its_file_is_named_wherever_it_is_now(
    harness: Harness, tmp_path: Path, sentinel: Path
) -> None:
    mine = algorithm(tmp_path, sentinel)
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 4, "--samples", 300]
    assert harness("run", "--algo", mine, *words).code == 0
    (run,) = Store(tmp_path / "results").runs()
    unloaded(sentinel)
    refused = harness("extend", run.id, "--samples", 600)
    assert (refused.code, sentinel.exists()) == (2, False)
    assert refused.err == (
        f"harness: run {run.id} was made by code in files, and code that only a store names is not executed: look at it, and "
        f"name it in this command by --algo {mine}\n"
    )
    assert harness("evaluate", run.id, "--estimator", "lower-bound", "--points", 5).code == 0  # without the algorithm
    assert harness("plot", "samples", run.id, "--out", tmp_path / "a.png").code == 2  # toy data are no images
    assert not sentinel.exists()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    mine.rename(elsewhere / "mine.py")
    (other := tmp_path / "other.py").write_text((PLUGINS / "renyi.py").read_text())
    assert harness("extend", run.id, "--samples", 600, "--algo", other).code == 2
    done = harness("extend", run.id, "--samples", 600, "--algo", other, "--algo", elsewhere / "mine.py")
    assert done.code == 0, done.err
    assert sentinel.exists()
    (elsewhere / "mine.py").write_text((PLUGINS / "renyi.py").read_text())
    changed = harness("extend", run.id, "--samples", 9000, "--algo", elsewhere / "mine.py")
    assert changed.code == 2
    assert "mine.py has changed since this run began" in changed.err


def test_the_option_to_repeat_is_one_word_for_a_shell(run: Run, harness: Harness) -> None:
    """Whoever pastes it executes nothing, whatever the store calls its file."""
    path = "/tmp/it's $(touch x).py"
    record = unseal((run.path / "run.json").read_bytes())
    record["spec"]["dataset"] |= {"file": path, "sha256": "a" * 64}
    (run.path / "run.json").write_bytes(seal(record))
    said = harness("extend", run.id, "--samples", 600)
    assert (said.code, shlex.split(said.err.rpartition(" by ")[2])) == (2, ["--dataset", path])
    assert shlex.split(named.again(record["spec"])) == ["--dataset", path]
    with pytest.raises(named.NotNamed) as error:
        registry.stored("estimators", "evil", path, "a" * 64)
    assert shlex.split(str(error.value).rpartition(" with ")[2]) == ["--estimator", path]


@pytest.mark.parametrize("name", ["$(touch x)", "a;b", "-rf", "A", "\x1b[31m", "a\n::error::b"])
def test_a_run_of_another_name_than_runs_have_is_none(name: str, run: Run, harness: Harness) -> None:
    """Sentences name runs in commands to be repeated."""
    record = unseal((run.path / "run.json").read_bytes())
    run.path.rename(run.path.parent / name)
    (run.path.parent / name / "run.json").write_bytes(seal(record | {"run": name, "status": "interrupted"}))
    assert "unreadable" in harness("list").out
    with pytest.raises(BadInput, match="has content that no run has"):
        Run(run.path.parent / name).read()


@pytest.mark.parametrize("given", ["aevb", "none.py", "."])
def test_what_is_named_has_to_be_a_file(given: str, run: Run, harness: Harness) -> None:
    said = harness("extend", run.id, "--samples", 600, "--algo", given)
    assert (said.code, f"--algo is {given!r}: give the path of a .py file" in said.err) == (2, True)


def test_an_estimator_of_a_file_is_certified_when_it_is_named(
    run: Run, planted: Path, sentinel: Path, harness: Harness
) -> None:
    assert harness("evaluate", run.id, "--estimator", planted, "--points", 5).code == 0
    assert run.evaluations()[-1]["sha256"] == plugin_file.read(planted).sha256
    unloaded(sentinel)
    words = ["certify", run.id, "--points", 2, "--distributions", 2, "--chains", 2, "--tolerance", 1000]
    refused = harness(*words)
    assert (refused.code, sentinel.exists()) == (2, False)
    assert f"look at it, and name it with --estimator {planted}" in refused.err
    assert harness(*words, "--estimator", planted).code == 0
    assert sentinel.exists()


def test_a_choice_of_tuning_chooses_nothing_else(
    planted: Path, sentinel: Path, harness: Harness, tmp_path: Path
) -> None:
    """Nor does any other word of a study: one that was edited so that it chooses an algorithm, too, is done again."""
    experiment = tmp_path / "mine.toml"
    experiment.write_text(
        f'[base]\ndataset = "{toy.__file__}"\nnz = 2\nhidden = 4\nsamples = 300\n'
        '[tune]\nsamples = 100\n[[grid]]\nalgo = "aevb"\nlr = "tuned"\n'
    )
    assert harness("sweep", experiment, "--jobs", 1).code == 0
    (study,) = (tmp_path / "results" / "tune").glob("*.json")
    content = unseal(study.read_bytes())
    sha = plugin_file.read(planted).sha256
    added = content | {"chosen": content["chosen"] | {"algo": str(planted)}}
    tuned = ["--algo", "aevb", "--dataset", toy.__file__, "--nz", 2, "--hidden", 4, "--lr", "tuned", "--samples", 300]
    for place, changed in [(("chosen", "algo"), added), *plantings(content, str(planted), sha)]:
        study.write_bytes(seal(changed))
        for words in (["sweep", experiment, "--dry-run"], ["run", *tuned]):
            assert harness(*words).code in (0, 2), place
            assert not sentinel.exists(), place


@pytest.mark.parametrize("path", ["evil.py", "./evil.py", "/proc/self/cwd/evil.py"])
def test_the_gate_itself(path: str, planted: Path, sentinel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks: a file is executed when it was named, and one that was named before is not by another command."""
    named.forget()
    for _ in range(2):
        with pytest.raises(named.NotNamed, match="was not named in this command"):
            registry.get("estimators", path)
        with pytest.raises(named.NotNamed, match="not named in this command"):
            plugin_file.execute(plugin_file.read(Path(path)), "any")
        with pytest.raises(BadInput, match="there is no estimator 'evil"):
            registry.stored("estimators", f"{path}.py", None, None)
        assert not sentinel.exists()
        named.forget()
    assert registry.get("estimators", user_names(Path(path))).broken is None
    assert sentinel.exists()
    unloaded(sentinel)


def test_modules_beside_a_file_are_what_was_read(tmp_path: Path, sentinel: Path) -> None:
    """A compiled file takes no module's place, nor does a file of a name that Python's own library has."""
    mine = algorithm(tmp_path, sentinel)
    mine.write_text(mine.read_text().replace("import math", "import sched, scales, math", 1))
    (tmp_path / "sched.py").write_text("1 / 0")
    helper = tmp_path / "scales.py"
    helper.write_text("VALUE = 2")
    compiled = Path(py_compile.compile(str(helper), importlib.util.cache_from_source(str(helper))))
    helper.write_text("VALUE = 1")
    content = compiled.read_bytes()
    status = helper.stat()
    stamp = int(status.st_mtime).to_bytes(4, "little") + status.st_size.to_bytes(4, "little")
    compiled.write_bytes(content[:8] + stamp + content[16:])
    sys.modules.pop("sched", None)
    assert registry.get("algorithms", user_names(mine)).module.scales.VALUE == 1
    unloaded(sentinel)
