"""`harness run`, `resume` and `extend`: bring one run to its budget."""

import contextlib
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    budget_options,
    data_folder,
    in_store,
    json_flag,
    named_files,
    quiet_flag,
    run_argument,
    run_options,
)
from harness.cli.output import print_json, say
from harness.cli.settings import TakesSettings, settings_argument
from harness.errors import BadInput
from harness.safe_text import show
from harness.specs.options import OPTIONS, Options, arguments

if TYPE_CHECKING:
    from harness.runs.runner import Watch
    from harness.specs.budget import Budget
    from harness.store.record import Record
    from harness.store.run import Run
    from harness.store.store import Store
    from harness.training.loop import Row, Tick, Training


def _output_options(command: "Callable[..., None]") -> "Callable[..., None]":
    """Add the options that say what is printed."""
    return quiet_flag(json_flag(command))


DEFAULT_SAMPLES = 10**6

EPILOG = """\b
Every setting of the algorithm, the model and the dataset is an option, too:
  harness run --algo aevb --nz 20 --hidden 500 --lr 0.02 --binarize stochastic
With plugins named, help lists their settings:
  harness run --algo aevb --help"""


@click.command(cls=TakesSettings, epilog=EPILOG)
@run_options(*OPTIONS)
@budget_options
@_output_options
@data_folder
@in_store
@settings_argument
def run(
    options: Options,
    budget: Options,
    quiet: bool,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Train a model and store the run.

    A run that is in the store already is resumed, extended or shown. The budget is 1e6 samples unless another is given, or the
    horizon of a --schedule; of several limits, the first that is reached ends the run.
    """
    from harness.runs.runner import ensure
    from harness.specs.budget import budget_of
    from harness.specs.experiment import TUNED
    from harness.specs.horizon import within
    from harness.specs.run import make_spec

    if TUNED in settings.values():
        from harness.runs import tune

        problem = {name: options.get(name) for name in ("algo", "dataset", "model", "n-train", "schedule")}
        settings, study = tune.filled(store, problem, settings)
        show(f"tuned: {study}", file=sys.stderr)
    spec = make_spec(**arguments(options), settings=settings)
    horizon = spec.steps.horizon
    limits = within(spec.schedule, budget_of(budget or {"samples": horizon or DEFAULT_SAMPLES}))
    if spec.average is not None and spec.average > (limits.samples or math.inf):
        say(
            f"--average begins after {spec.average:,} samples, beyond the budget, so there will be no averaged weights yet"
        )
    _train(
        store.run(spec.run_id),
        limits,
        lambda watch: ensure(store, spec, limits, data_dir=data_dir, watch=watch, say=say, warn=_warn),
        quiet,
        as_json,
    )


def _warn(words: str) -> None:
    say(f"warning: {words}")


@click.command()
@run_argument
@named_files()
@_output_options
@data_folder
@in_store
def resume(run: str, quiet: bool, as_json: bool, data_dir: str | None, store: "Store") -> None:
    """Continue a run that was interrupted, up to its budget."""
    from harness.analysis import chosen
    from harness.runs import runner
    from harness.specs.budget import Budget

    stored = chosen.one(store, run)
    budget = Budget(**stored.read().budget)  # type: ignore[arg-type]
    _train(stored, budget, lambda watch: runner.resume(stored, data_dir=data_dir, watch=watch, say=say), quiet, as_json)


@click.command()
@run_argument
@budget_options
@named_files()
@_output_options
@data_folder
@in_store
def extend(run: str, budget: Options, quiet: bool, as_json: bool, data_dir: str | None, store: "Store") -> None:
    """Continue a run to a larger budget.

    The budget includes what the run has spent.
    """
    from harness.analysis import chosen
    from harness.runs import runner
    from harness.specs.budget import budget_of
    from harness.specs.horizon import within

    stored = chosen.one(store, run)
    limits = budget_of(budget)
    with contextlib.suppress(BadInput):  # what is wrong with it, if anything, `runner.extend` says
        limits = within(stored.read().spec["schedule"], limits)
    _train(
        stored,
        limits,
        lambda watch: runner.extend(stored, limits, data_dir=data_dir, watch=watch, say=say),
        quiet,
        as_json,
    )


def _train(run: "Run", budget: "Budget", work: "Callable[[Watch], Record]", quiet: bool, as_json: bool) -> None:
    """Do the work under a progress bar, and print how it ended."""
    from contextlib import nullcontext

    from harness.report.listing import run_rows
    from harness.report.progress import ProgressBar
    from harness.report.runs import print_summary

    trained = False

    with nullcontext() if quiet else ProgressBar(budget, run.id) as bar:

        def watch(training: "Training", event: "Row | Tick") -> None:
            nonlocal trained
            trained = True
            if bar is not None:
                bar(training, event)

        record = work(watch)
    if as_json:
        (row,) = run_rows([run])
        found = {**row, "already": not trained, "path": str(run.path), "estimates": record.summary}
        averaged = next((row["averaged"] for row in run.rows()[-1:] if "averaged" in row), None)
        print_json(found if record.spec["average"] is None else {**found, "averaged": averaged})
    elif not quiet:
        print_summary(run, record, already=not trained)
