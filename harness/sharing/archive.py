"""A publication that is one file: a tar archive, compressed by Zstandard; the same runs make the same bytes.

It is read as a stream of our own: little is decompressed at a time, and counted, so a bomb takes no memory; and of the formats
of tar only plain headers are known, so no header can claim to be huge, to be sparse, or to have a name of any length.
"""

import tarfile
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import BadInput
from harness.files import replacing
from harness.sharing.members import CHUNK, MODELS, RECORDS, Incoming, is_name, place_of

ENDING = ".tar.zst"

MOST_RATIO = 100
"""Of what is decompressed to what it was decompressed from; traces, which repeat themselves, have 15."""

FREE_BYTES = 1 << 26
"""That may be decompressed whatever their ratio."""

LEVEL = 10

_STEP = 1 << 10  # bytes at a time: a block of 4 can stand for 128 KiB

_WINDOW = 1 << 27  # bytes

_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def pack(store: Path, path: Path) -> None:
    """Write all runs below a folder that has the form of a store into an archive, whole or not at all."""
    compressor = zstandard().ZstdCompressor(level=LEVEL, write_checksum=True)
    with (
        replacing(path) as file,
        compressor.stream_writer(file, closefd=False) as writer,
        tarfile.open(fileobj=writer, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for run in sorted(found.parent for found in store.glob("*/*/run.json")):
            for name in (*RECORDS, *MODELS):
                if (run / name).is_file():
                    _add(tar, run / name, f"{run.parent.name}/{run.name}/{name}")


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    about = tarfile.TarInfo(name)
    about.mode, about.size = 0o644, path.stat().st_size
    with path.open("rb") as file:
        tar.addfile(about, file)


def unpack(path: Path, into: Incoming) -> None:
    """Copy the files of all runs in an archive.

    Raises:
        BadInput: it is damaged or cut off, has anything but files of runs, or more than may come in; or there is no zstandard.
    """
    with path.open("rb") as file:
        plain = _Decompressed(file, into)
        while (header := plain.read(tarfile.BLOCKSIZE)).strip(b"\0"):
            try:  # one block by itself: of longer headers, which we do not write, there is none to follow
                member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            except tarfile.HeaderError as error:
                raise into.refusal(f"is damaged or no archive of ours ({error})") from error
            _take(member, plain, into)
        if len(header) < tarfile.BLOCKSIZE:
            raise into.refusal("was cut off")
        plain.require_end()


def _take(member: tarfile.TarInfo, plain: "_Decompressed", into: Incoming) -> None:
    name = member.name.removeprefix("./").rstrip("/")
    if member.type == tarfile.DIRTYPE and (
        name in ("", ".") or (name.count("/") < 2 and all(map(is_name, name.split("/"))))
    ):
        return
    if member.type not in _PLAIN or member.size < 0:
        raise into.refusal(f"has {member.name!r}, which is no plain file")
    if (place := place_of(name)) is None:
        raise into.refusal(f"has {member.name!r}, which is no file of a run")
    into.take(place, _Content(plain, member.size), member.size)
    plain.read(-member.size % tarfile.BLOCKSIZE)


class _Content:
    """The next so many bytes of what is decompressed."""

    def __init__(self, plain: "_Decompressed", size: int):
        self._plain, self._left = plain, size

    def read(self, size: int) -> bytes:
        """Return at most so many of them."""
        piece = self._plain.read(min(size, self._left))
        self._left -= len(piece)
        return piece


class _Decompressed:
    """What is in a file of one frame, read little by little; BadInput where it is more than may come in."""

    def __init__(self, file: BinaryIO, into: Incoming):
        library = zstandard()
        self._file, self._into, self._error = file, into, library.ZstdError
        self._frame = library.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self._ready, self._packed, self._plain = bytearray(), 0, 0

    def read(self, size: int) -> bytes:
        """Return the next bytes; fewer than asked for at the end of the frame alone."""
        while len(self._ready) < size and not self._frame.eof:
            if not (piece := self._file.read(_STEP)):
                raise self._into.refusal("was cut off")
            try:
                found = self._frame.decompress(piece)
            except self._error as error:
                raise self._into.refusal(f"is damaged or no archive of ours ({error})") from error
            self._packed += len(piece)
            self._plain += len(found)
            if self._plain > FREE_BYTES + MOST_RATIO * self._packed:
                raise self._into.refusal(f"becomes more than {MOST_RATIO} times as large when it is decompressed")
            self._ready += found
        out = bytes(self._ready[:size])
        del self._ready[:size]
        return out

    def require_end(self) -> None:
        """Raise BadInput unless the frame is whole, with its checksum, and nothing but zeros is left of it and behind it."""
        while rest := self.read(CHUNK):
            if rest.strip(b"\0"):
                raise self._into.refusal("has something behind the end of its archive")
        if self._frame.unused_data or self._file.read(1):
            raise self._into.refusal("has something behind the end of its archive")


def zstandard() -> Any:
    """Return the library; BadInput with the command that installs it where it is missing."""
    try:
        import zstandard as library
    except ImportError as error:
        raise BadInput(
            f"archives need zstandard: `python -m pip install 'inference-harness[share]'`, or name a folder without {ENDING}"
        ) from error
    return library
