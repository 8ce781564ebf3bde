"""A user's plugin file, and the modules beside it that it imports: what they contain, and how they are imported.

Modules of its folder are found as those of a script would be, unless Python or an installed package has one of that name. They
are told by reading the import statements, so that what a run was computed from is known before anything is executed, and what was
read is what is executed. Modules that a name only leads to at run time, by `importlib` for one, are not among them.
"""

import ast
import functools
import hashlib
import importlib.util
import linecache
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from harness.errors import BadInput
from harness.files import read_file
from harness.specs import named

MAX_BYTES = 10_000_000  # of a plugin file, and of each module beside it

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

PREFIX = "harness_plugin_"
"""What the names of modules begin with that are plugin files."""

_helpers: set[str] = set()  # modules that were imported for a plugin file


class PluginFile(NamedTuple):
    """A plugin file as it was read.

    Attributes:
        path: where it is.
        content: what is in it.
        helpers: the modules of its folder that it imports, directly or through each other: content by path within the folder.
        late: a module of them that is imported within a function, and not at the top; None if there is none.
    """

    path: Path
    content: bytes
    helpers: dict[str, bytes]
    late: str | None

    @property
    def sha256(self) -> str:
        """Of the file; if there are modules that it imports, of these, too."""
        whole = hashlib.sha256(self.content)
        for name, content in sorted(self.helpers.items()):
            whole.update(f"\0{name}\0{hashlib.sha256(content).hexdigest()}".encode())
        return whole.hexdigest()


def read(path: Path) -> PluginFile:
    """Read a plugin file and the modules that it imports from its folder; OSError if that cannot be done."""
    content, root = read_file(path, MAX_BYTES), path.parent.resolve()
    helpers: dict[str, bytes] = {}
    late = None
    waiting = [(path.resolve(), content)]
    while waiting:
        importer, its_content = waiting.pop()
        for module, in_function in _imports(importer, its_content, root):
            name = module.relative_to(root).as_posix()
            if name not in helpers and module != path.resolve():
                helpers[name] = read_file(module, MAX_BYTES)
                waiting.append((module, helpers[name]))
            late = name if in_function else late
    return PluginFile(path, content, helpers, late)


def is_users(module: str) -> bool:
    """Say whether a module of this name was imported from a plugin file of the user's, or from a file beside one."""
    return module.startswith(PREFIX) or module in _helpers


def execute(file: PluginFile, name: str) -> ModuleType:
    """Import a plugin file as a module of this name, with the modules beside it, all as they were read.

    Raises:
        NotNamed: the user did not name the file in this command.
        BadInput: a module beside it is imported within a function, or has the name of another that is imported already.
        Exception: whatever its code raises.
    """
    named.require(file.path)
    if name in sys.modules:
        return sys.modules[name]
    root = file.path.parent.resolve()
    if file.late:
        raise BadInput(
            f"{file.late} is imported within a function: import it at the top, so that it is the one of this file"
        )
    for own in _modules(file.helpers):
        imported = sys.modules.get(own)
        if imported is None:
            continue
        if own not in _helpers and root not in Path(getattr(imported, "__file__", None) or "/").resolve().parents:
            raise BadInput(f"{own!r} beside it has the name of a module that is imported already: rename it")
        del sys.modules[own]
    module = ModuleType(name)
    module.__file__ = str(file.path)
    lines = file.content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[str(file.path)] = len(file.content), None, lines, str(file.path)  # whatever is in the file later
    sys.modules[name] = module  # dataclasses look their module up here
    _helpers.update(_modules(file.helpers))
    beside = _Beside(root, file.helpers)
    sys.meta_path.insert(0, beside)
    sys.path.append(str(root))  # last, as what is beside it must not take the place of what is installed
    importlib.invalidate_caches()
    try:
        exec(compile(file.content, str(file.path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.meta_path.remove(beside)
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(str(root))]
    return module


class _Beside(MetaPathFinder, InspectLoader):
    """Finds the modules beside a plugin file, and imports what was read of them: no other version, and no compiled file.

    Args:
        root: the plugin's folder.
        helpers: the modules of it: content by path within the folder.
    """

    def __init__(self, root: Path, helpers: dict[str, bytes]):
        self._root = root
        self._files = dict(zip(_modules(helpers), helpers.items(), strict=True))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is imported; None if it is not beside the plugin."""
        folder = self._root.joinpath(*fullname.split("."))
        if fullname in self._files:
            name, _ = self._files[fullname]
            spec = ModuleSpec(fullname, self, origin=str(self._root / name), is_package=name.endswith("__init__.py"))
            spec.has_location = True
        elif any(name.startswith(f"{fullname}.") for name in self._files):  # a folder without an __init__.py
            spec = ModuleSpec(fullname, None, is_package=True)
        else:
            return None
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(str(folder))
        return spec

    def is_package(self, fullname: str) -> bool:
        """Say whether a module is a package."""
        return self._files[fullname][0].endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """Return the text of a module, for tracebacks."""
        return self._files[fullname][1].decode(errors="replace")

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of a module, compiled from what was read."""
        name, content = self._files[fullname]
        code: CodeType = compile(content, str(self._root / name), "exec")
        return code


def _modules(helpers: dict[str, bytes]) -> Iterator[str]:
    """Yield what the modules in these files are called."""
    for name in helpers:
        parts = Path(name).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(importer: Path, content: bytes, root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the files under a folder that a module imports, and whether it does so within a function."""
    for level, name, in_function in _import_statements(content):
        start = importer.parents[level - 1] if level else root
        if start == root and _installed(name.partition(".")[0]):
            continue
        for file in _files(start, name.split(".")):
            if root in file.parents:
                yield file, in_function


@functools.lru_cache(maxsize=256)  # a plugin's file is read whenever a run names it
def _import_statements(content: bytes) -> list[tuple[int, str, bool]]:
    """Return the level, the name and whether it is within a function, of all that a module says it imports."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # which executing it will tell
        return []
    within = {
        id(node) for function in ast.walk(tree) if isinstance(function, _FUNCTIONS) for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, id(node) in within) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = f"{node.module}." if node.module else ""
            found += [(node.level, stem + alias.name, id(node) in within) for alias in node.names]
    return found


def _files(folder: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files that importing a dotted name from a folder executes."""
    for part in parts:
        if (folder / part / "__init__.py").is_file():
            yield (folder / part / "__init__.py").resolve()
        elif (folder / f"{part}.py").is_file():
            yield (folder / f"{part}.py").resolve()
            return
        folder = folder / part


def _installed(name: str) -> bool:
    """Say whether a name belongs to Python, to the harness or to an installed package."""
    if name in sys.stdlib_module_names or name == "harness":
        return True
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return name in sys.modules and name not in _helpers
    origin = Path((spec and spec.origin) or "/")
    return not {"site-packages", "dist-packages"}.isdisjoint(origin.parts)
