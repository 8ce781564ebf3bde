"""Runs of schema 1, read as those of today; their checkpoints are read by `harness.store.checkpoint`."""

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.errors import BadInput
from harness.files import from_json, read_file, to_json

EVALUATIONS = "evaluations.jsonl"


def migrated(found: dict[str, Any]) -> dict[str, Any]:
    """Return a run.json of schema 1 as schema 2 has it; ValueError if it was damaged."""
    if found.pop("checksum") != checksum(found):
        raise ValueError("its checksum does not fit")
    for number, session in enumerate(found["provenance"]):
        session["samples"] = None if number else 0  # where later ones began was not written down
    return found


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the estimates that a run of schema 1 has, a line each; BadInput if they were edited or damaged."""
    path = folder / EVALUATIONS
    rows = []
    try:
        for line in filter(None, read_file(path).decode().split("\n") if path.exists() else []):
            row = from_json(line)
            if row.pop("checksum") != checksum(row):
                raise ValueError("its checksum does not fit")
            rows.append(row)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(
            f"line {len(rows) + 1} of {path} was edited or damaged: restore it from a copy, or delete that line"
        ) from error
    return rows


def checksum(content: dict[str, Any]) -> str:
    """Return the SHA-256 of a record's canonical form, as schema 1 had it."""
    return hashlib.sha256(json.dumps(json.loads(to_json(content)), sort_keys=True).encode()).hexdigest()
