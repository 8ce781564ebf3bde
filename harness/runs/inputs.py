"""Whether what a run was computed from is what is here now: compared before a run is called done."""

from harness.data.dataset import Dataset
from harness.errors import BadInput
from harness.specs.run import RunSpec
from harness.store.record import Record
from harness.store.run import Run
from harness.training.subject import load_dataset


class Inputs:
    """The data that are here now, each read once.

    Code needs no comparison here: what is in plugin files is part of a run's id.

    Args:
        data_dir: the user's folder of data files.
    """

    def __init__(self, data_dir: str | None):
        self._data_dir = data_dir
        self._datasets: dict[str, Dataset | BadInput] = {}

    def require_same(self, run: Run, record: Record, spec: RunSpec) -> None:
        """Raise BadInput, naming both, where a done run was trained on other data than these, or these cannot be had."""
        found = self._found(spec)
        if isinstance(found, BadInput):
            raise type(found)(f"run {run.id} is done, but its data cannot be compared with those here: {found}")
        require_same_data(run, record, found)

    def sha256(self, spec: RunSpec) -> str | None:
        """Return what identifies the data of a run; None where they cannot be had."""
        found = self._found(spec)
        return None if isinstance(found, BadInput) else found.sha256

    def _found(self, spec: RunSpec) -> Dataset | BadInput:
        key = spec.dataset.model_dump_json()
        if key not in self._datasets:
            try:
                self._datasets[key] = load_dataset(spec, self._data_dir)
            except BadInput as error:
                self._datasets[key] = error
        return self._datasets[key]


def require_same_data(run: Run, record: Record, dataset: Dataset) -> None:
    """Raise BadInput, naming both, where a run was trained on other data than these."""
    before = record.provenance[-1]["dataset"]["sha256"] if record.provenance else None
    if before not in (None, dataset.sha256):
        where = dataset.source or f"dataset {record.spec['dataset']['name']!r}"
        raise BadInput(
            f"run {run.id} was trained on other data (SHA-256 {before[:12]}) than those in {where} now "
            f"({dataset.sha256[:12]}): name its own with --data-dir, or delete {str(run.path)!r} to train on these"
        )
