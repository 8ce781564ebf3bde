"""Step schedules: by what factor the step size of a run is multiplied after so many samples.

A schedule names its horizon, in samples of the ledger, so it is part of what a run is and not of its budget: a run that is
extended goes on under the schedule that it began with, and ends at the horizon, where the factor is 0.
"""

import math
from typing import NamedTuple

SHAPES = ("constant", "linear", "cosine")

MOST = 2**53  # samples, up to which a float is exact

GIVE = (
    "give constant, linear:SAMPLES or cosine:SAMPLES, such as linear:1e7, or linear:1e7:0.6 to begin after 60 % of them"
)


class StepSchedule(NamedTuple):
    """The factor of the step size: 1, and from a fraction of the horizon on down to 0 at the horizon.

    Attributes:
        shape: "constant"; "linear", down a straight line; or "cosine", down half a period of a cosine (Ilya Loshchilov and Frank
            Hutter 2017, arXiv 1608.03983, eq. (5), without restarts).
        horizon: in samples; None of a constant one.
        hold: the fraction of the horizon up to which the factor is 1.
    """

    shape: str = "constant"
    horizon: int | None = None
    hold: float = 0.0

    @classmethod
    def parse(cls, given: object) -> "StepSchedule":
        """Return the schedule of a text such as "linear:1e7"; ValueError with what to give instead."""
        shape, *numbers = str(given).split(":")
        if shape not in SHAPES or len(numbers) > 2:
            raise ValueError(GIVE)
        if shape == "constant":
            if numbers:
                raise ValueError(f"a constant step size has no horizon: {GIVE}")
            return cls()
        if not numbers:
            raise ValueError(f"it has no horizon, the samples after which the step size is 0: {GIVE}")
        horizon, hold = _number(numbers[0]), _number(numbers[1]) if len(numbers) > 1 else 0.0
        if not (1 <= horizon <= MOST and horizon == int(horizon)):
            raise ValueError(f"its horizon must be a whole number of samples from 1: {GIVE}")
        if not 0 <= hold < 1:
            raise ValueError(f"the fraction of the horizon behind it must be at least 0 and below 1: {GIVE}")
        return cls(shape, int(horizon), hold)

    def __str__(self) -> str:
        """Return the text that is parsed to it, the same for equal schedules."""
        if self.horizon is None:
            return self.shape
        return f"{self.shape}:{_short(self.horizon)}" + (f":{self.hold}" if self.hold else "")

    def factor(self, samples: float) -> float:
        """Return the factor of the step size after so many samples."""
        if self.horizon is None:
            return 1.0
        spent = samples / self.horizon
        if spent <= self.hold:
            return 1.0
        left = max(0.0, (1.0 - spent) / (1.0 - self.hold))
        return left if self.shape == "linear" else 0.5 - 0.5 * math.cos(math.pi * left)


def canonical(given: object) -> object:
    """Return what a text for a schedule is called, the same for equal ones; the text itself if it is for none."""
    try:
        return str(StepSchedule.parse(given))
    except ValueError:
        return given


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _short(n: int) -> str:
    """Return a whole number as people write it: 1e7, 2.5e6, 60500."""
    digits = str(n).rstrip("0")
    if len(str(n)) - len(digits) < 3:
        return str(n)
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{len(str(n)) - 1}"
