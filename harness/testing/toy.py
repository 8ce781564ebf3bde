"""A tiny random dataset, on which plugins are tested: 60 training and 40 test points of 12 dimensions."""

import hashlib
import math
from typing import get_args

import torch

from harness import api

KINDS: tuple[api.Kind, ...] = get_args(api.Kind)
"""The kinds of data that it has."""


OTHER_KINDS = {kind: f"--kind {kind}" for kind in KINDS}


class Config(api.Config):
    """What the data look like."""

    kind: api.Kind = api.setting("binary", "binary {0, 1}, unit [0, 1], real, or counts of words")
    missing: float = api.setting(0.0, "share of the entries that are missing, at random; not of counts", ge=0, lt=0.8)


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Draw the same data each time: two noisy prototypes, so that there is something to learn."""
    rng = api.Streams(0)(f"tiny {config.kind}")
    prototypes = torch.rand(2, 12, generator=rng)
    means = prototypes[torch.randint(2, (100,), generator=rng)]
    points = {
        "binary": torch.bernoulli(0.9 * means + 0.05, generator=rng),
        "unit": (means + 0.1 * torch.randn(100, 12, generator=rng)).clamp(0, 1),
        "real": means + 0.5 * torch.randn(100, 12, generator=rng),
        "counts": torch.poisson(3 * means + 0.1, generator=rng),
    }[config.kind]
    if config.missing:
        points[torch.rand(points.shape, generator=api.Streams(0)("tiny missing")) < config.missing] = math.nan
    sha256 = hashlib.sha256(points.numpy().tobytes()).hexdigest()
    return api.Dataset(
        points[:60], points[60:], kind=config.kind, sha256=sha256, source="drawn at random", missing=config.missing > 0
    )
