"""Files of data that are a dataset by their path: `--dataset ./x.csv`, a folder of images, or a file for each split.

What identifies them is their content, as it is with plugin files: the same file elsewhere is the same dataset.
"""

import functools
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import BadInput
from harness.specs.named import data_paths
from harness.specs.where import DATA_ENDINGS, called, has_data_ending

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm", ".webp")

MOST_FILES = 1_000_000  # of a folder, images or not

MOST_COMPARED = 1 << 30  # bytes of a file that is read only to tell whether it has changed

BLOCK = 1 << 20  # bytes that are read at a time


class DataFiles(NamedTuple):
    """Files of one dataset.

    Attributes:
        name: what the dataset is called.
        paths: where they are, from the root: one file or folder; two, with training and test points; or three, with training,
            validation and test points.
        sha256: of what is in them.
    """

    name: str
    paths: tuple[Path, ...]
    sha256: str

    @property
    def file(self) -> str:
        """The paths as one word."""
        return ",".join(map(str, self.paths))


def read(word: str) -> DataFiles:
    """Return the files that a word names, with what identifies their content.

    Raises:
        BadInput: there is none, it is of another format, or it cannot be read.
    """
    given = [word] if os.path.exists(word) else data_paths(word)
    for one in given:
        if not os.path.exists(one):
            raise BadInput(
                f"the data file {one!r} does not exist, seen from the current folder: if it has moved, say where it is now, "
                "as the same content elsewhere is the same dataset and keeps its runs; or give a dataset's name, see "
                "`harness datasets`"
            )
        if not os.path.isdir(one) and not has_data_ending(one):
            raise BadInput(
                f"{one!r} is no data of a format that is read, and no .py file: give a file whose name ends in "
                f"{', '.join(DATA_ENDINGS)}, or a folder of images"
            )
    if len(given) > 3:
        raise BadInput(
            f"--dataset names {len(given)} files: give one, or training and test points, or training, validation and test points"
        )
    paths = tuple(Path(os.path.realpath(one)) for one in given)
    for path in paths:
        if "," in str(path):
            raise BadInput(f"{str(path)!r} has a comma, which stands between the files of a dataset: rename it")
    return DataFiles(called(os.path.abspath(given[0])), paths, fingerprint(paths))


def fingerprint(paths: tuple[Path, ...]) -> str:
    """Return the SHA-256 of the content of files: of one its own, of several of their own ones in order.

    Raises:
        BadInput: one cannot be read.
    """
    try:
        each = [_of_folder(path) if path.is_dir() else _of_file(path) for path in paths]
    except OSError as error:
        raise BadInput(
            f"{error.filename or paths[0]} cannot be read ({error.strerror or error}): give another file"
        ) from error
    return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()


def now(word: str) -> str | None:
    """Return what identifies the content of files now: None where they are gone, and "" where telling would take long.

    That is where they are folders, or larger than `MOST_COMPARED`.
    """
    paths = tuple(map(Path, data_paths(word)))
    try:
        if not all(path.exists() for path in paths):
            return None
        if any(path.is_dir() or path.stat().st_size > MOST_COMPARED for path in paths):
            return ""
        return fingerprint(paths)
    except (BadInput, OSError):
        return None


def images(folder: Path) -> list[Path]:
    """Return the image files below a folder, in the order of their names.

    Raises:
        BadInput: there are none, or too many.
    """
    found: list[Path] = []
    seen = 0
    for where, folders, files in os.walk(folder):
        seen += len(files) + len(folders)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(where, name) for name in files if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
        ]
        if seen > MOST_FILES:
            raise BadInput(f"{folder} has more than {MOST_FILES:,} files: put the images into an array, in a .npy file")
    if not found:
        raise BadInput(f"{folder} has no image: give a folder with files {', '.join(IMAGE_ENDINGS)}, or a file of data")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _of_folder(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in images(folder):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{_of_file(path)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _of_file(path: Path) -> str:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(22, "it is no regular file", str(path))
    return _of_content(path, found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(100_000)
def _of_content(path: Path, size: int, changed: int, inode: int) -> str:
    """Return the SHA-256 of a file, which is read once as long as it is what it was."""
    whole = hashlib.sha256()
    for block in _blocks(path):
        whole.update(block)
    return whole.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block
