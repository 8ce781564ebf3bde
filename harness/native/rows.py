"""Rows of data that are stored as bytes, as numbers."""

import torch
from torch import Tensor

from harness.native import path


def bytes_at(stored: Tensor, index: Tensor, scale: float) -> Tensor:
    """Return scale times the rows of bytes (N, D) at positions (B,), as float32 (B, D); IndexError where there is no such row."""
    compiled = path.kernels is not None and stored.is_cpu and index.is_cpu and index.dtype is torch.int64
    if not (compiled and stored.is_contiguous()):
        return stored.index_select(0, index).to(torch.float32).mul_(scale)
    (rows, dim), (n,) = stored.shape, index.shape
    index = index.contiguous()
    out = stored.new_empty(n, dim, dtype=torch.float32)
    path.kernels.bytes_at(n, rows, dim, stored.data_ptr(), index.data_ptr(), out.data_ptr(), scale)
    return out
