"""The specification of a stored run, for what executes the plugins that it names."""

from pathlib import Path

import pydantic

from harness.errors import BadInput
from harness.specs.run import RunSpec, sentence
from harness.store.record import Record
from harness.store.run import Run


def stored_spec(run: Run, record: Record) -> RunSpec:
    """Return the specification of a stored run, for what executes the plugins that it names.

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
    for part in (spec.algorithm, spec.model, spec.dataset, *spec.evaluation.estimators):
        if part.file is not None and (not Path(part.file).is_absolute() or store in Path(part.file).resolve().parents):
            raise BadInput(
                f"run {run.id} names the code {part.file!r}, and code that comes with results is not executed: look at it, move "
                "it elsewhere, and start a new run with `harness run`"
            )
    return spec
