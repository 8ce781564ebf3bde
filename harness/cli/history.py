"""`harness history`: what runs reached by the code that made them, over time."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import safe_text
from harness.cli.options import FILE, in_store, json_flag, selections_argument, value_option
from harness.cli.output import print_json, say
from harness.specs.values import Choice

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command()
@selections_argument
@click.option("--y", "estimator", metavar="ESTIMATOR", help="Whose estimates [the first of each kind of run].")
@value_option("--split", Choice(("train", "valid", "test")), "Estimates on which points.", default="test")
@click.option(
    "--out", type=FILE, metavar="FILE", help="Where to draw it [figures/... in the store; nowhere with --json]."
)
@json_flag
@in_store
def history(
    selections: tuple[str, ...], estimator: str | None, split: str, out: Path | None, as_json: bool, store: "Store"
) -> None:
    """Show how bounds changed from commit to commit.

    Runs of one kind differ in their seeds and in the code that made them. For each kind: what it reached at its end by every
    commit, in the order of time, and the change from the commit before with its 95 % interval. A run is made once in a group,
    so make those of each commit in a store of its own. SELECTION as for `harness list`, or a folder, such as a store.
    """
    from harness.analysis import chosen, selection
    from harness.analysis.history import histories, plain

    runs = selection.load(chosen.several(store, selections, say, folders=True))
    found = histories(runs, split, estimator)
    drawn = []
    if out or not as_json:
        from harness.figures import output
        from harness.figures.history import draw

        name = output.file_name(
            "-".join(selections) or "all", "history", of=estimator, on=None if split == "test" else split
        )
        path = out or store.root / "figures" / f"{name}.png"
        formats = () if path.suffix else output.FORMATS
        drawn = output.save(draw(found, split), path, [run.record for run in runs], formats)
    if as_json:
        print_json(plain(found))
    else:
        from harness.report.histories import print_histories

        print_histories(found, split)
    for written in drawn:
        safe_text.show(written, file=sys.stderr if as_json else sys.stdout)
