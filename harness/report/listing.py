"""Stored runs as a list, for people and as plain data."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from harness.analysis import foreign
from harness.analysis.reliability import LEGEND, unreliable
from harness.analysis.stored_run import StoredRun
from harness.analysis.versions import PluginFiles
from harness.errors import BadInput
from harness.report.text import counted, counters_of, fits_terminal, marked, print_table, quantity
from harness.safe_text import show
from harness.store.origin import Origin
from harness.store.record import BOUNDS, final_estimates
from harness.store.run import Run
from harness.store.store import Store

SLUG = 30  # characters of an id before its last digits, as far as `harness list` shows them on a narrow terminal


def run_row(run: Run, now: PluginFiles) -> dict[str, Any]:
    """Return a line of `harness list` as plain data; for an unreadable run, the reason.

    Args:
        run: the run.
        now: tells of which plugin files it is an earlier version.
    """
    try:
        record = run.read()
    except BadInput as error:
        return {"run": run.id, "status": "unreadable", "reason": str(error)}
    spec = record.spec
    final = final_estimates(record)
    bounds = {e["split"]: e for name in reversed(BOUNDS) for e in final if e["estimator"] == name}
    marginals = {e["split"]: e for e in final if e["estimator"] not in BOUNDS}
    return {
        "run": run.id,
        "group": run.path.parent.name,
        "status": record.status,
        "reason": record.reason,
        "algorithm": spec["algorithm"]["name"],
        "model": spec["model"]["name"],
        "dataset": spec["dataset"]["name"],
        "nz": spec["model"]["settings"].get("nz"),
        "n_train": spec["n_train"],
        "seed": spec["seed"],
        "samples": record.ledger.get("samples", 0),
        "datapoints": record.ledger.get("datapoints", 0),
        "cpu_seconds": record.ledger.get("cpu_seconds", 0.0),
        "train": bounds["train"]["mean"] if "train" in bounds else None,
        "test": bounds["test"]["mean"] if "test" in bounds else None,
        "marginal": marginals["test"]["estimator"] if "test" in marginals else None,
        "marginal_train": marginals["train"]["mean"] if "train" in marginals else None,
        "marginal_test": marginals["test"]["mean"] if "test" in marginals else None,
        "foreign": None if (origin := run.origin()) is None else {**origin._asdict(), **foreign.made(record)},
        "began": record.provenance[0].get("time") if record.provenance else None,
        "earlier_version_of": [
            file for file, what in now.differing(StoredRun(record, ())).items() if what == "earlier"
        ],
        "unreliable": [f"marginal_{split}" for split, e in marginals.items() if unreliable(e)],
    }


def run_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the lines of `harness list` as plain data."""
    now = PluginFiles()
    return [run_row(run, now) for run in runs]


def ordered(rows: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Return the lines of `harness list` in the order of the group, or of one of their entries, the largest or latest first."""
    if by in ("group", "status"):
        return sorted(rows, key=lambda row: str(row[by])) if by == "status" else list(rows)
    entry = {"time": "began"}.get(by, by)
    known = [row for row in rows if row.get(entry) is not None]
    return [*sorted(known, key=lambda row: row[entry], reverse=True), *(row for row in rows if row.get(entry) is None)]


def print_runs(store: Store, rows: Sequence[dict[str, Any]]) -> None:
    """Print the lines of `harness list`, in short where a terminal is too narrow for whole ids."""
    if not rows:
        show(f"no runs in {store.root}; make one with `harness run --algo aevb --nz 20`")
        return
    if not fits_terminal(*_whole(rows)):
        print_table(*_short(rows))
    else:
        print_table(*_whole(rows))
    for row in rows:
        if row["status"] == "unreadable":
            show(f"harness: {row['reason']}", file=sys.stderr)
    if any(row.get("unreliable") for row in rows):
        show(LEGEND)
    for words in _foreign_in_words(rows):
        show(words)
    earlier = sorted({file for row in rows for file in row.get("earlier_version_of", ())})
    if earlier:
        show(f"* made by an earlier version of {' and '.join(earlier)}")


def _status(row: dict[str, Any]) -> str:
    return f"{row['status']}{'*' if row.get('earlier_version_of') else ''}{foreign.MARK if row.get('foreign') else ''}"


def _foreign_in_words(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a sentence for each maker, machine and version of foreign runs."""
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if told := row.get("foreign"):
            origin = Origin(**{name: told[name] for name in Origin._fields})
            kinds.setdefault(foreign.described(origin, told), []).append(row["run"])
    return [f"{foreign.MARK} {counted(len(ids), 'foreign run')} {words}" for words, ids in kinds.items()]


def _short(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines that fit 80 columns: the last digits of ids, which name a run as well."""
    lines = []
    for row in rows:
        slug, _, digits = row["run"].rpartition("-")
        words = [digits, slug if len(slug) <= SLUG else f"{slug[: SLUG - 1]}…", row.get("model", ""), _status(row)]
        spent = [quantity(row[name]) if name in row else "" for name in counters_of(rows)]
        test = row.get("test") if row.get("test") is not None else row.get("marginal_test")
        doubtful = row.get("test") is None and "marginal_test" in row.get("unreliable", ())
        lines.append([*words, *spent, "" if test is None else marked(f"{test:.2f}", doubtful)])
    return ["id", "run", "model", "status", *counters_of(rows), "test"], lines


def _whole(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    table, counters = [], counters_of(rows)
    for row in rows:
        if row["status"] == "unreadable":
            table.append((row["run"], "unreadable", *[""] * (7 + len(counters))))
            continue
        figures = ("train", "test", "marginal_train", "marginal_test")
        bound = [
            marked(f"{row[figure]:.2f}", figure in row["unreliable"]) if row[figure] is not None else ""
            for figure in figures
        ]
        seconds = f"{row['cpu_seconds']:.1f}"
        spent = [quantity(row[name]) for name in counters]
        table.append((row["run"], _status(row), row["group"], row["model"], *spent, seconds, *bound))
    heads = [
        "run",
        "status",
        "group",
        "model",
        *counters,
        "CPU s",
        "train bound",
        "test bound",
        "train log p(x)",
        "test log p(x)",
    ]
    used = [i for i in range(len(heads)) if i < 5 + len(counters) or any(line[i] for line in table)]
    return [heads[i] for i in used], [[line[i] for i in used] for line in table]
