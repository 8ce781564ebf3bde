"""`harness plot`: figures of experiments, of runs, and of what is stored of one or some of them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from harness import safe_text
from harness.cli.options import (
    FILE,
    complete_drawable,
    data_folder,
    in_store,
    model_weights_option,
    named_files,
    value_option,
    versions_option,
)
from harness.cli.output import say
from harness.errors import BadInput
from harness.specs.values import Choice
from harness.specs.where import parse_selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.analysis.versions import Versions
    from harness.analysis.weights import Weights
    from harness.store.record import Record
    from harness.store.run import Run
    from harness.store.store import Store


class Asked(NamedTuple):
    """What is to be drawn, and how."""

    what: tuple[str, ...]
    estimator: str | None
    counter: str | None
    scale: str | None
    weights: "Weights"
    versions: "Versions"
    data_dir: str | None
    store: "Store"


class Drawn(NamedTuple):
    """A figure, the records of its runs, and the name of its files without an ending."""

    figure: "Figure"
    records: "Sequence[Record]"
    name: str


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="EXPERIMENT | RUN...", shell_complete=complete_drawable)
@click.option("--y", "estimator", metavar="ESTIMATOR", help="What to draw [the experiment's, else lower-bound].")
@click.option(
    "--x",
    "counter",
    metavar="COUNTER",
    help="On the x axis: samples, datapoints, cpu_seconds, wall_seconds, ... [the experiment's, else samples].",
)
@value_option("--scale", Choice(("log", "linear")), "Scale of the x axis [the experiment's, else log].")
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="Where to write it; without an ending as PNG, SVG and PDF [figures/... in the store].",
)
@model_weights_option
@named_files("--model", "--dataset")
@versions_option
@data_folder
@in_store
def plot(out: Path | None, store: "Store", **asked: Any) -> None:
    """Draw an experiment, runs, or what is stored of runs.

    \b
    harness plot figure2          the panels of the experiment
    harness plot figure2:nz=20    those with these runs
    harness plot SELECTION...     estimates at the marks: train dashed, test solid
    harness plot manifold RUN     what a model of two latents has learned
    harness plot samples RUN      draws from a model
    harness plot gaps RUN...      what lies between log p(x) and a lower bound
    harness plot gradients RUN    variances that `harness gradients` measured
    harness plot imputations RUN  what `harness impute` found, of several, too
    """
    from harness.figures import output
    from harness.specs.experiment import is_experiment

    ask = Asked(**asked, store=store)
    if len(ask.what) > 1 and ask.what[0] in DRAW:
        drawn = DRAW[ask.what[0]](ask)
    elif len(ask.what) == 1 and is_experiment(parse_selection(ask.what[0]).name):
        drawn = _experiment(ask)
    else:
        drawn = _marks(ask)
    path = out or store.root / "figures" / drawn.name
    for written in output.save(drawn.figure, path, drawn.records, () if out and path.suffix else output.FORMATS):
        safe_text.show(written)


def _experiment(ask: Asked) -> Drawn:
    from harness.analysis import selection, weights
    from harness.figures import output, panels
    from harness.specs.experiment import Experiment

    chosen = parse_selection(ask.what[0])
    experiment = Experiment(chosen.name)
    stored = weights.chosen(selection.group(ask.store, experiment, say, ask.versions, chosen.where), ask.weights, say)
    figure = panels.draw(experiment, stored, ask.counter, ask.estimator, ask.scale)
    name = output.file_name(
        experiment.name + ask.what[0].removeprefix(chosen.name),  # such as :nz=20
        "curves",
        of=ask.estimator,
        by=ask.counter or experiment.figure.x,
        weights=_told(ask.weights),
    )
    return Drawn(figure, [run.record for run in stored], name)


def _marks(ask: Asked) -> Drawn:
    from harness.analysis import chosen, selection, weights
    from harness.analysis.versions import remarks
    from harness.figures import output, trace

    stored = chosen.each_once(selection.load(chosen.several(ask.store, ask.what, say)), say)
    for words in remarks(stored):
        say(words)
    stored = weights.chosen(stored, ask.weights, say)
    counter = ask.counter or "samples"
    figure = trace.draw(stored, counter, ask.scale or "log", ask.estimator)
    runs = [run.on_disk for run in stored]
    kind = "curves" if len(runs) > 1 else "curve"
    name = output.file_name(_called(runs), kind, of=ask.estimator, by=counter, weights=_told(ask.weights))
    return Drawn(figure, [run.record for run in stored], name)


def _images(ask: Asked) -> Drawn:
    from harness.figures import images, output

    run, kind = _one(ask), ask.what[0]
    figure = images.DRAW[kind](run, ask.data_dir, ask.weights)
    return Drawn(figure, [run.read()], output.file_name(run.id, images.NAMES[kind], weights=_told(ask.weights)))


def _gradients(ask: Asked) -> Drawn:
    from harness.figures import gradients, output

    run = _one(ask)
    figure = gradients.draw(run.id, gradients.latest(run.gradients()))
    return Drawn(figure, [run.read()], output.file_name(run.id, gradients.NAME))


def _gaps(ask: Asked) -> Drawn:
    from harness.figures import gaps

    return _several(ask, gaps.draw)


def _imputations(ask: Asked) -> Drawn:
    from harness.figures import imputations

    return _several(ask, imputations.draw)


def _several(ask: Asked, draw: "Callable[[Sequence[Run]], Figure]") -> Drawn:
    from harness.analysis import chosen
    from harness.figures import output

    runs = chosen.several(ask.store, ask.what[1:], say)
    return Drawn(draw(runs), [run.read() for run in runs], output.file_name(_called(runs), ask.what[0]))


def _one(ask: Asked) -> "Run":
    """Return the run that is named behind what is drawn of it; BadInput if there are more."""
    from harness.analysis import chosen

    kind, first, *more = ask.what
    if more:
        raise BadInput(f"`harness plot {kind}` draws one run, and {len(ask.what) - 1} are given: name one")
    return chosen.one(ask.store, first)


def _called(runs: "Sequence[Run]") -> str:
    return runs[0].id + (f"-and-{len(runs) - 1}-more" if len(runs) > 1 else "")


def _told(weights: "Weights") -> str | None:
    return None if weights == "last" else weights


DRAW: dict[str, Callable[[Asked], Drawn]] = {
    "manifold": _images, "samples": _images, "gaps": _gaps, "gradients": _gradients, "imputations": _imputations,
}  # fmt: skip
"""How what is stored of runs is drawn, by its name."""
