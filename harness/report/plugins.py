"""Plugins, for people and as plain data."""

from collections.abc import Sequence
from typing import Any

from harness.safe_text import show
from harness.specs import registry


def plugin_data(plugin: registry.Plugin) -> dict[str, Any]:
    """Return everything about a plugin as plain data."""
    settings = []
    if plugin.module is not None:
        for name, field in plugin.module.Config.model_fields.items():
            default = None if field.is_required() else field.default
            kind = getattr(field.annotation, "__name__", str(field.annotation))
            choices = [str(a) for a in getattr(field.annotation, "__args__", ()) if not isinstance(a, type) and a != ""]
            settings.append(
                {"name": name, "default": default, "type": "|".join(choices) or kind, "help": field.description or ""}
            )
    return {
        "name": plugin.name,
        "source": plugin.source,
        "description": plugin.description,
        "broken": plugin.broken,
        "settings": settings,
    }


def print_plugins(plugins: Sequence[registry.Plugin]) -> None:
    """Print name, source, description and settings of plugins."""
    for plugin in plugins:
        data = plugin_data(plugin)
        show(f"{plugin.name} ({plugin.source})")
        show(f"  {'BROKEN: ' + plugin.broken if plugin.broken else plugin.description}")
        for s in data["settings"]:
            option = f"--{s['name'].replace('_', '-')} {s['default']}".rstrip()
            choices = f" ({s['type']})" if "|" in s["type"] and " " not in s["type"] else ""
            show(f"    {option:<25} {s['help']}{choices}")
        show("")
