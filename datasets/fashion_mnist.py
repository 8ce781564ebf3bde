"""Fashion-MNIST: 28 × 28 grey pixels of clothes k/255; 50,000 images for training, 10,000 for validation and 10,000 for testing.

Han Xiao, Kashif Rasul and Roland Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms"
(2017), arXiv 1708.07747; licence as published: MIT. Validation images are the last 10,000 of the published training set.
"""

import gzip
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from harness import api

N_TRAIN = 50_000
# Name, SHA-256 of the gzip file as others have published it, and size of the decompressed one. The authors publish MD5;
# these SHA-256 stand in several public repositories, and have not been compared with the files here.
TRAIN = ("train-images-idx3-ubyte", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 47_040_016)
TEST = ("t10k-images-idx3-ubyte", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 7_840_016)
COUNTS = {TRAIN[0]: 60_000, TEST[0]: 10_000}
MEAN = 0.2860  # of the training pixels / 255, as widely published; MNIST's is 0.1307, and KMNIST's 0.1918
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)
FOLDERS = (
    "FashionMNIST/raw/",
    "fashion-mnist/",
    "fashion_mnist/",
    "",
)  # the first as torchvision, the second as Keras keeps it

OTHER_KINDS = {"binary": "--binarize stochastic"}


class Config(api.Config):
    """How pixels are presented."""

    binarize: Literal["none", "stochastic", "threshold"] = api.setting(
        "none", "none: grey; stochastic: Bernoulli with the grey value, anew at each presentation; threshold: at 1/2"
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return Fashion-MNIST."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("fashion-mnist")
    (train, test), source = _images(local, cache)
    scale = 1 / 255
    if config.binarize == "threshold":
        train, test, scale = train >= 128, test >= 128, 1.0
    return api.Dataset(
        train=torch.from_numpy(train[:N_TRAIN]),
        valid=torch.from_numpy(train[N_TRAIN:]),
        test=torch.from_numpy(test),
        kind="unit" if config.binarize == "none" else "binary",
        source=source,
        scale=scale,
        stochastic=config.binarize == "stochastic",
    )


def _images(local: Path | None, cache: Path) -> tuple[list[Any], str]:
    """Return both published sets of images, and where they were found."""
    others = ""
    for folder in (local, cache):
        try:
            found = [_found(folder, part, skip_damaged=folder == cache) for part in (TRAIN, TEST)]
        except api.files.NotThisFile as error:  # as of MNIST, whose files have these names, too
            others = f"{error}; "
            continue
        images = [array for array, _ in filter(None, found)]
        if len(images) == len(found):
            return images, str(folder)
    images = []
    for name, sha256, size in (TRAIN, TEST):
        try:
            addresses = (f"{mirror}{name}.gz" for mirror in MIRRORS)
            content = api.files.from_url(addresses, bytes, size=size, packed_sha256=sha256)
        except api.files.MissingData as error:
            remedy = f"download {TRAIN[0]}.gz and {TEST[0]}.gz from {MIRRORS[1]}"
            raise api.files.not_found("Fashion-MNIST", local, f"{others}{error}", remedy) from error
        images.append(_decoder(name)(content))
        api.files.save(cache / f"{name}.gz", gzip.compress(content, 1))
    return images, "public mirror"


def _found(folder: Path | None, part: tuple[str, str, int], *, skip_damaged: bool) -> Any:
    """Return the images of a file in one of the places where people keep it; None if it is in none."""
    name, _, size = part
    names = [f"{below}{name}" for below in FOLDERS]
    return api.files.find(folder, names, _decoder(name), size=size, skip_damaged=skip_damaged)


def _decoder(name: str) -> Any:
    """Return what decodes the content of a decompressed file, and refuses images that are not Fashion-MNIST's."""

    def decode(content: bytes) -> Any:
        images = api.files.read_idx(content)
        if images.shape != (COUNTS[name], 28, 28) or images.dtype != np.uint8:
            raise api.BadInput(
                f"has an array of {' × '.join(map(str, images.shape))} values, not {COUNTS[name]} × 28 × 28"
            )
        mean = images.mean() / 255
        if abs(mean - MEAN) > 0.002:  # test images differ by less
            raise api.files.NotThisFile(
                f"has grey values of {mean:.4f} on average, and Fashion-MNIST's are {MEAN:.4f}: MNIST and others have files of "
                "this name"
            )
        return images

    return decode
