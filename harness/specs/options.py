"""The options of a run, written down once: the command line, experiments, `make_spec` and the selection of stored runs use it.

Neither click nor pydantic is imported here, as `harness --help` does without pydantic and experiments do without click. Named
tuples take a quarter of the time of frozen dataclasses to define.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from harness.errors import BadInput
from harness.specs.named import data_paths
from harness.specs.schedule import StepSchedule
from harness.specs.where import is_data, is_path

if TYPE_CHECKING:
    from harness.specs.registry import Kind

Options = dict[str, Any]
"""Options of a run by name, as `harness run` would be given them."""

MOST_COUNTED = 2**62  # of anything that is counted

MOST_JOBS = 1024  # processes at a time

MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


# -- what an option may be: `read` returns a value from what was given, or raises ValueError with what to give instead


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


class Engine(NamedTuple):
    """Where many runs are made: this machine, or a SLURM cluster."""

    metavar: str = "local|slurm"

    def read(self, given: object) -> str:
        """Return it as it was given; see above."""
        if given not in ("local", "slurm"):
            raise ValueError("choose local or slurm")
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


class Option(NamedTuple):
    """An option of a run.

    Attributes:
        name: how it is called on the command line, without dashes, and in experiments.
        field: what `make_spec` calls it, with a dot where it is part of a larger argument; of a budget's, what `Budget` calls it.
        value: what it may be.
        help: one line about it.
        default: its value where none is given; None where it is left out.
        required: whether it must be given.
        alone: its value where it is given without one; None where that is an error.
        stored: whether a stored run's specification has it under `field`, so that runs can be selected by it.
    """

    name: str
    field: str
    value: Value
    help: str
    default: int | str | None = None
    required: bool = False
    alone: str | None = None
    stored: bool = False

    def read(self, given: object) -> Any:
        """Return the value that was given; BadInput with one sentence if it is not allowed."""
        return read(f"--{self.name}", self.value, given)


def read(option: str, value: Value, given: object) -> Any:
    """Return what was given for an option, as a value of this kind; BadInput with one sentence if it is not allowed."""
    try:
        return value.read(given)
    except ValueError as error:
        raise BadInput(f"{option} is {given!r}: {error}") from None


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(
            "algo", "algorithm", PluginName("algorithms"), "Algorithm, by name or as a .py file.", required=True, stored=True
        ),
        Option("model", "model", PluginName("models"), "Model, by name or as a .py file.", "mlp", stored=True),
        Option(
            "dataset", "dataset", PluginName("datasets"), "Dataset, by name, as a .py file, or data by path.", "mnist",
            stored=True,
        ),
        Option("n-train", "n_train", WholeNumber(), "Use the first N training points [all].", stored=True),
        Option("seed", "seed", WholeNumber(0, 2**63 - 1), "Fixes every random stream.", 0, stored=True),
        Option("threads", "threads", WholeNumber(1, 1024), "Threads of PyTorch.", 1, stored=True),
        Option("device", "device", Choice(("cpu", "cuda")), "Where model and data are kept.", "cpu", stored=True),
        Option(
            "schedule", "schedule", Schedule(),
            "Factor of the step size: constant, linear or cosine down to 0 at so many samples, such as linear:1e7; "
            "linear:1e7:0.6 begins after 60 % of them.", "constant", stored=True,
        ),
        Option(
            "average", "average", WholeNumber(0, such_as="6e6"),
            "Also evaluate the mean of the parameters over the steps after N samples (Polyak averaging).", stored=True,
        ),
        Option(
            "eval-points", "points", WholeNumber(0),
            "Points of each split for the lower bound at every mark; 0: only at the end.", 2000,
        ),
        Option("final-points", "final_points", WholeNumber(), "The same at the end of the run.", 10_000),
        Option(
            "marginal", "marginal", PluginName("estimators"),
            "Also estimate log p(x) at every mark, by this estimator [hmc-density].", alone="hmc-density",
        ),
        Option("final-marginal", "final_marginal", PluginName("estimators"), "Also estimate log p(x) at the end of the run."),
        Option("marginal-points", "marginal_points", WholeNumber(), "Points of each split for both.", 1000),
        Option("first-mark", "evaluation.first_mark", WholeNumber(), "Samples at the first mark.", 10_000),
        Option(
            "splits", "evaluation.splits", Words(("train", "valid", "test")), "Splits that are evaluated [train,test].",
        ),
        Option(
            "keep", "evaluation.keep", Choice(("last", "best-valid")),
            "Keep the last parameters alone, or those of the mark that is best on the validation split, too.", "last",
        ),
        Option(
            "marks-per-decade", "evaluation.marks_per_decade", WholeNumber(1, 1000), "Marks in every decade of samples.", 10
        ),
    )
}  # fmt: skip
"""Options that decide what a run computes, by name; the settings of plugins are further ones."""

BUDGETS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("samples", "samples", WholeNumber(such_as="1e6"), "End after N samples, such as 1e6."),
        Option(
            "datapoints", "datapoints", WholeNumber(such_as="1e6"),
            "End after N training points were presented in minibatches.",
        ),
        Option(
            "cpu-seconds", "cpu_seconds", PositiveNumber("a positive number of seconds, such as 600", "SECONDS"),
            "End after this CPU time of training.",
        ),
        Option(
            "wall-seconds", "wall_seconds", PositiveNumber("a positive number of seconds, such as 600", "SECONDS"),
            "End after this wall time of training.",
        ),
    )
}  # fmt: skip
"""Options that end a run, by name."""

STORED = tuple(option.name for option in OPTIONS.values() if option.stored)
"""Options that every stored run has, so that runs can be selected by them."""


def arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `make_spec` is to be called with for these options; what is neither here nor in `OPTIONS` is left out."""
    return {option.field.rpartition(".")[2]: options[name] for name, option in OPTIONS.items() if name in options}


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
