"""The data of a run on their way to another machine: which files they are, by content, and whether they are there already.

They are the user's own files, or those that a dataset reads from a folder of data or from the cache. Nothing is fetched for it.
This module is imported by Dask workers, so it imports no PyTorch before it is asked to look for files.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.errors import BadInput, HarnessError
from harness.specs import data_file, named
from harness.specs.where import is_data

if TYPE_CHECKING:
    from harness.specs.run import RunSpec


class Part(NamedTuple):
    """A file, or a folder of images.

    Attributes:
        name: its path below the folder that holds all parts.
        path: where it is.
        sha256: of its content, see `data_file.fingerprint`.
    """

    name: str
    path: str
    sha256: str

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Say whether it is at a path, with this content."""
        try:
            return os.path.exists(path) and data_file.fingerprint((Path(path),)) == self.sha256
        except BadInput:
            return False

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield its files, by their paths below the folder that holds all parts."""
        path = Path(self.path)
        if not path.is_dir():
            yield self.name, path
            return
        for image in data_file.images(path):
            yield f"{self.name}/{image.relative_to(path).as_posix()}", image


class Data(NamedTuple):
    """Files of one dataset.

    Attributes:
        name: the dataset's.
        parts: what there is.
        own: whether they are the user's own, and named by their paths.
    """

    name: str
    parts: tuple[Part, ...]
    own: bool

    @property
    def key(self) -> str:
        """What identifies names and contents."""
        return hashlib.sha256(json.dumps([[part.name, part.sha256] for part in self.parts]).encode()).hexdigest()[:32]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for part in self.parts for _, path in part.files())

    def is_here(self) -> bool:
        """Say whether a process of this machine finds the same by itself: where it was, or in the folder HARNESS_DATA."""
        folder = os.environ.get("HARNESS_DATA") or None
        if not self.own:
            return folder is not None and self.is_in(Path(folder))
        return all(part.is_at(part.path) for part in self.parts)

    def is_in(self, folder: Path) -> bool:
        """Say whether a folder holds all parts, with this content."""
        return all(part.is_at(folder / part.name) for part in self.parts)

    def word(self, folder: Path) -> str | None:
        """Return how own files in a folder are named; None where they are not the user's own."""
        return ",".join(str(folder / part.name) for part in self.parts) if self.own else None


def data_of(spec: "RunSpec", data_dir: str | None) -> Data | None:
    """Return the files that a run's data are in; None where there are none, or none here.

    Args:
        spec: the run.
        data_dir: the user's folder of data files.
    """
    asked = spec.dataset
    try:
        if asked.file is not None and is_data("datasets", asked.file):
            from harness.data import own_files

            paths = tuple(map(Path, named.data_paths(asked.file)))
            files = data_file.DataFiles(asked.name, paths, asked.sha256 or "unknown")
            found = [(f"{number}/{path.name}", path) for number, path in enumerate(own_files.find(files, data_dir))]
        else:
            found = _read_by(spec, data_dir)
        parts = tuple(Part(name, str(path), data_file.fingerprint((path,))) for name, path in found)
    except (HarnessError, OSError):  # as a worker may find out for itself
        return None
    return Data(asked.name, parts, is_data("datasets", asked.file)) if parts else None


def _read_by(spec: "RunSpec", data_dir: str | None) -> list[tuple[str, Path]]:
    """Return the files that a dataset reads when it is loaded, by their paths below their folder."""
    from harness.data.download import only_here
    from harness.training.subject import load_dataset

    with only_here() as noted:
        load_dataset(spec, data_dir)
    return sorted({path.relative_to(folder).as_posix(): path for folder, path in noted}.items())
