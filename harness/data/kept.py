"""What is kept of the user's own data: splits of points that are too large for the memory, as files in the user's cache.

Each takes as much room as its points, and is made again when it is needed.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from harness.data.download import cache_folder
from harness.store.gc import Garbage

WHAT = "own-data split"

LOCK = "lock"
"""Held by who makes or removes what is beside it."""


def folder() -> Path:
    """Return the folder of all splits; below it each dataset, with its settings, has one of its own."""
    return cache_folder("own-data")


def kept() -> list[Garbage]:
    """Return the files that are there, those half written too."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for own in sorted(path for path in folder().iterdir() if path.is_dir() and not path.is_symlink()):
            found += [
                Garbage(WHAT, "", path, path.lstat().st_size) for path in sorted(own.iterdir()) if path.name != LOCK
            ]
    return found


def remove(found: Sequence[Garbage]) -> list[Garbage]:
    """Remove files that `kept` returned, and return them, with a reason where one is left.

    A process that has one open goes on with it. One that a process is making at the moment is left.
    """
    import filelock

    out = []
    for own in dict.fromkeys(one.path.parent for one in found):
        here = [one for one in found if one.path.parent == own]
        try:
            with filelock.FileLock(own / LOCK, timeout=0):
                for one in here:
                    one.path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # where an open file cannot be removed
                    (own / LOCK).unlink()
            with contextlib.suppress(OSError):  # another process has begun to make it again
                own.rmdir()
        except filelock.Timeout:
            out += [one._replace(reason="a process is making it") for one in here]
            continue
        except OSError as error:
            left = f"{error.strerror}: make the cache writable"
            out += [one._replace(reason=left) if os.path.lexists(one.path) else one for one in here]
            continue
        out += here
    return out
