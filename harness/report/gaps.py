"""How the gap between log p(x) and a lower bound splits up, as `harness.runs.gaps` found and runs keep it."""

from collections.abc import Sequence
from typing import Any

from harness.report.text import print_table, with_error
from harness.safe_text import show


def print_gaps(rows: Sequence[dict[str, Any]], samples: Sequence[int] = ()) -> None:
    """Print a line for each split of a gap: log p(x), both parts with their standard errors over points, and the lower bound.

    Args:
        rows: as runs keep them, see `harness.store.schema`.
        samples: after how many each was made; shown where these differ.
    """
    if not rows:
        return
    columns = ["points", "log p(x)", "approximation", "amortisation", "lower bound", "log p(x) by"]
    lines = [
        [
            f"{row['points']:,} {row['split']}",
            f"{row['log_p']:.2f}",
            _text(row["approximation"]),
            "" if row["amortisation"] is None else _text(row["amortisation"]),
            f"{row['best'] if row['bound'] is None else row['bound']:.2f}",
            row["reference"],
        ]
        for row in rows
    ]
    if len(set(samples)) > 1:
        columns.append("samples")
        lines = [[*line, f"{n:,}"] for line, n in zip(lines, samples, strict=True)]
    show("", "what lies between log p(x) and the lower bound, nats ± standard error over points")
    print_table(columns, lines)
    show("approximation: no diagonal Gaussian is the posterior of a point")
    if any(row["amortisation"] is not None for row in rows):
        show("amortisation: the recognition model's Gaussians are not the best ones")
    for row in rows:
        if row["sandwich"] is not None:
            show(
                f"log p(x) by {row['reference']} is a lower bound, too: the sandwich on simulated points leaves "
                f"{_text(row['sandwich'])} nats to it"
            )


def _text(gap: dict[str, float]) -> str:
    return with_error(gap["mean"], gap["error"])
