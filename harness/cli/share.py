"""`harness publish` and `import`: runs given to others, and taken from them."""

from typing import TYPE_CHECKING

import click

from harness.cli.options import complete_runs, in_store, json_flag
from harness.cli.output import print_json, say

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command()
@click.argument("selections", nargs=-1, required=True, metavar="SELECTION...", shell_complete=complete_runs)
@click.option(
    "--to",
    required=True,
    metavar="PLACE",
    help="A folder, FILE.tar.zst, or hf://datasets/OWNER/NAME; what is there stays.",
)
@click.option("--by", metavar="NAME", help="Who made the runs, as others will see it [nobody is named].")
@click.option("--models", is_flag=True, help="Also the parameters of models, which are large.")
@json_flag
@in_store
def publish(selections: tuple[str, ...], to: str, by: str | None, models: bool, as_json: bool, store: "Store") -> None:
    """Give runs to others: into a folder, an archive, or a data set.

    \b
    harness publish figure2 --to FOLDER           also a store of its own
    harness publish figure2 --to runs.tar.zst     one file
    harness publish mine --to hf://datasets/me/x  the Hugging Face Hub

    Runs are added to what is there, of which nothing is overwritten. What others get are settings, curves, estimates, processor,
    versions, and the text and the paths of plugin files. Imported runs keep the name of who made them. Archives and the hub
    need the extra `share`. Exit code 3 if a run was left out.
    """
    from harness.analysis import chosen
    from harness.errors import BadInput
    from harness.report.sharing import print_outcomes
    from harness.sharing import exchange
    from harness.store.origin import MOST_LETTERS

    if by is not None and not (by.strip() and by.isprintable() and len(by) <= MOST_LETTERS):
        raise BadInput(f"--by is {by[:80]!r}: give a name of up to {MOST_LETTERS} letters")
    exchange.require_target(to)
    runs = chosen.several(store, selections, say)
    outcomes = exchange.publish(runs, to, by, models=models, say=say)
    if as_json:
        print_json([one._asdict() for one in outcomes])
    else:
        print_outcomes(outcomes, f"published to {to}")
    if len(outcomes) < len(runs) or any(one.what in ("different", "refused") for one in outcomes):
        raise SystemExit(3)


@click.command("import")
@click.argument("source", metavar="SOURCE")
@click.option("--dry-run", is_flag=True, help="Only check, and say what would become of each run.")
@json_flag
@in_store
def import_runs(source: str, dry_run: bool, as_json: bool, store: "Store") -> None:
    """Take runs of others into the store, after checking them.

    SOURCE is what `harness publish` has made, or any folder that has the form of a store: a folder, FILE.tar.zst, or
    hf://datasets/OWNER/NAME.

    \b
    new         was not there
    there       is there already, the same to the last byte
    longer      goes on where the one in the store ends: replaces it
    shorter     ends before the one in the store: nothing is done
    different   is another run with the same id: nothing is done
    refused     is damaged, contradicts itself, or has another's id

    No code is executed. Imported runs are marked as such wherever they are shown, and their CPU time is compared by the
    calibration kernel alone. Exit code 3 if a run is different or refused.
    """
    from harness.report.sharing import print_outcomes
    from harness.sharing import exchange

    outcomes = exchange.import_runs(source, store, dry_run=dry_run)
    if as_json:
        print_json([one._asdict() for one in outcomes])
    else:
        print_outcomes(outcomes, f"{'would be ' if dry_run else ''}imported from {source}")
    if any(one.what in ("different", "refused") for one in outcomes):
        raise SystemExit(3)
