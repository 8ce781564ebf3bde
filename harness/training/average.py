"""Polyak averaging: the uniform mean of a run's parameters over its later steps, evaluated beside the parameters themselves.

Boris Polyak and Anatoli Juditsky (1992), "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4). At a constant step size the parameters move about the place that they have come to; their mean moves less.

The mean is over the parameters after the first step that reaches so many samples, and after every tenth step from there on, as
the parameters of neighbouring steps are nearly the same; where a step is a cycle over all training points, after every step. Sums
are in double precision, of blocks whose sums are not, which takes a tenth of the time. Adding counts as training.
"""

from collections.abc import Mapping
from typing import Any

import torch

from harness.errors import BadInput
from harness.specs.run import RunSpec
from harness.training.subject import Subject

EVERY = 10
"""Steps of minibatches from one that is averaged to the next."""
BLOCK = 50
"""Of them whose sum is in the precision of the parameters, and is then added to that in double precision."""

NAMES = ("theta", "phi")


class Average:
    """The mean of the parameters of the generative and the recognition model over steps.

    Args:
        spec: the run; `average` says from how many samples on.
        subject: what it trains.
        every: steps from one that is averaged to the next.
    """

    def __init__(self, spec: RunSpec, subject: Subject, every: int):
        assert spec.average is not None
        self._spec, self._subject, self._begin, self._every = spec, subject, spec.average, every
        self._averaged: Subject | None = None
        self.steps = self.taken = 0  # since it began, and how many of them are in the sums
        flats = [part.params.flat.detach() for part in subject.parts]
        self._sums = [torch.zeros_like(flat, dtype=torch.float64) for flat in flats]
        self._blocks = list(map(torch.zeros_like, flats))  # those since the last that was added to the sums

    def look(self, samples: int) -> None:
        """Take a step into account, after which so many samples are spent."""
        if samples < self._begin:
            return
        if self.steps % self._every == 0:
            self.taken += 1
            for part, block, total in zip(self._subject.parts, self._blocks, self._sums, strict=True):
                block.add_(part.params.flat.detach())
                if self.taken % BLOCK == 0:
                    total.add_(block)
                    block.zero_()
        self.steps += 1

    def subject(self) -> Subject | None:
        """Return the models with the mean as their parameters, the same at each call; None before it begins."""
        if not self.taken:
            return None
        if self._averaged is None:
            self._averaged = self._subject.begun_again(self._spec)
        self._averaged.load(mean(self.state()))
        return self._averaged

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        both = zip(self._sums, self._blocks, strict=True)
        parts = [{"sum": total, "block": block} for total, block in both]
        return {
            "steps": self.steps,
            "taken": self.taken,
            **dict.fromkeys(NAMES),
            **dict(zip(NAMES, parts, strict=False)),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state that a checkpoint kept; BadInput if it is of other models."""
        own = self.state()
        for name in NAMES:
            if (own[name] is None) != (state[name] is None):
                raise BadInput(f"its sums of {name} are of other models")
            for part, mine in (own[name] or {}).items():
                other = state[name][part]
                if (mine.shape, mine.dtype) != (other.shape, other.dtype):
                    raise BadInput(f"its sums of {name} are of other models")
                mine.copy_(other)
        self.steps, self.taken = state["steps"], state["taken"]


def mean(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean of the parameters that a state has the sums of, by name: "theta", and "phi" or None."""
    return {
        name: part if part is None else ((part["sum"] + part["block"]) / state["taken"]).to(part["block"].dtype)
        for name, part in ((name, state[name]) for name in NAMES)
    }
