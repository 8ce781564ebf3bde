"""Experiments: many runs from one TOML file, how their settings are tuned, and the figure and table that they are for.

Every key of `[base]` and `[[grid]]` is an option of `harness run` without its dashes, the settings of plugins included. Lists in
a grid multiply; grids are added up, and a run that is asked for twice gets the larger budget.
"""

import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import pydantic

from harness.errors import BadInput, suggestion
from harness.specs import named, registry, slurm, toml
from harness.specs.budget import Budget, budget_of
from harness.specs.horizon import within
from harness.specs.options import BUDGETS, OPTIONS, STORED, Options, arguments
from harness.specs.recipes import FigureRecipe, TableRecipe, TuneRule, Value
from harness.specs.run import RunSpec, make_spec
from harness.specs.schedule import canonical
from harness.specs.toml import Part, TomlFile
from harness.specs.values import PluginName, Words
from harness.specs.where import (
    KINDS,
    PLUGINS,
    Index,
    Where,
    called,
    comparable,
    in_words,
    is_path,
    meets,
    parse_selection,
)
from harness.store.record import NAME

BUILT_IN = Path(__file__).parent.parent / "experiments"

RESERVED = ("runs", "figures", "tune", "check", "slurm")
"""What groups of the store are called that are no experiment's; tune-… and check-… too."""

MOST_RUNS = 100_000  # of an experiment

TUNED = "tuned"
"""The value of a setting that `harness tune` is to choose."""

_DEFAULTS: Options = {name: OPTIONS[name].default for name in STORED if OPTIONS[name].default is not None}


class _File(Part):
    title: str = ""
    base: dict[str, Value] = pydantic.Field({})
    grid: tuple[dict[str, Value | list[Value]], ...] = pydantic.Field(min_length=1)
    tune: TuneRule = TuneRule()
    figure: FigureRecipe = FigureRecipe()
    table: TableRecipe = TableRecipe()
    slurm: dict[str, Value] = pydantic.Field({})


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
        self.slurm = slurm.read_table(self._toml, self._file.slurm)
        self._asked_by_shared: dict[tuple[tuple[str, ...], tuple[str, ...]], set[tuple[str | float, ...]]] = {}
        self._require_few()
        self._grids = [self._expanded(i, grid) for i, grid in enumerate(self._file.grid)]
        for options in (*itertools.chain.from_iterable(self._grids), self.tune.override):
            named.note(*(v for n, v in options.items() if n in OPTIONS and isinstance(OPTIONS[n].value, PluginName)))
        known = set(STORED).union(*itertools.chain.from_iterable(self._grids))
        chosen_by: list[tuple[tuple[Any, ...], str]] = [
            (("figure", "row", i), name) for i, row in enumerate(self.figure.rows) for name in (*row.where, *row.over)
        ]
        chosen_by += [
            (("table", "row", i), name) for i, row in enumerate(self.table.rows) for name in (*row.where, *row.over)
        ]
        chosen_by += [(("figure", "panels"), name) for name in self.figure.panels or ()]
        chosen_by += [(("figure", "compare"), name) for name in self.figure.compare]
        chosen_by += [(("figure", "differ"), name) for name in self.figure.differ]
        algorithms = {str(options["algo"]) for options in itertools.chain.from_iterable(self._grids)}
        for name in self.tune.choices:
            if name not in algorithms:
                where = self._toml.place(("tune", "choices", name))
                raise BadInput(
                    f"{where}: choices for {name!r}{suggestion(name, algorithms)}: no grid has that algorithm"
                )
        for place, name in chosen_by:
            if name not in known:
                raise BadInput(
                    f"{self._toml.place(place)}: runs cannot be chosen by {name!r}{suggestion(name, known)}: "
                    "no grid has it"
                )

    def asked_for(self, where: Where) -> set[tuple[str, int]]:
        """Return curve and seed of every run that it asks for with these options; None is the default of an option."""
        return {(self._curve(options), int(options.get("seed", 0))) for options in self.by_option.meeting(where)}

    @cached_property
    def by_option(self) -> Index[Options]:
        """The options of all its runs, to be chosen by their values."""
        return Index(list(itertools.chain.from_iterable(self._grids)), value_of)

    def asks_for(self, option: Callable[[str], Any]) -> bool:
        """Say whether a stored run is one that it asks for as it is now, evaluation and budget aside.

        Options are compared that the file gives, those that every run has, and the settings whose defaults the text of a plugin
        tells: nothing is imported.

        Args:
            option: returns the run's value of an option, None if it has none.
        """
        there: dict[
            str, str | float
        ] = {}  # what the run has no value of, such as settings of estimators, tells nothing
        for name in sorted(set().union(*self._asked)):
            value = option(name)
            if name in STORED or value is not None:
                there[name] = comparable(name, value)
        for names in self._asked:
            shared = tuple(name for name in names if name in there)
            if tuple(there[name] for name in shared) in self._asked_of(names, shared):
                return True
        return False

    def _asked_of(self, names: tuple[str, ...], shared: tuple[str, ...]) -> set[tuple[str | float, ...]]:
        """Return the values that runs asked for by these names have of those that a stored run shares; found once for all."""
        found = self._asked_by_shared.get((names, shared))
        if found is None:
            at = [names.index(name) for name in shared]
            found = {tuple(values[i] for i in at) for values in self._asked[names]}
            self._asked_by_shared[names, shared] = found
        return found

    @cached_property
    def _asked(self) -> dict[tuple[str, ...], set[tuple[str | float, ...]]]:
        """The values that its runs have of the options that they are known by, under the names of these."""
        found: dict[tuple[str, ...], set[tuple[str | float, ...]]] = {}
        for options in itertools.chain.from_iterable(self._grids):
            every = dict.fromkeys(STORED) | _complete(options)
            given = {n: v for n, v in every.items() if n not in BUDGETS and v != TUNED}
            names = tuple(n for n in sorted(given) if n in STORED or n not in OPTIONS)
            found.setdefault(names, set()).add(tuple(comparable(name, given[name]) for name in names))
        return found

    @property
    def files(self) -> dict[tuple[str, str], Path]:
        """The plugin files that it names, by the option and the name of the plugin."""
        every = itertools.chain.from_iterable(options.items() for grid in self._grids for options in grid)
        return {(name, called(str(v))): Path(str(v)) for name, v in every if name in PLUGINS and is_path(str(v))}

    @property
    def curves(self) -> list[str]:
        """What it compares in each panel, in its order: by default its algorithms."""
        return list(dict.fromkeys(self._curve(options) for grid in self._grids for options in grid))

    def _curve(self, options: Options) -> str:
        """Return the values of the options that are compared, in words."""
        given = {name: value_of(options, name) for name in self.figure.compare}
        return in_words({n: called(str(v)) if n in PLUGINS else v for n, v in given.items()})

    @property
    def tunes(self) -> bool:
        """Whether settings of its runs are chosen by tuning."""
        return any(waiting(options) for grid in self._grids for options in grid)

    @property
    def varying(self) -> list[str]:
        """The options that differ between its runs, in its order."""
        every = [_DEFAULTS | options for grid in self._grids for options in grid]
        names = dict.fromkeys(itertools.chain.from_iterable(every))
        return [name for name in names if len({str(options.get(name)) for options in every}) > 1]

    def tasks(
        self, only: str | None = None, scale: float = 1.0, tuned: Mapping[str, Options] | None = None
    ) -> list[Task]:
        """Return its runs, each once, with the largest budget that is asked for.

        Args:
            only: a selection, such as "nz=20,algo=aevb" or the beginning of an id; several values of an option are alternatives.
            scale: what budgets are multiplied by.
            tuned: settings chosen by tuning, by `key` of options; None leaves the runs that need them without a spec.

        Raises:
            BadInput: options that make no run, with the line; conditions that no run meets.
        """
        chosen = parse_selection(only or "", "--only")
        tasks: dict[str, Task] = {}
        for number, grid in enumerate(self._grids):
            for options in grid:
                value = functools.partial(value_of, options)
                if not meets(value, chosen.where):
                    continue
                task = self._task(number, options, scale, (tuned or {}).get(key(options)))
                name = key(options) if task.spec is None else task.spec.run_id
                if not chosen.meets(name, self.name, value):
                    continue
                tasks[name] = self._larger(number, tasks[name], task) if name in tasks else task
        if not tasks:
            known = {name for grid in self._grids for options in grid for name in _complete(options)}
            known |= {name.rpartition(".")[2] for name in known}
            unknown = sorted(chosen.where.keys() - known)
            why = (
                f"no run has an option {unknown[0]!r}{suggestion(unknown[0], known)}"
                if unknown
                else f"no run's id begins with {chosen.name!r}: give that, or option=value"
                if chosen.name not in ("", self.name)
                else "no run meets it"
            )
            raise BadInput(f"--only is {only!r}, and {why}: see `harness sweep {self.called} --dry-run`")
        return list(tasks.values())

    def _task(self, number: int, options: Options, scale: float, tuned: Options | None) -> Task:
        try:
            budget = within(str(options.get("schedule", _DEFAULTS["schedule"])), budget_of(options, scale))
            waits = waiting(options)
            if waits and tuned is None:
                return Task(options, None, budget)
            return Task(options, spec_of(options | {name: (tuned or {})[name] for name in waits}), budget)
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
        if "schedule" in options:  # under the name that its runs have
            options["schedule"] = [canonical(one) for one in _listed(options["schedule"])]
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
    listed = {name: OPTIONS[name].read(options[name]) for name in options if _is_list(name)}
    return make_spec(**arguments({**options, **listed}), settings=settings)


def _is_list(name: str) -> bool:
    """Say whether an option is given as words with commas between, as lists in a file are several values of an option."""
    return name in OPTIONS and isinstance(OPTIONS[name].value, Words)


def key(options: Mapping[str, Any]) -> str:
    """Return a text that names a combination of options, budget aside."""
    return ",".join(f"{name}={value}" for name, value in sorted(options.items()) if name not in BUDGETS)


def value_of(options: Mapping[str, Any], name: str) -> Any:
    """Return the value of an option in a run of these options: the given one, else the default; None if it has none.

    A setting of a plugin is found with and without the plugin's option before it, such as `algo.k` and `k`.
    """
    every = _complete(options)
    owner, _, setting = name.rpartition(".")
    forms = (name, setting) if owner else (name, *(f"{option}.{name}" for option in PLUGINS))
    return next((every[form] for form in forms if form in every), None)


def _complete(options: Mapping[str, Any]) -> Options:
    """Return options with the defaults of those that are not given, settings of plugins included, as `algo.lr` for one."""
    every = _DEFAULTS | dict(options)
    return every | _defaults_of_plugins(every)


def _defaults_of_plugins(options: Mapping[str, Any]) -> Options:
    """Return the settings of plugins that these options do not give, as `algo.lr` for one, with their defaults."""
    given = {name.replace("_", "-") for name in options}
    return {
        f"{option}.{setting}": default
        for option in PLUGINS
        for setting, default in _defaults_of(option, str(options[option]))
        if not {setting, f"{option}.{setting}"} & given
    }


@functools.cache
def _defaults_of(option: str, plugin: str) -> list[tuple[str, Any]]:
    """Return the settings of the plugin that an option names, as options, with their defaults."""
    found = registry.defaults(cast(registry.Kind, KINDS[option]), plugin)
    return [(name.replace("_", "-"), default) for name, default in found.items()]


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
