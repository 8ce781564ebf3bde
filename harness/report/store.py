"""What is in the store besides runs, for people and as plain data."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.text import counted, print_table
from harness.safe_text import show
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.analysis.exported import Exported
    from harness.store.gc import Garbage


def print_damage(store: Store, damaged: Sequence[dict[str, Any]], leftovers: Sequence[str]) -> None:
    """Print what `doctor.examine_store` and `doctor.leftovers` found."""
    for one in damaged:
        what = f"its {one['file']} alone" if one["file"] else "the run"
        moved = [f"  moved {what} to {one['moved_to']}"] if one["moved_to"] else []
        show(f"{one['run']}: {one['reason']}", *moved)
    runs = sum(1 for _ in store.runs())
    show(
        f"{store.root}: {len(damaged)} damaged, {counted(runs, 'run')} in all"
        if damaged
        else f"{store.root}: {counted(runs, 'run')}, all sound"
    )
    for path in leftovers:
        show(f"left by a process that was killed: {path}")
    if leftovers:
        show("next: harness gc")
    if any(one["moved_to"] is None for one in damaged):
        show("next: harness doctor --repair")


def print_exported(runs: Sequence["Exported"], path: Path) -> None:
    """Print where an export is, and how many runs, rows and estimates it has."""
    rows = sum(len(run.rows) for run in runs)
    estimates = sum(len(row.get(key, [])) for run in runs for row in run.rows for key in ("estimates", "averaged"))
    estimates += sum(len(r.evaluations) for r in runs)
    show(f"{path}: {counted(len(runs), 'run')}, {counted(rows, 'row')}, {counted(estimates, 'estimate')}")


def garbage_data(garbage: Sequence["Garbage"], cached: Sequence["Garbage"], *, dry_run: bool) -> dict[str, Any]:
    """Return what was removed, or would be, as plain data; and how many bytes are left in the user's cache, of own data."""
    items = [{**one._asdict(), "path": str(one.path)} for one in garbage]
    removed, left = sum(one.bytes for one in garbage if not one.reason), sum(one.bytes for one in cached)
    return {"dry_run": dry_run, "bytes": removed, "items": items, "cache_bytes": left}


def print_cached(cached: Sequence["Garbage"], folder: Path) -> None:
    """Print what is left in the user's cache, of own data; nothing where it is empty."""
    if cached:
        what, size = counted(len(cached), cached[0].what), sum(one.bytes for one in cached)
        show(f"left in your cache: {what}, {size:,} bytes in {folder}: `harness gc --cache` removes them")


def print_garbage(garbage: Sequence["Garbage"], *, dry_run: bool) -> None:
    """Print what was removed, or would be, its bytes, and what the runs can no longer be used for."""
    gone = [one for one in garbage if not one.reason]
    if gone:
        print_table(("", "run", "bytes"), [(one.what, one.run, f"{one.bytes:,}") for one in gone])
        show("")
    kinds = dict.fromkeys(("checkpoint", "quarantined run", "leftover", *(one.what for one in gone)))
    counts = {what: sum(one.what == what for one in gone) for what in kinds}
    parts = ", ".join(counted(n, what) for what, n in counts.items() if n) or "nothing"
    show(f"{'would remove' if dry_run else 'removed'} {parts}: {sum(one.bytes for one in gone):,} bytes")
    if counts["checkpoint"]:
        show(
            "without its checkpoint a run keeps its curves and estimates, but cannot be extended, evaluated, certified or sampled"
        )
    for one in garbage:
        if one.reason:
            show(f"harness: {one.path} is left: {one.reason}", file=sys.stderr)
