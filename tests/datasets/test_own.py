"""The user's own data by path: every format, every setting, what is refused and how it is said."""

import gzip
import io
import json
import math
import pickle
import shlex
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from support import Result, user_names

from harness import api
from harness.data import kept, memory, own, own_files
from harness.errors import BadInput
from harness.specs import data_file, registry
from harness.specs.experiment import Experiment, spec_of
from harness.specs.run import make_spec
from harness.testing import check_dataset
from harness.training.loop import Training
from harness.training.subject import load_dataset

Harness = Callable[..., Result]

BITS = np.random.default_rng(0).integers(0, 2, (50, 6)).astype(np.uint8)
REAL = np.random.default_rng(1).normal(size=(50, 4))


def load(word: object, **settings: Any) -> api.Dataset:
    """Return a dataset as a run would load it."""
    spec = make_spec("aevb", dataset=user_names(word), settings=settings)
    return load_dataset(spec, None)


def whole(data: api.Dataset) -> np.ndarray[Any, Any]:
    """Return all points of a dataset, sorted, as a model sees them."""
    rng = api.Streams(0)("none")
    splits = [split for split in ("train", "valid", "test") if getattr(data, split) is not None]
    points = [data.rows(split, torch.arange(len(getattr(data, split))), rng) for split in splits]
    return np.array(sorted(torch.cat(points).tolist()))


def idx(array: np.ndarray[Any, Any]) -> bytes:
    """Return bytes in the IDX format."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def frame(points: np.ndarray[Any, Any]) -> pd.DataFrame:
    """Return points as a table with names."""
    return pd.DataFrame(points, columns=[f"c{k}" for k in range(points.shape[1])])


def write(path: Path, points: np.ndarray[Any, Any]) -> Path:
    """Write points in the format of a file's name."""
    name = path.name
    if name.endswith(".npy"):
        np.save(path, points)
    elif name.endswith(".npz"):
        np.savez_compressed(path, x=points, y=np.zeros(len(points)))
    elif ".csv" in name:
        frame(points).to_csv(path, index=False)
    elif ".tsv" in name:
        frame(points).to_csv(path, index=False, sep="\t")
    elif name.endswith(".parquet"):
        frame(points).to_parquet(path)
    elif name.endswith(".mat"):
        savemat(path, {"X": points, "Y": np.zeros((len(points), 1))}, do_compression=name.startswith("packed"))
    else:
        content = idx(points)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


NAMES = (
    "x.npy", "x.npz", "x.csv", "x.csv.gz", "x.tsv", "x.tsv.gz", "x.parquet", "x.mat", "packed.mat", "x.idx", "x.idx.gz",
    "x-idx2-ubyte", "x-idx2-ubyte.gz",
)  # fmt: skip


# -- formats


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_format_is_the_same_dataset(tmp_path: Path, name: str) -> None:
    data = load(write(tmp_path / name, BITS), kind="binary")
    assert data.kind == "binary"
    assert [len(data.train), len(data.valid), len(data.test)] == [40, 5, 5]  # type: ignore[arg-type]
    assert data.train.dtype is torch.uint8
    np.testing.assert_array_equal(whole(data), sorted(BITS.tolist()))
    reference = load(write(tmp_path / "reference.npy", BITS), kind="binary")
    for split in ("train", "valid", "test"):
        assert torch.equal(getattr(data, split), getattr(reference, split))


def test_every_ending_is_tried() -> None:
    assert {name[name.find("-" if "-" in name else ".") :].replace("-idx2", "") for name in NAMES} == set(
        data_file.DATA_ENDINGS
    )


def test_a_dataset_of_a_file_keeps_the_contract(tmp_path: Path) -> None:
    check_dataset(str(write(tmp_path / "x.csv", REAL)), kind="real", scale="standardise")


@pytest.mark.parametrize("name", ["x.npy", "x.csv", "x.parquet", "x.mat"])
def test_real_values_are_kept_in_single_precision(tmp_path: Path, name: str) -> None:
    data = load(write(tmp_path / name, REAL), kind="real", split="0.9/0.1")
    assert data.valid is None
    assert data.train.dtype is torch.float32
    np.testing.assert_array_equal(whole(data), sorted(REAL.astype(np.float32).tolist()))


@pytest.mark.parametrize(
    "header",
    ["", "0,1,2,3,4,5\n", "1,2,3,4,5,6\n", "a,b,c,d,e,f\n", "a;b;c;d;e;f\n", "\ufeffa,b,c,d,e,f\n"],
    ids=["none", "from 0", "from 1", "names", "semicolons", "byte-order mark"],
)
def test_a_first_line_of_names_is_told_from_numbers(tmp_path: Path, header: str) -> None:
    sep = ";" if ";" in header else ","
    text = header + "\n".join(sep.join(map(str, row)) for row in BITS) + "\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    data = load(tmp_path / "x.csv", kind="binary")
    np.testing.assert_array_equal(whole(data), sorted(BITS.tolist()))


def test_the_numbers_of_rows_that_pandas_writes_are_no_column(tmp_path: Path) -> None:
    pd.DataFrame(BITS, columns=list("abcdef")).to_csv(tmp_path / "x.csv")
    assert load(tmp_path / "x.csv", kind="binary").train.shape[1] == 6


def test_images_of_every_folder_below_are_points(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 4)).astype(np.uint8)
    for k, image in enumerate(images):
        folder = tmp_path / "faces" / f"class{k % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{k:02}.png")
    (tmp_path / "faces" / "notes.txt").write_text("no image")
    data = load(tmp_path / "faces", kind="unit", scale="1/255", order="file", split="0.5/0.25/0.25")
    assert data.shape == (5, 4)
    order = [*range(0, 12, 2), *range(1, 12, 2)]  # by path
    np.testing.assert_array_equal(data.train.numpy(), images[order[:6]].reshape(6, -1))
    np.testing.assert_array_equal(data.test.numpy(), images[order[9:]].reshape(3, -1))
    stochastic = load(tmp_path / "faces", kind="unit", scale="1/255", binarize="stochastic")
    assert (stochastic.kind, stochastic.stochastic) == ("binary", True)


def test_folders_of_parts_are_a_split(tmp_path: Path) -> None:
    for part, n in (("train", 3), ("val", 2), ("test", 1)):
        (tmp_path / "faces" / part).mkdir(parents=True)
        for k in range(n):
            Image.fromarray(np.full((3, 3), 10 * k + 5, np.uint8)).save(tmp_path / "faces" / part / f"{k}.png")
    data = load(tmp_path / "faces", kind="unit", scale="1/255")
    assert [len(data.train), len(data.valid), len(data.test)] == [3, 2, 1]  # type: ignore[arg-type]


def test_colours_become_grey_and_16_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for k in range(10):
        Image.fromarray(np.full((3, 3, 3), 20 * k, np.uint8)).save(tmp_path / "faces" / f"{k}.png")
    assert sorted(set(whole(load(tmp_path / "faces", kind="real")).flatten())) == [20.0 * k for k in range(10)]
    Image.fromarray(np.full((3, 3), 300, np.uint16)).save(tmp_path / "faces" / "deep.png")
    with pytest.raises(BadInput, match=r"deep\.png has values of more than a byte"):
        load(tmp_path / "faces", kind="real")


# -- splits


@pytest.mark.parametrize("n", [2, 3])
def test_a_file_for_each_part(tmp_path: Path, n: int) -> None:
    parts = np.split(BITS, [30, 40]) if n == 3 else np.split(BITS, [30])
    files = [write(tmp_path / f"{k}.npy", part) for k, part in enumerate(parts)]
    data = load(",".join(map(str, files)), kind="binary")
    found = [data.train, data.valid, data.test] if n == 3 else [data.train, data.test]
    for points, part in zip(found, parts, strict=True):
        np.testing.assert_array_equal(points.numpy(), part)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["x.npz", "x.mat"])
@pytest.mark.parametrize("names", own_files.SPLITS, ids=lambda names: names[0] + names[1])
def test_arrays_of_one_file_are_a_split(tmp_path: Path, name: str, names: tuple[str, str, str]) -> None:
    train, valid, test = np.split(BITS, [30, 40])
    arrays = {names[0]: train, names[2]: test, "labels": np.arange(50.0)} | ({names[1]: valid} if names[1] else {})
    np.savez(tmp_path / name, **arrays) if name == "x.npz" else savemat(tmp_path / name, arrays)
    data = load(tmp_path / name, kind="binary")
    np.testing.assert_array_equal(data.train.numpy(), train)
    np.testing.assert_array_equal(data.test.numpy(), test)
    assert (data.valid is not None) == bool(names[1])
    named = load(tmp_path / name, kind="binary", array=f"{names[2]},{names[0]}")
    np.testing.assert_array_equal(named.train.numpy(), test)


def test_a_split_is_the_same_each_time_and_in_the_order_of_the_file_if_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npy", np.arange(100.0).reshape(50, 2))
    one, two = load(path, kind="real"), load(path, kind="real")
    assert torch.equal(one.train, two.train)
    assert not torch.equal(one.train.sort(0).values, one.train)
    assert torch.equal(load(path, kind="real", split="0.9/0.1").test, one.test)  # whatever is for validation
    ordered = load(path, kind="real", order="file")
    assert ordered.train[:, 0].tolist() == [2.0 * k for k in range(40)]
    assert ordered.test[:, 0].tolist() == [2.0 * k for k in range(45, 50)]


# -- settings


def test_columns_are_chosen_by_name_and_number(tmp_path: Path) -> None:
    table = pd.DataFrame(REAL, columns=["a", "b", "c", "d"])
    table.insert(1, "who", [f"row {k}" for k in range(50)])
    table.to_csv(tmp_path / "x.csv", index=False)

    def chosen(**settings: str) -> list[list[float]]:
        return whole(load(tmp_path / "x.csv", kind="real", **settings)).tolist()  # type: ignore[no-any-return]

    def expected(*columns: int) -> list[list[float]]:
        return sorted(REAL.astype(np.float32)[:, columns].tolist())

    assert chosen(labels="who") == expected(0, 1, 2, 3)
    assert chosen(labels="1") == expected(0, 1, 2, 3)
    assert chosen(columns="d,a") == expected(3, 0)
    assert chosen(columns="2-4", labels="c") == expected(1, 3)
    np.save(tmp_path / "x.npy", REAL)
    assert whole(load(tmp_path / "x.npy", kind="real", columns="0,3")).tolist() == expected(0, 3)


def test_points_may_be_the_columns_of_an_array(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"ff": BITS.T})
    np.testing.assert_array_equal(
        whole(load(tmp_path / "x.mat", kind="binary", points="columns")), sorted(BITS.tolist())
    )


def test_standardised_columns_have_mean_0_and_variance_1_in_training(tmp_path: Path) -> None:
    values = REAL * [1, 10, 100, 1000] + 5
    values[3, 2] = math.nan
    data = load(write(tmp_path / "x.npy", values), kind="real", scale="standardise", missing=True)
    train = data.train.double().numpy()
    np.testing.assert_allclose(np.nanmean(train, 0), 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(train, 0), 1, rtol=1e-5)
    order = torch.randperm(50, generator=api.Streams(0, "cpu")("own data split")).numpy()
    rows = order[10:]
    expected = (values[rows] - np.nanmean(values[rows], 0)) / np.nanstd(values[rows], 0)
    np.testing.assert_allclose(train, expected, rtol=1e-4, atol=1e-5)


def test_missing_values_are_missing_only_if_said(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1.5,2\n" * 9 + ",3\n" + "?,NA\n" * 0 + "4,NaN\n" * 2)
    with pytest.raises(BadInput, match=r"x\.csv has nan in row (9|10|11), column [01] \('[ab]'\): .* say --missing$"):
        load(tmp_path / "x.csv", kind="real")
    data = load(tmp_path / "x.csv", kind="real", missing=True)
    assert data.missing
    assert sum(int(points.isnan().sum()) for points in (data.train, data.valid, data.test)) == 3  # type: ignore[union-attr]


# -- identity


def test_what_identifies_a_dataset_is_its_content_and_its_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", BITS)
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "x.csv"
    copy.write_bytes(path.read_bytes())
    spec = make_spec("aevb", dataset=user_names(path), settings={"kind": "binary"})
    assert (spec.dataset.name, spec.dataset.file) == ("x.csv", str(path))
    assert spec.dataset.sha256 == data_file.fingerprint((path,))
    assert make_spec("aevb", dataset=user_names(copy), settings={"kind": "binary"}).digest == spec.digest
    assert make_spec("aevb", dataset=user_names(path), settings={"kind": "unit"}).digest != spec.digest
    copy.write_bytes(path.read_bytes() + b"1,1,1,1,1,1\n")
    assert make_spec("aevb", dataset=user_names(copy), settings={"kind": "binary"}).digest != spec.digest


def test_a_run_goes_on_where_its_data_are(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.csv", BITS)
    words = ["run", "--algo", "aevb", "--dataset", "x.csv", "--kind", "binary", "--nz", "2", "--hidden", "3"]
    first = harness(*words, "--samples", "2000")
    assert first.code == 0, first.err
    run = first.out.partition(":")[0]
    assert run.startswith("aevb-x.csv-nz2-s0-")
    assert harness(*words, "--samples", "2000").code == 0  # it is found done
    (tmp_path / "moved").mkdir()
    (tmp_path / "x.csv").rename(tmp_path / "moved" / "x.csv")
    gone = harness("extend", run, "--samples", "3000")
    assert gone.code == 2
    assert "are not where they were" in gone.err
    assert "--dataset FILE, or name their folder with --data-dir FOLDER" in gone.err
    assert harness("extend", run, "--samples", "3000", "--data-dir", "moved").code == 0
    assert harness("evaluate", run, "--estimator", "importance", "--points", "3", "--dataset", "moved/x.csv").code == 0
    (tmp_path / "moved" / "x.csv").rename(tmp_path / "moved" / "renamed.csv")
    assert harness("extend", run, "--samples", "4000", "--dataset", "moved/renamed.csv").code == 0
    write(tmp_path / "x.csv", 1 - BITS)
    changed = harness("extend", run, "--samples", "5000")
    assert changed.code == 2
    assert "x.csv is not what it was when the run was specified" in changed.err
    assert changed.err.count("\n") == 1
    nowhere = harness("extend", run, "--samples", "5000", "--dataset", "nowhere.csv")
    assert (nowhere.code, "there is no 'nowhere.csv'" in nowhere.err) == (2, True)


def test_what_a_model_cannot_describe_is_refused_with_what_it_can(harness: Harness, tmp_path: Path) -> None:
    write(tmp_path / "x.npy", BITS + 1)
    words = ("run", "--algo", "aevb", "--dataset", tmp_path / "x.npy", "--kind", "counts", "--samples", "100")
    done = harness(*words)
    assert done.code == 2
    assert (
        "its data are counts, the model takes binary or unit or real; give --kind unit --binarize stochastic for"
        in done.err
    )


def test_workers_find_the_data(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.csv", BITS)
    (tmp_path / "mine.toml").write_text(
        '[base]\ndataset = "./x.csv"\nkind = "binary"\nnz = 2\nhidden = 3\nsamples = 2000\n[[grid]]\nalgo = "aevb"\n'
    )
    made = harness("sweep", "mine.toml", "--jobs", "1")
    assert made.code == 0, made.err
    table = harness("table", "mine.toml", "--at", "end")
    assert table.code == 0, table.err
    assert "x.csv" in table.out
    (tmp_path / "moved").mkdir()
    (tmp_path / "x.csv").rename(tmp_path / "moved" / "x.csv")
    gone = harness("sweep", "mine.toml")
    assert gone.code == 2
    assert "mine.toml:2: the data file './x.csv' does not exist, seen from the current folder" in gone.err
    assert "the same content elsewhere is the same dataset and keeps its runs" in gone.err
    assert harness("table", "mine.toml", "--at", "end").code == 0  # which needs no data
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("./x.csv", "./moved/x.csv"))
    assert "1 done, 0 to run" in harness("sweep", "mine.toml", "--dry-run").out
    write(tmp_path / "moved" / "x.csv", 1 - BITS)
    assert "earlier version of x.csv" in harness("table", "mine.toml", "--at", "end").err


# -- larger than half of the memory


@pytest.mark.parametrize("settings", [{}, {"scale": "standardise"}, {"columns": "1-3"}, {"order": "file"}], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_points_on_disk_give_the_same_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], dtype: str
) -> None:
    monkeypatch.setattr(kept, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(own, "BLOCK", 100)  # bytes: several blocks
    path = write(tmp_path / "x.npy", (REAL * 50 + 100).astype(dtype))
    in_memory = load(path, kind="real", **settings)
    monkeypatch.setattr(memory, "memory", lambda: 200)
    on_disk = load(path, kind="real", **settings)
    assert (tmp_path / "cache").exists()
    for split in ("train", "valid", "test"):
        one, two = getattr(in_memory, split), getattr(on_disk, split)
        assert torch.equal(one, two)
        assert one.dtype == two.dtype
    index, rng = torch.tensor([3, 1, 20]), api.Streams(0)("batch")
    assert torch.equal(in_memory.batch(index, rng).x, on_disk.batch(index, rng).x)
    again = load(path, kind="real", **settings)
    assert torch.equal(again.train, on_disk.train)


def test_a_file_for_each_part_is_mapped_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(memory, "memory", lambda: 100)
    files = [write(tmp_path / f"{k}.npy", part) for k, part in enumerate(np.split(BITS, [30]))]
    data = load(",".join(map(str, files)), kind="binary")
    np.testing.assert_array_equal(data.train.numpy(), BITS[:30])
    assert not (tmp_path / "cache").exists()


def test_a_run_from_disk_is_the_run_in_memory(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "cache_folder", lambda name: tmp_path / "cache" / name)
    path = write(tmp_path / "x.npy", BITS)
    found = []
    for size in (1 << 30, 200):
        monkeypatch.setattr(memory, "memory", lambda size=size: size)
        words = ("run", "--algo", "aevb", "--dataset", path, "--kind", "binary", "--nz", "2", "--hidden", "3")
        made = harness(*words, "--samples", "3000", "--results", tmp_path / str(size), "--json")
        assert made.code == 0, made.err
        found.append(json.loads(made.out)["estimates"])
    assert found[0] == found[1]


def test_what_is_kept_in_the_cache_is_told_and_removed(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made again afterwards, and what a process has open goes on; what one is making is left."""
    monkeypatch.setattr(kept, "cache_folder", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(memory, "memory", lambda: 200)
    gc = ("gc", "--results", tmp_path / "results")
    assert harness(*gc).out == "removed nothing: 0 bytes\n"
    path = write(tmp_path / "x.npy", BITS)
    data = load(path, kind="binary")
    files = sorted((tmp_path / "cache").rglob("*.npy"))
    size = sum(file.stat().st_size for file in files)
    assert [file.name for file in files] == ["test.npy", "train.npy", "valid.npy"]
    told = harness(*gc).out
    assert f"left in your cache: 3 own-data splits, {size:,} bytes in {tmp_path}" in told
    assert "`harness gc --cache` removes them" in told
    assert json.loads(harness(*gc, "--json").out)["cache_bytes"] == size
    assert f"would remove 3 own-data splits: {size:,} bytes" in harness(*gc, "--cache", "--dry-run").out
    assert all(file.exists() for file in files)
    with filelock.FileLock(files[0].parent / kept.LOCK):
        busy = harness(*gc, "--cache")
    assert (busy.code, busy.err.count("a process is making it")) == (3, 3)
    assert all(file.exists() for file in files)
    points = data.train.sum()
    done = harness(*gc, "--cache")
    assert (done.code, f"removed 3 own-data splits: {size:,} bytes" in done.out) == (0, True)
    assert list((tmp_path / "cache").rglob("*")) == [tmp_path / "cache" / "own-data"]
    assert data.train.sum() == points
    assert torch.equal(load(path, kind="binary").train, data.train)


def test_what_is_no_npy_file_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x.npz", "x.csv", "x.csv.gz", "x.parquet", "x.mat", "x.idx.gz"):
        write(tmp_path / name, BITS)
    Image.fromarray(BITS).save(tmp_path / "one.png")
    monkeypatch.setattr(memory, "memory", lambda: 200)
    for name in ("x.npz", "x.csv", "x.csv.gz", "x.parquet", "x.mat", "x.idx.gz", "."):
        with pytest.raises(BadInput, match=r"half of the memory.*\.npy file"):
            load(tmp_path / name, kind="binary")


def test_a_table_is_told_too_large_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.csv").write_bytes(b"0,1\n" * 100)
    monkeypatch.setattr(memory, "memory", lambda: 1000)
    with pytest.raises(BadInput, match="more cells than half of the memory takes"):
        load(tmp_path / "x.csv", kind="binary")


def test_a_folder_of_too_many_files_is_not_walked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(5):
        (tmp_path / f"{k}.txt").touch()
    monkeypatch.setattr(data_file, "MOST_FILES", 4)
    with pytest.raises(BadInput, match="has more than 4 files"):
        load(tmp_path, kind="real")


def test_listings_compare_no_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.npy", BITS)
    assert data_file.now(str(path)) == data_file.fingerprint((path,))
    assert data_file.now(str(tmp_path)) == ""
    assert data_file.now(f"{path},{tmp_path / 'no.npy'}") is None
    monkeypatch.setattr(data_file, "MOST_COMPARED", 10)
    assert data_file.now(str(path)) == ""


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda: 2_000_000)
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"0,1\n" * 1_000_000))
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((1000, 10_000), np.uint8))
    savemat(tmp_path / "x.mat", {"x": np.zeros((1000, 10_000), np.uint8)}, do_compression=True)
    for name in ("x.csv.gz", "x.npz", "x.mat"):
        assert (tmp_path / name).stat().st_size < 100_000
        with pytest.raises(
            BadInput, match="half of the memory|more bytes than there may be|no arrays that may be points"
        ):
            load(tmp_path / name, kind="binary")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)})
    (tmp_path / "x.npy").write_bytes(header.getvalue())
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    for name in ("x.npy", "y.npz"):
        with pytest.raises(BadInput, match=r"says that it has 8,000,000,000,000,000,000 bytes|no arrays"):
            load(tmp_path / name, kind="real")


# -- what is refused


def refused(tmp_path: Path, name: str, content: bytes, said: str, **settings: Any) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=said) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**arrays: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("name", "content", "settings", "said"),
    [
        ("x.csv", b"", {}, "begins with an empty line"),
        ("x.csv", b"a,b\n", {}, "has no points"),
        ("x.csv", b"1,2\n3,4,5\n", {}, "line 2 has 3 cells, and the first has 2"),
        ("x.csv", b"\xff\xfe1,2\n" + b"\xff,1\n" * 3, {}, "cannot be read as a table"),
        ("x.csv", b"a,b\n1,2\n1,two\n", {}, r"has text in column 1 \('b'\), 'two' in row 1: correct it, or .* --labels b"),
        ("x.csv", b"1,2\n" * 20, {"kind": ""}, "--kind is not given: choose binary, unit, real or counts; `harness data"),
        ("x.csv", b"1,2\n" * 20, {"kind": "binary"}, "has 2 in row [0-9]+, column 1: kind 'binary' means 0 and 1"),
        ("x.csv", b"1,2\n" * 20, {"kind": "unit"}, r"has values from 1 to 2, .*: give --scale 1/2, or kind 'real'"),
        ("x.csv", b"1,2.5\n" * 20, {"kind": "counts"}, "has 2.5 in row .*, column 1: kind 'counts' means whole numbers"),
        ("x.csv", b"1,-2\n" * 20, {"kind": "counts"}, "has -2 in row"),
        ("x.csv", b"0,0\n" * 20, {"kind": "counts"}, "has an empty document in row"),
        ("x.csv", b"1,2\n" * 20, {"kind": "counts", "scale": "0.5"}, "leave out --scale 0.5"),
        ("x.csv", b"1,inf\n" * 20, {}, "has inf in row"),
        ("x.csv", b"1,\n" * 20, {}, "has nan in row .*, column 1.* say --missing"),
        ("x.csv", b"1,\n" * 20, {"missing": True}, "train has no value in column 1"),
        ("x.csv", b"a,b\n" + b"1,2\n" * 20 + b",\n", {"missing": True}, r"has no value in row 20"),
        ("x.csv", b"1,2\n" * 20, {"shape": "5x5"}, "--shape is 5x5, which has 25 pixels, and .* points of 2 values"),
        ("x.csv", b"1,2\n" * 5, {"split": "0.8/0.1/0.1"}, "which leaves no validation point of the 5"),
        ("x.csv", b"1,2\n" * 20, {"split": "0.8/0.1/0.2"}, "the shares sum to 1.1"),
        ("x.csv", b"1,2\n" * 20, {"split": "1/0"}, "give shares of training, validation and test points"),
        ("x.csv", b"1,2\n" * 20, {"scale": "1/0"}, "give a number such as 0.01 or 1/255, or standardise"),
        ("x.csv", b"1,2\n" * 20, {"scale": "standardise"}, r"has one value alone in column 0, in training.*--labels"),
        ("x.csv", b"1,2\n" * 20, {"kind": "unit", "scale": "standardise"}, "only real values are standardised"),
        ("x.csv", b"1,2\n" * 20, {"binarize": "stochastic"}, "--binarize is 'stochastic', and --kind is 'real'"),
        ("x.csv", b"age,b\n" + b"1,2\n" * 20, {"columns": "agee"}, r"has 'agee' \(did you mean 'age'\?\), .*: age, b"),
        ("x.csv", b"1,2\n" * 20, {"columns": "1-2"}, "has no such column: it has columns 0 to 1"),
        ("x.csv", b"1,2\n" * 20, {"columns": "0,0"}, "names a column twice"),
        ("x.csv", b"1,2\n" * 20, {"labels": "0,1"}, "which leaves no column"),
        ("x.csv", b"a,a\n" + b"1,2\n" * 20, {"columns": "a.2"}, "has no such column"),
        ("x.csv", b"1,2\n" * 20, {"array": "x"}, "is no .npz or .mat file"),
        ("x.npy", b"nonsense", {}, "is no array in NumPy's format"),
        ("x.npy", pickle.dumps(Evil()), {}, "is no array in NumPy's format"),
        ("x.npy", npy(np.array([[Evil()]], object)), {}, "array of Python objects, which only a pickle could hold"),
        ("x.npy", npy(np.zeros((20, 2)))[:-8], {}, "has 320 bytes of values, and 312 are there: is it whole"),
        ("x.npy", npy(np.zeros(20)), {}, r"has shape \(20,\), and points have"),
        ("x.npy", npy(np.zeros((0, 3))), {}, "which holds no value"),
        ("x.npy", npy(np.zeros((20, 4, 4, 3))), {}, "colours are not described here"),
        ("x.npy", npy(np.full((20, 2), "a")), {}, "is an array of <U1: give real numbers"),
        ("x.npy", npy(np.zeros((20, 2), complex)), {}, "is an array of complex128"),
        ("x.npy", npy(np.zeros((20, 3, 3))), {"shape": "1x9"}, "has images of 3 × 3: leave it out"),
        ("x.npy", npy(np.zeros((20, 3, 3))), {"columns": "1"}, "has images: leave it out"),
        ("x.npz", b"nonsense", {}, "cannot be read .*: is it whole"),
        ("x.npz", npz(x=np.array([[Evil()]], object)), {"array": "x"}, "array of Python objects"),
        ("x.npz", npz(x=np.zeros((9, 2)), z=np.zeros((9, 3))), {}, "has 2 arrays that may be points .* --array NAME"),
        ("x.npz", npz(x=np.zeros((9, 2))), {"array": "y"}, "has no 'y': it has x"),
        ("x.npz", npz(x=np.zeros((9, 2))), {"array": "x,x,x,x"}, "--array names 4 arrays"),
        ("x.npz", npz(y=np.zeros(9)), {}, "has no arrays that may be points"),
        ("x.npz", npz(train=BITS, test=BITS), {"split": "0.9/0.1"}, "are the parts of a split: leave it out"),
        ("x.mat", b"nonsense", {}, "is no MATLAB file of formats 4 to 7"),
        ("x.mat", b"MATLAB 7.3 MAT-file" + b" " * 493 + b"\x89HDF\r\n\x1a\n", {"array": ""}, "save it again with -v7"),
        ("x.parquet", b"PAR1nonsense", {}, "cannot be read as Parquet"),
        ("x.idx", b"nonsense", {}, "is no IDX file"),
        ("x.idx.gz", b"nonsense", {}, "cannot be read"),
        ("x.csv.gz", gzip.compress(b"1,2\n" * 20, mtime=0)[:-12], {}, "cannot be read .*: is it whole"),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, settings: dict[str, Any], said: str
) -> None:
    refused(tmp_path, name, content, said, **{"kind": "real"} | settings)
    assert "executed" not in capsys.readouterr().out


def test_files_that_are_not_there_or_of_no_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.foo").write_text("1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a,b").mkdir()
    write(tmp_path / "a,b" / "x.csv", BITS)
    csv = write(tmp_path / "x.csv", BITS)
    for word, said in {
        tmp_path / "no.csv": "does not exist",
        tmp_path / "x.foo": "is no data of a format that is read",
        tmp_path / "empty": "has no image",
        tmp_path / "a,b" / "x.csv": "has a comma",
        ",".join([str(csv)] * 4): "--dataset names 4 files",
    }.items():
        with pytest.raises(BadInput, match=said):
            load(word, kind="binary")
    with pytest.raises(BadInput, match=r"is data, and no algorithm: name it by --dataset"):
        make_spec(user_names(csv))


def test_images_that_are_no_set_of_points_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(folder / "a.png")
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(folder / "b.png")
    with pytest.raises(BadInput, match=r"b\.png has 3 × 4 pixels, and a\.png has 3 × 3: give images of one size"):
        load(folder, kind="real")
    (folder / "b.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"b\.png cannot be read as an image"):
        load(folder, kind="real")


@pytest.mark.parametrize(("package", "install"), [("pyarrow", "pyarrow"), ("PIL", "pillow")])
def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, install: str
) -> None:
    path = write(tmp_path / "x.parquet", BITS) if package == "pyarrow" else tmp_path
    Image.fromarray(BITS).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=rf"is needed: `python -m pip install {install}`"):
        load(path, kind="binary")


def test_a_folder_that_is_called_as_a_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(tmp_path / "mnist" / "a.png")
    with pytest.raises(BadInput, match="2 datasets are called 'mnist'"):
        load(tmp_path / "mnist", kind="real")


def test_parts_of_other_sizes_are_refused(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.npy", np.zeros((20, n))) for n in (2, 3)]
    with pytest.raises(BadInput, match="the splits differ in dimensions"):
        load(",".join(map(str, files)), kind="real")
    np.savez(tmp_path / "x.npz", train=BITS, test=BITS)
    with pytest.raises(BadInput, match="has a split of its own, and there are other files"):
        load(f"{tmp_path / 'x.npz'},{files[0]}", kind="real")


def test_the_dataset_itself_asks_for_a_file(harness: Harness) -> None:
    done = harness("run", "--algo", "aevb", "--dataset", "file", "--kind", "real")
    assert (done.code, "no file is named: give its path" in done.err) == (2, True)
    assert registry.by_name("datasets", registry.DATA_FILE).module.OWN_FILES


# -- harness data


def described(harness: Harness, *words: object) -> dict[str, Any]:
    done = harness("data", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)  # type: ignore[no-any-return]


def looks(tmp_path: Path, harness: Harness, points: np.ndarray[Any, Any]) -> dict[str, Any]:
    return described(harness, write(tmp_path / "x.npy", points))


def test_what_data_look_like(tmp_path: Path, harness: Harness) -> None:
    rng = np.random.default_rng(0)
    assert looks(tmp_path, harness, BITS)["settings"] == {"kind": "binary"}
    assert looks(tmp_path, harness, rng.random((50, 4)))["settings"] == {"kind": "unit"}
    grey = rng.integers(0, 256, (50, 4, 4)).astype(np.uint8)
    assert looks(tmp_path, harness, grey)["settings"] == {"kind": "unit", "scale": "1/255"}
    two = (grey > 100) * np.uint8(255)
    assert looks(tmp_path, harness, two)["settings"] == {"kind": "binary", "scale": "1/255"}
    counts = rng.poisson(0.3, (50, 12))
    counts[:, 0] += counts.sum(1) == 0
    assert looks(tmp_path, harness, counts)["settings"] == {"kind": "counts"}
    assert looks(tmp_path, harness, REAL)["settings"] == {"kind": "real", "scale": "standardise"}
    gone = REAL.copy()
    gone[0, 0] = math.nan
    found = looks(tmp_path, harness, gone)
    assert (found["missing"], found["points_missing"], found["settings"]["missing"]) == (1, 1, True)
    constant = REAL.copy()
    constant[:, 2] = 7
    found = looks(tmp_path, harness, constant)
    assert (found["constant"], found["settings"]) == (["column 2"], {"kind": "real"})


def test_labels_and_repeated_points_are_found(tmp_path: Path, harness: Harness) -> None:
    table = pd.DataFrame(np.tile(BITS[:10], (5, 1)), columns=list("abcdef"))
    table["digit"] = np.arange(50) % 10
    table["who"] = "someone"
    table.to_csv(tmp_path / "x.csv", index=False)
    found = described(harness, tmp_path / "x.csv")
    assert found["settings"]["labels"] == "who"  # text; the other one is not the last
    table.drop(columns="who").to_csv(tmp_path / "x.csv", index=False)
    found = described(harness, tmp_path / "x.csv")
    assert found["settings"]["labels"] == "digit"
    assert found["repeated"] == found["splits"]["test"] == 5
    shown = harness("data", tmp_path / "x.csv").out
    assert "5 of 5 test points are training points, too" in shown
    assert max(map(len, shown.partition("train on it with")[0].splitlines())) <= 110
    assert "column 6 ('digit')" in shown


KINDS = ["bits", "grey", "reals", "missing", "counts"]


def of_kind(kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(0)
    points: dict[str, np.ndarray[Any, Any]] = {
        "bits": BITS,
        "grey": rng.integers(0, 256, (50, 4, 4)).astype(np.uint8),
        "reals": REAL,
        "missing": np.where(rng.random(REAL.shape) < 0.1, math.nan, REAL),
        "counts": rng.poisson(0.2, (50, 9)) + np.eye(1, 9, dtype=int),
    }
    return points[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_that_is_printed_works(
    tmp_path: Path, harness: Harness, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "my data.npy" if kind == "grey" else "x.npy"
    write(tmp_path / name, of_kind(kind))
    command = shlex.split(described(harness, name)["command"])
    small = {"counts": ("--layers", "3")}.get(kind, ("--nz", "2", "--hidden", "3"))
    done = harness(*command[1:], *small, "--samples", "1000")
    assert done.code == 0, done.err


def test_bad_words_for_a_description(tmp_path: Path, harness: Harness) -> None:
    (tmp_path / "x.py").write_text("")
    csv = write(tmp_path / "x.csv", BITS)
    for words, said in {
        (tmp_path / "x.py",): "is code, and no data",
        (tmp_path / "no.csv",): "does not exist",
        (csv, "--kindd", "real"): "there is no setting --kindd (did you mean 'kind'?)",
        (csv, "--split", "0.9"): "give shares of training",
    }.items():
        done = harness("data", *words)
        assert (done.code, said in done.err, done.err.count("\n")) == (2, True, 1), done.err


@pytest.mark.parametrize("kind", KINDS)
def test_an_experiment_that_is_written_compares_algorithms_that_run(
    tmp_path: Path, harness: Harness, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.npy", of_kind(kind))
    done = harness("data", "x.npy", "--experiment", "x.toml")
    assert done.code == 0, done.err
    assert done.out.endswith("  harness sweep x.toml\n  harness report x.toml --out x\n")
    chosen = tmp_path / "chosen.toml"
    chosen.write_text((tmp_path / "x.toml").read_text().replace('"tuned"', "0.01"))
    runs = [Training(spec_of(task.options)) for task in Experiment(str(chosen)).tasks()]
    assert len({run.spec.algorithm.name for run in runs}) * 3 == len(runs) == 6
    for run in runs:
        assert all(map(math.isfinite, run.step().values()))


def test_from_a_table_to_a_report(tmp_path: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(REAL).to_csv("my data.csv", index=False)
    assert harness("data", "my data.csv", "--experiment", "mine.toml").code == 0
    text = (tmp_path / "mine.toml").read_text().replace("[0, 1, 2]", "[0]").replace("nz = 1\n", "")
    text = text.replace("1e5", "1e3\nnz = 2\nhidden = 3").replace("2e4", "200")
    (tmp_path / "mine.toml").write_text(text)
    swept = harness("sweep", "mine.toml", "--jobs", "1")
    assert swept.code == 0, swept.err
    assert harness("report", "mine.toml", "--out", "page").code == 0
    assert "wake-sleep" in (tmp_path / "page" / "index.html").read_text()


def test_an_experiment_is_written_where_there_is_none(tmp_path: Path, harness: Harness) -> None:
    write(tmp_path / "x.npy", BITS)
    (tmp_path / "there.toml").write_text("mine")
    for name, said in (
        ("there.toml", "which exists: give another name, or remove it"),
        ("x.json", "give the path of a new file that ends in .toml"),
        ("none/x.toml", "which cannot be written (No such file or directory)"),
    ):
        done = harness("data", tmp_path / "x.npy", "--experiment", tmp_path / name)
        assert (done.code, done.err.count("\n")) == (2, 1), done.err
        assert done.err.endswith(f"{said}\n")
    assert (tmp_path / "there.toml").read_text() == "mine"
