"""What a run ran on, so that figures from different code, data or machines are never compared unawares (DESIGN §6)."""

import functools
import hashlib
import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import harness
import harness.algorithms
import harness.datasets

PACKAGES = ("torch", "numpy", "pydantic", "pandas", "seaborn", "optuna")


def provenance(dataset_sha256: str) -> dict[str, Any]:
    """Return versions, code, data, machine, and how long the calibration kernel took, as plain data."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "code": code_version(),
        "dataset": {"sha256": dataset_sha256},
        "machine": {
            "cpu": cpu_model(),
            "gpu": torch.cuda.get_device_name() if torch.get_default_device().type == "cuda" else None,
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        },
        "threads": torch.get_num_threads(),
        "flush_denormal": flushes_denormals(),
        "calibration_seconds": calibrate(),
    }


@functools.cache
def code_version() -> dict[str, Any]:
    """Return the version of this package, a SHA-256 over its source, and in a git checkout the commit and whether it is dirty."""
    folder = Path(harness.__file__).parent

    sha = hashlib.sha256()
    for package in (harness, harness.algorithms, harness.datasets):
        for root in package.__path__:
            for path in sorted(Path(root).rglob("*.py")):
                sha.update(path.read_bytes())
    found: dict[str, Any] = {
        "version": harness.__version__,
        "source_sha256": sha.hexdigest()[:16],
        "commit": None,
        "dirty": None,
    }
    try:
        root = _git(folder, "rev-parse", "--show-toplevel")
        if Path(root, "harness") == folder:  # not some other project's checkout that we are installed inside
            found["commit"] = _git(folder, "rev-parse", "HEAD")
            found["dirty"] = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        pass
    return found


def fingerprint(more: bytes = b"") -> str:
    """Return eight hexadecimal digits that change with the harness's source, what it computes with, and `more`."""
    versions = {name: version(name) for name in ("torch", "numpy")}
    return hashlib.sha256(f"{code_version()['source_sha256']} {versions}".encode() + more).hexdigest()[:8]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def flushes_denormals() -> bool:
    """Say whether this process flushes denormal numbers to zero."""
    return bool((torch.tensor([1e-38], device="cpu") * 1e-2).item() == 0.0)


def calibrate(rounds: int = 7) -> float:
    """Return the median CPU seconds of a fixed kernel: twenty products of (100, 784) and (784, 500) matrices."""
    a, b, out = (torch.ones(*shape, device="cpu") for shape in ((100, 784), (784, 500), (100, 500)))
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(20):
            torch.mm(a, b, out=out)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)
