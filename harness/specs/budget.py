"""What a run may spend, and the counters in which it is counted."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Protocol

from harness.errors import BadInput
from harness.specs.options import MOST, number


@dataclass
class Ledger:
    """Counters of one run, all in rows (datapoints × samples) unless said otherwise.

    Attributes:
        samples: points on which the generative model's density, or its gradient, was evaluated; the budget's unit.
        datapoints: training points presented.
        fantasies: fantasy points sampled from the generative model.
        decoder_rows: rows forward through the generative network.
        decoder_rows_grad: of those, rows differentiated.
        encoder_rows: rows forward through the recognition network.
        encoder_rows_grad: of those, rows differentiated.
        steps: updates of the generative model's parameters, seen as a change between two uses of it.
    """

    samples: int = 0
    datapoints: int = 0
    fantasies: int = 0
    decoder_rows: int = 0
    decoder_rows_grad: int = 0
    encoder_rows: int = 0
    encoder_rows_grad: int = 0
    steps: int = 0

    def add(self, counter: str, n: int) -> None:
        """Add n to a counter."""
        self.__dict__[counter] += n


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
    cpu_seconds: float | None = None
    wall_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.limits():
            raise BadInput("a run needs a budget: give --samples, --cpu-seconds or --wall-seconds")

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by counter."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def exhausted(self, ledger: Ledger, clocks: Clock) -> bool:
        """Say whether any limit has been reached."""
        return (
            (self.samples is not None and ledger.samples >= self.samples)
            or (self.cpu_seconds is not None and clocks.cpu() >= self.cpu_seconds)
            or (self.wall_seconds is not None and clocks.wall() >= self.wall_seconds)
        )


def parse_budget(samples: str | None, cpu_seconds: str | None, wall_seconds: str | None) -> Budget:
    """Return the budget that was given in words; BadInput unless each is a positive, finite number."""
    limits: dict[str, Any] = {}
    for option, text in (("--samples", samples), ("--cpu-seconds", cpu_seconds), ("--wall-seconds", wall_seconds)):
        if text is None:
            continue
        value = number(text)
        whole = option == "--samples"
        if not (math.isfinite(value) and value > 0) or (whole and (value != int(value) or value > MOST)):
            allowed = (
                "a whole number from 1 to 4e18, such as 1e6" if whole else "a positive number of seconds, such as 600"
            )
            raise BadInput(f"{option} is {text!r}: give {allowed}")
        limits[option[2:].replace("-", "_")] = int(value) if whole else value
    return Budget(**limits)
