"""Steps that bring a run no nearer to the end of its budget."""

from harness.errors import RunFailed
from harness.specs.budget import Budget, Ledger

MAX_STEPS = 1000
"""So many steps that spend nothing of a budget cannot be on the way to its end."""

NOTHING = {"samples": "evaluated no sample", "datapoints": "was presented no training point"}
"""What an algorithm has done whose steps spend nothing of a limit."""


def counted(budget: Budget, ledger: Ledger) -> int:
    """Return what was spent of all that is counted and that the budget limits, together: it grows if any of it does."""
    return sum(getattr(ledger, name) for name in budget.limits().keys() & NOTHING.keys())


class IdleSteps:
    """Counts the last steps that spent nothing of a budget."""

    def __init__(self) -> None:
        self._steps = 0

    def note(self, steps: int, before: int, after: int) -> None:
        """Take note of so many steps, and of what was `counted` before and after them."""
        self._steps = self._steps + steps if after == before else 0

    def require_few(self, algorithm: str, budget: Budget) -> None:
        """Raise RunFailed where a budget would never end, as it limits no time."""
        limits = budget.limits()
        if self._steps < MAX_STEPS or not limits.keys() <= NOTHING.keys():
            return
        never = " and ".join(f"--{name}" for name in limits)
        instead = ["--datapoints", "--cpu-seconds", "--wall-seconds"][1 if "datapoints" in limits else 0 :]
        raise RunFailed(
            f"algorithm {algorithm!r} {' and '.join(NOTHING[name] for name in limits)} in {self._steps} steps, so {never} "
            f"would never end: give {', '.join(instead[:-1])} or {instead[-1]}"
        )
