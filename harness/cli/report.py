"""`harness report`: what was compared and what came out, as one page for a reader who was not there."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import (
    FILE,
    complete_drawable,
    in_store,
    value_option,
    versions_option,
    weights_option,
)
from harness.cli.output import say
from harness.errors import BadInput
from harness.safe_text import show
from harness.specs.values import FiniteNumber, FiniteNumbers, PositiveNumber

if TYPE_CHECKING:
    from harness.analysis.versions import Versions
    from harness.analysis.weights import Weights
    from harness.page.content import Asked, Content
    from harness.store.store import Store

LOOK = 2.0  # seconds between two looks for a first run


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="EXPERIMENT | SELECTION...", shell_complete=complete_drawable)
@click.option("--out", type=FILE, metavar="FOLDER", help="Where to write the page [figures/...-report in the store].")
@value_option(
    "--watch", PositiveNumber("a positive number of seconds, such as 30", "SECONDS"),
    "Write the page again every so many seconds while runs are under way or missing.",
)  # fmt: skip
@click.option("--claims", multiple=True, metavar="CLAIMS", help="Claims to show [built-in ones about the experiment].")
@value_option(
    "--at",
    FiniteNumbers("1e6", words=("end", "best-valid")),
    "Rank at this number of samples, at the end, or at each run's best mark [as `harness rank` does].",
)
@value_option("--target", FiniteNumber("-140"), "Time how long it takes to reach this [as `harness rank` does].")
@weights_option
@versions_option
@in_store
def report(
    what: tuple[str, ...],
    out: Path | None,
    watch: float | None,
    claims: tuple[str, ...],
    at: list[float | str] | None,
    target: float | None,
    weights: "Weights",
    versions: "Versions",
    store: "Store",
) -> None:
    """Write a page about an experiment or runs.

    FOLDER/index.html is one file that a browser opens offline: curves, ranking, table, claims, and for every run its settings,
    provenance and diagnostics. Install what draws it by `python -m pip install "inference-harness[report]"`.
    """
    from harness.figures.output import file_name
    from harness.page import charts
    from harness.page.content import Asked

    charts.require_extra()
    if at is not None and len(at) > 1:
        raise BadInput(f"--at has {len(at)} marks, and a ranking is at one: give one")
    asked = Asked(what, claims, at[0] if at else None, target, weights, versions)
    name = file_name(asked.called, "report", weights=None if weights == "last" else weights)
    folder = out or store.root / "figures" / name
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--out is {str(folder)!r}, which is a file: name a folder")
    if watch is None:
        show(_write(_gathered(store, asked), folder))
    else:
        _watch(store, asked, folder, watch)


def _gathered(store: "Store", asked: "Asked") -> "Content":
    """Return what the page tells, and say what a reader of the terminal should know."""
    from harness.page.content import gather

    content = gather(store, asked)
    for words in content.said:
        say(words)
    return content


def _write(content: "Content", folder: Path, refresh: float | None = None) -> Path:
    from harness.page.page import write

    return write(content, folder, refresh)


def _watch(store: "Store", asked: "Asked", folder: Path, seconds: float) -> None:
    """Write the page again and again until nothing is under way; Ctrl-C ends it, and leaves a page that stands still."""
    from harness.page.content import gather

    experiment = asked.experiment
    while experiment is not None and not any(True for _ in store.runs(experiment.name)):
        time.sleep(min(LOOK, seconds))
    content = _gathered(store, asked)
    show(f"{_write(content, folder, seconds)}: written again every {seconds:g} seconds; Ctrl-C ends that")
    try:
        while content.under_way:
            time.sleep(seconds)
            content = gather(store, asked)
            _write(content, folder, seconds)
    except KeyboardInterrupt:
        content = gather(store, asked)
    show(f"{_write(content, folder)}: as it is now")
