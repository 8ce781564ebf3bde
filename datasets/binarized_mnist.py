"""Binarised MNIST, fixed once and for all: 50,000 training, 10,000 validation and 10,000 test images of 28 × 28 bits.

Ruslan Salakhutdinov and Iain Murray (2008) drew it, Hugo Larochelle and Iain Murray, "The neural autoregressive distribution
estimator" (AISTATS 2011), published it; the usual data of papers on belief nets. Its splits are not MNIST's first 50,000 and
last 10,000 training images, and its test images are sorted by class.
"""

import lzma
from typing import Any

import numpy as np
import torch

from harness import api

# SHA-256 of the rows packed to 98 bytes each, and their number.
SPLITS = {
    "train": ("727146c35424b019f3e350e1e69faa05644a0abaf787e3f4e1a9632220a13906", 50_000),
    "valid": ("a256ac44ae26be720fad8616a05ed6ecfd1619930d9a208379bb2a4405df5b6d", 10_000),
    "test": ("9fcd8da6f0fdf09b2ba30fe63a0bb784042a0de82563172530229b983e294ff2", 10_000),
}
ROWS = sum(n for _, n in SPLITS.values())
MIRRORS = (
    "https://raw.githubusercontent.com/mingzhang-yin/ARM-gradient/master/binarized_mnist_{}.amat",
    "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat",
)
SIZE = 90_000_000  # no published file is larger; Larochelle's training set is 78 MB of text


class Config(api.Config):
    """There is nothing to set."""


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return all three splits."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("binarized-mnist")
    images, sources = {}, set()
    for split in SPLITS:
        packed, source = _packed(split, local, cache)
        images[split] = torch.from_numpy(np.unpackbits(packed, axis=1))
        sources.add(source)
    return api.Dataset(
        train=images["train"],
        valid=images["valid"],
        test=images["test"],
        kind="binary",
        sha256=SPLITS["train"][0],
        source=" and ".join(sorted(sources)),
        shape=(28, 28),
    )


def _packed(split: str, local: Any, cache: Any) -> tuple[Any, str]:
    """Return one split's rows packed to 98 bytes each, and where they were found."""

    def decode(content: bytes) -> Any:
        return _decode(content, split)

    file = f"binarized_mnist_{split}.amat"
    for folder in (local, cache):
        names = (file, f"arm_{file}", "binarized_mnist_fixed.packedbits.xz", f"{split}.packedbits.xz")
        found = api.files.find(folder, names, decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        packed = api.files.from_url((mirror.format(split) for mirror in MIRRORS), decode, size=SIZE)
    except api.files.MissingData as error:
        files = ", ".join(f"binarized_mnist_{s}.amat" for s in SPLITS)
        remedy = f"download {files} from {MIRRORS[1].rpartition('/')[0]}/"
        raise api.files.not_found(f"binarised MNIST's {file}", local, str(error), remedy) from error
    api.files.save(cache / f"{split}.packedbits.xz", lzma.compress(packed.tobytes(), preset=1))
    return packed, "public mirror"


def _decode(content: bytes, split: str) -> Any:
    """Return the rows in a MATLAB file (`X`), in text of 0 and 1, or packed to bits by xz; BadInput if they are others."""
    sha256, n = SPLITS[split]
    if api.files.is_matlab(content):
        bits = api.files.read_matlab(content, "X", size=9 * n * 784)  # bytes or doubles
        packed = np.packbits(bits == 1, axis=-1)
    elif content.startswith(b"\xfd7zXZ"):
        try:
            unpacked = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=100_000_000).decompress(content, ROWS * 98 + 1)
        except lzma.LZMAError as error:
            raise api.BadInput(f"cannot be decompressed ({error})") from error
        packed = np.frombuffer(unpacked, np.uint8)
        if len(packed) > n * 98:  # all three splits, one behind the other
            before = {"train": 0, "valid": 50_000, "test": 60_000}[split] * 98
            packed = packed[before : before + n * 98]
    else:
        text = np.frombuffer(content, np.uint8)
        packed = np.packbits(text[(text == ord("0")) | (text == ord("1"))] - ord("0"))
    api.files.expect(sha256)(packed.tobytes())
    return packed.reshape(n, 98)
