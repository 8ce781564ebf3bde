"""Runs of schema 1, read as those of today."""

import hashlib
import io
import json
from typing import Any, cast

from harness.files import to_json
from harness.store.checkpoint import digest
from harness.store.record import SCHEMA


def migrated(found: dict[str, Any]) -> dict[str, Any]:
    """Return a run.json of schema 1 as one of today's; ValueError if it was damaged."""
    if found.pop("checksum") != checksum(found):
        raise ValueError("its checksum does not fit")
    for number, sitting in enumerate(found["provenance"]):
        sitting["samples"] = None if number else 0  # where later ones began was not written down
    return {**found, "schema": SCHEMA}


def checkpoint(content: bytes) -> dict[str, Any]:
    """Return a checkpoint that has its checksum inside; raises nearly anything if it is damaged or none."""
    import torch

    found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    if found.pop("digest") != digest(found):
        raise ValueError("its checksum does not fit")
    return cast(dict[str, Any], found)


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical form, as schema 1 had it."""
    return hashlib.sha256(json.dumps(json.loads(to_json(content)), sort_keys=True).encode()).hexdigest()
