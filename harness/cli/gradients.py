"""`harness gradients`: how gradient estimators do on the model of a stored run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    FILE,
    data_folder,
    in_store,
    json_flag,
    model_weights_option,
    named_files,
    run_argument,
    value_option,
)
from harness.cli.output import print_json
from harness.errors import BadInput
from harness.safe_text import show
from harness.specs.values import WholeNumber

if TYPE_CHECKING:
    from harness.analysis.weights import Weights
    from harness.store.store import Store


@click.command()
@run_argument
@click.option(
    "--estimators",
    metavar="NAME[:SETTING=VALUE]...,...",
    required=True,
    help="Algorithms whose gradients are measured, such as nvil:baseline=none,vimco:K=10.",
)
@value_option("--draws", WholeNumber(), "Draws of each estimator.", default="1000")
@value_option("--points", WholeNumber(), "Training points, chosen at random.", default="20")
@value_option(
    "--fit",
    WholeNumber(),
    "Steps in which baselines are fitted to the parameters before anything is drawn.",
    default="5000",
)
@value_option(
    "--reference",
    WholeNumber(),
    "Draws of the unbiased estimate that stands for the gradient where latents are too many to enumerate.",
    default="1000",
)
@value_option("--seed", WholeNumber(0, 2**63 - 1), "Fixes points and noise.", default="0")
@click.option("--blocks", is_flag=True, help="Also show the parameters of each name by themselves.")
@click.option(
    "--along", is_flag=True, help="Make the run again, measure at marks on the way, and draw how variances change."
)
@value_option("--marks-per-decade", WholeNumber(1, 1000), "Of --along, in every decade of samples.", default="4")
@click.option("--out", type=FILE, metavar="FILE", help="Where --along draws [figures/... in the store].")
@model_weights_option
@named_files("--algo", "--model", "--dataset")
@json_flag
@data_folder
@in_store
def gradients(
    run: str,
    estimators: str,
    draws: int,
    points: int,
    fit: int,
    reference: int,
    seed: int,
    blocks: bool,
    along: bool,
    marks_per_decade: int,
    out: Path | None,
    weights: "Weights",
    as_json: bool,
    data_dir: str | None,
    store: "Store",
) -> None:
    """Measure bias, variance and cost of gradient estimators.

    An estimator is an algorithm with its settings; that of the run itself has the run's where others are not given. Its gradient
    at the run's parameters is compared with that of its own bound: exact for up to 12 binary latents, else a long average.
    What is found is added to the run; `harness plot gradients RUN` draws it.
    """
    from harness.analysis import chosen

    if weights != "last" and along:
        raise BadInput(
            f"--weights is {weights!r}, and --along makes a run again, whose marks have the last ones: leave it out"
        )
    if out is not None and not along:
        raise BadInput("--out is where --along draws: give --along, or use `harness plot gradients RUN --out FILE`")
    stored = chosen.one(store, run)
    from harness.report.gradients import print_gradients
    from harness.runs import gradients as measuring
    from harness.runs.evaluate import Trained

    def working(words: str) -> None:
        show(f"measuring {words}", file=sys.stderr)

    effort = measuring.Effort(points, draws, reference, fit, seed)
    trained = Trained(stored, data_dir, weights)
    if along:
        rows = measuring.along(trained, estimators, effort, marks_per_decade, data_dir, working)
    else:
        rows = [measuring.measure(trained, estimators, effort, working)]
    if as_json:
        print_json(rows if along else rows[0])
    else:
        print_gradients(stored.id, rows[-1], every_block=blocks)
    if along:
        from harness.figures import gradients as drawing
        from harness.figures import output

        figure = drawing.draw(stored.id, rows)
        path = out or store.root / "figures" / output.file_name(stored.id, drawing.NAME)
        for written in output.save(figure, path, [stored.read()], () if out and path.suffix else output.FORMATS):
            show(written, file=sys.stderr if as_json else sys.stdout)
