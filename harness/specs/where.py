"""Which runs are meant: options and the values that they may have, such as "nz=20,algo=aevb"."""

from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import BadInput

Where = Mapping[str, Any]
"""Options with the value that runs have, or with a set of values of which they have one."""

PLUGINS = {"algo": "algorithm", "model": "model", "dataset": "dataset"}
"""Options that name a plugin, and the parts of a specification that they are about."""


def parse_where(text: str | None, source: str = "--only") -> dict[str, set[str]]:
    """Return the values by option of conditions such as "nz=20,algo=aevb"; several values of one option are alternatives.

    Args:
        text: the conditions; none where it is None or empty.
        source: where they were given, for the message.

    Raises:
        BadInput: a condition is not of the form option=value.
    """
    found: dict[str, set[str]] = {}
    for part in (text or "").split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if part.strip() and not (name and equals and value):
            raise BadInput(f"{source} has {part!r}: give option=value, several with commas, such as nz=20,algo=aevb")
        if part.strip():
            found.setdefault(name.replace("_", "-"), set()).add(value)
    return found


def meets(option: Callable[[str], Any], where: Where) -> bool:
    """Say whether a run has one of the values of each option.

    Args:
        option: returns the run's value of an option, None if it has none.
        where: the options and their values.
    """
    return all(any(same(option(name), value) for value in _alternatives(values)) for name, values in where.items())


def _alternatives(values: Any) -> Any:
    return values if isinstance(values, set | frozenset) else (values,)


def same(one: Any, other: Any) -> bool:
    """Say whether two values of an option are the same, whether numbers or words for them."""
    if str(one) == str(other):
        return True
    try:
        return float(one) == float(other)
    except (TypeError, ValueError, OverflowError):
        return False


def in_words(options: Where) -> str:
    """Return options with their values in short: plugins by their names alone, and nothing for None."""
    words = (str(v) if name in PLUGINS else f"{name}={v}" for name, v in options.items() if v is not None)
    return " ".join(words)
