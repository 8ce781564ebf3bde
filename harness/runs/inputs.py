"""Whether what a run was computed from is what is here now: compared before a run is called done."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from harness.analysis.weights import Weights
from harness.errors import BadInput
from harness.specs.run import RunSpec
from harness.store import best, schema
from harness.store.record import Record
from harness.store.run import Run
from harness.training.subject import load_dataset


class _Data(NamedTuple):
    """What identifies data, and where they are."""

    sha256: str
    source: str


class Inputs:
    """What identifies the data that are here now. Each are loaded once, and not kept.

    Code needs no comparison here: what is in plugin files is part of a run's id.

    Args:
        data_dir: the user's folder of data files.
    """

    def __init__(self, data_dir: str | None):
        self._data_dir = data_dir
        self._known: dict[str, _Data | BadInput] = {}

    def require_same(self, run: Run, record: Record, spec: RunSpec) -> None:
        """Raise BadInput, naming both, where a done run was trained on other data than these, or these cannot be had."""
        found = self._found(spec)
        if isinstance(found, BadInput):
            raise type(found)(f"run {run.id} is done, but its data cannot be compared with those here: {found}")
        require_same_data(run, record, found.sha256, found.source)

    def sha256(self, spec: RunSpec) -> str | None:
        """Return what identifies the data of a run; None where they cannot be had."""
        found = self._found(spec)
        return None if isinstance(found, BadInput) else found.sha256

    def _found(self, spec: RunSpec) -> _Data | BadInput:
        key = spec.dataset.model_dump_json()
        if key not in self._known:
            try:
                dataset = load_dataset(spec, self._data_dir)
                self._known[key] = _Data(dataset.sha256, dataset.source)
            except BadInput as error:
                self._known[key] = error
        return self._known[key]


@contextmanager
def loading(run: Run, checkpoint: dict[str, Any], weights: Weights = "last") -> Iterator[None]:
    """Raise BadInput, naming the file, where a checkpoint that is whole cannot be loaded: it is of another model, or made up.

    Args:
        run: whose it is.
        checkpoint: its content; of the weights "best-valid" that of the file that keeps them, which `Run` has looked at.
        weights: which are loaded; the mean over steps is in the checkpoint, too.
    """
    of_best = weights == "best-valid"
    path = run.path / best.NAME if of_best else run.checkpoint_path
    try:
        if not of_best and not schema.is_checkpoint(checkpoint):
            raise BadInput("it has content that no run has")
        yield
    except Exception as error:
        why = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        raise BadInput(
            f"{path} does not fit run {run.id} ({why}): restore it from a copy, or move it away and run {run.id} again"
        ) from error


def require_same_data(run: Run, record: Record, sha256: str, source: str) -> None:
    """Raise BadInput, naming both, where a run was trained on other data than those that are here."""
    before = record.provenance[-1]["dataset"]["sha256"] if record.provenance else None
    if before not in (None, sha256):
        where = source or f"dataset {record.spec['dataset']['name']!r}"
        raise BadInput(
            f"run {run.id} was trained on other data (SHA-256 {before[:12]}) than those in {where} now "
            f"({sha256[:12]}): name its own with --data-dir, or delete {str(run.path)!r} to train on these"
        )
