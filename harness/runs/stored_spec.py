"""The specification of a stored run, for what executes the plugins that it names."""

from collections.abc import Collection
from typing import cast

import pydantic

from harness.errors import BadInput
from harness.specs import named, registry
from harness.specs.run import RunSpec, sentence
from harness.specs.where import KINDS, is_data, plugins
from harness.store.record import Record
from harness.store.run import Run


def stored_spec(run: Run, record: Record, executes: Collection[str] = tuple(KINDS.values())) -> RunSpec:
    """Return the specification of a stored run, for what executes the plugins that it names.

    Args:
        run: the run.
        record: its run.json.
        executes: kinds of plugins of it that are executed.

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
    for option, part in plugins(spec.model_dump()):
        kind = cast(registry.Kind, KINDS[option])
        if part["file"] is not None and kind in executes and not is_data(kind, part["file"]):
            try:
                registry.stored_file(kind, part["name"], part["file"], part["sha256"] or "unknown")
            except named.NotNamed:
                missing.append(named.by_option(kind, part["file"]))
    if missing:
        raise named.NotNamed(
            f"run {run.id} was made by code in files, and code that only a store names is not executed: look at it, and name "
            f"it in this command by {' '.join(missing)}"
        )
    return spec
