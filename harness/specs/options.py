"""Options of `harness run`: how they are called, parsed and compared."""

import math
from typing import Any

from harness.errors import BadInput

Options = dict[str, Any]
"""Options of a run by name, as `harness run` would be given them."""

OPTIONS = {
    "algo": "algorithm", "dataset": "dataset", "model": "model", "n-train": "n_train", "seed": "seed", "threads": "threads",
    "device": "device", "eval-points": "points", "final-points": "final_points", "marginal": "marginal",
    "final-marginal": "final_marginal", "marginal-points": "marginal_points",
}  # fmt: skip
"""Options of `harness run` that are no settings of plugins, and what `make_spec` calls them."""

BUDGETS = ("samples", "cpu-seconds", "wall-seconds")

MARKS = ("first-mark", "marks-per-decade")


MOST = 2**62  # of anything that is counted

MOST_JOBS = 1024  # processes at a time


def parse_count(option: str, text: str, least: int = 1, most: int = MOST) -> int:
    """Return the whole number within these limits that was given in words; BadInput otherwise."""
    value = number(text)
    if not (math.isfinite(value) and least <= value <= most and value == int(value)):
        up_to = f" to {most:,}" if value > most else ""
        raise BadInput(f"{option} is {text!r}: give a whole number from {least}{up_to}")
    return int(value)


def parse_jobs(text: str) -> int:
    """Return how many processes were asked for; BadInput if that is no number, or more than a system bears."""
    return parse_count("--jobs", text, most=MOST_JOBS)


def parse_factor(option: str, text: str) -> float:
    """Return the number above 0 that was given in words; BadInput otherwise."""
    value = number(text)
    if not (math.isfinite(value) and value > 0):
        raise BadInput(f"{option} is {text!r}: give a number above 0")
    return value


def parse_numbers(option: str, text: str | None, such_as: str) -> list[float]:
    """Return the numbers that were given in words, with commas between; BadInput unless all are finite."""
    values = [number(word) for word in text.split(",")] if text is not None else []
    if not all(map(math.isfinite, values)):
        raise BadInput(f"{option} is {text!r}: give numbers with commas between, such as {such_as}")
    return values


def number(text: str) -> float:
    """Return the number in words, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
