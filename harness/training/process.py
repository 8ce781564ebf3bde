"""How the process of a run computes: threads, denormal numbers, device, memory; and what it must not do in a step."""

import contextlib
import ctypes
import os
import sys
import threading
from typing import NoReturn

import torch

from harness.errors import BadInput, RunFailed
from harness.native import path
from harness.specs import plugin_file

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)

MAKES_A_PROCESS = {
    "os.fork": "forked", "os.forkpty": "forked", "pty.spawn": "forked", "os.system": "called os.system",
    "os.posix_spawn": "started a process", "os.spawn": "started a process", "os.startfile": "started a process",
    "subprocess.Popen": "started a process", "os.exec": "replaced its process",
}  # fmt: skip
"""Python's audit events of a new process, and what an algorithm did that raises one."""

UNMETERED = (
    "and what another process computes cannot be metered: compute in this one, with --threads if need be, and compile in "
    "warm_up"
)


def is_plugins(thread: threading.Thread) -> bool:
    """Say whether a thread does what is written in a plugin file, or in one beside it."""
    work = getattr(thread, "_target", None) or type(thread)
    return plugin_file.is_users(str(getattr(work, "__module__", "")))


class Watch:
    """What the code of an algorithm does while it runs, that nobody else would see.

    Attributes:
        on: whether the code of an algorithm runs at this moment.
        forks: how often this process has been forked.
        process: of the run; a copy of it may do what it likes.
        made: what it did to make a process, in words; None if it made none. It may have caught the error that this raised.
        left: threads that it has left behind, which may break Python's own way to end a process.
        unseen: whether it has left one that `threading` does not know.
    """

    def __init__(self) -> None:
        self.on, self.forks, self.process = False, 0, os.getpid()
        self.made: str | None = None
        self.left: list[threading.Thread] = []
        self.unseen = False

    def audit(self, event: str, _: object) -> None:
        """Refuse to make a process while the code of an algorithm runs; see `sys.addaudithook`."""
        if self.on and event in MAKES_A_PROCESS and os.getpid() == self.process:
            self.made = MAKES_A_PROCESS[event]
            raise RunFailed(f"{self.made}, {UNMETERED}")

    def forked(self) -> None:
        """Count a fork."""
        self.forks += 1

    def exit(self, status: int) -> NoReturn:
        """End the process at once, as `os._exit` does, but not while the code of an algorithm runs."""
        if self.on and os.getpid() == self.process:
            raise RunFailed("called os._exit, which would end the run without a word: raise an error instead")
        _exit(status)

    def end(self, status: int) -> None:
        """End the process at once if a thread still runs that an algorithm has left behind, or that a plugin file has started.

        Python itself would wait for it for ever, or be ended by a signal if the thread computes in PyTorch meanwhile.
        """
        if self.unseen or any(thread in self.left or is_plugins(thread) for thread in threading.enumerate()):
            _exit(status)


watch = Watch()

_exit = os._exit
os._exit = watch.exit  # for all who take it from here on, plugins among them

sys.addaudithook(watch.audit)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=watch.forked)


def prepare_process(threads: int, device: str = "cpu") -> None:
    """Make the process compute the way every run does (DESIGN §7): so many threads, denormal numbers flushed to zero, new
    tensors on the device.

    Memory that was freed is kept for the next step: glibc's allocator would give it back to the system between steps of many
    chains, and fetching it page by page again took a fifth of the time of annealed importance sampling.
    """
    torch.set_default_device(
        None if device == "cpu" else device
    )  # None: naming the processor would slow each call down
    torch.set_num_threads(threads)
    path.set_threads(threads)
    torch.set_flush_denormal(True)
    with contextlib.suppress(OSError, AttributeError):  # another system's C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)


def require_device(device: str) -> None:
    """Raise BadInput where PyTorch cannot compute on a device."""
    if device == "cuda" and not torch.cuda.is_available():
        why = "is a build without CUDA" if torch.version.cuda is None else "sees no GPU"
        raise BadInput(
            f"--device is 'cuda', and the PyTorch installed here ({torch.__version__}) {why}: choose cpu, or see "
            "`harness doctor`"
        )
