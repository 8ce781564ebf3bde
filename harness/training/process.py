"""How the process of a run computes: threads, denormal numbers, device, memory; and how often it has forked."""

import contextlib
import ctypes
import os

import torch

from harness.errors import BadInput

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


class Forks:
    """How often this process has been forked."""

    n = 0

    def count(self) -> None:
        """Count one more."""
        self.n += 1


fork_count = Forks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=fork_count.count)


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
