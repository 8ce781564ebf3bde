"""Which entries of points are hidden, to see how well a model tells what they are."""

import math

import torch
from torch import Tensor

from harness.errors import BadInput

PATTERNS = ("square", "left", "top")
"""Parts of an image: the square in its centre, of half the shorter edge; its left half; its top half."""


def hidden(missing: float | str, x: Tensor, shape: tuple[int, int] | None, rng: torch.Generator) -> Tensor:
    """Return which entries of points x (n, D) are hidden, (n, D).

    Args:
        missing: a share, of which every point has other entries, drawn at random; or one of `PATTERNS`.
        x: the points, NaN where an entry is missing already.
        shape: (rows, columns) of an image; None where points are no images.
        rng: draws them.

    Raises:
        BadInput: points are no images, nothing is hidden, or all that is observed of a point.
    """
    n, dim = x.shape
    if isinstance(missing, str):
        if shape is None:
            raise BadInput(f"--missing is {missing!r}, and the points are no images: give a share, such as 0.6")
        found = _part(missing, shape).flatten().expand(n, dim)
    else:
        count = round(missing * dim)
        if count in (0, dim):
            how = "all" if count else "none"
            raise BadInput(
                f"--missing is {missing:g}, which hides {how} of the {dim} entries of a point: give a share that leaves some"
            )
        found = torch.rand(n, dim, generator=rng).argsort(dim=-1) < count
    whole = (found | x.isnan()).all(-1)
    if whole.any():
        raise BadInput(
            f"--missing is {missing}, which hides all that is observed of point {int(whole.nonzero()[0])}: hide fewer entries"
        )
    return found


def _part(pattern: str, shape: tuple[int, int]) -> Tensor:
    rows, columns = shape
    found = torch.zeros(rows, columns, dtype=torch.bool)
    if pattern == "square":
        side = math.ceil(min(rows, columns) / 2)
        top, left = (rows - side) // 2, (columns - side) // 2
        found[top : top + side, left : left + side] = True
    elif pattern == "left":
        found[:, : columns // 2] = True
    else:
        found[: rows // 2] = True
    return found
