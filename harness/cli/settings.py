"""Settings of plugins as options of a command: how they are read, and how its help lists those of the plugins chosen."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from harness.cli.options import PluginOption, Typed
from harness.errors import BadInput
from harness.safe_text import line
from harness.specs.values import PluginName

if TYPE_CHECKING:
    from harness.specs.registry import Plugin

WORDS = "harness.words"  # under which a context keeps the words that a command was given


class KeepsWords(click.Command):
    """A command that keeps the words that it was given, under `WORDS` in its context."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words as click does, and keep them."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)


class TakesSettings(KeepsWords):
    """A command that takes settings of plugins as options, and lists them in its help once plugins are named.

    Help without names imports no plugin. It is printed before options have values, so it reads the words that were kept.
    """

    ignore_unknown_options = True
    allow_extra_args = True

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, and a section of settings for each plugin chosen."""
        super().format_options(ctx, formatter)
        for plugin in self._chosen(ctx):
            rows = list(_rows(plugin))
            if rows:
                with formatter.section(f"Settings of {plugin.kind[:-1]} {line(plugin.name)}"):
                    formatter.write_dl(rows)

    def _chosen(self, ctx: click.Context) -> "Iterator[Plugin]":
        """Yield the plugins that were named, and those that are chosen by default beside them; none if no one was named."""
        given, _, _ = self.make_parser(ctx).parse_args(list(ctx.meta[WORDS]))
        options = [option for option in self.params if isinstance(option, PluginOption)]
        if not any(isinstance(given.get(str(option.name)), str) for option in options):
            return
        from harness.specs import named, registry

        for option in options:
            name = given.get(str(option.name), option.get_default(ctx))
            if not isinstance(name, str):  # of an option that may be given alone
                name = option.flag_value if option.name in given else None
            if name and isinstance(option.type, Typed) and isinstance(option.type.value, PluginName):
                named.note(name)
                yield registry.get(option.type.value.kind, name)


_METAVARS = {"int": "N", "float": "X", "bool": "", "int | str": "N-N", "float | str": "X", "str": "TEXT"}


def _rows(plugin: "Plugin") -> Iterator[tuple[str, str]]:
    """Yield option and help of every setting of a plugin."""
    from harness.report.plugins import plugin_data

    for setting in plugin_data(plugin)["settings"]:
        metavar = _METAVARS.get(setting["type"], setting["type"])
        default = "" if setting["default"] in (None, "") else f"  [default: {setting['default']}]"
        yield (
            line(f"--{setting['name'].replace('_', '-')} {metavar}".rstrip()),
            line(f"{setting['help']}{default}".strip()),
        )


def given_settings(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> dict[str, str | bool]:
    """Return settings given as `--name value`, `--name=value`, or `--name` alone, which is True."""
    given: dict[str, str | bool] = {}
    rest = [] if context.resilient_parsing else list(words)
    while rest:
        word = rest.pop(0)
        value: str | bool
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            where = context.command_path
            takes_run = any(one.name in ("run", "selection") for one in context.command.params)
            first = ", and put the id before all settings" if takes_run else ""
            raise BadInput(f"{word!r} is no option: settings are given as --name value{first}; see `{where} --help`")
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else True
        if name in given:
            raise BadInput(f"{word} is given twice, as {given[name]!r} and {value!r}: give it once")
        given[name] = value
    return given


settings_argument = click.argument(
    "settings", nargs=-1, type=click.UNPROCESSED, metavar="[--SETTING VALUE]...", callback=given_settings
)
