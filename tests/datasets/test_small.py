"""Small sets of bits: `digits` and `debd`."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness.datasets import debd, digits
from support import Result

from harness import api

Harness = Callable[..., Result]


def write(folder: Path, name: str = "mine", **splits: str) -> Path:
    """Write the files of a set of one's own."""
    folder.mkdir(exist_ok=True)
    for split, text in {"train": "0,1,1\n1,0,0\n", "valid": "0,0,0\n", "test": "1,1,1\n", **splits}.items():
        (folder / f"{name}.{split}.data").write_text(text)
    return folder


@pytest.mark.parametrize("below", ["", "debd"])
def test_files_of_ones_own(tmp_path: Path, below: str) -> None:
    write(tmp_path / below)
    data = debd.load(debd.Config(set="mine"), str(tmp_path))
    assert data.train.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert data.valid is not None
    assert (data.valid.tolist(), data.test.tolist(), data.kind) == ([[0, 0, 0]], [[1, 1, 1]], "binary")


def test_gzip_and_other_line_ends(tmp_path: Path) -> None:
    write(tmp_path, valid="0,0,0\r\n1,0,1")
    (tmp_path / "mine.train.data").unlink()
    (tmp_path / "mine.train.data.gz").write_bytes(gzip.compress(b"1,0,1\n"))
    data = debd.load(debd.Config(set="mine"), str(tmp_path))
    assert data.valid is not None
    assert (data.train.tolist(), data.valid.tolist()) == ([[1, 0, 1]], [[0, 0, 0], [1, 0, 1]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,1,1\n0,1\n", "has in line 2 '0,1', 2 numbers, where the first line has 3"),
        ("0,1,2\n", "has in line 1 '0,1,2'"),
        ("0;1;1\n", "has in line 1 '0;1;1'"),
        ("0,1,\n", "has in line 1 '0,1,'"),
        ("0,1,1\n011,0\n", "has in line 2 '011,0'"),
        ("", "has no points"),
    ],
)
def test_files_that_are_no_bits(harness: Harness, tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path / "data", train=text)
    words = ("run", "--algo", "em", "--model", "bernoulli-mixture", "--dataset", "debd", "--set", "mine")
    refused = harness(*words, "--data-dir", tmp_path / "data")
    assert refused.code == 2
    assert "mine.train.data" in refused.err
    assert reason in refused.err
    assert refused.err.count("\n") == 1


def test_sets_of_other_names_and_sizes(harness: Harness, tmp_path: Path) -> None:
    words = (
        "run",
        "--algo",
        "em",
        "--model",
        "bernoulli-mixture",
        "--dataset",
        "debd",
        "--data-dir",
        tmp_path / "data",
    )
    write(tmp_path / "data", test="1,1\n")
    for name, reason in (
        ("../mine", "--set of dataset 'debd' is '../mine'"),
        ("yours", "the sets that are fetched are dna, mushrooms, nips, nltcs, plants"),
        ("mine", "the splits differ in dimensions"),
    ):
        refused = harness(*words, "--set", name)
        assert refused.code == 2, refused
        assert reason in refused.err
        assert refused.err.count("\n") == 1


def test_a_set_that_is_another_than_its_name_says(tmp_path: Path) -> None:
    write(tmp_path, "nltcs")
    with pytest.raises(api.BadInput, match=r"nltcs.train.data has SHA-256"):
        debd.load(debd.Config(set="nltcs"), str(tmp_path))


@pytest.mark.parametrize(
    ("name", "dim", "points"),
    [
        ("nltcs", 16, (16181, 2157, 3236)), ("plants", 69, (17412, 2321, 3482)), ("mushrooms", 112, (2000, 500, 5624)),
        ("dna", 180, (1600, 400, 1186)), ("nips", 500, (400, 100, 1240)),
    ],
)  # fmt: skip
def test_published_sets(name: str, dim: int, points: tuple[int, int, int]) -> None:
    try:
        data = debd.load(debd.Config(set=name))
    except api.files.MissingData as error:
        pytest.skip(str(error))
    assert data.valid is not None
    assert (len(data.train), len(data.valid), len(data.test)) == points
    assert data.train.shape[1] == dim


def of_digits(**settings: Any) -> api.Dataset:
    try:
        return digits.load(digits.Config(**settings))
    except api.files.MissingData as error:
        pytest.skip(str(error))


def test_digits() -> None:
    data, grey = of_digits(), of_digits(binarize="stochastic")
    assert data.valid is not None
    assert [len(split) for split in (data.train, data.valid, data.test)] == [1197, 300, 300]
    assert (data.shape, data.kind, grey.kind) == ((8, 8), "binary", "binary")
    assert torch.equal(data.train, (grey.train >= 8).to(torch.uint8))  # the same points in the same order
    rng = api.Streams(0)("binarisation")
    index = torch.zeros(4000, dtype=torch.int64)
    drawn = grey.rows("train", index, rng).mean(0)  # 16ths of grey, each off by 6 standard errors once in 500 million
    assert (drawn - grey.train[0] / 16).abs().max() < 6 * 0.5 / 4000**0.5
    ink = data.train.float().mean(0).view(8, 8)
    assert ink[:, 3:5].mean() > 0.4 > 0.1 > ink[:, [0, 7]].mean()  # digits are upright, and in the middle


def test_digits_of_an_installed_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = of_digits()
    content, _ = digits._content(None)
    package = tmp_path / "sklearn" / "datasets" / "data"
    package.mkdir(parents=True)
    (tmp_path / "sklearn" / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "digits.csv.gz").write_bytes(gzip.compress(content))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(digits.api.files, "cache_folder", lambda name: tmp_path / "no cache")
    monkeypatch.setattr(digits.api.files, "from_package_index", None)
    assert torch.equal(digits.load(digits.Config(), str(tmp_path)).train, data.train)
