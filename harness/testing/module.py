"""What is the same for all plugins."""

import ast
import inspect
from pathlib import Path
from typing import Any

from harness import api
from harness.specs import registry


def small(plugin: registry.Plugin, init_sd: float) -> dict[str, Any]:
    """Return settings of a small version of a model, those that it has."""
    sizes = {"nz": 2, "hidden": 5, "layers": "2-2", "components": 3, "init_sd": init_sd}
    return {name: value for name, value in sizes.items() if name in plugin.module.Config.model_fields}


def check_module(plugin: registry.Plugin) -> None:
    """Check what is the same for all plugins: docstring, settings, and that they import nothing of harness but its api."""
    assert plugin.description, f"{plugin.name} has no docstring: its first line describes it in listings"
    config = plugin.module.Config
    assert issubclass(config, api.Config), "Config must be an api.Config"
    config()  # every setting has a default
    for name, field in config.model_fields.items():
        assert field.description, f"setting {name} has no help text: declare it with api.setting"
        search = (field.json_schema_extra or {}).get("search")
        if search and "Choice" in search:
            for value in search["Choice"]["values"]:
                config(**{name: value})
        if search and "LogUniform" in search:
            assert 0 < search["LogUniform"]["low"] < search["LogUniform"]["high"], f"search space of {name}: {search}"
    path = Path(plugin.file or inspect.getfile(plugin.module))  # a module of another file with this content is the same
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            modules = [f"harness.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            inside = module == "harness" or module.startswith("harness.")
            assert not inside or module == "harness.api", (
                f"{path.name} imports {module}: plugins import harness.api alone"
            )
