"""Where a run of somebody else comes from: `origin.json`, which publishing writes and importing completes.

A run that has this file is foreign: what it tells of itself nobody here has seen happen. A damaged one is of nobody knows whom.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import BadInput
from harness.files import read_file, seal, unseal

NAME = "origin.json"

MOST_LETTERS = 200  # of each entry

MOST_BYTES = 10_000


class Origin(NamedTuple):
    """Where a run comes from.

    Attributes:
        by: who made it, as its publisher says; None where nobody is named.
        source: what it was imported from; None in a publication.
        imported: when that was, in UTC.
    """

    by: str | None = None
    source: str | None = None
    imported: str | None = None

    def __str__(self) -> str:
        words = f"by {self.by}" if self.by else "by nobody knows whom"
        return words + (f", imported from {self.source}" if self.source else "")


def read(folder: Path) -> Origin | None:
    """Return where the run in a folder comes from; None where it is the user's own. BadInput if the file is damaged."""
    path = folder / NAME
    try:
        found = unseal(read_file(path, MOST_BYTES))
        return _origin(found, folder.name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} was edited or damaged: import the run again") from error


def content(run: str, origin: Origin) -> bytes:
    """Return the content of the file, for the run of this id."""
    return seal({"run": run, **origin._asdict()})


def _origin(found: Mapping[str, Any], run: str) -> Origin:
    entries = {name: found.get(name) for name in Origin._fields}
    if found.get("run") != run or not all(
        value is None or (isinstance(value, str) and len(value) <= MOST_LETTERS) for value in entries.values()
    ):
        raise ValueError("it is another run's, or has entries that none has")
    return Origin(**entries)
