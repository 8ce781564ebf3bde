"""What a publication consists of: files of runs by their names, so many and so large ones, and nothing else.

Everything that comes in passes here: a name has to be that of a run's file, and bytes are counted while they are copied, whatever
an archive or a server said of them before.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple, Protocol

from harness.errors import BadInput, in_one_line
from harness.files import MAX_BYTES
from harness.store import added, best, checkpoint, origin, schema1
from harness.store.record import NAME
from harness.store.store import QUARANTINE

RECORDS = ("run.json", "trace.jsonl", *added.FILES, schema1.EVALUATIONS, origin.NAME)

MODELS = (checkpoint.NAME, best.NAME)
"""Parameters. Those of former schemas are not given away: nobody should have to read a stranger's pickle."""

MOST_FILES = 100_000

MOST_BYTES = 1 << 34

MOST_BYTES_OF = {origin.NAME: origin.MOST_BYTES, **dict.fromkeys(MODELS, MAX_BYTES)}

MOST_BYTES_ELSE = 1 << 28

CHUNK = 1 << 20

_GROUP, _RUN = (re.compile(NAME) for _ in range(2))


class Place(NamedTuple):
    """Where a file of a run belongs in a store."""

    group: str
    run: str
    file: str

    @property
    def below(self) -> Path:
        """Its path below the store's folder."""
        return Path(self.group, self.run, self.file)


class Reader(Protocol):
    """Something that is read piece by piece."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        ...


def is_name(text: str) -> bool:
    """Say whether this can be the name of a group or a run; none of ours ends in a dot, which Windows cuts off."""
    return bool(re.match(NAME, text)) and not text.endswith(".") and text != QUARANTINE


def place_of(name: str) -> Place | None:
    """Return what file of which run a name such as `group/run/run.json` means; None where it means none."""
    parts = name.split("/")
    if len(parts) == 3 and all(map(is_name, parts[:2])) and parts[2] in (*RECORDS, *MODELS):
        return Place(*parts)
    return None


class Incoming:
    """The files that come in from one source, into a folder.

    Args:
        source: what they come from, in words.
        folder: that they are copied into; it is empty.
        then: what is said where nothing is taken from it.
    """

    def __init__(
        self, source: str, folder: Path, then: str = "nothing was imported; ask its publisher, or look at it first"
    ):
        self.source, self.folder, self._then = source, folder, then
        self._files, self.bytes = set[Place](), 0

    def refusal(self, why: str) -> BadInput:
        """Return the error that nothing is taken from this source."""
        return BadInput(f"{self.source} {in_one_line(why)}: {self._then}")

    def take(self, place: Place, file: Reader, size: int) -> None:
        """Copy a file.

        Args:
            place: of the file.
            file: its content.
            size: in bytes, as far as its source says.

        Raises:
            BadInput: it was there already, has another size, or one file or byte more than may come in.
        """
        name, most = str(place.below), MOST_BYTES_OF.get(place.file, MOST_BYTES_ELSE)
        if place in self._files:
            raise self.refusal(f"has {name} twice")
        self._files.add(place)
        if len(self._files) > MOST_FILES:
            raise self.refusal(f"has more than {MOST_FILES:,} files")
        if size > most:
            raise self.refusal(f"has {name} of {size:,} bytes, where {most:,} are the most")
        path = self.folder / place.below
        path.parent.mkdir(parents=True, exist_ok=True)
        copied = 0
        with path.open("xb") as target:
            while piece := file.read(CHUNK):
                copied += len(piece)
                self.bytes += len(piece)
                if copied > size:
                    raise self.refusal(f"has more of {name} than the {size:,} bytes that it tells of")
                if self.bytes > MOST_BYTES:
                    raise self.refusal(f"has more than {MOST_BYTES:,} bytes")
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())
        if copied != size:
            raise self.refusal(f"has {copied:,} of the {size:,} bytes of {name}: it was cut off")
