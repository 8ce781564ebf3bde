"""Documents of the user's own: counts of words in a UCI bag-of-words file or an LDA-C file, in the folder of the user's data.

The formats are those of the UCI repository's bags of words (docword.NAME.txt, plain or gzip) and of Blei's LDA-C (NAME.ldac).
A document is a vector of counts over the vocabulary. Its density is that of its words in their order, given how many there are,
without the multinomial coefficient; perplexity per word is measured by it, as in Mnih & Gregor (2014), arXiv 1402.0030.
"""

from typing import Literal

from harness import api

OWN_FILES = True


class Config(api.Config):
    """Which file, how documents are shared out, and which words are kept."""

    file: str = api.setting("", "name of the file in --data-dir; it must be given")
    vocabulary: int = api.setting(0, "keep so many words, the most frequent of the training documents; 0: all", ge=0)
    valid_share: float = api.setting(0.1, "share of the documents, chosen at random, for validation", ge=0, lt=1)
    test_share: float = api.setting(0.1, "share of the documents, chosen at random, for testing", gt=0, lt=1)
    empty: Literal["refuse", "leave-out"] = api.setting(
        "refuse",
        "refuse: a document without a word, or without one that is kept, is an error; leave-out: it is left out",
    )


def load(config: Config, data_dir: str | None = None) -> api.Dataset:
    """Find, check and return the documents; the same settings give the same split."""
    path = api.files.word_counts_file(api.files.local_folder(data_dir), config.file)
    counts = api.files.read_word_counts(path, config.empty)
    n = counts.filled
    try:
        return api.files.documents(
            counts,
            n_valid=round(config.valid_share * n),
            n_test=max(1, round(config.test_share * n)),
            vocabulary=config.vocabulary,
            empty=config.empty,
            source=str(path.parent),
        )
    except api.BadInput as error:
        raise api.BadInput(f"{path} {error}") from error
