"""Readers for the file formats in which datasets are published."""

import functools
import gzip
import itertools
import math
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from harness.errors import BadInput


class NotThisFile(BadInput):
    """A file that is whole, but not what is wanted: the message says what to do with it, which is not to delete it."""


_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(content: bytes) -> np.ndarray[Any, Any]:
    """Return the array in an IDX file's content (the format of MNIST's own files), in this machine's order of bytes."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise BadInput("is no IDX file: its first bytes are no IDX header")
    start = 4 + 4 * content[3]
    try:
        shape = np.frombuffer(content[4:start], ">u4").tolist()
        return _own(np.frombuffer(content[start:], _IDX_TYPES[content[2]]).reshape(shape))
    except ValueError as error:
        raise BadInput(f"is no sound IDX file: its header is of other content than this ({error})") from error


def _own(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array as one in this machine's order of bytes that can be written to, as PyTorch wants them."""
    return array.astype(array.dtype.newbyteorder("="))


_MATRIX, _COMPRESSED = 14, 15  # types of a MATLAB file's elements, beside those of numbers

_MATLAB_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}

_MATLAB_NUMBERS = range(6, 16)  # classes of matrices; others are cells, structures, text and sparse

_MATLAB4_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")

_HDF5 = b"\x89HDF\r\n\x1a\n"


def is_matlab(content: bytes) -> bool:
    """Say whether a file's content begins as one of MATLAB's formats does."""
    return content.startswith((b"MATLAB ", _HDF5)) or _matlab4_form(content, 0) is not None


def read_matlab(content: bytes, name: str, *, size: int = 500_000_000) -> np.ndarray[Any, Any]:
    """Return the real array of this name in a MATLAB file's content, of formats 4 and 5 (`save -v4`, `-v6` and `-v7`).

    It is read here as SciPy's reader overflows the stack, or reads where nothing is, for files that were made to do so.

    Args:
        content: the file's.
        name: of the array.
        size: of what is compressed in the file; never more is decompressed.

    Raises:
        NotThisFile: the format is 7.3, which is HDF5.
        BadInput: there is none, it is no array of numbers, larger, or damaged.
    """
    if content.startswith((b"MATLAB 7.3", _HDF5)) or content[512:520] == _HDF5:
        raise NotThisFile(
            "is a MATLAB 7.3 file, which is HDF5 and is not read here: load it in MATLAB or Octave and save it again with -v7"
        )
    try:
        if _matlab4_form(content, 0) is not None:
            return _read_matlab4(content, name)
        order = "<" if content[126:128] == b"IM" else ">"
        for kind, element in _elements(content[128:], order):
            if kind == _COMPRESSED:
                plain = zlib.decompressobj().decompress(element, size + 1)
                size -= len(plain)
                if size < 0:
                    raise BadInput("has compressed arrays of more bytes than there may be")
                kind, element = next(_elements(plain, order))
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind}")
            parts = list(itertools.islice(_elements(element, order), 4))
            if len(parts) == 4 and parts[2][1] == name.encode():
                (_, flags), (_, shape), _, (numbers, values) = parts
                (flag,) = struct.unpack(f"{order}I", flags[:4])
                if flag & 0xFF not in _MATLAB_NUMBERS or flag & 0x800:
                    raise BadInput(f"has a {name!r} that is no real array of numbers")
                dims = np.frombuffer(shape, f"{order}u4").tolist()
                return _own(np.frombuffer(values, order + _MATLAB_TYPES[numbers]).reshape(dims, order="F"))
    except (ValueError, KeyError, StopIteration, struct.error, zlib.error) as error:
        raise BadInput(f"cannot be read as a MATLAB file with an array {name!r} ({error!r})") from error
    raise BadInput(f"cannot be read as a MATLAB file with an array {name!r} (there is none)")


def matlab_arrays(content: bytes, *, size: int = 500_000_000) -> dict[str, Callable[[], np.ndarray[Any, Any]]]:
    """Return by name what reads each array of numbers in a MATLAB file's content; see `read_matlab`."""
    if not is_matlab(content):
        raise BadInput("is no MATLAB file of formats 4 to 7")
    try:
        names = list(_matlab4_names(content) if _matlab4_form(content, 0) is not None else _matlab5_names(content))
    except (ValueError, StopIteration, struct.error, zlib.error) as error:
        raise BadInput(f"cannot be read as a MATLAB file ({error!r})") from error
    return {name: functools.partial(read_matlab, content, name, size=size) for name in names}


def _matlab5_names(content: bytes) -> Iterator[str]:
    """Yield the names of the arrays of numbers in a MATLAB 5 file."""
    if content.startswith((b"MATLAB 7.3", _HDF5)) or content[512:520] == _HDF5:
        yield ""  # which reading it refuses
        return
    order = "<" if content[126:128] == b"IM" else ">"
    for kind, element in _elements(content[128:], order):
        if kind == _COMPRESSED:  # the names are at the beginning
            kind, element = next(_elements(zlib.decompressobj().decompress(element, 4096), order))
        parts = list(itertools.islice(_elements(element, order), 3)) if kind == _MATRIX else []
        flag = struct.unpack(f"{order}I", parts[0][1][:4])[0] if len(parts) == 3 else 0
        if flag & 0xFF in _MATLAB_NUMBERS and not flag & 0x800:  # real ones
            yield parts[2][1].decode("latin1")


def _matlab4_names(content: bytes) -> Iterator[str]:
    """Yield the names of the arrays of numbers in a MATLAB 4 file."""
    at = 0
    while (form := _matlab4_form(content, at)) is not None:
        order, numbers, full = form
        rows, columns, imaginary, length = struct.unpack_from(f"{order}4I", content, at + 4)
        if full:
            yield content[at + 20 : at + 20 + length].rstrip(b"\0").decode("latin1")
        at += 20 + length + rows * columns * np.dtype(numbers).itemsize * (2 if imaginary else 1)


def _matlab4_form(content: bytes, at: int) -> tuple[str, str, bool] | None:
    """Return order of bytes and type of the MATLAB 4 array that begins here, and whether it is of numbers; None if none does."""
    for order in "<>":
        form = struct.unpack_from(f"{order}I", content, at)[0] if len(content) >= at + 20 else 9999
        machine, numbers, kind = form // 1000, form % 1000 // 10, form % 10
        if machine == "<>".index(order) and numbers < len(_MATLAB4_TYPES) and kind <= 2:
            return order, order + _MATLAB4_TYPES[numbers], kind == 0
    return None


def _read_matlab4(content: bytes, name: str) -> np.ndarray[Any, Any]:
    """Return the real array of this name in a MATLAB 4 file's content; ValueError where there is none."""
    at = 0
    while (form := _matlab4_form(content, at)) is not None:
        order, numbers, full = form
        rows, columns, imaginary, length = struct.unpack_from(f"{order}4I", content, at + 4)
        start = at + 20 + length
        end = start + rows * columns * np.dtype(numbers).itemsize
        if content[at + 20 : start].rstrip(b"\0") == name.encode():
            if not full or imaginary:
                raise BadInput(f"has a {name!r} that is no real array of numbers")
            return _own(np.frombuffer(content[start:end], numbers).reshape((rows, columns), order="F"))
        at = end + (end - start if imaginary else 0)
    raise ValueError("there is none")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield type and data of every element of a MATLAB 5 file, or of one that consists of others."""
    at = 0
    while at < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, at)
        start, after = at + 8, -length % 8 if kind != _COMPRESSED else 0
        if kind >> 16:  # up to four bytes of data, which stand where the length would
            kind, length, start, after = kind & 0xFFFF, kind >> 16, at + 4, 4 - (kind >> 16)
            if after < 0:
                raise ValueError("an element that is small and large")
        yield kind, content[start : start + length]
        at = start + length + after


def _opcodes(names: str) -> dict[int, Callable[[Any], None]]:
    known: dict[int, Callable[[Any], None]] = pickle._Unpickler.dispatch
    return {getattr(pickle, name)[0]: known[getattr(pickle, name)[0]] for name in names.split()}


class _Numbers:
    """Stands for numpy.dtype in a pickle: numbers of one kind, no objects and no fields."""

    def __init__(self, code: Any):
        if not re.fullmatch("[biuf][1248]", code):
            raise BadInput("is a pickle of arrays of other things than numbers")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray):
    """Stands for numpy.ndarray in a pickle: an array that is filled with the bytes that are there, and asks for no others."""

    _spend: Callable[[bytes], bytes]

    def __new__(cls, spend: Callable[[bytes], bytes]) -> "_Array":
        array = super().__new__(cls, 0)
        array._spend = spend
        return array

    def __setstate__(self, state: Any) -> None:
        _, shape, numbers, fortran, content = state
        content = self._spend(content.encode("latin1") if isinstance(content, str) else content)
        sound = len(shape) <= 8 and all(isinstance(n, int) and n >= 0 for n in shape)
        if not sound or math.prod(shape) * numbers.dtype.itemsize != len(content):
            raise BadInput("is a pickle of an array that has not the bytes of its shape")
        super().__setstate__((1, shape, numbers.dtype, bool(fortran), content))  # type: ignore[arg-type]  # bool is no flag

    @classmethod
    def from_buffer(cls, spend: Callable[[bytes], bytes], content: bytes, form: Any) -> np.ndarray[Any, Any]:
        """Return an array of bytes and of type, shape, order and perhaps the order of axes, as protocol 5 has them."""
        numbers, shape, order, *axes = form
        array = cls(spend)
        array.__setstate__((1, shape, numbers, order == "F", content))
        return array.transpose(axes[0]) if order == "K" and axes else array


class _ArrayUnpickler(pickle._Unpickler):
    """Unpickles arrays of numbers in lists and tuples, by stand-ins for the few names that these need.

    It is the standard library's unpickler in Python, as the one in C takes as much memory as a file asks for. Its opcodes are
    those that arrays are made of; classes, dictionaries (which can be made slow) and all else are unknown to it.
    """

    dispatch = _opcodes(
        "PROTO FRAME MARK STOP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD "
        "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE "
        "BINUNICODE SHORT_BINUNICODE BINBYTES SHORT_BINBYTES EMPTY_LIST LIST APPEND APPENDS "
        "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3"
    )

    read: Callable[[int], bytes]  # both are there while it loads
    append: Callable[[Any], None]

    def __init__(self, file: Any, size: int):
        super().__init__(file, encoding="latin1")
        self._left = size

    def _load_bytes(self) -> None:
        """Take bytes that can be changed as bytes; the standard library's way makes as much room as a file asks for."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self._left:
            raise BadInput("is a pickle of more bytes than there may be")
        self.append(self.read(length))

    dispatch[pickle.BYTEARRAY8[0]] = _load_bytes

    def find_class(self, module: str, name: str) -> Any:
        # Each is made anew, so that nothing a pickle does to it outlives the pickle.
        asked = f"{module}.{name}"
        if asked == "numpy.ndarray":
            return None  # what _reconstruct is to make, and nothing that could be called
        if asked in ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"):
            return lambda *_: _Array(self._spend)
        if asked in ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"):
            return lambda content, *form: _Array.from_buffer(self._spend, content, form)
        if asked == "numpy.dtype":
            return lambda code, *_: _Numbers(code)
        if asked == "_codecs.encode":
            return lambda text, _: self._spend(text.encode("latin1"))
        raise BadInput(
            f"is a pickle that asks for {repr(asked)[1:-1][:80]}, which no array needs; nothing of it was executed"
        )

    def _spend(self, content: bytes) -> bytes:
        """Return content; BadInput if it is more, with all before it, than there may be."""
        self._left -= len(content)
        if self._left < 0:
            raise BadInput("is a pickle of more bytes than there may be")
        return content


def unpickle_arrays(file: BinaryIO | gzip.GzipFile, *, size: int = 500_000_000) -> Any:
    """Return what a pickle of arrays of numbers holds, in lists and tuples; nothing of it is executed.

    Args:
        file: the pickle.
        size: bytes of all arrays; never more are taken.

    Raises:
        BadInput: the pickle asks for anything else, or cannot be read.
    """
    try:
        return _ArrayUnpickler(file, size).load()
    except BadInput:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise BadInput(f"cannot be read as a pickle of arrays ({type(error).__name__})") from error
