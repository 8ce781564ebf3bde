"""`harness gc`, `export` and `doctor`: the store as a whole."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    FILE,
    complete_runs,
    data_folder,
    groups_argument,
    in_store,
    json_flag,
    only_option,
    selections_argument,
    value_option,
)
from harness.cli.output import print_json, say
from harness.safe_text import show
from harness.specs.options import Choice

if TYPE_CHECKING:
    from harness.store.store import Store


@click.command()
@groups_argument
@click.option("--checkpoints", is_flag=True, help="Also remove the checkpoints of runs that are done.")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@json_flag
@in_store
def gc(groups: tuple[str, ...], checkpoints: bool, dry_run: bool, as_json: bool, store: "Store") -> None:
    """Remove files of the store that are no longer needed.

    These are quarantined runs, and what killed processes left, half written files and locks; with --checkpoints also the
    checkpoints of runs that are done, and the parameters kept of their best marks. A run without its checkpoint keeps its
    settings, curves and estimates, but has no model: it cannot be extended, evaluated, certified or sampled from any more. So
    look first, with --dry-run. A run that a process is writing is left alone. Exit code 3 if something could not be removed.
    To remove whole runs, see `harness rm`.
    """
    from harness.report.store import garbage_data, print_garbage
    from harness.store.gc import collect

    found = collect(store, groups, checkpoints=checkpoints, dry_run=dry_run)
    if as_json:
        print_json(garbage_data(found, dry_run=dry_run))
    else:
        print_garbage(found, dry_run=dry_run)
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
@selections_argument
@value_option("--format", Choice(("csv", "parquet", "json")), "Parquet needs pyarrow.", parameter="form", required=True)
@click.option(
    "--out",
    type=FILE,
    required=True,
    metavar="PATH",
    help="A file for json, else a folder; it is replaced if it is an earlier export.",
)
@only_option
@in_store
def export(selections: tuple[str, ...], form: str, out: Path, only: str | None, store: "Store") -> None:
    """Write the store for other tools, as JSON, CSV or Parquet.

    JSON is one file, the others are a folder of three tables. Without SELECTION it is the
    whole store; see `harness list --help`.

    \b
    runs        a line for each run: status, settings, budget, provenance
    rows        a line for each mark: spending, what the steps reported
    estimates   a line for each estimate, at a mark or after training:
                nats, with both standard errors; of documents
                also perplexity and se_perplexity

    Nothing is lost: `harness.analysis.export.read` gives back what the store has. Exit code 3 if a run could not be read; the
    others are exported.
    """
    from harness.analysis.export import load, require_place, write
    from harness.report.store import print_exported

    require_place(form, out)
    runs, unreadable = load(store, selections, only)
    for reason in unreadable:
        say(f"left out {reason}")
    write(runs, form, out)
    print_exported(runs, out)
    if unreadable:
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
