"""The documentation, built by `sphinx-build -W docs docs/_build`."""

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import flow  # noqa: E402  # beside this file

import harness  # noqa: E402
from harness import api, testing  # noqa: E402
from harness.specs import registry  # noqa: E402

project = "inference-harness"
author = "the inference-harness contributors"
version = release = harness.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "examples"]
default_role = "literal"
autodoc_typehints = "signature"
smartquotes = False  # options begin with two hyphens
napoleon_use_ivar = True
suppress_warnings = ["config.cache"]
nitpick_ignore_regex = [("py:.*", r".*")]  # names of other libraries, whose inventories would have to be fetched
html_theme = "furo"
html_title = f"inference-harness {version}"

GENERATED = HERE / "_generated"


def reference(module: Any) -> str:
    """Return the directives that document all public names of a module, sorted by kind and name."""
    lines = [f".. automodule:: {module.__name__}", "   :no-members:", ""]
    modules = []
    for name in sorted(module.__all__):
        thing = getattr(module, name)
        if inspect.ismodule(thing):
            modules.append(thing)
        elif inspect.isclass(thing):
            lines += [
                f".. autoclass:: {module.__name__}.{name}",
                "   :members:",
                "   :exclude-members: model_config",
                "",
            ]
        elif inspect.isfunction(thing):
            lines += [f".. autofunction:: {module.__name__}.{name}", ""]
        else:
            lines += [f".. py:data:: {module.__name__}.{name}", "", f"   ``{thing}``".replace("typing.", ""), ""]
    for thing in modules:
        title = f"api.{thing.__name__.rpartition('.')[2]}"
        lines += [title, "^" * len(title), "", f".. automodule:: {thing.__name__}", "   :members:", "   :no-index:", ""]
    return "\n".join(lines) + "\n"


def plugins(kind: Any) -> str:
    """Return a table of all built-in plugins of a kind: name, description and settings."""
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 15 45 40",
        "",
        "   * - name",
        "     - what it is",
        "     - settings",
    ]
    for plugin in registry.listing(kind):
        settings = [f"``--{name.replace('_', '-')}``" for name in plugin.module.Config.model_fields]
        lines += [
            f"   * - ``{plugin.name}``",
            f"     - {plugin.description}",
            f"     - {', '.join(settings) or 'none'}",
        ]
    return "\n".join(lines) + "\n"


def generate(app: Sphinx) -> None:
    """Write what is drawn and listed from the code."""
    GENERATED.mkdir(exist_ok=True)
    flow.draw(GENERATED / "flow.svg")
    for module in (api, testing):
        path = GENERATED / f"{module.__name__.rpartition('.')[2]}.rst"
        path.write_text(reference(import_module(module.__name__)), encoding="utf-8")
    for kind in get_args(registry.Kind):
        (GENERATED / f"{kind}.rst").write_text(plugins(kind), encoding="utf-8")


def as_rst(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring of ours, which is plain text, into what Sphinx reads: formulas stay as they are written."""
    if what == "property":
        lines.insert(0, "\\ ")  # or else what stands before a colon would be taken for its type
    if lines[0].startswith("Alias for field number"):
        lines[:] = [""]
    code = False
    for k, line in enumerate(lines):
        if code and line.strip() and not line.startswith("    "):
            code = False
        before = next((other for other in reversed(lines[:k]) if other.strip()), "")
        if not code and line.startswith("    ") and k and not lines[k - 1].strip() and not before.startswith(" "):
            code = True
            at = max(i for i in range(k) if lines[i].strip())
            lines[at] = f"{lines[at].rstrip('.:')}::"
        if not code:
            line = re.sub(r"(?<!\*)\*(?!\*)", r"\\*", line)
            line = line.replace("|", r"\|")
            lines[k] = re.sub(r"(?<=\w)_(?=[\s.,;:)]|$)", r"\\_", line)


def setup(app: Sphinx) -> None:
    """Connect what is generated."""
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-docstring", as_rst, priority=100)
