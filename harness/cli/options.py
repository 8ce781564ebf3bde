"""Options and arguments that several commands have, made for click: those of a run come from `harness.specs.options`."""

import functools
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from harness.safe_text import is_word
from harness.specs import named
from harness.specs.cores import usable_cores
from harness.specs.options import BUDGETS, OPTIONS, Option, read
from harness.specs.values import MOST_JOBS, Choice, PluginName, PluginPath, Value, WholeNumber

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from harness.specs.registry import Kind
    from harness.store.store import Store

    ParamType = click.ParamType[Any]  # which takes no argument at run time in older versions of click
else:
    ParamType = click.ParamType

Command = TypeVar("Command", bound=Callable[..., Any])


class Typed(ParamType):
    """A type of click for a value of `harness.specs.options`, whose sentence says what to give instead of what is not allowed."""

    name = "value"

    def __init__(self, value: Value):
        self.value = value

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of what was given; BadInput if it is not allowed. A plugin file counts as named from here on."""
        if not isinstance(value, str):
            return value
        found = read(param.opts[0] if param else "the value", self.value, value)
        if isinstance(self.value, PluginName | PluginPath):
            named.note(found)
        return found


FILE = click.Path(path_type=Path, readable=False)


class PluginOption(click.Option):
    """An option that chooses a plugin, whose settings are further options; see `TakesSettings`."""


# -- shell completion


def _experiments(context: click.Context) -> list[str]:
    from harness.specs.experiment import built_in

    return built_in()


def _claims(context: click.Context) -> list[str]:
    from harness.claims.file import built_in

    return built_in()


def _runs(context: click.Context) -> list[str]:
    return [run.id for run in _store_of(context).runs()]


def _groups(context: click.Context) -> list[str]:
    return sorted({run.path.parent.name for run in _store_of(context).runs()})


def _selections(context: click.Context) -> list[str]:
    return [*_groups(context), *_runs(context)]


def _drawable(context: click.Context) -> list[str]:
    return [*_experiments(context), "manifold", "samples", "gaps", "gradients", "imputations", *_selections(context)]


def _plugins(value: PluginName) -> Callable[[click.Context], list[str]]:
    def names(context: click.Context) -> list[str]:
        from harness.specs import registry

        return registry.names(value.kind)

    return names


def complete(
    names: Callable[[click.Context], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]:
    """Return a shell completion over these names."""

    def completion(context: click.Context, parameter: click.Parameter, typed: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in names(context) if name.startswith(typed) and is_word(name)]

    return completion


def _selecting(
    names: Callable[[click.Context], Iterable[str]],
) -> Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]:
    """Return a shell completion over these names and, behind a colon, over the conditions that runs meet."""

    def completion(context: click.Context, parameter: click.Parameter, typed: str) -> "list[CompletionItem]":
        if ":" not in typed:
            return complete(names)(context, parameter, typed)
        from click.shell_completion import CompletionItem

        from harness.analysis import chosen

        # A shell takes what is behind the last colon for the word.
        start, begun = re.fullmatch(r"(.*[:,])([^,]*)", typed).groups()  # type: ignore[union-attr]
        found = chosen.conditions(_store_of(context), typed.partition(":")[0])
        return [CompletionItem(start + one) for one in found if one.startswith(begun) and is_word(one)]

    return completion


def _store_of(context: click.Context) -> "Store":
    return context.params.get("store") or _opened(context, None, None)


# -- options of a run


def run_options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that adds options of a run; the command gets those that have a value as `options`, by name."""

    def add(command: Command) -> Command:
        return _gathered(command, [OPTIONS[name] for name in names], "options")

    return add


def budget_options(command: Command) -> Command:
    """Add the options that end a run; the command gets those that were given as `budget`, by name."""
    return _gathered(command, list(BUDGETS.values()), "budget")


def _gathered(command: Command, options: list[Option], parameter: str) -> Command:
    @functools.wraps(command)
    def gathering(**given: Any) -> Any:
        values = {option.name: given.pop(option.name.replace("-", "_")) for option in options}
        given[parameter] = {name: value for name, value in values.items() if value is not None}
        return command(**given)

    decorated = cast(Command, gathering)
    for option in reversed(options):
        decorated = _click_option(option)(decorated)
    return decorated


def _click_option(option: Option) -> Callable[[Command], Command]:
    plugin = isinstance(option.value, PluginName)
    more: dict[str, Any] = {} if option.alone is None else {"is_flag": False, "flag_value": option.alone}
    if option.default is not None:  # to click None is a default, too, which a required option would take
        more |= {"default": option.default, "show_default": True}
    return click.option(
        f"--{option.name}",
        cls=PluginOption if plugin else click.Option,
        type=Typed(option.value),
        metavar=option.value.metavar if option.alone is None else f"[{option.value.metavar}]",
        required=option.required,
        help=option.help,
        shell_complete=complete(_plugins(option.value)) if isinstance(option.value, PluginName) else None,
        **more,
    )


def value_option(
    flags: str, value: Value, help: str, *, default: str | None = None, show_default: bool = True, parameter: str = "",
    required: bool = False,
) -> Callable[[Command], Command]:  # fmt: skip
    """Return a decorator that adds an option whose value is one of `harness.specs.options`.

    Args:
        flags: how it is called on the command line.
        value: what it may be.
        help: one line about it.
        default: its value where none is given, as it would be given.
        show_default: whether help shows the default.
        parameter: how the command calls it, if not like its flag.
        required: whether it must be given.
    """
    more: dict[str, Any] = {} if default is None else {"default": default, "show_default": show_default}
    return click.option(
        *(flags, parameter) if parameter else (flags,),
        type=Typed(value),
        metavar=value.metavar,
        required=required,
        help=help,
        **more,
    )


def plugin_option(
    flags: str, kind: "Kind", help: str, *, settings: bool = False, required: bool = False
) -> Callable[[Command], Command]:
    """Return a decorator that adds an option that names a plugin; with `settings` its settings are options, too."""
    value = PluginName(kind)
    return click.option(
        flags,
        cls=PluginOption if settings else click.Option,
        type=Typed(value),
        metavar=value.metavar,
        required=required,
        help=help,
        shell_complete=complete(_plugins(value)),
    )


def named_files(*flags: str) -> Callable[[Command], Command]:
    """Return a decorator that adds options by which the user names plugin files of stored runs: see `harness.specs.named`.

    Args:
        flags: such as "--algo"; none for those of all kinds.
    """

    def add(command: Command) -> Command:
        for kind, flag in reversed(named.OPTIONS.items()):
            if not flags or flag in flags:
                value = PluginPath(cast("Kind", kind))
                command = click.option(
                    flag,
                    type=Typed(value),
                    metavar=value.metavar,
                    multiple=True,
                    expose_value=False,
                    help=f"The run's {kind[:-1]}, if it is a .py file: code in a store is executed only if you name it."
                    + (" Or its data, if they have moved." if kind == "datasets" else ""),
                )(command)
        return command

    return add


# -- the store, and what else most commands have


def _opened(context: click.Context, parameter: click.Parameter | None, given: str | None) -> "Store":
    from harness.store.store import Store, default_root

    return Store(Path(given) if given else default_root())


in_store = click.option(
    "--results",
    "store",
    metavar="FOLDER",
    callback=_opened,
    help="Store of runs [HARNESS_RESULTS, else results].",
)


def _absolute(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    """Return the path of the folder from the root, as the code of a plugin may change the working folder."""
    if os.path.isdir(local := os.environ.get("HARNESS_DATA", "")):
        os.environ["HARNESS_DATA"] = os.path.realpath(local)
    return os.path.realpath(given) if given and os.path.isdir(given) else given  # an error shows what was given


data_folder = click.option(
    "--data-dir", metavar="FOLDER", callback=_absolute, help="Folder with data files [HARNESS_DATA]."
)

quiet_flag = click.option("--quiet", is_flag=True, help="Print nothing but errors.")

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

jobs_option = value_option(
    "--jobs",
    WholeNumber(1, MOST_JOBS),
    "Runs at a time [one for each core that may be used].",
    default=str(usable_cores()),
    show_default=False,
)

only_option = click.option(
    "--only", metavar="SELECTION", help="Only these runs, such as nz=20,algo=aevb, or the beginning of an id."
)

run_argument = click.argument("run", metavar="RUN", shell_complete=_selecting(_selections))

selections_argument = click.argument(
    "selections", nargs=-1, metavar="[SELECTION]...", shell_complete=_selecting(_selections)
)

versions_option = value_option(
    "--versions",
    Choice(("now", "all")),
    "Only runs of your files as they are now, or all.",
    default="now",
)

weights_option = value_option(
    "--weights",
    Choice(("last", "average")),
    "Estimates of the parameters after the last step, or of their mean over steps (--average).",
    default="last",
)

model_weights_option = value_option(
    "--weights",
    Choice(("last", "average", "best-valid")),
    "Which parameters: those after the last step, their mean over steps (--average), or those that are kept of the mark that is "
    "best on the validation split (--keep).",
    default="last",
)

experiment_argument = click.argument("experiment", shell_complete=complete(_experiments))

claims_argument = click.argument("claims", shell_complete=complete(_claims))

groups_argument = click.argument("groups", nargs=-1, metavar="[GROUP]...", shell_complete=complete(_groups))

complete_runs, complete_claims, complete_drawable = _selecting(_selections), complete(_claims), _selecting(_drawable)
