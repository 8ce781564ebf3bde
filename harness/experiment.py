"""Experiments: many runs from one TOML file, how their settings are tuned, and the figure and table that they are for.

Every key of `[base]` and `[[grid]]` is an option of `harness run` without its dashes, the settings of plugins included. Lists in
a grid multiply; grids are added up, and a run that is asked for twice gets the larger budget.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from harness import registry, tomlfile
from harness.errors import BadInput, suggestion
from harness.ledger import COUNTERS, Budget
from harness.spec import RunSpec, make_spec, parse_budget
from harness.store import NAME
from harness.tomlfile import Part, TomlFile

BUILT_IN = Path(__file__).parent / "experiments"

OPTIONS = {
    "algo": "algorithm", "dataset": "dataset", "model": "model", "n-train": "n_train", "seed": "seed", "threads": "threads",
    "device": "device", "eval-points": "points", "final-points": "final_points", "marginal": "marginal",
    "final-marginal": "final_marginal", "marginal-points": "marginal_points",
}  # fmt: skip
"""Options of `harness run` that are no settings of plugins, and what `make_spec` calls them."""
BUDGETS = ("samples", "cpu-seconds", "wall-seconds")
MARKS = ("first-mark", "marks-per-decade")
RESERVED = ("runs", "figures", "tune", "check")
"""What groups of the store are called that are no experiment's; tune-… and check-… too."""
MOST_RUNS = 100_000  # of an experiment
MOST_PANELS = 100  # of a row of its figure
TUNED = "tuned"
"""The value of a setting that `harness tune` is to choose."""

Options = dict[str, Any]
Where = dict[str, Any]
Value = str | int | float | bool


def _estimator(name: str | None) -> str | None:
    names = registry.names("estimators")
    if name is not None and name not in names:
        raise ValueError(f"choose one of {', '.join(names)}")
    return name


class TuneRule(Part):
    """How settings that are "tuned" are chosen; see `harness.tune`.

    Attributes:
        samples: budget of a trial.
        seeds: every setting is tried with each of these.
        trials: how many settings are tried, where not all of a few.
        estimator: whose training-set estimate decides; by default the lower bound, and hmc-density where there is none.
        override: options of `harness run` that trials have instead of the runs' own, such as a smaller training set.
    """

    samples: float = pydantic.Field(20_000, gt=0)
    seeds: tuple[int, ...] = pydantic.Field((0,), min_length=1)
    trials: int | None = pydantic.Field(None, gt=0)
    estimator: str | None = None
    override: dict[str, Value] = pydantic.Field({})

    @pydantic.field_validator("estimator")
    @classmethod
    def _known(cls, estimator: str | None) -> str | None:
        return _estimator(estimator)

    @pydantic.field_validator("override")
    @classmethod
    def _of_trials(cls, override: dict[str, Value]) -> dict[str, Value]:
        for name in ("seed", *BUDGETS):
            if name in override:
                raise ValueError(f"{name} has a key of its own in [tune]: seeds or samples")
        return override


class PanelRow(Part):
    """A row of panels, one for each combination of the values in `over`.

    Attributes:
        where: options that the runs of all panels have.
        over: options by which panels differ, with their values.
        title: of a panel, with {option} for its values.
        x_limits: of the x axis in its own unit, where x is the recipe's.
        y_limits: of the y axis, nats.
        reference: the published curves' panel, with {option} for its values.
    """

    where: dict[str, Value] = pydantic.Field({})
    over: dict[str, list[Value | None]] = pydantic.Field({})
    title: str | None = None
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    reference: str | None = None

    @pydantic.model_validator(mode="after")
    def _sound(self) -> "PanelRow":
        for name, values in self.over.items():
            if not values:
                raise ValueError(f"{name} of over has no values")
        if (panels := math.prod(map(len, self.over.values()))) > MOST_PANELS:
            raise ValueError(f"over makes {panels:,} panels of this row: give values for {MOST_PANELS} or fewer")
        for what, text in (("title", self.title), ("reference", self.reference)):
            try:
                (text or "").format(**next(self.panels()))
            except (LookupError, ValueError) as error:
                known = ", ".join(f"{{{name}}}" for name in self.where | self.over) or "nothing"
                raise ValueError(
                    f"{what} cannot be filled in ({error!r}): it may have {known}, and {{{{ for a brace"
                ) from None
        return self

    def panels(self) -> Iterator[Where]:
        """Yield the options that the runs of each panel have."""
        for values in itertools.product(*self.over.values()):
            yield self.where | dict(zip(self.over, values, strict=True))


class FigureRecipe(Part):
    """What `harness plot` draws of an experiment.

    Attributes:
        estimator: whose estimates are curves.
        beside: an estimator of the last row of a run, drawn as a mark beside the curve's end.
        x: counter on the x axis.
        scale: of the x axis.
        rows: rows of panels.
        reference: which figure of the published curves.
    """

    estimator: str = "lower-bound"
    beside: str | None = None
    x: str = "samples"
    scale: str = pydantic.Field("log", pattern="^(log|linear)$")
    rows: tuple[PanelRow, ...] = pydantic.Field((), alias="row")
    reference: str | None = None

    @pydantic.field_validator("estimator", "beside")
    @classmethod
    def _known(cls, estimator: str | None) -> str | None:
        return _estimator(estimator)

    @pydantic.field_validator("x")
    @classmethod
    def _counter(cls, x: str) -> str:
        if x not in COUNTERS:
            raise ValueError(f"choose one of {', '.join(COUNTERS)}")
        return x


class TableRecipe(Part):
    """What `harness table` shows of an experiment unless told otherwise.

    Attributes:
        at: samples at which algorithms are compared.
        targets: estimates (nats, test set) whose cost is told.
    """

    at: tuple[float, ...] = ()
    targets: tuple[float, ...] = ()


class _File(Part):
    title: str = ""
    base: dict[str, Value] = pydantic.Field({})
    grid: tuple[dict[str, Value | list[Value]], ...] = pydantic.Field(min_length=1)
    tune: TuneRule = TuneRule()
    figure: FigureRecipe | None = None
    table: TableRecipe = TableRecipe()


@dataclass(frozen=True)
class Task:
    """A run that an experiment asks for.

    Attributes:
        options: as `harness run` would be given them.
        spec: the run; None while a setting waits to be tuned.
        budget: what it may spend.
    """

    options: Options
    spec: RunSpec | None
    budget: Budget


class Experiment:
    """An experiment.

    Args:
        name: of a built-in one, or the path of a .toml file. The file's name is that of its group in the store.

    Raises:
        BadInput: there is none, or it is not valid: with the line.
    """

    def __init__(self, name: str):
        self.path, self.called = tomlfile.find(name, BUILT_IN, "experiment"), name
        self.name = self.path.stem
        if not re.fullmatch(NAME, self.name) or self.name.split("-")[0] in RESERVED:
            raise BadInput(
                f"an experiment's file cannot be called {self.path.name!r}, as its name is a group of the store: letters a-z, "
                f"digits, '.', '_' and '-', and not {', '.join(RESERVED)}, nor one of them with a dash behind"
            )
        self._toml = TomlFile(self.path)
        self._file = self._toml.validated(_File, self._toml.content, explain=_explained)
        self.title, self.tune, self.figure, self.table = (
            self._file.title, self._file.tune, self._file.figure, self._file.table
        )  # fmt: skip
        self._require_few()
        self._grids = [self._expanded(i, grid) for i, grid in enumerate(self._file.grid)]
        known = {"dataset", "model", "n-train", "seed"}.union(*itertools.chain.from_iterable(self._grids))
        for i, row in enumerate(self.figure.rows if self.figure else ()):
            for name in (*row.where, *row.over):
                if name not in known:
                    raise BadInput(
                        f"{self._toml.place(('figure', 'row', i))}: a panel's runs cannot be chosen by {name!r}"
                        f"{suggestion(name, known)}: no grid has it"
                    )

    def asked_for(self, where: Mapping[str, Any]) -> set[tuple[str, int]]:
        """Return algorithm and seed of every run that it asks for with these options; None is the default of an option."""
        found = set()
        for options in itertools.chain.from_iterable(self._grids):
            given: Options = {"dataset": "mnist", "model": "mlp", "seed": 0} | options
            if all(same(given.get(name), value) for name, value in where.items()):
                found.add((registry.called(str(given["algo"])), int(given["seed"])))
        return found

    @property
    def algorithms(self) -> list[str]:
        """The algorithms that it compares, in its order."""
        return list(dict.fromkeys(str(options["algo"]) for grid in self._grids for options in grid))

    def tasks(
        self, only: str | None = None, scale: float = 1.0, tuned: Mapping[str, Options] | None = None
    ) -> list[Task]:
        """Return its runs, each once, with the largest budget that is asked for.

        Args:
            only: conditions such as "nz=20,algo=aevb"; several values of one option are alternatives.
            scale: what budgets are multiplied by.
            tuned: settings chosen by tuning, by `key` of options; None leaves the runs that need them without a spec.

        Raises:
            BadInput: options that make no run, with the line; conditions that no run meets.
        """
        wanted = conditions(only)
        tasks: dict[str, Task] = {}
        known: set[str] = set()
        for number, grid in enumerate(self._grids):
            for options in grid:
                known |= options.keys()
                if not _meets(options, wanted):
                    continue
                task = self._task(number, options, scale, (tuned or {}).get(key(options)))
                name = key(options) if task.spec is None else task.spec.run_id
                tasks[name] = self._larger(number, tasks[name], task) if name in tasks else task
        if not tasks:
            unknown = sorted(wanted.keys() - known)
            why = (
                f"no run has an option {unknown[0]!r}{suggestion(unknown[0], known)}" if unknown else "no run meets it"
            )
            raise BadInput(f"--only is {only!r}, and {why}: see `harness sweep {self.called} --dry-run`")
        return list(tasks.values())

    def _task(self, number: int, options: Options, scale: float, tuned: Options | None) -> Task:
        limits = {name: str(options[name] * scale) if name in options else None for name in BUDGETS}
        if options.get("samples", 0) > 0:
            limits["samples"] = str(max(1, round(options["samples"] * scale)))
        try:
            budget = parse_budget(limits["samples"], limits["cpu-seconds"], limits["wall-seconds"])
            waits = waiting(options)
            if waits and tuned is None:
                return Task(options, None, budget)
            return Task(options, spec_of(options | (tuned or {})), budget)
        except BadInput as error:
            raise BadInput(f"{self._place_of(number, options, str(error))}: {error}") from None

    def _larger(self, number: int, one: Task, other: Task) -> Task:
        limits, others = one.budget.limits(), other.budget.limits()
        if limits.keys() != others.keys():
            raise BadInput(
                f"{self._toml.place(('grid', number))}: a run is asked for with budgets of {' and '.join(limits)} and of "
                f"{' and '.join(others)}: give both the same kinds"
            )
        largest: Any = {name: max(limits[name], others[name]) for name in limits}
        return Task(one.options, one.spec, Budget(**largest))

    def _require_few(self) -> None:
        """Raise BadInput where grids multiply to more runs than anybody can make."""
        asked = 0
        for number, grid in enumerate(self._file.grid):
            asked += math.prod(len(_listed(values)) for values in grid.values())
            if asked > MOST_RUNS:
                raise BadInput(
                    f"{self._toml.place(('grid', number))}: up to this grid the experiment has {asked:,} runs: give values for "
                    f"{MOST_RUNS:,} or fewer"
                )

    def _expanded(self, number: int, grid: Mapping[str, Any]) -> list[Options]:
        """Return the combinations of a grid's values, over the base's."""
        for name, values in grid.items():
            if values == []:
                raise BadInput(f"{self._toml.place(('grid', number, name))}: {name} has no values: give one or more")
        options = self._file.base | dict(grid)
        for needed in ("algo", BUDGETS):
            names = (needed,) if isinstance(needed, str) else needed
            if not any(name in options for name in names):
                raise BadInput(
                    f"{self._toml.place(('grid', number))}: this grid has no {' nor '.join(names)}: give one"
                )
        for name in BUDGETS:
            for value in _listed(options.get(name, [])):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise BadInput(f"{self._toml.place(('grid', number, name))}: {name} is {value!r}: give a number")
        for value in _listed(options.get("seed", 0)):
            if not isinstance(value, int | float) or value != value // 1:
                raise BadInput(f"{self._toml.place(('grid', number, 'seed'))}: seed is {value!r}: give a whole number")
        lists = [_listed(values) for values in options.values()]
        return [dict(zip(options, values, strict=True)) for values in itertools.product(*lists)]

    def _place_of(self, number: int, options: Options, message: str) -> str:
        """Return file and line of the option of a grid's run that a message names, by itself or by its value."""
        said = [name for name in options if re.search(rf"--{re.escape(name)}(?![\w-])", message)]
        said += [name for name, value in options.items() if isinstance(value, str) and repr(value) in message]
        if said:
            own = ("grid", number, said[0])
            return self._toml.place(own if self._toml.has(own) else ("base", said[0]))
        return self._toml.place(("grid", number))


def spec_of(options: Mapping[str, Any]) -> RunSpec:
    """Return the run of these options; BadInput as `make_spec` raises it."""
    frame = {OPTIONS[name]: value for name, value in options.items() if name in OPTIONS}
    marks = {name.replace("-", "_"): options[name] for name in MARKS if name in options}
    settings = {n: v for n, v in options.items() if n not in OPTIONS and n not in BUDGETS and n not in MARKS}
    for name in ("algo", "dataset", "model", "marginal", "final-marginal"):
        if not isinstance(options.get(name, ""), str):
            raise BadInput(f"--{name} is {options[name]!r}: give a name")
    return make_spec(**frame, settings=settings, evaluation=marks)


def key(options: Mapping[str, Any]) -> str:
    """Return a text that names a combination of options, budget aside."""
    return ",".join(f"{name}={value}" for name, value in sorted(options.items()) if name not in BUDGETS)


def waiting(options: Mapping[str, Any]) -> list[str]:
    """Return the settings that are to be tuned."""
    return [name for name, value in options.items() if value == TUNED]


def built_in() -> list[str]:
    """Return the names of the experiments that come with the harness."""
    return tomlfile.built_in(BUILT_IN)


def is_experiment(name: str) -> bool:
    """Say whether a word names an experiment, as opposed to a run."""
    return name in built_in() or name.endswith(".toml")


def _explained(where: tuple[Any, ...], value: Any) -> str | None:
    """Say what is wrong with a key of an experiment, where that is more than its type."""
    if where == ("grid",):
        return "an experiment needs one or more [[grid]], with double brackets"
    if where[:1] == ("base",) and isinstance(value, list):
        return f"{value!r} is a list, and lists that multiply belong in [[grid]]"
    return None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def conditions(only: str | None, asked: str = "--only") -> dict[str, set[str]]:
    """Return the values that are wanted, by option, of conditions such as "nz=20,algo=aevb"; `asked` is where they were given."""
    wanted: dict[str, set[str]] = {}
    for part in (only or "").split(","):
        name, equals, value = (word.strip() for word in part.partition("="))
        if part.strip() and not (name and equals and value):
            raise BadInput(f"{asked} has {part!r}: give option=value, several with commas, such as nz=20,algo=aevb")
        if part.strip():
            wanted.setdefault(name.replace("_", "-"), set()).add(value)
    return wanted


def _meets(options: Mapping[str, Any], wanted: Mapping[str, set[str]]) -> bool:
    return all(any(same(options.get(name), value) for value in values) for name, values in wanted.items())


def same(one: Any, other: Any) -> bool:
    """Say whether two values of an option are the same, whether numbers or words for them."""
    if str(one) == str(other):
        return True
    try:
        return float(one) == float(other)
    except (TypeError, ValueError):
        return False
