"""Polyak averaging: the uniform mean of a run's parameters over its later steps, evaluated beside the parameters themselves.

Boris Polyak and Anatoli Juditsky (1992), "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4). At a constant step size the parameters move about the place that they have come to; their mean moves less.

The mean is over the parameters after the first step that reaches so many samples, and after every tenth step from there on, as
the parameters of neighbouring steps are nearly the same; where a step is a cycle over all training points, after every step. Sums
are in double precision. Adding to them is part of training, and its clock runs.
"""

from collections.abc import Mapping
from typing import Any

import torch

from harness.errors import BadInput
from harness.specs.run import RunSpec
from harness.training.subject import Subject

EVERY = 10
"""Steps of minibatches from one that is averaged to the next."""

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
        self.sums = [torch.zeros_like(p.params.flat, dtype=torch.float64, requires_grad=False) for p in subject.parts]

    def look(self, samples: int) -> None:
        """Take a step into account, after which so many samples are spent."""
        if samples < self._begin:
            return
        if self.steps % self._every == 0:
            for total, part in zip(self.sums, self._subject.parts, strict=True):
                total.add_(part.params.flat.detach())
            self.taken += 1
        self.steps += 1

    def subject(self) -> Subject | None:
        """Return the models with the mean as their parameters, the same at each call; None before it begins."""
        if not self.taken:
            return None
        if self._averaged is None:
            self._averaged = self._subject.begun_again(self._spec)
        self._averaged.load(mean(self.state(), self._subject.model.params.flat.dtype))
        return self._averaged

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        sums = dict.fromkeys(NAMES) | dict(zip(NAMES, self.sums, strict=False))
        return {"steps": self.steps, "taken": self.taken, **sums}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over a state that a checkpoint kept; BadInput if it is of other models."""
        own = self.state()
        for name in NAMES:
            mine, other = own[name], state[name]
            if (mine is None) != (other is None) or (
                mine is not None and (mine.shape, mine.dtype) != (other.shape, other.dtype)
            ):
                raise BadInput(f"its sums of {name} are of other models")
            if mine is not None:
                mine.copy_(other)
        self.steps, self.taken = state["steps"], state["taken"]


def mean(state: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return the mean of the parameters that a state has the sums of, by name: "theta", and "phi" or None."""
    return {name: None if state[name] is None else (state[name] / state["taken"]).to(dtype) for name in NAMES}
