"""A run is called done only where what it was computed from is what is here now: its data, and the code of the user's files."""

import hashlib
import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import PLUGINS, Result, user_names

from harness.errors import BadInput, PluginFailed
from harness.specs import registry
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

TABLE = '''"""Rows of 0 and 1 from a file."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from harness import api


class Config(api.Config):
    """Where they are."""

    path: str = api.setting("data.csv", "file of rows")


def load(config, data_dir=None):
    """Return the rows, the last fifth for tests."""
    path = Path(data_dir or ".") / config.path
    if not path.exists():
        raise api.files.MissingData(f"{path} does not exist: give --path")
    rows = torch.tensor(np.loadtxt(path, delimiter=","), dtype=torch.float32)
    n = len(rows) * 4 // 5
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return api.Dataset(train=rows[:n], test=rows[n:], kind="binary", sha256=sha256, source=str(path))
'''


def rows(seed: int) -> str:
    rng = random.Random(seed)
    return "".join(",".join(rng.choice("01") for _ in range(6)) + "\n" for _ in range(50))


@pytest.fixture
def words(tmp_path: Path) -> list[object]:
    (tmp_path / "table.py").write_text(TABLE)
    (tmp_path / "data.csv").write_text(rows(1))
    where = ["--dataset", tmp_path / "table.py", "--path", tmp_path / "data.csv"]
    return ["run", "--algo", "aevb", *where, "--nz", 2, "--hidden", 5, "--batch-size", 10, "--samples", 500]


def test_other_data_under_the_same_path_are_not_passed_over(
    harness: Harness, words: list[object], tmp_path: Path
) -> None:
    assert harness(*words).code == 0
    assert "was done already" in harness(*words).out
    (tmp_path / "data.csv").write_text(rows(2))
    done = harness(*words)
    assert (done.code, done.out) == (2, "")
    (run,) = Store(tmp_path / "results").runs()
    before, now = run.read().provenance[-1]["dataset"]["sha256"], sha256(tmp_path / "data.csv")
    assert done.err == (
        f"harness: run {run.id} was trained on other data (SHA-256 {before[:12]}) than those in {tmp_path / 'data.csv'} now "
        f"({now[:12]}): name its own with --data-dir, or delete {str(run.path)!r} to train on these\n"
    )
    shutil.rmtree(run.path)
    assert harness(*words).code == 0


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_data_that_are_gone_or_in_another_folder(harness: Harness, words: list[object], tmp_path: Path) -> None:
    words[words.index(tmp_path / "data.csv")] = "data.csv"
    other = tmp_path / "other"
    other.mkdir()
    assert harness(*words, "--data-dir", tmp_path).code == 0
    gone = harness(*words, "--data-dir", other)
    assert gone.code != 0
    assert "is done, but its data cannot be compared with those here: " in gone.err
    (other / "data.csv").write_text(rows(3))
    assert "was trained on other data" in harness(*words, "--data-dir", other).err
    assert "was done already" in harness(*words, "--data-dir", tmp_path).out


def written(folder: Path, seeds: list[int]) -> Path:
    """Write an experiment on the table of a folder, and return its path."""
    path = folder / "mine.toml"
    where = f'dataset = "{folder / "table.py"}"\npath = "{folder / "data.csv"}"\n'
    path.write_text(
        f'[base]\n{where}nz = 2\nhidden = 5\nbatch-size = 10\nsamples = 300\n[[grid]]\nalgo = "aevb"\nseed = {seeds}\n'
    )
    return path


def test_a_plugin_that_does_not_look_before_it_reads(harness: Harness, words: list[object], tmp_path: Path) -> None:
    text = TABLE.replace("    if not path.exists():", "    if False:").replace(", source=str(path)", "")
    (tmp_path / "table.py").write_text(text)
    assert harness(*words).code == 0
    (tmp_path / "data.csv").write_text(rows(2))
    assert "than those in dataset 'table' now" in harness(*words).err
    (tmp_path / "data.csv").unlink()
    for more in ((), ("--seed", 1)):  # of a run that is done, and of a new one
        done = harness(*words, *more)
        assert done.code != 0
        assert re.search(r"the data of dataset 'table' cannot be read \(FileNotFoundError: .*data.csv", done.err), (
            done.err
        )


def test_a_sweep_says_it_and_does_the_rest(harness: Harness, words: list[object], tmp_path: Path) -> None:
    experiment = written(tmp_path, seeds=[0, 1])
    assert harness("sweep", experiment, "--only", "seed=0").code == 0
    (tmp_path / "data.csv").write_text(rows(2))
    done = harness("sweep", experiment)
    assert done.code == 3
    assert done.out.startswith("mine: 1 failed, 1 done\n")
    assert "was trained on other data" in done.out
    planned = json.loads(harness("sweep", experiment, "--dry-run", "--json").out)
    assert sorted(row["state"] for row in planned) == ["done", "other data"]


def test_a_gate_makes_its_runs_again_on_other_data(harness: Harness, words: list[object], tmp_path: Path) -> None:
    written(tmp_path, seeds=[0])
    gate = tmp_path / "gate.toml"
    gate.write_text('experiment = "mine.toml"\n[[claim]]\nkind = "bound"\nat = 300\nleast = -100\n')
    groups = []
    for seed, made in ((1, 1), (1, 0), (2, 1)):
        (tmp_path / "data.csv").write_text(rows(seed))
        done = harness("check", gate, "--run")
        assert done.code == 0, done.out + done.err
        assert f"made {made} of 1 runs" in done.err
        groups.append({run.path.parent.name for run in Store(tmp_path / "results").runs()})
    assert [len(group) for group in groups] == [1, 1, 2]
    (tmp_path / "data.csv").unlink()
    gone = harness("check", gate, "--run")
    assert gone.code == 3
    assert "does not exist: give --path" in gone.err


def test_a_module_beside_a_plugin_is_part_of_it(harness: Harness, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text((PLUGINS / "renyi.py").read_text().replace("import torch\n", "import torch\nimport scales\n", 1))
    (tmp_path / "scales.py").write_text("from deeper.inner import VALUE\n")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "inner.py").write_text("VALUE = 1\n")
    words = ["run", "--algo", mine, "--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--samples", 300]
    assert harness(*words).code == 0
    (first,) = Store(tmp_path / "results").runs()
    assert registry.get("algorithms", user_names(mine)).module.scales.VALUE == 1
    (tmp_path / "deeper" / "inner.py").write_text("VALUE = 2\n")
    unnamed = harness("extend", first.id, "--samples", 600)
    assert unnamed.code == 2
    assert f"name it in this command by --algo {shlex.quote(str(mine))}" in unnamed.err
    done = harness("extend", first.id, "--samples", 600, "--algo", mine)
    assert done.code == 2
    assert "mine.py or deeper/inner.py or scales.py has changed since this run began" in done.err
    assert "done already" not in harness(*words).out
    assert len(list(Store(tmp_path / "results").runs())) == 2


def test_each_plugin_has_its_own(tmp_path: Path) -> None:
    plugins = []
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        text = (PLUGINS / "renyi.py").read_text().replace("import torch\n", "import torch\nimport scales\n", 1)
        (folder / f"mine{n}.py").write_text(text)
        (folder / "scales.py").write_text(f"VALUE = {n}\n")
        plugins.append(registry.get("algorithms", user_names(folder / f"mine{n}.py")))
    assert [plugin.module.scales.VALUE for plugin in plugins] == [1, 2]
    alone = registry.get("algorithms", user_names(PLUGINS / "renyi.py"))
    assert alone.sha256 == sha256(PLUGINS / "renyi.py")  # as in stored runs


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("def late():\n    import scales\n", "scales.py is imported within a function: import it at the top"),
        ("import scales\nimport nowhere\n", "No module named 'nowhere'"),
        ("import support\n", "'support' beside it has the name of a module that is imported already: rename it"),
    ],
)
def test_what_cannot_be_imported_is_told(tmp_path: Path, head: str, said: str) -> None:
    (tmp_path / "scales.py").write_text("VALUE = 1\n")
    (tmp_path / "support.py").write_text("")
    (tmp_path / "mine.py").write_text(
        (PLUGINS / "renyi.py").read_text().replace("import torch\n", "import torch\n" + head, 1)
    )
    with pytest.raises((BadInput, PluginFailed), match=said):
        registry.get("algorithms", user_names(tmp_path / "mine.py"))
