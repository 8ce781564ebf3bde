"""What an option of a command may be: each kind of value reads what was given, or raises ValueError with what to give instead.

Neither click nor pydantic is imported here. Named tuples take a quarter of the time of frozen dataclasses to define.
"""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.specs.named import data_paths
from harness.specs.schedule import StepSchedule
from harness.specs.where import is_data, is_path

if TYPE_CHECKING:
    from harness.specs.registry import Kind

MOST_COUNTED = 2**62  # of anything that is counted

MOST_JOBS = 1024  # processes at a time

MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


class WholeNumber(NamedTuple):
    """A whole number within limits; 1e6 is one, too."""

    least: int = 1
    most: int = MOST_COUNTED
    such_as: str = ""
    metavar: str = "N"

    def read(self, given: object) -> int:
        """Return the number; see above."""
        value = number(given)
        if not (self.least <= value <= self.most and value == int(value)):
            to = f" to {self.most:,}" if value > self.most else ""
            raise ValueError(f"give a whole number from {self.least}{to}{self.such_as and f', such as {self.such_as}'}")
        return int(value)


class PositiveNumber(NamedTuple):
    """A finite number above 0; `what` says of what."""

    what: str = "a number above 0"
    metavar: str = "X"

    def read(self, given: object) -> float:
        """Return the number; see above."""
        value = number(given)
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"give {self.what}")
        return float(value)


class FiniteNumber(NamedTuple):
    """Any finite number."""

    such_as: str
    metavar: str = "NATS"

    def read(self, given: object) -> float:
        """Return the number; see above."""
        value = number(given)
        if not math.isfinite(value):
            raise ValueError(f"give a number, such as {self.such_as}")
        return float(value)


class FiniteNumbers(NamedTuple):
    """Finite numbers with commas between, or some of a few words in place of numbers."""

    such_as: str
    metavar: str = "N,..."
    words: tuple[str, ...] = ()

    def read(self, given: object) -> list[Any]:
        """Return the numbers and words; see above."""
        values = [word if word in self.words else number(word) for word in str(given).split(",")]
        if not all(value in self.words or math.isfinite(value) for value in values):  # type: ignore[arg-type]
            words = f", or {' or '.join(self.words)}" if self.words else ""
            raise ValueError(f"give numbers with commas between, such as {self.such_as}{words}")
        return [value if value in self.words else float(value) for value in values]


class WholeNumbers(NamedTuple):
    """Whole numbers within the limits of `each`, with commas between."""

    each: WholeNumber
    metavar: str = "N,..."

    def read(self, given: object) -> list[int]:
        """Return the numbers; see above."""
        try:
            return [self.each.read(word) for word in str(given).split(",")]
        except ValueError as error:
            raise ValueError(f"{error}, or several with commas between") from None


class Choice(NamedTuple):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """The words, as help shows them."""
        return "|".join(self.words)

    def read(self, given: object) -> str:
        """Return the word; see above."""
        if given not in self.words:
            raise ValueError(f"choose {', '.join(self.words[:-1])} or {self.words[-1]}")
        return str(given)


class ShareOrWord(NamedTuple):
    """A share between 0 and 1, or one of a few words."""

    such_as: str
    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        """What it may be, as help shows it."""
        return "|".join(("SHARE", *self.words))

    def read(self, given: object) -> float | str:
        """Return the share or the word; see above."""
        if given in self.words:
            return str(given)
        value = number(given)
        if not 0 < value < 1:
            raise ValueError(f"give a share between 0 and 1, such as {self.such_as}, or {' or '.join(self.words)}")
        return float(value)


class EqualBudget(NamedTuple):
    """What every model of a table may spend: `cpu-seconds`, or `cpu-seconds=N`."""

    metavar: str = "cpu-seconds[=N]"

    def read(self, given: object) -> float | Literal["all"]:
        """Return the CPU seconds, "all" for as many as the model with the fewest spent in all; ValueError for anything else."""
        name, equals, text = str(given).partition("=")
        seconds = number(text) if equals else math.nan
        if name != "cpu-seconds" or (equals and not 0 < seconds < math.inf):
            raise ValueError("give cpu-seconds, for as many as the model with the fewest spent, or cpu-seconds=600")
        return float(seconds) if equals else "all"


class Words(NamedTuple):
    """Some of a few words, with commas between."""

    words: tuple[str, ...]
    metavar: str = "NAME,..."

    def read(self, given: object) -> list[str]:
        """Return the words; see above."""
        found = str(given).split(",")
        if not set(found) <= set(self.words) or len(set(found)) < len(found):
            raise ValueError(f"choose of {', '.join(self.words)}, each once, with commas between")
        return found


class PluginName(NamedTuple):
    """The name of a plugin of a kind, or the path of a .py file; whether there is one the registry says."""

    kind: "Kind"
    metavar: str = "NAME"

    def read(self, given: object) -> str:
        """Return the name; see above."""
        if not isinstance(given, str):
            raise ValueError("give a name")
        return given


class PluginPath(NamedTuple):
    """The path of a .py file of a plugin of a kind; a dataset may be data, too."""

    kind: "Kind"
    metavar: str = "FILE"

    def read(self, given: object) -> str:
        """Return the path; see above."""
        of_data = isinstance(given, str) and is_data(self.kind, given)
        if not isinstance(given, str) or not is_path(given) or not (of_data or Path(given).is_file()):
            or_data = " or of data" if self.kind == "datasets" else ""
            raise ValueError(
                f"give the path of a .py file{or_data}; {self.kind} that have a name need not be named here"
            )
        for path in data_paths(given) if of_data else ():
            if not Path(path).exists():
                raise ValueError(f"there is no {path!r}; give the path of data that are there")
        return given


class Schedule(NamedTuple):
    """A step schedule: see `harness.specs.schedule`."""

    metavar: str = "SHAPE:SAMPLES"

    def read(self, given: object) -> str:
        """Return what the schedule is called; see above."""
        return str(StepSchedule.parse(given))


class Duration(NamedTuple):
    """A time in whole minutes: 90m, 4h, 2d, or as SLURM writes it, 4:00:00."""

    metavar: str = "TIME"

    def read(self, given: object) -> int:
        """Return the minutes; ValueError if it is no such time, or less than a minute."""
        text = str(given)
        minutes = 0
        if found := re.fullmatch(r"(\d{1,6})([mhd])", text):
            minutes = int(found[1]) * MINUTES[found[2]]
        elif found := re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", text):
            minutes = int(found[1]) * 60 + int(found[2])
        if minutes < 1:
            raise ValueError("give a time of a minute or more, such as 90m, 4h, 2d or 4:00:00")
        return minutes


class Name(NamedTuple):
    """A name that SLURM knows, or several with commas between; it becomes a line of a script."""

    metavar: str = "NAME"

    def read(self, given: object) -> str:
        """Return the name; ValueError if it cannot be one."""
        if not isinstance(given, str) or not re.fullmatch(r"[\w.,+-]{1,200}", given, re.ASCII):
            raise ValueError("give a name of letters, digits, '.', '_', '-' and '+'")
        return given


MB = 1_000_000  # bytes, the unit of --ship-limit


class Engine(NamedTuple):
    """Where many runs are made: this machine, a SLURM cluster, or the workers of a Dask scheduler."""

    metavar: str = "local|slurm|dask://HOST:PORT"

    def read(self, given: object) -> str:
        """Return it as it was given; see above."""
        if given not in ("local", "slurm") and not re.fullmatch(r"(dask|tls)://[^\s/]+:\d{1,5}/?", str(given)):
            raise ValueError(
                "choose local, slurm, or the address of a Dask scheduler, such as dask://HOST:8786 or tls://HOST:8786"
            )
        return str(given)


Value = (
    WholeNumber
    | PositiveNumber
    | FiniteNumber
    | FiniteNumbers
    | WholeNumbers
    | Choice
    | ShareOrWord
    | Words
    | Schedule
    | EqualBudget
    | Engine
    | Duration
    | Name
    | PluginName
    | PluginPath
)


def number(given: object) -> int | float:
    """Return the number that was given, itself or in words, a whole one exactly; infinity or NaN where it cannot be used."""
    for kind in (int, float):
        try:
            found = kind(str(given))
            float(found)  # which not every whole number has
            return found
        except ValueError:
            continue
        except OverflowError:
            return math.inf
    return math.nan
