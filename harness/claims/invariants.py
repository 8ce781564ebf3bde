"""What holds of every sound run, whatever it has learned, and can be seen in what is stored of it.

`bias-order`     of two estimates of one model on the same points, the one that errs below log p(x) is not above the other
`ledger`         counters never fall, reach their marks, and count what a claim says that they do

What takes loading checkpoints or training for a moment is in `harness.probes`.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.analysis.selection import Stored
from harness.claims.evidence import Evidence, Says
from harness.claims.file import Invariant
from harness.errors import suggestion
from harness.store.run import Run

ERRORS = 4.0  # standard errors by which noise may break an order: one comparison of 30,000


class Found(NamedTuple):
    """What came of an invariant; see `harness.check.Verdict`."""

    observed: float | None
    error: float | None
    required: str
    says: Says
    why: str


Runs = Sequence[tuple[Run, Stored]]
"""Runs of one kind, which differ in their seeds alone, with their folders: sound ones, with rows."""

Verdicts = Iterator[tuple[str, Found]]
"""What came of it, with what is to be said behind the kind."""

Bounds = Callable[[Evidence, Run, Stored], Sequence[dict[str, Any]]]


def _no_bounds(evidence: Evidence, run: Run, stored: Stored) -> Sequence[dict[str, Any]]:
    return ()


def bias_order(claim: Invariant, evidence: Evidence, runs: Runs, bounds: Bounds = _no_bounds) -> Verdicts:
    """Yield by how much, at the most, an estimate that errs below lies above one that does not.

    Args:
        claim: the claim.
        evidence: what it is held against.
        runs: of one kind.
        bounds: returns lower bounds to be held against the first run's last estimates, besides those that it has.
    """
    tolerance = 0.1 if claim.tolerance is None else claim.tolerance
    required, side = f"≤ {tolerance:g}", {"lower": 0, "exact": 1, "upper": 2}
    worst, compared, where = -math.inf, 0, ""
    for number, (run, stored) in enumerate(runs):
        added = list(bounds(evidence, run, stored)) if number == 0 else []
        for estimates in _of_one_model(run, stored, added):
            for low, high in itertools.permutations(estimates, 2):
                alike = all(low[name] == high[name] for name in ("split", "points"))
                if not alike or side[low["direction"]] >= side[high["direction"]]:
                    continue
                compared += 1
                errors = [e["se_estimator"] for e in (low, high) if math.isfinite(e["se_estimator"])]
                over = low["mean"] - high["mean"] - ERRORS * math.hypot(*errors)
                if over > worst:
                    where = f"{low['estimator']} less {high['estimator']} on {low['split']} of {stored[0].run}"
                    worst = over
    if not compared:
        yield "", Found(None, None, required, "fails", "no two estimators have judged the same points")
    else:
        why = f"highest of {compared} comparisons, {ERRORS:g} errors allowed: {where}"
        yield "", Found(worst, None, required, "holds" if worst <= tolerance else "fails", why)


def _of_one_model(run: Run, stored: Stored, added: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the finite estimates of each row; with the last those made afterwards of the model at the end, and those added."""
    rows = stored[1]
    for row in rows:
        estimates = list(row["estimates"])
        if row is rows[-1]:
            samples = row["ledger"]["samples"]
            estimates += [e["estimate"] for e in run.evaluations() if e["ledger"]["samples"] == samples]
            estimates += added
        yield [e for e in estimates if math.isfinite(e["mean"])]


def _ledger(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    trouble = next((why for _, stored in runs if (why := _miscounted(claim, evidence, stored))), None)
    counts = ", ".join(f"{n:g} {name}" for name, n in claim.per_datapoint.items())
    required = f"{counts} a datapoint" if counts else "sound counters"
    rows = sum(len(stored[1]) for _, stored in runs)
    yield (
        "",
        Found(None, None, required, "fails" if trouble else "holds", trouble or f"{rows} rows of {len(runs)} runs"),
    )


def _miscounted(claim: Invariant, evidence: Evidence, stored: Stored) -> str | None:
    """Say what is wrong with a run's counters."""
    record, rows = stored
    before: Mapping[str, float] = {}
    for row in rows:
        ledger = defaultdict(float, row["ledger"])  # what it does not have, it has not counted
        for name, n in before.items():
            if ledger[name] < n:
                return f"{name} of {record.run} fell from {n:,.6g} to {ledger[name]:,.6g}"
        for counter, reached in row["marks"].items():
            if ledger[counter] < reached:
                return f"{record.run} has a row for {reached:,.6g} {counter} at {ledger[counter]:,.6g}"
        for name, each in claim.per_datapoint.items():
            if name not in ledger:
                raise evidence.refusal(
                    claim, f"no ledger counts {name!r}{suggestion(name, ledger)}: choose of {', '.join(ledger)}"
                )
            expected = each * ledger["datapoints"]
            if abs(ledger[name] - expected) > 1e-9 * max(expected, 1.0):
                found = f"{ledger[name]:,.6g} {name} for {ledger['datapoints']:,.0f} datapoints"
                return f"{record.run} counts {found}, and {expected:,.6g} were expected"
        before = ledger
    for name, n in before.items():
        now = record.ledger.get(name, 0.0)
        if now < n or (record.status == "done" and not name.endswith("seconds") and now != n):
            return f"the last row of {record.run} has {n:,.6g} {name}, and its record {now:,.6g}"
    return None


HOLDS: dict[str, Callable[[Invariant, Evidence, Runs], Verdicts]] = {
    "bias-order": bias_order,
    "ledger": _ledger,
}
