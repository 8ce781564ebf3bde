"""Runs of somebody else, which were imported: how they are told, marked and explained wherever they are shown."""

from collections.abc import Iterable, Mapping
from typing import Any

from harness.analysis.stored_run import StoredRun
from harness.store.origin import Origin
from harness.store.record import Record

MARK = "†"
"""Behind every number that rests on foreign runs."""


def made(record: Record) -> dict[str, str]:
    """Return on which processor and with which versions a run was last trained, as far as it tells."""
    session: dict[str, Any] = record.provenance[-1] if record.provenance else {}
    code, packages = session.get("code", {}), session.get("packages", {})
    found = {
        "processor": session.get("machine", {}).get("cpu"), "harness": code.get("version"), "torch": packages.get("torch"),
    }  # fmt: skip
    return {name: str(value) for name, value in found.items() if value is not None}


def described(origin: Origin, told: Mapping[str, str]) -> str:
    """Return who made a foreign run, on which machine and with which versions, in words; `told` is what `made` returned."""
    versions = [f"{name} {told[name]}" for name in ("harness", "torch") if name in told]
    return f"{origin}; made on {', '.join([told.get('processor', 'an unknown processor'), *versions])}"


def remarks(runs: Iterable[StoredRun]) -> list[str]:
    """Return in words which of these runs are foreign: a sentence for each maker, machine and version."""
    found: dict[str, int] = {}
    for run in runs:
        if (origin := run.origin) is not None:
            words = described(origin, made(run.record))
            found[words] = found.get(words, 0) + 1
    return [f"{MARK} {n} foreign run{'' if n == 1 else 's'} {words}" for words, n in found.items()]


def number(runs: Iterable[StoredRun]) -> int:
    """Return how many of these runs are foreign."""
    return sum(run.origin is not None for run in runs)
