"""The marks at which runs are evaluated."""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """Marks at first · 10^(k / per_decade), k = 0, 1, …: the same for every run, whatever its budget."""

    first: float
    per_decade: int

    def after(self, spent: float) -> float:
        """Return the first mark beyond `spent`."""
        k = max(0, math.floor(self.per_decade * math.log10(max(spent, 1e-9) / self.first)) - 1)
        while self._mark(k) <= spent:
            k += 1
        return self._mark(k)

    def _mark(self, k: int) -> float:
        return float(f"{self.first * 10 ** (k / self.per_decade):.12g}")


@dataclass
class Schedule:
    """The marks that a run reaches next: of samples, and of CPU seconds where its budget limits these.

    Attributes:
        samples: the marks of samples.
        cpu_seconds: the marks of CPU seconds.
        next_samples: the next mark of samples.
        next_cpu: the next mark of CPU seconds; infinity where there are none.
    """

    samples: Marks
    cpu_seconds: Marks
    next_samples: float = math.inf
    next_cpu: float = math.inf

    def set(self, next_samples: float, next_cpu: float) -> None:
        """Set the next marks."""
        self.next_samples, self.next_cpu = next_samples, next_cpu

    def move_on(self, samples: float, cpu_seconds: float | None) -> None:
        """Set the next marks beyond what has been spent; None where CPU seconds have no marks."""
        self.set(self.samples.after(samples), math.inf if cpu_seconds is None else self.cpu_seconds.after(cpu_seconds))

    def reached(self, samples: float, cpu_seconds: Callable[[], float]) -> dict[str, float]:
        """Return the marks that have been reached, by counter; the clock is read where CPU seconds have marks alone."""
        marks = {"samples": self.next_samples} if samples >= self.next_samples else {}
        if self.next_cpu < math.inf and cpu_seconds() >= self.next_cpu:
            marks["cpu_seconds"] = self.next_cpu
        return marks
