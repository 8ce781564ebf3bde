"""Datasets of documents: a fixed random split of counts of words, with all words or the most frequent ones."""

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from harness.data.dataset import Dataset
from harness.data.word_counts import WordCounts
from harness.errors import BadInput
from harness.inference.rng import Streams

MOST_BYTES = 1 << 31  # of all counts in memory, most of which are 0


def documents(
    counts: WordCounts,
    *,
    n_valid: int,
    n_test: int,
    vocabulary: int = 0,
    empty: Literal["refuse", "leave-out"] = "refuse",
    source: str = "",
) -> Dataset:
    """Return a dataset of kind "counts", with the same random split each time.

    Args:
        counts: a document without a word is left out.
        n_valid: documents for validation; none if 0.
        n_test: documents for testing; training has the others.
        vocabulary: keep so many words, the most frequent of the training documents; all if 0.
        empty: what to do with a document that has none of the words that are kept.
        source: where they were found.

    Raises:
        BadInput: a document is empty, there are too few, or the counts need too much memory.
    """
    numbers, document = np.unique(counts.document, return_inverse=True)
    n = len(numbers)
    if n_test < 1 or n - n_valid - n_test < 1:
        raise BadInput(
            f"has {n:,} documents with words, too few for {n_valid:,} for validation, {n_test:,} for testing and one for "
            "training: give smaller shares"
        )
    # Test documents have the first rows, and training documents the last.
    row = torch.randperm(n, generator=Streams(0, "cpu")("documents split"), device="cpu").numpy()[document]
    used, column, width = _kept(counts, vocabulary, row >= n_test + n_valid)
    count = counts.count[used]
    most = count.max(initial=0)
    form = np.dtype(np.uint8 if most < 1 << 8 else np.int16 if most < 1 << 15 else np.int32)
    _require_memory(n, width, form.itemsize)
    dense = np.zeros((n, width), form)
    dense[row[used], column] = count
    full = np.asarray(dense.any(-1))
    if empty == "refuse" and not full.all():
        number = numbers[document[row == np.flatnonzero(~full)[0]][0]] + 1
        raise BadInput(
            f"has a document, number {number:,}, without any of the words that --vocabulary {vocabulary} keeps: give a larger "
            "number, or --empty leave-out"
        )
    parts = (dense[a:b][full[a:b]] for a, b in pairwise((0, n_test, n_test + n_valid, n)))
    test, valid, train = map(torch.from_numpy, parts)
    if not (len(test) and len(train)):
        raise BadInput(
            f"has no {'test' if len(train) else 'training'} document with a word that --vocabulary {vocabulary} keeps"
        )
    return Dataset(train, test, kind="counts", source=source, valid=valid if len(valid) else None)


def _kept(counts: WordCounts, vocabulary: int, training: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any], int]:
    """Return which entries are of words that are kept, the column of each of these, and how many columns there are."""
    if not vocabulary or vocabulary >= counts.words:
        return slice(None), counts.word, counts.words
    words, index = np.unique(counts.word, return_inverse=True)
    frequency = np.bincount(index[training], weights=counts.count[training], minlength=len(words))
    chosen = np.sort(np.argsort(-frequency, kind="stable")[:vocabulary])  # of equals those with the lower number
    column = np.full(len(words), -1)
    column[chosen] = np.arange(len(chosen))
    used = column[index] >= 0
    return used, column[index[used]], len(chosen)


def _require_memory(n: int, width: int, itemsize: int) -> None:
    if n * width * itemsize > MOST_BYTES:
        fit = MOST_BYTES // (n * itemsize)
        less = f"keep the most frequent with --vocabulary {fit}" if fit else "take documents out of the file"
        raise BadInput(
            f"has {n:,} documents and {width:,} words, whose counts take {n * width * itemsize / 1e9:,.1f} GB of memory, and "
            f"{MOST_BYTES / 1e9:.1f} GB may be taken: {less}"
        )
