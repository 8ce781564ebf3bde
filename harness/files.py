"""Whole files: read with a limit, written so that a crash leaves the old one or the new one, sealed so that damage shows."""

import contextlib
import errno
import gc
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import BadInput

if sys.platform != "win32":
    import fcntl

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)  # to make one for every row would take a tenth longer

_SEAL = b',\n "checksum": "'

MOVES = 20 if os.name == "nt" else 1  # tries to replace a file, which fails on Windows while another process reads it

ABANDONED_SECONDS = 60.0  # age of a half written file that is empty, so that its process may not have locked it yet
MAX_DEPTH = 100  # of objects and lists, in what is read

MAX_BYTES = 1 << 30  # of a file that is read; none of ours comes near it


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return strict JSON; a NaN or infinity becomes {"$float": "nan"}."""
    try:
        if indent is None:
            return _ENCODER.encode(value)
        return json.dumps(value, allow_nan=False, indent=indent, ensure_ascii=False)
    except ValueError:  # there is one
        return json.dumps(_encode(value), allow_nan=False, indent=indent, ensure_ascii=False)


def from_json(text: str) -> Any:
    """Return the value that `to_json` wrote; ValueError if it wrote none such, or one that is nested deeper than `MAX_DEPTH`."""
    try:
        if '"$float"' in text:  # a hook makes reading three times as slow
            found = json.loads(text, object_hook=lambda o: _NON_FINITE[o["$float"]] if o.keys() == {"$float"} else o)
        else:
            found = _plain_json(text)
    except (RecursionError, KeyError, TypeError) as error:  # deeper nested than anything, or an unknown number
        raise ValueError(str(error)) from error
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _require_shallow(found)
    return found


def _plain_json(text: str) -> Any:
    """Return what `json.loads` returns, in a third of the time.

    pydantic's reader is asked first. It refuses some texts that are well, such as half surrogate pairs, and its oldest versions
    read escapes of surrogate pairs wrongly.
    """
    if "\\u" not in text:
        import pydantic_core  # which takes longer to import than most commands need it

        try:
            return pydantic_core.from_json(text)
        except ValueError:
            pass
    return json.loads(text)


def from_json_lines(content: bytes) -> list[Any]:
    """Return the values of lines that `to_json` wrote, each with its end; ValueError as `from_json`.

    All are read at once, in half the time, where that gives as many values, none of them nested too deep. Else each by itself.
    """
    lines = content.split(b"\n")[:-1]
    if max((line.count(b"[") + line.count(b"{") for line in lines), default=0) <= MAX_DEPTH:
        with contextlib.suppress(ValueError):
            found = _plain_json(f"[{b','.join(lines).decode()}]") if b'"$float"' not in content else []
            if len(found) == len(lines):
                return list(found)
    return [from_json(line.decode()) for line in lines]


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects that stay, without Python looking again and again for those that nobody needs, a third of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _require_shallow(value: Any) -> None:
    """Raise ValueError where plain data are nested deeper than anything of ours, as whoever walks them calls itself."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"its content is nested more than {MAX_DEPTH} deep")
        level = [part for item in level for part in (item.values() if isinstance(item, dict) else item)]


def _encode(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def encoded(text: str) -> bytes:
    """Return JSON text as bytes; half a surrogate pair, as from a file's name, as JSON's escape."""
    return text.encode("utf-8", "backslashreplace")


def seal(content: dict[str, Any]) -> bytes:
    """Return an object as JSON text whose last entry is the SHA-256 of all the bytes before it."""
    text = encoded(to_json(content, indent=1)).removesuffix(b"\n}")
    return text + _SEAL + hashlib.sha256(text).hexdigest().encode() + b'"\n}'


def unseal(content: bytes) -> dict[str, Any]:
    """Return the object that `seal` wrote; ValueError if not every byte is as it was."""
    text, _, rest = content.rpartition(_SEAL)
    if rest != hashlib.sha256(text).hexdigest().encode() + b'"\n}':
        raise ValueError("its checksum does not fit")
    found = from_json(text.decode() + "\n}")
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    return found


def read_file(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Return a file's content; OSError where it is no file, or longer than `limit`."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would block
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if found.st_size > limit:
            raise OSError(errno.EFBIG, f"it is longer than {limit:,} bytes", str(path))
        return file.read(found.st_size)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that after a crash at any moment either the old or the new one is there, whole.

    What processes left that were killed here before is removed.
    """
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Do what `replace_file` does with what is written into the file that this yields; after an error the old one is there."""
    remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            _hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name != "nt":  # where open files cannot be renamed
                _move(temporary, path)
        if os.name == "nt":
            _move(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # which a failing write does not tell
        raise
    sync_folder(path.parent)


def part_from_copies(path: Path) -> None:
    """Give a file its own content where it shares this with a backup, as `cp -al` makes it; there need be no file."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_nlink > 1:
            replace_file(path, read_file(path))


def replace_folder(path: Path, files: dict[str, bytes]) -> None:
    """Write a folder of files so that after a crash either the old or the new one is there, whole, if not by its name."""
    with replacing_folder(path) as new:
        for name, content in files.items():
            replace_file(new / name, content)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Do what `replace_folder` does with the folder that this yields; after an error the old one is there."""
    with scratch_folder(path) as temporary:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        try:
            if path.exists():
                os.replace(path, old)
            os.replace(new, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Make a folder beside a path, for what becomes it when it is whole, and remove it with what is then left in it.

    That of a process that was killed is abandoned, and removed by the next one; see `remove_abandoned`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        with _held_folder(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    remove_abandoned(path)


def _hold(handle: int) -> None:
    """Lock an open file until it is closed, where that can be done: it shows that its process lives."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def _held_folder(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        _hold(handle)
        yield
    finally:
        os.close(handle)


def _move(temporary: Path, path: Path) -> None:
    for left in reversed(range(MOVES)):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if not left:
                raise
            time.sleep(0.05)


def sync_folder(folder: Path) -> None:
    """Wait until what a folder has is on the disk."""
    if os.name == "nt":
        return  # folders cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_output(path: Path, content: bytes) -> None:
    """Write where a user wants it: whole as `replace_file` does, behind a link, or into a device such as /dev/stdout."""
    if path.exists() and not path.is_file():
        # A pipe that nobody reads would block: it is refused.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NONBLOCK", 0)), "wb") as file:
            if hasattr(os, "O_NONBLOCK"):
                os.set_blocking(file.fileno(), True)
            file.write(content)
    else:
        replace_file(Path(os.path.realpath(path)), content)


def leftovers(path: Path) -> list[Path]:
    """Return what is half written of a file or folder: by a process that was killed, or by one that is writing it now."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}"))


def abandoned(path: Path) -> bool:
    """Say whether no process is writing what is half written any more, as far as can be told.

    A process that writes holds a lock, from the moment on when it has anything to write.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return False
        folder = stat.S_ISDIR(found.st_mode)
        empty = not any(path.iterdir()) if folder else found.st_size == 0
        if empty and time.time() - found.st_mtime < ABANDONED_SECONDS:
            return False
        if sys.platform == "win32":  # an open file cannot be removed there
            return True
        handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed have left half written of a file or folder, as far as that can be done."""
    for left in leftovers(path):
        if abandoned(left):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def require_inside(root: Path, path: Path) -> None:
    """Raise BadInput if a path in a store is a link that leads out of it, or lies behind such a link.

    Args:
        root: the store's folder.
        path: a path below it, as it is written.
    """
    real = os.path.realpath(path)
    if real != os.path.join(os.path.realpath(root), path.relative_to(root)):
        raise BadInput(
            f"{str(path)!r} is a link to {real!r}, out of the store: name the store that it is in with --results"
        )
