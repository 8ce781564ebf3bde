"""Sweeps and studies, for people and as plain data."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.reliability import MARK
from harness.report.text import duration, marked, print_table, quantity
from harness.runs.jobs import CALIBRATION_SECONDS
from harness.safe_text import show

if TYPE_CHECKING:
    from harness.runs.jobs import Outcome
    from harness.runs.sweep import Planned
    from harness.runs.tune import Tuned
    from harness.specs.experiment import Experiment


def planned_row(planned: "Planned") -> dict[str, Any]:
    """Return a line of `harness sweep --dry-run` as plain data."""
    return {
        "run": planned.job.spec.run_id,
        "group": planned.job.group,
        "budget": planned.job.budget.limits(),
        "state": planned.state,
        "samples": planned.spent,
        "datapoints": planned.datapoints,
        "seconds_left": planned.seconds,
        "reason": planned.reason,
    }


def print_plan(name: str, planned: Sequence["Planned"], workers: int, on: str = "local") -> None:
    """Print the runs of a sweep, what is done, and what the rest will cost.

    Args:
        name: of the sweep.
        planned: its runs.
        workers: how many are made at a time.
        on: where they are made, as `--on` says it.
    """
    rows = []
    counted = any("datapoints" in p.job.budget.limits() for p in planned)
    for p in planned:
        budget = ", ".join(
            f"{quantity(limit)} {counter.replace('_', ' ')}" for counter, limit in p.job.budget.limits().items()
        )
        left = "" if p.seconds is None else duration(p.seconds)
        spent = (quantity(p.spent), quantity(p.datapoints)) if counted else (quantity(p.spent),)
        rows.append((p.job.spec.run_id, budget, p.state, *spent, left))
    print_table(("run", "budget", "state", "samples", *(["datapoints"] if counted else ()), "CPU time left"), rows)
    _print_reasons((p.job.spec.run_id, p.state, p.reason) for p in planned)
    to_run = [p.seconds for p in planned if p.seconds is not None]
    done = sum(p.state == "done" for p in planned)
    wall = duration(_makespan(to_run, workers))
    show("", f"{name}: {len(planned)} runs, {done} done, {len(to_run)} to run")
    if to_run:
        here = f"where --jobs {workers} has {workers} idle {'core' if workers == 1 else 'cores'}"
        where = here if on == "local" else f"where {on} makes {workers} runs at a time"
        show(
            f"extrapolated from training each kind of run for {CALIBRATION_SECONDS:g} s: {duration(sum(to_run))} of CPU time; "
            f"{wall} of wall time {where}, longer on a busy machine"
        )


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


def print_outcomes(experiment: "Experiment", outcomes: Sequence["Outcome"]) -> None:
    """Print how many jobs of a sweep ended in which way, why some have no result, and what to do next."""
    counts = {status: sum(o.status == status for o in outcomes) for status in dict.fromkeys(o.status for o in outcomes)}
    words = {"already": "done already", "left": "left to other workers"}
    show(f"{experiment.name}: " + ", ".join(f"{n} {words.get(status, status)}" for status, n in counts.items()))
    _print_reasons((o.job.spec.run_id, o.status, o.reason) for o in outcomes)
    if any(o.status in ("done", "already") for o in outcomes):
        show(f"next: harness table {experiment.called}   or   harness plot {experiment.called}")


def print_tuned(estimator: str, tuned: "Tuned") -> None:
    """Print the trials of a study, the best first, what was chosen, and the cost."""
    names = list(tuned.chosen)
    rows = [
        (
            *(str(trial.settings[name]) for name in names),
            "diverged" if trial.value == -math.inf else marked(f"{trial.value:.2f}", bool(trial.doubts)),
        )
        for trial in tuned.trials
    ]
    print_table((*names, f"{estimator} on train"), rows)
    for words in next((trial.doubts for trial in tuned.trials if trial.doubts), ())[:1]:
        show(f"{MARK} {words}")
    words = " ".join(f"--{name} {value}" for name, value in tuned.chosen.items())
    spent = tuned.spent
    show("", f"{tuned.study}: {words}")
    data = f", {quantity(spent['datapoints'])} datapoints" if spent["datapoints"] != spent["samples"] else ""
    cost = f"{quantity(spent['samples'])} samples{data} and {spent['cpu_seconds']:.1f} CPU s of training"
    show(f"spent {cost} on {len(tuned.trials)} trials")
    show("next: harness run " + " ".join(f"--{name} tuned" for name in names) + ", and all other options as here")


def _print_reasons(rows: Iterable[tuple[str, str, str | None]]) -> None:
    for run, status, reason in rows:
        if reason is not None:
            show(f"{run} {status}: {reason}")
