"""`harness rm`, `gc` and `doctor`: the store as a whole."""

import sys
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    complete_runs,
    data_folder,
    groups_argument,
    in_store,
    json_flag,
)
from harness.cli.output import print_json, say
from harness.safe_text import show

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command()
@groups_argument
@click.option("--checkpoints", is_flag=True, help="Also remove the checkpoints of runs that are done.")
@click.option("--cache", is_flag=True, help="Also remove the splits of your own data that are kept in your cache.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@json_flag
@in_store
def gc(groups: tuple[str, ...], checkpoints: bool, cache: bool, dry_run: bool, as_json: bool, store: "Store") -> None:
    """Remove files of the store that are no longer needed.

    These are quarantined runs, and what killed processes left, half written files and locks; with --checkpoints also the
    checkpoints of runs that are done, and the parameters kept of their best marks. A run without its checkpoint keeps its
    settings, curves and estimates, but has no model: it cannot be extended, evaluated, certified or sampled from any more. So
    look first, with --dry-run. A run that a process is writing is left alone. Exit code 3 if something could not be removed.
    To remove whole runs, see `harness rm`.

    Your own data that are larger than half of the memory have their splits in your cache, whatever the store. With --cache these
    are removed, too; they are made again when they are needed.
    """
    from harness.data import kept
    from harness.report.store import garbage_data, print_cached, print_garbage
    from harness.store.gc import collect

    found, cached = collect(store, groups, checkpoints=checkpoints, dry_run=dry_run), kept.kept()
    if cache:
        found += cached if dry_run else kept.remove(cached)
        cached = []
    if as_json:
        print_json(garbage_data(found, cached, dry_run=dry_run))
    else:
        print_garbage(found, dry_run=dry_run)
        print_cached(cached, kept.folder())
    if any(one.reason for one in found):
        raise SystemExit(3)


@click.command()
@click.argument("selections", nargs=-1, required=True, metavar="SELECTION...", shell_complete=complete_runs)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@in_store
def rm(selections: tuple[str, ...], yes: bool, dry_run: bool, store: "Store") -> None:
    """Remove runs from the store, with all that belongs to them.

    \b
    harness rm aevb-mnist-nz3-s0        the runs whose id begins so
    harness rm mine:algo=dreg,lr=0.1    those of a group that have these options
    harness rm status=failed            those of the store that have them

    They are listed, and it is asked whether to go on. A run that a process is writing is left alone, with exit code 3.
    """
    from harness.analysis import chosen
    from harness.errors import BadInput, HarnessError
    from harness.report import listing
    from harness.report.text import counted
    from harness.store.gc import remove

    if not all(selections):
        raise BadInput("a selection is empty, which would mean all runs: name a run, a group or conditions")
    found = chosen.several(store, selections, say)
    listing.print_runs(store, listing.run_rows(found))
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput(
                f"{counted(len(found), 'run')} would be removed, and nobody can be asked: give --yes to do so"
            )
        if not click.confirm(f"remove {counted(len(found), 'run')}, with models and estimates?", err=True):
            show("removed nothing")
            return
    left = 0
    for run in found:
        try:
            remove(run)
        except HarnessError as error:
            say(f"{run.path} is left: {error}")
            left += 1
    show(f"removed {counted(len(found) - left, 'run')}")
    if left:
        raise SystemExit(3)


@click.command()
@click.option("--store", "deep", is_flag=True, help="Instead read every byte of every run, and list what is damaged.")
@click.option(
    "--repair", is_flag=True, help="The same, and move what is damaged to the folder quarantine of the store."
)
@json_flag
@data_folder
@in_store
def doctor(deep: bool, repair: bool, as_json: bool, data_dir: str | None, store: "Store") -> None:
    """Check this installation, the data and the store.

    These are versions, threads, plugins, data, the store and the speed of this machine; with --store, every run in it, and what
    killed processes left, which `harness gc` removes. Exit code 1 if something is wrong that was not repaired.
    """
    from harness.report.store import print_damage
    from harness.report.text import print_table
    from harness.runs.doctor import examine, examine_store, leftovers

    if deep or repair:
        damaged = examine_store(store, repair=repair)
        if as_json:
            print_json(damaged)
        else:
            print_damage(store, damaged, leftovers(store))
        if any(one["moved_to"] is None for one in damaged):
            raise SystemExit(1)
        return
    findings = examine(store, data_dir)
    if as_json:
        print_json(findings)
    else:
        print_table(("", "", "found"), [(f["what"], "ok" if f["ok"] else "!!", f["found"]) for f in findings])
    if not all(finding["ok"] for finding in findings):
        raise SystemExit(1)
