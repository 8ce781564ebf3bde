"""The structure of the package: imports go one way, files are short, and the engine knows no plugin by name."""

from pathlib import Path

import architecture
import pytest
from architecture import Graph, circles, graph, imports, long_files, modules, rooms, upward

ROOT = Path(__file__).parents[1]
MOST_LINES = 400
PLUGINS = ("algorithms", "datasets", "models", "estimators")

# From what is closest to the user to what is closest to the arrays. A room imports only rooms below its own line, so that each
# can be read and changed with nothing in mind but those below it.
ORDER = (
    ("__main__",),
    ("cli", "pytest_plugin", "testing"),  # testing uses everything, as the command line does; neither is used by others
    ("page",),  # a report that also shows what is claimed
    ("claims",),  # what is claimed of runs, which may have to be made first
    ("report",),  # what a person reads; progress watches the runs
    ("figures",),
    ("runs",),  # brings runs to their budgets
    ("analysis", "sharing"),  # numbers from stored runs, and runs given to others; both train nothing
    ("training",),  # one run in memory
    PLUGINS,  # they never import each other
    ("api",),  # all that plugins see of the rest
    ("data",),  # data sets in memory, their formats, downloads
    ("inference",),  # samplers, optimisers, random streams
    ("native", "specs"),  # compiled primitives, each beside its PyTorch twin; what is asked for
    ("store",),  # what is kept
    ("files",),
    ("safe_text",),  # what each medium can have of a stranger's text
    ("errors",),
    ("harness",),  # the version
)


@pytest.fixture(scope="module")
def whole() -> Graph:
    """What imports what."""
    return graph(ROOT)


def is_plugin(module: str) -> bool:
    """Say whether a module is a built-in plugin, as opposed to the package of a kind."""
    return architecture.room(module) in PLUGINS and module.count(".") > 1


def test_no_modules_import_each_other_in_a_circle(whole: Graph) -> None:
    assert circles(whole) == []


def test_no_rooms_import_each_other_in_a_circle(whole: Graph) -> None:
    assert circles(rooms(whole)) == []


def test_every_room_has_its_place(whole: Graph) -> None:
    assert sorted(rooms(whole)) == sorted(name for level in ORDER for name in level)


def test_imports_go_down(whole: Graph) -> None:
    assert upward(whole, ORDER) == []


def test_files_are_short() -> None:
    assert long_files(modules(ROOT), MOST_LINES) == []


def test_built_in_plugins_import_the_contract_alone(whole: Graph) -> None:
    """What a built-in plugin can do, one of a third party can."""
    found = {module: targets - {"harness.api"} for module, targets in whole.items() if is_plugin(module)}
    assert found
    assert {module: targets for module, targets in found.items() if targets} == {}


def test_the_engine_imports_no_plugin_by_name(whole: Graph) -> None:
    """The registry finds plugins by the names of their modules, at run time."""
    named = {
        f"{module} -> {target}"
        for module, targets in whole.items()
        for target in targets
        if is_plugin(target) and architecture.room(module) != architecture.room(target)
    }
    assert named == set()


# -- the functions above can fail


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": {"e"}}) == [
        ["a", "b", "c"],
        ["e", "f"],
    ]


def test_an_upward_import_is_found() -> None:
    order = (("top",), ("left", "right"), ("bottom",))
    down = {"harness.top.a": {"harness.left.b"}, "harness.left.b": {"harness.bottom", "harness.left.c"}}
    rest = {"harness.left.c": set(), "harness.right.d": set(), "harness.bottom": set()}
    assert upward(down | rest, order) == []
    up = {"harness.bottom": {"harness.left.b"}, "harness.left.b": {"harness.right.d"}}
    assert upward(up, order) == ["harness.bottom -> harness.left.b", "harness.left.b -> harness.right.d"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import harness.store.run", {"harness.store.run"}),
        ("import harness.store.run as r, os", {"harness.store.run"}),
        ("from harness.store import run", {"harness.store.run"}),
        ("from harness.store.run import Run", {"harness.store.run"}),
        ("from harness.store import other", {"harness.store"}),
        ("from . import gc", {"harness.store.gc"}),
        ("from .run import Run", {"harness.store.run"}),
        ("def f():\n    from harness.store import run", {"harness.store.run"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from harness.store import gc", {"harness.store.gc"}),
        ("import torch", set()),
    ],
)
def test_imports_are_read(line: str, found: set[str]) -> None:
    known = dict.fromkeys(("harness", "harness.store", "harness.store.run", "harness.store.gc"))
    assert set(imports(line, "harness.store.me", known)) == found


def test_modules_and_their_rooms(tmp_path: Path) -> None:
    for name, text in {
        "harness/__init__.py": "",
        "harness/cli/__init__.py": "from harness.cli.app import main",
        "harness/cli/app.py": "def main():\n    import harness.store",
        "harness/store.py": "x = 1\n" * 5,
        "algorithms/__init__.py": "",
        "algorithms/one.py": "from harness import store",
        "datasets/__init__.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = graph(tmp_path)
    assert found["harness.cli"] == {"harness.cli.app"}
    assert found["harness.cli.app"] == found["harness.algorithms.one"] == {"harness.store"}
    assert rooms(found)["algorithms"] == rooms(found)["cli"] == {"store"}
    assert long_files(modules(tmp_path), 4) == ["harness.store: 5"]
