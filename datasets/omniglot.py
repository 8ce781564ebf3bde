"""Omniglot: 28 × 28 grey pixels of handwritten characters, with the split of the IWAE paper: 23,000, 1345 and 8070 images.

Brenden Lake, Ruslan Salakhutdinov and Joshua Tenenbaum, "Human-level concept learning through probabilistic program induction"
(Science, 2015), licence as published: MIT; in the size and the split of Yuri Burda, Roger Grosse and Ruslan Salakhutdinov,
"Importance weighted autoencoders" (2016), arXiv 1509.00519. They draw bits anew at each presentation, and so do we by default.
"""

from typing import Any, Literal

import numpy as np
import torch

from harness import api

N_TRAIN, N_TEST, N_VALID = 24_345, 8_070, 1345
SHUFFLE = (
    123  # seed of NumPy's generator in the authors' code, which shuffles before the last ones become validation images
)
# No checksum of the file is published, and so it is known by its arrays, and by the commit of the authors' repository. Its bytes
# have not been seen here. What identifies the dataset is computed from the images, and recorded with each run.
MIRRORS = (
    "https://raw.githubusercontent.com/yburda/iwae/8e601aa398705d5dc376c7dd3cd2bd0e8e7002da/datasets/OMNIGLOT/chardata.mat",
    "https://raw.githubusercontent.com/yburda/iwae/master/datasets/OMNIGLOT/chardata.mat",
)
NAMES = ("chardata.mat", "OMNIGLOT/chardata.mat", "omniglot/chardata.mat")  # the second as in the authors' folder
SIZE = 300_000_000  # of all arrays, as doubles

OTHER_KINDS = {"unit": "--binarize none"}


class Config(api.Config):
    """How pixels are presented."""

    binarize: Literal["stochastic", "none", "threshold"] = api.setting(
        "stochastic",
        "stochastic: Bernoulli with the grey value, anew at each presentation, as in the paper; none: grey; threshold: at 1/2",
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return Omniglot."""
    (train, test), source = _images(data_dir)
    if config.binarize == "threshold":
        train, test = train >= 0.5, test >= 0.5
    train = train[np.random.RandomState(SHUFFLE).permutation(len(train))]
    return api.Dataset(
        train=torch.from_numpy(train[:-N_VALID]),
        valid=torch.from_numpy(train[-N_VALID:]),
        test=torch.from_numpy(test),
        kind="unit" if config.binarize == "none" else "binary",
        source=source,
        stochastic=config.binarize == "stochastic",
        shape=(28, 28),
    )


def _images(data_dir: str | None) -> tuple[tuple[Any, Any], str]:
    """Return training and test images (N, 784), and where they were found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("omniglot")
    for folder in (local, cache):
        found = api.files.find(folder, NAMES, _decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        images, content = api.files.from_url(MIRRORS, lambda content: (_decode(content), content), size=SIZE)
    except api.files.MissingData as error:
        raise api.files.not_found("Omniglot", local, str(error), f"download chardata.mat from {MIRRORS[1]}") from error
    api.files.save(cache / NAMES[0], content)
    return images, "public mirror"


def _decode(content: bytes) -> tuple[Any, Any]:
    """Return the images in a MATLAB file (`data` and `testdata`, an image a column, its pixels column by column), by rows."""
    return _array(content, "data", N_TRAIN), _array(content, "testdata", N_TEST)


def _array(content: bytes, name: str, n: int) -> Any:
    images = api.files.read_matlab(content, name, size=SIZE)
    if images.shape != (784, n) or not (images.min() >= 0 and images.max() <= 1):
        raise api.BadInput(
            f"has an array {name!r} of shape {images.shape}, and Omniglot's has {n:,} columns of 784 grey values from 0 to 1"
        )
    return np.ascontiguousarray(images.T.reshape(n, 28, 28).transpose(0, 2, 1).reshape(n, 784), np.float32)
