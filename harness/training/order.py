"""The order of minibatches."""

from collections.abc import Iterator

import torch
from torch import Tensor

AHEAD = 6400
"""So many positions are drawn at once: between two steps, a draw takes fifteen times as long as in a row of draws."""


class Order:
    """Positions of minibatches in the training set, drawn with replacement.

    Several minibatches are drawn ahead. The numbers are the same as drawn one minibatch after the other, and so is the state.

    Args:
        n: training points.
        size: points in a minibatch.
        rng: draws them.
    """

    def __init__(self, n: int, size: int, rng: torch.Generator):
        self._n, self._size, self._rng = n, size, rng
        # On a GPU, one long draw is not a row of short ones.
        self._ahead = max(1, AHEAD // max(1, size)) if rng.device.type == "cpu" else 1
        self._drawn: Iterator[Tensor] = iter(())
        self._before, self._taken = rng.get_state(), 0

    def __next__(self) -> Tensor:
        """Return the positions of the next minibatch (size,)."""
        index = next(self._drawn, None)
        if index is None:
            self._before, self._taken = self._rng.get_state(), 0
            drawn = torch.randint(self._n, (self._ahead, self._size), generator=self._rng)
            self._drawn = iter([index.clone() for index in drawn])
            index = next(self._drawn)
        self._taken += 1
        return index

    def get_state(self) -> Tensor:
        """Return the state of the generator as it is when the minibatches up to here have been drawn, and none ahead."""
        rng = torch.Generator(self._rng.device)
        rng.set_state(self._before)
        torch.randint(self._n, (self._taken, self._size), generator=rng)
        return rng.get_state()

    def set_state(self, state: Tensor) -> None:
        """Go on from a state that `get_state` returned."""
        self._rng.set_state(state)
        self._drawn, self._before, self._taken = iter(()), state, 0
