"""How many processors this process may use, which on a shared machine or in a container can be fewer than there are."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return how many processes can compute at a time: by the affinity of this process, and by the quota of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the quotas of CPU time in processors: of the control groups of this process, of version 2 and of version 1."""
    try:
        lines = OWN.read_text().splitlines()
    except (OSError, ValueError):
        return  # a system without
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        inside = root / path.lstrip("/")
        # In a container the path can be the host's, and is not there; the container's own group is the root then.
        for folder in {root, inside, *(parent for parent in inside.parents if root in parent.parents)}:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if controllers else ("cpu.max",)
            try:
                quota, period = " ".join((folder / name).read_text() for name in names).split()
                if int(quota) > 0:
                    yield int(quota) / int(period)
            except (OSError, ValueError, ZeroDivisionError):
                continue  # none, or "max"
