"""What is written is whole, checked and confined to the store."""

import json
import math
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import stored

from harness import files
from harness.errors import BadInput
from harness.files import from_json, from_json_lines, replace_file, to_json
from harness.store.names import modern_spec
from harness.store.record import Record
from harness.store.run import Run
from harness.store.store import Store

SPENT = {"samples": 100, "cpu_seconds": 1.0, "wall_seconds": 1.0}
ROW = {"marks": {"samples": 100}, "end": False, "ledger": SPENT, "info": {}, "estimates": []}
SPEC = modern_spec(stored().spec)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def run(store: Store) -> Run:
    """A finished run with two rows and a checkpoint."""
    run = store.run("a-run")
    run.claim()
    record = Record(run.id, SPEC, {"samples": 200})
    run.append(record, ROW)
    run.append(record, {**ROW, "end": True})
    record.status = "done"
    run.save(record, {"theta": torch.arange(3.0), "n": 1, "none": None})
    run.release()
    return run


def test_json_is_strict_and_keeps_non_finite_numbers() -> None:
    value = {"a": [1.5, math.nan, -math.inf], "b": {"c": math.inf}, "d": None, "e": "nan"}
    text = to_json(value)
    json.loads(text, parse_constant=lambda _: pytest.fail("NaN or Infinity in JSON"))
    back = from_json(text)
    assert math.isnan(back["a"][1])
    assert (back["a"][0], back["a"][2], back["b"]["c"], back["d"], back["e"]) == (1.5, -math.inf, math.inf, None, "nan")


def test_json_is_read_to_the_last_bit() -> None:
    rng = random.Random(0)
    numbers = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(5000)]
    words = ["\\ud83d\\ude00", "\\ud800", "é", "\\n"]
    text = ", ".join(
        [*(repr(n) for n in numbers if math.isfinite(n)), "-0.0", "5e-324", "1e23", "18446744073709551616"]
    )
    text = f'{{"numbers": [{text}], "words": ["{words[0]}", "{words[1]}", "{words[2]}", "{words[3]}"], "a": 1, "a": 2}}'
    for some in (text, text.replace("\\u", "")):
        assert repr(from_json(some)) == repr(json.loads(some))
    for bad in ("[1,]", "01", '{"a": 1', "", "[" * 200 + "]" * 200):
        with pytest.raises(ValueError):  # noqa: PT011  # whichever reader says it
            from_json(bad)


def test_lines_of_json_are_read_as_each_by_itself() -> None:
    plain = b'{"a": [1, -0.0, 1e23], "b": "\xc3\xa9"}'
    deep = b"[" * 60 + b"]" * 60
    for lines in (
        [], [plain], [plain, b"null", b"2"], [plain, b'{"c": {"$float": "nan"}}', plain], [plain, rb'"\ud800"'], [deep] * 3,
    ):  # fmt: skip
        content = b"".join(line + b"\n" for line in lines)
        assert repr(from_json_lines(content)) == repr([from_json(line.decode()) for line in lines])
    for bad in (b'{"a": 1\n"b": 2}\n', b"1, 2\n", b"\n", b"1\n\n2\n", b'"\xff"\n', b"[" * 101 + b"]" * 101 + b"\n"):
        with pytest.raises(ValueError):  # noqa: PT011  # whichever reader says it
            from_json_lines(bad)


def test_a_run_reads_back_as_it_was_written(run: Run, store: Store) -> None:
    record = store.find("a-run").read()
    assert (record.status, record.spec, record.budget, record.trace["rows"]) == (
        "done",
        SPEC,
        {"samples": 200},
        2,
    )
    assert run.rows() == [ROW, {**ROW, "end": True}]
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    assert torch.equal(checkpoint["theta"], torch.arange(3.0))
    assert checkpoint["trace"] == record.trace
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoint.safetensors", "run.json", "trace.jsonl"]


def test_every_cut_and_every_edit_of_run_json_is_noticed(run: Run) -> None:
    path = run.path / "run.json"
    whole = path.read_bytes()
    for n in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:n])
        with pytest.raises(BadInput, match="torn|damaged"):
            run.read()
    for old, new in ((b'"done"', b'"failed"'), (b"200", b"201"), (b'"rows": 2', b'"rows": 1'), (b"a-run", b"b-run")):
        assert old in whole
        path.write_bytes(whole.replace(old, new, 1))
        with pytest.raises(BadInput, match="edited or damaged"):
            run.read()
    path.write_bytes(whole)
    run.read()


def test_an_edited_trace_and_checkpoint_are_noticed(run: Run) -> None:
    trace, checkpoint = run.path / "trace.jsonl", run.path / "checkpoint.safetensors"
    rows = trace.read_bytes()
    trace.write_bytes(rows.replace(b"100", b"101", 1))
    with pytest.raises(BadInput, match=r"trace\.jsonl was edited"):
        run.rows()
    trace.write_bytes(rows)
    content = bytearray(checkpoint.read_bytes())
    at = content.find(torch.arange(3.0).numpy().tobytes())
    content[at + 2] ^= 1
    checkpoint.write_bytes(bytes(content))
    with pytest.raises(BadInput, match=r"checkpoint\.safetensors"):
        run.checkpoint()
    checkpoint.write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(BadInput, match=r"checkpoint\.safetensors"):
        run.checkpoint()


def test_a_checkpoint_never_executes_anything(run: Run, tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"run": "a-run", "digest": "", "x": Poison()}, run.path / "checkpoint.safetensors")
    with pytest.raises(BadInput, match="edited or damaged"):
        run.checkpoint()
    assert not (tmp_path / "executed").exists()


def test_a_newer_schema_is_refused_by_number(run: Run) -> None:
    content = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(BadInput, match="schema 99"):
        run.read()


def test_rows_after_the_checkpoint_are_cut_on_resuming(run: Run) -> None:
    record = run.read()
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    run.claim()
    run.append(record, ROW)
    assert record.trace["rows"] == 3
    run.begin(record, checkpoint["trace"])
    assert record.trace == checkpoint["trace"]
    assert len((run.path / "trace.jsonl").read_bytes().splitlines()) == 2
    (run.path / "trace.jsonl").write_bytes(b"other\n")
    with pytest.raises(BadInput, match="does not fit its checkpoint"):
        run.begin(record, checkpoint["trace"])


def test_two_processes_never_own_one_run_and_a_dead_owner_owns_nothing(store: Store) -> None:
    path = store.root / "runs" / "contested"
    code = f"from pathlib import Path; from harness.store.run import Run; run = Run(Path({str(path)!r}))\n"
    code += "run.claim(); print('mine'); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(BadInput, match="being written by another process"):
            Run(path).claim()
        other.kill()
    run = Run(path)
    run.claim()
    run.release()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../b", "", ".hidden", "UPPER", "a" * 102, "a\nb", "%2e%2e"]
)
def test_ids_that_leave_the_store_are_refused(store: Store, name: str) -> None:
    with pytest.raises(BadInput, match="is no run id"):
        store.find(name)
    with pytest.raises(BadInput, match="is no run id"):
        store.run(name)


def test_find_takes_a_beginning_and_refuses_what_is_ambiguous(run: Run, store: Store) -> None:
    assert store.find("a-r").id == "a-run"
    with pytest.raises(BadInput, match=r"no run 'a-rnu'.*did you mean 'a-run'"):
        store.find("a-rnu")
    other = store.run("a-run-2")
    other.claim()
    other.write(Record(other.id, {}, {}))
    assert store.find("a-run").id == "a-run"
    with pytest.raises(BadInput, match="could be runs/a-run, runs/a-run-2"):
        store.find("a-")


def test_a_run_of_ones_own_goes_before_the_same_one_stored(run: Run, store: Store) -> None:
    stored = store.run(run.id, group="reference")
    stored.claim()
    stored.write(Record(stored.id, {}, {}))
    assert store.find(run.id).path == run.path
    assert store.find("a-r").path == run.path
    assert store.find(f"reference/{run.id}").path == stored.path
    assert store.find("reference/a-").path == stored.path
    for name in ("../a-run", "reference/../a-run", "/a-run", "a/b/a-run"):
        with pytest.raises(BadInput, match="is no run id"):
            store.find(name)


def test_a_store_that_is_a_file_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is a file"):
        Store(tmp_path / "file")
    with pytest.raises(BadInput, match="is a file"):
        Store(tmp_path / "file" / "results").require_writable()
    with pytest.raises(BadInput, match="cannot be written"):
        Store(Path("/proc/harness/results")).require_writable()
    Store(tmp_path / "new" / "results").require_writable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_replacing_a_file_leaves_the_old_one_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    replace_file(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_that_another_process_reads_is_replaced_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where an open file cannot be replaced."""
    refusals = [PermissionError(13, "in use")] * 2

    def replace(old: Path, new: Path) -> None:
        if refusals:
            raise refusals.pop()
        real(old, new)

    real = os.replace
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(PermissionError):  # elsewhere it means that the folder cannot be written
        replace_file(tmp_path / "f", b"new")
    monkeypatch.setattr(files, "MOVES", 2)
    replace_file(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"


def test_a_store_on_a_drive_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    with pytest.raises(BadInput, match="is no folder, as '/' is not there"):
        Store(tmp_path / "results").require_writable()
