"""The gate: which plugin files may be executed.

Nothing is executed but built-in plugins, installed ones, and files that the user names in this command: by an option, or in an
experiment or a file of claims that is named itself. What a store names is text. So a file that only a store names is refused,
wherever it lies, and a file that the user names is taken for a stored run if it has the content that the run recorded.

Whoever takes a word from the user notes it here. `harness.specs.plugin_file.execute`, the only place where code of a file is
executed, asks `require`. A worker process notes what its parent hands down.

Files of data are noted, too, so that those of a stored run are found where they are now. They are never executed.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.specs.where import KINDS, has_data_ending, is_data, is_path, plugins

OWN = (Path(__file__).parents[1] / "testing" / "toy.py",)
"""Plugin files of this package, which are known by their place instead of by a name: the tiny dataset of `harness.testing`."""

OPTIONS = {kind: f"--{option}" for option, kind in KINDS.items()}
"""The option that names a file of each kind."""

_noted: dict[str, None] = {}  # real paths, in order
_data: dict[str, None] = {}  # the same of data: of several files with commas between


class NotNamed(BadInput):
    """A plugin file that the user did not name in this command; it was not executed."""


def note(*words: object) -> None:
    """Note words that the user gave in this command: those that are paths of plugin files may be executed."""
    for word in words:
        if isinstance(word, str | Path) and is_path(str(word)):
            if has_data_ending(str(word)) or os.path.isdir(word):
                _data[",".join(map(os.path.realpath, data_paths(str(word))))] = None
            else:
                _noted[os.path.realpath(word)] = None


def data_paths(word: str) -> list[str]:
    """Return the paths in a word that names data, with commas between."""
    return word.split(",")


def files() -> tuple[Path, ...]:
    """Return the files that may be executed."""
    return (*map(Path, _noted), *OWN)


def data() -> tuple[str, ...]:
    """Return the files of data that the user named in this command, several of one dataset with commas between."""
    return tuple(_data)


def forget() -> None:
    """Forget what was named: another command begins."""
    _noted.clear()
    _data.clear()


def require(path: Path) -> None:
    """Raise NotNamed unless the user has named this file in this command."""
    real = Path(os.path.realpath(path))
    if real not in files() and not any(own.exists() and own.samefile(real) for own in OWN):
        options = ", ".join(OPTIONS.values())
        raise NotNamed(
            f"{str(path)!r} is code that was not named in this command, so it was not executed: look at it, and name it by "
            f"one of {options}"
        )


def again(spec: Mapping[str, Any]) -> str:
    """Return the options by which a stored run's plugin files are named, such as ` --algo ./dreg.py`; nothing where it has none.

    Args:
        spec: the run's specification, as plain data.
    """
    own = {str(path) for path in OWN}
    files = (
        (option, part.get("file")) for option, part in plugins(spec) if not is_data(KINDS[option], part.get("file"))
    )
    return "".join(f" {by_option(KINDS[option], file)}" for option, file in files if file and file not in own)


def by_option(kind: str, file: str) -> str:
    """Return the option that names a file, as a shell takes it, such as `--algo ./dreg.py`."""
    return f"{OPTIONS[kind]} {shlex.quote(file)}"
