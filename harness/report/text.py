"""Words, numbers and tables for people."""

import math
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.analysis.reliability import MARK, unreliable
from harness.safe_text import line, show

TWO_DIGITS = 3.55  # an error that begins with less is told by two digits

MOST_DECIMALS = 6

IN_PLACE_OF_NUMBERS = ("", "best", "never", "all")


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
    title = title and line(title)
    columns, rows = list(map(line, columns)), [tuple(map(line, row)) for row in rows]
    widths = _widths(columns, rows)
    right = [are_numbers([row[i] for row in rows]) for i in range(len(columns))]
    if not fits_terminal(columns, rows):
        _print_folded(columns, rows, right, title)
        return
    if title:
        show(title)
    for row in (columns, *rows):  # rich takes a millisecond a row
        cells = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True)]
        show("  ".join(cells).rstrip())


def are_numbers(cells: Iterable[str]) -> bool:
    """Say whether the cells of a column begin with numbers, or have none in words."""
    return all(cell.lstrip("+-")[:1].isdigit() or cell in IN_PLACE_OF_NUMBERS for cell in cells)


def fits_terminal(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Say whether a table is not too wide for the terminal, or the output is none."""
    rows = [tuple(map(line, row)) for row in rows]
    widths = _widths(columns, rows)
    return not sys.stdout.isatty() or sum(widths) + 2 * (len(widths) - 1) <= shutil.get_terminal_size().columns


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]


def _print_folded(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], title: str | None
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=None if title is None else line(title),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column, numbers in zip(columns, right, strict=True):
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(table)


def estimate_text(estimate: dict[str, Any]) -> str:
    """Return mean ± the standard error over points and over the estimator's noise together, marked if not to be trusted."""
    error = (estimate["se_points"] ** 2 + estimate["se_estimator"] ** 2) ** 0.5
    return marked(with_error(estimate["mean"], error), unreliable(estimate))


PERPLEXITY = "perplexity is per word, and lower is better; where nats err low, it errs high"
"""What has to stand below perplexities."""


def perplexity_text(estimate: dict[str, Any]) -> str:
    """Return the perplexity of an estimate over documents ± its standard error; nothing for other data."""
    return with_error(estimate["perplexity"], estimate.get("se_perplexity")) if "perplexity" in estimate else ""


def marked(text: str, doubtful: bool) -> str:
    """Return a figure, with the mark behind it if it is not to be trusted."""
    return f"{text} {MARK}" if doubtful else text


def decimals(error: float | None) -> int:
    """Return to how many decimals a number with this standard error is told.

    It is the rule of the Particle Data Group: of the error two digits where they are below 3.55, else one, but always whole nats.
    Two decimals where there is no error.
    """
    if not error or not math.isfinite(error):
        return 2
    exponent = math.floor(math.log10(error))
    return min(max((1 if error / 10.0**exponent < TWO_DIGITS else 0) - exponent, 0), MOST_DECIMALS)


def with_error(value: float, error: float | None, *, sign: bool = False, unknown: int = 2) -> str:
    """Return a number ± its standard error, to the digits that the error allows.

    Args:
        value: the number.
        error: its standard error; None if it is not known.
        sign: whether a positive number has one.
        unknown: decimals of a number without an error.
    """
    digits, plus = unknown if error is None else decimals(error), "+" if sign else ""
    return f"{value:{plus}.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def interval_text(middle: float, half_width: float, error: float | None) -> str:
    """Return an interval by its ends, such as -1.23 to +0.45, to the digits that the standard error allows."""
    digits = decimals(error)
    return f"{middle - half_width:+.{digits}f} to {middle + half_width:+.{digits}f}"


def either(numbers: Sequence[int]) -> str:
    """Return numbers as alternatives: 465 or 10,000."""
    return " or ".join(f"{n:,}" for n in numbers)


def other_data(ledgers: Iterable[Mapping[str, float]]) -> bool:
    """Say whether samples do not tell how many training points were presented, so that a table has to show both."""
    return any(one["datapoints"] != one["samples"] for one in ledgers if "datapoints" in one)


def counted(n: int, what: str) -> str:
    """Return how many there are of something, such as 1 run and 2 runs."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def counters_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the counters that a list of runs shows: datapoints too where samples do not tell how many there were."""
    return ["samples", *(["datapoints"] if other_data(rows) else ())]
