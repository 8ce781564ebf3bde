"""Publications by somebody who means harm: refused in one sentence, with nothing taken, written, executed or filled."""

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from shared_runs import content, make

from harness.errors import BadInput
from harness.files import seal
from harness.sharing import archive, exchange, members
from harness.sharing.members import place_of
from harness.store.store import Store

resource = pytest.importorskip("resource")
NAME = "mine/aevb/run.json"
Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, body: bytes = b"x", **fields: Any) -> Member:
    found = tarfile.TarInfo(name)
    found.size = len(body)
    for field, value in fields.items():
        setattr(found, field, value)
    return found, body


def packed(*members: Member, form: int = tarfile.USTAR_FORMAT) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as tar:
        for one, body in members:
            tar.addfile(one, io.BytesIO(body))
    return zstandard.compress(plain.getvalue())


def header(name: str = NAME, **fields: Any) -> bytes:
    """Return the header of a member by itself, whatever it claims."""
    return member(name, **fields)[0].tobuf(tarfile.GNU_FORMAT)


def zeros(size: int) -> bytes:
    """Return so many zeros, compressed."""
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        writer.write(header(size=size))
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
    return out.getvalue()


SOUND = packed(member(NAME))
NAMES = [
    "/etc/passwd", "../x", "mine/../../x", "mine/aevb/../../../run.json", "mine//run.json", "/mine/aevb/run.json",
    "./../run.json", "mine/aevb/run.json/x", "mine/aevb/owner.json", "mine/aevb/checkpoint.pt", "mine/aevb/traceback.txt",
    "mine/aevb/x.py", "run.json", "Mine/aevb/run.json", "mine/.aevb/run.json", "mine/aevb./run.json", "mine/a\nb/run.json",
    "mine/a\x1b[31m/run.json", "mine\\aevb\\run.json", "C:/aevb/run.json", "quarantine/aevb/run.json", "mine/é/run.json",
    "mine/aevb/run.json\n", "mine/-a/run.json", "mine/con:/run.json", ".import.01234567/aevb/run.json",
]  # fmt: skip
HOSTILE: dict[str, bytes | Callable[[], bytes]] = {
    **{f"name {name!r}": packed(member(name)) for name in NAMES},
    "a symbolic link": packed(member(NAME, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a link within": packed(
        member(NAME, b"", type=tarfile.SYMTYPE, linkname="../../x"), member("mine/aevb/trace.jsonl")
    ),
    "a folder that is a link": packed(member("mine", b"", type=tarfile.SYMTYPE, linkname="/tmp"), member(NAME)),
    "a hard link": packed(member(NAME, b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
    "a device": packed(member(NAME, b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
    "a block device": packed(member(NAME, b"", type=tarfile.BLKTYPE)),
    "a pipe": packed(member(NAME, b"", type=tarfile.FIFOTYPE)),
    "a folder outside": packed(member("../x", b"", type=tarfile.DIRTYPE)),
    "twice the same": packed(member(NAME), member(NAME)),
    "once more by another name": packed(member(NAME), member(f"./{NAME}")),
    "a long name": packed(member(f"mine/{'a' * 300}/run.json"), form=tarfile.GNU_FORMAT),
    "a name by pax": packed(member(NAME, pax_headers={"path": "../../x"}), form=tarfile.PAX_FORMAT),
    "a size by pax": packed(member(NAME, pax_headers={"size": "99999999999"}), form=tarfile.PAX_FORMAT),
    "a sparse file": zstandard.compress(header(type=tarfile.GNUTYPE_SPARSE, size=1) + bytes(1024)),
    "a negative size": zstandard.compress(header(size=-512) + bytes(1024)),
    "a size beyond all": zstandard.compress(header(size=1 << 60) + bytes(1024)),
    "more than a file may have": zstandard.compress(header(size=members.MOST_BYTES_ELSE + 1) + bytes(1024)),
    "less than it tells of": zstandard.compress(header(size=100) + bytes(20)),
    "a header of any length": zstandard.compress(header(type=tarfile.XHDTYPE, size=1 << 40) + bytes(1024)),
    "cut off": SOUND[:-8],
    "cut off at a block": zstandard.compress(header(size=1) + b"x".ljust(512, b"\0")),
    "a byte changed": SOUND[:30] + bytes([SOUND[30] ^ 1]) + SOUND[31:],
    "something behind": SOUND + b"x",
    "another frame behind": SOUND + SOUND,
    "something in the end": zstandard.compress(zstandard.decompress(SOUND) + b"x" * 512),
    "a checksum that does not fit": zstandard.compress(header()[:100] + b"9" + header()[101:]),
    "no archive": b"PK\x03\x04 or something else",
    "empty": b"",
    "a window of 2 GiB": b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00",
    "a bomb": lambda: zeros(200 << 20),
    "a frame of nothing but a bomb": lambda: zstandard.compress(bytes(300 << 20)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives(what: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    store = Store(tmp_path / "results")
    make(store)
    before = content(store)
    made = HOSTILE[what]
    path = tmp_path / "in" / "x.tar.zst"
    path.parent.mkdir()
    path.write_bytes(made if isinstance(made, bytes) else made())
    around = sorted(tmp_path.rglob("*"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput) as refused:
        exchange.import_runs(str(path), store)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 150_000  # KiB
    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000
    assert sorted(tmp_path.rglob("*")) == around
    assert content(store) == before
    record_property("fault", ("hostile publications", 1, 1))


def test_the_control_is_accepted(tmp_path: Path) -> None:
    """What the hostile ones are made of is taken: this one's run is no run, and so refused alone, by its name."""
    (tmp_path / "x.tar.zst").write_bytes(
        packed(
            member(".", b"", type=tarfile.DIRTYPE), member("./mine/", b"", type=tarfile.DIRTYPE), member(f"./{NAME}")
        )
    )
    (one,) = exchange.import_runs(str(tmp_path / "x.tar.zst"), Store(tmp_path / "results"))
    assert (one.run, one.what, one.why) == ("mine/aevb", "refused", "its run.json is torn or no run of ours")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES"])
def test_as_much_as_may_come_in_and_one_more(limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, store = tmp_path / "x.tar.zst", Store(tmp_path / "results")
    path.write_bytes(packed(*(member(f"mine/aevb-{k}/run.json", b"xy") for k in range(3))))
    for least, fits in ((6 if limit == "MOST_BYTES" else 3, True), (5 if limit == "MOST_BYTES" else 2, False)):
        monkeypatch.setattr(members, limit, least)
        if fits:
            assert len(exchange.import_runs(str(path), store)) == 3
        else:
            with pytest.raises(BadInput, match=f"has more than {least} "):
                exchange.import_runs(str(path), store)


@pytest.mark.parametrize("what", ["link to a file", "link to a folder", "pipe", "socket", "folder", "link to a run"])
def test_hostile_folders(what: str, tmp_path: Path) -> None:
    theirs, store = Store(tmp_path / "theirs"), Store(tmp_path / "results")
    run = make(theirs)
    secret = tmp_path / "secret"
    place = run.path / "evaluations.json"
    if what == "link to a file":
        secret.write_text("precious")
        place.symlink_to(secret)
    elif what == "link to a folder":
        place.symlink_to(tmp_path)
    elif what == "pipe":
        os.mkfifo(place)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            here = os.getcwd()
            os.chdir(run.path)
            one.bind("evaluations.json")
            os.chdir(here)
    elif what == "folder":
        place.mkdir()
    else:
        (theirs.root / "mine" / "another").symlink_to(tmp_path)
    with pytest.raises(BadInput, match=r"which is (no plain file|a link): nothing was imported"):
        exchange.import_runs(str(theirs.root), store)
    assert not store.root.exists()


def test_what_else_lies_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    """A repository of results has pictures, notes and a history; a store has what processes and gc leave."""
    theirs, store = Store(tmp_path / "theirs"), Store(tmp_path / "results")
    run = make(theirs)
    for name in (
        ".git/config/x",
        "figures/a.png",
        "tune/study.json",
        "quarantine/mine/other/run.json",
        "mine/figure.png",
    ):
        (theirs.root / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs.root / name).write_text("x")
    (run.path / "notes.txt").write_text("x")
    (run.path / "traceback.txt").write_text("x")
    assert [one.what for one in exchange.import_runs(str(theirs.root), store)] == ["new"]
    found = sorted(path.name for path in store.root.rglob("*") if path.is_file())
    assert found == ["origin.json", "run.json", "trace.jsonl"]


def test_a_store_that_leads_out_of_itself_is_not_written(tmp_path: Path) -> None:
    theirs, store = Store(tmp_path / "theirs"), Store(tmp_path / "results")
    make(theirs)
    (tmp_path / "outside").mkdir()
    store.root.mkdir()
    (store.root / "mine").symlink_to(tmp_path / "outside")
    (one,) = exchange.import_runs(str(theirs.root), store)
    assert one.what == "refused"
    assert "out of the store" in one.why
    assert os.listdir(tmp_path / "outside") == []


def test_places_are_those_of_files_of_runs_alone() -> None:
    assert place_of("mine/aevb-mnist-nz3-s0-01234567/trace.jsonl") is not None
    assert [name for name in NAMES if place_of(name) is not None] == []
    assert archive.MOST_RATIO > 0


@pytest.mark.parametrize(
    "entries",
    [{"by": 7}, {"by": "a" * 1000}, {"run": "another"}, {"source": ["x"]}, None],
)
def test_who_made_a_run_is_a_name_or_the_run_is_refused(entries: dict[str, Any] | None, tmp_path: Path) -> None:
    theirs, store = Store(tmp_path / "theirs"), Store(tmp_path / "results")
    run = make(theirs)
    words = (
        b"{}" if entries is None else seal({"run": run.id, "by": "Alice", "source": None, "imported": None} | entries)
    )
    (run.path / "origin.json").write_bytes(words)
    (one,) = exchange.import_runs(str(theirs.root), store)
    assert (one.what, one.why) == ("refused", "its origin.json was edited or damaged")
    assert run.origin() is not None  # foreign all the same
    assert [damage.file for damage in run.damage()] == [None]
