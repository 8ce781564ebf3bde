"""Datasets of the user's own files: which columns are points, how points are shared out, and what a model sees of them.

Points that take more than half of the memory stay on the disk, in a file that is mapped into memory, and everything else is the
same: the split, the batches and the estimates.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from harness.data import kept, own_files, validation
from harness.data.columns import chosen_columns
from harness.data.dataset import Dataset
from harness.data.memory import most_in_memory
from harness.data.own_files import Array, Points
from harness.data.tables import smallest
from harness.errors import BadInput
from harness.inference.protocols import Kind
from harness.inference.rng import Streams
from harness.specs.data_file import DataFiles

SHARES = "0.8/0.1/0.1"
"""Of training, validation and test points, where nobody says otherwise."""

STANDARDISE = "standardise"

BLOCK = 1 << 25  # bytes of points that are worked on at a time

_STORED = {
    **dict.fromkeys(("float16", "float64", "float96", "float128"), "float32"),
    "uint16": "int32", "uint32": "int64", "uint64": "int64",
}  # fmt: skip
"""Types of numbers that are kept as others."""

_OPTIONS = {"scale=": "--scale ", "stochastic=True": "--kind unit --binarize stochastic", "missing=True": "--missing"}
"""What messages about datasets of Python code say, and what it is called here."""


@dataclass(frozen=True)
class Settings:
    """What the user says of the files: the settings of the built-in dataset `file`, which says what each is."""

    kind: Kind | Literal[""]
    scale: float | str
    binarize: str
    split: str
    order: str
    columns: str
    labels: str
    shape: str
    array: str
    points: str
    missing: bool


@dataclass(frozen=True)
class Selected:
    """The columns of a part of the files that are points.

    Attributes:
        array: (N, D) or (N, rows, columns), not yet converted.
        source: the file.
        kept: the numbers of the columns in the file; None for all.
        names: of all columns of the file; None where they have none.
        on_disk: whether the array is a mapped file.
    """

    array: Array
    source: str
    kept: tuple[int, ...] | None
    names: tuple[str, ...] | None
    on_disk: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type in which points are kept."""
        found: np.dtype[Any] = self.array.dtype.newbyteorder("=")
        return np.dtype(_STORED.get(found.name, found))

    @property
    def dim(self) -> int:
        """D, how many values a point has."""
        return int(np.prod(self.array.shape[1:])) if self.kept is None else len(self.kept)

    @property
    def nbytes(self) -> int:
        """Bytes of all points as they are kept."""
        return len(self.array) * self.dim * self.dtype.itemsize

    def column(self, number: int) -> str:
        """Return in words which column of the file one of the points is."""
        return column_of(self.names, number if self.kept is None else self.kept[number])

    def rows(self, index: Tensor | slice) -> Array:
        """Return points (n, D) as they are kept."""
        block = np.asarray(self.array[index.numpy() if isinstance(index, Tensor) else index])
        block = block.reshape(len(block), -1)
        block = block if self.kept is None or not self.on_disk else block[:, list(self.kept)]
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused as that
            return np.ascontiguousarray(block, self.dtype)

    def blocks(self, index: Tensor | None = None) -> Iterator[Array]:
        """Yield points (n, D) as they are kept: those at `index`, or all."""
        size = max(1, BLOCK // max(1, self.dim * self.dtype.itemsize))
        n = len(self.array) if index is None else len(index)
        for start in range(0, n, size):
            yield self.rows(slice(start, start + size) if index is None else index[start : start + size])


@dataclass(frozen=True)
class Share:
    """A split of the dataset: points of a part of the files, and which of its rows; None for all of them."""

    of: Selected
    index: Tensor | None

    @property
    def n(self) -> int:
        """How many points."""
        return len(self.of.array) if self.index is None else len(self.index)

    def place(self, row: int, column: int) -> str:
        """Return in words where in its file a value of the split is."""
        return f"row {row if self.index is None else int(self.index[row])}, {self.of.column(column)}"


def column_of(names: tuple[str, ...] | None, number: int) -> str:
    """Return in words which column of a file one is."""
    return f"column {number}" if names is None else f"column {number} ({names[number]!r})"


def own_data(files: DataFiles, config: Mapping[str, Any], data_dir: str | None) -> Dataset:
    """Find, check and return the user's own data; the same files and settings give the same dataset.

    Args:
        files: what identifies them, and where they were.
        config: what the user says of them, see `Settings`.
        data_dir: the user's folder of data files.

    Raises:
        MissingData: they are nowhere.
        BadInput: they have changed, cannot be read, or are not what the settings say.
    """
    settings, paths = Settings(**config), own_files.find(files, data_dir)
    selected = [select(part, settings) for part in own_files.read(paths, settings.array)]
    return dataset(selected, settings, files.sha256)


def select(points: Points, settings: Settings) -> Selected:
    """Return the columns of a part of the files that are points, one point a row; BadInput where it has none."""
    array = points.array
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{points.source} is an array of {array.dtype}: give real numbers")
    if settings.points == "columns":
        if array.ndim != 2 or points.form == "table":
            raise BadInput(f"--points is 'columns', and {points.source} has shape {array.shape}: leave it out")
        array = array.T
    if array.ndim == 4 and 1 in (array.shape[1], array.shape[3]):  # one channel
        array = array.squeeze(1 if array.shape[1] == 1 else 3)
    if array.ndim not in (2, 3) or 0 in array.shape:
        colours = ": colours are not described here, give grey images" if array.ndim == 4 else ""
        raise BadInput(
            f"{points.source} has shape {array.shape}{colours or ''}, and points have (N, D), or images (N, rows, columns)"
        )
    names = points.names
    kept = chosen_columns(points.source, array.shape[1:], names, settings.columns, settings.labels)
    for number, (row, said) in points.text.items():
        if kept is None or number in kept:
            raise BadInput(
                f"{points.source} has text in {column_of(names, number)}, {said!r} in row {row}: correct it, or leave the column "
                f"out with --labels {number if names is None else names[number]}"
            )
    if points.form != "on disk":
        array = array if kept is None else array[:, list(kept)]
        array = smallest(array) if points.form == "table" else array
    return Selected(array, points.source, kept, names, points.form == "on disk")


def dataset(selected: Sequence[Selected], settings: Settings, sha256: str) -> Dataset:
    """Return the dataset of points that were read.

    Args:
        selected: points of one part, which is shared out; or of two or three, which are training, perhaps validation, and test
            points.
        settings: what the user says of them.
        sha256: identifies the files.

    Raises:
        BadInput: they are not what the settings say.
    """
    kind = settings.kind
    if not kind:
        raise BadInput(
            "--kind is not given: choose binary, unit, real or counts; "
            f"`harness data {selected[0].source.partition('[')[0]}` says what the data look like"
        )
    shares = shared_out(selected, settings)
    standardised = settings.scale == STANDARDISE
    if standardised and kind != "real":
        raise BadInput(f"--scale is {STANDARDISE!r}, and --kind is {kind!r}: only real values are standardised")
    scale, stochastic = 1.0 if standardised else float(settings.scale), settings.binarize == "stochastic"
    if stochastic and kind != "unit":
        raise BadInput(f"--binarize is 'stochastic', and --kind is {kind!r}: values of --kind unit are probabilities")
    shift = _standardisation(shares["train"]) if standardised else None
    key = hashlib.sha256(f"{sha256} {settings}".encode()).hexdigest()[:32]
    keep = _keeper(shares, key)
    splits = {name: keep(name, share, shift) for name, share in shares.items()}
    try:
        for name, share in shares.items():
            validation.require_range(
                share.of.source, splits[name], kind, scale, stochastic, settings.missing, share.place
            )
            if settings.missing:
                validation.require_rows(share.of.source, splits[name], share.place)
        return Dataset(
            splits["train"],
            splits["test"],
            kind="binary" if stochastic else kind,
            sha256=sha256,
            source=" and ".join(dict.fromkeys(share.of.source for share in shares.values())),
            scale=scale,
            stochastic=stochastic,
            shape=shape_of(selected[0], settings.shape),
            valid=splits.get("valid"),
            missing=settings.missing,
        )
    except BadInput as error:
        words = str(error)
        for of_code, option in _OPTIONS.items():
            words = words.replace(of_code, option)
        raise BadInput(words) from error


def shape_of(selected: Selected, shape: str) -> tuple[int, int] | None:
    """Return rows and columns of an image; None where points are none."""
    own = selected.array.shape[1:] if selected.array.ndim == 3 else None
    said = tuple(int(n) for n in shape.split("x")) if shape else None
    if own is not None and said not in (None, own):
        raise BadInput(f"--shape is {shape}, and {selected.source} has images of {own[0]} × {own[1]}: leave it out")
    found = own or said
    if found is not None and found[0] * found[1] != selected.dim:
        raise BadInput(
            f"--shape is {shape}, which has {found[0] * found[1]:,} pixels, and {selected.source} has points of "
            f"{selected.dim:,} values: give ROWSxCOLUMNS of as many, or leave out other columns with --labels"
        )
    return found  # type: ignore[return-value]  # two numbers


# -- splits


def shared_out(selected: Sequence[Selected], settings: Settings) -> dict[str, Share]:
    """Return the training, test and perhaps validation points; BadInput where a share leaves none."""
    if len(selected) > 1:
        if settings.split != SHARES:
            raise BadInput(
                f"--split is {settings.split}, and {selected[0].source} and others are the parts of a split: leave it out"
            )
        names = ("train", "test") if len(selected) == 2 else ("train", "valid", "test")
        return {name: Share(one, None) for name, one in zip(names, selected, strict=True)}
    (one,) = selected
    n, shares = len(one.array), [float(share) for share in settings.split.split("/")]
    counts = [round(share * n) for share in shares[1:]]
    counts = [n - sum(counts), *counts]
    names = ("train", "test") if len(shares) == 2 else ("train", "valid", "test")
    for name, count in zip(names, counts, strict=True):
        if count < 1:
            words = {"train": "training", "valid": "validation", "test": "test"}
            raise BadInput(
                f"--split is {settings.split}, which leaves no {words[name]} point of the {n:,} in {one.source}: give other "
                "shares"
            )
    if settings.order == "random":  # test points first, so that they are the same whatever is for validation
        order = torch.randperm(n, generator=Streams(0, "cpu")("own data split"), device="cpu")
        parts = order.split(counts[::-1])[::-1]
    else:
        parts = torch.arange(n).split(counts)
    return {name: Share(one, part) for name, part in zip(names, parts, strict=True)}


def _standardisation(train: Share) -> tuple[Array, Array]:
    """Return mean and standard deviation of each column (D,), of the training values that are there."""
    count = total = squares = np.zeros(train.of.dim)
    for block in train.of.blocks(train.index):
        there = np.isfinite(block)
        values = np.where(there, block, 0).astype(np.float64)
        count, total = count + there.sum(0), total + values.sum(0)
    mean = total / np.maximum(count, 1)
    for block in train.of.blocks(train.index):
        squares = squares + np.square(np.where(np.isfinite(block), block - mean, 0.0)).sum(0)
    sd = np.sqrt(squares / np.maximum(count, 1))
    constant = np.flatnonzero((sd == 0) & (count > 0))
    if len(constant):
        raise BadInput(
            f"{train.of.source} has one value alone in {train.of.column(int(constant[0]))}, in training, and that cannot be "
            "standardised: leave the column out with --labels"
        )
    return mean, np.where(sd > 0, sd, 1.0)


# -- where points are kept

Shift = tuple[Array, Array] | None

Keep = Callable[[str, Share, Shift], Tensor]


def _keeper(shares: dict[str, Share], key: str) -> Keep:
    """Return what keeps the points of a split: in memory, or on the disk where they are larger than half of it."""
    parts = {id(share.of): share.of for share in shares.values()}.values()
    if sum(part.nbytes for part in parts) <= most_in_memory():
        return lambda name, share, shift: torch.from_numpy(_filled(_in_memory, share, shift))
    if not all(part.on_disk for part in parts):
        raise BadInput(
            f"{next(iter(parts)).source} has points that take more than half of the memory: save them as a .npy file, which is "
            "read from disk as it is needed"
        )
    return lambda name, share, shift: _as_tensor(_on_disk(kept.folder() / key, name, share, shift))


Make = Callable[[tuple[int, int], np.dtype[Any]], Array]


def _in_memory(shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
    return np.empty(shape, dtype)


def _as_tensor(mapped: Array) -> Tensor:
    """Return a tensor of a file that is mapped for reading, as one for writing is counted as memory by the system."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it cannot be written to; no batch gives out the memory of the data
        return torch.from_numpy(mapped)


def _filled(make: Make, share: Share, shift: Shift) -> Array:
    """Return the points of a split (n, D), standardised if so asked, in what `make` returns."""
    out = make((share.n, share.of.dim), np.dtype(np.float32) if shift else share.of.dtype)
    start = 0
    for block in share.of.blocks(share.index):
        out[start : start + len(block)] = (block - shift[0]) / shift[1] if shift else block
        start += len(block)
    return out


def _on_disk(folder: Path, name: str, share: Share, shift: Shift) -> Array:
    """Return the points of a split in a mapped file: the user's own if it has them as they are kept, else one in the cache."""
    array, of = share.of.array, share.of
    if (
        share.index is None
        and shift is None
        and of.kept is None
        and array.dtype == of.dtype
        and array.flags.c_contiguous
    ):
        return array.reshape(len(array), -1)
    import filelock

    path = folder / f"{name}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / kept.LOCK):
            if not path.exists():
                unfinished = path.with_name(f".{name}.npy")

                def make(shape: tuple[int, int], dtype: np.dtype[Any]) -> Array:
                    return np.lib.format.open_memmap(unfinished, "w+", dtype, shape)

                _filled(make, share, shift)
                unfinished.replace(path)
    except OSError as error:
        raise BadInput(
            f"{of.source} is larger than half of the memory, and its split cannot be written to {folder} ({error.strerror}): "
            "make room there, or give a file for each part, --dataset TRAIN.npy,TEST.npy"
        ) from error
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.shape != (share.n, of.dim):
        raise BadInput(f"{path} is damaged: delete it, and it is made again")
    return found
