"""Stored baselines: what runs reached, in a small text file to be committed, with which later runs are compared.

The file is JSON with a line for every row and for every specification, so that the diff of a new baseline shows what has changed.
It has of each run what `baseline` and `cost` claims need: its specification, what it spent, its data and machine, and its
estimates at marks.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.analysis.reliability import doubt
from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import Weights, row_at
from harness.errors import BadInput
from harness.files import from_json, read_file, replace_file, to_json
from harness.report.text import marked
from harness.runs.code import PACKAGES, code_version
from harness.store.names import modern_spec
from harness.store.record import Record

SCHEMA = 1

RAN = ("dataset", "machine", "threads", "calibration_seconds", "packages")

KEPT = ("estimator", "split", "points", "mean", "se_points", "se_estimator")

KEPT_IF_KNOWN = ("heavy_tails", "reliable", "instead")

ESTIMATES: dict[Weights, str] = {"last": "estimates", "average": "averaged"}
"""Where rows have those of each of the weights."""

SPENT = ("samples", "datapoints", "cpu_seconds")

MOST_BYTES = 50_000_000  # of a file


def content(runs: Iterable[StoredRun], marks: Iterable[tuple[float | str, Weights]]) -> dict[str, Any]:
    """Return a baseline as plain data.

    Args:
        runs: those whose rows are kept.
        marks: of the rows that are kept, as claims have them, each with the weights whose estimates are asked for.

    Raises:
        BadInput: there is no run, or one that is not done.
    """
    wanted, out = set(marks), {}
    for run in sorted(runs, key=lambda one: one.id):
        if run.status != "done":
            raise BadInput(f"run {run.id} is {run.status}, and a baseline is made of runs that are done")
        found = {wish: row["ledger"]["samples"] for wish in wanted if (row := row_at(run, *wish)) is not None}
        best = {of: found.get(("best-valid", weights)) for weights, of in ESTIMATES.items()}
        out[run.id] = {
            "spec": run.spec,
            "budget": run.record.budget,
            "spent": _spent(run.record.ledger),
            "ran": {name: run.last_session[name] for name in RAN},
            "rows": [
                {
                    "marks": row["marks"],
                    "end": row["end"],
                    "ledger": _spent(row["ledger"]),
                    **{of: _kept(row[of], best=best[of] == row["ledger"]["samples"]) for of in best if of in row},
                }
                for row in run.rows
                if row["ledger"]["samples"] in found.values()
            ],
        }
    if not out:
        raise BadInput(
            "no claim about a baseline selects a run, so there is nothing to save: see `harness check --help`"
        )
    return {"schema": SCHEMA, "code": code_version(), "runs": out}


def _spent(ledger: Mapping[str, float]) -> dict[str, float]:
    return {name: ledger[name] for name in SPENT if name in ledger}  # a record need not have datapoints


def _kept(estimates: Iterable[Mapping[str, Any]], *, best: bool) -> list[dict[str, Any]]:
    """Return what is kept of estimates; of those on the validation split only the best mark's, as they are what tells it."""
    names = (*KEPT, *KEPT_IF_KNOWN)
    return [{name: e[name] for name in names if name in e} for e in estimates if best or e["split"] != "valid"]


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
        found = from_json(read_file(path, MOST_BYTES).decode())
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


def runs(content: dict[str, Any]) -> list[StoredRun]:
    """Return a baseline's runs as the store has runs."""
    return [
        StoredRun(
            Record(name, spec, run["budget"], status="done", ledger=run["spent"], provenance=[dict(run["ran"])]),
            run["rows"],
        )
        for name, run in content["runs"].items()
        for spec in [modern_spec(run["spec"])]
    ]


def summary(content: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Return lines for people: a run, its mark, an estimate."""
    return [
        (run.id, f"{run.mark(row):,.0f}", e["estimator"], e["split"], f"{e['points']:,}", nats)
        for run in runs(content)
        for row in run.rows
        for e in row["estimates"]
        for nats in [marked(f"{e['mean']:.3f}", doubt(e) is not None)]
    ]


def origin(content: dict[str, Any]) -> str:
    """Return in words from which code, packages, data and machines a baseline is."""
    ran = [run["ran"] for run in content["runs"].values()]
    code = content["code"]
    packages = ", ".join(sorted({f"{name} {one['packages'].get(name)}" for one in ran for name in PACKAGES[:2]}))
    machines = "; ".join(sorted({one["machine"]["cpu"] for one in ran}))
    data = ", ".join(sorted({one["dataset"]["sha256"][:12] for one in ran}))
    commit = (
        f"commit {code['commit'][:12]}{' with changes' if code['dirty'] else ''}" if code["commit"] else "no checkout"
    )
    return f"code {code['version']} ({commit}, source {code['source_sha256']}), {packages}, data {data}, on {machines}"
