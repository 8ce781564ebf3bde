"""Checkpoints as files."""

import hashlib
from typing import Any


def digest(packed: Any) -> str:
    """Return a SHA-256 over plain data, the bytes of every tensor included."""
    import torch

    sha = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
            sha.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        elif isinstance(value, dict):
            sha.update(b"{")
            for key in sorted(value, key=repr):
                sha.update(repr(key).encode())
                feed(value[key])
            sha.update(b"}")
        elif isinstance(value, list | tuple):
            sha.update(b"[")
            for item in value:
                feed(item)
            sha.update(b"]")
        else:
            sha.update(repr(value).encode())

    feed(packed)
    return sha.hexdigest()
