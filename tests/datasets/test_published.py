"""Published sets that cannot be fetched here: on files of the same form, in every place where people keep them."""

import gzip
import hashlib
import io
import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
import torch
from harness.datasets import bag_of_words, caltech_silhouettes, fashion_mnist, mnist, omniglot
from scipy.io import savemat

from harness import api
from harness.data import download
from harness.errors import BadInput

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder of the user's, an empty cache, and no network."""
    monkeypatch.setenv("HARNESS_DATA_BEFORE", os.environ.get("HARNESS_DATA", ""))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr(download, "cache_folder", lambda name: tmp_path / "cache" / name)
    for module in (bag_of_words, caltech_silhouettes, fashion_mnist, mnist, omniglot):
        monkeypatch.setattr(module.api.files, "cache_folder", lambda name: tmp_path / "cache" / name)

    def refused(*_: Any, **__: Any) -> None:
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", refused)


def serve(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Serve files by the ends of their addresses."""

    def served(url: str, most: int) -> bytes:
        for name, content in files.items():
            if url.endswith(name):
                return content
        raise requests.ConnectionError

    monkeypatch.setattr(download, "_download", served)


def idx(images: np.ndarray[Any, Any]) -> bytes:
    return struct.pack(">IIII", 0x0803, *images.shape) + images.tobytes()


def matlab(**arrays: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=True)
    return file.getvalue()


# -- Fashion-MNIST


@pytest.fixture
def clothes(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    """Ten and four images of 28 × 28, of the published mean."""
    names = [name for name, _, _ in (fashion_mnist.TRAIN, fashion_mnist.TEST)]
    images = {name: np.full((n, 28, 28), 73, np.uint8) for name, n in zip(names, (10, 4), strict=True)}
    for k, array in enumerate(images.values()):
        array[:, 0, 0] = np.arange(len(array)) + 70 + k
    monkeypatch.setattr(fashion_mnist, "COUNTS", dict(zip(names, (10, 4), strict=True)))
    monkeypatch.setattr(fashion_mnist, "N_TRAIN", 8)
    return images


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", fashion_mnist.FOLDERS)
def test_clothes_where_people_keep_them(
    tmp_path: Path, clothes: dict[str, np.ndarray[Any, Any]], below: str, suffix: str
) -> None:
    folder = tmp_path / "data" / below
    folder.mkdir(parents=True)
    for name, images in clothes.items():
        content = idx(images)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    data = fashion_mnist.load(fashion_mnist.Config(), str(tmp_path / "data"))
    assert [len(data.train), len(data.valid), len(data.test)] == [8, 2, 4]  # type: ignore[arg-type]
    assert (data.kind, data.shape, data.scale) == ("unit", (28, 28), 1 / 255)
    assert data.train[:, 0].tolist() == list(range(70, 78))
    bits = fashion_mnist.load(fashion_mnist.Config(binarize="stochastic"), str(tmp_path / "data"))
    assert (bits.kind, bits.stochastic, bits.sha256) == ("binary", True, data.sha256)
    assert not fashion_mnist.load(fashion_mnist.Config(binarize="threshold"), str(tmp_path / "data")).train.any()


def test_clothes_are_fetched_by_the_published_checksum(
    tmp_path: Path, clothes: dict[str, np.ndarray[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = {f"{name}.gz": gzip.compress(idx(images)) for name, images in clothes.items()}
    serve(monkeypatch, packed)
    with pytest.raises(api.files.MissingData, match=r"Fashion-MNIST is not in the cache .* BadInput.*: download train"):
        fashion_mnist.load(fashion_mnist.Config())  # these are not what is published
    for part in ("TRAIN", "TEST"):
        name, _, size = getattr(fashion_mnist, part)
        monkeypatch.setattr(fashion_mnist, part, (name, hashlib.sha256(packed[f"{name}.gz"]).hexdigest(), size))
    assert fashion_mnist.load(fashion_mnist.Config()).source == "public mirror"
    serve(monkeypatch, {})
    assert fashion_mnist.load(fashion_mnist.Config()).source == str(tmp_path / "cache" / "fashion-mnist")


def test_digits_are_no_clothes(tmp_path: Path, clothes: dict[str, np.ndarray[Any, Any]]) -> None:
    for name, images in clothes.items():
        (tmp_path / name).write_bytes(idx(images // 2))
    with pytest.raises(BadInput, match=r"grey values of 0\.1\d+ on average, and Fashion-MNIST's are 0\.2860"):
        fashion_mnist.load(fashion_mnist.Config(), str(tmp_path))
    (tmp_path / fashion_mnist.TRAIN[0]).write_bytes(idx(clothes[fashion_mnist.TRAIN[0]][:3]))
    with pytest.raises(BadInput, match="has an array of 3 × 28 × 28 values, not 10 × 28 × 28"):
        fashion_mnist.load(fashion_mnist.Config(), str(tmp_path))


# -- Omniglot


@pytest.fixture
def characters(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    """Twelve and five images, an image a column, its pixels column by column."""
    for name, n in {"N_TRAIN": 12, "N_TEST": 5, "N_VALID": 2}.items():
        monkeypatch.setattr(omniglot, name, n)
    return {"data": RNG.random((784, 12)), "testdata": RNG.random((784, 5)), "target": np.eye(12)}


@pytest.mark.parametrize("name", omniglot.NAMES)
def test_characters_where_people_keep_them(
    tmp_path: Path, characters: dict[str, np.ndarray[Any, Any]], name: str
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(matlab(**characters))
    data = omniglot.load(omniglot.Config(), str(tmp_path))
    assert [len(data.train), len(data.valid), len(data.test)] == [10, 2, 5]  # type: ignore[arg-type]
    assert (data.kind, data.stochastic, data.shape) == ("binary", True, (28, 28))
    image = characters["testdata"][:, 3].reshape(28, 28).T  # its first 28 values are its first column
    np.testing.assert_array_equal(data.test[3].numpy(), image.flatten().astype(np.float32))
    shuffled = np.random.RandomState(123).permutation(12)
    last = characters["data"][:, shuffled[-1]].reshape(28, 28).T.flatten()
    np.testing.assert_array_equal(data.valid[-1].numpy(), last.astype(np.float32))  # type: ignore[index]
    assert omniglot.load(omniglot.Config(binarize="none"), str(tmp_path)).kind == "unit"
    assert set(omniglot.load(omniglot.Config(binarize="threshold"), str(tmp_path)).train.unique().tolist()) == {0, 1}


def test_characters_are_fetched_and_checked(
    tmp_path: Path, characters: dict[str, np.ndarray[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, {"chardata.mat": matlab(**characters)})
    assert omniglot.load(omniglot.Config()).source == "public mirror"
    serve(monkeypatch, {})
    assert omniglot.load(omniglot.Config()).source == str(tmp_path / "cache" / "omniglot")
    for wrong, said in (
        ({**characters, "data": characters["data"] * 2}, "grey values from 0 to 1"),
        ({**characters, "data": characters["data"][:, :3]}, r"of shape \(784, 3\), and Omniglot's has 12 columns"),
        ({"testdata": characters["testdata"]}, "no array 'data'|with an array 'data'"),
    ):
        (tmp_path / "chardata.mat").write_bytes(matlab(**wrong))
        with pytest.raises(BadInput, match=said):
            omniglot.load(omniglot.Config(), str(tmp_path))


def test_no_characters() -> None:
    with pytest.raises(api.files.MissingData, match=r"Omniglot is not in the cache .*download chardata\.mat from"):
        omniglot.load(omniglot.Config())


# -- silhouettes


@pytest.fixture
def silhouettes(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    sizes = {"train": 6, "valid": 3, "test": 2}
    monkeypatch.setattr(caltech_silhouettes, "SIZES", sizes)
    bits = RNG.integers(0, 2, (11, 784)).astype(np.uint8)
    parts = np.split(bits, [6, 9])
    return {"X": bits, **dict(zip(("train_data", "val_data", "test_data"), parts, strict=True))}


@pytest.mark.parametrize("below", ["", "Caltech101Silhouettes/", "caltech101_silhouettes/"])
def test_silhouettes_with_the_published_split(
    tmp_path: Path, silhouettes: dict[str, np.ndarray[Any, Any]], below: str
) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / below / caltech_silhouettes.SPLIT).write_bytes(matlab(**silhouettes))
    data = caltech_silhouettes.load(caltech_silhouettes.Config(), str(tmp_path))
    assert (len(data.train), len(data.valid), len(data.test), data.kind) == (6, 3, 2, "binary")  # type: ignore[arg-type]
    image = 1 - silhouettes["val_data"][1].reshape(28, 28).T
    np.testing.assert_array_equal(data.valid[1].numpy(), image.flatten())  # type: ignore[index]
    with pytest.raises(api.files.MissingData, match=r"download caltech101_silhouettes_28\.mat from"):
        caltech_silhouettes.load(caltech_silhouettes.Config(split="random"), str(tmp_path))
    silhouettes["test_data"] = silhouettes["test_data"][:1]
    (tmp_path / below / caltech_silhouettes.SPLIT).write_bytes(matlab(**silhouettes))
    with pytest.raises(BadInput, match="has an array 'test_data' of shape"):
        caltech_silhouettes.load(caltech_silhouettes.Config(), str(tmp_path))


def test_the_published_silhouettes() -> None:
    """The file without a split, where there is one: its checksum was computed from it."""
    folder = os.environ.get("HARNESS_DATA_BEFORE", "")
    if not os.path.isfile(os.path.join(folder, caltech_silhouettes.WHOLE)):
        pytest.skip(f"HARNESS_DATA has no {caltech_silhouettes.WHOLE}")
    data = caltech_silhouettes.load(caltech_silhouettes.Config(split="random"), folder)
    assert [len(data.train), len(data.valid), len(data.test)] == [4100, 2264, 2307]  # type: ignore[arg-type]
    corners = data.train.view(-1, 28, 28)[:, [0, 0, -1, -1], [0, -1, 0, -1]].float().mean()
    middle = data.train.view(-1, 28, 28)[:, 10:18, 10:18].float().mean()
    assert corners < 0.2 < 0.7 < middle  # 1 is the object
    with pytest.raises(api.files.MissingData, match="give --split random"):
        caltech_silhouettes.load(caltech_silhouettes.Config(), folder)


# -- bags of words


def test_bags_of_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_of_words, "SETS", {"kos": (20, 4, 25)})
    lines = [f"{d} {1 + d % 4} {d}" for d in range(1, 21)] + [f"{d} {1 + (d + 1) % 4} 1" for d in range(1, 6)]
    content = "\n".join(["20", "4", "25", *lines, ""]).encode()
    serve(monkeypatch, {"docword.kos.txt.gz": gzip.compress(content)})
    fetched = bag_of_words.load(bag_of_words.Config())
    assert (fetched.kind, len(fetched.train), len(fetched.test), fetched.train.shape[1]) == ("counts", 16, 2, 4)
    serve(monkeypatch, {})
    assert bag_of_words.load(bag_of_words.Config()).sha256 == fetched.sha256  # from the cache
    (tmp_path / "docword.kos.txt").write_bytes(content)
    mine = bag_of_words.load(bag_of_words.Config(vocabulary=3), str(tmp_path))
    assert mine.train.shape[1] == 3
    (tmp_path / "docword.kos.txt").write_bytes(content.replace(b"20\n4\n25", b"21\n4\n25"))
    with pytest.raises(BadInput, match="has 21 documents, 4 words and 25 counts, and 20, 4 and 25 are published"):
        bag_of_words.load(bag_of_words.Config(), str(tmp_path))


# -- MNIST as others keep it


@pytest.fixture
def small_mnist(monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    train, test = (RNG.integers(0, 256, (n, 28, 28)).astype(np.uint8) for n in (60, 10))
    for part, images in (("TRAIN", train), ("TEST", test)):
        content = idx(images)
        name = getattr(mnist, part)[0]
        monkeypatch.setattr(mnist, part, (name, hashlib.sha256(content).hexdigest(), len(content)))
    monkeypatch.setattr(mnist, "N_TRAIN", 50)
    monkeypatch.setattr(mnist, "N_PUBLISHED", 60)
    return train, test


def keras(train: Any, test: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, x_train=train, y_train=np.zeros(60), x_test=test, y_test=np.zeros(10))
    return file.getvalue()


def table(train: Any, test: Any) -> pd.DataFrame:
    pixels = np.concatenate([train, test]).reshape(70, 784)
    return pd.DataFrame(pixels, columns=[f"pixel{k}" for k in range(1, 785)]).assign(**{"class": 7})


def csv(train: Any, test: Any) -> bytes:
    return table(train, test).to_csv(index=False).encode()


def arff(train: Any, test: Any) -> bytes:
    head = "% a comment\n@RELATION mnist_784\n" + "@ATTRIBUTE pixel NUMERIC\n" * 784 + "@ATTRIBUTE class {0,7}\n@DATA\n"
    return head.encode() + table(train, test).to_csv(index=False, header=False).encode()


@pytest.mark.parametrize(
    ("name", "made"),
    [(name, keras) for name in mnist.KERAS]
    + [("mnist_784.csv", csv), ("mnist_784.csv.gz", csv), ("mnist_784.arff", arff)]
    + [(f"{name}.gz", arff) for name in mnist.OPENML if name.startswith("openml")],
)
def test_mnist_where_people_keep_it(
    tmp_path: Path, small_mnist: tuple[Any, Any], name: str, made: Callable[[Any, Any], bytes]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = made(*small_mnist)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    data = mnist.load(mnist.Config(), str(tmp_path))
    assert torch.equal(data.train, torch.from_numpy(small_mnist[0][:50].reshape(50, 784)))
    assert torch.equal(data.test, torch.from_numpy(small_mnist[1].reshape(10, 784)))
    other = made(small_mnist[0][::-1], small_mnist[1])
    path.write_bytes(gzip.compress(other) if name.endswith(".gz") else other)
    with pytest.raises(BadInput, match="has SHA-256"):
        mnist.load(mnist.Config(), str(tmp_path))
    path.write_bytes(gzip.compress(b"nonsense") if name.endswith(".gz") else b"nonsense")
    with pytest.raises(BadInput, match="has no arrays x_train and x_test|is no table of 784 pixels"):
        mnist.load(mnist.Config(), str(tmp_path))


@pytest.mark.parametrize(
    "module", [fashion_mnist, omniglot, caltech_silhouettes, bag_of_words], ids=lambda m: m.__name__
)
def test_each_names_its_source_and_its_licence(module: ModuleType) -> None:
    assert module.__doc__ is not None
    assert "licence" in module.__doc__
