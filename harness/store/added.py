"""What is added to a run after training: rows in a sealed file of each kind, which any process may add, whoever owns the run."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import BadInput, Busy
from harness.files import read_file, replace_file, seal, to_json, unseal

KINDS = ("evaluations", "gradients", "imputations")
"""Of rows: estimates, measurements of gradient estimators, and of entries that were hidden."""

FILES = tuple(f"{kind}.json" for kind in KINDS)

LOCKS = tuple(f"{kind}.lock" for kind in KINDS)
"""What is locked while a row is added."""


class Added:
    """The rows of one kind.

    Args:
        folder: of the run.
        kind: one of `KINDS`.
    """

    def __init__(self, folder: Path, kind: str):
        self._run, self._kind = folder.name, kind
        self._path, self._lock = folder / f"{kind}.json", folder / f"{kind}.lock"

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows, oldest first; BadInput if they were edited or damaged."""
        try:
            return list(unseal(read_file(self._path))[self._kind]) if self._path.exists() else []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{self._path} was edited or damaged: restore it from a copy, or delete it") from error

    def add(self, row: dict[str, Any], require: Callable[[], None]) -> None:
        """Add a row, unless it is there.

        Args:
            row: what to add.
            require: raises if nothing may be written.

        Raises:
            BadInput: it cannot be written.
        """
        import filelock

        try:
            require()
            with filelock.FileLock(self._lock, timeout=60):
                try:
                    before = self.rows()
                    if not any(
                        _same_but_time(row, one) for one in before
                    ):  # as of a command that was killed after this
                        replace_file(self._path, seal({"run": self._run, self._kind: [*before, row]}))
                finally:
                    with contextlib.suppress(OSError):  # where open files cannot be unlinked the file stays
                        self._lock.unlink()
        except filelock.Timeout:
            raise Busy(f"another process is adding to {str(self._path)!r}: wait for it") from None
        except OSError as error:
            raise BadInput(
                f"{str(self._path)!r} cannot be written ({error.strerror}): make room, or make it writable"
            ) from error


def _same_but_time(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return to_json({**one, "time": ""}) == to_json({**other, "time": ""})
