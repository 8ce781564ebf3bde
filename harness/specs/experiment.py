"""Experiments: many runs from one TOML file, how their settings are tuned, and the figure and table that they are for.

Every key of `[base]` and `[[grid]]` is an option of `harness run` without its dashes, the settings of plugins included. Lists in
a grid multiply; grids are added up, and a run that is asked for twice gets the larger budget.
"""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from harness.errors import BadInput, suggestion
from harness.specs import registry, toml
from harness.specs.budget import Budget, budget_of
from harness.specs.options import BUDGETS, OPTIONS, STORED, Options, PluginName, arguments, conditions, meets, same
from harness.specs.recipes import FigureRecipe, TableRecipe, TuneRule, Value
from harness.specs.run import RunSpec, make_spec
from harness.specs.toml import Part, TomlFile
from harness.store.record import NAME

BUILT_IN = Path(__file__).parent.parent / "experiments"

RESERVED = ("runs", "figures", "tune", "check")
"""What groups of the store are called that are no experiment's; tune-… and check-… too."""

MOST_RUNS = 100_000  # of an experiment

TUNED = "tuned"
"""The value of a setting that `harness tune` is to choose."""


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
        self.path, self.called = toml.find(name, BUILT_IN, "experiment"), name
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
        known = set(STORED).union(*itertools.chain.from_iterable(self._grids))
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
            given: Options = {name: OPTIONS[name].default for name in STORED} | options
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
                if not meets(options, wanted):
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
        try:
            budget = budget_of(options, scale)
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
    settings = {name: value for name, value in options.items() if name not in OPTIONS and name not in BUDGETS}
    for name, option in OPTIONS.items():
        if isinstance(option.value, PluginName) and name in options:
            option.read(options[name])
    return make_spec(**arguments(options), settings=settings)


def key(options: Mapping[str, Any]) -> str:
    """Return a text that names a combination of options, budget aside."""
    return ",".join(f"{name}={value}" for name, value in sorted(options.items()) if name not in BUDGETS)


def waiting(options: Mapping[str, Any]) -> list[str]:
    """Return the settings that are to be tuned."""
    return [name for name, value in options.items() if value == TUNED]


def built_in() -> list[str]:
    """Return the names of the experiments that come with the harness."""
    return toml.built_in(BUILT_IN)


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
