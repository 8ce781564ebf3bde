"""`harness watch`: the runs that are under way."""

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from harness.cli.options import in_store, json_flag, selections_argument
from harness.cli.output import print_json, say

if TYPE_CHECKING:
    from harness.analysis.underway import Underway
    from harness.store.store import Store


@click.command()
@selections_argument
@json_flag
@in_store
def watch(selections: tuple[str, ...], as_json: bool, store: "Store") -> None:
    """Watch the runs that are under way.

    These are runs that any process is making in the store, also on another machine that shares it: how much of its budget
    each has spent, its last bound on the test set, the bounds of its last marks as a sparkline, and the training time that is
    left. On a terminal this goes on until no run is under way any more; Ctrl-C leaves them to themselves. Elsewhere a line is
    printed for each, once. SELECTION as for `harness list`.
    """
    from harness.analysis import chosen
    from harness.analysis.underway import underway

    if selections:
        chosen.several(store, selections, say)  # a name that means nothing is an error at the beginning alone

    def look() -> "list[Underway]":
        return underway(chosen.several(store, selections) if selections else store.runs())

    if as_json:
        print_json([{**one._asdict(), "fraction": one.fraction} for one in look()])
        return
    from harness.report import watch as shown

    if not sys.stdout.isatty() or not look():
        shown.print_underway(look())
        return

    def ended(one: "Underway") -> str:
        from harness.errors import BadInput
        from harness.store.record import final_estimates

        try:
            record = store.run(one.run, one.group).read()
        except BadInput as error:
            return str(error)
        nats = [f"{e['estimator']} {e['mean']:.2f}" for e in final_estimates(record) if e["split"] == "test"]
        return f"{one.group}/{one.run}: {', '.join([record.status, *nats])}"

    with contextlib.suppress(KeyboardInterrupt):
        shown.watch(look, ended)
