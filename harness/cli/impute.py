"""`harness impute`: how well the model of a stored run tells entries of test points that are hidden from it."""

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
from harness.safe_text import show
from harness.specs.values import ShareOrWord, WholeNumber

if TYPE_CHECKING:
    from harness.analysis.weights import Weights
    from harness.store.store import Store


@click.command()
@run_argument
@value_option(
    "--missing",
    ShareOrWord("0.6", ("square", "left", "top")),
    "What is hidden: a share of the entries, drawn anew for each point; or of images the square in the centre, of half the "
    "shorter edge, the left half or the top half.",
    required=True,
)
@value_option("--iterations", WholeNumber(1, 10_000), "Iterations of each chain.", default="15")
@value_option("--chains", WholeNumber(1, 10_000), "Chains of each point.", default="10")
@value_option("--points", WholeNumber(), "How many test points.", default="1000")
@value_option("--seed", WholeNumber(0, 2**63 - 1), "Fixes what is hidden, and the chains.", default="0")
@click.option("--out", type=FILE, metavar="FILE", help="Also draw some points: true, observed, and at each iteration.")
@model_weights_option
@named_files("--model", "--dataset")
@json_flag
@data_folder
@in_store
def impute(
    run: str,
    missing: float | str,
    iterations: int,
    chains: int,
    points: int,
    seed: int,
    out: Path | None,
    weights: "Weights",
    as_json: bool,
    data_dir: str | None,
    store: "Store",
) -> None:
    """Hide entries of test points, and draw them by a chain.

    Every iteration draws z given all entries by the recognition model (without one, by HMC or Gibbs sampling given the observed
    entries), and the hidden entries given z. What was found is added to the run: at each iteration the held-out log-likelihood
    of what is hidden.
    """
    from harness.analysis import chosen
    from harness.report import imputations

    stored = chosen.one(store, run)
    from harness.runs import images
    from harness.runs import impute as runs
    from harness.runs.evaluate import Trained

    trained = Trained(stored, data_dir, weights)
    if out is not None:
        images.shape(trained)  # refuses points that are no images, which could not be drawn
    found = runs.impute(trained, missing, iterations=iterations, chains=chains, points=points, seed=seed)
    if as_json:
        print_json({"run": stored.id, **found.row()})
    else:
        imputations.print_imputation(found.row())
    if out is not None:
        from harness.figures import output
        from harness.figures.images import draw

        figure = draw(runs.mosaic(trained, found))
        for path in output.save(figure, out, [stored.read()], () if out.suffix else output.FORMATS):
            show(path, file=sys.stderr if as_json else sys.stdout)
