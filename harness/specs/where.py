"""Which runs are meant: by name, by options and the values that they may have, or both.

A selection is `NAME`, `NAME:OPTION=VALUE,...` or `OPTION=VALUE,...`. NAME is a run's id, its beginning or its last digits, a
group of the store, or a folder. Conditions are such as `nz=20,algo=aevb`. It is written in this way wherever runs are selected.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from harness.errors import BadInput
from harness.specs.schedule import canonical

T = TypeVar("T")

Where = Mapping[str, Any]
"""Options with the value that runs have, or with a set of values of which they have one."""

PLUGINS = {"algo": "algorithm", "model": "model", "dataset": "dataset"}
"""Options that name a plugin, and the parts of a specification that they are about."""


KINDS = {"algo": "algorithms", "model": "models", "dataset": "datasets", "estimator": "estimators"}
"""Options that name a plugin, and of what kind it is."""


def plugins(spec: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the plugins of a run, each with the option that names it.

    Args:
        spec: the run's specification, as plain data.
    """
    of_run = [(option, spec[part]) for option, part in PLUGINS.items()]
    return of_run + [("estimator", part) for part in spec["evaluation"]["estimators"]]


class Selection(NamedTuple):
    """What a text says of the runs that are meant.

    Attributes:
        text: as it was given.
        name: a run's id, its beginning or its last digits, a group of the store, or a folder; empty where any will do.
        where: the options that they have.
    """

    text: str
    name: str
    where: Where

    def meets(self, run_id: str, group: str, option: Callable[[str], Any]) -> bool:
        """Say whether a run is meant.

        Args:
            run_id: its id.
            group: its group in the store.
            option: returns its value of an option, None if it has none.
        """
        return self.names(run_id, group) and meets(option, self.where)

    def names(self, run_id: str, group: str) -> bool:
        """Say whether a run has the name, whatever its options."""
        of_group, _, begin = self.name.rpartition("/")
        of_run = run_id.startswith(begin) or run_id.rpartition("-")[2] == begin
        return self.name in ("", group) or (of_group in ("", group) and of_run)


_CONDITION = re.compile(r":(?=[A-Za-z][\w.-]*=)")


def parse_selection(text: str, source: str = "") -> Selection:
    """Return what a text says of the runs that are meant; BadInput where a condition is not of the form option=value."""
    name, colon, conditions = text.rpartition(":")
    if (begin := _CONDITION.search(text)) is not None:  # a value may have a colon, too, as schedule=linear:1e7
        name, conditions = text[: begin.start()], text[begin.start() + 1 :]
    elif "=" in text and (not colon or ":" in text.partition("=")[2]):
        name, conditions = "", text
    elif not colon or conditions[:1] in ("/", "\\"):  # a drive and its folder
        name, conditions = text, ""
    elif not conditions:
        raise BadInput(f"{text!r} has nothing behind the colon: give option=value, or leave the colon out")
    return Selection(text, name, parse_where(conditions, source or repr(text)))


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
    return all(
        any(same(_plain(name, option(name)), _plain(name, value)) for value in _alternatives(values))
        for name, values in where.items()
    )


def _plain(name: str, value: Any) -> Any:
    """Return a value as it is compared: a plugin by its name alone, of a file with or without folder and ending."""
    if name == "schedule":
        return canonical(value)
    return called(str(value)).replace("_", "-").lower() if name in PLUGINS and value is not None else value


def comparable(name: str, value: Any) -> str | float:
    """Return what two values of an option have in common if and only if they are the same: see `same`."""
    value = _plain(name, value)
    return _number_or_words(",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))


@functools.lru_cache(10_000)  # of many runs most have the same few values
def _number_or_words(words: str) -> str | float:
    number = _number(words)
    return words.replace(" ", "") if number is None else number


def _number(words: str) -> float | None:
    """Return the number that a value means, 1 and 0 for true and false, as files and command lines write them; else None."""
    try:
        return float({"true": "1", "false": "0"}.get(words.lower(), words))
    except ValueError:
        return None


def called(word: str) -> str:
    """Return the name of the plugin or the data that a word means: the word itself, or of a path what its file is called.

    Data keep the ending of their file, so that they are not taken for a plugin; of several files the first one names them.
    """
    if not is_path(word):
        return word
    first = Path(word.split(",")[0] if has_data_ending(word) else word)
    return (first.name if has_data_ending(word) else first.stem).replace("_", "-").lower()


def is_path(word: str) -> bool:
    """Say whether a word is the path of a plugin's file or of data, and not a plugin's name."""
    return word.endswith(".py") or "/" in word or "\\" in word or has_data_ending(word)


DATA_ENDINGS = (
    ".npy", ".npz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".mat", ".idx", ".idx.gz", "-ubyte", "-ubyte.gz",
)  # fmt: skip
"""How the names of files of data end that are datasets by their path."""


def has_data_ending(word: str) -> bool:
    """Say whether a word names a file of data, or several with commas between."""
    return word.lower().endswith(DATA_ENDINGS)


def is_data(kind: str, file: str | None) -> bool:
    """Say whether a file, which is a plugin of a kind by its path, is data, and no code."""
    return kind == "datasets" and file is not None and not file.endswith(".py")


def _alternatives(values: Any) -> Any:
    return values if isinstance(values, set | frozenset) else (values,)


def same(one: Any, other: Any) -> bool:
    """Say whether two values of an option are the same, whether numbers or words for them."""
    return not _forms(one).isdisjoint(_forms(other))


def _forms(value: Any) -> set[str | float]:
    """Return the forms of a value of an option: two values are the same if and only if they share one."""
    words = str(value)
    number = _number(words)
    return {words} if number is None else {words, number}


class Index(Generic[T]):
    """Runs by the values of their options: of many conditions, those that meet each are found without a look at every run.

    Args:
        runs: all of them, in order.
        option: returns a run's value of an option, None if it has none.
    """

    def __init__(self, runs: Sequence[T], option: Callable[[T, str], Any]):
        self._runs, self._option = runs, option
        self._places: dict[str, dict[str | float, set[int]]] = {}  # by option and form of its value

    def meeting(self, where: Where) -> list[T]:
        """Return the runs that have one of the values of each option: those of which `meets` says so."""
        having = []  # for each option, the places of the runs that have its values
        for name, values in where.items():
            own = self._of(name)
            having.append(
                [own.get(form, set()) for value in _alternatives(values) for form in _forms(_plain(name, value))]
            )
        if not having:
            return list(self._runs)
        fewest, *others = sorted(having, key=lambda places: sum(map(len, places)))
        found = [i for i in set().union(*fewest) if all(any(i in places for places in other) for other in others)]
        return [self._runs[i] for i in sorted(found)]

    def _of(self, name: str) -> dict[str | float, set[int]]:
        if name not in self._places:
            own = self._places[name] = {}
            for i, run in enumerate(self._runs):
                for form in _forms(_plain(name, self._option(run, name))):
                    own.setdefault(form, set()).add(i)
        return self._places[name]


def in_words(options: Where) -> str:
    """Return options with their values in short: plugins by their names alone, and nothing for None."""
    words = (str(v) if name in PLUGINS else f"{name}={v}" for name, v in options.items() if v is not None)
    return " ".join(words)
