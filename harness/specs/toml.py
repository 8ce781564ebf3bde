"""Files in TOML: found by name or path, read, and refused in one sentence with file and line."""

import math
import re
import reprlib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic

from harness.errors import BadInput, suggestion
from harness.files import read_file

MAX_BYTES = 100_000  # bytes of a file

MAX_LINE = 2_000  # bytes of a line; tomllib's time and memory grow with the square of a dotted key

MAX_DEPTH = 10  # tables and lists in one another

Where = tuple[Any, ...]
"""Path of a key in a file: names, and numbers from 0 for the tables of an array."""


class Part(pydantic.BaseModel):
    """A table of a file: its keys have dashes where its fields have underscores, and it has no others."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
        regex_engine="python-re",  # patterns are those of `re`
    )


P = TypeVar("P", bound=Part)


def built_in(folder: Path) -> list[str]:
    """Return the names of the files of a kind that come with the harness."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find(name: str, folder: Path, what: str) -> Path:
    """Return the file that a word means: the path of a .toml file, or the name of a built-in one.

    Args:
        name: the word.
        folder: where built-in ones are.
        what: what such a file is called in a sentence.

    Raises:
        BadInput: there is none.
    """
    choices = f"the path of a .toml file, or one of {', '.join(built_in(folder))}"
    if name.endswith(".toml") or "/" in name or name in (".", ".."):
        path = Path(name)
        if path.is_dir():
            raise BadInput(f"{name!r} is a directory: give {choices}")
        if not path.is_file():
            gone = "is no ordinary file" if path.exists() else "does not exist"
            raise BadInput(f"the {what} file {name!r} {gone}: give {choices}")
        return path
    if name not in built_in(folder):
        raise BadInput(f"there is no {what} {name!r}{suggestion(name, built_in(folder))}: give {choices}")
    return folder / f"{name}.toml"


class TomlFile:
    """A file's content, and where in it each key stands.

    Args:
        path: of the file.

    Raises:
        BadInput: it cannot be read, or is no TOML.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            text = read_file(path, MAX_BYTES).decode()
        except UnicodeDecodeError:
            raise BadInput(f"{path} is no TOML, which is text: name a .toml file") from None
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror})") from None
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > MAX_LINE:
                raise BadInput(
                    f"{path}:{number}: this line has more than {MAX_LINE:,} characters: break it into several"
                )
        try:
            self.content = tomllib.loads(text)
        except RecursionError:
            raise BadInput(
                f"{path}: lists lie in one another, more than {MAX_DEPTH} deep: give values without"
            ) from None
        except ValueError as error:  # of TOML itself; of Python, where a number has thousands of digits
            raise BadInput(f"{path} is no TOML: {error}") from None
        self._lines = _lines(text)
        self._require_plain(self.content, ())

    def _require_plain(self, value: Any, where: Where) -> None:
        """Raise BadInput where a value is of a size that is no setting's."""
        if len(where) > MAX_DEPTH:
            raise BadInput(
                f"{self.place(where)}: tables or lists lie in one another, more than {MAX_DEPTH} deep: give fewer"
            )
        if isinstance(value, int) and abs(value) >= 2**63:
            raise BadInput(f"{self.place(where)}: {where[-1]} is a number of more than 64 bits: give a smaller one")
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, part in parts:
            if isinstance(name, str) and not name.isprintable():
                raise BadInput(f"{self.place(where)}: a key is {name!r}: give one of printable characters")
            self._require_plain(part, (*where, name))

    def line(self, where: Where) -> int:
        """Return the line of a key, or of the nearest around it."""
        while where and where not in self._lines:
            where = where[:-1]
        return self._lines.get(where, 1)

    def place(self, where: Where) -> str:
        """Return file and line of a key, or of the nearest around it."""
        return f"{self.path}:{self.line(where)}"

    def has(self, where: Where) -> bool:
        """Say whether a key stands on a line of its own."""
        return where in self._lines

    def validated(
        self,
        model: type[P],
        content: Mapping[str, Any],
        at: Where = (),
        explain: Callable[[Where, Any], str | None] = lambda where, value: None,
    ) -> P:
        """Return a table as its model.

        Args:
            model: of the table.
            content: the table.
            at: where it stands in the file.
            explain: may say what is wrong with the value of a key better than pydantic.

        Raises:
            BadInput: it does not fit, with the line of the first key that does not.
        """
        try:
            return model.model_validate(content)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False)[0]
        where = first["loc"]
        while where and (str(where[-1]).startswith("list[") or where[-1] in ("str", "int", "float", "bool")):
            where = where[:-1]  # which of several types it is not
        value, message = first["input"], first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "extra_forbidden":
            known = [field.alias or "" for field in _model_at(model, where[:-1]).model_fields.values()]
            message = f"there is no such key{suggestion(str(where[-1]), known)}: choose one of {', '.join(known)}"
        elif explained := explain(where, value):
            message = explained
        elif first["type"] == "missing":
            message = "it is needed, and not there"
        elif isinstance(value, float) and not math.isfinite(value):
            message = f"{value}: give a finite number"
        else:
            message = f"{reprlib.repr(value)}: {message.removeprefix('value error, ')}"
        where = (*at, *where)
        raise BadInput(f"{self.place(where)}: {'.'.join(map(str, where))}: {message}") from None


def _model_at(model: type[Part], where: Where) -> type[Part]:
    """Return the model of the table at a path inside a model's table."""
    for name in where:
        for field in model.model_fields.values():
            if field.alias == name:
                model = next(part for part in (field.annotation, *get_args(field.annotation)) if _is_part(part))
    return model


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Part)


_TABLE = re.compile(r"\s*(\[\[?)\s*([\w.\"'-]+)\s*\]")

_KEY = re.compile(r"\s*([\w-]+|\"[^\"]*\"|'[^']*')\s*=")


def _lines(text: str) -> dict[Where, int]:
    """Return the line at which each table and key of a TOML text begins, by its path; tables of an array are numbered from 0."""
    lines: dict[Where, int] = {(): 1}
    table: Where = ()
    counts: dict[Where, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            path: Where = ()
            names = [name.strip("\"'") for name in found[2].split(".")]
            for depth, name in enumerate(names, 1):
                path = (*path, name)
                if depth == len(names) and found[1] == "[[":
                    counts[path] = counts.get(path, -1) + 1
                if path in counts:
                    path = (*path, counts[path])
            table = path
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            lines.setdefault((*table, found[1].strip("\"'")), number)
    return lines
