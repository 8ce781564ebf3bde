"""One run's folder. No other module reads or writes the files of a run."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import BadInput, StoreTrouble
from harness.files import (
    abandoned,
    encoded,
    from_json,
    from_json_lines,
    leftovers,
    part_from_copies,
    read_file,
    replace_file,
    require_inside,
    seal,
    sync_folder,
    to_json,
    unseal,
    without_collection,
)
from harness.store import added, best, names, schema, schema1
from harness.store import checkpoint as checkpoints
from harness.store import origin as origins
from harness.store.lease import Ownership
from harness.store.record import SCHEMA, STATUSES, Record, empty_trace

FILES = (
    "run.json", "trace.jsonl", checkpoints.NAME, best.NAME, *added.FILES, origins.NAME, checkpoints.FORMER_NAME,
    schema1.EVALUATIONS,
)  # fmt: skip
"""What a run consists of, in this schema and in former ones."""

OWNERS = ("owner.json", "owner.lock")
"""Who is writing a run."""

TRACEBACK = "traceback.txt"
"""Where a plugin raised the error that ended a run: for people alone, so without a checksum."""


class Run:
    """One run's folder."""

    def __init__(self, path: Path):
        self.path, self.id, self._owner = path, path.name, Ownership(path)
        self._trace = hashlib.sha256()  # of the trace so far, updated by the owner with every row
        self._best: dict[str, Any] | None = None  # as the owner has written it

    def exists(self) -> bool:
        """Say whether the run has a run.json."""
        return (self.path / "run.json").is_file()

    # -- reading

    def read(self) -> Record:
        """Return the content of run.json, under today's names.

        Raises:
            BadInput: it is missing, incomplete, edited, or of a schema that this version does not know.
        """
        path = self.path / "run.json"
        sealed: dict[str, Any] | None = None  # as those of schema 1 are not
        try:
            content = read_file(path)
            with contextlib.suppress(ValueError):
                sealed = unseal(content)
            found = sealed or from_json(content.decode())
            version = found["schema"]
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): see `harness list`") from error
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} is torn or no run of ours: {self._remedy}") from error
        if version not in range(1, SCHEMA + 1):
            raise BadInput(
                f"{path} has schema {version!r}, and this version knows 1 to {SCHEMA}: use a newer version of the harness"
            )
        try:
            found = {**(sealed or schema1.migrated(found)), "schema": SCHEMA}
            if found["run"] != self.id:
                raise ValueError("it is another run's")
            record = Record(**found)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged("run.json") from error
        if record.status not in STATUSES or not schema.is_record(found):
            raise BadInput(f"{path} has content that no run has: {self._remedy}")
        return Record(**names.modern_record(found))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the trace; raises what `content` raises."""
        return self.content()[1]

    def content(self, record: Record | None = None) -> tuple[Record, list[dict[str, Any]]]:
        """Return the record, read anew unless it was read just now, and the rows of the trace, under today's names.

        Raises:
            BadInput: as `read`; or the trace differs from the one that the record was saved with. While a process is writing the
                run, the trace may have more rows than that.
        """
        record = record or self.read()
        while True:
            try:
                content = read_file(self.path / "trace.jsonl")
            except FileNotFoundError:
                content = b""
            except OSError as error:
                raise BadInput(
                    f"{self.path / 'trace.jsonl'} cannot be read ({error.strerror}): {self._remedy}"
                ) from error
            saved = content[: record.trace["bytes"]] if record.status == "running" else content
            if hashlib.sha256(saved).hexdigest() == record.trace["sha256"]:
                break
            before, record = record, self.read()
            if record == before:  # else its owner has just gone on
                raise self._damaged("trace.jsonl")
        if record.status == "running":
            content = content[: content.rfind(b"\n") + 1]  # a row may be half written at this moment
        with without_collection():
            try:
                rows = from_json_lines(content)
            except ValueError as error:
                raise self._damaged("trace.jsonl") from error
            if not schema.are_rows(rows):
                raise BadInput(f"{self.path / 'trace.jsonl'} has content that no run has: {self._remedy}")
            algorithm = record.spec["algorithm"]["name"]
            return record, names.modern_rows(rows, algorithm)

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the estimates made after training, oldest first: each has an `estimate` and the `ledger` of the training before.

        Raises:
            BadInput: they were edited or damaged.
        """
        rows = schema1.evaluations(self.path) + added.Added(self.path, "evaluations").rows()
        if not schema.are_evaluations(rows):
            raise BadInput(f"the evaluations of {self.path} have content that none has: restore them, or delete them")
        return [names.modern_evaluation(row) for row in rows]

    def gradients(self) -> list[dict[str, Any]]:
        """Return the measurements of gradient estimators, oldest first; BadInput if they were edited or damaged."""
        return self._sound("gradients", schema.are_gradients)

    def imputations(self) -> list[dict[str, Any]]:
        """Return what `harness impute` has found, oldest first: each has an `imputation`, and the `ledger` as estimates have.

        BadInput if they were edited or damaged.
        """
        return self._sound("imputations", schema.are_imputations)

    def _sound(self, kind: str, sound: Callable[[Any], bool]) -> list[dict[str, Any]]:
        rows = added.Added(self.path, kind).rows()
        if not sound(rows):
            raise BadInput(f"the {kind} of {self.path} have content that none has: restore them, or delete them")
        return rows

    def origin(self) -> origins.Origin | None:
        """Return where the run comes from if it is somebody else's; None if it is the user's own."""
        try:
            return origins.read(self.path)
        except BadInput:  # foreign all the same
            return origins.Origin()

    def traceback(self) -> str | None:
        """Return where a plugin raised the error that ended the run; None if none did."""
        try:
            return read_file(self.path / TRACEBACK, 10_000_000).decode(errors="replace")
        except OSError:
            return None

    def keep_traceback(self, text: str | None) -> None:
        """Write down where a plugin raised an error; None removes what an earlier session wrote."""
        self._owner.require()
        if text is None:
            (self.path / TRACEBACK).unlink(missing_ok=True)
        else:
            replace_file(self.path / TRACEBACK, text.encode(errors="backslashreplace"))

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint is: of a run that was made before schema 3 and has not gone on since, in the former file."""
        new, former = self.path / checkpoints.NAME, self.path / checkpoints.FORMER_NAME
        return former if os.path.lexists(former) and not os.path.lexists(new) else new

    def checkpoint(self) -> dict[str, Any] | None:
        """Return the checkpoint, or None if there is none.

        Raises:
            BadInput: it is damaged.
        """
        return self._state(self.checkpoint_path)

    def best(self) -> dict[str, Any] | None:
        """Return what is kept of the best mark (`harness.store.best`), or None; raises as `checkpoint`."""
        found = self._state(self.path / best.NAME)
        if found is not None and not schema.is_best(found):
            raise self._damaged(best.NAME)
        return found

    def _state(self, path: Path) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            former = path.name == checkpoints.FORMER_NAME
            found = checkpoints.of_run(read_file(path, checkpoints.MAX_BYTES), self.id, former=former)
            if former:
                found = names.modern_checkpoint(found, self.read().spec["algorithm"]["name"])
            return names.modern_state(found, lambda: self.read().spec)
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): {self._remedy}") from error
        except BadInput:  # of run.json
            raise
        except Exception as error:  # a damaged file can raise nearly anything
            raise self._damaged(path.name) from error

    def damage(self) -> list["Damage"]:
        """Return the damage that reading all files finds: to the run as a whole, or to files that the run can do without."""
        try:
            if not self.exists() and any((self.path / name).exists() for name in FILES):
                raise BadInput(f"{self.path / 'run.json'} is gone: {self._remedy}")
            origins.read(self.path)
            record, _ = self.content()
            if record.status not in ("done", "diverged") and (checkpoint := self.checkpoint()):
                if not schema.is_checkpoint(checkpoint):
                    raise self._damaged(self.checkpoint_path.name)
                self._kept(checkpoint["trace"])
        except BadInput as error:
            return [Damage(self, None, str(error))]
        found = []
        readers: dict[str, Callable[[], Any]] = {
            self.checkpoint_path.name: self.checkpoint, best.NAME: self.best,
            **{f"{kind}.json": added.Added(self.path, kind).rows for kind in added.KINDS},
            schema1.EVALUATIONS: lambda: schema1.evaluations(self.path),
        }  # fmt: skip
        for file, reading in readers.items():
            try:
                reading()
            except BadInput as error:
                found.append(Damage(self, file, str(error)))
        return found

    def _kept(self, trace: dict[str, Any]) -> tuple[bytes, bytes]:
        """Return the part of the trace that a checkpoint was taken with, and the whole trace; BadInput if they do not agree."""
        path = self.path / "trace.jsonl"
        content = read_file(path) if path.exists() else b""
        kept = content[: trace["bytes"]]
        if len(kept) != trace["bytes"] or hashlib.sha256(kept).hexdigest() != trace["sha256"]:
            raise BadInput(f"{path} does not fit its checkpoint: {self._remedy}")
        return kept, content

    def _damaged(self, file: str) -> BadInput:
        return BadInput(f"{self.path / file} was edited or damaged, its checksum does not fit: {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"restore it from a copy, or move it away by `harness doctor --repair` and run {self.id} again"

    # -- writing; all of it by the owner

    def claim(self, say: Callable[[str], None] = lambda words: None) -> None:
        """Become the only process that may write the run, until `release` or the end of this process; makes its folder.

        Args:
            say: told what is waited for; see `Ownership.acquire`.

        Raises:
            Busy: another process owns the run.
            BadInput: the folder is a link out of the store.
            StoreTrouble: the folder cannot be written.
        """
        try:
            self._require_inside()
            self.path.mkdir(parents=True, exist_ok=True)
            sync_folder(self.path.parent)
            self._owner.acquire(say)
            for path in self.leftovers():
                path.unlink(missing_ok=True)
        except OSError as error:
            self.release()
            raise StoreTrouble(
                f"{str(self.path)!r} cannot be written ({error.strerror}): make room, or name another folder with --results"
            ) from error

    def leftovers(self) -> list[Path]:
        """Return what processes that were killed have left: files half written, and a former checkpoint that was replaced."""
        written = [name for name in (*FILES, "owner.json", TRACEBACK) if name not in added.FILES]  # which need no owner
        found = []
        if any(name.startswith(".") for name in os.listdir(self.path)):  # of nearly every run nothing is half written
            found = [path for name in written for path in leftovers(self.path / name)]
            found += [path for name in added.FILES for path in leftovers(self.path / name) if abandoned(path)]
        former = self.path / checkpoints.FORMER_NAME
        return [*found, former] if os.path.lexists(former) and former != self.checkpoint_path else found

    def locks(self) -> list[Path]:
        """Return the files of locks that are there; whoever was killed with one has left them."""
        own = () if self._owner.held else OWNERS
        return [path for name in (*own, *added.LOCKS) if (path := self.path / name).is_file()]

    def _require_inside(self) -> None:
        require_inside(self.path.parent.parent, self.path)

    def owned(self) -> bool:
        """Say whether a process owns the run at this moment."""
        return self._owner.taken()

    def in_hand(self) -> bool:
        """Say whether a process owns the run and surely lives, so that the run can be left to it; see `Ownership.lives`."""
        return self._owner.lives()

    def require_owner(self) -> None:
        """Raise Busy unless this process is the owner still; RunFailed where the folder is gone."""
        self._owner.require()

    def release(self) -> None:
        """Give up ownership; does nothing if this process does not own the run."""
        self._owner.release()

    def write(self, record: Record) -> None:
        """Replace run.json."""
        self._owner.require()
        replace_file(self.path / "run.json", seal(asdict(record)))

    def append(self, record: Record, row: dict[str, Any]) -> None:
        """Append a row to the trace, and enter its new length in the record."""
        line = encoded(to_json(row)) + b"\n"
        self._owner.require()
        part_from_copies(self.path / "trace.jsonl")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(self.path / "trace.jsonl", flags, 0o666), "ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._trace.update(line)
        rows, size = record.trace["rows"] + 1, record.trace["bytes"] + len(line)
        record.trace = {"rows": rows, "bytes": size, "sha256": self._trace.hexdigest()}

    def append_evaluation(self, row: dict[str, Any]) -> None:
        """Add an estimate to evaluations.json, unless it is there; any process may. BadInput if it cannot be written."""
        added.Added(self.path, "evaluations").add(row, self._require_inside)

    def append_gradients(self, row: dict[str, Any]) -> None:
        """Add a measurement of gradient estimators to gradients.json; any process may. BadInput if it cannot be written."""
        added.Added(self.path, "gradients").add(row, self._require_inside)

    def append_imputation(self, row: dict[str, Any]) -> None:
        """Add what `harness impute` has found to imputations.json; any process may. BadInput if it cannot be written."""
        added.Added(self.path, "imputations").add(row, self._require_inside)

    def save(self, record: Record, checkpoint: dict[str, Any], kept: dict[str, Any] | None = None) -> None:
        """Replace the checkpoint, which records the trace as it is now, what is kept of the best mark, and then run.json."""
        content = checkpoints.encode({**checkpoint, "run": self.id, "trace": dict(record.trace)})
        self._owner.require()
        replace_file(self.path / checkpoints.NAME, content)
        (self.path / checkpoints.FORMER_NAME).unlink(missing_ok=True)  # after a kill before this it is a leftover
        if kept is not None and kept is not self._best:
            replace_file(self.path / best.NAME, checkpoints.encode({**kept, "run": self.id}))
            self._best = kept
        self.write(record)

    def begin(self, record: Record, trace: dict[str, Any] | None) -> None:
        """Write run.json, and remove the rows that were written after the checkpoint from which the run goes on.

        Args:
            record: of the run that begins or goes on.
            trace: rows, bytes and checksum of the trace, as the checkpoint records them; None removes all rows.

        Raises:
            BadInput: the trace does not begin with the rows that the checkpoint was taken with.
        """
        trace = trace or empty_trace()
        kept, content = self._kept(trace)
        record.trace, self._trace = dict(trace), hashlib.sha256(kept)
        rows = kept.splitlines()
        algorithm = record.spec["algorithm"]["name"]
        record.summary = names.modern_row(from_json(rows[-1].decode()), algorithm)["estimates"] if rows else []
        self.write(record)  # first: a trace may be longer than its record knows, never shorter
        if not rows:
            (self.path / best.NAME).unlink(missing_ok=True)
        if len(kept) < len(content):
            replace_file(self.path / "trace.jsonl", kept)


class Damage(NamedTuple):
    """Damage to a run.

    Attributes:
        run: the run.
        file: the damaged file, if the run is of use without it; None if it is not, and the whole run counts as damaged.
        reason: what is wrong, as a sentence.
    """

    run: Run
    file: str | None
    reason: str
