"""Independent random streams, each named for what it feeds (DESIGN §5: paired seeds).

One seed fixes every stream, and a stream depends on nothing but the seed and its name. Two algorithms that are run with
the same seed therefore start from the same weights, see the same minibatches and are evaluated with the same noise.
"""

import hashlib

import torch
from torch import Tensor


class Streams:
    """The random streams of one seed, for tensors on the process's device unless another is named.

    A stream's numbers on a GPU are not those of a processor, so runs are paired with runs on the same device.
    """

    def __init__(self, seed: int, device: str | None = None):
        self.seed, self._device = seed, device

    def __call__(self, name: str) -> torch.Generator:
        """Return a new generator for the stream `name`, at its beginning."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        device = self._device or torch.get_default_device()
        return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def bernoulli(p: Tensor, rng: torch.Generator) -> Tensor:
    """Draw 1 with probability p and else 0, of p's shape and type.

    Three times as fast as `torch.bernoulli` on a processor, which draws in double precision; in single precision a uniform number
    is 0 with probability 2⁻²⁴, so a positive p below that counts as that.
    """
    u = torch.rand(p.shape, generator=rng, dtype=p.dtype, device=p.device)
    return torch.lt(u, p, out=u)
