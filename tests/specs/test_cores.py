"""How many runs at a time: what the process may use, not what the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

from harness.specs import cores

SAY = "import os; os.sched_setaffinity(0, {%d}); from harness.specs.cores import usable_cores; print(usable_cores())"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system without")
def test_a_process_that_may_use_one_core_counts_one() -> None:
    code = SAY % min(os.sched_getaffinity(0))
    assert subprocess.check_output([sys.executable, "-P", "-c", code], env=environment(), text=True) == "1\n"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for control groups, and a process that may use eight cores."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (None, {}, 8),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/../../host\n", {"cpu.max": "300000 100000"}, 3),
        ("4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/host\n0::/\n", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("4:memory:/\nnonsense\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_the_quota_of_a_container_counts(groups: Path, own: str | None, files: dict[str, str], expected: int) -> None:
    if own is not None:
        (groups / "own").write_text(own)
    for name, content in files.items():
        (groups / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / "cgroup" / name).write_text(content)
    assert cores.usable_cores() == expected
