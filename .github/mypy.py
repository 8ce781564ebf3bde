"""Run mypy over a copy of the package in which `algorithms` and `datasets` lie where they are imported from."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

with tempfile.TemporaryDirectory() as folder:
    package = Path(folder) / "harness"
    shutil.copytree(ROOT / "harness", package)
    shutil.copy(ROOT / "inference_harness_pytest.py", folder)
    for part in ("algorithms", "datasets"):
        shutil.copytree(ROOT / part, package / part)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "harness"]
    command += ["-m", "inference_harness_pytest"]
    sys.exit(subprocess.run(command, cwd=folder).returncode)
