"""What runs reached, as actions for continuous benchmarks take it: a list of {name, unit, value, range, extra}.

Larger is better in all of them, so the tool is `customBiggerIsBetter` in the action github-action-benchmark. There is an entry
for each group, kind of run, estimator and split: the mean over seeds in nats, with the standard error over seeds as its range.
Names do not depend on seeds, versions or dates, so one commit is compared with the next.
"""

from collections.abc import Sequence
from typing import Any

from harness.analysis import foreign
from harness.analysis.kinds import kinds
from harness.analysis.statistics import mean
from harness.analysis.stored_run import StoredRun
from harness.store.record import final_estimates

UNIT = "nats"

DECIMALS = 6


def entries(runs: Sequence[StoredRun]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the entries of runs, and in words which runs are in none of them, as they are not done."""
    found: list[dict[str, Any]] = []
    left = [f"{_group(run)}/{run.id} is {run.status}" for run in runs if run.status != "done"]
    for group in dict.fromkeys(map(_group, runs)):
        for kind, every in kinds(run for run in runs if _group(run) == group).items():
            done = [run for run in every if run.status == "done"]
            values: dict[tuple[str, str], list[float]] = {}
            points: dict[tuple[str, str], int] = {}
            for run in done:
                for e in final_estimates(run.record):
                    key = e["estimator"], e["split"]
                    values.setdefault(key, []).append(e["mean"])
                    points[key] = e["points"]
            for (estimator, split), own in values.items():
                spread = mean(own)
                extra = [f"{len(own)} of {len(every)} seeds", f"{points[estimator, split]} {split} points"]
                extra += foreign.remarks(done)
                found.append({
                    "name": f"{group}: {kind}: {estimator} on {split}",
                    "unit": UNIT,
                    "value": round(spread.mean, DECIMALS),
                    **({} if spread.error is None else {"range": f"± {spread.error:.{DECIMALS}f}"}),
                    "extra": "\n".join(extra),
                })  # fmt: skip
    return found, left


def _group(run: StoredRun) -> str:
    return run.on_disk.path.parent.name
