"""Words, numbers and tables for people."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any


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
    widths = _widths(columns, rows)
    right = [all(row[i].lstrip("-")[:1].isdigit() or not row[i] for row in rows) for i in range(len(columns))]
    if not fits_terminal(columns, rows):
        _print_folded(columns, rows, right, title)
        return
    if title:
        print(title)
    for row in (columns, *rows):  # rich takes a millisecond a row
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        print("  ".join(cells).rstrip())


def fits_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Say whether a table is not too wide for the terminal, or the output is none."""
    widths = _widths(columns, rows)
    return not sys.stdout.isatty() or sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]


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
    """Return mean ± the standard error over points and over the estimator's noise together."""
    error = (estimate["se_points"] ** 2 + estimate["se_estimator"] ** 2) ** 0.5
    return f"{estimate['mean']:.2f} ± {error:.2f}"


def interval_text(middle: float, half_width: float) -> str:
    """Return an interval by its ends, such as -1.23 to +0.45."""
    return f"{middle - half_width:+.2f} to {middle + half_width:+.2f}"


def either(numbers: Sequence[int]) -> str:
    """Return numbers as alternatives: 465 or 10,000."""
    return " or ".join(f"{n:,}" for n in numbers)


def counted(n: int, what: str) -> str:
    """Return how many there are of something, such as 1 run and 2 runs."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")
