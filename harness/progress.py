"""A progress bar over whichever budget will end first, for terminals."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from harness.ledger import Budget
from harness.loop import Row, Tick, Training
from harness.report import quantity

UNITS = {"samples": "samples", "cpu_seconds": "CPU s", "wall_seconds": "s"}


def duration(seconds: float) -> str:
    """Return seconds as h:mm:ss or m:ss."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"


class ProgressBar:
    """Shows a run as it trains; draws nothing where standard error is no terminal.

    Call it with the training and what it yielded. `time left` counts training alone.
    """

    def __init__(self, budget: Budget, label: str):
        self._limits = budget.limits()
        self._bound = ""
        self._console = Console(file=sys.stderr)
        fields: dict[str, Any] = dict.fromkeys(("spent", "bound", "rate", "left"), "")
        columns = [TextColumn(f"{{task.fields[{name}]}}") for name in fields]
        # Drawn at ticks alone: a refreshing thread would be charged to the run's CPU seconds.
        self._progress = Progress(TextColumn(label), BarColumn(), *columns, console=self._console, auto_refresh=False)
        self._task = self._progress.add_task("", total=1.0, **fields)

    def __enter__(self) -> "ProgressBar":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def __call__(self, training: Training, event: Row | Tick) -> None:
        """Take in what the training yielded, and draw."""
        if not self._console.is_terminal:
            return
        spent = {**training.ledger.__dict__, **training.clocks.seconds()}
        if not isinstance(event, str):
            bounds = {e["split"]: e["mean"] for e in event["estimates"] if e["estimator"] == "lower-bound"}
            self._bound = "bound " + "/".join(f"{mean:.1f}" for mean in bounds.values()) if bounds else ""
        fraction, counter = max((spent[name] / limit, name) for name, limit in self._limits.items())
        wall = max(spent["wall_seconds"], 1e-9)
        self._progress.update(
            self._task,
            completed=min(fraction, 1.0),
            spent=f"{quantity(spent[counter])}/{quantity(self._limits[counter])} {UNITS[counter]}",
            bound=self._bound,
            rate=f"{spent['samples'] / wall:,.0f} samples/s",
            left=f"{duration(wall * (1 / fraction - 1))} left" if 0 < fraction <= 1 else "",
        )
        self._progress.refresh()
