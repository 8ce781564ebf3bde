"""Independent random streams, each named for what it feeds (DESIGN §5: paired seeds).

One seed fixes every stream, and a stream depends on nothing but the seed and its name. Two algorithms that are run with
the same seed therefore start from the same weights, see the same minibatches and are evaluated with the same noise.
"""

import hashlib

import torch


class Streams:
    """The random streams of one seed."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, name: str) -> torch.Generator:
        """Return a new generator for the stream `name`, at its beginning."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
