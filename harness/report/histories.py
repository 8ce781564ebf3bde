"""Histories, for people."""

from collections.abc import Sequence

from harness.analysis.foreign import MARK
from harness.analysis.history import History, Point
from harness.analysis.statistics import mean
from harness.report.text import interval_text, print_table, with_error
from harness.safe_text import show


def print_histories(histories: Sequence[History], split: str) -> None:
    """Print a table for each kind of run, a line a commit, and which changes are surely for the better or the worse."""
    show(
        f"nats per datapoint on the {split} set at the ends of runs, means over seeds; ± is the standard error (se) over seeds; "
        "changes are from the commit above, paired over seeds where both have the same"
    )
    for one in histories:
        show("", f"{one.kind}: {one.estimator}")
        print_table(
            ("date", "commit", "seeds", f"{split} ± se", "change ± se", "95% interval", ""),
            [_line(p) for p in one.points],
        )
    for words in dict.fromkeys(words for one in histories for point in one.points for words in point.foreign):
        show(words)


def verdict(point: Point) -> str:
    """Return whether a change is surely for the better or the worse; nothing where it may be chance."""
    change = point.change
    if change is None or change.interval is None or abs(change.mean) <= change.interval:
        return ""
    return "worse" if change.mean < 0 else "better"


def _line(point: Point) -> list[str]:
    own, change = mean(list(point.values.values())) if point.values else None, point.change
    not_done = f" ({point.not_done} not done)" if point.not_done else ""
    return [
        point.time[:10],
        point.commit,
        f"{len(point.values)}{MARK if point.foreign else ''}{not_done}",
        "" if own is None else with_error(own.mean, own.error),
        "" if change is None else with_error(change.mean, change.error, sign=True),
        "" if change is None or change.interval is None else interval_text(change.mean, change.interval, change.error),
        verdict(point),
    ]
