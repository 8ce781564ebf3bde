"""Data that are not what they are said to be are refused at once, with the first value that is not."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from harness import api

BITS = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
PIXELS = torch.tensor([[0, 255, 7], [1, 2, 3]], dtype=torch.uint8)


def data(**given: Any) -> api.Dataset:
    return api.Dataset(**{"train": BITS, "test": BITS, "kind": "binary", **given})


def changed(value: float) -> torch.Tensor:
    points = BITS.clone()
    points[1, 2] = value
    return points


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"kind": "unit", "train": PIXELS},
            r"train has values from 0 to 255, and kind 'unit' means \[0, 1\]: give scale=1/255",
        ),
        (
            {"kind": "unit", "test": changed(-1.0)},
            r"test has values from -1 to 1, and kind 'unit' means \[0, 1\]: give values",
        ),
        ({"kind": "unit", "train": PIXELS, "scale": 1 / 100}, r"train has values from 0 to 2.55, and kind"),
        ({"train": PIXELS, "scale": 1 / 100, "stochastic": True}, r"from 0 to 2.55, and kind 'binary' means \[0, 1\]"),
        (
            {"train": changed(0.25)},
            "train has 0.25 in row 1, column 2: kind 'binary' means 0 and 1: give stochastic=True if",
        ),
        ({"train": PIXELS}, "train has 255 in row 0, column 1: kind 'binary'"),
        ({"valid": changed(float("nan"))}, "valid has nan in row 1, column 2: give finite numbers"),
        ({"kind": "real", "train": changed(float("inf"))}, "train has inf in row 1, column 2: give finite numbers"),
        (
            {"kind": "real", "train": changed(float("nan"))},
            "train has nan in row 1, column 2: .*; if NaN means that a value is missing, say missing=True",
        ),
        ({"kind": "real", "train": changed(float("inf")), "missing": True}, "train has inf in row 1, column 2: give"),
        ({"kind": "bits"}, "kind is 'bits': choose one of binary, unit, real"),
        ({"train": [[0, 1]]}, "train is of type list: give a torch tensor or a NumPy array"),
        ({"train": np.array([["a"]])}, "train is an array of <U1: give numbers"),
        ({"train": BITS.double()}, r"train has values of torch\.float64: give float32, bool, or integers"),
        ({"test": np.zeros((2, 3))}, r"test has values of torch\.float64: give float32"),
        ({"train": BITS[0]}, r"train has shape \(3,\): give points \(N, D\), or images"),
        ({"test": BITS[:0]}, r"test has shape \(0, 3\), which holds no value"),
        ({"test": BITS[:, :2]}, r"the splits differ in dimensions \(train 3, test 2\)"),
        ({"shape": (2, 2)}, r"shape is \(2, 2\), and points have 3 dimensions"),
        ({"sha256": "abc"}, "sha256 is 'abc': give 64 hexadecimal digits"),
        ({"sha256": 7}, "sha256 is 7: give 64 hexadecimal digits"),
    ],
)
def test_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(api.BadInput, match=said):
        data(**given)


NAN = float("nan")


@pytest.mark.parametrize(
    ("train", "kind", "said"),
    [
        (
            [[1, NAN], [NAN, NAN]],
            "real",
            "train has no value in row 1: leave points out of which everything is missing",
        ),
        (
            [[1, NAN], [0, NAN]],
            "real",
            "train has no value in column 1, so nothing can be learned of it: leave such col",
        ),
        ([[0.5, NAN], [1, 1]], "binary", "train has 0.5 in row 0, column 0: kind 'binary' means 0 and 1"),
        ([[3, NAN], [1, 1]], "unit", r"train has values from 1 to 3, and kind 'unit' means \[0, 1\]"),
        ([[3, NAN], [1, 1]], "counts", "kind is 'counts', which .*: leave out missing=True, or give another kind"),
    ],
)
def test_where_values_are_missing_the_others_are_looked_at(train: Any, kind: str, said: str) -> None:
    with pytest.raises(api.BadInput, match=said):
        data(train=torch.tensor(train), test=BITS[:, :2], kind=kind, missing=True)


def test_what_is_right_is_taken() -> None:
    images = np.arange(24, dtype=">i2").reshape(4, 2, 3)
    found = data(train=images, test=images, kind="unit", scale=1 / 23)
    assert (found.train.shape, found.shape) == ((4, 6), (2, 3))
    assert found.rows("train", torch.tensor([3]), torch.Generator())[0, -1] == 1.0
    assert data(train=BITS.bool(), test=BITS.to(torch.int8)).kind == "binary"
    assert data(train=PIXELS, test=PIXELS, scale=1 / 255, stochastic=True).stochastic


def test_a_fingerprint_is_computed_where_none_is_given() -> None:
    assert data().sha256 == data(sha256=None).sha256
    assert data().sha256 != data(train=changed(0.0)).sha256
    assert data(valid=BITS).sha256 != data().sha256
    given = hashlib.sha256(b"a file").hexdigest()
    assert data(sha256=given).sha256 == given
    assert data(sha256=given).first(1).sha256 == given


COUNTS = torch.tensor([[0, 3], [2, 0]])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.bool]
)
def test_counts_of_every_type_are_taken(dtype: torch.dtype) -> None:
    points = COUNTS.to(dtype)
    assert torch.equal(api.Dataset(points, points, kind="counts").train, points)
    with pytest.raises(api.BadInput, match="test has an empty document in row 1"):
        api.Dataset(points, points * torch.tensor([[1], [0]]).to(dtype), kind="counts")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train": -COUNTS}, "train has -3 in row 0, column 1: kind 'counts' means whole numbers from 0 to 16,777,216"),
        ({"valid": COUNTS / 2}, "valid has 1.5 in row 0, column 1: kind 'counts'"),
        ({"train": COUNTS * 10**7}, "train has 3e\\+07 in row 0, column 1: kind 'counts'"),
        ({"scale": 0.5}, "kind is 'counts', .*: leave out scale=0.5"),
        ({"stochastic": True}, "kind is 'counts', .*: leave out stochastic=True"),
    ],
)
def test_counts_are_whole_numbers_from_0_on(given: dict[str, Any], said: str) -> None:
    with pytest.raises(api.BadInput, match=said):
        api.Dataset(**{"train": COUNTS, "test": COUNTS, "kind": "counts", **given})
