"""`harness list`, `show`, `plot`, `table` and `compare`: what the store has, for people and for programs."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    FILE,
    complete_drawable,
    complete_runs,
    data_folder,
    experiment_argument,
    in_store,
    json_flag,
    run_argument,
    value_option,
)
from harness.cli.output import print_json, say
from harness.errors import BadInput
from harness.specs.options import Choice, FiniteNumber, FiniteNumbers

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command("list")
@json_flag
@in_store
def list_runs(as_json: bool, store: "Store") -> None:
    """List the runs in the store."""
    from harness.report import runs

    rows = [runs.run_row(run) for run in store.runs()]
    if as_json:
        print_json(rows)
    else:
        runs.print_runs(store, rows)


@click.command()
@run_argument
@json_flag
@in_store
def show(run: str, as_json: bool, store: "Store") -> None:
    """Show the settings, spending and estimates of a run.

    RUN is the id of the run, or the beginning of it.
    """
    from harness.report import runs

    stored = store.find(run)
    record, rows, evaluations = stored.read(), stored.rows(), stored.evaluations()
    if as_json:
        print_json({**record.__dict__, "rows": rows, "evaluations": evaluations})
    else:
        runs.print_run(stored, record, rows, evaluations)


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="EXPERIMENT | RUN...", shell_complete=complete_drawable)
@click.option("--y", "estimator", metavar="ESTIMATOR", help="What to draw [the experiment's, else lower-bound].")
@click.option(
    "--x",
    "counter",
    metavar="COUNTER",
    help="On the x axis: samples, datapoints, cpu_seconds, wall_seconds, ... [the experiment's, else samples].",
)
@value_option("--scale", Choice(("log", "linear")), "Scale of the x axis [the experiment's, else log].")
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="Where to write it; without an ending as PNG, SVG and PDF [figures/... in the store].",
)
@data_folder
@in_store
def plot(
    what: tuple[str, ...],
    estimator: str | None,
    counter: str | None,
    scale: str | None,
    out: Path | None,
    data_dir: str | None,
    store: "Store",
) -> None:
    """Draw an experiment, runs, or what a model has learned.

    \b
    harness plot figure2        the panels of the experiment
    harness plot RUN...         an estimate at the marks: train dashed, test solid
    harness plot manifold RUN   what a model of two latents has learned
    harness plot samples RUN    draws from a model
    """
    from harness.analysis import selection
    from harness.figures import output
    from harness.specs.experiment import is_experiment

    if what[0] in ("manifold", "samples") and len(what) > 1:
        if len(what) > 2:
            raise BadInput(f"`harness plot {what[0]}` draws one run, and {len(what) - 1} are given: name one")
        from harness.figures import images

        run = store.find(what[1])
        figure, records = images.DRAW[what[0]](run, data_dir), [run.read()]
        name = f"{what[0]}-{run.id}"
    elif len(what) == 1 and is_experiment(what[0]):
        from harness.figures import panels
        from harness.specs.experiment import Experiment

        experiment = Experiment(what[0])
        stored = selection.group(store, experiment, say)
        figure = panels.draw(experiment, stored, counter, estimator, scale)
        records = [one.record for one in stored]
        name = experiment.name + ("" if counter is None else f"-{counter}")
    else:
        from harness.figures import trace

        runs = {run.id: run for run in map(store.find, what)}
        stored = selection.load(runs.values())
        figure, records = (
            trace.draw(stored, counter or "samples", scale or "log", estimator),
            [one.record for one in stored],
        )
        name = next(iter(runs)) + (f"-and-{len(runs) - 1}-more" if len(runs) > 1 else "") + f"-{counter or 'samples'}"
    path = out or store.root / "figures" / name
    formats = () if out and path.suffix else output.FORMATS
    for written in output.save(figure, path, records, formats):
        print(written)


@click.command()
@experiment_argument
@value_option(
    "--at", FiniteNumbers("1e6,1e7"), "Compare at these numbers of samples [the experiment's, else the last mark]."
)
@value_option(
    "--targets", FiniteNumbers("-140,-120", "NATS,..."), "Show what it cost to reach these estimates on the test set."
)
@value_option(
    "--format", Choice(("text", "markdown", "csv", "latex")), "How to write it.", default="text", parameter="form"
)
@json_flag
@in_store
def table(
    experiment: str, at: list[float] | None, targets: list[float] | None, form: str, as_json: bool, store: "Store"
) -> None:
    """Compare the algorithms of an experiment in numbers.

    Means over seeds ± the standard deviation between them. Differences to the best algorithm are paired over seeds, ± half of
    their 95 % confidence interval.
    """
    from harness.analysis import selection, table
    from harness.report import tables, text
    from harness.specs.experiment import Experiment

    chosen = Experiment(experiment)
    rows = table.rows(chosen, selection.group(store, chosen, say), at or [], targets or [])
    if as_json:
        print_json(table.plain(rows))
    elif form == "csv":
        print(tables.comma_separated(rows))
    elif form == "text":
        text.print_table(*tables.cells(rows))
    else:
        print((tables.markdown if form == "markdown" else tables.latex)(*tables.cells(rows)))
    if not as_json and form != "csv":
        for note in tables.notes(rows):
            print("\n" + (tables.escaped(note) if form == "latex" else note))


@click.command()
@click.argument("first", metavar="A", shell_complete=complete_runs)
@click.argument("second", metavar="B", shell_complete=complete_runs)
@click.option("--y", "estimator", metavar="ESTIMATOR", help="What to compare [lower-bound, if both have it].")
@value_option("--split", Choice(("train", "test")), "Estimates on which points.", default="test")
@value_option(
    "--target", FiniteNumber("-140"), "Show what it cost to reach this [the lower one at the last mark of both]."
)
@click.option(
    "--out", type=FILE, metavar="FILE", help="Where to draw it [figures/... in the store; nowhere with --json]."
)
@json_flag
@in_store
def compare(
    first: str,
    second: str,
    estimator: str | None,
    split: str,
    target: float | None,
    out: Path | None,
    as_json: bool,
    store: "Store",
) -> None:
    """Compare two runs, or two selections of runs.

    Paired differences, a figure, and the cost of reaching a target. A and B are a run, a group of the store or a folder, with
    conditions where needed, such as figure2:algo=aevb,nz=20.
    """
    from harness.analysis import compare
    from harness.report import comparisons

    sides = compare.side(store, first), compare.side(store, second)
    chosen = compare.estimator_of(*sides, estimator)
    found = compare.compare(*sides, chosen, split, target)
    drawn = []
    if out or not as_json:
        from harness.figures import output
        from harness.figures.compare import draw

        name = "-".join(re.sub(r"[^A-Za-z0-9._=-]+", "-", word).strip("-.") for word in (first, "and", second))
        path = out or store.root / "figures" / f"compare-{name[:150]}.png"
        records = [run.record for side in sides for run in side.runs]
        formats = () if path.suffix else output.FORMATS
        drawn = output.save(draw(found, (first, second), chosen, split), path, records, formats)
    if as_json:
        print_json(compare.plain(found))
    else:
        comparisons.print_comparisons(found, chosen, split)
    for written in drawn:
        print(written, file=sys.stderr if as_json else sys.stdout)
