"""What a run may spend, and the counters in which it is counted."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import BadInput
from harness.specs.options import BUDGETS
from harness.specs.values import WholeNumber


@dataclass
class Ledger:
    """Counters of one run, all in rows (datapoints × samples) unless said otherwise.

    Attributes:
        samples: points on which the generative model's density, or its gradient, was evaluated; marks are counted in these.
        datapoints: training points presented in minibatches.
        fantasies: fantasy points sampled from the generative model.
        decoder_rows: rows forward through the generative network.
        decoder_rows_grad: of those, rows differentiated.
        encoder_rows: rows forward through the recognition network.
        encoder_rows_grad: of those, rows differentiated.
        steps: updates of the generative model's parameters, seen as a change between two uses of it.
    """

    __slots__ = ("__dict__", "_added")

    samples: int = 0
    datapoints: int = 0
    fantasies: int = 0
    decoder_rows: int = 0
    decoder_rows_grad: int = 0
    encoder_rows: int = 0
    encoder_rows_grad: int = 0
    steps: int = 0

    def __post_init__(self) -> None:
        self.settle()

    def add(self, n: int, *counters: str) -> None:
        """Add n to each of these counters."""
        if n < 0:
            raise ValueError(f"{n} {counters[0].replace('_', ' ')} cannot be spent")
        for counter in counters:
            self.__dict__[counter] += n
            self._added += n

    def settle(self) -> None:
        """Take the counters for right as they are, after they were set."""
        self._added = sum(self.__dict__.values())

    @property
    def settled(self) -> bool:
        """Whether nothing but `add` has changed the counters since they were last taken for right."""
        return bool(self._added == sum(self.__dict__.values()))


COUNTERS = (*(field.name for field in dataclasses.fields(Ledger)), "cpu_seconds", "wall_seconds")


class Clock(Protocol):
    """What tells a budget the seconds of training."""

    def cpu(self) -> float:
        """Return CPU seconds."""
        ...

    def wall(self) -> float:
        """Return wall seconds."""
        ...


@dataclass(frozen=True)
class Budget:
    """The limits of a run; the one that is exhausted first ends it, after the step that exhausts it."""

    samples: int | None = None
    datapoints: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.limits():
            *some, last = (f"--{name}" for name in BUDGETS)
            raise BadInput(f"a run needs a budget: give {', '.join(some)} or {last}")

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by counter."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def exhausted(self, ledger: Ledger, clocks: Clock) -> bool:
        """Say whether any limit has been reached."""
        return (
            (self.samples is not None and ledger.samples >= self.samples)
            or (self.datapoints is not None and ledger.datapoints >= self.datapoints)
            or (self.cpu_seconds is not None and clocks.cpu() >= self.cpu_seconds)
            or (self.wall_seconds is not None and clocks.wall() >= self.wall_seconds)
        )


def budget_of(options: Mapping[str, object], scale: float = 1.0) -> Budget:
    """Return the budget that options of a run set, among any others.

    Args:
        options: by name, such as {"samples": "1e6"}.
        scale: what every limit is multiplied by; of what is counted one is left at least.

    Raises:
        BadInput: a limit is not allowed, or there is none.
    """
    limits: dict[str, Any] = {}
    for name, option in BUDGETS.items():
        if name in options:
            limit = options[name]
            if scale != 1.0:
                limit = option.read(limit) * scale
                counted = isinstance(option.value, WholeNumber) and math.isfinite(limit)
                limit = max(1, round(limit)) if counted else limit
            limits[option.field] = option.read(limit)
    return Budget(**limits)
