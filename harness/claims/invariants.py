"""What must hold for every sound run, whatever it has learned, and can be checked from what is stored.

`bias-order`     of two estimates of one model on the same points, the one with the lower bias is not above the other
`ledger`         counters never fall, reach their marks, and count what a claim says that they count

What needs checkpoints or a moment of training is in `harness.claims.probes`.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from harness.analysis.reliability import doubt
from harness.analysis.stored_run import StoredRun
from harness.claims.evidence import Evidence, Says
from harness.claims.file import Invariant
from harness.errors import suggestion

ERRORS = 4.0  # standard errors by which noise may break an order: one comparison of 30,000


class Found(NamedTuple):
    """What was found of an invariant; see `harness.claims.evidence.Verdict`.

    Where a test over seeds decides, `p` is its p-value. If it rejects at the level of the file, the invariant fails, for which
    `otherwise` is the reason if it is another than `why`.
    """

    observed: float | None
    error: float | None
    required: str
    says: Says
    why: str
    p: float | None = None
    otherwise: str = ""


Runs = Sequence[StoredRun]
"""Sound runs of one kind, which differ in their seeds alone, with rows."""

Verdicts = Iterator[tuple[str, Found]]
"""What was found, with words that follow the kind of runs."""

Bounds = Callable[[Evidence, StoredRun], Sequence[dict[str, Any]]]


def _no_bounds(evidence: Evidence, run: StoredRun) -> Sequence[dict[str, Any]]:
    return ()


def bias_order(claim: Invariant, evidence: Evidence, runs: Runs, bounds: Bounds = _no_bounds) -> Verdicts:
    """Yield by how much, at the most, a lower bound lies above an exact estimate or an upper bound, or exact above upper.

    Args:
        claim: the claim.
        evidence: what it is checked against.
        runs: of one kind.
        bounds: returns more lower bounds, to be compared with the first run's last estimates.
    """
    tolerance = 0.1 if claim.tolerance is None else claim.tolerance
    required, side = f"≤ {tolerance:g}", {"lower": 0, "exact": 1, "upper": 2}
    worst, compared, where = -math.inf, 0, ""
    doubted: list[str] = []
    for number, run in enumerate(runs):
        added = list(bounds(evidence, run)) if number == 0 else []
        for estimates in _of_one_model(run, added):
            for low, high in itertools.permutations(estimates, 2):
                alike = all(low[name] == high[name] for name in ("split", "points"))
                if not alike or side[low["direction"]] >= side[high["direction"]]:
                    continue
                compared += 1
                if words := doubt(low) or doubt(high):
                    doubted.append(f"run {run.id}, {words}")
                errors = [e["se_estimator"] for e in (low, high) if math.isfinite(e["se_estimator"])]
                over = low["mean"] - high["mean"] - ERRORS * math.hypot(*errors)
                if over > worst:
                    where = f"{low['estimator']} minus {high['estimator']} on {low['split']} of {run.id}"
                    worst = over
    if not compared:
        yield "", Found(None, None, required, "fails", "no two estimators have estimates on the same points")
    else:
        why = f"highest of {compared} comparisons, {ERRORS:g} standard errors allowed: {where}"
        says: Says = "fails" if worst > tolerance else "cannot tell" if len(doubted) == compared else "holds"
        if doubted:
            why += f"; {len(doubted)} of them tell little: {doubted[0]}"
        yield "", Found(worst, None, required, says, why)


def _of_one_model(run: StoredRun, added: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the finite estimates of each row; with the last one those made after training, and those added."""
    for row in run.rows:
        estimates = list(row["estimates"])
        if row is run.rows[-1]:
            samples = row["ledger"]["samples"]
            later = [e["estimate"] for e in run.on_disk.evaluations() if e["ledger"]["samples"] == samples]
            estimates += [e for e in later if "weights" not in e]  # else they are of another model
            estimates += added
        yield [e for e in estimates if math.isfinite(e["mean"])]


def _ledger(claim: Invariant, evidence: Evidence, runs: Runs) -> Verdicts:
    miscounted = next((why for run in runs if (why := _miscounted(claim, evidence, run))), None)
    counts = ", ".join(f"{n:g} {name}" for name, n in claim.per_datapoint.items())
    required = f"{counts} a datapoint" if counts else "sound counters"
    why = miscounted or f"{sum(len(run.rows) for run in runs)} rows of {len(runs)} runs"
    yield "", Found(None, None, required, "fails" if miscounted else "holds", why)


def _miscounted(claim: Invariant, evidence: Evidence, run: StoredRun) -> str | None:
    """Say what is wrong with a run's counters; None if nothing is."""
    before: Mapping[str, float] = {}
    for row in run.rows:
        ledger = defaultdict(float, row["ledger"])  # what it does not have, it has not counted
        for name, n in before.items():
            if ledger[name] < n:
                return f"{name} of {run.id} fell from {n:,.6g} to {ledger[name]:,.6g}"
        for counter, reached in row["marks"].items():
            if ledger[counter] < reached:
                return f"{run.id} has a row for {reached:,.6g} {counter} at {ledger[counter]:,.6g}"
        for name, each in claim.per_datapoint.items():
            if name not in ledger:
                raise evidence.refusal(
                    claim, f"no ledger counts {name!r}{suggestion(name, ledger)}: choose one of {', '.join(ledger)}"
                )
            expected = each * ledger["datapoints"]
            if abs(ledger[name] - expected) > 1e-9 * max(expected, 1.0):
                found = f"{ledger[name]:,.6g} {name} for {ledger['datapoints']:,.0f} datapoints"
                return f"{run.id} counts {found}, and {expected:,.6g} were expected"
        before = ledger
    for name, n in before.items():
        now = run.record.ledger.get(name, 0.0)
        if now < n or (run.status == "done" and not name.endswith("seconds") and now != n):
            return f"the last row of {run.id} has {n:,.6g} {name}, and its record {now:,.6g}"
    return None


HOLDS: dict[str, Callable[[Invariant, Evidence, Runs], Verdicts]] = {
    "bias-order": bias_order,
    "ledger": _ledger,
}
