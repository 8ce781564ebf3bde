"""The stored runs that a selection on the command line means; see `harness.specs.where`."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.analysis import selection
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput, suggestion
from harness.files import without_collection
from harness.specs.where import Selection, parse_selection
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

MOST_NAMED = 5  # runs that a message names


def one(store: Store, text: str) -> Run:
    """Return the one run that a selection means; BadInput if it means none, or several."""
    chosen = parse_selection(text)
    if not chosen.where and not _is_group(store, chosen.name):
        return store.find(chosen.name)
    found = runs(store, text)
    if len(found) > 1:
        named = ", ".join(run.id for run in found[:MOST_NAMED]) + (", ..." if len(found) > MOST_NAMED else "")
        raise BadInput(f"{text!r} means {len(found)} runs, and one is wanted: {named}; see `harness list {text}`")
    return found[0]


def several(
    store: Store, texts: Sequence[str], say: Callable[[str], None] = lambda words: None, *, folders: bool = False
) -> list[Run]:
    """Return the runs that any of several selections means, each once; all runs of the store where there is none.

    Raises:
        BadInput: one of them means no run.
    """
    found = {run.path: run for text in texts or ("",) for run in runs(store, text, say, folders=folders)}
    return list(found.values())


def each_once(runs: Sequence[StoredRun], say: Callable[[str], None]) -> list[StoredRun]:
    """Return runs of a store, but of one that is in several groups the first alone, as pictures tell runs by their ids."""
    found: dict[str, StoredRun] = {}
    for run in runs:
        if (first := found.setdefault(run.id, run)) is not run:
            groups = [one.on_disk.path.parent.name for one in (first, run)]
            say(f"run {run.id} is in the groups {groups[0]} and {groups[1]}: the one of {groups[0]} is shown")
    return list(found.values())


def runs(
    store: Store, text: str, say: Callable[[str], None] = lambda words: None, *, folders: bool = False
) -> list[Run]:
    """Return the runs that a selection means.

    Args:
        store: where they are.
        text: the selection; the empty one means all.
        say: told of each run that is left out as its record cannot be read, so that it cannot be told whether it is meant.
        folders: whether it may name a folder: of a run, of a group, or another store.

    Raises:
        BadInput: it means no run, though the store may have some.
    """
    return [run for run, _ in _meant(store, text, say, folders)]


def load(
    store: Store,
    text: str,
    say: Callable[[str], None] = lambda words: None,
    *,
    folders: bool = False,
    known: dict[Path, Record] | None = None,
) -> list[StoredRun]:
    """Return the runs that a selection means, as analyses see them; see `runs`. No record is read twice.

    Args:
        store: as in `runs`, and so are the next two.
        text: the selection.
        say: told of runs that are left out.
        folders: whether it may name a folder.
        known: records that were read just now, by folder; those that are read are added.
    """
    with without_collection():
        return [StoredRun(*run.content(record), run) for run, record in _meant(store, text, say, folders, known)]


def _meant(
    store: Store, text: str, say: Callable[[str], None], folders: bool, known: dict[Path, Record] | None = None
) -> list[tuple[Run, Record | None]]:
    """Return the runs that a selection means, each with its record where that was read to choose it; see `load`."""
    records = {} if known is None else known
    chosen = parse_selection(text)
    named = _named(store, chosen.name, folders)
    if not chosen.where:
        return [(run, records.get(run.path)) for run in named]
    found: list[StoredRun] = []
    for run in named:
        try:
            if run.path not in records:
                records[run.path] = run.read()
            found.append(StoredRun(records[run.path], (), run))
        except BadInput as error:
            say(str(error))
    options = selection.options(found)
    for option, values in chosen.where.items():
        if option not in options:
            raise BadInput(
                f"{text!r} has option {option!r}{suggestion(option, options)}, which no run of {_called(chosen, store)} has"
            )
        there = sorted({str(run.option(option)) for run in found})
        found = selection.select(found, {option: values})
        if not found:
            have = " and ".join(there[:MOST_NAMED])
            raise BadInput(
                f"no run of {_called(chosen, store)} has {option} {' or '.join(sorted(values))}: there is {have}"
            )
    return [(run.on_disk, run.record) for run in found]


def conditions(store: Store, name: str) -> list[str]:
    """Return the conditions by which the runs of a name can be told apart, for a shell's completion."""
    found = []
    with contextlib.suppress(BadInput):
        found = [StoredRun(run.read(), (), run) for run in _named(store, name, folders=False)]
    values = {
        name: {str(v) for run in found if (v := run.option(name)) is not None} for name in selection.options(found)
    }
    return sorted(f"{name}={value}" for name, own in values.items() if len(own) > 1 for value in own)


def _called(chosen: Selection, store: Store) -> str:
    return repr(chosen.name or str(store.root))


def _is_group(store: Store, name: str) -> bool:
    return bool(name) and "/" not in name and name not in (".", "..") and (store.root / name).is_dir()


def _named(store: Store, name: str, folders: bool) -> list[Run]:
    """Return the runs of a name: of a group, or of a folder, or those whose id begins so; all for the empty one."""
    folder = Path(name)
    if not name:
        return list(store.runs())
    if _is_group(store, name):
        found = list(store.runs(name))
    elif folders and folder.is_dir():
        paths = [folder] if (folder / "run.json").is_file() else sorted(p.parent for p in folder.glob("*/run.json"))
        found = [Run(path.resolve()) for path in paths] or list(Store(folder).runs())
    else:
        near = store.beginning(name)
        own = [run for run in near if run.path.parent.name == "runs"]  # go before those of other groups
        return own or ([store.find(name)] if len({run.id for run in near}) == 1 else near)
    if not found:
        raise BadInput(f"{name!r} has no runs: name a run, a group or a folder with runs; see `harness list`")
    return found
