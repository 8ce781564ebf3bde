"""`harness list`, `show`, `table` and `compare`: what the store has, for people and for programs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from harness import safe_text
from harness.cli.options import (
    FILE,
    complete_drawable,
    complete_runs,
    in_store,
    json_flag,
    run_argument,
    selections_argument,
    value_option,
    versions_option,
    weights_option,
)
from harness.cli.output import print_json, say
from harness.errors import BadInput
from harness.specs.values import Choice, EqualBudget, FiniteNumber, FiniteNumbers, WholeNumber
from harness.specs.where import parse_selection

if TYPE_CHECKING:
    from harness.analysis.stored_run import StoredRun
    from harness.analysis.versions import Versions
    from harness.analysis.weights import Weights
    from harness.specs.experiment import Experiment
    from harness.store.store import Store

SORTED = ("group", "time", "status", "samples", "datapoints", "test")


@click.command("list")
@selections_argument
@value_option("--sort", Choice(SORTED), "In which order.", default="group")
@value_option("--limit", WholeNumber(), "Only the first N of them [all].")
@json_flag
@in_store
def list_runs(selections: tuple[str, ...], sort: str, limit: int | None, as_json: bool, store: "Store") -> None:
    """List the runs in the store, or those that are selected.

    \b
    A SELECTION of runs is, here and everywhere:
      aevb-mnist-nz20     the runs whose id begins so, or the last digits of one
      figure2             the runs of a group of the store
      figure2:algo=aevb   those of them that have these options
      status=failed       those of the whole store that have them
    """
    from harness.analysis import chosen
    from harness.report import listing

    rows = listing.run_rows(chosen.several(store, selections, say) if selections else store.runs())
    rows = listing.ordered(rows, sort)[:limit]
    if as_json:
        print_json(rows)
    else:
        listing.print_runs(store, rows)


@click.command()
@run_argument
@click.option("--traceback", is_flag=True, help="Only where a plugin raised the error that ended the run.")
@click.option("--source", is_flag=True, help="Only what was in the plugin files when the run was made.")
@json_flag
@in_store
def show(run: str, traceback: bool, source: bool, as_json: bool, store: "Store") -> None:
    """Show the settings, spending and estimates of a run.

    RUN is the id of the run, its beginning or its last digits, or another selection that means one run.
    """
    from harness.analysis import chosen, versions
    from harness.analysis.stored_run import StoredRun
    from harness.report import runs

    stored = chosen.one(store, run)
    record, rows = stored.content()
    if traceback or source:
        (runs.print_traceback if traceback else runs.print_sources)(stored, record)
        return
    evaluations, imputations = stored.evaluations(), stored.imputations()
    if as_json:
        found: dict[str, Any] = {"rows": rows, "evaluations": evaluations, "imputations": imputations}
        found |= {"gradients": stored.gradients(), "traceback": stored.traceback()}
        found |= {"origin": None if (origin := stored.origin()) is None else origin._asdict()}
        print_json({**record.__dict__, **found})
    else:
        remarks = versions.remarks([StoredRun(record, rows, stored)])
        runs.print_run(stored, record, rows, evaluations, remarks, imputations)


@click.command()
@click.argument("experiment", metavar="EXPERIMENT[:OPTION=VALUE,...]", shell_complete=complete_drawable)
@value_option(
    "--at",
    FiniteNumbers("1e6,1e7", words=("end", "best-valid")),
    "Compare at these numbers of samples, at the end of each run, or at its mark that is best-valid: best on the validation "
    "split [the experiment's, else the last mark of all; the end where budgets are of datapoints].",
)
@value_option(
    "--targets", FiniteNumbers("-140,-120", "NATS,..."), "Show what it cost to reach these estimates on the test set."
)
@value_option(
    "--budget",
    EqualBudget(),
    "In a table of models: each where it was within as many CPU seconds of training, N or what the shortest spent.",
)
@value_option(
    "--format", Choice(("text", "markdown", "csv", "latex")), "How to write it.", default="text", parameter="form"
)
@weights_option
@versions_option
@json_flag
@in_store
def table(
    experiment: str,
    at: list[float | str] | None,
    targets: list[float] | None,
    budget: float | Literal["all"] | None,
    form: str,
    weights: "Weights",
    versions: "Versions",
    as_json: bool,
    store: "Store",
) -> None:
    """Compare the algorithms or the models of an experiment.

    ± is the standard error over seeds. Differences to the best algorithm are paired over seeds, and have their 95 % confidence
    interval beside them. Of models each figure has its estimator, and the side on which it lies.
    """
    from harness.analysis import selection
    from harness.analysis.weights import chosen as of_weights
    from harness.specs.experiment import Experiment

    asked = parse_selection(experiment)
    chosen = Experiment(asked.name)
    if chosen.table.rows and (at or targets):
        raise BadInput(f"{asked.name} has a table of models, which --at and --targets are not for: leave them out")
    if budget is not None and not chosen.table.rows:
        raise BadInput(
            f"--budget is for a table of models, and {asked.name} has no [[table.row]]: `harness plot {asked.name} --x "
            "cpu_seconds` compares at equal CPU seconds"
        )
    stored = of_weights(selection.group(store, chosen, say, versions, asked.where), weights, say)
    if chosen.table.rows:
        _print_standings(chosen, stored, budget, "json" if as_json else form)
    else:
        _print_algorithms(chosen, stored, at or [], targets or [], "json" if as_json else form)


def _print_algorithms(
    experiment: "Experiment", runs: "list[StoredRun]", at: list[float | str], targets: list[float], form: str
) -> None:
    from harness.analysis import table
    from harness.report import latex, tables

    rows = table.rows(experiment, runs, at, targets)
    if form == "json":
        print_json(table.plain(rows))
    elif form == "csv":
        safe_text.show_exactly(tables.comma_separated(rows))
    elif form == "latex":
        safe_text.show_exactly(latex.latex(rows, experiment.figure.compare))
        _print_notes(tables.notes(rows), safe_text.latex)
    else:
        _print_cells(tables.note(rows), *tables.cells(rows), tables.notes(rows), form)


def _print_standings(
    experiment: "Experiment", runs: "list[StoredRun]", budget: float | Literal["all"] | None, form: str
) -> None:
    from harness.analysis import standings as found
    from harness.report import latex, standings

    rows = found.rows(experiment, runs, budget)
    note = standings.note(rows, budget)
    if form == "json":
        print_json(rows)
    elif form == "csv":
        safe_text.show_exactly(standings.comma_separated(rows))
    elif form == "latex":
        safe_text.show_exactly(latex.tabular(*standings.cells(rows), (note,)))
        _print_notes(standings.notes(rows), safe_text.latex)
    else:
        _print_cells(note, *standings.cells(rows), standings.notes(rows), form)


def _print_cells(note: str, heads: list[str], lines: list[list[str]], notes: list[str], form: str) -> None:
    """Print a table as text or as Markdown, with what stands above and below it."""
    from harness.report import tables, text

    if form == "text":
        safe_text.show(note)
        text.print_table(heads, lines)
        _print_notes(notes, safe_text.line)
    else:
        safe_text.show_exactly(f"{safe_text.markdown(note)}\n\n{tables.markdown(heads, lines)}")
        _print_notes(notes, safe_text.markdown)


def _print_notes(notes: list[str], safe: Callable[[str], str]) -> None:
    for words in notes:
        safe_text.show_exactly("\n" + safe(words))


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
@weights_option
@json_flag
@in_store
def compare(
    first: str,
    second: str,
    estimator: str | None,
    split: str,
    target: float | None,
    out: Path | None,
    weights: "Weights",
    as_json: bool,
    store: "Store",
) -> None:
    """Compare two runs, or two selections of runs.

    Paired differences, a figure, and the cost of reaching a target. A and B are a run, a group of the store or a folder, with
    conditions where needed, such as figure2:algo=aevb,nz=20.
    """
    from harness.analysis import compare, versions
    from harness.analysis.weights import chosen as of_weights
    from harness.report import comparisons

    sides = compare.sides_of(store, first, second)
    for words in versions.remarks(run for side in sides for run in side.runs):
        say(words)
    first_side, second_side = (side._replace(runs=of_weights(side.runs, weights, say)) for side in sides)
    sides = first_side, second_side
    chosen = compare.estimator_of(*sides, estimator)
    found = compare.compare(*sides, chosen, split, target)
    drawn = []
    if out or not as_json:
        from harness.figures import output
        from harness.figures.compare import draw

        on, shown = None if split == "test" else split, None if weights == "last" else weights
        name = output.file_name(f"{first}-and-{second}", "compared", of=estimator, on=on, weights=shown)
        path = out or store.root / "figures" / f"{name}.png"
        records = [run.record for side in sides for run in side.runs]
        formats = () if path.suffix else output.FORMATS
        drawn = output.save(draw(found, (first, second), chosen, split), path, records, formats)
    if as_json:
        print_json(compare.plain(found))
    else:
        comparisons.print_comparisons(found, chosen, split)
    for written in drawn:
        safe_text.show(written, file=sys.stderr if as_json else sys.stdout)
