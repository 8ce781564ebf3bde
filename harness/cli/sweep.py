"""`harness sweep` and `tune`: many runs, one process each."""

import sys
from typing import TYPE_CHECKING

import click

from harness.cli import engines
from harness.cli.engines import engine_options
from harness.cli.options import (
    data_folder,
    experiment_argument,
    in_store,
    jobs_option,
    json_flag,
    only_option,
    plugin_option,
    quiet_flag,
    run_options,
    value_option,
)
from harness.cli.output import print_json, say
from harness.cli.settings import KeepsWords, TakesSettings, settings_argument
from harness.safe_text import show
from harness.specs.options import Options
from harness.specs.values import PositiveNumber, WholeNumber, WholeNumbers

if TYPE_CHECKING:
    from harness.runs.sweep import Scheduler
    from harness.store.store import Store

DEFAULT_SAMPLES = 20_000
"""Of a trial of tuning."""


@click.command(cls=KeepsWords)
@experiment_argument
@jobs_option
@value_option("--budget-scale", PositiveNumber(), "Multiply every budget by X.", default="1")
@only_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="List the runs: what is done, and what the rest will cost; with --on slurm print the script of a worker.",
)
@click.option("--leave", is_flag=True, help="End when other processes are making all runs that are left.")
@engine_options
@click.option("--status", is_flag=True, help="Only say how many runs are done, and which workers of SLURM there are.")
@click.option("--cancel", is_flag=True, help="Only cancel its workers of SLURM.")
@quiet_flag
@json_flag
@data_folder
@in_store
def sweep(
    experiment: str,
    jobs: int,
    budget_scale: float,
    only: str | None,
    dry_run: bool,
    leave: bool,
    engine: engines.Chosen,
    status: bool,
    cancel: bool,
    quiet: bool,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
) -> None:
    """Make all runs of an experiment, in worker processes.

    EXPERIMENT is the name of a built-in one or a .toml file. Runs that are in the store already are resumed, extended or left
    as they are. Exit code 3 if a run failed or diverged. On SLURM the command submits workers, each of which is this sweep on the
    shared store, and ends; given again, it submits those that are missing.
    """
    from harness.runs.processes import start_server
    from harness.specs.experiment import Experiment

    chosen = Experiment(experiment)
    if cancel:
        engines.cancel(store, chosen.name)
        return
    if engine.on == "slurm" and not status:
        chosen.tasks(only, budget_scale)  # what is wrong with the runs is told before anything is submitted
        engines.on_slurm(store, engine, chosen.name, chosen.slurm, "--leave", dry_run=dry_run, as_json=as_json)
        return
    if engine.on == "local":
        start_server()  # before the imports of PyTorch that follow
    from harness.report import sweeps
    from harness.runs.sweep import Sweep

    work = Sweep(scheduler(store, jobs, data_dir, engine, quiet=quiet), chosen, only, budget_scale)
    if status:
        engines.print_queue(store, chosen.name, as_json=as_json, counts=work.states())
        return
    if dry_run:
        planned = work.plan()
        if as_json:
            print_json([sweeps.planned_row(p) for p in planned])
        else:
            sweeps.print_plan(chosen.name, planned, work.scheduler.workers, engine.on)
        return
    ended = work.run(leave=leave)
    for study in work.chosen():
        if not quiet:
            show(f"tuned: {study}", file=sys.stderr)
    if as_json:
        print_json([sweeps.outcome_row(outcome) for outcome in ended])
    elif not quiet:
        sweeps.print_outcomes(chosen, ended)
    else:
        for outcome in ended:  # what went wrong is said all the same
            if outcome.status in ("failed", "diverged"):
                run, why = outcome.job.spec.run_id, str(outcome.reason)
                say(why if run in why else f"{run} {outcome.status}: {why}")
    if any(outcome.status in ("failed", "diverged") for outcome in ended):
        raise SystemExit(3)


@click.command(cls=TakesSettings)
@run_options("algo", "model", "dataset", "n-train", "schedule")
@value_option("--samples", WholeNumber(), "Budget of a trial with each seed [20000, unless --datapoints is given].")
@value_option("--datapoints", WholeNumber(), "The same in training points presented in minibatches.")
@value_option("--seeds", WholeNumbers(WholeNumber(0)), "Try every setting with each of these seeds.", default="0")
@value_option(
    "--trials", WholeNumber(), "How many settings are tried; if these are not all, TPE chooses them [all, else 20]."
)
@plugin_option("--estimator", "estimators", "Whose training-set estimate decides [lower-bound, else hmc-density].")
@jobs_option
@engine_options
@json_flag
@data_folder
@in_store
@settings_argument
def tune(
    options: Options,
    samples: int | None,
    datapoints: int | None,
    seeds: list[int],
    trials: int | None,
    estimator: str | None,
    jobs: int,
    engine: engines.Chosen,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Choose settings of an algorithm by equal trials.

    The best training-set estimate after a short budget decides. All settings of the algorithm that have a search space are
    tuned, or only those that are given the value tuned, such as --lr tuned; the others are given as to `harness run`. The
    choice is stored, and `harness run --lr tuned` uses it.
    """
    from harness.runs.processes import start_server

    if engine.on == "local":
        start_server()  # before the imports of PyTorch that follow
    from harness.report import sweeps
    from harness.runs.study import Study
    from harness.runs.tune import to_tune, tune
    from harness.specs import registry
    from harness.specs.recipes import TuneRule

    if estimator is not None:
        registry.get("estimators", estimator)
    samples = DEFAULT_SAMPLES if samples is None and datapoints is None else samples
    rule = TuneRule(samples=samples, datapoints=datapoints, seeds=tuple(seeds), trials=trials, estimator=estimator)
    study = Study(to_tune({**options, **settings}), rule)
    if engine.on == "slurm":
        engines.on_slurm(store, engine, study.id, {}, as_json=as_json)
        return
    store.require_writable()
    tuned = tune(store, study, scheduler(store, jobs, data_dir, engine).run)
    if as_json:
        print_json({**tuned._asdict(), "trials": [{**t._asdict(), "value": t.value} for t in tuned.trials]})
    else:
        sweeps.print_tuned(study.estimator, tuned)


def scheduler(
    store: "Store", workers: int, data_dir: str | None, engine: engines.Chosen | None = None, *, quiet: bool = False
) -> "Scheduler":
    """Return a scheduler whose progress is shown.

    Args:
        store: where runs are kept.
        workers: number of runs at a time on this machine.
        data_dir: the user's folder of data files.
        engine: where runs are made, by default on this machine; workers of Dask say themselves how many at a time.
        quiet: whether nothing is shown but warnings.
    """
    from harness.cli import output
    from harness.report.progress import SweepProgress
    from harness.runs.local import LocalExecutor
    from harness.runs.sweep import Scheduler, no_progress

    def tell(words: str) -> None:
        if sys.stderr.isatty():
            show(words, file=sys.stderr)

    def warn(words: str) -> None:
        output.say(f"warning: {words}")

    if engine is None or engine.on == "local":
        executor = LocalExecutor(store, workers, data_dir)
    else:
        from harness.runs import dask

        executor = dask.connect(engine.on, store, data_dir, warn, engine.ship)
        click.get_current_context().call_on_close(executor.client.close)
    if quiet:
        return Scheduler(executor, no_progress, warn=warn)
    return Scheduler(executor, lambda planned: SweepProgress(planned, executor.workers), tell, warn)
