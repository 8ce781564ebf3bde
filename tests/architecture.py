"""The imports between the modules of the package, read from their source: for the tests of its structure and for the docs."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Graph = dict[str, set[str]]
"""Modules by name, each with the modules that it imports."""

PACKAGE = "harness"

MAPPED = ("algorithms", "datasets")  # folders beside the package that are part of it


def modules(root: Path) -> dict[str, Path]:
    """Return the file of every module of the package, by the name under which it is imported; `root` is the repository's."""
    found = {}
    for folder, prefix in ((root / PACKAGE, PACKAGE), *((root / name, f"{PACKAGE}.{name}") for name in MAPPED)):
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([prefix, *parts]).removesuffix(".__init__")] = path
    return found


def graph(root: Path) -> Graph:
    """Return the imports between all modules of the package: those inside functions and those for types alone included."""
    files = modules(root)
    return {name: set(imports(path.read_text(), name, files)) - {name} for name, path in files.items()}


def imports(source: str, name: str, known: Mapping[str, object]) -> Iterator[str]:
    """Yield the known modules that the source of a module imports; of `from package import module` the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(name.split(".")[: -node.level] if node.level else [])
            origin = ".".join(part for part in (base, node.module) if part)
            wanted = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for word in wanted:
            while word and word not in known:
                word = word.rpartition(".")[0]
            if word:
                yield word


def room(module: str) -> str:
    """Return the room of a module: the package or module right below `harness`, or `harness` itself."""
    return module.split(".")[1] if "." in module else module


def rooms(of: Graph) -> Graph:
    """Return the graph of rooms: which imports which."""
    found: Graph = {room(module): set() for module in of}
    for module, targets in of.items():
        found[room(module)] |= {room(target) for target in targets} - {room(module)}
    return found


def circles(of: Graph) -> list[list[str]]:
    """Return the sets of modules that import each other, directly or by way of others."""
    reached = {module: _reached(of, module) for module in of}
    found = {frozenset(other for other in of if module in reached[other] and other in reached[module]) for module in of}
    return sorted(sorted(circle) for circle in found if circle)


def _reached(of: Graph, start: str) -> set[str]:
    """Return the modules that a module imports, directly or by way of others."""
    found: set[str] = set()
    open_ = [start]
    while open_:
        new = of.get(open_.pop(), set()) - found
        found |= new
        open_ += new
    return found


def upward(of: Graph, order: Sequence[Sequence[str]]) -> list[str]:
    """Return, as "a -> b", the imports of a room that does not stand below; rooms of one level may not import each other.

    Args:
        of: the graph of modules.
        order: rooms by level, from top to bottom.
    """
    level = {name: depth for depth, names in enumerate(order) for name in names}
    return sorted(
        f"{module} -> {target}"
        for module, targets in of.items()
        for target in targets
        if room(module) != room(target) and level[room(module)] >= level[room(target)]
    )


def long_files(files: Mapping[str, Path], most: int) -> list[str]:
    """Return the modules whose files have more lines than `most`, with their number."""
    lengths = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    return [f"{name}: {length}" for name, length in lengths.items() if length > most]
