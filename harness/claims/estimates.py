"""Estimates of a selection of runs at a mark, as claims take them."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from harness.analysis import curves, selection
from harness.analysis.reliability import doubt
from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import no_average, row_at
from harness.claims.evidence import Evidence, Says, Values, Verdict
from harness.claims.file import Claim, ClaimAtMarks
from harness.claims.wording import runs_in_words
from harness.specs.where import in_words


def parts_of(runs: Sequence[StoredRun], options: Sequence[str]) -> Iterator[tuple[str, list[StoredRun]]]:
    """Yield runs apart by the values of options, with words for each part."""
    parts: dict[str, list[StoredRun]] = {}
    for run in runs:
        parts.setdefault(str(run.options(options)), []).append(run)
    for part in parts.values():
        yield in_words(part[0].options(options)), part


class Estimates(NamedTuple):
    """Estimates of a selection of runs at a mark.

    Attributes:
        values: nats per datapoint, by what they are paired over.
        mark: where they are, samples.
        missing: why the claim fails before anything is compared: a run lacks an estimate that it should have.
        shorter: how many runs have none because their budget ends before.
        doubt: in words, which of them their own diagnostics say are not to be trusted; empty if none.
    """

    values: Values
    mark: float = math.nan
    missing: str = ""
    shorter: int = 0
    doubt: str = ""

    @property
    def remark(self) -> str:
        """What is to be said after a verdict's reason."""
        return f", {runs_in_words(self.shorter)} shorter" if self.shorter else ""


def estimates_at(
    claim: ClaimAtMarks,
    evidence: Evidence,
    runs: Sequence[StoredRun],
    mark: float | str,
    key: Callable[[StoredRun], Any],
    compared_with: Sequence[StoredRun] = (),
) -> Estimates:
    """Return the estimates of runs at a mark.

    Args:
        claim: whose estimator and split count.
        evidence: what it is checked against.
        runs: the runs.
        mark: as claims have it.
        key: returns what a run's estimate is paired over.
        compared_with: runs with which they are compared: all estimates are over points that these have, too.

    Raises:
        BadInput: two runs that would count as one, or ends that do not compare: at different marks, and by other budgets than the
            same number of datapoints.
    """
    for run in runs:
        if run.status == "done" and (why := _never(run, claim, mark)):
            return Estimates({}, missing=why)
    rows = {run.id: row for run in runs if (row := row_at(run, mark, claim.weights)) is not None}
    shorter = 0
    for run in runs:
        if run.id not in rows and run.status == "done":
            shorter += 1
        elif run.id not in rows:
            reason = f": {run.record.reason}" if run.record.reason else f" after {len(run.rows)} rows"
            return Estimates({}, missing=f"run {run.id} is {run.status}{reason}")
    if not rows:
        said = "" if isinstance(mark, str) else f": the nearest marks are {curves.nearest(runs, mark)}"
        return Estimates({}, missing=f"no run has a row at {mark_in_words(mark)}{said}")
    others = [(run, row) for run in compared_with if (row := row_at(run, mark, claim.weights)) is not None]
    chosen = [run for run in runs if run.id in rows]
    marks = {run.mark(rows[run.id]) for run in chosen}
    ends = marks | {run.mark(row) for run, row in others}
    if mark == "end" and len(ends) > 1 and not _same_data([*chosen, *(run for run, _ in others)]):
        said = " and ".join(f"{n:,.0f}" for n in sorted(ends)[:3])
        raise evidence.refusal(
            claim,
            f"runs end at {said} samples, so their ends do not compare: give a mark as at, or the runs the same --datapoints",
        )
    points = curves.common_points([*rows.values(), *(row for _, row in others)])
    values: Values = {}
    whose: dict[Any, StoredRun] = {}
    doubted = []
    for run in chosen:
        found, place = curves.estimate(rows[run.id], claim.estimator, claim.split, points), key(run)
        if found is None:
            why = f"run {run.id} has no finite estimate by {claim.estimator} on {claim.split} at {mark_in_words(mark)}"
            return Estimates({}, missing=why)
        if place in whose:
            differ = selection.unlike(whose[place], run)
            what = f"{differ.setting} {differ.first} and {differ.second}" if differ else "nothing"
            raise evidence.refusal(
                claim,
                f"{whose[place].id} and {run.id} would count as one, and differ in {what}: say which with where",
            )
        values[place], whose[place] = float(found["mean"]), run
        if words := doubt(found):
            doubted.append(f"run {run.id}, {words}")
    said = f"{len(doubted)} of {len(values)} estimates cannot be relied on: {doubted[0]}" if doubted else ""
    return Estimates(values, max(marks), shorter=shorter, doubt=said)


def _never(run: StoredRun, claim: ClaimAtMarks, mark: float | str) -> str | None:
    """Say why a run that is done has no estimates of the weights, or no mark, that a claim is about; None if it has them."""
    if claim.weights == "average" and (why := no_average(run.record)):
        return f"run {run.id} has no averaged weights: {why}"
    if mark == "best-valid" and row_at(run, mark, claim.weights) is None:
        return f"run {run.id} has no estimates on the validation split (--splits train,valid,test) at its marks"
    return None


def _same_data(runs: Sequence[StoredRun]) -> bool:
    """Say whether a number of datapoints is the only budget of runs, and the same."""
    budgets = [run.record.budget for run in runs]
    return all(budget.keys() == {"datapoints"} and budget == budgets[0] for budget in budgets)


def judged(verdict: Verdict, *estimates: Estimates) -> Verdict:
    """Return a verdict as these estimates allow it: what holds only by some that cannot be relied on cannot be told."""
    doubts = [one.doubt for one in estimates if one.doubt]
    if not doubts:
        return verdict
    says: Says = "cannot tell" if verdict.says in ("holds", "better") else verdict.says
    return verdict._replace(says=says, why="; ".join((verdict.why, *doubts)))


def mark_in_words(mark: float | str) -> str:
    """Return a mark in words."""
    words = {"end": "the end", "best-valid": "the best mark on the validation split"}
    return words[mark] if isinstance(mark, str) else f"{mark:,.0f} samples"


def described(claim: ClaimAtMarks, runs: str, mark: float | str) -> str:
    """Return the subject of a verdict: which runs, at which mark, and of which weights if not of the last."""
    weights = ", averaged weights" if claim.weights == "average" else ""
    return f"{runs} at {mark_in_words(mark)}{weights}".strip()


def require_pairs(claim: Claim, evidence: Evidence, n: int, subject: str) -> None:
    """Raise BadInput where there are not two pairs to tell an interval from."""
    if n < type(claim).needs:
        count = "no seed that both sides have" if n == 0 else "one seed alone"
        raise evidence.refusal(
            claim, f"{subject} there is {count}, and an interval needs two: add seeds to the experiment"
        )
