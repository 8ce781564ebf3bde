"""Publishing and importing: the union of two stores, one of which may be a folder, an archive or a data set of the hub."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import BadInput
from harness.files import MAX_BYTES, read_file, replace_file, scratch_folder
from harness.sharing import archive, folder
from harness.sharing.hub import SCHEME, Hub
from harness.sharing.members import MODELS, RECORDS, Incoming, Place
from harness.sharing.union import Outcome, unite
from harness.store import origin as origins
from harness.store.origin import Origin
from harness.store.run import Run
from harness.store.store import Store

ENDED = ("done", "diverged", "failed", "interrupted")

Say = Callable[[str], None]


def import_runs(source: str, store: Store, *, dry_run: bool = False) -> list[Outcome]:
    """Take all runs of a publication into a store, and return what became of each.

    Args:
        source: a folder, an archive, or an address of the hub.
        store: where they go.
        dry_run: only say what would become of them.

    Raises:
        BadInput: there is no publication, or it has anything that none has: then nothing is taken of it.
    """
    require_source(source)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with _room(store) as scratch:
        into = Incoming(repr(source), scratch)
        if source.startswith(SCHEME):
            Hub(source).fetch(into)
        elif source.endswith(archive.ENDING):
            archive.unpack(Path(source), into)
        else:
            folder.gather(Path(source), into)
        runs = _runs(scratch)
        if not runs:
            raise BadInput(
                f"{source!r} has no runs, as GROUP/RUN/run.json: name a folder or archive of `harness publish`"
            )
        outcomes = []
        for run in runs:
            origin = run.origin() or Origin()
            outcomes.append(unite(run, store, origin._replace(source=source, imported=now), dry_run=dry_run))
        return outcomes


def require_source(source: str) -> None:
    """Raise BadInput unless there may be a publication: a folder, an archive, or an address of the hub."""
    if "://" in source and not source.startswith(SCHEME):
        raise BadInput(
            f"{source!r} is no source: name a folder, a file that ends in {archive.ENDING}, or {SCHEME}OWNER/NAME"
        )
    if source.startswith(SCHEME):
        return
    kind = os.path.isfile if source.endswith(archive.ENDING) else os.path.isdir
    if len(source) > origins.MOST_LETTERS or not kind(source):
        raise BadInput(
            f"{source[:200]!r} is not there, or no publication: name a folder, a file that ends in {archive.ENDING}, or "
            f"{SCHEME}OWNER/NAME"
        )


def require_target(target: str) -> None:
    """Raise BadInput unless runs can be published there, as far as can be told before."""
    if "://" in target and not target.startswith(SCHEME):
        raise BadInput(
            f"--to is {target!r}: name a folder, a file that ends in {archive.ENDING}, or {SCHEME}OWNER/NAME"
        )
    if target.startswith(SCHEME):
        Hub(target)
    elif target.endswith(archive.ENDING):
        archive.zstandard()
        if os.path.lexists(target) and not os.path.isfile(target):
            raise BadInput(f"--to is {target!r}, which is there and no file: name another")
    else:
        Store(Path(target)).require_writable()


def publish(runs: Sequence[Run], target: str, by: str | None, *, models: bool, say: Say) -> list[Outcome]:
    """Add runs to a publication, and return what became of each.

    Args:
        runs: what is published. Those that have not ended are left out.
        target: a folder, an archive, or an address of the hub; what is there already stays.
        by: who made them, as others will see it; of imported runs, what their publisher said.
        models: whether parameters are published, too.
        say: told what is left out, and what others will see.

    Raises:
        BadInput: no run can be published, or the place cannot be written.
    """
    require_target(target)
    ready = [run for run in runs if _publishable(run, say)]
    if not ready:
        raise BadInput("none of the runs can be published: see `harness list`")
    keys = [(run.path.parent.name, run.id) for run in ready]
    if target.startswith(SCHEME):
        return _to_hub(ready, keys, Hub(target), by, models=models)
    if not target.endswith(archive.ENDING):
        return _into(Store(Path(target)), ready, by, models=models)
    with tempfile.TemporaryDirectory() as scratch:
        there = Store(Path(scratch, "store"))
        there.root.mkdir()
        if os.path.lexists(target):
            archive.unpack(Path(target), Incoming(repr(target), there.root))
        outcomes = _into(there, ready, by, models=models)
        try:
            Path(target).absolute().parent.mkdir(parents=True, exist_ok=True)
            archive.pack(there.root, Path(os.path.realpath(target)))
        except OSError as error:
            raise BadInput(
                f"--to is {target!r}, which cannot be written ({error.strerror}): name another place"
            ) from error
        return outcomes


def _to_hub(
    runs: Sequence[Run], keys: Sequence[tuple[str, str]], hub: Hub, by: str | None, *, models: bool
) -> list[Outcome]:
    with tempfile.TemporaryDirectory() as scratch:
        there = Store(Path(scratch, "store"))
        there.root.mkdir()
        hub.make()
        commit = hub.fetch(Incoming(repr(hub.address), there.root), keys)
        former = [Place(*path.relative_to(there.root).parts) for path in there.root.glob("*/*/*")]
        before = {path: _stamp(there.root / path) for path in {place.below for place in former}}
        outcomes = _into(there, runs, by, models=models)
        now = {path.relative_to(there.root): _stamp(path) for path in there.root.glob("*/*/*") if path.is_file()}
        changed = {path.parts[:2] for path in {*before, *now} if before.get(path) != now.get(path)}
        sent = [key for key in keys if key in changed]
        if sent:
            hub.send(there.root, sent, [place for place in former if place[:2] in sent], commit)
        return outcomes


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _into(store: Store, runs: Sequence[Run], by: str | None, *, models: bool) -> list[Outcome]:
    """Add runs to a store, each from a copy, as `unite` takes it apart."""
    outcomes = []
    with _room(store) as scratch:
        for run in runs:
            copy = Run(scratch / run.path.parent.name / run.id)
            copy.path.mkdir(parents=True)
            for name in (*RECORDS, *(MODELS if models else ())):
                if (run.path / name).is_file():
                    replace_file(copy.path / name, read_file(run.path / name, MAX_BYTES))
            origin = run.origin() or Origin(by)
            outcomes.append(unite(copy, store, Origin(origin.by)))
    return outcomes


@contextlib.contextmanager
def _room(store: Store) -> Iterator[Path]:
    """Make a folder in a store, on its file system, for runs that come in."""
    store.require_writable()
    made = not store.root.exists()
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        with scratch_folder(store.root / "import") as scratch:
            yield scratch
    except OSError as error:
        where = error.filename or store.root
        raise BadInput(f"{str(where)!r} cannot be read or written ({error.strerror or error}): make room") from error
    finally:
        if made:
            with contextlib.suppress(OSError):  # of a store that something was taken into
                store.root.rmdir()


def _runs(scratch: Path) -> list[Run]:
    return [Run(path.parent) for path in sorted(scratch.glob("*/*/run.json"))]


def _publishable(run: Run, say: Say) -> bool:
    """Say whether a run can be published, and tell why if not, or what of it others will see."""
    try:
        record = run.read()
    except BadInput as error:
        say(f"left out {error}")
        return False
    if record.status not in ENDED or run.owned():
        say(f"left out {run.path.parent.name}/{run.id}: it has not ended; publish it when it has")
        return False
    return True
