"""Which code this is."""

import functools
import hashlib
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import harness
import harness.algorithms
import harness.datasets

SOURCES = {".py", ".c", ".h"}

PACKAGES = ("torch", "numpy", "pydantic", "pandas", "seaborn", "optuna")


@functools.cache
def code_version() -> dict[str, Any]:
    """Return the version of this package, a SHA-256 over its source, and in a git checkout the commit and whether it is dirty."""
    folder = Path(harness.__file__).parent

    sha = hashlib.sha256()
    for package in (harness, harness.algorithms, harness.datasets):
        for root in package.__path__:
            for file in sorted(file for file in Path(root).rglob("*") if file.suffix in SOURCES):
                sha.update(file.read_bytes())
    found: dict[str, Any] = {
        "version": harness.__version__,
        "source_sha256": sha.hexdigest()[:16],
        "commit": None,
        "dirty": None,
    }
    try:
        root = _git(folder, "rev-parse", "--show-toplevel")
        if (
            Path(root, "harness").resolve() == folder.resolve()
        ):  # not some other project's checkout that we are installed inside
            found["commit"] = _git(folder, "rev-parse", "HEAD")
            found["dirty"] = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        pass
    return found


def fingerprint(more: bytes = b"") -> str:
    """Return eight hexadecimal digits that change with the harness's source, what it computes with, and `more`."""
    from harness.native import path  # which imports PyTorch

    versions = {name: version(name) for name in ("torch", "numpy")}
    return hashlib.sha256(f"{code_version()['source_sha256']} {versions} {path.of('cpu')}".encode() + more).hexdigest()[
        :8
    ]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
