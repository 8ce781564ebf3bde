"""Data in memory, as models see it."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from harness import native
from harness.data import validation
from harness.errors import BadInput
from harness.inference.protocols import Kind
from harness.inference.rng import bernoulli

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Dataset:
    """A training and a test set.

    Attributes:
        train: training points (N, D) as stored, of float32, bool or integers of up to 64 bits; a tensor, or a NumPy array, which
            becomes one. Images (N, rows, columns) are flattened, and their shape is kept.
        test: test points (N', D).
        kind: what a model sees: "binary" {0, 1}, "unit" [0, 1], "real", or "counts": whole numbers from 0 on, one 1 or more.
        sha256: identifies the data; recorded with every run. Left out, it is computed from them.
        source: where it was found; not recorded, as it may name a private path.
        scale: a stored value times this is what a model sees.
        stochastic: a value in [0, 1] is the probability of a 1, drawn anew at each presentation.
        shape: (rows, columns) of an image.
        valid: validation points (N'', D), where the data come with some.
        missing: whether NaN among points of float32 means that an entry is missing. Models then describe the other entries alone.
    """

    train: Tensor
    test: Tensor
    kind: Kind
    sha256: str = ""
    source: str = ""
    scale: float = 1.0
    stochastic: bool = False
    shape: tuple[int, int] | None = None
    valid: Tensor | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        """Check the data, once; derived datasets are made of what was checked.

        Raises:
            BadInput: they are not what they are said to be, with the first value that is not.
        """
        given = {name: getattr(self, name) for name in get_args(Split)}
        splits = {name: validation.as_points(name, points) for name, points in given.items() if points is not None}
        shape = self.shape
        for name, points in splits.items():
            if points.ndim == 3:
                shape = shape or (points.shape[1], points.shape[2])
                splits[name] = points.flatten(1)
        validation.require_one_size(splits, shape)
        for name, points in splits.items():
            validation.require_range(name, points, self.kind, self.scale, self.stochastic, self.missing)
        if self.missing:
            validation.require_observed(splits)
        self._set(**splits, shape=shape, sha256=validation.fingerprint(self.sha256, splits))

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _with(self, **fields: object) -> "Dataset":
        """Return a dataset with other fields, which need no check."""
        other = copy.copy(self)
        other._set(**fields)
        return other

    def first(self, n: int | None) -> "Dataset":
        """Return the dataset with only its first n training points (all where n is None)."""
        if n is None:
            return self
        if not 0 < n <= len(self.train):
            raise BadInput(f"--n-train is {n}: this dataset has 1 to {len(self.train)} training points")
        fewer = self._with(train=self.train[:n])
        if self.missing:
            validation.require_columns(f"--n-train is {n}, and train", fewer.train)
        return fewer

    def mean(self) -> Tensor:
        """Return the mean of the training points (D,), float32; of probabilities where the binarisation is stochastic.

        Entries that are missing are left out.
        """
        total = torch.zeros(self.train.shape[1], dtype=torch.float64, device=self.train.device)
        if self.missing:
            observed = torch.zeros_like(total)
            for part in self.train.split(5000):
                total += part.nansum(0, dtype=torch.float64)
                observed += part.isfinite().sum(0)
            return (total / observed * self.scale).float()
        for part in self.train.split(5000):
            total += part.sum(0, dtype=torch.float64)
        return (total * (self.scale / len(self.train))).float()

    def observed(self) -> float:
        """Return how many entries of a training point are observed, on average."""
        n, dim = self.train.shape
        return sum(int(part.isfinite().sum()) for part in self.train.split(5000)) / n if self.missing else float(dim)

    def marginal(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw points (n, D) as a model sees them, each entry from those of its column that are observed in training."""
        stored = self.train
        dim = stored.shape[1]

        def draw(*shape: int) -> Tensor:
            return torch.randint(len(stored), shape, generator=rng, device=stored.device)

        found = stored.gather(0, draw(n, dim))
        while self.missing and (gone := found.isnan()).any():  # ends, as every column is observed somewhere
            rows, columns = gone.nonzero(as_tuple=True)
            found[rows, columns] = stored[draw(len(rows)), columns]
        return self._shown(found, rng)

    def to(self, device: torch.device) -> "Dataset":
        """Return the dataset with all of its points on a device."""
        valid = None if self.valid is None else self.valid.to(device)
        return self._with(train=self.train.to(device), test=self.test.to(device), valid=valid)

    def rows(self, split: Split, index: Tensor, rng: torch.Generator) -> Tensor:
        """Return the points at `index` (B,) as a model sees them, (B, D) float; rng draws the binarisation, if there is one."""
        stored = getattr(self, split)
        if stored.dtype is torch.uint8 and not self.stochastic:
            return native.bytes_at(stored, index, self.scale)
        return self._shown(stored.index_select(0, index), rng)

    def _shown(self, stored: Tensor, rng: torch.Generator) -> Tensor:
        x = _as_floats(stored, self.scale)
        if not self.stochastic:
            return x
        drawn = bernoulli(x, rng)
        return drawn.masked_fill_(x.isnan(), math.nan) if self.missing else drawn

    def batch(self, index: Tensor, rng: torch.Generator) -> "Batch":
        """Return the training points at `index` (B,) as a batch."""
        return Batch(self.rows("train", index, rng), index)

    def full_batch(self, rng: torch.Generator) -> "Batch":
        """Return all training points as a batch that keeps them as they are stored, a quarter of the memory for pixels."""
        index, stored, scale = torch.arange(len(self.train)), self.train, self.scale
        if self.stochastic:
            bits = torch.float32 if self.missing else torch.uint8
            parts = [self._shown(part, rng).to(bits) for part in stored.split(1000)]
            stored, scale = torch.cat(parts), 1.0
        return Batch(stored, index, scale, shared=stored is self.train)


def _as_floats(stored: Tensor, scale: float) -> Tensor:
    """Return stored values times a scale, in floating point; never the stored tensor changed."""
    x = stored if stored.is_floating_point() else stored.to(torch.float32)
    if scale == 1.0:
        return x
    return x * scale if x is stored else x.mul_(scale)


class Batch:
    """Training points. What an algorithm does to them in place stays in the batch: no batch gives out the memory of the data.

    Args:
        stored: the points as they are stored.
        index: their positions in the training set (B,).
        scale: a stored value times this is what a model sees.
        shared: whether `stored` is the memory of the data, of which only copies are given out.

    Attributes:
        index: their positions in the training set (B,).
    """

    __slots__ = ("_scale", "_shared", "_stored", "index")

    def __init__(self, stored: Tensor, index: Tensor, scale: float = 1.0, *, shared: bool = False):
        self._stored, self.index, self._scale, self._shared = stored, index, scale, shared

    @property
    def x(self) -> Tensor:
        """The points as a model sees them, (B, D) float; made anew each time unless they are the batch's own and stored so."""
        x = _as_floats(self._stored, self._scale)
        return x.clone() if self._shared and x is self._stored else x

    def split(self, size: int) -> Iterator["Batch"]:
        """Yield the same points in batches of at most `size`, so that no more than that are in memory as floats."""
        for stored, index in zip(self._stored.split(size), self.index.split(size), strict=True):
            yield Batch(stored, index, self._scale, shared=self._shared)
