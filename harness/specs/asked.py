"""Which panels an experiment asks for and no stored run has."""

from collections.abc import Sequence

from harness.specs.experiment import TUNED, Experiment, value_of
from harness.specs.options import STORED
from harness.specs.where import PLUGINS, Where, called


def panels_without_runs(experiment: Experiment, there: Sequence[Where]) -> list[Where]:
    """Return the options of the panels of an experiment that are not `there`, each once.

    Args:
        experiment: what asks for them.
        there: the options of the panels that have runs, one or more; they all name the same.

    One that cannot be told from the file is left out: where an option waits to be tuned, or has a default that nobody tells.
    """
    asked = experiment.by_option
    have = {id(options) for where in there for options in asked.meeting(where)}
    found: dict[tuple[str, ...], Where] = {}
    for options in asked.meeting({}):
        if id(options) not in have:
            where = {name: value_of(options, name) for name in there[0]}
            where = {n: called(str(v)) if n in PLUGINS and v is not None else v for n, v in where.items()}
            if all(value != TUNED and (value is not None or name in STORED) for name, value in where.items()):
                found.setdefault(tuple(map(str, where.values())), where)
    return list(found.values())
