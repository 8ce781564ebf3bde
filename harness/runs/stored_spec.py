"""The specification of a stored run, for what executes the plugins that it names."""

from collections.abc import Collection

import pydantic

from harness.errors import BadInput
from harness.specs import named, registry
from harness.specs.run import RunSpec, sentence
from harness.store.record import Record
from harness.store.run import Run

PARTS: dict[str, registry.Kind] = {
    "algorithm": "algorithms", "model": "models", "dataset": "datasets", "estimators": "estimators",
}  # fmt: skip


def stored_spec(run: Run, record: Record, executes: Collection[str] = tuple(PARTS)) -> RunSpec:
    """Return the specification of a stored run, for what executes the plugins that it names.

    Args:
        run: the run.
        record: its run.json.
        executes: which of its plugins are executed.

    Raises:
        BadInput: it is no specification, or a file that the user named has other content than the run's.
        NotNamed: it needs files that the user has not named in this command.
    """
    try:
        spec = RunSpec.model_validate(record.spec)
    except pydantic.ValidationError as error:
        raise BadInput(
            f"{run.path / 'run.json'} has no specification of this version: {sentence(error, 'of the run')}"
        ) from None
    missing = []
    for part in executes:
        for one in spec.evaluation.estimators if part == "estimators" else (getattr(spec, part),):
            if one.file is not None:
                try:
                    registry.stored_file(PARTS[part], one.name, one.file, one.sha256 or "unknown")
                except named.NotNamed:
                    missing.append(named.by_option(PARTS[part], one.file))
    if missing:
        raise named.NotNamed(
            f"run {run.id} was made by code in files, and code that only a store names is not executed: look at it, and name "
            f"it in this command by {' '.join(missing)}"
        )
    return spec
