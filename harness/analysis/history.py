"""What runs of one kind reached by the code that made them: a point for each commit, in the order of time.

Commit and date are those of a run's provenance. One specification is one run in a group, so runs of several commits are in
several groups or stores, or are imported; a plugin file of the user's that changed makes another run of the same kind.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.analysis import foreign
from harness.analysis.curves import estimator_for
from harness.analysis.kinds import kinds
from harness.analysis.statistics import Difference, difference, mean
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.store.record import final_estimates

DIGITS = 9  # of a commit, which tell it from others


class Point(NamedTuple):
    """What runs of a kind reached by one commit.

    Attributes:
        commit: the first digits of the commit, with `+` where files were changed; else the version and digits of its source.
        time: when the first of these runs began, in UTC; empty where nobody knows.
        values: the estimate at the end of each run that is done, by seed, nats per datapoint.
        not_done: how many others there are.
        change: to the commit before; whether it is paired over seeds depends on how many both have. None of the first.
        foreign: which of the runs are somebody else's, and whose.
    """

    commit: str
    time: str
    values: Mapping[int, float]
    not_done: int
    change: Difference | None
    foreign: Sequence[str]


class History(NamedTuple):
    """A kind of run, the estimator that tells, and its points in the order of time."""

    kind: str
    estimator: str
    points: Sequence[Point]


def histories(runs: Sequence[StoredRun], split: str = "test", estimator: str | None = None) -> list[History]:
    """Return the history of each kind.

    Args:
        runs: of any kinds, groups and times.
        split: over which points.
        estimator: whose estimates; by default the first of each kind's runs.

    Raises:
        BadInput: no run that is done has such an estimate.
    """
    found = []
    for kind, members in kinds(runs).items():
        judge = estimator_for(members[0], estimator)
        by_commit: dict[str, list[StoredRun]] = {}
        for run in sorted(members, key=_began):
            by_commit.setdefault(commit_of(run), []).append(run)
        points: list[Point] = []
        for commit, own in by_commit.items():
            values = {run.seed: value for run in own if (value := _end(run, judge, split)) is not None}
            not_done = sum(run.status != "done" for run in own)
            before = next((one.values for one in reversed(points) if one.values), None)
            change = difference(values, before) if before and values else None
            points.append(Point(commit, _began(own[0]), values, not_done, change, foreign.remarks(own)))
        if any(point.values for point in points):
            found.append(History(kind, judge, points))
    if not found:
        there = sorted({name for run in runs for name in run.estimators})
        raise BadInput(
            f"no run that is done has an estimate{f' by {estimator}' if estimator else ''} on the {split} set: "
            + (f"--y can be {' or '.join(there)}; " if there else "")
            + "see `harness list`"
        )
    return found


def commit_of(run: StoredRun) -> str:
    """Return what a run's last session calls its code."""
    code = run.last_session.get("code", {})
    if code.get("commit"):
        return str(code["commit"])[:DIGITS] + ("+" if code.get("dirty") else "")
    return f"{code.get('version', 'unknown')} {str(code.get('source_sha256', ''))[:DIGITS]}".strip()


def _began(run: StoredRun) -> str:
    return str(run.record.provenance[0].get("time", "")) if run.record.provenance else ""


def _end(run: StoredRun, estimator: str, split: str) -> float | None:
    """Return the estimate at the end of a run; None where it is not done, or has none."""
    if run.status != "done":
        return None
    own = [e["mean"] for e in final_estimates(run.record) if (e["estimator"], e["split"]) == (estimator, split)]
    return float(own[0]) if own else None


def plain(found: Sequence[History]) -> list[dict[str, Any]]:
    """Return histories as plain data, by the keys of `harness history --json`."""
    out = []
    for one in found:
        points = []
        for point in one.points:
            spread, change = mean(list(point.values.values())) if point.values else None, point.change
            points.append({
                "commit": point.commit, "time": point.time, "values": {str(s): v for s, v in point.values.items()},
                "mean": spread and spread.mean, "error": spread and spread.error, "not_done": point.not_done,
                "change": change and change.mean, "change_error": change and change.error,
                "change_interval": change and change.interval, "change_paired": change and change.paired,
                "change_pairs": change.n if change and change.paired else None, "foreign": list(point.foreign),
            })  # fmt: skip
        out.append({"kind": one.kind, "estimator": one.estimator, "points": points})
    return out
