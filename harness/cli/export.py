"""`harness export`: stored runs for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    FILE,
    data_folder,
    in_store,
    named_files,
    only_option,
    selections_argument,
    value_option,
)
from harness.cli.output import say
from harness.safe_text import show
from harness.specs.values import Choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.exported import Exported
    from harness.store.store import Store


@click.command()
@selections_argument
@value_option(
    "--format",
    Choice(("csv", "parquet", "json", "tensorboard", "json-benchmark")),
    "For which tools; see above.",
    parameter="form",
    required=True,
)
@click.option(
    "--out",
    type=FILE,
    required=True,
    metavar="PATH",
    help="A file for json and json-benchmark, else a folder; it is replaced if it is an earlier export.",
)
@only_option
@named_files("--model", "--dataset")
@data_folder
@in_store
def export(
    selections: tuple[str, ...], form: str, out: Path, only: str | None, data_dir: str | None, store: "Store"
) -> None:
    """Write the store for other tools. Without SELECTION it is the whole store.

    \b
    csv, parquet    three tables: runs, rows (a line for each mark) and
                    estimates (nats, with both standard errors; of
                    documents also perplexity and se_perplexity)
    json            one file with all that the store has
    tensorboard     curves, settings as hyperparameters, and pictures of
                    the models that are stored
    json-benchmark  a list of name, unit, value and range for actions
                    that watch benchmarks; larger is better

    Of the first three nothing is lost: `harness.analysis.export.read` gives back what the store has. Parquet needs pyarrow,
    TensorBoard the extra `tensorboard`. Exit code 3 if a run could not be read; the others are exported.
    """
    from harness.analysis.export import require_place, write, write_benchmark
    from harness.analysis.exported import load
    from harness.report.store import print_exported
    from harness.report.text import counted

    require_place(form, out)
    runs, unreadable = load(store, selections, only)
    for reason in unreadable:
        say(f"left out {reason}")
    if form == "json-benchmark":
        from harness.analysis.export_benchmark import entries
        from harness.analysis.stored_run import StoredRun

        found, left = entries([StoredRun(run.record, run.rows, store.run(run.record.run, run.group)) for run in runs])
        for reason in left:
            say(f"left out, as it is not done: {reason}")
        write_benchmark(found, out)
        show(f"{out}: {counted(len(found), 'value')}")
    else:
        write(runs, form, out, _pictures(store, runs, data_dir) if form == "tensorboard" else None)
        print_exported(runs, out)
    if unreadable:
        raise SystemExit(3)


def _pictures(
    store: "Store", runs: "Sequence[Exported]", data_dir: str | None
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return pictures of the models that are stored, by group and id; why there is none of some is said once for each reason."""
    from harness.errors import HarnessError

    found: dict[tuple[str, str], dict[str, Any]] = {}
    reasons: dict[str, list[str]] = {}
    for exported in runs:
        run = store.run(exported.record.run, exported.group)
        if not run.checkpoint_path.is_file():
            continue
        from harness.figures import images  # of models, by PyTorch
        from harness.figures.output import pixels

        two = exported.record.spec["model"]["settings"].get("nz") == 2
        for what in ("samples", *(["manifold"] if two else [])):
            try:
                drawn = pixels(images.DRAW[what](run, data_dir, "last"))
                found.setdefault((exported.group, run.id), {})[images.NAMES[what]] = drawn
            except HarnessError as error:
                reasons.setdefault(str(error).replace(run.id, "RUN"), []).append(run.id)
    for why, ids in reasons.items():
        say(f"no picture of {ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}: {why}")
    return found
