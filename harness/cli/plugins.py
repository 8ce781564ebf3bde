"""`harness algos`, `models`, `datasets` and `estimators`: the plugins that there are."""

from typing import TYPE_CHECKING

import click

from harness.cli.options import json_flag
from harness.cli.output import print_json

if TYPE_CHECKING:
    from harness.specs.registry import Kind


def _listing(name: str, kind: "Kind") -> click.Command:
    """Return a command that lists the plugins of a kind."""

    @click.command(name, help=f"List the {kind}, with their settings and defaults.")
    @json_flag
    def command(as_json: bool) -> None:
        from harness.report.plugins import plugin_data, print_plugins
        from harness.specs import registry

        plugins = registry.listing(kind)
        if as_json:
            print_json([plugin_data(plugin) for plugin in plugins])
        else:
            print_plugins(plugins)

    return command


LISTINGS = (
    _listing("algos", "algorithms"),
    _listing("models", "models"),
    _listing("datasets", "datasets"),
    _listing("estimators", "estimators"),
)
