"""Runs under way: live on a terminal, a line each elsewhere."""

import math
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.analysis.foreign import MARK
from harness.analysis.underway import Underway
from harness.report.text import counted, duration, quantity
from harness.safe_text import line, show

UNITS = {"samples": "samples", "datapoints": "datapoints", "cpu_seconds": "CPU s", "wall_seconds": "s"}

BLOCKS = "▁▂▃▄▅▆▇█"

SPARKS = 8  # marks of a sparkline

BAR = 12  # columns

MOST_WIDTH = 120

OTHERS = 51  # columns beside an id: bar, share, nats, sparkline, what is left

SECONDS = 2.0  # between two looks

PATIENCE = 2  # looks at which nothing is under way until nothing is waited for: a sweep begins its next runs


def watch(
    look: Callable[[], list[Underway]], ended: Callable[[Underway], str], *, pause: Callable[[float], None] = time.sleep
) -> None:
    """Show runs on a terminal until none is under way any more.

    Args:
        look: returns those that are.
        ended: returns in words how one ended.
        pause: waits for so many seconds.
    """
    console = Console(file=sys.stdout, highlight=False, emoji=False, markup=False)
    before: dict[tuple[str, str], Underway] = {}
    empty = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while empty < PATIENCE:
            now = {(one.group, one.run): one for one in look()}
            for key in before.keys() - now.keys():
                console.print(Text(line(ended(before[key]))), soft_wrap=True)
            before, empty = now, 0 if now else empty + 1
            live.update(table(list(now.values()), console.width), refresh=True)
            if empty < PATIENCE:
                pause(SECONDS)
    show("no run is under way any more")


def table(runs: Sequence[Underway], width: int) -> Table:
    """Return a line for each run: how far, its last bound, its curve, what is left; of its id as much as there is room for."""
    found = Table(box=None, pad_edge=False, show_header=bool(runs), header_style="bold", width=min(width, MOST_WIDTH))
    found.add_column(counted(len(runs), "run"), no_wrap=True, overflow="ellipsis", ratio=1)
    found.add_column("", width=BAR, no_wrap=True)
    for head in ("spent", "nats", "", "left"):
        found.add_column(head, justify="right" if head else "left", no_wrap=True)
    for one in runs:
        bar = ProgressBar(total=1.0, completed=one.fraction, width=BAR)
        nats = one.now.get("test", next(iter(one.now.values()), math.nan))
        found.add_row(
            Text(shortened(one.run + (MARK if one.foreign else ""), min(width, MOST_WIDTH) - OTHERS)),
            bar,
            f"{one.fraction:.0%}",
            "" if math.isnan(nats) else f"{nats:.2f}",
            sparkline(one.curve),
            "" if one.left is None else duration(one.left),
        )
    return found


def shortened(run: str, most: int) -> str:
    """Return an id without its middle where it is longer than this: its beginning says what it is, its last digits name it."""
    words = line(run)
    return words if len(words) <= most else f"{words[: max(1, most - 10)]}…{words[-9:]}"


def sparkline(values: Sequence[float]) -> str:
    """Return the last values as blocks, the lowest of them as the lowest block; a space where there is no number."""
    last = list(values[-SPARKS:])
    finite = [value for value in last if math.isfinite(value)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    top = len(BLOCKS) - 1
    return "".join(
        BLOCKS[round((value - low) / span * top) if span else top] if math.isfinite(value) else " " for value in last
    )


def print_underway(runs: Sequence[Underway]) -> None:
    """Print a line for each run, for a file or another program."""
    for one in runs:
        of = f"{one.fraction:.0%} of {quantity(one.limit)} {UNITS.get(one.counter, one.counter)}"
        nats = " ".join(f"{split} {mean:.2f}" for split, mean in one.now.items())
        left = "" if one.left is None else f", {duration(one.left)} left"
        show(f"{one.group}/{one.run}: {of}" + (f", {one.estimator}: {nats}" if nats else "") + left)
    if not runs:
        show("no run is under way")
