"""Plugins by kind and name, found in three ways that are equal once found (DESIGN §2).

Built-in ones are the modules of a package, installed ones are entry points of a group of the same name, and one of the user's
own is a file named by its path. Two plugins of one name are refused; one that does not import is listed with its reason.

Data are a dataset by their path, too. The built-in dataset `file` reads them, and nothing of theirs is executed.
"""

import ast
import importlib
import pkgutil
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from harness.errors import BadInput, PluginFailed, suggestion
from harness.files import read_file
from harness.specs import data_file, named, plugin_errors, plugin_file
from harness.specs.where import called, has_data_ending, is_data, is_path

BUILT_IN = "built-in"
"""The source of the harness's own plugins."""

DATA_FILE = "file"
"""The dataset that reads the user's own data: its `load` takes `files`, too."""

Kind = Literal["algorithms", "datasets", "models", "estimators"]

_PACKAGES: dict[Kind, str] = {
    "algorithms": "harness.algorithms",
    "datasets": "harness.datasets",
    "models": "harness.models",
    "estimators": "harness.estimators",
}

_REQUIRED: dict[Kind, tuple[str, ...]] = {
    "algorithms": ("TRAITS", "Config", "init", "step"),
    "datasets": ("Config", "load"),
    "models": ("OBSERVES", "Config", "build"),
    "estimators": ("DIRECTION", "NEEDS", "Config", "skip"),
}


@dataclass(frozen=True)
class Plugin:
    """One plugin.

    Attributes:
        kind: what it is.
        name: how users call it.
        source: where it comes from, in words.
        module: the plugin itself; None where it is broken.
        broken: why it could not be imported or is no plugin; None where it is sound.
        traceback: of the error that its code raised when it was imported.
        file: path of a user's file, else None.
        sha256: of the content of that file and of the modules beside it that it imports, which is part of a run's identity; the
            same of data.
    """

    kind: Kind
    name: str
    source: str
    module: Any = None
    broken: str | None = None
    file: str | None = None
    sha256: str | None = None
    traceback: str | None = None

    @property
    def description(self) -> str:
        """First line of its docstring."""
        return (getattr(self.module, "__doc__", None) or "").strip().partition("\n")[0]

    @property
    def is_ours(self) -> bool:
        """Whether it executes no code but the harness's own: a built-in plugin, or data."""
        return self.source == BUILT_IN or is_data(self.kind, self.file)

    @property
    def simulated(self) -> bool:
        """Whether it is an estimator for points simulated from the model alone."""
        return getattr(self.module, "SIMULATED", False)


def names(kind: Kind) -> list[str]:
    """Return the names of all plugins of a kind without importing any."""
    return sorted({name for name, _ in _found(kind)})


def defaults(kind: Kind, name: str) -> dict[str, Any]:
    """Return what settings of a plugin are by default, as far as its text tells. Nothing is imported or executed.

    They are those that its `Config` declares with plain values; an installed plugin's are not known.

    Args:
        kind: of what kind.
        name: what it is called, or the path of its file.
    """
    if is_path(name) and not is_data(kind, name):
        path = Path(name)
    else:
        name = DATA_FILE if is_path(name) else name
        package = importlib.import_module(_PACKAGES[kind])
        path = Path(package.__path__[0], f"{name.replace('-', '_')}.py")
    return dict(_declared(path))


@cache
def _declared(path: Path) -> tuple[tuple[str, Any], ...]:
    try:
        tree = ast.parse(read_file(path, plugin_file.MAX_BYTES))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    config = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config"), None)
    found = []
    for field in config.body if config else ():
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            value = field.value
            if isinstance(value, ast.Call):  # api.setting(default, ...)
                by_name = (keyword.value for keyword in value.keywords if keyword.arg == "default")
                value = next(iter([*value.args, *by_name]), None)
            if value is not None:
                with suppress(ValueError, TypeError):
                    found.append((field.target.id, ast.literal_eval(value)))
    return tuple(found)


def listing(kind: Kind) -> list[Plugin]:
    """Return all plugins of a kind, the broken ones and those of a doubled name included, sorted by name."""
    plugins = [_load(kind, name, origin) for name, origin in _found(kind)]
    doubled = {p.name for p in plugins if sum(q.name == p.name for q in plugins) > 1}
    return sorted(
        (_break(p, "another plugin has the same name") if p.name in doubled else p for p in plugins),
        key=lambda p: (p.name, p.source),
    )


def get(kind: Kind, name: str, sha256: str | None = None) -> Plugin:
    """Return the plugin of this name, or the one in the file of this path, which the user has named in this command.

    Args:
        kind: of what kind.
        name: what it is called, or where.
        sha256: what is in the file, where that is known already; nothing else is executed.

    Raises:
        BadInput: there is none, there are two, it does not import, or the file is another.
        NotNamed: the user has not named the file.
    """
    if not is_path(name):
        return by_name(kind, name)
    if is_data(kind, name):
        plugin = _data(data_file.read(name), name)
    elif has_data_ending(name):
        raise BadInput(f"{name!r} is data, and no {kind[:-1]}: name it by --dataset")
    else:
        plugin = _load_file(kind, Path(name), sha256)
    return _sound(plugin, [_load(kind, n, origin) for n, origin in _found(kind) if n == plugin.name])


def stored(kind: Kind, name: str, file: str | None, sha256: str | None) -> Plugin:
    """Return the plugin that a store names: by its name, or the file of its content that the user has named in this command.

    Args:
        kind: of what kind.
        name: what it is called.
        file: where its file was; None of a built-in or installed plugin.
        sha256: what was in the file; None where that was not recorded, and then its name decides.

    Raises:
        BadInput: as `get`, or the file that the user named has other content.
        NotNamed: the user has not named the file.
    """
    if file is None:
        return by_name(kind, called(name))  # a path in its place is not gone to
    if is_data(kind, file):  # where they are now, whoever loads them finds out
        return _data(data_file.DataFiles(name, tuple(map(Path, named.data_paths(file))), sha256 or "unknown"), file)
    source = stored_file(kind, name, file, sha256)
    return get(kind, str(source.path), source.sha256)


def stored_file(kind: Kind, name: str, file: str, sha256: str | None) -> plugin_file.PluginFile:
    """Return the file that the user has named in this command for one that a store names; raises as `stored`."""
    sources = []
    for path in named.files():
        with suppress(OSError):
            sources.append(plugin_file.read(path))
    alike = [source for source in sources if called(str(source.path)) == name and source.path not in named.OWN]
    for source in alike or sources:
        if source.sha256 == sha256 or (sha256 is None and source in alike):
            return source
    if alike:
        raise _changed(alike[0])
    raise named.NotNamed(
        f"the {kind[:-1]} {name!r} is code in the file {file!r}, and code that only a store names is not executed: look at it, "
        f"and name it with {named.by_option(kind, file)}"
    )


def by_name(kind: Kind, name: str) -> Plugin:
    """Return the built-in or installed plugin of this name; BadInput if there is none, there are two, or it does not import."""
    plugins = [_load(kind, n, origin) for n, origin in _found(kind) if n == name]
    if not plugins:
        choices = names(kind)
        raise BadInput(
            f"there is no {kind[:-1]} {name!r}{suggestion(name, choices)}: choose one of {', '.join(choices)}, "
            f"or the path of a .py file; see `harness {'algos' if kind == 'algorithms' else kind}`"
        )
    return _sound(plugins[0], plugins[1:])


def _sound(plugin: Plugin, others: Sequence[Plugin]) -> Plugin:
    """Return a plugin that is sound and the only one of its name; raises as `get`."""
    kind, sources = plugin.kind, [plugin.source, *(other.source for other in others)]
    if len(sources) > 1:
        raise BadInput(f"{len(sources)} {kind} are called {plugin.name!r}: {' and '.join(sources)}; rename one of them")
    if plugin.broken:
        said = f"the {kind[:-1]} {plugin.name!r} ({plugin.source}) cannot be used: {plugin.broken}"
        raise BadInput(said) if plugin.traceback is None else PluginFailed(said, plugin.traceback)
    return plugin


def _found(kind: Kind) -> list[tuple[str, str | EntryPoint]]:
    """Return (name, module path or entry point) of every built-in and installed plugin."""
    package = importlib.import_module(_PACKAGES[kind])
    built_in = [(name.replace("_", "-"), f"{package.__name__}.{name}") for name in _modules(*package.__path__)]
    return [*built_in, *((point.name, point) for point in _installed(f"harness.{kind}"))]


@cache
def _modules(*folders: str) -> tuple[str, ...]:
    """Return the names of the modules in these folders, which are listed once a process."""
    return tuple(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))


@cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group, for which every package's metadata are read, once a process."""
    return tuple(entry_points(group=group))


def _data(files: data_file.DataFiles, source: str) -> Plugin:
    """Return the dataset that reads these files of data."""
    reader = by_name("datasets", DATA_FILE).module
    module = ModuleType(reader.__name__)
    vars(module).update(vars(reader), load=partial(reader.load, files=files))
    return Plugin("datasets", files.name, source, module, file=files.file, sha256=files.sha256)


def _load(kind: Kind, name: str, origin: str | EntryPoint) -> Plugin:
    """Import a built-in or installed plugin."""
    if isinstance(origin, str):
        source = BUILT_IN
    else:
        source = f"package {origin.dist.name if origin.dist else '?'} ({origin.value})"
    try:
        module = importlib.import_module(origin) if isinstance(origin, str) else origin.load()
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; the others must go on working
        return _raised(Plugin(kind, name, source), error)
    return _checked(Plugin(kind, name, source, module))


def _load_file(kind: Kind, path: Path, known: str | None) -> Plugin:
    """Import a plugin file, or find it imported as it is."""
    if not path.is_file():
        raise BadInput(
            f"the plugin file {str(path)!r} does not exist: give the path of a .py file, or one of {names(kind)}"
        )
    try:
        source = plugin_file.read(path)
    except OSError as error:
        raise BadInput(
            f"the plugin file {error.filename or str(path)!r} cannot be read ({error.strerror}): give another"
        ) from error
    sha256 = source.sha256
    if known not in (None, sha256):
        raise _changed(source)
    name = called(str(path))
    plugin = Plugin(kind, name, str(path), file=str(path.resolve()), sha256=sha256)
    module_name = f"{plugin_file.PREFIX}{path.stem}_{sha256[:12]}"
    try:
        module = plugin_file.execute(source, module_name)
    except named.NotNamed:
        raise
    except BadInput as error:
        return _break(plugin, str(error))
    except (Exception, SystemExit) as error:  # a plugin may fail in any way
        return _raised(plugin, error)
    return _checked(replace(plugin, module=module))


def _changed(source: plugin_file.PluginFile) -> BadInput:
    """Return the error that a named file is not what a run was made by."""
    files = " or ".join([str(source.path), *sorted(source.helpers)])
    return BadInput(
        f"{files} has changed since this run began: restore what `harness show RUN --source` prints, or start a new run"
    )


def _checked(plugin: Plugin) -> Plugin:
    """Return the plugin, broken where it lacks a part of the contract."""
    missing = [part for part in _REQUIRED[plugin.kind] if not hasattr(plugin.module, part)]
    if plugin.kind == "estimators" and not (
        hasattr(plugin.module, "estimate") or hasattr(plugin.module, "estimate_log_z")
    ):
        missing.append("estimate")
    return _break(plugin, f"it has no {', no '.join(missing)} (see harness.api)") if missing else plugin


def _raised(plugin: Plugin, error: BaseException) -> Plugin:
    text = "".join(traceback.format_exception(error))
    return replace(plugin, module=None, broken=plugin_errors.located(error), traceback=text)


def _break(plugin: Plugin, reason: str) -> Plugin:
    return replace(plugin, module=None, broken=reason)
