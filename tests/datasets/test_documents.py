"""Counts of words: two file formats, what is wrong in a file and where, the split, the vocabulary, and the Reuters set."""

import gzip
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness.datasets import documents, reuters

from harness import api, testing
from harness.data import documents as made
from harness.data import download, word_counts
from harness.errors import BadInput

RNG = np.random.default_rng(0)
DENSE = RNG.poisson(0.6, (40, 9)).astype(np.int64)
DENSE[DENSE.sum(1) == 0, 3] = 1
DENSE[:, 8] += 1  # the last word occurs, so that both formats know of it


def uci(dense: Any = DENSE) -> str:
    lines = [f"{d + 1} {w + 1} {dense[d, w]}" for d, w in np.argwhere(dense)]
    return "\n".join([*map(str, dense.shape), str(len(lines)), *lines, ""])


def ldac(dense: Any = DENSE) -> str:
    rows = [[f"{w}:{row[w]}" for w in np.flatnonzero(row)] for row in dense]
    return "".join(f"{len(row)} {' '.join(row)}\n" for row in rows)


def load(folder: Path, content: str | bytes, file: str = "docword.a.txt", **settings: Any) -> api.Dataset:
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return documents.load(documents.Config(file=file, **settings), str(folder))


def rows(*splits: torch.Tensor | None) -> list[tuple[int, ...]]:
    return sorted(tuple(row) for split in splits if split is not None for row in split.tolist())


@pytest.mark.parametrize("block", [7, 1 << 22])
def test_both_formats_and_gzip_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Whether lines end where a block does or not."""
    monkeypatch.setattr(word_counts, "BLOCK", block)
    packed = gzip.compress(uci().encode())
    found = [
        load(tmp_path, uci()),
        load(tmp_path, packed, "docword.b.txt.gz"),
        load(tmp_path, ldac(), "c.ldac"),
        load(tmp_path, ldac().rstrip("\n"), "d.ldac"),
    ]
    for data in found:
        assert data.kind == "counts"
        assert rows(data.train, data.valid, data.test) == rows(torch.from_numpy(DENSE))
        assert data.sha256 == found[0].sha256
        assert data.train.dtype == torch.uint8
    assert [len(split) for split in (found[0].train, found[0].valid, found[0].test) if split is not None] == [32, 4, 4]


def test_the_conformance_suite_passes_it(tmp_path: Path) -> None:
    (tmp_path / "c.ldac").write_text(ldac())
    testing.check_dataset("documents", str(tmp_path), file="c.ldac")


def test_larger_counts_take_more_bytes(tmp_path: Path) -> None:
    for most, dtype in ((255, torch.uint8), (256, torch.int16), (1 << 15, torch.int32), (1 << 24, torch.int32)):
        dense = DENSE.copy()
        dense[0, 0] = most
        data = load(tmp_path, uci(dense))
        assert data.train.dtype == dtype
        assert rows(data.train, data.valid, data.test) == rows(torch.from_numpy(dense))


def test_a_split_is_random_and_fixed(tmp_path: Path) -> None:
    first, again = load(tmp_path, uci()), load(tmp_path, uci())
    assert torch.equal(first.test, again.test)
    assert rows(first.test) != rows(torch.from_numpy(DENSE[:4]))
    assert load(tmp_path, uci(), valid_share=0).valid is None
    halves = load(tmp_path, uci(), valid_share=0.25, test_share=0.5)
    assert (len(halves.train), len(halves.test)) == (10, 20)
    assert torch.equal(halves.test[:4], first.test)


def test_the_vocabulary_is_cut_by_the_training_documents(tmp_path: Path) -> None:
    whole = load(tmp_path, uci())
    kept = load(tmp_path, uci(), vocabulary=3, empty="leave-out")
    frequency = whole.train.sum(0).double()
    chosen = sorted(frequency.argsort(descending=True, stable=True)[:3].tolist())
    for split in ("train", "valid", "test"):
        expected = getattr(whole, split)[:, chosen]
        assert torch.equal(getattr(kept, split), expected[expected.any(-1).bool()])
    assert load(tmp_path, uci(), vocabulary=9).sha256 == load(tmp_path, uci(), vocabulary=100).sha256 == whole.sha256


def changed(old: str, new: str, text: str | None = None) -> str:
    text = uci(np.full((10, 3), 2)) if text is None else text
    assert text.count(old) == 1, (old, text)
    return text.replace(old, new)


SMALL = ldac(np.full((10, 3), 2))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed("\n2 3 2\n", "\n2 3 -2\n"), "docword.a.txt, line 9: the count is -2, and counts are whole numbers"),
        (changed("\n2 3 2\n", "\n2 4 2\n"), "line 9: word 4 is out of range: line 2 says 1 to 3"),
        (changed("\n2 3 2\n", "\n2 0 2\n"), "line 9: word 0 is out of range"),
        (changed("\n2 3 2\n", "\n11 3 2\n"), "line 9: document 11 is out of range: line 1 says 1 to 10"),
        (changed("\n2 3 2\n", "\n2 3 1.5\n"), "line 9: it is '2 3 1.5', and three whole numbers should stand there"),
        (changed("\n2 3 2\n", "\n2 3 nan\n"), "line 9: it is '2 3 nan'"),
        (changed("\n2 3 2\n", "\n2 three 2\n"), "line 9: it is '2 three 2'"),
        (changed("\n2 3 2\n3 ", "\n2 3 2 3 "), "line 9: it is '2 3 2 3 1 2'"),
        (changed("\n2 3 2\n", "\n2 3\n2\n"), "line 9: it is '2 3'"),
        (changed("\n2 3 2\n", "\n2 3 2\n\n"), "line 10: it is ''"),
        (changed("\n2 3 2\n", "\n2 2 2\n"), "line 9: word 2 of document 2 has a line already"),
        (changed("\n2 3 2\n", "\n2 3 17000000\n"), "line 9: the count is 17,000,000"),
        (uci(np.full((10, 3), 2)) + "1 1 1\n", "line 34: line 3 says that 30 lines follow, and here is one more"),
        (
            uci(np.full((10, 3), 2))[:-7],
            "docword.a.txt ends after 29 lines of counts, and its line 3 says that 30 follow",
        ),
        (changed("10\n3\n", "10\n-3\n"), "line 2: it is '-3', and the number of words should stand there alone"),
        (changed("10\n3\n30\n", "10 3 30\n"), "line 1: it is '10 3 30', and the number of documents should stand"),
        (changed("10\n3\n", "11\n3\n"), "has no line about document 11 of 11, which is empty"),
        ("10\n3\n", "line 3: the file ends where"),
        ("", "line 1: the file ends where"),
    ],
)
@pytest.mark.parametrize("block", [20, 1 << 22])
def test_what_is_wrong_in_a_uci_file_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, content: str, said: str
) -> None:
    monkeypatch.setattr(word_counts, "BLOCK", block)
    with pytest.raises(BadInput, match=said):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 1:1 2:-3", "a.ldac, line 11: the count is -3"),
        ("0", "line 11: the document is empty"),
        ("1 2:0", "line 11: the document is empty"),
        ("", "line 11: it is ''"),
        ("2 1:1 2:1.5", "line 11: it is '2 1:1 2:1.5'"),
        ("1 a:1", "line 11: it is '1 a:1'"),
        ("2 1 2", "line 11: it is '2 1 2'"),
        ("3 1:1 2:1", "line 11: it begins with 3, and 2 different words follow"),
        ("2 1:1 1:1", "line 11: a word stands there twice"),
        ("1 1:17000000", "line 11: the count is 17,000,000"),
        ("1 1000000000000:1", "1,000,000,000,001 words, whose counts take .* GB of memory, .*--vocabulary"),
        ("1 " + 10_000_000 * "1:1 ", "line 11: it is longer than 16,777,216 bytes"),
    ],
)
def test_what_is_wrong_in_an_ldac_file_is_said_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        load(tmp_path, f"{SMALL}{line}\n{SMALL}", "a.ldac")


def test_empty_documents_are_left_out_if_that_is_asked_for(tmp_path: Path) -> None:
    dense = np.vstack([DENSE[:20], np.zeros((3, 9), np.int64), DENSE[20:]])
    for content, file in ((uci(dense), "docword.a.txt"), (ldac(dense), "a.ldac")):
        assert load(tmp_path, content, file, empty="leave-out").sha256 == load(tmp_path, uci(), "docword.b.txt").sha256
    with pytest.raises(
        BadInput, match="without any of the words that --vocabulary 1 keeps: give a larger number, or --empty"
    ):
        load(tmp_path, uci(np.eye(10, dtype=np.int64)), vocabulary=1)


def test_a_vocabulary_file_is_compared(tmp_path: Path) -> None:
    for file, words, content in (("docword.a.txt", "vocab.a.txt", uci()), ("b.ldac", "b.tokens", ldac())):
        (tmp_path / words).write_text("word\n" * 9)
        assert load(tmp_path, content, file).train.shape[1] == 9
        (tmp_path / words).write_text("word\n\nword\n")
        with pytest.raises(BadInput, match=f"{words}, line 2: it is empty"):
            load(tmp_path, content, file)
    (tmp_path / "vocab.a.txt").write_text("word\n" * 8)
    with pytest.raises(
        BadInput, match="line 2: the number of words is 9, and the vocabulary file beside it has 8 lines"
    ):
        load(tmp_path, uci())
    (tmp_path / "b.tokens").write_text("word\n" * 12)
    assert load(tmp_path, ldac(), "b.ldac").train.shape[1] == 12
    (tmp_path / "b.tokens").write_text("word\n" * 8)
    with pytest.raises(BadInput, match="line 1: word 8 is out of range: the vocabulary file has 8 lines"):
        load(tmp_path, ldac(), "b.ldac")


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    packed = gzip.compress(uci().encode())
    for content in (packed[:-9], b"no gzip", packed[:40] + bytes(20) + packed[60:]):
        with pytest.raises(BadInput, match=r"docword\.a\.txt\.gz"):
            load(tmp_path, content, "docword.a.txt.gz")


def test_the_file_must_be_there_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    with pytest.raises(api.files.MissingData, match="no folder is named: .*--data-dir"):
        documents.load(documents.Config(file="a.ldac"))
    with pytest.raises(api.files.MissingData, match="has no file of word counts, docword.NAME.txt"):
        documents.load(documents.Config(file="a.ldac"), str(tmp_path))
    (tmp_path / "b.ldac").write_text(ldac())
    with pytest.raises(
        BadInput, match=r"--file is '\.\./a\.ldac': choose one of those in .* with --file NAME: b\.ldac"
    ):
        documents.load(documents.Config(file="../a.ldac"), str(tmp_path))
    with pytest.raises(api.files.MissingData, match="no file of word counts is named: choose one"):
        documents.load(documents.Config(), str(tmp_path))


def test_too_few_documents_or_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="40 documents with words, too few for 24 for validation, 24 for testing"):
        load(tmp_path, uci(), valid_share=0.6, test_share=0.6)
    monkeypatch.setattr(made, "MOST_BYTES", 200)
    with pytest.raises(BadInput, match="40 documents and 9 words, .*keep the most frequent with --vocabulary 5"):
        load(tmp_path, uci())
    assert load(tmp_path, uci(), vocabulary=5, empty="leave-out").train.shape[1] == 5


def test_reuters() -> None:
    try:
        data = reuters.load(reuters.Config())
    except api.files.MissingData as error:
        pytest.skip(str(error))
    assert data.valid is not None
    assert [len(split) for split in (data.train, data.valid, data.test)] == [295, 50, 50]
    assert data.train.shape[1] == 4258
    assert sum(split.sum().item() for split in (data.train, data.valid, data.test)) == 84_010


def test_a_wheel_for_one_platform_is_asked_for_on_any(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **_: Any) -> Any:
        asked.extend(command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: none")

    monkeypatch.setattr(download.subprocess, "run", run)
    with pytest.raises(api.files.MissingData, match="could not download lda==3.0.2: ERROR: none"):
        api.files.from_package_index(*reuters.PACKAGE)
    assert set(asked) >= {
        "--python-version=311",
        "--implementation=cp",
        "--abi=cp311",
        "--platform=manylinux2014_x86_64",
    }
