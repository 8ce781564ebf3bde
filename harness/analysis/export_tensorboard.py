"""Runs as TensorBoard reads them: a folder `group/run` for each, with its curves, settings, and pictures.

Scalars are called `estimator/split` (of averaged weights `estimator-average/split`), `steps/...` for what steps reported and
`spent/...` for the counters of the ledger; their step is the number of samples, and their time that of training, so TensorBoard's
axis "relative" is in hours of training. Estimates made later are in `later/...`. Settings are hyperparameters, and the estimates
over most points at the end of the run its metrics.
"""

import calendar
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.analysis import foreign
from harness.analysis.exported import Exported
from harness.analysis.selection import flat
from harness.errors import BadInput
from harness.specs.budget import COUNTERS
from harness.store.origin import Origin
from harness.store.record import final_estimates

Pictures = Mapping[tuple[str, str], Mapping[str, NDArray[Any]]]
"""By group and id of a run, and by name: (height, width, 3), 0 to 255."""

EVENTS = "events.out.tfevents."
"""How the files of TensorBoard begin."""

UNNAMED = ("file", "sha256")
"""Parts of a specification that are no settings."""


def write(runs: Sequence[Exported], pictures: Pictures, folder: Path) -> None:
    """Write runs into an empty folder; OSError where that cannot be."""
    writer_of = library().SummaryWriter
    for run in runs:
        began = _began(run)
        with writer_of(str(folder / run.group / run.record.run), max_queue=1000) as writer:
            for row in run.rows:
                at = {"global_step": int(row["ledger"]["samples"]), "walltime": began + row["ledger"]["wall_seconds"]}
                for e in (*row["estimates"], *row.get("averaged", ())):
                    writer.add_scalar(_tag(e), e["mean"], **at)
                for name, value in row["info"].items():
                    writer.add_scalar(f"steps/{name}", value, **at)
                for counter in COUNTERS:
                    if counter != "samples" and counter in row["ledger"]:
                        writer.add_scalar(f"spent/{counter}", row["ledger"][counter], **at)
            for later in run.evaluations:
                e, samples = later["estimate"], int(later["ledger"].get("samples", 0))
                writer.add_scalar(f"later/{_tag(e)}", e["mean"], samples)
            ended = int(run.record.ledger.get("samples", 0))
            for name, pixels in pictures.get((run.group, run.record.run), {}).items():
                writer.add_image(name, pixels, ended, dataformats="HWC")
            for name, words in _texts(run).items():
                writer.add_text(name, words, ended)
            metrics = {_tag(e): float(e["mean"]) for e in final_estimates(run.record)}
            for part in _hparams(_settings(run.record.spec), metrics):
                writer.file_writer.add_summary(part)


def library() -> Any:
    """Return tensorboardX; BadInput with the command that installs it where it is missing."""
    try:
        import tensorboardX
    except ImportError as error:
        raise BadInput(
            "--format tensorboard needs tensorboardX: `python -m pip install 'inference-harness[tensorboard]'`"
        ) from error
    return tensorboardX


def _hparams(settings: Mapping[str, Any], metrics: Mapping[str, float]) -> Sequence[Any]:
    from tensorboardX.summary import hparams

    return tuple(hparams(dict(settings), dict(metrics)))


def _tag(estimate: Mapping[str, Any]) -> str:
    weights = f"-{estimate['weights']}" if "weights" in estimate else ""
    return f"{estimate['estimator']}{weights}/{estimate['split']}"


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a specification, by dotted names; those that are None as a word, as TensorBoard has none for it."""
    leaves: dict[str, Any] = {}
    for part, content in spec.items():
        leaves |= flat(part, content)
    return {
        name.removesuffix(".name"): value if isinstance(value, bool | int | float | str) else "none"
        for name, value in leaves.items()
        if name.rpartition(".")[2] not in UNNAMED
    }


def _texts(run: Exported) -> dict[str, str]:
    """Return what a reader should know of a run besides numbers."""
    record = run.record
    words = {"status": record.status + (f": {record.reason}" if record.reason else "")}
    if run.origin is not None:
        words["foreign"] = foreign.described(Origin(**run.origin), foreign.made(record))
    return {name: text.replace("<", "&lt;") for name, text in words.items()}  # TensorBoard shows Markdown


def _began(run: Exported) -> float:
    """Return when the first session began, in seconds since 1970; 0 where nobody knows."""
    try:
        return float(calendar.timegm(time.strptime(run.record.provenance[0]["time"], "%Y-%m-%dT%H:%M:%SZ")))
    except (IndexError, KeyError, ValueError, TypeError):
        return 0.0
