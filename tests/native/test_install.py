"""The compiled library in a wheel: there with a C compiler, left out without one, and the wheel works either way."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = "run --algo aevb --dataset toy-linear-gaussian --samples 2000 --json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the sources, without anything that was built."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "inference_harness_pytest.py"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("harness", "algorithms", "datasets"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return tmp_path


def installed(source: Path, **environment: str) -> tuple[str, Path]:
    """Build a wheel, and return its name and the folder in which it is unpacked."""
    code = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    folder = source / "installed"
    zipfile.ZipFile(source / "dist" / name).extractall(folder)
    return name, folder


def harness(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "HARNESS_RESULTS": str(folder / "results")}
    code = (
        "import sys, harness; assert harness.__file__.startswith(sys.argv.pop(1)); from harness.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder), *words],
        env=environment,
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_with_a_compiler(source: Path) -> None:
    name, folder = installed(source)
    assert "-cp311-abi3-" in name
    assert (folder / "harness" / "native" / "_kernels.abi3.so").is_file()
    harness(folder, *TRAIN.split())
    assert '"primitives": "compiled' in next((folder / "results" / "runs").glob("*/run.json")).read_text()


@pytest.mark.slow
def test_without_a_compiler(source: Path) -> None:
    _, folder = installed(source, CC="no-such-compiler")
    assert not list(folder.rglob("_kernels*"))
    harness(folder, *TRAIN.split())
    assert '"primitives": "PyTorch alone"' in next((folder / "results" / "runs").glob("*/run.json")).read_text()
