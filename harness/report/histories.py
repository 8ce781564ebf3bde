"""Histories, for people."""

from collections.abc import Sequence

from harness.analysis.foreign import MARK
from harness.analysis.history import History, Point
from harness.analysis.statistics import mean
from harness.report.text import counted, interval_text, print_table, with_error
from harness.safe_text import show


def print_histories(histories: Sequence[History], split: str) -> None:
    """Print a table for each kind of run, a line a commit, and which changes are surely for the better or the worse."""
    show(note(split))
    for one in histories:
        show("", f"{one.kind}: {one.estimator}")
        print_table(heads(split), [cells(point) for point in one.points])
    for words in notes(histories):
        show(words)


def note(split: str) -> str:
    """Return what the numbers of a history are, in a sentence."""
    return (
        f"nats per datapoint on the {split} set at the ends of runs, means over seeds; ± is the standard error (se) over seeds; "
        "changes are from the commit above, paired over the seeds that both have; not paired where these are too few"
    )


def heads(split: str) -> tuple[str, ...]:
    """Return the heads of the columns of a history."""
    return ("date", "commit", "seeds", f"{split} ± se", "change ± se", "95% interval", "of", "")


def notes(histories: Sequence[History]) -> list[str]:
    """Return which of the runs are somebody else's, and whose, each once."""
    return list(dict.fromkeys(words for one in histories for point in one.points for words in point.foreign))


def verdict(point: Point) -> str:
    """Return whether a change is surely for the better or the worse; nothing where it may be chance."""
    change = point.change
    if change is None or change.interval is None or abs(change.mean) <= change.interval:
        return ""
    return "worse" if change.mean < 0 else "better"


def cells(point: Point) -> list[str]:
    """Return the line of a commit."""
    own, change = mean(list(point.values.values())) if point.values else None, point.change
    not_done = f" ({point.not_done} not done)" if point.not_done else ""
    return [
        point.time[:10],
        point.commit,
        f"{len(point.values)}{MARK if point.foreign else ''}{not_done}",
        "" if own is None else with_error(own.mean, own.error),
        "" if change is None else with_error(change.mean, change.error, sign=True),
        "" if change is None or change.interval is None else interval_text(change.mean, change.interval, change.error),
        "" if change is None else counted(change.n, "pair") if change.paired else "not paired",
        verdict(point),
    ]
