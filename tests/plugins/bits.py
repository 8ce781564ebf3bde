"""Bits of a small mixture: data on which sums over all states are exact."""

import hashlib

import torch

from harness import api


class Config(api.Config):
    """Sizes."""

    dim: int = api.setting(8, "bits of a point", gt=0)
    points: int = api.setting(200, "training points, and as many test points", gt=0)


def load(config, data_dir=None):
    """Draw the same points each time."""
    rng = api.Streams(0)("bits")
    p = torch.rand(3, config.dim, generator=rng)[torch.randint(3, (2 * config.points,), generator=rng)]
    x = torch.bernoulli(p, generator=rng)
    sha256 = hashlib.sha256(x.numpy().tobytes()).hexdigest()
    return api.Dataset(x[: config.points], x[config.points :], kind="binary", sha256=sha256, source="drawn at random")
