"""Runs and their estimates, for people and as plain data."""

import itertools
import math
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.reliability import LEGEND, MARK, doubts, tails, unreliable
from harness.analysis.stored_run import StoredRun
from harness.analysis.versions import PluginFiles
from harness.analysis.weights import no_average
from harness.errors import BadInput, in_one_line
from harness.report.text import (
    PERPLEXITY,
    estimate_text,
    fits_terminal,
    marked,
    other_data,
    perplexity_text,
    print_table,
    quantity,
    with_error,
)
from harness.safe_text import show, show_exactly
from harness.specs.horizon import horizon_of
from harness.store.record import Record, changes, final_estimates, over_most_points
from harness.store.run import Run
from harness.store.store import Store

if TYPE_CHECKING:
    from harness.runs.certify import Certificate

SLUG = 30  # characters of an id before its last digits, as far as `harness list` shows them on a narrow terminal

GROWTH_BYTES = 500e6
"""Growth of memory since a run's first row from which on it is reported."""


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
    bounds = {e["split"]: e for e in final_estimates(record) if e["estimator"] == "lower-bound"}
    marginals = {e["split"]: e for e in final_estimates(record) if e["estimator"] != "lower-bound"}
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
    earlier = sorted({file for row in rows for file in row.get("earlier_version_of", ())})
    if earlier:
        show(f"* made by an earlier version of {' and '.join(earlier)}")


def _status(row: dict[str, Any]) -> str:
    return f"{row['status']}{'*' if row.get('earlier_version_of') else ''}"


def _short(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return heads and lines that fit 80 columns: the last digits of ids, which name a run as well."""
    lines = []
    for row in rows:
        slug, _, digits = row["run"].rpartition("-")
        words = [digits, slug if len(slug) <= SLUG else f"{slug[: SLUG - 1]}…", row.get("model", ""), _status(row)]
        spent = [quantity(row[name]) if name in row else "" for name in _counters(rows)]
        test = row.get("test") if row.get("test") is not None else row.get("marginal_test")
        doubtful = row.get("test") is None and "marginal_test" in row.get("unreliable", ())
        lines.append([*words, *spent, "" if test is None else marked(f"{test:.2f}", doubtful)])
    return ["id", "run", "model", "status", *_counters(rows), "test"], lines


def _counters(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the counters that a list of runs shows: datapoints too where samples do not tell how many there were."""
    return ["samples", *(["datapoints"] if other_data(rows) else ())]


def _whole(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    table, counters = [], _counters(rows)
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
    used = [i for i in range(len(heads)) if i < 7 + len(counters) or any(line[i] for line in table)]
    return [heads[i] for i in used], [[line[i] for i in used] for line in table]


def print_traceback(run: Run, record: Record) -> None:
    """Print where a plugin raised the error that ended a run, as the terminal shows it."""
    text = run.traceback()
    if text is None:
        show(f"run {run.id} is {record.status}, and no traceback is stored with it")
    else:
        show(*map(in_one_line, text.splitlines()))


def print_sources(run: Run, record: Record) -> None:
    """Print what was in the plugin files, and the modules beside them, when a run was made."""
    kept: dict[str, dict[str, str]] = next((s["sources"] for s in record.provenance if "sources" in s), {})
    if not kept:
        show(
            f"run {run.id} keeps no source: its plugins are no files, or it was made by a version that did not keep them"
        )
    for files in kept.values():
        for name, text in files.items():
            show(f"# {in_one_line(name)}")
            if sys.stdout.isatty() or os.environ.get("GITHUB_ACTIONS") == "true":  # which obey a stranger's text
                show(*(in_one_line(line.expandtabs()) for line in text.splitlines()))
            else:
                show_exactly(text)


def print_run(
    run: Run,
    record: Record,
    rows: Sequence[dict[str, Any]],
    evaluations: Sequence[dict[str, Any]],
    remarks: Sequence[str] = (),
) -> None:
    """Print everything about one run: specification, spending, estimates, and a line for each mark.

    Args:
        run: the run.
        record: its run.json.
        rows: its trace.
        evaluations: what was estimated after training.
        remarks: what else a reader should know.
    """
    spec = record.spec
    plugins = [
        (part, spec[part]["name"], " ".join(f"{k}={v}" for k, v in spec[part]["settings"].items()))
        for part in ("algorithm", "model", "dataset")
    ]
    show(f"run {run.id}: {record.status}" + (f", {record.reason}" if record.reason else ""))
    show(run.path, "")
    for line in (*remarks, *sessions(record)):
        show(f"note: {line}", "")
    for line in dict.fromkeys(words for session in record.provenance for words in session.get("warnings", ())):
        show(f"warning: {line}", "")
    print_table(("", "plugin", "settings"), plugins)
    rest = {"n_train": spec["n_train"] or "all", "seed": spec["seed"], "threads": spec["threads"]}
    rest |= {"schedule": spec["schedule"]} if spec["schedule"] != "constant" else {}
    rest |= {"average": f"from {spec['average']:,} samples on"} if spec["average"] is not None else {}
    show("", "  ".join(f"{name}={value}" for name, value in rest.items()))
    show("budget: " + "  ".join(f"{name}={quantity(limit)}" for name, limit in record.budget.items()), "")
    print_table(("spent", ""), [(name, quantity(value)) for name, value in record.ledger.items()])
    show("")
    print_estimates(record.summary)
    if rows and not _has_bound(record):
        show(_no_bound(record))
    if spec["average"] is not None:
        show("", _average_in_words(record))
        if rows and "averaged" in rows[-1]:
            print_estimates(rows[-1]["averaged"])
    if evaluations:
        show("", "estimated after training, in order of time")
        print_estimates([row["estimate"] for row in evaluations], [row["ledger"]["samples"] for row in evaluations])
    if rows:
        show(
            "",
            "at every mark: nats per datapoint ± standard error over points and noise (higher is better), and means of what "
            "steps reported",
        )
        every = [[*row["estimates"], *row.get("averaged", ())] for row in rows]
        heads = list(dict.fromkeys(f"{_named(e)} {e['split']}" for estimates in every for e in estimates))
        names, counted = list(rows[-1]["info"]), _counters([row["ledger"] for row in rows])
        table = []
        for row, estimates in zip(rows, every, strict=True):
            curve = {f"{_named(e)} {e['split']}": estimate_text(e) for e in reversed(estimates)}
            counters = (*(f"{row['ledger'][name]:,}" for name in counted), f"{row['ledger']['cpu_seconds']:.1f}")
            info = (f"{row['info'][name]:.4g}" if name in row["info"] else "" for name in names)
            table.append((*counters, *(curve.get(head, "") for head in heads), *info))
        print_table((*counted, "CPU s", *heads, *(name.replace("_", " ") for name in names)), table)
        if any(unreliable(e) for estimates in every for e in estimates):
            show(LEGEND)


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
        show("no estimates")
        return
    rows = [
        [
            _named(e),
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
    columns = [
        "estimate",
        "split",
        "points",
        "nats",
        "se over points",
        "se of estimator",
        "bias",
        "mean over points of",
    ]
    perplexities = [perplexity_text(e) for e in estimates]
    if any(perplexities):
        columns.append("perplexity ± se")
        rows = [[*row, perplexity] for row, perplexity in zip(rows, perplexities, strict=True)]
    if samples:
        columns.append("samples")
        rows = [[*row, f"{n:,}"] for row, n in zip(rows, samples, strict=True)]
    print_table(columns, rows)
    if any(perplexities):
        show(PERPLEXITY)
    for words in doubts(estimates):
        show(f"{MARK} {words}")


def _named(estimate: dict[str, Any]) -> str:
    """Return the estimator of an estimate, and whether it is of averaged weights."""
    return f"{estimate['estimator']}{' (average)' if estimate.get('weights') == 'average' else ''}"


def _average_in_words(record: Record) -> str:
    """Return of which steps the mean of a run's parameters is, or why there is none yet."""
    if why := no_average(record):
        return f"no averaged weights yet: {why}"
    return f"averaged weights, the mean over steps after {record.spec['average']:,} samples:"


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
        gap = f"{with_error(certificate.gap, certificate.gap_error)} nats (± standard error) between lower and upper bound"
        show("", f"sandwich on simulated points: {gap}")
    else:
        show("", f"the reference is log p(x) by {certificate.reference}")
    if certificate.disagreement is not None:
        where, difference, error = certificate.disagreement
        off = with_error(difference, error, sign=True)
        show(f"on test points, {where} minus {certificate.reference}: {off} nats (± standard error)")
    if certificate.trustworthy:
        show(f"trustworthy: nothing is off by more than {limit:g} nats, twice the standard errors included")
    elif not certificate.closed:
        show(
            f"not trustworthy: the gap plus twice its standard error exceeds {limit:g} nats; use more --distributions or --points"
        )
    else:
        show(f"not trustworthy: {where} may be wrong by more than {limit:g} nats")


def _final_line(e: dict[str, Any]) -> str:
    per_word = f"; perplexity {perplexity_text(e)}" if perplexity_text(e) else ""
    nats = f"{estimate_text(e)} nats (± standard error)"
    return f"  {_named(e)} on {e['points']:,} {e['split']} points: {nats}{per_word}"


def print_summary(run: Run, record: Record, *, already: bool) -> None:
    """Print how a run ended, what it cost, where it is and what to do next."""
    show(f"{run.id}: {'was done already' if already else record.status}")
    for e in final_estimates(record):
        show(_final_line(e))
    if record.spec["average"] is not None:
        show(f"  {_average_in_words(record)}")
        for e in over_most_points(e for row in run.rows()[-1:] for e in row.get("averaged", ())):
            show(_final_line(e))
    for words in doubts(final_estimates(record)):
        show(f"  {MARK} {words}")
    if record.ledger and not _has_bound(record):
        show(f"  {_no_bound(record)}")
    spent = record.ledger
    excluded = sum(spent[f"{phase}_wall_seconds"] for phase in ("setup", "output"))
    data = f", {spent['datapoints']:,} datapoints" if other_data([spent]) else ""
    show(
        f"  spent {spent['samples']:,} samples{data}, {spent['cpu_seconds']:.1f} CPU s and {spent['wall_seconds']:.1f} s "
        f"of training; evaluation {spent['evaluation_wall_seconds']:.1f} s, set-up and output {excluded:.1f} s"
    )
    if spent["samples"] >= (horizon_of(record.spec["schedule"]) or math.inf):
        show(f"  --schedule {record.spec['schedule']} has come to its end, where the step size is 0")
    for line in sessions(record):
        show(f"  note: {line}")
    show(f"  stored in {run.path}")
    show(f"next: harness show {run.id}   or   harness plot {run.id}")
