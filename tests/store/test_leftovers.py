"""What processes that were killed have left is told from what others are writing, and removed by the next one, or by gc."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, stored

from harness import files
from harness.files import replace_file, replace_folder
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]

WRITES = {"file": "files.replace_file(path, b'half')", "folder": "files.replace_folder(path, {'a.csv': b'half'})"}

SPENT = {"samples": 200, "cpu_seconds": 1.0, "wall_seconds": 1.0}
ROW = {"marks": {}, "end": True, "ledger": SPENT, "info": {}, "estimates": []}


def writer(path: Path, kind: str) -> "subprocess.Popen[str]":
    """Start a process that writes, and stands still before it is done."""
    code = f"""
import time
from pathlib import Path
from harness import files
path = Path({str(path)!r})
def wait(*_):
    print("writing", flush=True)
    time.sleep(60)
files.os.fsync = wait
{WRITES[kind]}
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("kind", WRITES)
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out[1]"
    with writer(path, kind) as living, writer(path, kind) as dead:
        half = set(files.leftovers(path))
        assert len(half) == 2
        dead.kill()
        dead.wait()
        replace_file(path, b"whole") if kind == "file" else replace_folder(path, {"a.csv": b"whole"})
        (left,) = files.leftovers(path)
        assert left in half
        assert not files.abandoned(left)
        living.kill()
        living.wait()
        assert files.abandoned(left)
    files.remove_abandoned(path)
    assert os.listdir(tmp_path) == ["out[1]"]
    assert (path if kind == "file" else path / "a.csv").read_bytes() == b"whole"


def test_an_empty_file_may_be_about_to_be_locked(tmp_path: Path) -> None:
    half = tmp_path / ".out.0a1b2c3d"
    half.touch()
    assert not files.abandoned(half)
    before = time.time() - files.ABANDONED_SECONDS - 1
    os.utime(half, (before, before))
    assert files.abandoned(half)


def test_a_link_is_nobodys_leftover(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / ".out.0a1b2c3d").symlink_to(tmp_path / "mine")
    replace_file(tmp_path / "out", b"whole")
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / ".out.0a1b2c3d").is_symlink()


def make(store: Store, run_id: str) -> tuple[Run, Record]:
    run = store.run(run_id)
    run.claim()
    record = Record(run.id, stored().spec, {"samples": 200})
    run.append(record, ROW)
    record.status = "done"
    run.write(record)
    run.release()
    return run, record


def test_gc_removes_them_and_doctor_lists_them(harness: Harness, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    (run, _), sound = make(store, "done"), set[Path]()
    (store.root / "figures").mkdir()
    for name in ("figures/a.png", "figures/.a.png", "notes", ".notes", "runs/done/notes.lock"):
        (store.root / name).write_bytes(b"mine")
        sound.add(store.root / name)
    left = [store.root / ".harness-123", store.root / "figures" / ".a.png.01234567", run.path / "owner.json"]
    left += [run.path / "owner.lock", run.path / "evaluations.lock", run.path / ".evaluations.json.89abcdef"]
    for path in left:
        path.write_bytes(b"{}")
    export = store.root / "figures" / ".out.01234567"
    (export / "new").mkdir(parents=True)
    (store.root / "runs" / "begun").mkdir()
    (store.root / "runs" / "begun" / "owner.lock").touch()
    (store.root / "runs" / "empty").mkdir()  # nobody's
    left += [export, store.root / "runs" / "begun"]

    listed = harness("doctor", "--store")
    assert (listed.code, listed.err) == (0, "")
    assert {line.removeprefix("left by a process that was killed: ") for line in listed.out.splitlines()[1:-1]} == {
        str(path) for path in left
    }
    assert listed.out.splitlines()[-1] == "next: harness gc"
    dry = json.loads(harness("gc", "--dry-run", "--json").out)
    assert {item["path"] for item in dry["items"]} == {str(path) for path in left}
    assert all(path.exists() for path in left)
    removed = harness("gc")
    assert (removed.code, removed.err) == (0, "")
    assert "removed 8 leftovers" in removed.out
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in sound)
    assert (store.root / "runs" / "empty").exists()
    assert harness("doctor", "--store").out == f"{store.root}: 1 run, all sound\n"


def test_gc_of_a_group_leaves_those_of_others(harness: Harness, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    run, _ = make(store, "done")
    (run.path / ".run.json.01234567").write_bytes(b"half")
    (store.root / ".x.01234567").write_bytes(b"half")
    assert "removed 1 leftover:" in harness("gc", "runs").out
    assert (store.root / ".x.01234567").exists()


def test_whoever_asks_whether_a_store_can_be_written_leaves_nothing_when_killed(tmp_path: Path) -> None:
    code = "import os, sys, tempfile\nfrom pathlib import Path\nfrom harness.store.store import Store\n"
    code += "made = tempfile.TemporaryFile\n"
    code += "def killed(**words):\n    made(**words)\n    os.kill(os.getpid(), 9)\n"
    code += f"tempfile.TemporaryFile = killed\nStore(Path({str(tmp_path)!r})).require_writable()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "link"), reason="a system without")
def test_a_backup_by_hard_links_keeps_what_it_has(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    run, record = make(store, "done")
    backup = tmp_path / "backup"
    backup.mkdir()
    for path in run.path.iterdir():
        os.link(path, backup / path.name)
    before = {path.name: path.read_bytes() for path in backup.iterdir()}
    run.claim()
    record.status = "running"
    run.begin(record, record.trace)
    run.append(record, ROW)
    run.write(record)
    run.release()
    assert len(run.rows()) == 2
    assert {path.name: path.read_bytes() for path in backup.iterdir()} == before


def test_an_estimate_is_added_once(tmp_path: Path) -> None:
    run, _ = make(Store(tmp_path / "results"), "done")
    estimate = {
        "estimator": "importance", "settings": {"K": 10}, "direction": "lower", "split": "test", "points": 5, "mean": -3.5,
        "se_points": 0.1, "se_estimator": 0.1, "diagnostics": {"ess": float("nan")},
    }  # fmt: skip
    row = {"time": "2026-01-01T00:00:00Z", "code": {"version": "1"}, "file": None, "ledger": SPENT}
    run.append_evaluation({**row, "estimate": estimate})
    run.append_evaluation({**row, "time": "2026-01-02T00:00:00Z", "estimate": estimate})  # its first try was killed
    assert [one["time"][:10] for one in run.evaluations()] == ["2026-01-01"]
    run.append_evaluation({**row, "estimate": {**estimate, "mean": -3.6}})
    run.append_evaluation({**row, "ledger": {**SPENT, "samples": 300}, "estimate": estimate})
    assert len(run.evaluations()) == 3
