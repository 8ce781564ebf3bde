"""A Dask scheduler and two workers on this machine, started by their own commands, as users start them."""

import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support import environment, free_port, kill, processes

WORKERS = ("one", "two")

START_SECONDS = 180.0  # on a machine with much else to do


class Cluster:
    """A scheduler, and workers of a thread each.

    Args:
        folder: of their logs, and what workers write for themselves.
        before: words before the commands of workers.
        env: of the environment of these.

    Attributes:
        port: the scheduler's.
        mark: in the environment of all of these processes, and of those that they start.
    """

    def __init__(self, folder: Path, before: Sequence[str] = (), env: Mapping[str, str] | None = None):
        self.folder, self.port, self.mark = folder, free_port(), str(random.random())
        self._before, self._env = before, env or {}
        self._commands: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def on(self) -> str:
        """What to give to `--on`."""
        return f"dask://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the scheduler and the workers, as far as they are not there, and wait until these are known to it."""
        if not self.lives("scheduler"):
            words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
            self._start("scheduler", [], ["scheduler", *words], "Scheduler at")
        for name in WORKERS:
            if not self.lives(name):
                self.start_worker(name, *self._before, **self._env)

    def start_worker(self, name: str, *before: str, **env: str) -> None:
        """Start a worker, and wait until the scheduler knows it.

        Args:
            name: of the worker.
            before: words before its command.
            env: of its environment.
        """
        words = [f"tcp://127.0.0.1:{self.port}", "--name", name, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        words += ["--local-directory", str(self.folder / name)]
        self._start(name, before, ["worker", *words], "Registered to", **env)

    def lives(self, name: str) -> bool:
        """Say whether a command is still there."""
        return name in self._commands and self._commands[name].poll() is None

    def end(self, name: str) -> None:
        """Kill a command and what it has started."""
        kill([*self.started_by(name), self.pid(name)])
        self._commands.pop(name).wait()

    def started_by(self, name: str) -> list[int]:
        """Return the processes that a command has started itself: of a worker's command, the worker is one."""
        shown = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.pid(name))], capture_output=True, text=True)
        return [int(word) for word in shown.stdout.split()]

    def pid(self, name: str) -> int:
        """Return the process of a command."""
        return self._commands[name].pid

    def stop(self) -> None:
        """Kill all of it."""
        kill(processes(f"HARNESS_TEST_MARK={self.mark}".encode()))
        for command in self._commands.values():
            command.wait()

    def _start(
        self, name: str, before: "list[str] | tuple[str, ...]", words: list[str], until: str, **env: str
    ) -> None:
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            self._commands[name] = subprocess.Popen(
                [*before, sys.executable, "-P", "-m", "dask", *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=environment(HARNESS_TEST_MARK=self.mark, **env), start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while until not in log.read_text():
            if time.monotonic() > end or not self.lives(name):
                raise TimeoutError(log.read_text()[-3000:])
            time.sleep(0.2)


def hidden(folder: Path) -> list[str]:
    """Return words before a command that does not see what is in a folder; it has another file system there, and no privileges
    but root's can give it one."""
    return ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{folder}" && exec "$@"', "sh"]


@contextlib.contextmanager
def cluster(before: Sequence[str] = (), env: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """Start a cluster, and take it down at the end; see `Cluster`."""
    folder = Path(tempfile.mkdtemp(prefix="harness-dask-"))
    one = Cluster(folder, before, env)
    try:
        one.start()
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder, ignore_errors=True)
