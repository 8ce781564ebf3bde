"""`harness evaluate` and `certify`: log p(x) of a stored run's model."""

from typing import TYPE_CHECKING

import click

from harness.cli.options import data_folder, in_store, json_flag, plugin_option, run_argument, value_option
from harness.cli.output import print_json
from harness.cli.settings import TakesSettings, settings_argument
from harness.specs.options import PositiveNumber, WholeNumber

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command(cls=TakesSettings)
@run_argument
@plugin_option("--estimator", "estimators", "Estimator of log p(x).", settings=True, required=True)
@click.option(
    "--split", metavar="SPLIT", default="test", show_default=True, help="train, valid, test, or simulated by the model."
)
@value_option("--points", WholeNumber(), "How many points of the split.", default="1000")
@json_flag
@data_folder
@in_store
@settings_argument
def evaluate(
    run: str,
    estimator: str,
    split: str,
    points: int,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Estimate log p(x) of the model of a run.

    The estimate is added to the run. Every setting of the estimator is an option, too: `harness evaluate RUN --estimator ais
    --help` lists them.
    """
    from harness.report import runs
    from harness.specs.run import estimator_settings

    stored = store.find(run)
    chosen = estimator_settings(estimator, settings)
    from harness.runs.evaluate import Trained

    found, _ = Trained(stored, data_dir).estimate(estimator, split, points, chosen)  # type: ignore[arg-type]
    if as_json:
        print_json(found.row())
    else:
        runs.print_estimates([found.row()])


@click.command(cls=TakesSettings)
@run_argument
@value_option("--points", WholeNumber(), "Simulated points, and as many test points.", default="50")
@value_option(
    "--tolerance", PositiveNumber("a positive number of nats", "NATS"), "The largest error allowed.", default="0.5"
)
@json_flag
@data_folder
@in_store
@settings_argument
def certify(
    run: str,
    points: int,
    tolerance: float,
    as_json: bool,
    data_dir: str | None,
    store: "Store",
    settings: dict[str, str | bool],
) -> None:
    """Say whether the likelihood of a run can be trusted.

    It is estimated by annealed importance sampling from both sides. Every setting of the estimator `ais` is an option, too;
    `harness evaluate --estimator ais --help` lists them. Exit code 1 if the likelihood cannot be trusted to the tolerance.
    """
    from harness.report import runs
    from harness.specs.run import estimator_settings

    stored = store.find(run)
    chosen = estimator_settings("ais", settings)
    from harness.runs.certify import certify
    from harness.runs.evaluate import Trained

    certificate = certify(Trained(stored, data_dir), points, tolerance, chosen)
    if as_json:
        fields = {**certificate._asdict(), "estimates": [e.row() for e in certificate.estimates]}
        print_json({**fields, "trustworthy": certificate.trustworthy})
    else:
        runs.print_certificate(certificate)
    if not certificate.trustworthy:
        raise SystemExit(1)
