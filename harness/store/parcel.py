"""What of a run travels to another machine and back: its files as they are at one moment, and how its owner takes them in.

What was measured of a run after training stays where it is, as any process may add to it meanwhile.
"""

import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.files import read_file, sync_folder
from harness.store import best, checkpoint
from harness.store.record import Record
from harness.store.run import TRACEBACK, Run

FILES = ("trace.jsonl", checkpoint.NAME, best.NAME, TRACEBACK, "run.json")
"""What comes back, in the order in which it is put into its place."""

SENT = (*FILES, checkpoint.FORMER_NAME)
"""What is sent with a run that goes on."""

TRIES = 100  # to find a run as it is at one moment


def freeze(run: Run, folder: Path) -> dict[str, int]:
    """Link the files of a run into a folder, as they are together at one moment, and return their sizes in bytes.

    They stay as they are there: files of a run are replaced as a whole, and one that grows parts from its copies first. A kill
    at that moment would have left the same, so a run can go on from it.
    """
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        before = stamps(run)
        sizes = {}
        for name in FILES:
            try:
                _link(run.path / name, folder / name)
                sizes[name] = (folder / name).stat().st_size
            except FileNotFoundError:
                continue
        if stamps(run) == before:
            return sizes
        time.sleep(0.001)
    raise OSError(f"the files of {run.path} change all the time")


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without links
        shutil.copyfile(path, to)


def stamp(path: Path) -> tuple[int, int] | None:
    """Return what differs when a file has been replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def stamps(run: Run) -> list[tuple[int, int] | None]:
    """Return what differs when a run has been saved."""
    return [stamp(run.path / name) for name in FILES if name != "trace.jsonl"]


def take(run: Run, incoming: Run, record: Record) -> None:
    """Put a run that came back into the place of what its owner has of it, whole or not at all.

    The order is that in which a run is written: whenever the process dies, the run can go on from its last checkpoint.

    Args:
        run: owned by this process.
        incoming: in a folder on the same file system, from which it is moved. It was looked at.
        record: its own.

    Raises:
        BadInput: it does not go on from the checkpoint that is here.
        Busy: another process has become the owner.
        RunFailed: the folder is gone.
        OSError: it cannot be written.
    """
    run.require_owner()
    if not _goes_on(run, incoming):
        state = run.checkpoint() if run.exists() else None
        kept = None if state is None else state["trace"]
        if kept is not None and not _begins_with(incoming, kept):
            raise BadInput(f"what came back of run {run.id} does not go on from its checkpoint here")
        run.begin(replace(record, status="running", reason=None, overshoot={}), kept)
    run.keep_traceback(incoming.traceback())
    for name in ("trace.jsonl", checkpoint.NAME, best.NAME):
        if (incoming.path / name).is_file():
            os.replace(incoming.path / name, run.path / name)
            sync_folder(run.path)
    if (run.path / checkpoint.NAME).is_file():
        (run.path / checkpoint.FORMER_NAME).unlink(missing_ok=True)
    run.write(record)


def _goes_on(run: Run, incoming: Run) -> bool:
    """Say whether a run that came back begins with all that is known here of the same run, which is under way."""
    if not run.exists():
        return False
    own = run.read()
    return own.status == "running" and _begins_with(incoming, own.trace)


def _begins_with(run: Run, trace: dict[str, Any]) -> bool:
    """Say whether a trace begins with the rows that a record or a checkpoint knows."""
    try:
        content = read_file(run.path / "trace.jsonl")[: trace["bytes"]]
    except FileNotFoundError:
        content = b""
    return bool(hashlib.sha256(content).hexdigest() == trace["sha256"])
