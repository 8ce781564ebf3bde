"""Who may write a run: one process at a time, whatever dies and whatever clocks say.

On one machine a lock of the operating system decides; it dies with its holder. Between machines that share a folder such a lock
may not reach, so an owner also leaves a lease, `owner.json`, and renews it for as long as it lives. Another machine takes over a
run whose lease it has seen unchanged for `LEASE_SECONDS` of its own monotonic clock: times of two clocks are never compared.

`filelock.SoftFileLease` would not replace this: its holder learns of a loss from the renewing thread alone, so an owner that was
suspended would still write; it judges processes by host name and number, which containers share; and it waits for a live owner
until a timeout, where this says at the first renewal that the run is busy.
"""

import contextlib
import functools
import json
import os
import platform
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import Busy, RunFailed
from harness.files import from_json, read_file, replace_file

RENEWAL_SECONDS = 20.0

LEASE_SECONDS = 120.0  # of several renewals: a network's file system may show a change as late as after a minute

LOOK_SECONDS = 1.0

PROBE_SECONDS = 0.3  # others hold the lock for a moment when they look whether it is held

Lease = tuple[str, int]
"""Whose it is and when it was renewed, to be compared with itself alone."""

_seen: dict[Path, tuple[Lease, float, bool]] = {}
"""The leases of other machines that this process has seen, each with when it saw the last change, and whether it saw one."""


@functools.cache
def machine() -> str:
    """Return a name of this machine since it was started, within which a lock of the operating system reaches."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{platform.node()}-{uuid.getnode():x}"


class Ownership:
    """The right to write into one folder.

    Args:
        folder: of a run; it exists when the right is acquired.
    """

    def __init__(self, folder: Path):
        self._folder, self._path = folder, folder / "owner.json"
        self._lock: Any = None
        self._token, self._process = "", 0
        self._stop = threading.Event()

    def acquire(self, say: Callable[[str], None] = lambda words: None) -> None:
        """Become the owner until `release` or the end of this process; may wait for another machine's lease to run out.

        Args:
            say: told of that wait.

        Raises:
            Busy: another process is the owner.
            OSError: the folder cannot be written.
        """
        import filelock

        lock = filelock.FileLock(self._folder / "owner.lock")
        try:
            lock.acquire(timeout=PROBE_SECONDS)
        except filelock.Timeout:
            raise Busy(self._busy()) from None
        try:
            self._outlive(say)
            self._token, self._process = secrets.token_hex(8), os.getpid()
            owner = {"machine": machine(), "host": platform.node(), "process": self._process, "token": self._token}
            replace_file(self._path, json.dumps(owner).encode())
        except BaseException:
            lock.release()
            raise
        self._lock = lock
        self._stop.clear()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def release(self) -> None:
        """Give up what was acquired; nothing otherwise."""
        if self._lock is None or os.getpid() != self._process:  # a fork's copy owns nothing
            return
        self._stop.set()
        if not self._lost():
            with contextlib.suppress(OSError):  # where open files cannot be unlinked the lock's file stays
                self._path.unlink()
                (self._folder / "owner.lock").unlink()  # before the release: whoever opened it sees that it is gone
        self._lock.release()
        self._lock = None

    @property
    def held(self) -> bool:
        """Whether this object holds the right."""
        return self._lock is not None

    def require(self) -> None:
        """Raise an error unless this process is still the owner.

        Raises:
            Busy: another process has become it: one that was suspended for long may have been taken for dead.
            RunFailed: the folder is gone.
        """
        if os.getpid() == self._process and not self._folder.is_dir():
            raise RunFailed(
                f"the folder {str(self._folder)!r} is gone, which the run was written into: it was moved or removed meanwhile; "
                "leave stores where they are while runs are made, and give the same command again"
            )
        if os.getpid() != self._process or self._lost():
            raise Busy(
                f"run {self._folder.name} was taken over by {self._who()}: see `harness show {self._folder.name}`"
            )

    def taken(self) -> bool:
        """Say whether some process is the owner, as far as can be told at this moment."""
        return self._locked() or self._may_live()

    def lives(self) -> bool:
        """Say whether some process is the owner and surely lives: it holds a lock here, or was seen to renew its lease."""
        if self._locked():
            return True
        return self._may_live() and _seen[self._path][2]

    def _locked(self) -> bool:
        """Say whether a process holds the lock, as far as it reaches."""
        import filelock

        if (self._folder / "owner.lock").exists():
            lock = filelock.FileLock(self._folder / "owner.lock")
            try:
                with lock.acquire(timeout=0):
                    pass
            except filelock.Timeout:
                return True
            except OSError:
                pass  # a file that cannot be locked is nobody's lock
        return False

    def _outlive(self, say: Callable[[str], None]) -> None:
        """Wait until another machine's lease, if there is one, has run out; raises Busy when it is renewed."""
        lease = self._lease()
        told = False
        while self._may_live():
            if self._lease() != lease:
                raise Busy(self._busy())
            if not told:
                say(
                    f"{self._folder.name} was left by {self._who()}: waiting {LEASE_SECONDS:.0f} s to see whether it lives"
                )
                told = True
            time.sleep(LOOK_SECONDS)

    def _may_live(self) -> bool:
        """Say whether another machine holds a lease that has not been seen unchanged for long enough."""
        lease = self._lease()
        if lease is None or self._owner().get("machine") == machine():
            return False
        seen, since, _ = _seen.get(self._path, (None, 0.0, False))
        if lease != seen:
            since = time.monotonic()
            _seen[self._path] = lease, since, seen is not None
        return time.monotonic() - since < LEASE_SECONDS

    def _lease(self) -> Lease | None:
        owner = self._owner()
        try:
            return (str(owner.get("token")), self._path.stat().st_mtime_ns) if owner else None
        except OSError:
            return None

    def _owner(self) -> dict[str, Any]:
        """Return what owner.json says; nothing where it is not there."""
        try:
            owner = from_json(read_file(self._path, 10_000).decode())
        except (OSError, ValueError):
            return {}
        return owner if isinstance(owner, dict) else {}

    def _lost(self) -> bool:
        """Say whether the lease is another's or gone; one that cannot be read at this moment is not."""
        return not self._path.exists() or self._owner().get("token", self._token) != self._token

    def _renew(self) -> None:
        while not self._stop.wait(RENEWAL_SECONDS):
            if self._lost():
                return
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def _busy(self) -> str:
        name = self._folder.name
        return f"run {name} is being written by {self._who()}: wait for it; see `harness show {name}`"

    def _who(self) -> str:
        owner = self._owner()
        where = f" ({owner['process']} on {owner['host']})" if {"process", "host"} <= owner.keys() else ""
        return f"another process{where}"
