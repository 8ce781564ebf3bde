"""Processes that this one starts: where they look for modules, how they are reached, and how they ended."""

import contextlib
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from harness.specs.cores import usable_cores

SAFE_PATH = "PYTHONSAFEPATH"
"""The environment variable that is Python's option -P."""

LONGEST_FOLDER = 70  # bytes: a socket's whole address has about 100 on every system


@contextlib.contextmanager
def safe_path() -> Iterator[None]:
    """Let no Python process that is started now look for modules in the working folder.

    Those of `multiprocessing` are `python -c`, which without this imports a `queue.py` of the user's for the library's.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def workers_context() -> Any:
    """Return multiprocessing's way to start workers: by a fork server, where there is one.

    It has PyTorch imported already, in a process that has done nothing else.
    """
    served = "forkserver" in multiprocessing.get_all_start_methods() and has_place_for_a_socket()
    context: Any = multiprocessing.get_context("forkserver" if served else "spawn")
    if served:
        context.set_forkserver_preload(["harness.runs.local"])
    return context


def start_server() -> None:
    """Start the fork server, where there is one and a core for it: it imports PyTorch while this process does."""
    if usable_cores() > 1 and workers_context().get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running  # which not every system has

        with undisturbed():
            ensure_running()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let a process that is started now be ended by no Ctrl-C while it imports, and find none of the user's modules."""
    blocks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]) if blocks else set()
    try:
        with safe_path():
            yield
    finally:
        if blocks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def has_place_for_a_socket() -> bool:
    """Say whether the temporary folder of this process has a short path; it is made elsewhere where TMPDIR is a long one."""
    before = tempfile.tempdir
    try:
        for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
            if len(os.fsencode(folder)) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
                tempfile.tempdir = folder
                break
        return len(os.fsencode(os.path.dirname(get_temp_dir()))) <= LONGEST_FOLDER
    except OSError:  # there is no temporary folder
        return False
    finally:
        tempfile.tempdir = before


def how_it_ended(process: BaseProcess) -> str:
    """Return in words how a process ended."""
    code = process.exitcode or 0
    if code >= 0:
        return f"ended with exit code {code}"
    names = {
        signum.value: signum.name for signum in signal.Signals
    }  # of most signals: those of real time have numbers alone
    return f"was killed by {names.get(-code, f'signal {-code}')}"


def forget_peak_memory() -> None:
    """Have the system measure the most memory that this process takes from now on, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def leave_the_terminal() -> None:
    """Leave the terminal's process group, so that Ctrl-C reaches workers once, from the executor."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
