"""What data must be before anything is computed from them: a wrong range gives likelihoods that look right and are none."""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from harness.errors import BadInput
from harness.inference.protocols import Kind

DTYPES = (torch.float32, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)

Place = Callable[[int, int], str]
"""Returns in words where the value of a row and a column is."""

AT_A_TIME = 5000  # points

ROUNDING = 1e-6  # beyond the ends of [0, 1], of stored values times a scale

MOST_COUNTED = 1 << 24  # single precision, in which models see counts, has every whole number up to here


def as_points(name: str, given: object) -> Tensor:
    """Return a split as a tensor of a type that is supported, (N, D) or (N, rows, columns).

    Raises:
        BadInput: it is no array, of another type or shape, or it has no points or no dimensions.
    """
    points = given
    if isinstance(points, np.ndarray):
        if points.dtype.hasobject or points.dtype.kind not in "biuf":
            raise BadInput(f"{name} is an array of {points.dtype}: give numbers")
        try:
            points = torch.from_numpy(np.ascontiguousarray(points.astype(points.dtype.newbyteorder("="), copy=False)))
        except TypeError:
            raise BadInput(
                f"{name} is an array of {points.dtype}: give float32, or integers of up to 64 bits"
            ) from None
    if not isinstance(points, Tensor):
        raise BadInput(f"{name} is of type {type(given).__name__}: give a torch tensor or a NumPy array")
    if points.dtype not in DTYPES:
        raise BadInput(
            f"{name} has values of {points.dtype}: give float32, bool, or integers of up to 64 bits and a scale"
        )
    if points.ndim not in (2, 3):
        raise BadInput(f"{name} has shape {tuple(points.shape)}: give points (N, D), or images (N, rows, columns)")
    if 0 in points.shape:
        raise BadInput(f"{name} has shape {tuple(points.shape)}, which holds no value: give one point or more")
    return points


def require_one_size(splits: Mapping[str, Tensor], shape: tuple[int, int] | None) -> None:
    """Raise BadInput unless all splits (N, D) have the same number of dimensions, and an image's shape as many."""
    sizes = {name: points.shape[1] for name, points in splits.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise BadInput(f"the splits differ in dimensions ({said}): give points of one size")
    (size,) = set(sizes.values())
    if shape is not None and (len(shape) != 2 or shape[0] * shape[1] != size):
        raise BadInput(f"shape is {shape!r}, and points have {size} dimensions: give (rows, columns) of as many")


def in_tensor(row: int, column: int) -> str:
    """Return in words where a value is."""
    return f"row {row}, column {column}"


def require_range(
    name: str,
    points: Tensor,
    kind: Kind,
    scale: float,
    stochastic: bool,
    missing: bool = False,
    place: Place = in_tensor,
) -> None:
    """Raise BadInput, with the first value that is not, unless points (N, D) are finite and within the range of their kind.

    With `missing`, NaN means that a value is missing, and the others are looked at. `place` tells where a value is.
    """
    if kind not in get_args(Kind):
        raise BadInput(f"kind is {kind!r}: choose one of {', '.join(get_args(Kind))}")
    if kind == "counts" and (scale != 1.0 or stochastic or missing):
        given = "stochastic=True" if stochastic else f"scale={scale:g}" if scale != 1.0 else "missing=True"
        raise BadInput(
            f"kind is 'counts', which are whole numbers as they are: leave out {given}, or give another kind"
        )
    within = kind == "unit" or stochastic
    for start in range(0, len(points), AT_A_TIME):
        part = points[start : start + AT_A_TIME]
        if part.is_floating_point():
            bad = part.isinf() if missing else ~part.isfinite()
            means = "; if NaN means that a value is missing, say missing=True" if part[bad].isnan().any() else ""
            _refuse(name, points, start, bad, 1.0, f"give finite numbers, or leave such points out{means}", place)
        if missing and part.is_floating_point():
            there = part[~part.isnan()]
            if not len(there):
                continue
            part = torch.where(part.isnan(), there[0], part)  # one that is looked at anyway
        if kind == "counts":
            _require_counts(name, points, start, part, place)
        if part.dtype == torch.bool:
            continue
        least, most = (end.item() * scale for end in part.aminmax())
        if within and (least < -ROUNDING or most > 1 + ROUNDING):
            low, high = (end.item() * scale for end in points[~points.isnan()].aminmax())
            hint = f"scale=1/{high:g}" if low >= 0 else "values from 0 to 1"
            raise BadInput(
                f"{name} has values from {low:g} to {high:g}, and kind {kind!r} means [0, 1]: give {hint}, or kind 'real'"
            )
        whole = scale == 1.0 and not part.is_floating_point() and least >= 0 and most <= 1  # numbers, so 0 and 1
        if kind == "binary" and not stochastic and not whole:
            shown = part * scale if scale != 1.0 else part
            hint = "give stochastic=True if values are probabilities, or kind 'unit' or 'real'"
            _refuse(
                name, points, start, (shown != 0) & (shown != 1), scale, f"kind 'binary' means 0 and 1: {hint}", place
            )


def require_observed(splits: Mapping[str, Tensor]) -> None:
    """Raise BadInput unless every point (D,) has a value that is not missing, and every column has one in training."""
    for name, points in splits.items():
        require_rows(name, points)
    require_columns("train", splits["train"])


def require_rows(name: str, points: Tensor, place: Place = in_tensor) -> None:
    """Raise BadInput unless every one of the points (N, D) has a value that is not missing."""
    empty = _all_missing(points, 1)
    if len(empty):
        where = place(empty[0], 0).partition(",")[0]
        raise BadInput(f"{name} has no value in {where}: leave points out of which everything is missing")


def require_columns(name: str, points: Tensor) -> None:
    """Raise BadInput unless every column of points (N, D) has a value that is not missing."""
    empty = _all_missing(points, 0)
    if len(empty):
        raise BadInput(
            f"{name} has no value in column {empty[0]}, so nothing can be learned of it: leave such columns out, or give points "
            "that have some"
        )


def _all_missing(points: Tensor, dim: int) -> list[int]:
    """Return the columns (dim 0) or rows (dim 1) that are all NaN."""
    parts = [part.isnan().all(dim) for part in points.split(AT_A_TIME)]
    found = torch.stack(parts).all(0) if dim == 0 else torch.cat(parts)
    return [int(one) for one in found.nonzero().flatten()]


def _require_counts(name: str, points: Tensor, start: int, part: Tensor, place: Place) -> None:
    """Raise BadInput unless these rows are whole numbers from 0 on, and none of them is empty."""
    bad = part < 0
    if part.max().item() > MOST_COUNTED:  # asked first, as bytes are not compared with what is none
        bad |= part > MOST_COUNTED
    if part.is_floating_point():
        bad |= part != part.round()
    what = f"kind 'counts' means whole numbers from 0 to {MOST_COUNTED:,}: give those, or another kind"
    _refuse(name, points, start, bad, 1.0, what, place)
    empty = (part == 0).all(-1)
    if empty.any():
        row = start + int(empty.nonzero()[0].item())
        where = place(row, 0).partition(",")[0]
        raise BadInput(f"{name} has an empty document in {where}, and no word can be predicted there: leave it out")


def _refuse(name: str, points: Tensor, start: int, bad: Tensor, scale: float, what: str, place: Place) -> None:
    """Raise BadInput with the first of the bad values of the rows from `start` on."""
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        value = points[start + row, column].item() * scale
        raise BadInput(f"{name} has {value:g} in {place(start + row, column)}: {what}")


def fingerprint(given: object, splits: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 that was given, or of the splits as they are stored; BadInput if it is none."""
    if given in (None, ""):
        found = hashlib.sha256()
        for name, points in splits.items():
            found.update(f"{name} {points.dtype} {tuple(points.shape)}\n".encode())
            found.update(points.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()
    if not isinstance(given, str) or not re.fullmatch("[0-9a-f]{64}", given):
        raise BadInput(
            f"sha256 is {given!r}: give 64 hexadecimal digits in lower case, or leave it out and it is computed"
        )
    return given
