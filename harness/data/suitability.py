"""Whether data suit what a model expects of them: what does not is worth a warning, and never an error.

A model says by its attribute `expects` what matters to it. Without one, the scale of real data alone is looked at.
"""

import math
from dataclasses import dataclass

import torch

from harness.data.dataset import Dataset
from harness.data.validation import AT_A_TIME
from harness.inference.observation import Expects

LARGEST, SMALLEST = 100.0, 0.01  # root mean squares between which the scale of values is near enough to 1

NAMED = 3  # columns, in a sentence

Warnings = dict[str, str]
"""Sentences by what they are about: "scale", "range" or "constant"."""


def warnings(name: str, dataset: Dataset, expects: Expects | None = None) -> Warnings:
    """Return what a user should know before a model is trained on a dataset: what, the values found, and what to do.

    Args:
        name: of the dataset.
        dataset: its training points are looked at.
        expects: what the model says of itself.
    """
    if expects is None and dataset.kind != "real":
        return {}
    columns = _Columns.of(dataset)
    has, found = f"dataset {name!r} has {columns.values}", Warnings()
    far, typical = columns.size > LARGEST, columns.size.square().mean().sqrt().item()
    if dataset.kind == "real" and (far.any() or 0 < typical < SMALLEST):
        about = (
            f"a root mean square above {LARGEST:g} in {_named(far)}"
            if far.any()
            else f"a root mean square of {typical:.2g}"
        )
        size = columns.size.max().item()
        found["scale"] = (
            f"{has}, and {about}, where models begin near 0 with variances near 1: standardise each column, or bring all nearer "
            f"to 1, such as by scale={dataset.scale / 10.0 ** round(math.log10(size)):g} of api.Dataset; "
            "--scale standardise does it for data in a file"
        )
    if expects is not None and expects.mean is not None:
        low, high = expects.mean
        outside = (columns.low < low) | (columns.high > high)
        if outside.any():
            found["range"] = (
                f"{has}, some outside ({low:g}, {high:g}) in {_named(outside)}, and the mean of the model lies within: "
                f"give {expects.instead}, or scale the data into ({low:g}, {high:g})"
            )
    if expects is not None and expects.learned_variance:
        constant = columns.low == columns.high
        if constant.any():
            value = columns.low[constant][0].item()
            found["constant"] = (
                f"dataset {name!r} has one value, {value:g}, in all {len(dataset.train):,} training points of "
                f"{_named(constant)}, and the model learns a variance there: the bound rises for ever as that falls to 0; leave "
                "such columns out, or add noise to them"
            )
    return found


def values(dataset: Dataset) -> str:
    """Return in words from where to where the training points go, as a model sees them."""
    return _Columns.of(dataset).values


@dataclass(frozen=True)
class _Columns:
    """The least value, the greatest and the root mean square of each column (D,), as a model sees them."""

    low: torch.Tensor
    high: torch.Tensor
    size: torch.Tensor

    @property
    def values(self) -> str:
        """Where all values lie, in words."""
        return f"values from {self.low.min():,.6g} to {self.high.max():,.6g}"

    @classmethod
    def of(cls, dataset: Dataset) -> "_Columns":
        low, high, squares = [], [], []
        observed = torch.zeros(())
        for part in dataset.train.split(AT_A_TIME):
            values = least = most = part.double()
            if dataset.missing:  # a value that is missing counts for nothing
                gone = values.isnan()
                least, most = (values.masked_fill(gone, end) for end in (math.inf, -math.inf))
                values, observed = values.masked_fill(gone, 0.0), observed + (~gone).sum(0)
            low.append(least.amin(0))
            high.append(most.amax(0))
            squares.append(values.square().sum(0))
        ends = torch.stack(low).amin(0) * dataset.scale, torch.stack(high).amax(0) * dataset.scale
        points = observed if dataset.missing else len(dataset.train)
        size = (torch.stack(squares).sum(0) / points).sqrt() * abs(dataset.scale)
        return cls(torch.minimum(*ends), torch.maximum(*ends), size)


def _named(which: torch.Tensor) -> str:
    """Return columns in words: all 6 columns; column 2; columns 2, 5, 8 and 4 more."""
    numbers = which.nonzero().flatten().tolist()
    if len(numbers) == 1:
        return f"column {numbers[0]}"
    if len(numbers) == len(which):
        return f"all {len(numbers)} columns"
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"columns {', '.join(map(str, numbers[:NAMED]))}{more}"
