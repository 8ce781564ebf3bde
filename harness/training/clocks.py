"""CPU and wall clocks of a process, split by what it is doing."""

from time import (
    perf_counter,
    process_time,
)  # as they are now: what a plugin does to the module `time` has no effect here
from typing import ClassVar, Literal

Phase = Literal["training", "evaluation", "setup", "output"]


class Clocks:
    """CPU and wall clocks of a process, split by what it is doing; exactly one phase runs at any time.

    CPU seconds are those of the whole process over all its threads. Wall seconds are monotonic.

    Attributes:
        phase: the one that runs.
    """

    PHASES: ClassVar[tuple[Phase, ...]] = ("training", "evaluation", "setup", "output")

    def __init__(self, phase: Phase = "setup"):
        self._cpu = dict.fromkeys(self.PHASES, 0.0)
        self._wall = dict.fromkeys(self.PHASES, 0.0)
        self.phase: Phase = phase
        self._since = process_time(), perf_counter()

    def switch(self, phase: Phase) -> None:
        """End the running phase and begin another."""
        self._cpu[self.phase], self._wall[self.phase] = self.cpu(self.phase), self.wall(self.phase)
        self.phase, self._since = phase, (process_time(), perf_counter())

    def cpu(self, phase: Phase = "training") -> float:
        """Return the CPU seconds spent in a phase so far."""
        return self._cpu[phase] + (process_time() - self._since[0] if phase == self.phase else 0.0)

    def wall(self, phase: Phase = "training") -> float:
        """Return the wall seconds spent in a phase so far."""
        return self._wall[phase] + (perf_counter() - self._since[1] if phase == self.phase else 0.0)

    def seconds(self) -> dict[str, float]:
        """Return all of them: `cpu_seconds` and `wall_seconds` of training, and the excluded ones with their phase in front."""
        out = {"cpu_seconds": self.cpu(), "wall_seconds": self.wall()}
        for phase in self.PHASES[1:]:
            out |= {f"{phase}_cpu_seconds": self.cpu(phase), f"{phase}_wall_seconds": self.wall(phase)}
        return out

    def resume(self, seconds: dict[str, float]) -> None:
        """Add what an earlier session of the same run spent, as `seconds` returned it."""
        for phase in self.PHASES:
            prefix = "" if phase == "training" else f"{phase}_"
            self._cpu[phase] += seconds[f"{prefix}cpu_seconds"]
            self._wall[phase] += seconds[f"{prefix}wall_seconds"]
