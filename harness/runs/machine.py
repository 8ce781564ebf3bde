"""What this machine is, and how fast."""

import platform
import statistics
import time
from pathlib import Path

import torch


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def flushes_denormals() -> bool:
    """Say whether this process flushes denormal numbers to zero."""
    return bool((torch.tensor([1e-38], device="cpu") * 1e-2).item() == 0.0)


def calibrate(rounds: int = 7) -> float:
    """Return the median CPU seconds of a fixed kernel: twenty products of (100, 784) and (784, 500) matrices."""
    a, b, out = (torch.ones(*shape, device="cpu") for shape in ((100, 784), (784, 500), (100, 500)))
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(20):
            torch.mm(a, b, out=out)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)
