"""The store of results: one folder a run, and the only code that reads or writes one (DESIGN §6).

    <root>/<group>/<run id>/run.json        specification, status, ledger, provenance, summary
                            trace.jsonl     a row a mark, append-only
                            checkpoint.pt   all that the next step depends on (local only)
                            evaluations.jsonl   a row an estimate made after training
                            owner.lock      held by the process that is writing; the lock dies with it

run.json and the checkpoint are replaced whole. A checkpoint knows how long the trace was when it was taken, so resuming cuts off
rows that were written after it. run.json carries a checksum of itself and of the trace of an ended run.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from harness.errors import BadInput, Busy, StoreTrouble, suggestion

SCHEMA = 1
STATUSES = ("running", "done", "diverged", "failed", "interrupted")
NAME = r"^[a-z0-9][a-z0-9._-]{0,100}$"
"""What runs and groups may be called."""
_RUN_ID = re.compile(NAME)
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def default_root() -> Path:
    """Return HARNESS_RESULTS, or `results` in the current folder."""
    return Path(os.environ.get("HARNESS_RESULTS") or "results")


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return strict JSON; a NaN or infinity becomes {"$float": "nan"}."""
    return json.dumps(_encode(value), allow_nan=False, indent=indent, ensure_ascii=False)


def from_json(text: str) -> Any:
    """Return the value that `to_json` wrote."""
    if '"$float"' not in text:  # a hook makes reading three times as slow
        return json.loads(text)
    return json.loads(text, object_hook=lambda o: _NON_FINITE[o["$float"]] if o.keys() == {"$float"} else o)


def _encode(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


@dataclass
class Record:
    """The content of a run.json.

    Attributes:
        run: the run's id.
        spec: its specification, as plain data.
        budget: limits by counter.
        status: one of `STATUSES`.
        reason: why it diverged or failed, else None.
        ledger: counters and seconds at the last save.
        overshoot: by how much each limit that ended the run was passed.
        summary: the estimates of the last row.
        trace: rows, bytes and SHA-256 of the trace at the last save.
        provenance: for every sitting, what it ran on.
    """

    run: str
    spec: dict[str, Any]
    budget: dict[str, float]
    status: str = "running"
    reason: str | None = None
    ledger: dict[str, float] = field(default_factory=dict)
    overshoot: dict[str, float] = field(default_factory=dict)
    summary: list[dict[str, Any]] = field(default_factory=list)
    trace: dict[str, Any] = field(
        default_factory=lambda: {"rows": 0, "bytes": 0, "sha256": hashlib.sha256().hexdigest()}
    )
    provenance: list[dict[str, Any]] = field(default_factory=list)
    schema: int = SCHEMA


class Store:
    """A folder of runs.

    Args:
        root: the folder; it need not exist before something is written.
    """

    def __init__(self, root: Path):
        self.root = root
        if root.exists() and not root.is_dir():
            raise BadInput(f"the store {str(root)!r} is a file: name a folder with --results")

    def require_writable(self) -> None:
        """Raise BadInput unless runs can be written here; leaves nothing behind."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise BadInput(
                f"the store {str(self.root)!r} is no folder, as {str(folder)!r} is a file: name a folder with --results"
            )
        probe = folder / f".harness-{os.getpid()}"
        try:
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"the store {str(self.root)!r} cannot be written ({error.strerror}): name another folder with --results"
            ) from error

    def runs(self, group: str = "*") -> Iterator["Run"]:
        """Yield every run of a group, or of every group, sorted by group and id."""
        if self.root.is_dir():
            for path in sorted(self.root.glob(f"{group}/*/run.json")):
                yield Run(path.parent)

    def run(self, run_id: str, group: str = "runs") -> "Run":
        """Return where a run of this id is or would be."""
        if not _RUN_ID.match(run_id):
            raise BadInput(f"{run_id!r} is no run id: letters a-z, digits, '.', '_' and '-'; see `harness list`")
        return Run(self.root / group / run_id)

    def find(self, name: str) -> "Run":
        """Return the stored run with this id, or whose id alone begins so, within one group where `group/` stands before it.

        Where names leave a choice a single run in the group `runs`, the user's own, goes before those of other groups.

        Raises:
            BadInput: there is none, or several.
        """
        group, slash, begin = name.rpartition("/")
        if not _RUN_ID.match(begin) or (slash and not _RUN_ID.match(group)):
            hint = "put the id before all settings" if name.startswith("-") else "letters a-z, digits, '.', '_' and '-'"
            raise BadInput(f"{name!r} is no run id: {hint}; see `harness list`")
        runs = [run for run in self.runs() if not slash or run.path.parent.name == group]
        near = [run for run in runs if run.id == begin] or [run for run in runs if run.id.startswith(begin)]
        own = [run for run in near if run.path.parent.name == "runs"]
        if len(own) == 1:
            return own[0]
        if not near:
            ids = [run.id for run in runs]
            raise BadInput(f"there is no run {name!r} in {str(self.root)!r}{suggestion(name, ids)}: see `harness list`")
        if len(near) > 1:
            ids = [f"{run.path.parent.name}/{run.id}" for run in near[:5]]
            raise BadInput(f"{name!r} could be {', '.join(ids)}: write more of the id")
        return near[0]


class Run:
    """One run's folder."""

    def __init__(self, path: Path):
        self.path, self.id = path, path.name
        self._lock: Any = None

    def exists(self) -> bool:
        """Say whether the run has a run.json."""
        return (self.path / "run.json").is_file()

    # -- reading

    def read(self) -> Record:
        """Return run.json's content, checked.

        Raises:
            BadInput: it is missing, torn, edited, or of a schema that this version does not know.
        """
        path = self.path / "run.json"
        try:
            content = from_json(path.read_text(encoding="utf-8"))
            checksum = content.pop("checksum")
            schema = content["schema"]
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): see `harness list`") from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise BadInput(f"{path} is torn or no run of ours: {self._way_out}") from error
        if schema != SCHEMA:
            raise BadInput(
                f"{path} has schema {schema!r}, and this version knows {SCHEMA}: use a newer version of the harness"
            )
        if checksum != _checksum(content) or content["run"] != self.id:
            raise BadInput(f"{path} was edited or damaged, its checksum does not fit: {self._way_out}")
        return Record(**content)

    def rows(self) -> list[dict[str, Any]]:
        """Return the trace; raises as `content`."""
        return self.content()[1]

    def content(self) -> tuple[Record, list[dict[str, Any]]]:
        """Return the record and the trace.

        Raises:
            BadInput: as `read`; or the run has ended and its trace is not the one that it ended with.
        """
        record = self.read()
        try:
            content = (self.path / "trace.jsonl").read_bytes()
        except FileNotFoundError:
            content = b""
        if record.status == "running":
            content = content[: content.rfind(b"\n") + 1]  # a row may be half written at this moment
        elif record.trace["sha256"] != hashlib.sha256(content).hexdigest():
            raise BadInput(
                f"{self.path / 'trace.jsonl'} was edited or damaged, its checksum does not fit: {self._way_out}"
            )
        return record, [from_json(line) for line in content.decode().splitlines()]

    def evaluations(self) -> list[dict[str, Any]]:
        """Return what was estimated after training, in order of time: each with `ledger`, the training it had, and `estimate`.

        Raises:
            BadInput: a row was edited or damaged.
        """
        path = self.path / "evaluations.jsonl"
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines() if path.is_file() else [], 1):
            try:
                row = from_json(line)
                sound = row.pop("checksum") == _checksum(row)
            except (ValueError, KeyError, AttributeError, TypeError):
                sound = False
            if not sound:
                raise BadInput(f"line {number} of {path} was edited or damaged: delete that line")
            rows.append(row)
        return rows

    def checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint, or None if there is none.

        Raises:
            BadInput: it is damaged.
        """
        import torch

        from harness.state import digest

        path = self.path / "checkpoint.pt"
        if not path.is_file():
            return None
        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
            found = content.pop("digest")
        except Exception as error:  # a damaged archive can raise nearly anything
            raise BadInput(f"{path} cannot be read ({type(error).__name__}): {self._way_out}") from error
        if found != digest(content) or content["run"] != self.id:
            raise BadInput(f"{path} was edited or damaged, its checksum does not fit: {self._way_out}")
        return cast(dict[str, Any], content)

    @property
    def _way_out(self) -> str:
        return f"restore it from a copy, or delete {str(self.path)!r} and run it again"

    # -- writing; all of it by the owner

    def claim(self) -> None:
        """Become the owner: make the folder if need be, and lock it until `release` or the end of this process.

        Raises:
            Busy: another process owns it.
            StoreTrouble: it cannot be written.
        """
        import filelock

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / "owner.lock")
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Busy(
                f"run {self.id} is being written by another process: wait for it; see `harness show {self.id}`"
            ) from None
        except OSError as error:
            raise StoreTrouble(
                f"{str(self.path)!r} cannot be written ({error.strerror}): make room, or name another folder with --results"
            ) from error
        self._lock = lock

    def owned(self) -> bool:
        """Say whether some process owns the run at this moment."""
        import filelock

        if not (self.path / "owner.lock").exists():
            return False
        lock = filelock.FileLock(self.path / "owner.lock")
        try:
            with lock.acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True

    def release(self) -> None:
        """Give up ownership."""
        if self._lock is not None:
            with contextlib.suppress(OSError):  # where open files cannot be unlinked the file stays
                (self.path / "owner.lock").unlink()  # before the release: whoever opened it sees that it is gone
            self._lock.release()
            self._lock = None

    def write(self, record: Record) -> None:
        """Replace run.json."""
        content = asdict(record)
        text = to_json({**content, "checksum": _checksum(content)}, indent=1)
        replace_file(self.path / "run.json", text.encode())

    def append(self, record: Record, row: dict[str, Any]) -> None:
        """Append a row to the trace, and enter its new length in the record."""
        line = to_json(row).encode() + b"\n"
        with (self.path / "trace.jsonl").open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._enter_trace(record)

    def append_evaluation(self, row: dict[str, Any]) -> None:
        """Append a row to evaluations.jsonl, which is open to any process: each row is one write and has its own checksum."""
        line = to_json({**row, "checksum": _checksum(row)}).encode() + b"\n"
        try:
            handle = os.open(self.path / "evaluations.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadInput(f"{str(self.path)!r} cannot be written ({error.strerror}): make it writable") from error
        try:
            if os.write(handle, line) != len(line):
                raise OSError(f"short write to {self.path / 'evaluations.jsonl'}")
            os.fsync(handle)
        finally:
            os.close(handle)

    def save(self, record: Record, checkpoint: dict[str, Any]) -> None:
        """Replace the checkpoint, bound to the trace as it is now, and then run.json."""
        import torch

        from harness.state import digest

        content = {**checkpoint, "run": self.id, "trace": dict(record.trace)}
        buffer = io.BytesIO()
        torch.save({**content, "digest": digest(content)}, buffer)
        replace_file(self.path / "checkpoint.pt", buffer.getvalue())
        self.write(record)

    def cut_trace(self, record: Record, trace: dict[str, Any]) -> None:
        """Cut the trace to the length that a checkpoint knows, which is rows that its state had not reached.

        Raises:
            BadInput: what is left is not the trace that the checkpoint was taken with.
        """
        path = self.path / "trace.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        kept = content[: trace["bytes"]]
        if hashlib.sha256(kept).hexdigest() != trace["sha256"]:
            raise BadInput(f"{path} does not fit its checkpoint: {self._way_out}")
        if len(kept) < len(content):
            replace_file(path, kept)
        self._enter_trace(record)

    def restart_trace(self, record: Record) -> None:
        """Begin the trace again, empty, for a run without a checkpoint."""
        (self.path / "trace.jsonl").unlink(missing_ok=True)
        self._enter_trace(record)

    def _enter_trace(self, record: Record) -> None:
        path = self.path / "trace.jsonl"
        content = path.read_bytes() if path.is_file() else b""
        sha256 = hashlib.sha256(content).hexdigest()
        record.trace = {"rows": content.count(b"\n"), "bytes": len(content), "sha256": sha256}


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that after a crash at any moment either the old or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            if file.write(content) != len(content):
                raise OSError(f"short write to {temporary}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical form."""
    return hashlib.sha256(json.dumps(_encode(content), sort_keys=True, allow_nan=False).encode()).hexdigest()
