"""Tables and summaries for people, and the same as plain data for programs."""

import itertools
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.errors import BadInput
from harness.store import Record, Run, Store, differences

if TYPE_CHECKING:
    from harness.check import Verdict
    from harness.compare import Comparison
    from harness.export import Exported
    from harness.gc import Garbage
    from harness.judge import Certificate
    from harness.sweep import Planned
    from harness.tune import Tuned
    from harness.workers import Outcome

GROWTH_BYTES = 500e6
"""How much more memory than at its first row a run may take before its reader is told."""


def quantity(value: float) -> str:
    """Return a number as people write it: 12,345 or 0.31."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table: folded where a terminal is too narrow for it, and uncut where the output is no terminal."""
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    right = [all(row[i].lstrip("-")[:1].isdigit() or not row[i] for row in rows) for i in range(len(columns))]
    if sys.stdout.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        _print_folded(columns, rows, right, title)
        return
    if title:
        print(title)
    for row in (columns, *rows):  # rich takes a millisecond a row
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        print("  ".join(cells).rstrip())


def _print_folded(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], title: str | None
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column, numbers in zip(columns, right, strict=True):
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def estimate_text(estimate: dict[str, Any]) -> str:
    """Return mean ± the standard error over points and over the estimator's noise together."""
    error = (estimate["se_points"] ** 2 + estimate["se_estimator"] ** 2) ** 0.5
    return f"{estimate['mean']:.2f} ± {error:.2f}"


def final(record: Record) -> list[dict[str, Any]]:
    """Return a run's last estimates, of each estimator and split the one over most points."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for estimate in record.summary:
        key = estimate["estimator"], estimate["split"]
        if key not in best or estimate["points"] > best[key]["points"]:
            best[key] = estimate
    return list(best.values())


def run_row(run: Run) -> dict[str, Any]:
    """Return a line of `harness list` as plain data; an unreadable run's has its reason."""
    try:
        record = run.read()
    except BadInput as error:
        return {"run": run.id, "status": "unreadable", "reason": str(error)}
    spec = record.spec
    bounds = {e["split"]: e for e in final(record) if e["estimator"] == "lower-bound"}
    marginals = {e["split"]: e for e in final(record) if e["estimator"] != "lower-bound"}
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
        bound = [f"{row[figure]:.2f}" if row[figure] is not None else "" for figure in figures]
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
    for row in rows:
        if row["status"] == "unreadable":
            print(f"harness: {row['reason']}", file=sys.stderr)


def print_run(run: Run, record: Record, rows: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]]) -> None:
    """Print all about one run: specification, spending, estimates, and a line a mark."""
    spec = record.spec
    plugins = [
        (part, spec[part]["name"], " ".join(f"{k}={v}" for k, v in spec[part]["settings"].items()))
        for part in ("algorithm", "model", "dataset")
    ]
    print(f"run {run.id}: {record.status}" + (f", {record.reason}" if record.reason else ""))
    print(f"{run.path}\n")
    for line in sittings(record):
        print(f"note: {line}\n")
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
            "\nat every mark (nats per datapoint, higher is better), and what steps reported on average since the last"
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


def print_damage(store: Store, damaged: Sequence[dict[str, Any]]) -> None:
    """Print what `doctor.examine_store` found."""
    for one in damaged:
        what = f"its {one['file']} alone" if one["file"] else "the run"
        moved = f"\n  moved {what} to {one['moved_to']}" if one["moved_to"] else ""
        print(f"{one['run']}: {one['reason']}{moved}")
    runs = sum(1 for _ in store.runs())
    print(
        f"{store.root}: {len(damaged)} damaged, {runs} runs in all"
        if damaged
        else f"{store.root}: {runs} runs, all sound"
    )
    if any(one["moved_to"] is None for one in damaged):
        print("next: harness doctor --repair")


def sittings(record: Record) -> list[str]:
    """Return in words what changed between the sittings of a run, and how its memory grew, where that should be known."""
    lines = []
    for before, sitting in itertools.pairwise(record.provenance):
        if changed := differences(before, sitting):
            place = "" if sitting["samples"] is None else f" after {sitting['samples']:,} samples"
            lines.append(f"went on with {changed}{place} ({sitting['time']})")
    for sitting in record.provenance:
        memory = sitting.get("memory")
        if memory and memory["last"] - memory["first"] > GROWTH_BYTES:
            first, last = (f"{memory[name] / 1e9:.1f} GB" for name in ("first", "last"))
            lines.append(
                f"memory grew from {first} at its first row to {last}: does the algorithm keep what it need not?"
            )
    return lines


def _has_bound(record: Record) -> bool:
    return any(estimate["estimator"] == "lower-bound" for estimate in record.summary)


def _no_bound(record: Record) -> str:
    return (
        f"no lower bound: algorithm {record.spec['algorithm']['name']!r} trains no recognition model; see `harness evaluate` for "
        "its likelihood"
    )


def print_estimates(estimates: Sequence[dict[str, Any]], samples: Sequence[int] = ()) -> None:
    """Print estimates with both standard errors, the direction of their bias and diagnostics; and the training they had."""
    if not estimates:
        print("no estimates")
        return
    rows = [
        [
            e["estimator"],
            e["split"],
            f"{e['points']:,}",
            f"{e['mean']:.2f}",
            f"{e['se_points']:.2f}",
            f"{e['se_estimator']:.3f}",
            e["direction"],
            ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in e["diagnostics"].items()),
        ]
        for e in estimates
    ]
    columns = ["estimate", "split", "points", "nats", "± points", "± estimator", "bias", "mean over points of"]
    if samples:
        columns.append("samples")
        rows = [[*row, f"{n:,}"] for row, n in zip(rows, samples, strict=True)]
    print_table(columns, rows)


def print_certificate(certificate: "Certificate") -> None:
    """Print the sandwich, what the run reports beside it, and the verdict."""
    print_estimates([estimate.row() for estimate in certificate.estimates])
    limit, where = certificate.tolerance, ""
    print(
        f"\nsandwich on simulated points: {certificate.gap:.3f} ± {certificate.gap_error:.3f} nats between lower and upper bound"
    )
    if certificate.disagreement is not None:
        where, difference, error = certificate.disagreement
        print(f"on test points {where} less ais is {difference:+.3f} ± {error:.3f} nats")
    if certificate.trustworthy:
        print(f"trustworthy: nothing is off by more than {limit:g} nats, twice the errors included")
    elif not certificate.closed:
        print(
            f"not trustworthy: the gap and twice its error exceed {limit:g} nats; use more --distributions or --points"
        )
    else:
        print(f"not trustworthy: {where} may be off by more than {limit:g} nats")


def print_summary(run: Run, record: Record, *, already: bool) -> None:
    """Print how a run ended, what it cost, where it is and what to do next."""
    print(f"{run.id}: {'was done already' if already else record.status}")
    for e in final(record):
        print(f"  {e['estimator']} on {e['points']:,} {e['split']} points: {estimate_text(e)} nats")
    if record.ledger and not _has_bound(record):
        print(f"  {_no_bound(record)}")
    spent = record.ledger
    excluded = sum(spent[f"{phase}_wall_seconds"] for phase in ("setup", "output"))
    print(
        f"  spent {spent['samples']:,} samples, {spent['cpu_seconds']:.1f} CPU s and {spent['wall_seconds']:.1f} s of training; "
        f"evaluation {spent['evaluation_wall_seconds']:.1f} s, set-up and output {excluded:.1f} s"
    )
    for line in sittings(record):
        print(f"  note: {line}")
    print(f"  stored in {run.path}")
    print(f"next: harness show {run.id}   or   harness plot {run.id}")


def planned_row(planned: "Planned") -> dict[str, Any]:
    """Return a line of `harness sweep --dry-run` as plain data."""
    return {
        "run": planned.job.spec.run_id,
        "group": planned.job.group,
        "budget": planned.job.budget.limits(),
        "state": planned.state,
        "samples": planned.spent,
        "seconds_left": planned.seconds,
        "reason": planned.reason,
    }


def print_plan(name: str, planned: Sequence["Planned"], workers: int) -> None:
    """Print the runs of a sweep, what is done, and what the rest will cost."""
    rows = []
    for p in planned:
        budget = ", ".join(
            f"{quantity(limit)} {counter.replace('_', ' ')}" for counter, limit in p.job.budget.limits().items()
        )
        left = "" if p.seconds is None else duration(p.seconds)
        rows.append((p.job.spec.run_id, budget, p.state, quantity(p.spent), left))
    print_table(("run", "budget", "state", "samples", "CPU time to go"), rows)
    _print_reasons((p.job.spec.run_id, p.state, p.reason) for p in planned)
    to_run = [p.seconds for p in planned if p.seconds is not None]
    done = sum(p.state == "done" for p in planned)
    wall = duration(_makespan(to_run, workers))
    print(f"\n{name}: {len(planned)} runs, {done} done, {len(to_run)} to run")
    print(f"by a short calibration: {duration(sum(to_run))} of CPU time, about {wall} with --jobs {workers}")


def _makespan(seconds: Sequence[float], workers: int) -> float:
    """Return when the last worker is done, if each takes the next job as soon as it is free."""
    ends = [0.0] * workers
    for job in seconds:
        ends[ends.index(min(ends))] += job
    return max(ends)


def outcome_row(outcome: "Outcome") -> dict[str, Any]:
    """Return how a job of a sweep ended as plain data."""
    return {
        "run": outcome.job.spec.run_id,
        "group": outcome.job.group,
        "status": outcome.status,
        "reason": outcome.reason,
    }


def print_outcomes(name: str, outcomes: Sequence["Outcome"]) -> None:
    """Print how many jobs of a sweep ended how, and why those that have no result have none."""
    counts = {status: sum(o.status == status for o in outcomes) for status in dict.fromkeys(o.status for o in outcomes)}
    words = {"already": "done already"}
    print(f"{name}: " + ", ".join(f"{n} {words.get(status, status)}" for status, n in counts.items()))
    _print_reasons((o.job.spec.run_id, o.status, o.reason) for o in outcomes)


def print_tuned(estimator: str, tuned: "Tuned") -> None:
    """Print the trials of a study, the best first, what was chosen and what it all cost."""
    names = list(tuned.chosen)
    rows = [
        (
            *(str(trial.settings[name]) for name in names),
            "diverged" if trial.value == -math.inf else f"{trial.value:.2f}",
        )
        for trial in tuned.trials
    ]
    print_table((*names, f"{estimator} on train"), rows)
    words = " ".join(f"--{name} {value}" for name, value in tuned.chosen.items())
    spent = tuned.spent
    print(f"\n{tuned.study}: {words}")
    cost = f"{quantity(spent['samples'])} samples and {spent['cpu_seconds']:.1f} CPU s of training"
    print(f"spent {cost} on {len(tuned.trials)} trials")
    print("next: harness run " + " ".join(f"--{name} tuned" for name in names) + ", all else as here")


def print_comparisons(comparisons: Sequence["Comparison"], estimator: str, split: str) -> None:
    """Print both sides of every panel at powers of ten and at the last mark, and what a target cost each."""
    from harness.compare import shown, what_differs

    rows, races = [], []
    for one in comparisons:
        for gap in shown(one.gaps):
            error = "" if gap.half is None else f" ± {gap.half:.2f}"
            pairs = (
                ("1 pair" if gap.difference.n == 1 else f"{gap.difference.n} pairs")
                if gap.difference.paired
                else "unpaired"
            )
            cells = (
                f"{gap.samples:,.0f}",
                f"{gap.first:.2f}",
                f"{gap.second:.2f}",
                f"{gap.difference.mean:+.2f}{error}",
            )
            rows.append((one.about, *cells, pairs))
        if one.race is not None:
            costs = [_against(pair) for pair in (one.race.samples, one.race.cpu)]
            races.append((one.about, f"{one.race.target:.2f}", *costs[0], *costs[1]))
    print(
        f"{estimator} on {split}, nats per datapoint; A less B ± half its 95 % confidence interval, paired over seeds"
    )
    print_table(("", "samples", "A", "B", "A less B", "over"), rows)
    for one in comparisons:
        if one.lost:
            print(f"{one.about}: left out {', '.join(one.lost)}")
    for one in comparisons:
        differs = "; ".join(f"{name} {a} and {b}" for name, a, b in what_differs(one))
        print(
            f"\n{one.about}: A and B differ in {differs}"
            if differs
            else f"\n{one.about}: A and B have the same settings"
        )
    if races:
        unit = next(one.race.unit for one in comparisons if one.race)
        print(f"\nto reach a target on {split}, means over seeds")
        heads = ("", "target", "samples A", "B", "A / B", f"{unit} A", "B", "A / B")
        print_table(heads, races)


def _against(pair: tuple[float | None, float | None]) -> tuple[str, str, str]:
    """Return two costs and their ratio."""
    ratio = f"{pair[0] / pair[1]:.2f}" if pair[0] and pair[1] else ""
    first, second = ("never" if cost is None else quantity(cost) for cost in pair)
    return first, second, ratio


def verdict_row(verdict: "Verdict") -> dict[str, Any]:
    """Return a verdict as plain data."""
    claim = verdict.claim
    facts = {
        "claim": claim.title(),
        "kind": claim.kind,
        "where": dict(claim.where),
        "holds": getattr(claim, "holds", None),
    }
    return facts | {name: value for name, value in verdict._asdict().items() if name != "claim"}


def observed(verdict: "Verdict") -> str:
    """Return what was observed, with its error."""
    if verdict.observed is None:
        return ""
    digits = 2 if abs(verdict.observed) >= 10 else 3
    return f"{verdict.observed:.{digits}f}" + ("" if verdict.error is None else f" ± {verdict.error:.{digits}f}")


def verdict_cells(verdicts: Sequence["Verdict"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and cells of a table of verdicts."""
    rows: list[tuple[str, ...]] = [(v.claim.title(), v.about, observed(v), v.required, v.says, v.why) for v in verdicts]
    return ("claim", "about", "observed", "required", "verdict", "why"), rows


def print_verdicts(verdicts: Sequence["Verdict"]) -> None:
    """Print a line a verdict, and how many there are of each."""
    print_table(*verdict_cells(verdicts))
    counts = {says: sum(v.says == says for v in verdicts) for says in dict.fromkeys(v.says for v in verdicts)}
    words = {
        "holds": "hold",
        "fails": "fail" if counts.get("fails") != 1 else "fails",
        "better": "better than required",
    }
    print("\n" + ", ".join(f"{n} {words.get(says, says)}" for says, n in counts.items()))


def _print_reasons(rows: Iterable[tuple[str, str, str | None]]) -> None:
    for run, status, reason in rows:
        if reason is not None:
            print(f"{run} {status}: {reason}")


def counted(n: int, what: str) -> str:
    """Return how many there are of something, such as 1 run and 2 runs."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def print_exported(runs: Sequence["Exported"], path: Path) -> None:
    """Print where an export is, and how much there is of what."""
    rows = sum(len(run.rows) for run in runs)
    estimates = sum(len(row.get("estimates", [])) for run in runs for row in run.rows) + sum(
        len(r.evaluations) for r in runs
    )
    print(f"{path}: {counted(len(runs), 'run')}, {counted(rows, 'row')}, {counted(estimates, 'estimate')}")


def garbage_data(garbage: Sequence["Garbage"], *, dry_run: bool) -> dict[str, Any]:
    """Return what went, or would go, as plain data."""
    items = [{**one._asdict(), "path": str(one.path)} for one in garbage]
    return {"dry_run": dry_run, "bytes": sum(one.bytes for one in garbage if not one.reason), "items": items}


def print_garbage(garbage: Sequence["Garbage"], *, dry_run: bool) -> None:
    """Print what went, or would go, its bytes, and what the runs can do no more."""
    gone = [one for one in garbage if not one.reason]
    if gone:
        print_table(("", "run", "bytes"), [(one.what, one.run, f"{one.bytes:,}") for one in gone])
        print()
    counts = {what: sum(one.what == what for one in gone) for what in ("checkpoint", "quarantined run", "leftover")}
    parts = ", ".join(counted(n, what) for what, n in counts.items() if n) or "nothing"
    print(f"{'would remove' if dry_run else 'removed'} {parts}: {sum(one.bytes for one in gone):,} bytes")
    if counts["checkpoint"]:
        print(
            "without its checkpoint a run keeps its curves and estimates; it cannot be extended, evaluated, certified or sampled"
        )
    for one in garbage:
        if one.reason:
            print(f"harness: {one.path} is left: {one.reason}", file=sys.stderr)


def plugin_data(plugin: registry.Plugin) -> dict[str, Any]:
    """Return all about a plugin as plain data."""
    settings = []
    if plugin.module is not None:
        for name, field in plugin.module.Config.model_fields.items():
            default = None if field.is_required() else field.default
            kind = getattr(field.annotation, "__name__", str(field.annotation))
            choices = [str(a) for a in getattr(field.annotation, "__args__", ())]
            settings.append(
                {"name": name, "default": default, "type": "|".join(choices) or kind, "help": field.description or ""}
            )
    return {
        "name": plugin.name,
        "source": plugin.source,
        "description": plugin.description,
        "broken": plugin.broken,
        "settings": settings,
    }


def print_plugins(plugins: Sequence[registry.Plugin]) -> None:
    """Print name, source, description and settings of plugins."""
    for plugin in plugins:
        data = plugin_data(plugin)
        print(f"{plugin.name} ({plugin.source})")
        print(f"  {'BROKEN: ' + plugin.broken if plugin.broken else plugin.description}")
        for s in data["settings"]:
            option = f"--{s['name'].replace('_', '-')} {s['default']}"
            print(f"    {option:<26}{s['help']}" + (f" ({s['type']})" if "|" in s["type"] else ""))
        print()
