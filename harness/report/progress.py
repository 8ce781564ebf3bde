"""Progress bars for terminals: of a run over whichever budget will end first, and of a sweep over its runs."""

import contextlib
import errno
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Column

from harness import safe_text
from harness.report.text import duration, quantity
from harness.runs.jobs import Outcome
from harness.runs.sweep import Planned
from harness.specs.budget import Budget
from harness.store.store import STUDIES
from harness.training.loop import Row, Tick, Training

UNITS = {"samples": "samples", "datapoints": "datapoints", "cpu_seconds": "CPU s", "wall_seconds": "s"}


WIDE = 120  # columns of a terminal from which on a run's bar has its id and rate


def _console() -> Console:
    return Console(file=sys.stderr)


@contextlib.contextmanager
def _unless_lost() -> Iterator[None]:
    """Draw, unless the terminal is lost: a run goes on without it, or ends by the signal that says so."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class _Bars:
    """Bars on a terminal; nothing where standard error is none."""

    def __init__(self, *columns: ProgressColumn):
        self._console = _console()
        # Drawn when called alone: a refreshing thread would be charged to the run's CPU seconds.
        self._progress = Progress(*columns, console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._console.is_terminal:
            with _unless_lost():
                self._progress.stop()


class ProgressBar(_Bars):
    """Shows a run as it trains: on a terminal a bar, elsewhere a line at each mark.

    Call it with the training and what it yielded. `time left` counts training alone.
    """

    def __init__(self, budget: Budget, label: str):
        self._limits = budget.limits()
        self._bound = ""
        # At 80 columns there is no room for the id, nor below 100 for the rate: bar, estimates and time left say more.
        names = ("spent", "bound", "rate", "left")
        self._fields: dict[str, Any] = dict.fromkeys(names, "")
        super().__init__(
            *([] if _console().width < WIDE else [TextColumn(safe_text.line(label), markup=False)]),
            BarColumn(bar_width=None),
            *self._columns(),
        )
        self._task = self._progress.add_task("", total=1.0, **self._fields)

    def _columns(self) -> list[TextColumn]:
        shown = [name for name in self._fields if name != "rate" or _console().width >= WIDE]
        return [
            TextColumn(f"{{task.fields[{name}]}}", markup=False, table_column=Column(no_wrap=True)) for name in shown
        ]

    def __call__(self, training: Training, event: Row | Tick) -> None:
        """Take in what the training yielded, and show it."""
        with _unless_lost():
            self._show(training, event)

    def _show(self, training: Training, event: Row | Tick) -> None:
        spent = training.spent()
        if not isinstance(event, str):
            estimates = [e for e in event["estimates"] if e["estimator"] == event["estimates"][0]["estimator"]]
            bounds = {e["split"]: e["mean"] for e in estimates}
            self._bound = " ".join(f"{split} {mean:.1f}" for split, mean in bounds.items())
        fraction, counter = max((spent[name] / limit, name) for name, limit in self._limits.items())
        if not self._console.is_terminal:
            if not isinstance(event, str):
                of = f"{quantity(spent[counter])} of {quantity(self._limits[counter])} {UNITS[counter]}"
                by = f", {event['estimates'][0]['estimator']}: {self._bound}" if self._bound else ""
                self._console.print(
                    safe_text.line(f"{of}{by}"), emoji=False, highlight=False, markup=False, soft_wrap=True
                )
            return
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


class SweepProgress(_Bars):
    """Shows the progress of jobs: on a terminal a bar for all and one for each active run, elsewhere a line for each that ends.

    Args:
        planned: the jobs, including those that are done already.
        workers: number of jobs at a time.
    """

    def __init__(self, planned: Sequence[Planned], workers: int):
        self._seconds = {p.job.spec.run_id: p.seconds for p in planned if p.seconds is not None}
        self._total, self._before, self._workers = len(planned), sum(p.seconds is None for p in planned), workers
        super().__init__(TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[note]}"))
        self._all = self._progress.add_task("all runs", total=max(1e-9, sum(self._seconds.values())), note="")
        self._bars: dict[str, Any] = {}
        self._shown, self._begun = 0, time.monotonic()

    def __call__(self, outcomes: Sequence[Outcome], active: Mapping[str, float]) -> None:
        """Show how things stand; see `harness.runs.jobs.Report`."""
        with _unless_lost():
            self._show(outcomes, active)

    def _show(self, outcomes: Sequence[Outcome], active: Mapping[str, float]) -> None:
        for outcome in outcomes[self._shown :]:
            self._shown += 1
            run = outcome.job.spec.run_id
            why = f", {outcome.reason}" if outcome.reason else ""
            what = "trial " if outcome.job.group.startswith(f"{STUDIES}-") else ""
            line = f"[{self._before + self._shown}/{self._total}] {what}{run}: {outcome.status}{why}"
            self._console.print(safe_text.line(line), emoji=False, highlight=False, markup=False, soft_wrap=True)
            if run in self._bars:
                self._progress.remove_task(self._bars.pop(run))
        if not self._console.is_terminal:
            return
        for run, fraction in active.items():
            if run not in self._bars:
                self._bars[run] = self._progress.add_task(safe_text.line(run), total=1.0, note="")
            self._progress.update(self._bars[run], completed=fraction, note=f"{fraction:.0%}")
        spent = sum(self._seconds[o.job.spec.run_id] for o in outcomes)
        spent += sum(fraction * self._seconds[run] for run, fraction in active.items())
        elapsed, whole = time.monotonic() - self._begun, sum(self._seconds.values())
        pace = spent / elapsed if spent > 0.02 * whole else float(self._workers)  # calibrated seconds a second
        note = f"{self._before + self._shown}/{self._total}, {duration((whole - spent) / pace)} left"
        self._progress.update(self._all, completed=spent, note=note)
        self._progress.refresh()
