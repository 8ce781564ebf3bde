"""All states of a few bits, a piece at a time; and orders of bits."""

from collections.abc import Iterator

import torch
from torch import Tensor


def states(bits: int, at_a_time: int, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield all 2^bits states of so many bits, in the order in which one counts, the first bit the highest.

    Args:
        bits: how many bits, 62 at most.
        at_a_time: how many states there are in a piece (n, bits), and fewer in the last one: memory does not grow with 2^bits.
        dtype: of the zeros and ones.
    """
    place, n = torch.arange(bits - 1, -1, -1), 1 << bits
    for first in range(0, n, at_a_time):
        counted = torch.arange(first, min(first + at_a_time, n)).unsqueeze(-1)
        yield ((counted >> place) & 1).to(dtype)


def orders(bits: int, n: int, rng: torch.Generator) -> Tensor:
    """Draw n orders of so many bits, (n, bits): positions, the first bit's first. Fewer are the first of more."""
    return torch.stack([torch.randperm(bits, generator=rng, device=rng.device) for _ in range(n)])
