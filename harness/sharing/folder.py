"""A publication that is a folder: it is a store, and every command takes it by --results."""

import os
import stat
from pathlib import Path

from harness.sharing.members import MODELS, RECORDS, Incoming, Place, is_name


def gather(folder: Path, into: Incoming) -> None:
    """Copy the files of all runs in a folder that has the form of a store; what else is there is left alone.

    Raises:
        BadInput: something in the place of a group, of a run or of its files is a link, a device or no file; or as
            `Incoming.take`.
    """
    for group in _folders(folder, into):
        for run in _folders(group, into):
            if not os.path.lexists(run / "run.json"):
                continue
            for name in (*RECORDS, *MODELS):
                if os.path.lexists(run / name):
                    _copy(run / name, Place(group.name, run.name, name), into)


def _folders(folder: Path, into: Incoming) -> list[Path]:
    """Return the folders in a folder that are called as groups and runs are."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not is_name(entry.name):
            continue
        if entry.is_symlink() and entry.is_dir():
            raise into.refusal(f"has {entry.name!r}, which is a link")
        if entry.is_dir(follow_symlinks=False):
            found.append(Path(entry.path))
    return found


def _copy(path: Path, place: Place, into: Incoming) -> None:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    what = f"has {place.below}, which is no plain file"
    if not stat.S_ISREG(path.lstat().st_mode):
        raise into.refusal(what)
    with os.fdopen(os.open(path, flags), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise into.refusal(what)
        into.take(place, file, about.st_size)
