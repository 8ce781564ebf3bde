"""`harness evaluate` and `certify`: log p(x) of a stored run's model."""

import sys
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    complete_runs,
    data_folder,
    in_store,
    json_flag,
    model_weights_option,
    named_files,
    plugin_option,
    run_argument,
    value_option,
)
from harness.cli.output import print_json, say
from harness.cli.settings import TakesSettings, settings_argument
from harness.errors import HarnessError, Interrupted, StoreTrouble
from harness.safe_text import show
from harness.specs.values import PositiveNumber, WholeNumber

if TYPE_CHECKING:
    from harness.analysis.weights import Weights
    from harness.store.store import Store


@click.command(cls=TakesSettings)
@click.argument("selection", metavar="SELECTION", shell_complete=complete_runs)
@plugin_option("--estimator", "estimators", "Estimator of log p(x).", settings=True, required=True)
@click.option(
    "--split", metavar="SPLIT", default="test", show_default=True, help="train, valid, test, or simulated by the model."
)
@value_option("--points", WholeNumber(), "How many points of the split.", default="1000")
@model_weights_option
@named_files("--model", "--dataset")
@json_flag
@data_folder
@in_store
@settings_argument
def evaluate(
    selection: str,
    estimator: str,
    split: str,
    points: int,
    weights: "Weights",
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Estimate log p(x) of the model of each of the runs.

    SELECTION is a run's id, its beginning, or such as figure2:algo=aevb,nz=3; see `harness list --help`. Each estimate is added
    to its run. Every setting of the estimator is an option, too: `harness evaluate RUN --estimator ais
    --help` lists them. An estimate of a model with an unknown normaliser brings that of the other side with it.

    Of several runs, those that cannot be evaluated are named with the reason, and the others are evaluated. The exit code is then
    that of the first of these errors: 2 for bad input, such as a run without its checkpoint, 3 for an estimate that failed.
    """
    from harness.analysis import chosen
    from harness.report import runs
    from harness.specs import registry
    from harness.specs.run import beside, estimator_settings

    stored = chosen.runs(store, selection, say)
    complete = estimator_settings(estimator, settings)
    others = beside(registry.get("estimators", estimator), complete)
    from harness.runs.evaluate import Trained

    rows, failed = [], dict[str, HarnessError]()
    for run in stored:
        if len(stored) > 1 and not as_json:
            show(run.id)
        try:
            trained = Trained(run, data_dir, weights)
            found, _ = trained.estimate(estimator, split, points, complete)  # type: ignore[arg-type]
            sides = [trained.estimate(other, split, points, own)[0].row() for other, own in others.items()]  # type: ignore[arg-type]
        except (Interrupted, StoreTrouble):
            raise
        except HarnessError as error:
            if len(stored) == 1:
                raise
            say(str(error) if run.id in str(error) else f"run {run.id}: {error}")
            failed[run.id] = error
            continue
        if not as_json:
            runs.print_estimates([found.row(), *sides])
        told = {"run": run.id} if len(stored) > 1 else {}
        rows.append({**told, **found.row(), **({"beside": sides} if sides else {})})
    if as_json:
        print_json(rows if len(stored) > 1 else rows[0])
    if failed:
        say(f"{len(failed)} of {len(stored)} runs could not be evaluated: {', '.join(failed)}")
        raise SystemExit(next(iter(failed.values())).exit_code)


@click.command(cls=TakesSettings)
@run_argument
@value_option("--points", WholeNumber(), "Simulated points, and as many of the data.", default="50")
@click.option(
    "--split", metavar="SPLIT", default="test", show_default=True, help="Points of the data: train, valid or test."
)
@value_option(
    "--tolerance", PositiveNumber("a positive number of nats", "NATS"), "The largest error allowed.", default="0.5"
)
@named_files("--model", "--dataset", "--estimator")
@json_flag
@data_folder
@in_store
@settings_argument
def certify(
    run: str,
    points: int,
    split: str,
    tolerance: float,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Say whether the likelihood of a run can be trusted.

    It is estimated by annealed importance sampling from both sides. Every setting of the estimator `ais` is an option, too, and
    of `log-z-ais` for a model with an unknown normaliser; `harness evaluate --estimator ais --help` lists them. Exit code 1 if
    the likelihood cannot be trusted to the tolerance.

    The gap between log p(x) and the lower bound is split into what no diagonal Gaussian can do (approximation) and what the
    recognition model does not do (amortisation).
    """
    from harness.analysis import chosen
    from harness.report import runs

    stored = chosen.one(store, run)
    from harness.runs.certify import certify
    from harness.runs.evaluate import Trained

    def working(words: str) -> None:
        show(f"estimating log p(x): {words}", file=sys.stderr)

    certificate = certify(Trained(stored, data_dir), points, tolerance, settings, working, split)  # type: ignore[arg-type]
    if as_json:
        gaps = None if isinstance(certificate.gaps, str) else certificate.gaps.row()
        fields = {**certificate._asdict(), "estimates": [e.row() for e in certificate.estimates], "gaps": gaps}
        print_json({**fields, "trustworthy": certificate.trustworthy})
    else:
        runs.print_certificate(certificate)
    if not certificate.trustworthy:
        raise SystemExit(1)
