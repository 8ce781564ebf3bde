"""The user's own data as they are in files: arrays, tables and images, found where they are now, and read without executing any.

A file is refused that would take more than half of the memory, but for a .npy file, which stays on the disk. Every message about
a file begins with its path, and columns are numbered from 0.
"""

import gzip
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.data import formats
from harness.data.download import MissingData, local_folder
from harness.data.images import read_images
from harness.data.memory import most_in_memory
from harness.data.tables import Table, read_csv, read_parquet
from harness.errors import BadInput
from harness.files import read_file
from harness.specs import data_file, named
from harness.specs.data_file import DataFiles
from harness.specs.where import called

Array = np.ndarray[Any, Any]

SPLITS = (
    ("train", "valid", "test"), ("train", "val", "test"), ("train_data", "val_data", "test_data"),
    ("x_train", "x_valid", "x_test"), ("x_train", "x_val", "x_test"), ("X_train", "X_valid", "X_test"),
    ("X_train", "X_val", "X_test"), ("data", "", "testdata"),
)  # fmt: skip
"""What arrays in one file are called that are its training, validation and test points; there need be none for validation."""

MOST_NAMED = 10  # arrays, in a message


@dataclass(frozen=True)
class Points:
    """Points of a file, or of a part of it.

    Attributes:
        array: the points (N, D), or images (N, rows, columns); in memory, or a file that is mapped into it.
        source: the file that they are of, and the array in it.
        form: what they were.
        names: of the columns of a table, where they have some.
        text: columns of a table that have text, with the first row that does, and what it says.
    """

    array: Array
    source: str
    form: Literal["array", "images", "table", "on disk"] = "array"
    names: tuple[str, ...] | None = None
    text: Mapping[int, tuple[int, str]] = field(default_factory=dict)


class NoNumbers(BadInput):
    """An array of other things than numbers."""


def find(files: DataFiles, data_dir: str | None) -> tuple[Path, ...]:
    """Return where files of this content are now: where the user says, in the user's folder of data, or where they were.

    Raises:
        MissingData: they are nowhere.
        BadInput: they have other content.
    """
    folder = local_folder(data_dir)
    words = [word for word in named.data() if called(word) == files.name] or list(named.data())
    places = [tuple(map(Path, named.data_paths(word))) for word in words]
    if folder is not None:
        places.append(tuple(folder / path.name for path in files.paths))
    places.append(files.paths)
    there = [paths for paths in places if all(path.exists() for path in paths)]
    for paths in there:
        if data_file.fingerprint(paths) == files.sha256:
            return paths
    if not there:
        raise MissingData(
            f"the data of dataset {files.name!r} are not where they were, in {files.file}: say where they are with --dataset "
            "FILE, or name their folder with --data-dir FOLDER"
        )
    now = data_file.fingerprint(there[0])
    raise BadInput(
        f"{','.join(map(str, there[0]))} is not what it was when the run was specified (SHA-256 {now[:12]}, and it was "
        f"{files.sha256[:12]}): restore it, say where the former data are with --dataset FILE, or start a new run on these"
    )


def read(paths: Sequence[Path], array: str = "") -> list[Points]:
    """Return the points of files: of one part, or of two or three, which are training, perhaps validation, and test points.

    Args:
        paths: one file or folder, or one for each part.
        array: names of arrays in a .npz or .mat file that has several: one, or one for each part, with commas between.

    Raises:
        BadInput: a file cannot be read, is too large, or has something else than points.
    """
    if len(paths) == 1:
        return _read(paths[0], array)
    found = [_read(path, array) for path in paths]
    for path, parts in zip(paths, found, strict=True):
        if len(parts) > 1:
            raise BadInput(
                f"{path} has a split of its own, and there are other files: give it alone, or name one --array"
            )
    return [parts[0] for parts in found]


def _read(path: Path, array: str) -> list[Points]:
    name = path.name.lower()
    if array and not name.endswith((".npz", ".mat")):
        raise BadInput(f"--array is {array!r}, and {path} is no .npz or .mat file: leave it out")
    try:
        if path.is_dir():
            return [Points(points, where, "images") for points, where in read_images(path)]
        if name.endswith(".npy"):
            return [Points(_mapped(path), str(path), "on disk")]
        if name.endswith(".npz"):
            return _chosen(path, array, _npz(path))
        if name.endswith(".mat"):
            return _chosen(path, array, formats.matlab_arrays(_whole(path), size=most_in_memory()))
        if name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
            return [_of_table(path, read_csv(_content(path), most_in_memory(), tabs=".tsv" in name[-7:]))]
        if name.endswith(".parquet"):
            return [_of_table(path, read_parquet(_whole(path), most_in_memory()))]
        return [Points(formats.read_idx(_content(path)), str(path))]
    except BadInput as error:
        said = str(error)
        raise type(error)(said if said.startswith((str(path), "--")) else f"{path} {said}") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{path} cannot be read ({why}): is it whole?") from error


def _of_table(path: Path, table: Table) -> Points:
    return Points(table.values, str(path), "table", table.names, table.text)


def _whole(path: Path) -> bytes:
    """Return all bytes of a file; BadInput where they are more than half of the memory."""
    most = most_in_memory()
    if (size := path.stat().st_size) > most:
        raise BadInput(f"has {size:,} bytes, more than half of the memory: {_AS_NPY}")
    return read_file(path, most)


def _content(path: Path) -> bytes:
    """Return a file's content, decompressed if it is gzip; BadInput where that is more than may be."""
    most = most_in_memory()
    if not path.name.lower().endswith(".gz"):
        return _whole(path)
    with gzip.open(io.BytesIO(_whole(path))) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BadInput(f"has more than {most:,} bytes once it is decompressed, half of the memory: {_AS_NPY}")
    return content


_AS_NPY = "save the points as a .npy file, which is read from disk as it is needed"


# -- .npy and .npz


def _mapped(path: Path) -> Array:
    """Return the array of a .npy file, mapped into memory: nothing is read yet."""
    with open(path, "rb") as file:
        shape, fortran, dtype = _npy_header(file)
        start = file.tell()
        size = file.seek(0, io.SEEK_END)
    _require_bytes(shape, dtype, size - start)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of the array that a file in NumPy's format begins with."""
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except Exception as error:  # a damaged header can raise nearly anything
        raise BadInput(f"is no array in NumPy's format ({error}): write it by numpy.save") from error
    if dtype.hasobject:
        raise NoNumbers(
            "is an array of Python objects, which only a pickle could hold, and pickles can execute code: save numbers, as by "
            "numpy.save(path, array.astype('float32'))"
        )
    return shape, fortran, dtype


def _require_bytes(shape: tuple[int, ...], dtype: np.dtype[Any], there: int) -> None:
    needed = math.prod(shape) * dtype.itemsize
    if needed != there or min(shape, default=1) < 0:
        raise BadInput(f"says that it has {needed:,} bytes of values, and {there:,} are there: is it whole?")
    if not needed:
        raise BadInput(f"has shape {shape}, which holds no value")


def _npz(path: Path) -> Mapping[str, Callable[[], Array]]:
    """Return by name what reads each array of a .npz file."""
    found: dict[str, Callable[[], Array]] = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                found[member.filename.removesuffix(".npy")] = _reader(path, member)
    return found


def _reader(path: Path, member: zipfile.ZipInfo) -> Callable[[], Array]:
    def read() -> Array:
        most = most_in_memory()
        if member.file_size > most:
            raise BadInput(
                f"has {member.file_size:,} bytes in {member.filename!r}, more than half of the memory: {_AS_NPY}"
            )
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            try:
                content = io.BytesIO(file.read(most + 1))
            except (NotImplementedError, RuntimeError) as error:  # another compression, or a password
                raise BadInput(f"cannot be read ({error}): write it by numpy.savez") from error
        shape, fortran, dtype = _npy_header(content)
        start = content.tell()
        _require_bytes(shape, dtype, content.getbuffer().nbytes - start)
        return np.frombuffer(content.getbuffer()[start:], dtype).reshape(shape, order="F" if fortran else "C").copy()

    return read


# -- files of several arrays


def _chosen(path: Path, array: str, arrays: Mapping[str, Callable[[], Array]]) -> list[Points]:
    """Return the arrays that are named, those of a split, or the only one that has points."""
    asked = array.split(",") if array else None
    if asked is None:
        known = [[n for n in names if n in arrays] for names in SPLITS if names[0] in arrays and names[2] in arrays]
        asked = max(known, key=len, default=None)
    if asked is not None and len(asked) > 3:
        raise BadInput(
            f"--array names {len(asked)} arrays: give one, or one for each of training, validation and test points"
        )
    for name in asked or ():
        if name not in arrays:
            raise BadInput(f"--array is {array!r}, and {path} has no {name!r}: it has {_listed(arrays)}")
    if asked is not None:
        return [Points(arrays[name](), f"{path}[{name}]") for name in asked]
    with_points = {name: found for name in arrays if (found := _points_or_none(arrays[name])) is not None}
    if len(with_points) != 1:
        raise BadInput(
            f"has {len(with_points) or 'no'} arrays that may be points (it has {_listed(arrays)}): choose one with --array NAME"
        )
    ((name, found),) = with_points.items()
    return [Points(found, f"{path}[{name}]")]


def _points_or_none(read: Callable[[], Array]) -> Array | None:
    """Return an array if it may be points; None if it has one dimension, as labels have, or no numbers."""
    try:
        found = read()
    except NoNumbers:
        return None
    return (
        found
        if found.ndim > 1 and min(found.shape) > 0 and found.dtype.kind in "biuf" and max(found.shape[1:]) > 1
        else None
    )


def _listed(names: Mapping[str, object]) -> str:
    shown = ", ".join(list(names)[:MOST_NAMED])
    return f"{shown} and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else shown or "none"
