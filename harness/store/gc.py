"""What is removed of a store: what it can do without, and runs that somebody chose.

It can do without quarantined runs, without leftovers of processes that were killed (files half written, and those of locks) and,
if the user says so, without the checkpoints of runs that are done. A run without its checkpoint keeps its settings, curves and
estimates, but has no model: it can be neither extended nor evaluated any more. Nothing is removed that some process owns at the
moment, and nothing behind a symbolic link.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import BadInput, Busy, HarnessError, StoreTrouble
from harness.files import abandoned, require_inside
from harness.store import best
from harness.store.added import LOCKS
from harness.store.run import OWNERS, Run
from harness.store.store import QUARANTINE, Store

_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{8}")

_PROBE = re.compile(r"\.harness-\d+")
"""What a version before this one could leave."""


class Garbage(NamedTuple):
    """Something that can go.

    Attributes:
        what: checkpoint, leftover or quarantined run.
        run: whose it is, with its group.
        path: the file, or the folder of what was quarantined.
        bytes: its size.
        reason: why it could not be removed; None if it could, or has not been tried.
    """

    what: str
    run: str
    path: Path
    bytes: int
    reason: str | None = None


def collect(
    store: Store, groups: Collection[str] = (), *, checkpoints: bool = False, dry_run: bool = False
) -> list[Garbage]:
    """Remove what can go, and return it.

    Args:
        store: the store.
        groups: where to; everywhere by default.
        checkpoints: whether those of runs that are done can go, too.
        dry_run: only return it.

    Raises:
        BadInput: there is no such group.
    """
    every = list(_groups(store, _with_checkpoint if checkpoints else _leftovers))
    store.require_groups(groups, {group.name for group, _ in every})
    found = strays(store, groups) if dry_run else [_without(one) for one in strays(store, groups)]
    for folder, garbage_of in every:
        for run in map(Run, _folders(folder) if not groups or folder.name in groups else ()):
            garbage = garbage_of(run)
            if garbage and not run.owned():
                found += garbage if dry_run else _remove(run, garbage, garbage_of)
    return found


def strays(store: Store, groups: Collection[str] = ()) -> list[Garbage]:
    """Return what killed processes left outside the folders of runs, such as half written figures; of groups, or of the store."""
    folders = [store.root, *_folders(store.root)]
    found = []
    for folder in folders:
        if folder.name == QUARANTINE or (groups and (folder == store.root or folder.name not in groups)):
            continue
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            half = _HALF_WRITTEN.fullmatch(path.name) and abandoned(path)
            if half or (folder == store.root and _PROBE.fullmatch(path.name) and path.is_file()):
                found.append(Garbage("leftover", "" if folder == store.root else folder.name, path, _size(path)))
    return found


def _without(one: Garbage) -> Garbage:
    try:
        _unlink(one.path)
    except OSError as error:
        return one._replace(reason=str(error))
    return one


def _unlink(path: Path) -> None:
    """Remove a file, a folder, or the file of a lock that nobody holds."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.suffix == ".lock":
        import filelock

        with contextlib.suppress(filelock.Timeout), filelock.FileLock(path, timeout=0):
            path.unlink()
    else:
        path.unlink()


def _remove(run: Run, garbage: list[Garbage], garbage_of: Callable[[Run], list[Garbage]]) -> list[Garbage]:
    """Remove what can go of a run, and return it; nothing where a process has come to own the run."""
    try:
        run.claim()
        try:
            for one in garbage_of(run):  # looked for again, as the run may have gone on before it was claimed
                _unlink(one.path)
        finally:
            run.release()
        if not run.path.exists():
            with contextlib.suppress(OSError):  # of quarantine, which need not be empty now
                run.path.parent.rmdir()
                run.path.parent.parent.rmdir()
    except Busy:
        return []
    except (OSError, HarnessError) as error:
        return [one._replace(reason=str(error)) if os.path.lexists(one.path) else one for one in garbage]
    return [one for one in garbage if not os.path.lexists(one.path)]


def remove(run: Run) -> None:
    """Remove a run with all that is in its folder, and its group where that becomes empty.

    Raises:
        Busy: a process owns it.
        BadInput: the run's folder is a link out of the store.
        StoreTrouble: it cannot be removed.
    """
    require_inside(run.path.parent.parent, run.path)
    run.claim()
    try:
        shutil.rmtree(run.path)
    except OSError as error:
        raise StoreTrouble(f"{run.path} cannot be removed ({error.strerror}): make the store writable") from error
    finally:
        run.release()
    with contextlib.suppress(OSError):  # the group need not be empty
        run.path.parent.rmdir()


def _groups(
    store: Store, of_run: Callable[[Run], list[Garbage]]
) -> Iterator[tuple[Path, Callable[[Run], list[Garbage]]]]:
    """Yield every folder of runs, with what tells what can go of a run there."""
    for folder in _folders(store.root):
        if folder.name != QUARANTINE:
            yield folder, of_run
        else:
            yield from ((group, _of_quarantined) for group in _folders(folder))


def _leftovers(run: Run) -> list[Garbage]:
    there = {path.name for path in run.path.iterdir()} if run.path.is_dir() else set()
    if there and there <= {*OWNERS, *LOCKS}:  # a process was killed before the run began
        return [_garbage("leftover", run, run.path)]
    return _files("leftover", run, [*run.leftovers(), *run.locks()])


def _with_checkpoint(run: Run) -> list[Garbage]:
    kept = [path for path in (run.checkpoint_path, run.path / best.NAME) if os.path.lexists(path)]
    with contextlib.suppress(BadInput):  # of a run that cannot be read it may be the best that is left
        if kept and run.read().status == "done":
            return [*_leftovers(run), *_files("checkpoint", run, kept)]
    return _leftovers(run)


def _files(what: str, run: Run, paths: list[Path]) -> list[Garbage]:
    return [_garbage(what, run, path) for path in paths if path.is_file() and not path.is_symlink()]


def _of_quarantined(run: Run) -> list[Garbage]:
    return [_garbage("quarantined run", run, run.path)]


def _garbage(what: str, run: Run, path: Path) -> Garbage:
    return Garbage(what, f"{run.path.parent.name}/{run.id}", path, _size(path))


def _size(path: Path) -> int:
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(file.lstat().st_size for file in (inside if path.is_dir() else [path]))


def _folders(path: Path) -> list[Path]:
    """Return the folders in a folder; what is a link to one leads out of the store."""
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"{str(path)!r} cannot be read ({error.strerror}): make it readable") from error
