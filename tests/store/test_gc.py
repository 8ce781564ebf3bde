"""What is collected is garbage: nothing that is needed, owned by a process, or outside the store."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, stored

from harness.data import kept
from harness.errors import StoreTrouble
from harness.store import gc
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

Harness = Callable[..., Result]

SPENT = {"samples": 200, "cpu_seconds": 1.0, "wall_seconds": 1.0}
ROW = {"marks": {}, "end": True, "ledger": SPENT, "info": {}, "estimates": []}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the user's with nothing in it."""
    monkeypatch.setattr(kept, "cache_folder", lambda name: tmp_path / "cache" / name)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def make(store: Store, run_id: str, group: str = "runs", status: str = "done") -> Run:
    """Store a run with a row and a checkpoint."""
    run = store.run(run_id, group)
    run.claim()
    record = Record(run.id, stored().spec, {"samples": 200}, status=status)
    run.append(record, ROW)
    run.save(record, {"theta": [1.0] * 100})
    run.release()
    return run


def quarantine(store: Store, run: Run) -> Path:
    """Move a run to where `harness doctor --repair` does."""
    (run.path / "run.json").write_text("{}")
    return store.quarantine(run.damage()[0])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KEPT = ["run.json", "trace.jsonl"]


def test_what_is_done_loses_its_checkpoint_and_the_rest_stays(store: Store, harness: Harness) -> None:
    done = make(store, "done")
    others = [make(store, status, status=status) for status in ("running", "interrupted", "failed", "diverged")]
    quarantine(store, make(store, "damaged", group="mine"))
    for name in (".run.json.12345678", ".checkpoint.safetensors.0a1b2c3d"):
        (others[0].path / name).write_bytes(b"half")
    (others[1].path / ".notes").write_bytes(b"mine")
    before = files(store.root)

    size = (done.path / "checkpoint.safetensors").stat().st_size
    lost = sum(len(content) for name, content in before.items() if name.startswith("quarantine"))
    listed = harness("gc", "--checkpoints", "--dry-run")
    assert (listed.code, listed.err) == (0, "")
    assert files(store.root) == before
    lines = [line.split() for line in listed.out.splitlines()]
    assert lines[1:5] == [
        ["quarantined", "run", "mine/damaged", f"{lost:,}"],
        ["checkpoint", "runs/done", f"{size:,}"],
        ["leftover", "runs/running", "4"],
        ["leftover", "runs/running", "4"],
    ]
    total = size + 8 + lost
    said = f"would remove 1 checkpoint, 1 quarantined run, 2 leftovers: {total:,} bytes\nwithout its checkpoint a run keeps"
    assert said in listed.out
    data = json.loads(harness("gc", "--checkpoints", "--dry-run", "--json").out)
    assert (data["dry_run"], data["bytes"], len(data["items"])) == (True, total, 4)
    assert data["items"][1] == {
        "what": "checkpoint", "run": "runs/done", "path": str(done.path / "checkpoint.safetensors"), "bytes": size,
        "reason": None,
    }  # fmt: skip

    collected = harness("gc", "--checkpoints")
    assert (collected.code, collected.err) == (0, "")
    assert collected.out == listed.out.replace("would remove", "removed")
    assert sorted(os.listdir(done.path)) == KEPT
    kept = {name: b for name, b in before.items() if not name.startswith("quarantine") and b != b"half"}
    kept.pop("runs/done/checkpoint.safetensors")
    assert files(store.root) == kept
    assert not (store.root / "quarantine").exists()
    assert done.read().status == "done"
    assert len(done.rows()) == 1
    for run in others:
        assert run.checkpoint() is not None
    again = harness("gc", "--checkpoints", "--json")
    assert json.loads(again.out) == {"dry_run": False, "bytes": 0, "items": [], "cache_bytes": 0}
    assert harness("gc", "--checkpoints").out == "removed nothing: 0 bytes\n"


def test_a_run_without_its_checkpoint_says_why_it_cannot_go_on(harness: Harness, tiny_run: list[str]) -> None:
    run_id = harness(*tiny_run).out.partition(":")[0]
    assert harness("gc", "--checkpoints").code == 0
    assert harness(*tiny_run).out.startswith(f"{run_id}: was done already")
    assert harness("show", run_id).code == 0
    for words in (["extend", run_id, "--samples", "3e4"], ["evaluate", run_id, "--estimator", "importance"]):
        refused = harness(*words)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "checkpoint" in refused.err


def test_groups_restrict_it(store: Store, harness: Harness) -> None:
    one, other = make(store, "a"), make(store, "a", group="mine")
    lost = quarantine(store, make(store, "b", group="mine"))
    assert harness("gc", "--checkpoints", "runs").code == 0
    assert sorted(os.listdir(one.path)) == KEPT
    assert other.checkpoint() is not None
    assert lost.exists()
    for group in ("mien", "../results", "*", "quarantine"):
        refused = harness("gc", group)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert refused.err.startswith(f"harness: there is no group {group!r} in {str(store.root)!r}")
    assert harness("gc", "--checkpoints", "mine").code == 0
    assert sorted(os.listdir(other.path)) == KEPT
    assert not lost.exists()
    nothing = harness("gc", "--results", store.root.parent / "none")
    assert (nothing.code, nothing.out) == (0, "removed nothing: 0 bytes\n")


def test_what_cannot_be_read_keeps_its_checkpoint(store: Store, harness: Harness) -> None:
    run = make(store, "a")
    (run.path / "run.json").write_text("{}")
    assert harness("gc", "--checkpoints").out == "removed nothing: 0 bytes\n"
    assert (run.path / "checkpoint.safetensors").exists()


def test_nothing_behind_a_link_is_touched(store: Store, harness: Harness, tmp_path: Path) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    outside = make(elsewhere, "outside")
    lost = quarantine(elsewhere, make(elsewhere, "lost"))
    before = files(elsewhere.root)
    make(store, "inside")
    (store.root / "group").symlink_to(outside.path.parent)  # a linked group, run, checkpoint, leftover and quarantine
    (store.root / "runs" / "outside").symlink_to(outside.path)
    run = make(store, "linked")
    (run.path / "checkpoint.safetensors").unlink()
    (run.path / "checkpoint.safetensors").symlink_to(outside.path / "checkpoint.safetensors")
    (run.path / ".run.json.12345678").symlink_to(outside.path / "run.json")
    (store.root / "quarantine" / "mine").mkdir(parents=True)
    (store.root / "quarantine" / "mine" / "lost").symlink_to(lost)
    (store.root / "quarantine" / "theirs").symlink_to(lost.parent)
    moved = quarantine(store, make(store, "with-link", group="mine"))
    (moved / "link").symlink_to(outside.path)
    done = harness("gc", "--checkpoints", "--json")
    assert [(item["what"], item["run"]) for item in json.loads(done.out)["items"]] == [
        ("quarantined run", "mine/with-link"), ("checkpoint", "runs/inside"),
    ]  # fmt: skip
    assert files(elsewhere.root) == before
    assert sorted(os.listdir(store.root / "quarantine" / "mine")) == ["lost"]
    assert (run.path / "checkpoint.safetensors").is_symlink()

    (store.root / "quarantine" / "mine" / "lost").unlink()
    (store.root / "quarantine" / "theirs").unlink()
    (store.root / "quarantine" / "mine").rmdir()
    (store.root / "quarantine").rmdir()
    (store.root / "quarantine").symlink_to(elsewhere.root / "quarantine")
    assert harness("gc", "--checkpoints").out == "removed nothing: 0 bytes\n"
    assert files(elsewhere.root) == before


def test_a_run_that_a_process_owns_is_left_alone(store: Store, harness: Harness) -> None:
    run = make(store, "a")
    (run.path / ".run.json.12345678").write_bytes(b"half")
    before = files(run.path)
    code = f"from pathlib import Path; from harness.store.run import Run; run = Run(Path({str(run.path)!r}))\n"
    code += f"run.claim(); Path({str(run.path / '.run.json.12345678')!r}).write_bytes(b'half'); print('mine'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "mine\n"
        for words in (["gc", "--checkpoints", "--dry-run"], ["gc", "--checkpoints"]):
            done = harness(*words)
            assert (done.code, done.out.splitlines()[-1]) == (
                0,
                f"{'would remove' if '--dry-run' in words else 'removed'} nothing: 0 bytes",
            )
        assert before.items() <= files(run.path).items()
        owner.kill()
    assert harness("gc", "--checkpoints").code == 0
    assert sorted(os.listdir(run.path)) == KEPT


def test_a_run_that_goes_on_just_before_it_is_claimed_keeps_its_checkpoint(
    store: Store, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other = make(store, "a"), make(store, "b")
    owned = Run.owned

    def then_extended(self: Run) -> bool:
        was = owned(self)
        if self.id == "a":  # another process extends it, and is interrupted
            make(store, "a", status="interrupted")
        return was

    monkeypatch.setattr(Run, "owned", then_extended)
    assert [item["run"] for item in json.loads(harness("gc", "--checkpoints", "--json").out)["items"]] == ["runs/b"]
    assert run.checkpoint() is not None
    assert other.checkpoint() is None

    make(store, "b")
    monkeypatch.setattr(Run, "owned", lambda self: False)  # claimed by another in this very moment
    other.claim()
    assert gc.collect(store) == []
    assert other.checkpoint() is not None
    other.release()


def test_what_cannot_be_removed_is_said(store: Store, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(store, "a"), make(store, "b")
    claim = Run.claim

    def refusing(self: Run) -> None:
        if self.id == "a":
            raise StoreTrouble("it cannot be written (Read-only file system): make room")
        claim(self)

    monkeypatch.setattr(Run, "claim", refusing)
    done = harness("gc", "--checkpoints")
    path = one.path / "checkpoint.safetensors"
    said = f"harness: {path} is left: it cannot be written (Read-only file system): make room\n"
    assert (done.code, done.err) == (3, said)
    assert "removed 1 checkpoint: " in done.out
    assert path.exists()
    assert other.checkpoint() is None
    failed = json.loads(harness("gc", "--checkpoints", "--json").out)
    assert (failed["bytes"], failed["items"][0]["reason"][:24]) == (0, "it cannot be written (Re")
