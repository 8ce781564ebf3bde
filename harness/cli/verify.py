"""`harness verify`: whether stored runs are what they say."""

from typing import TYPE_CHECKING

import click

from harness.cli.options import complete_runs, data_folder, in_store, jobs_option, json_flag, named_files
from harness.cli.output import print_json, say

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command()
@click.argument("selection", metavar="SELECTION", shell_complete=complete_runs)
@click.option("--retrain", is_flag=True, help="Make each run again, and compare every row.")
@jobs_option
@named_files()
@json_flag
@data_folder
@in_store
def verify(selection: str, retrain: bool, jobs: int, as_json: bool, data_dir: str | None, store: "Store") -> None:
    """Compute again what runs say of their models, and compare.

    The stored model of each run is evaluated again, in a process that does not import its algorithm, and the last row of its
    trace must say the same: in every bit, or within rounding if PyTorch, the processor or the code has changed since. With
    --retrain each run is made again, in a temporary store, and every row must be the same, and so must what --keep
    best-valid kept. Exit code 0 if all agree, else 1.
    """
    from harness.analysis import chosen
    from harness.report.text import print_table
    from harness.runs import verify as verifying

    runs = chosen.runs(store, selection, say)
    found = verifying.verify(runs, jobs, data_dir, retrain=retrain)
    if as_json:
        print_json([one._asdict() for one in found])
    else:
        lines = [
            (
                one.run,
                one.says,
                str(one.rows),
                str(one.values),
                "" if one.largest is None else f"{one.largest:.3g}",
                one.why,
            )
            for one in found
        ]
        print_table(("run", "says", "rows", "estimates", "largest difference", "how"), lines)
    if any(one.says != "agrees" for one in found):
        raise SystemExit(1)
