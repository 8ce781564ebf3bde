"""Stored baselines: what runs reached, in a small text file to be committed, which later runs are compared with.

The file is JSON, a line for every row and for every specification, so that a new baseline's diff says what has changed. It has of
each run what `baseline` and `cost` claims need: its specification, what it spent, the data and machine that it had, and its
estimates at marks.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.analysis import curves
from harness.analysis.selection import Stored
from harness.errors import BadInput
from harness.files import from_json, read_file, replace_file, to_json
from harness.runs.code import PACKAGES, code_version
from harness.store.names import modern_spec
from harness.store.record import Record

SCHEMA = 1

KEPT = ("estimator", "split", "points", "mean", "se_points", "se_estimator")

SPENT = ("samples", "cpu_seconds")

MOST = 50_000_000  # bytes of a file


def content(runs: Iterable[Stored], marks: Iterable[float | str]) -> dict[str, Any]:
    """Return a baseline as plain data.

    Args:
        runs: those whose rows are to be kept.
        marks: samples of the rows that are to be kept; "end" for the last.

    Raises:
        BadInput: there is no run, or one that has not ended well.
    """
    wanted, reached, out = sorted(set(marks), key=str), set[float | str](), {}
    for stored in sorted(runs, key=lambda one: one[0].run):
        record = stored[0]
        if record.status != "done":
            raise BadInput(f"run {record.run} is {record.status}, and a baseline is made of runs that are done")
        rows = {mark: row for mark in wanted if (row := curves.row_at(stored, mark)) is not None}
        reached |= rows.keys()
        kept = sorted({id(row): row for row in rows.values()}.values(), key=lambda row: row["ledger"]["samples"])
        last = record.provenance[-1]
        out[record.run] = {
            "spec": record.spec,
            "budget": record.budget,
            "spent": {name: record.ledger[name] for name in SPENT},
            "ran": {name: last[name] for name in ("dataset", "machine", "threads", "calibration_seconds", "packages")},
            "rows": [
                {
                    "marks": row["marks"],
                    "end": row["end"],
                    "ledger": {name: row["ledger"][name] for name in SPENT},
                    "estimates": [{name: e[name] for name in KEPT} for e in row["estimates"]],
                }
                for row in kept
            ],
        }
    if not out:
        raise BadInput(
            "no claim about a baseline selects a run, so there is nothing to save: see `harness check --help`"
        )
    return {"schema": SCHEMA, "code": code_version(), "runs": out}


def text(content: dict[str, Any]) -> str:
    """Return a baseline as text, a line for everything that is compared by itself."""

    runs = []
    for name, run in content["runs"].items():
        rows = ",\n".join(f"    {to_json(row)}" for row in run["rows"])
        parts = [f'   "{part}": {to_json(run[part])}' for part in run if part != "rows"]
        runs.append(f'  "{name}": {{\n' + ",\n".join([*parts, f'   "rows": [\n{rows}\n   ]']) + "\n  }")
    head = f' "schema": {content["schema"]},\n "code": {to_json(content["code"])},\n "runs": {{\n'
    return "{\n" + head + ",\n".join(runs) + "\n }\n}\n"


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a baseline; BadInput where that cannot be."""
    try:
        replace_file(path, text(content).encode())
    except OSError as error:
        raise BadInput(
            f"the baseline {str(path)!r} cannot be written ({error.strerror}): name another with --out"
        ) from None


def read(path: Path) -> dict[str, Any]:
    """Return the content of a baseline's file.

    Raises:
        BadInput: there is none, or it is none.
    """
    try:
        found = from_json(read_file(path, MOST).decode())
        schema = found["schema"]
        if schema == SCHEMA:
            summary(found), origin(found)  # all of it is there
    except OSError as error:
        raise BadInput(
            f"the baseline {str(path)!r} cannot be read ({error.strerror}): make it with `harness baseline save`"
        ) from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        raise BadInput(f"{str(path)!r} is no baseline: make one with `harness baseline save`") from None
    if schema != SCHEMA:
        raise BadInput(f"{str(path)!r} has schema {schema!r}, and this version knows {SCHEMA}: save it again")
    return dict(found)


def runs(content: dict[str, Any]) -> list[Stored]:
    """Return a baseline's runs as the store has runs."""
    return [
        (
            Record(name, spec, run["budget"], status="done", ledger=run["spent"], provenance=[dict(run["ran"])]),
            run["rows"],
        )
        for name, run in content["runs"].items()
        for spec in [modern_spec(run["spec"])]
    ]


def summary(content: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return lines for people: a run, its mark, an estimate."""
    lines = []
    for stored in runs(content):
        for row in stored[1]:
            for e in row["estimates"]:
                samples = f"{curves.mark(stored[0], row):,.0f}"
                lines.append(
                    (stored[0].run, samples, e["estimator"], e["split"], f"{e['points']:,}", f"{e['mean']:.3f}")
                )
    return lines


def origin(content: dict[str, Any]) -> str:
    """Return in words which code, packages, data and machines a baseline is of."""
    ran = [run["ran"] for run in content["runs"].values()]
    code = content["code"]
    packages = ", ".join(sorted({f"{name} {one['packages'].get(name)}" for one in ran for name in PACKAGES[:2]}))
    machines = "; ".join(sorted({one["machine"]["cpu"] for one in ran}))
    data = ", ".join(sorted({one["dataset"]["sha256"][:12] for one in ran}))
    commit = (
        f"commit {code['commit'][:12]}{' and changes' if code['dirty'] else ''}" if code["commit"] else "no checkout"
    )
    return f"code {code['version']} ({commit}, source {code['source_sha256']}), {packages}, data {data}, on {machines}"
