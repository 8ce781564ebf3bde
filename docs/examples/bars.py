"""Bars: binary images in which each row and each column is a bar that is on or off (Földiák 1990)."""

import hashlib

import torch

from harness import api


class Config(api.Config):
    """Size of the images, and how many there are."""

    side: int = api.setting(6, "rows and columns", gt=1, le=64)
    p: float = api.setting(0.2, "probability that a bar is on", gt=0, lt=1)
    n_train_points: int = api.setting(2000, "training points", gt=0)
    n_test_points: int = api.setting(500, "test points", gt=0)


def load(config, data_dir=None):
    """Draw the images; the same settings give the same ones."""
    rng = api.Streams(0)("bars")
    n = config.n_train_points + config.n_test_points
    rows = torch.rand(n, config.side, 1, generator=rng) < config.p
    columns = torch.rand(n, 1, config.side, generator=rng) < config.p
    x = (rows | columns).view(n, -1)  # (N, D), bool: one byte a pixel
    return api.Dataset(
        train=x[: config.n_train_points],
        test=x[config.n_train_points :],
        kind="binary",
        sha256=hashlib.sha256(x.numpy().tobytes()).hexdigest(),
        source="drawn at random",
        shape=(config.side, config.side),
    )
