"""For datasets: where published files lie, how they are fetched and checked, and readers for their formats."""

from harness.data.documents import documents
from harness.data.download import (
    MissingData,
    cache_folder,
    expect,
    find,
    from_package_index,
    from_url,
    local_folder,
    not_found,
    save,
)
from harness.data.formats import NotThisFile, is_matlab, read_idx, read_matlab, unpickle_arrays
from harness.data.own import own_data
from harness.data.word_counts import WordCounts, read_ldac, read_uci, read_word_counts, word_counts_file
from harness.specs.data_file import DataFiles

__all__ = [
    "DataFiles",
    "MissingData",
    "NotThisFile",
    "WordCounts",
    "cache_folder",
    "documents",
    "expect",
    "find",
    "from_package_index",
    "from_url",
    "is_matlab",
    "local_folder",
    "not_found",
    "own_data",
    "read_idx",
    "read_ldac",
    "read_matlab",
    "read_uci",
    "read_word_counts",
    "save",
    "unpickle_arrays",
    "word_counts_file",
]
