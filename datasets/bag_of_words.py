"""Bags of words of the UCI repository: blog posts (kos), papers of NIPS (nips) or mails of Enron (enron), as counts of words.

David Newman (2008), UCI repository, "Bag of Words", licence as published: CC BY 4.0. The split is random, and fixed. See the
dataset `documents` for the density of counts, and for files of your own in this format.
"""

import gzip
from typing import Literal

from harness import api

# Documents, words, and lines of counts, as the repository publishes them. It publishes no checksum, so these are compared.
SETS = {"kos": (3430, 6906, 353_160), "nips": (1500, 12_419, 746_316), "enron": (39_861, 28_102, 3_710_420)}
MIRROR = "https://archive.ics.uci.edu/ml/machine-learning-databases/bag-of-words/"
SIZE = 100_000_000  # of a decompressed file


class Config(api.Config):
    """Which set, how documents are shared out, and which words are kept."""

    set: Literal["kos", "nips", "enron"] = api.setting("kos", "kos: blog posts; nips: papers; enron: mails")
    vocabulary: int = api.setting(0, "keep so many words, the most frequent of the training documents; 0: all", ge=0)
    valid_share: float = api.setting(0.1, "share of the documents, chosen at random, for validation", ge=0, lt=1)
    test_share: float = api.setting(0.1, "share of the documents, chosen at random, for testing", gt=0, lt=1)


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the documents; those without a word that is kept are left out."""
    counts, source = _counts(config.set, data_dir)
    n = counts.filled
    return api.files.documents(
        counts,
        n_valid=round(config.valid_share * n),
        n_test=max(1, round(config.test_share * n)),
        vocabulary=config.vocabulary,
        empty="leave-out",
        source=source,
    )


def _counts(name: str, data_dir: str | None) -> tuple[api.files.WordCounts, str]:
    """Return the counts of a set, and where they were found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("bag-of-words")
    file = f"docword.{name}.txt"

    def decode(content: bytes) -> api.files.WordCounts:
        found = api.files.read_uci(content)
        published = SETS[name]
        there = (found.documents, found.words, len(found.count))
        if there != published:
            raise api.BadInput(
                f"has {there[0]:,} documents, {there[1]:,} words and {there[2]:,} counts, and {published[0]:,}, {published[1]:,} "
                f"and {published[2]:,} are published"
            )
        return found

    for folder in (local, cache):
        below = (file, f"bag-of-words/{file}")
        found = api.files.find(folder, below, decode, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        address = f"{MIRROR}{file}.gz"
        counts, content = api.files.from_url((address,), lambda content: (decode(content), content), size=SIZE)
    except api.files.MissingData as error:
        raise api.files.not_found(
            f"the set {name!r}", local, str(error), f"download {file}.gz from {MIRROR}"
        ) from error
    api.files.save(cache / f"{file}.gz", gzip.compress(content, 1))
    return counts, "public mirror"
