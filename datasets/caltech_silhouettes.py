"""Caltech-101 silhouettes: 28 × 28 bits, 1 where an object is; 4100 images for training, 2264 for validation, 2307 for testing.

Benjamin Marlin, Kevin Swersky, Bo Chen and Nando de Freitas, "Inductive principles for restricted Boltzmann machine learning"
(AISTATS 2010), from the outlines of Caltech 101 by Fei-Fei Li, Marco Andreetto and Marc'Aurelio Ranzato. No licence is published.
The published split is in a file of its own; without it, images can be shared out at random, and results are not comparable.
"""

from typing import Any, Literal

import numpy as np
import torch

from harness import api

SIZES = {"train": 4100, "valid": 2264, "test": 2307}
MIRROR = "https://people.cs.umass.edu/~marlin/data/"
SPLIT, WHOLE = "caltech101_silhouettes_28_split1.mat", "caltech101_silhouettes_28.mat"
ARRAYS = {"train": "train_data", "valid": "val_data", "test": "test_data"}
# SHA-256 of all images as bytes, in the order of the file without a split. Of the one with it no checksum is published, and
# it has not been seen here: it is known by its arrays. What identifies the dataset is computed from the images.
SHA256 = "2414994d9887273c201063dc3c71351f966460b3eec0a79be3d02fe05c6f935c"
SIZE = 60_000_000  # of all arrays of a file, as doubles


class Config(api.Config):
    """Which split."""

    split: Literal["published", "random"] = api.setting(
        "published",
        "published: of the authors; random: a fixed random one of the same sizes, of the file without a split",
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the silhouettes."""
    name = SPLIT if config.split == "published" else WHOLE
    images, source = _images(name, data_dir)
    if config.split == "random":
        order = torch.randperm(len(images["all"]), generator=api.Streams(0, "cpu")("silhouettes split"), device="cpu")
        parts = order.split(list(SIZES.values()))
        images = {split: images["all"][part.numpy()] for split, part in zip(SIZES, parts, strict=True)}
    points = {split: torch.from_numpy(array) for split, array in images.items()}
    return api.Dataset(
        points["train"], points["test"], kind="binary", source=source, valid=points["valid"], shape=(28, 28)
    )


def _images(name: str, data_dir: str | None) -> tuple[dict[str, Any], str]:
    """Return the images of a file by split, or all of them, and where it was found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("caltech-silhouettes")
    decode = _split if name == SPLIT else _whole
    for folder in (local, cache):
        names = (name, f"Caltech101Silhouettes/{name}", f"caltech101_silhouettes/{name}")
        found = api.files.find(folder, names, decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        images, content = api.files.from_url((MIRROR + name,), lambda content: (decode(content), content), size=SIZE)
    except api.files.MissingData as error:
        remedy = f"download {name} from {MIRROR}" + ("" if name == WHOLE else f", or {WHOLE} and give --split random")
        raise api.files.not_found("the set of silhouettes", local, str(error), remedy) from error
    api.files.save(cache / name, content)
    return images, "public mirror"


def _whole(content: bytes) -> dict[str, Any]:
    found = api.files.read_matlab(content, "X", size=SIZE)
    api.files.expect(SHA256)(np.ascontiguousarray(found, np.uint8).tobytes())
    return {"all": _by_rows(found)}


def _split(content: bytes) -> dict[str, Any]:
    found = {split: api.files.read_matlab(content, name, size=SIZE) for split, name in ARRAYS.items()}
    for split, array in found.items():
        if array.shape != (SIZES[split], 784) or not np.isin(array, (0, 1)).all():
            raise api.BadInput(
                f"has an array {ARRAYS[split]!r} of shape {array.shape}, and {SIZES[split]} × 784 bits are published"
            )
    return {split: _by_rows(array) for split, array in found.items()}


def _by_rows(found: Any) -> Any:
    """Return images (N, 784) of bits in rows, 1 where the object is: the file has 0 there, and pixels column by column."""
    return np.ascontiguousarray(1 - found.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784), np.uint8)
