"""Words, numbers and tables for people."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from harness.analysis.reliability import MARK, unreliable


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
    """Return mean ± the standard error over points and over the estimator's noise together, marked if not to be trusted."""
    error = (estimate["se_points"] ** 2 + estimate["se_estimator"] ** 2) ** 0.5
    return marked(f"{estimate['mean']:.2f} ± {error:.2f}", unreliable(estimate))


def marked(text: str, doubtful: bool) -> str:
    """Return a figure, with the mark behind it if it is not to be trusted."""
    return f"{text} {MARK}" if doubtful else text


def counted(n: int, what: str) -> str:
    """Return how many there are of something, such as 1 run and 2 runs."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
