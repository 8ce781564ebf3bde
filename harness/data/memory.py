"""How much memory there is, and so how much of the user's own data is kept in it."""

import os
from pathlib import Path

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # of a container

UNKNOWN = 1 << 33  # bytes that are assumed where a system does not tell


def memory() -> int:
    """Return the bytes of memory of this machine, or of the container that the process runs in."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = UNKNOWN
    for limit in _LIMITS:
        try:
            found = min(found, int(limit.read_text()))
        except (OSError, ValueError):  # there is none
            continue
    return found


def most_in_memory() -> int:
    """Return how many bytes the points of a dataset may take in memory, half of it; more are read from disk."""
    return memory() // 2
