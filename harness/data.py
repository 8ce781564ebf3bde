"""Data in memory, as models see it, and readers for the file formats that datasets are published in."""

import gzip
import pickle
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from torch import Tensor

from harness.errors import BadInput

Kind = Literal["binary", "unit", "real"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Dataset:
    """A training and a test set.

    Attributes:
        train: training points (N, D) as stored, of any dtype.
        test: test points (N', D).
        kind: what a model sees: "binary" {0, 1}, "unit" [0, 1] or "real".
        sha256: identifies the data; recorded with every run.
        source: where it was found; not recorded, as it may name a private path.
        scale: a stored value times this is what a model sees.
        stochastic: a value in [0, 1] is the probability of a 1, drawn anew at each presentation.
        shape: (rows, columns) of an image.
    """

    train: Tensor
    test: Tensor
    kind: Kind
    sha256: str
    source: str
    scale: float = 1.0
    stochastic: bool = False
    shape: tuple[int, int] | None = None

    def first(self, n: int | None) -> "Dataset":
        """Return the dataset with only its first n training points (all where n is None)."""
        if n is None:
            return self
        if not 0 < n <= len(self.train):
            raise BadInput(f"--n-train is {n}: this dataset has 1 to {len(self.train)} training points")
        return replace(self, train=self.train[:n])

    def rows(self, split: Split, index: Tensor, rng: torch.Generator) -> Tensor:
        """Return the points at `index` (B,) as a model sees them, (B, D) float; rng draws the binarisation, if there is one."""
        stored: Tensor = getattr(self, split)
        x = stored.index_select(0, index).to(torch.float32)
        if self.scale != 1.0:
            x.mul_(self.scale)
        return torch.bernoulli(x, generator=rng) if self.stochastic else x


_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(content: bytes) -> np.ndarray[Any, Any]:
    """Return the array in an IDX file's content (the format of MNIST's own files)."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        raise BadInput("not an IDX file: its first bytes are no IDX header")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    return np.frombuffer(content, _IDX_TYPES[content[2]], offset=4 + 4 * rank).reshape(shape)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays in plain containers and refuses every other name."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise BadInput(f"a pickle asks for {module}.{name}, which no array needs: refused, nothing was executed")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle_arrays(file: BinaryIO | gzip.GzipFile) -> Any:
    """Return what a pickle of numpy arrays holds, executing nothing else.

    Raises:
        BadInput: the pickle names anything but array reconstruction, or cannot be read.
    """
    try:
        return _ArrayUnpickler(file, encoding="latin1").load()
    except BadInput:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise BadInput(f"a pickle cannot be read: {error}") from error
