"""Runs and their estimates, for people and as plain data."""

import itertools
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis import foreign
from harness.analysis.reliability import LEGEND, MARK, doubts, tails, unreliable
from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import no_average
from harness.errors import in_one_line
from harness.report.gaps import print_gaps
from harness.report.imputations import print_imputations
from harness.report.text import (
    PERPLEXITY,
    counters_of,
    estimate_text,
    marked,
    other_data,
    perplexity_text,
    print_table,
    quantity,
    with_error,
)
from harness.safe_text import show, show_exactly
from harness.specs.horizon import horizon_of
from harness.store import best
from harness.store.record import BOUNDS, Record, changes, final_estimates, over_most_points
from harness.store.run import Run

if TYPE_CHECKING:
    from harness.runs.certify import Certificate


GROWTH_BYTES = 500e6
"""Growth of memory since a run's first row from which on it is reported."""


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
    imputations: Sequence[dict[str, Any]] = (),
) -> None:
    """Print everything about one run: specification, spending, estimates, and a line for each mark.

    Args:
        run: the run.
        record: its run.json.
        rows: its trace.
        evaluations: what was estimated after training.
        remarks: what else a reader should know.
        imputations: what `harness impute` has found.
    """
    spec = record.spec
    plugins = [
        (part, spec[part]["name"], " ".join(f"{k}={v}" for k, v in spec[part]["settings"].items()))
        for part in ("algorithm", "model", "dataset")
    ]
    show(f"run {run.id}: {record.status}" + (f", {record.reason}" if record.reason else ""))
    show(run.path, "")
    if (origin := run.origin()) is not None:
        show(f"{foreign.MARK} foreign: {foreign.described(origin, foreign.made(record))}", "")
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
    if spec["evaluation"].get("keep") == "best-valid":
        show(_best(run, record, rows))
    if rows and _lacks_bound(record):
        show(_no_bound(record))
    if spec["average"] is not None:
        show("", _average_in_words(record))
        if rows and "averaged" in rows[-1]:
            print_estimates(rows[-1]["averaged"])
    if evaluations:
        show("", "estimated after training, in order of time")
        print_estimates([row["estimate"] for row in evaluations], [row["ledger"]["samples"] for row in evaluations])
        split_up = [row for row in evaluations if "gaps" in row]
        print_gaps([row["gaps"] for row in split_up], [row["ledger"]["samples"] for row in split_up])
    if imputations:
        show("", "hidden entries of test points after the last iteration; see `harness impute`")
        print_imputations(imputations)
    if rows:
        show(
            "",
            "at every mark: nats per datapoint ± standard error over points and noise (higher is better), and means of what "
            "steps reported",
        )
        every = [[*row["estimates"], *row.get("averaged", ())] for row in rows]
        heads = list(dict.fromkeys(f"{_named(e)} {e['split']}" for estimates in every for e in estimates))
        names, counted = list(rows[-1]["info"]), counters_of([row["ledger"] for row in rows])
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


def _lacks_bound(record: Record) -> bool:
    """Say whether a lower bound would be evaluated, and there is none: of a model with exact log p(x) nobody misses it."""
    expected = any(asked["name"] in BOUNDS for asked in record.spec["evaluation"]["estimators"])
    return expected and not any(estimate["estimator"] in BOUNDS for estimate in record.summary)


def _no_bound(record: Record) -> str:
    return (
        f"no lower bound: algorithm {record.spec['algorithm']['name']!r} trains no recognition model; estimate the "
        "likelihood with `harness evaluate`"
    )


def _best(run: Run, record: Record, rows: Sequence[dict[str, Any]]) -> str:
    """Return in words which mark was best on the validation split, and whether its parameters are there."""
    found = best.best_row(record.spec["evaluation"]["estimators"], StoredRun(record, rows).sound_rows)
    if found is None:
        return "best on the validation split: no mark yet"
    row, estimate = found
    kept = "kept" if (run.path / best.NAME).is_file() else "not there"
    return (
        f"best on the validation split: {estimate_text(dict(estimate))} by {estimate['estimator']} on {estimate['points']:,} "
        f"points, at {row['ledger']['samples']:,} samples; its parameters are {kept}"
    )


def print_estimates(estimates: Sequence[dict[str, Any]], samples: Sequence[int] = ()) -> None:
    """Print estimates with both standard errors, the direction of their bias and diagnostics; and after how many samples.

    Below them stands why some are not to be trusted.
    """
    if not estimates:
        show("no estimates")
        return
    columns, rows = estimate_cells(estimates)
    if samples:
        columns.append("samples")
        rows = [[*row, f"{n:,}"] for row, n in zip(rows, samples, strict=True)]
    print_table(columns, rows)
    if any(map(perplexity_text, estimates)):
        show(PERPLEXITY)
    for words in doubts(estimates):
        show(f"{MARK} {words}")


def estimate_cells(estimates: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells of a table of estimates."""
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
    return columns, rows


def _named(estimate: dict[str, Any]) -> str:
    """Return the estimator of an estimate, and of which weights it is if not of the last ones."""
    return f"{estimate['estimator']} ({estimate['weights']})" if "weights" in estimate else str(estimate["estimator"])


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
    if certificate.sandwiched is not None:
        gap = f"{with_error(certificate.gap, certificate.gap_error)} nats (± standard error) between lower and upper bound"
        show("", f"sandwich on {certificate.sandwiched} points: {gap}")
    else:
        show("", f"the reference is log p(x) by {certificate.reference}")
    if certificate.disagreement is not None:
        where, difference, error = certificate.disagreement
        off = with_error(difference, error, sign=True)
        show(f"on {certificate.split} points, {where} minus {certificate.reference}: {off} nats (± standard error)")
    if isinstance(certificate.gaps, str):
        show(f"the gap to the lower bound is not split: {certificate.gaps}")
    else:
        print_gaps([certificate.gaps.row()])
    show("")
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
        averaged = over_most_points(e for row in run.rows()[-1:] for e in row.get("averaged", ()))
        for e in averaged:
            show(_final_line(e))
        for words in doubts(averaged):
            show(f"  {MARK} of averaged weights, {words}")
    for words in doubts(final_estimates(record)):
        show(f"  {MARK} {words}")
    if record.ledger and _lacks_bound(record):
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
