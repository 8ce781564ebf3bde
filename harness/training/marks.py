"""The marks at which runs are evaluated."""

import math
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
