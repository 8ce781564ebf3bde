"""Runs and their estimates, for people and as plain data."""

import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.reliability import LEGEND, MARK, doubts, tails, unreliable
from harness.errors import BadInput
from harness.report.text import estimate_text, marked, print_table, quantity
from harness.store.record import Record, changes, final_estimates
from harness.store.run import Run
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.runs.certify import Certificate

GROWTH_BYTES = 500e6
"""Growth of memory since a run's first row from which on it is reported."""


def run_row(run: Run) -> dict[str, Any]:
    """Return a line of `harness list` as plain data; for an unreadable run, the reason."""
    try:
        record = run.read()
    except BadInput as error:
        return {"run": run.id, "status": "unreadable", "reason": str(error)}
    spec = record.spec
    bounds = {e["split"]: e for e in final_estimates(record) if e["estimator"] == "lower-bound"}
    marginals = {e["split"]: e for e in final_estimates(record) if e["estimator"] != "lower-bound"}
    return {
        "run": run.id,
        "group": run.path.parent.name,
        "status": record.status,
        "reason": record.reason,
        "algorithm": spec["algorithm"]["name"],
        "dataset": spec["dataset"]["name"],
        "nz": spec["model"]["settings"].get("nz"),
        "n_train": spec["n_train"],
        "seed": spec["seed"],
        "samples": record.ledger.get("samples", 0),
        "cpu_seconds": record.ledger.get("cpu_seconds", 0.0),
        "train": bounds["train"]["mean"] if "train" in bounds else None,
        "test": bounds["test"]["mean"] if "test" in bounds else None,
        "marginal": marginals["test"]["estimator"] if "test" in marginals else None,
        "marginal_train": marginals["train"]["mean"] if "train" in marginals else None,
        "marginal_test": marginals["test"]["mean"] if "test" in marginals else None,
        "unreliable": [f"marginal_{split}" for split, e in marginals.items() if unreliable(e)],
    }


def print_runs(store: Store, rows: Sequence[dict[str, Any]]) -> None:
    """Print the lines of `harness list`."""
    if not rows:
        print(f"no runs in {store.root}; make one with `harness run --algo aevb --nz 20`")
        return
    table = []
    for row in rows:
        if row["status"] == "unreadable":
            table.append((row["run"], "unreadable", *[""] * 7))
            continue
        figures = ("train", "test", "marginal_train", "marginal_test")
        bound = [
            marked(f"{row[figure]:.2f}", figure in row["unreliable"]) if row[figure] is not None else ""
            for figure in figures
        ]
        seconds = f"{row['cpu_seconds']:.1f}"
        table.append((row["run"], row["status"], row["group"], quantity(row["samples"]), seconds, *bound))
    heads = [
        "run",
        "status",
        "group",
        "samples",
        "CPU s",
        "train bound",
        "test bound",
        "train log p(x)",
        "test log p(x)",
    ]
    used = [i for i in range(len(heads)) if i < 7 or any(line[i] for line in table)]
    print_table([heads[i] for i in used], [[line[i] for i in used] for line in table])
    if any(row.get("unreliable") for row in rows):
        print(LEGEND)
    for row in rows:
        if row["status"] == "unreadable":
            print(f"harness: {row['reason']}", file=sys.stderr)


def print_run(run: Run, record: Record, rows: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> None:
    """Print everything about one run: specification, spending, estimates, and a line for each mark."""
    spec = record.spec
    plugins = [
        (part, spec[part]["name"], " ".join(f"{k}={v}" for k, v in spec[part]["settings"].items()))
        for part in ("algorithm", "model", "dataset")
    ]
    print(f"run {run.id}: {record.status}" + (f", {record.reason}" if record.reason else ""))
    print(f"{run.path}\n")
    for line in sessions(record):
        print(f"note: {line}\n")
    for line in dict.fromkeys(words for session in record.provenance for words in session.get("warnings", ())):
        print(f"warning: {line}\n")
    print_table(("", "plugin", "settings"), plugins)
    rest = {"n_train": spec["n_train"] or "all", "seed": spec["seed"], "threads": spec["threads"]}
    print("\n" + "  ".join(f"{name}={value}" for name, value in rest.items()))
    print("budget: " + "  ".join(f"{name}={quantity(limit)}" for name, limit in record.budget.items()) + "\n")
    print_table(("spent", ""), [(name, quantity(value)) for name, value in record.ledger.items()])
    print()
    print_estimates(record.summary)
    if rows and not _has_bound(record):
        print(_no_bound(record))
    if evaluations:
        print("\nestimated after training, in order of time")
        print_estimates([row["estimate"] for row in evaluations], [row["ledger"]["samples"] for row in evaluations])
    if rows:
        print(
            "\nat every mark: nats per datapoint ± standard error (higher is better), and means of what steps reported"
        )
        heads = list(dict.fromkeys(f"{e['estimator']} {e['split']}" for row in rows for e in row["estimates"]))
        names = list(rows[-1]["info"])
        table = []
        for row in rows:
            curve = {f"{e['estimator']} {e['split']}": estimate_text(e) for e in reversed(row["estimates"])}
            counters = (f"{row['ledger']['samples']:,}", f"{row['ledger']['cpu_seconds']:.1f}")
            info = (f"{row['info'][name]:.4g}" if name in row["info"] else "" for name in names)
            table.append((*counters, *(curve.get(head, "") for head in heads), *info))
        print_table(("samples", "CPU s", *heads, *(name.replace("_", " ") for name in names)), table)
        if any(unreliable(e) for row in rows for e in row["estimates"]):
            print(LEGEND)


def sessions(record: Record) -> list[str]:
    """Return in words what changed between the sessions of a run, and how its memory grew, where a reader should know."""
    lines = []
    for before, session in itertools.pairwise(record.provenance):
        if changed := changes(before, session):
            place = "" if session["samples"] is None else f" after {session['samples']:,} samples"
            lines.append(f"resumed with {changed}{place} ({session['time']})")
    for session in record.provenance:
        memory = session.get("memory")
        if memory and memory["last"] - memory["first"] > GROWTH_BYTES:
            first, last = (f"{memory[name] / 1e9:.1f} GB" for name in ("first", "last"))
            lines.append(
                f"memory grew from {first} at its first row to {last}: does the algorithm keep more than it needs?"
            )
    return lines


def _has_bound(record: Record) -> bool:
    return any(estimate["estimator"] == "lower-bound" for estimate in record.summary)


def _no_bound(record: Record) -> str:
    return (
        f"no lower bound: algorithm {record.spec['algorithm']['name']!r} trains no recognition model; estimate the "
        "likelihood with `harness evaluate`"
    )


def print_estimates(estimates: Sequence[dict[str, Any]], samples: Sequence[int] = ()) -> None:
    """Print estimates with both standard errors, the direction of their bias and diagnostics; and after how many samples.

    Below them stands why some are not to be trusted.
    """
    if not estimates:
        print("no estimates")
        return
    rows = [
        [
            e["estimator"],
            e["split"],
            f"{e['points']:,}",
            marked(f"{e['mean']:.2f}", unreliable(e)),
            f"{e['se_points']:.2f}",
            f"{e['se_estimator']:.3f}",
            e["direction"],
            ", ".join(_diagnostics(e)),
        ]
        for e in estimates
    ]
    columns = ["estimate", "split", "points", "nats", "± points", "± estimator", "bias", "mean over points of"]
    if samples:
        columns.append("samples")
        rows = [[*row, f"{n:,}"] for row, n in zip(rows, samples, strict=True)]
    print_table(columns, rows)
    for words in doubts(estimates):
        print(f"{MARK} {words}")


def _diagnostics(estimate: dict[str, Any]) -> list[str]:
    """Return in words what an estimator tells of itself."""
    means = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in estimate["diagnostics"].items()]
    told = tails(estimate)
    return means if told is None else [*means, told]


def print_certificate(certificate: "Certificate") -> None:
    """Print the lower and upper bounds, how they compare with the run's own estimates, and the verdict."""
    print_estimates([estimate.row() for estimate in certificate.estimates])
    limit, where = certificate.tolerance, ""
    if certificate.reference == "ais":
        gap = f"{certificate.gap:.3f} ± {certificate.gap_error:.3f} nats between lower and upper bound"
        print(f"\nsandwich on simulated points: {gap}")
    else:
        print(f"\nthe reference is log p(x) by {certificate.reference}")
    if certificate.disagreement is not None:
        where, difference, error = certificate.disagreement
        print(f"on test points {where} minus {certificate.reference} is {difference:+.3f} ± {error:.3f} nats")
    if certificate.trustworthy:
        print(f"trustworthy: nothing is off by more than {limit:g} nats, twice the standard errors included")
    elif not certificate.closed:
        print(
            f"not trustworthy: the gap plus twice its standard error exceeds {limit:g} nats; use more --distributions or --points"
        )
    else:
        print(f"not trustworthy: {where} may be wrong by more than {limit:g} nats")


def print_summary(run: Run, record: Record, *, already: bool) -> None:
    """Print how a run ended, what it cost, where it is and what to do next."""
    print(f"{run.id}: {'was done already' if already else record.status}")
    for e in final_estimates(record):
        print(f"  {e['estimator']} on {e['points']:,} {e['split']} points: {estimate_text(e)} nats")
    for words in doubts(final_estimates(record)):
        print(f"  {MARK} {words}")
    if record.ledger and not _has_bound(record):
        print(f"  {_no_bound(record)}")
    spent = record.ledger
    excluded = sum(spent[f"{phase}_wall_seconds"] for phase in ("setup", "output"))
    print(
        f"  spent {spent['samples']:,} samples, {spent['cpu_seconds']:.1f} CPU s and {spent['wall_seconds']:.1f} s of training; "
        f"evaluation {spent['evaluation_wall_seconds']:.1f} s, set-up and output {excluded:.1f} s"
    )
    for line in sessions(record):
        print(f"  note: {line}")
    print(f"  stored in {run.path}")
    print(f"next: harness show {run.id}   or   harness plot {run.id}")
