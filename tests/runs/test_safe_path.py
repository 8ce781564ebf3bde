"""Files of the working folder that have the names of library modules are not imported in their place, in any process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from faulty import TINY
from support import environment

import harness
from harness.store.store import Store

EXPERIMENT = "[[grid]]\nalgo = 'aevb'\ndataset = '{dataset}'\nnz = 2\nhidden = 5\nsamples = 300\nseed = 0\n"


@pytest.mark.parametrize("begins", ["python -m", pytest.param("the command", marks=pytest.mark.slow)])
def test_a_sweep_in_a_folder_of_files_with_names_of_modules(begins: str, tmp_path: Path) -> None:
    (here := tmp_path / "here").mkdir()
    (touched := tmp_path / "touched").mkdir()
    names = {*sys.stdlib_module_names, "torch", "numpy", "click", "pandas", "optuna", "resource_tracker"}
    for name in names:
        (here / f"{name}.py").write_text(f"open({str(touched / name)!r}, 'w').close()\nraise ImportError('planted')\n")
    (here / "mine.toml").write_text(EXPERIMENT.format(dataset=TINY[1]))
    script = tmp_path / "bin" / "harness"
    script.parent.mkdir()
    script.write_text("from harness.cli import main\nif __name__ == '__main__':\n    main()\n")
    start = [str(script)] if begins == "the command" else ["-m", "harness"]
    env = environment(PYTHONSAFEPATH="", PYTHONPATH="")
    words = ["sweep", "mine.toml", "--results", str(tmp_path / "results"), "--jobs", "1", "--quiet"]
    done = subprocess.run([sys.executable, *start, *words], cwd=here, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in touched.iterdir()) == []
    assert [run.read().status for run in Store(tmp_path / "results").runs()] == ["done"]


def test_every_python_that_the_engine_starts_has_a_safe_path() -> None:
    """Those of `multiprocessing` are started by `harness.runs.pool` alone; others are given -P."""
    starts = []
    for path in Path(harness.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.executable", "context.Process"):
                starts.append((path.name, ast.unparse(node)))
            if isinstance(node, ast.List) and node.elts and ast.unparse(node.elts[0]) == "sys.executable":
                assert ast.unparse(node.elts[1]) == "'-P'"
    assert sorted(starts) == [
        ("download.py", "sys.executable"), ("pool.py", "context.Process"), ("slurm.py", "sys.executable"),
    ]  # fmt: skip
