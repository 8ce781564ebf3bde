"""`harness rank`: which method, how surely, at what price."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import safe_text
from harness.cli.options import (
    FILE,
    complete_drawable,
    in_store,
    json_flag,
    value_option,
    versions_option,
    weights_option,
)
from harness.cli.output import print_json, say
from harness.errors import BadInput
from harness.specs.values import FiniteNumber, FiniteNumbers
from harness.specs.where import parse_selection

if TYPE_CHECKING:
    from harness.analysis.versions import Versions
    from harness.analysis.weights import Weights
    from harness.store.store import Store


@click.command()
@click.argument("experiment", metavar="EXPERIMENT[:OPTION=VALUE,...]", shell_complete=complete_drawable)
@value_option(
    "--at",
    FiniteNumbers("1e6", words=("end", "best-valid")),
    "Compare at this number of samples, or at the end, or at the mark that is best on the validation split [of the marks of the "
    "experiment's table the one where the most seeds are].",
)
@value_option(
    "--target", FiniteNumber("-140"), "Time how long it takes to reach this [what all seeds of the second best reach]."
)
@click.option(
    "--out", type=FILE, metavar="FILE", help="Where to draw it [figures/... in the store; nowhere with --json]."
)
@weights_option
@versions_option
@json_flag
@in_store
def rank(
    experiment: str,
    at: list[float | str] | None,
    target: float | None,
    out: Path | None,
    weights: "Weights",
    versions: "Versions",
    as_json: bool,
    store: "Store",
) -> None:
    """Say which method is best, how surely, and at what price.

    In every panel: means and paired differences to the best, ranks in which nobody is surely better, what it cost to reach a
    target with tuning counted, and the distance from the best curve all the way. Across panels: performance profiles.
    """
    from harness.analysis import rank as ranking
    from harness.analysis import selection
    from harness.analysis.weights import chosen as of_weights
    from harness.report.ranks import print_ranking
    from harness.specs.experiment import Experiment

    if at is not None and len(at) > 1:
        raise BadInput(f"--at has {len(at)} marks, and a ranking is at one: give one")
    asked = parse_selection(experiment)
    chosen = Experiment(asked.name)
    stored = of_weights(selection.group(store, chosen, say, versions, asked.where), weights, say)
    tuning: dict[str, dict[str, float]] = {}
    if chosen.tunes and store.studies():
        from harness.runs.tune import charges  # PyTorch

        tuning = charges(store, chosen)
    try:
        found = ranking.rank(chosen, stored, tuning, at[0] if at else None, target)
    except ranking.NothingRanked as error:
        raise BadInput(f"{error}; see `harness table {experiment}`") from error
    drawn = []
    if out or not as_json:
        from harness.figures import output
        from harness.figures.ranks import draw

        name = output.file_name(
            chosen.name + experiment.removeprefix(asked.name), "ranked", weights=None if weights == "last" else weights
        )
        path = out or store.root / "figures" / f"{name}.png"
        formats = () if path.suffix else output.FORMATS
        drawn = output.save(draw(found), path, [run.record for run in stored], formats)
    if as_json:
        print_json(ranking.plain(found))
    else:
        print_ranking(found)
    for written in drawn:
        safe_text.show(written, file=sys.stderr if as_json else sys.stdout)
