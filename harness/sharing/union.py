"""The union of stores by content: what a run that comes in is to the run of the same id that is there.

    new         there is none
    there       the same run, to its last byte
    longer      the same beginning and more of it than there is here: it takes the place of the shorter one
    shorter     the other way round: nothing is done
    different   another run with the same id: it is named, and nothing is done
    refused     it is damaged, contradicts itself, or has an id that is not its specification's

Estimates and measurements made after training are rows, and are united row by row wherever the run is the same. Nothing that is
there is overwritten: a run is moved into its place as a whole, and the shorter one is first moved to the quarantine of the store,
so that whenever the process dies, each of both is whole in one place or the other.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import pydantic

from harness.errors import BadInput, Busy, StoreTrouble
from harness.files import read_file, replace_file, require_inside, sync_folder, to_json
from harness.sharing.members import MODELS
from harness.specs.run import RunSpec
from harness.store import added, checkpoint, schema
from harness.store import origin as origins
from harness.store.origin import Origin
from harness.store.record import Record
from harness.store.run import OWNERS, Run
from harness.store.store import QUARANTINE, Store

What = Literal["new", "there", "longer", "shorter", "different", "refused"]


class Outcome(NamedTuple):
    """What became of a run that came in.

    Attributes:
        run: its group and id.
        what: see above.
        why: more about it, in words; empty if there is nothing to say.
    """

    run: str
    what: What
    why: str = ""


def unite(incoming: Run, store: Store, origin: Origin | None, *, dry_run: bool = False) -> Outcome:
    """Take a run into a store.

    Args:
        incoming: the run, in a folder on the same file system that this may take apart.
        store: where it goes, into the group that it has.
        origin: where it comes from; None leaves what it says of that itself.
        dry_run: only say what would become of it.
    """
    group, name = incoming.path.parent.name, f"{incoming.path.parent.name}/{incoming.id}"
    here = store.run(incoming.id, group)
    try:
        record = require_sound(incoming)
        if origin is not None and not dry_run:
            replace_file(incoming.path / origins.NAME, origins.content(incoming.id, origin))
        require_inside(store.root, here.path)
        if not os.path.lexists(here.path):
            if not dry_run:
                _move_in(incoming, here)
            return Outcome(name, "new")
        what = _compared(here, incoming, record)
        if what == "different":
            return Outcome(name, what, "another run with the same id is there, and is left as it is")
        if dry_run:
            return Outcome(name, what)
        with _owned(here):
            why = _replace(store, here, incoming) if what == "longer" else _add_models(here, incoming, what)
        if what != "longer":
            why = ", ".join(filter(None, (why, _add_rows(here, incoming))))
        return Outcome(name, what, why)
    except Busy:
        return Outcome(name, "refused", "a process is writing the run that is there: import it again later")
    except BadInput as error:
        return Outcome(name, "refused", str(error))
    except OSError as error:
        raise StoreTrouble(
            f"{str(here.path)!r} cannot be written ({error.strerror}): make room, or name another folder with --results"
        ) from error


def require_sound(run: Run, *, under_way: bool = False) -> Record:
    """Return the record of a run that came in; BadInput unless all its files are sealed and agree with one another.

    Args:
        run: in a folder of its own.
        under_way: whether it may be as a kill would have left it: with more rows than its record or its checkpoint knows.
    """
    if damage := run.damage():
        raise BadInput(damage[0].reason.partition(": ")[0].replace(f"{run.path}{os.sep}", "its "))
    record, rows = run.content()
    if record.status == "running" and not under_way:
        raise BadInput("it had not ended when it was published")
    if (own := _spec(record).run_id) != run.id:
        raise BadInput(f"its specification is that of {own}")
    state = run.checkpoint()
    if state is not None and not schema.is_checkpoint(state):
        raise BadInput(f"its {checkpoint.NAME} is none")
    if record.status == "running":
        return record
    if to_json(record.summary) != to_json(rows[-1]["estimates"] if rows else []):
        raise BadInput("its run.json has other estimates than its last row")
    spent, last = record.ledger.get("samples", 0), rows[-1]["ledger"]["samples"] if rows else 0
    if spent < last or (spent > last and record.status == "done"):
        raise BadInput(f"its run.json has {spent:,} samples, and its last row has {last:,}")
    run.evaluations(), run.gradients(), run.imputations()  # which raise
    if state is not None and state["trace"] != record.trace and not (under_way and record.status != "done"):
        raise BadInput(f"its {checkpoint.NAME} is of another moment than its trace")
    return record


def _compared(here: Run, incoming: Run, record: Record) -> What:
    """Return what a run that came in is to the one that is there; BadInput where that one is damaged."""
    own = here.read()
    here.content(own)
    if _spec(own).digest != _spec(record).digest or not _same_beginning(own, record):
        return "different"
    traces = [_trace(run) for run in (here, incoming)]
    spent = [one.ledger.get("samples", 0) for one in (own, record)]
    if traces[0] == traces[1] and own == record:
        return "there"
    if own.status == "running":
        traces[0] = traces[0][: own.trace["bytes"]]
    if traces[1].startswith(traces[0]) and (len(traces[1]), spent[1]) > (len(traces[0]), spent[0]):
        return "longer"
    if traces[0].startswith(traces[1]) and (len(traces[1]), spent[1]) < (len(traces[0]), spent[0]):
        return "shorter"
    return "different"


def _same_beginning(one: Record, other: Record) -> bool:
    """Say whether two records have the same first session, whose memory alone is entered when it ends."""
    firsts = [{name: v for name, v in session.items() if name != "memory"}
              for record in (one, other) for session in record.provenance[:1]]  # fmt: skip
    return len(firsts) == 2 and firsts[0] == firsts[1]


def _spec(record: Record) -> RunSpec:
    try:
        return RunSpec.model_validate(record.spec)
    except pydantic.ValidationError:
        raise BadInput("its specification is not of this version: use a newer version of the harness") from None


def _trace(run: Run) -> bytes:
    try:
        return read_file(run.path / "trace.jsonl")
    except FileNotFoundError:
        return b""


@contextmanager
def _owned(run: Run) -> Iterator[None]:
    run.claim()
    try:
        yield
    finally:
        run.release()


def _move_in(incoming: Run, here: Run) -> None:
    here.path.parent.mkdir(parents=True, exist_ok=True)
    os.rename(incoming.path, here.path)
    sync_folder(here.path.parent)


def _replace(store: Store, here: Run, incoming: Run) -> str:
    """Put a longer run in the place of a shorter one, and return what is to be said of that one."""
    _add_rows(incoming, here)
    there = store.root / QUARANTINE / here.path.parent.name
    require_inside(store.root, there)
    number = 1
    while (moved := there / (here.id if number == 1 else f"{here.id}.{number}")).exists():
        number += 1
    there.mkdir(parents=True, exist_ok=True)
    os.rename(here.path, moved)
    try:
        _move_in(incoming, here)
    except OSError:
        os.rename(moved, here.path)
        raise
    for name in OWNERS:
        (moved / name).unlink(missing_ok=True)
    models = [name for name in (*MODELS, checkpoint.FORMER_NAME) if (moved / name).is_file()]
    if any(not (here.path / name).is_file() for name in models):
        return f"the model of the shorter one is kept in {moved}, until `harness gc`"
    shutil.rmtree(moved, ignore_errors=True)
    for folder in (there, there.parent):
        if not any(folder.iterdir()):
            folder.rmdir()
    return ""


def _add_models(here: Run, incoming: Run, what: What) -> str:
    """Add parameters that only the run that came in has, where it is the same run."""
    if what != "there" or os.path.lexists(here.checkpoint_path):
        return ""
    new = [name for name in MODELS if (incoming.path / name).is_file() and not (here.path / name).is_file()]
    for name in new:
        os.rename(incoming.path / name, here.path / name)
    return "its model was added" if new else ""


def _add_rows(to: Run, of: Run) -> str:
    """Add what was measured of a run after training to what is there, and return in words what is new."""
    appending = {
        "evaluations": to.append_evaluation,
        "gradients": to.append_gradients,
        "imputations": to.append_imputation,
    }
    new = []
    for kind in added.KINDS:
        have = {to_json({**row, "time": ""}) for row in getattr(to, kind)()}
        rows = [row for row in getattr(of, kind)() if to_json({**row, "time": ""}) not in have]
        for row in rows:
            appending[kind](row)
        if rows:
            new.append(kind)
    return f"{' and '.join(new)} added" if new else ""
