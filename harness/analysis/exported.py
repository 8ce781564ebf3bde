"""Runs that are exported, as the store has them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput, suggestion
from harness.files import without_collection
from harness.specs.where import parse_selection
from harness.store.record import Record
from harness.store.store import Store

Line = dict[str, Any]


class Exported(NamedTuple):
    """A run as the store has it.

    Attributes:
        group: of the store.
        record: its run.json.
        rows: its trace.
        evaluations: what was estimated after training.
        gradients: what was measured of gradient estimators; exports that were made before there were any have none.
        origin: where it comes from if it is somebody else's, see `harness.store.origin`.
        imputations: what `harness impute` found; older exports have none.
    """

    group: str
    record: Record
    rows: list[Line]
    evaluations: list[Line]
    gradients: Sequence[Line] = ()
    origin: Line | None = None
    imputations: Sequence[Line] = ()


def load(store: Store, selections: Sequence[str] = (), only: str | None = None) -> tuple[list[Exported], list[str]]:
    """Return runs of a store, and for every one that cannot be read the reason.

    Args:
        store: the store.
        selections: of runs; all of them by default.
        only: one more selection, which all of them have to be of.

    Raises:
        BadInput: there are none.
    """
    runs = store.folders()
    if not runs:
        raise BadInput(f"there are no runs in {str(store.root)!r}: make one with `harness run`, or name a --results")
    wanted, limit = [parse_selection(text) for text in selections or ("",)], parse_selection(only or "", "--only")
    for one in wanted:
        if not any(one.names(run.id, run.path.parent.name) for run in runs):
            known = sorted({run.path.parent.name for run in runs})
            raise BadInput(
                f"there is no group and no run {one.name!r} in {str(store.root)!r}{suggestion(one.name, known)}: choose of the "
                f"groups {', '.join(known)}, or see `harness list`"
            )
    found, unreadable = list[Exported](), []
    with without_collection():
        for run in runs:
            group = run.path.parent.name
            if not any(one.names(run.id, group) for one in wanted):
                continue
            try:
                stored = run.content()
                option = StoredRun(*stored).option
                if any(one.meets(run.id, group, option) for one in wanted) and limit.meets(run.id, group, option):
                    whose = None if (origin := run.origin()) is None else origin._asdict()
                    evaluations, gradients, imputations = run.evaluations(), run.gradients(), run.imputations()
                    found.append(Exported(group, *stored, evaluations, gradients, whose, imputations))
            except (BadInput, OSError, ValueError) as error:
                unreadable.append(f"{group}/{run.id}: {error}")
    if not found and not unreadable:
        asked = " ".join([*selections, *([f"--only {only}"] if only else [])])
        raise BadInput(f"no run is meant by {asked}: see `harness list`")
    return found, unreadable
