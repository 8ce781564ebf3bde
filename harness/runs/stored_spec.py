"""The specification of a stored run, for what executes the plugins that it names."""

from collections.abc import Collection
from pathlib import Path

import pydantic

from harness.errors import BadInput
from harness.specs.run import RunSpec, sentence
from harness.store.record import Record
from harness.store.run import Run

PARTS = ("algorithm", "model", "dataset", "estimators")


def stored_spec(run: Run, record: Record, executes: Collection[str] = PARTS) -> RunSpec:
    """Return the specification of a stored run, for what executes the plugins that it names.

    Args:
        run: the run.
        record: its run.json.
        executes: which of its plugins are executed.

    Raises:
        BadInput: it is no specification, or a plugin is a file in the store: code that comes with results is not executed.
    """
    try:
        spec = RunSpec.model_validate(record.spec)
    except pydantic.ValidationError as error:
        raise BadInput(
            f"{run.path / 'run.json'} has no specification of this version: {sentence(error, 'of the run')}"
        ) from None
    store = run.path.parent.parent.resolve()
    estimators = spec.evaluation.estimators if "estimators" in executes else ()
    for part in (*(getattr(spec, name) for name in executes if name != "estimators"), *estimators):
        if part.file is not None and (not Path(part.file).is_absolute() or store in Path(part.file).resolve().parents):
            raise BadInput(
                f"run {run.id} names the code {part.file!r}, and code that comes with results is not executed: look at it, move "
                "it elsewhere, and start a new run with `harness run`"
            )
    return spec
