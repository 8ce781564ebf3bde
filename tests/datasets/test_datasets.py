"""Frey Face and binarised MNIST: every format that they are published in, their splits, and what is refused."""

import io
import lzma
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.datasets import binarized_mnist, frey, toy_linear_gaussian
from scipy.io import savemat
from support import Result

from harness import api
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.training.loop import Training

Harness = Callable[..., Result]


@pytest.fixture(scope="module")
def faces() -> api.Dataset:
    try:
        return frey.load(frey.Config())
    except api.files.MissingData as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def digits() -> api.Dataset:
    try:
        return binarized_mnist.load(binarized_mnist.Config())
    except api.files.MissingData as error:
        pytest.skip(str(error))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, an empty cache, and no network."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture(scope="module")
def frames(faces: api.Dataset) -> Any:
    """All of Frey Face in time order, bytes (1965, 560)."""
    ordered = frey.load(frey.Config(split="chronological"))
    return torch.cat([ordered.train, ordered.test]).numpy()


def test_frey_face(faces: api.Dataset) -> None:
    assert faces.train.shape == (1500, 560)
    assert faces.test.shape == (465, 560)
    x = faces.rows("train", torch.arange(1500), torch.Generator())
    assert x.min() == 8 / 256
    assert x.max() == 238 / 256
    assert faces.kind == "real"


def test_frey_splits_are_the_same_frames_shared_out_differently(faces: api.Dataset, frames: Any) -> None:
    both = torch.cat([faces.train, faces.test]).numpy()
    assert not np.array_equal(both, frames)
    assert sorted(map(bytes, both)) == sorted(map(bytes, frames))
    assert torch.equal(faces.train, frey.load(frey.Config()).train)  # the same random split each time

    def step(some: Any) -> float:
        return float(np.abs(np.diff(some.astype(float), axis=0)).mean())

    assert step(frames) < 0.5 * step(both)  # neighbours in time are alike


@pytest.mark.parametrize("form", ["4", "5"])
def test_frey_is_read_from_matlabs_file_too(form: Any, faces: api.Dataset, frames: Any, nowhere: Path) -> None:
    """As on Sam Roweis's page: ff (560, 1965), a frame a column."""
    savemat(nowhere / "frey_rawface.mat", {"ff": frames.T}, format=form)
    again = frey.load(frey.Config(), str(nowhere))
    assert torch.equal(again.train, faces.train)


class Poison:
    def __reduce__(self) -> Any:
        return os.system, ("touch executed",)


def test_a_poisoned_pickle_in_the_data_folder_is_refused(
    nowhere: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (nowhere / "freyfaces.pkl").write_bytes(pickle.dumps([Poison()]))
    done = harness("run", "--algo", "aevb", "--dataset", "frey", "--data-dir", nowhere)
    assert done.code == 2
    assert "freyfaces.pkl is a pickle that asks for posix.system" in done.err
    assert "nothing of it was executed" in done.err
    assert sorted(os.listdir(tmp_path)) == ["data"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([np.zeros((1965, 560), np.uint8)], 4), "has SHA-256"),
        (pickle.dumps([np.zeros((3, 7), np.uint8)], 4), "holds something else than 1965 frames"),
        (pickle.dumps(7, 4), "holds something else than 1965 frames"),
        (pickle.dumps({"a": 1}, 4), "cannot be read as a pickle"),
        (b"garbage", "cannot be read as a pickle"),
        (b"MATLAB 5.0 garbage", "cannot be read as a MATLAB file"),
    ],
)
def test_other_frey_files_are_refused(content: bytes, words: str, nowhere: Path) -> None:
    (nowhere / "freyfaces.pkl").write_bytes(content)
    with pytest.raises(api.BadInput, match=words) as refusal:
        frey.load(frey.Config(), str(nowhere))
    assert "delete it to have it fetched again" in str(refusal.value)


@pytest.mark.parametrize(
    ("dataset", "file"),
    [("frey", "download freyfaces.pkl from https://"), ("binarized-mnist", "download binarized_mnist_train.amat, ")],
)
def test_missing_data_say_where_they_can_be_had_and_where_to_put_them(
    dataset: str, file: str, nowhere: Path, harness: Harness
) -> None:
    done = harness("run", "--algo", "aevb", "--dataset", dataset, "--data-dir", nowhere)
    assert done.code == 2
    for words in (file, "--data-dir FOLDER", str(nowhere)):
        assert words in done.err
    assert not (nowhere.parent / "results").exists()


def test_binarised_mnist_has_all_three_splits(digits: api.Dataset) -> None:
    assert digits.valid is not None
    assert [len(split) for split in (digits.train, digits.valid, digits.test)] == [50_000, 10_000, 10_000]
    assert set(digits.test.unique().tolist()) == {0, 1}
    assert digits.train.float().mean().item() == pytest.approx(0.1307, abs=0.002)  # MNIST's mean grey
    assert digits.kind == "binary"


@pytest.mark.parametrize("form", ["matlab", "text", "packed"])
def test_binarised_mnist_is_read_in_every_published_form(form: str, digits: api.Dataset, nowhere: Path) -> None:
    assert digits.valid is not None
    for split in ("train", "valid", "test"):
        rows = getattr(digits, split).numpy()
        path = nowhere / f"binarized_mnist_{split}.amat"
        if form == "matlab":
            savemat(path, {"X": rows}, appendmat=False)
        elif form == "text":
            text = np.full((len(rows), 2 * 784), ord(" "), np.uint8)
            text[:, ::2], text[:, -1] = rows + ord("0"), ord("\n")
            path.write_bytes(text.tobytes())
    if form == "packed":
        every = torch.cat([digits.train, digits.valid, digits.test]).numpy()
        packed = lzma.compress(np.packbits(every, axis=1).tobytes(), preset=0)
        (nowhere / "binarized_mnist_fixed.packedbits.xz").write_bytes(packed)
    again = binarized_mnist.load(binarized_mnist.Config(), str(nowhere))
    for split in ("train", "valid", "test"):
        assert torch.equal(getattr(again, split), getattr(digits, split))


@pytest.mark.parametrize("content", [b"0 1 0", b"\xfd7zXZ\0garbage", b"MATLAB 5.0 garbage", b""])
def test_other_binarised_files_are_refused(content: bytes, nowhere: Path) -> None:
    (nowhere / "binarized_mnist_train.amat").write_bytes(content)
    with pytest.raises(api.BadInput, match="binarized_mnist_train.amat"):
        binarized_mnist.load(binarized_mnist.Config(), str(nowhere))


def test_what_was_fetched_is_found_in_the_cache(frames: Any, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror on no machine: fetching is replaced by reading the known frames, then is not needed again."""
    buffer = io.BytesIO()
    pickle.dump([frames], buffer, 4)
    calls = []

    def from_url(urls: Any, accept: Callable[[bytes], Any], *, size: int) -> Any:
        calls.append(list(urls))
        return accept(buffer.getvalue())

    monkeypatch.setattr(api.files, "from_url", from_url)
    first, second = frey.load(frey.Config()), frey.load(frey.Config())
    assert torch.equal(first.train, second.train)
    assert len(calls) == 1
    assert first.source == "public mirror"


def test_toy_data_have_the_sizes_that_are_asked_for() -> None:
    data = toy_linear_gaussian.load(toy_linear_gaussian.Config(dim=7, n_train_points=11, n_test_points=5))
    assert data.train.shape == (11, 7)
    assert data.test.shape == (5, 7)
    other = toy_linear_gaussian.load(toy_linear_gaussian.Config(dim=7, n_train_points=11, n_test_points=5, truth=1))
    assert data.sha256 != other.sha256


@pytest.mark.parametrize("form", ["4", "4, big-endian", "5", "5, big-endian"])
def test_matlab_files_become_tensors(form: str) -> None:
    """Two arrays, of which the second is asked for; SciPy writes in the order of this machine, the other is put together here."""
    first, wanted = np.arange(6, dtype=np.int16).reshape(2, 3), np.arange(12, dtype=np.float64).reshape(3, 4) / 4
    file = io.BytesIO()
    savemat(file, {"other": first, "X": wanted}, format=form[0])
    content = file.getvalue()
    if form == "4, big-endian":
        content = b"".join(
            struct.pack(">5I", 1000 + 10 * kind, *array.shape, 0, len(name)) + name + array.T.astype(numbers).tobytes()
            for name, array, kind, numbers in ((b"other\0", first, 3, ">i2"), (b"X\0", wanted, 0, ">f8"))
        )
    elif form == "5, big-endian":
        parts = (
            (6, struct.pack(">II", 6, 0)),
            (5, struct.pack(">II", 3, 4)),
            (1, b"X"),
            (9, wanted.T.astype(">f8").tobytes()),
        )
        array = b"".join(struct.pack(">II", kind, len(part)) + part + bytes(-len(part) % 8) for kind, part in parts)
        content = b"MATLAB 5.0".ljust(124) + b"\1\0MI" + struct.pack(">II", 14, len(array)) + array
    assert api.files.is_matlab(content)
    assert torch.equal(torch.from_numpy(api.files.read_matlab(content, "X")), torch.from_numpy(wanted))
    with pytest.raises(api.BadInput, match=r"an array 'Y' \(.*there is none"):
        api.files.read_matlab(content, "Y")


@pytest.mark.parametrize("cut", [19, 21, 30, 60])
def test_a_matlab_4_file_that_is_cut_is_refused(cut: int) -> None:
    file = io.BytesIO()
    savemat(file, {"X": np.arange(12.0).reshape(3, 4)}, format="4")
    with pytest.raises(api.BadInput, match="cannot be read as a MATLAB file"):
        api.files.read_matlab(file.getvalue()[:cut], "X")


@pytest.mark.parametrize("values", [np.ones((2, 2)) * 1j, "words"])
def test_a_matlab_4_array_of_other_than_real_numbers_is_refused(values: object) -> None:
    file = io.BytesIO()
    savemat(file, {"X": values}, format="4")
    with pytest.raises(api.BadInput, match="has a 'X' that is no real array of numbers"):
        api.files.read_matlab(file.getvalue(), "X")


@pytest.mark.parametrize("start", [b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512), b""])
def test_matlabs_newest_format_is_named(start: bytes, nowhere: Path) -> None:
    (nowhere / "frey_rawface.mat").write_bytes(start + b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(api.BadInput, match=r"frey_rawface.mat is a MATLAB 7.3 file, .* save it again with -v7$"):
        frey.load(frey.Config(), str(nowhere))


@pytest.mark.slow
def test_a_gaussian_decoder_learns_more_of_frey_face_than_each_pixels_mean_and_variance(
    faces: api.Dataset, record_property: Callable[[str, object], None]
) -> None:
    """Figure 2's set-up with N_z = 10 after a quarter of a million samples, beside an independent Gaussian a pixel."""
    spec = make_spec("aevb", "frey", settings={"nz": 10, "hidden": 200}, first_mark=250_000)
    *_, row = (row for row in Training(spec).rows(Budget(samples=250_000)) if not isinstance(row, str))
    bound = {e["split"]: e["mean"] for e in row["estimates"]}
    train, test = ((getattr(faces, split).double() / 256) for split in ("train", "test"))
    pixels = torch.distributions.Normal(train.mean(0), train.std(0, correction=0))
    sanity = {
        "train": pixels.log_prob(train).sum(-1).mean().item(),
        "test": pixels.log_prob(test).sum(-1).mean().item(),
    }
    told = (
        f"{bound['train']:.0f}/{bound['test']:.0f} nats; a Gaussian a pixel: {sanity['train']:.0f}/{sanity['test']:.0f}"
    )
    record_property("Frey Face, AEVB, N_z = 10, 250,000 samples, train/test", told)
    assert bound["test"] > 650 > sanity["test"]
