"""What stored runs have to look like for their readers: a checksum says that a file is as it was written, and not by whom.

By hand, as pydantic is slower here: a validator takes 25 µs a run where `fits` takes 100, but importing pydantic and building the
validators takes 0.4 CPU seconds, which `harness list` does not need otherwise. It would take 0.72 instead of 0.23 CPU seconds for
a few runs, 1.8 instead of 1.3 for 2,000, and the same for 10,000.
"""

import math
from types import UnionType
from typing import Any


def fits(value: Any, shape: Any) -> bool:
    """Say whether plain data have a shape.

    A shape is a type, or a union of types; a function that says whether a value fits; a list with the one shape of all items; or
    a dictionary with the shapes of entries by key: `key?` for one that may be missing, and the type `str` for all of them.
    Entries that are not listed may be anything.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, type | UnionType):
        return isinstance(value, shape)
    if not isinstance(shape, dict):
        return bool(shape(value))
    return isinstance(value, dict) and all(
        all(fits(item, part) for item in value.values())
        if key is str
        else (fits(value[name], part) if (name := key.removesuffix("?")) in value else name != key)
        for key, part in shape.items()
    )


def _count(value: Any) -> bool:
    return _number(value) and 0 <= value < math.inf


def _number(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, int) and abs(value) < 2**64
    )  # others cannot be calculated with


_PLUGIN = {"name": str, "settings": dict, "file?": str | None, "sha256?": str | None}

_SPEC = {
    "algorithm": _PLUGIN, "model": {**_PLUGIN, "settings": {"nz?": _count}}, "dataset": _PLUGIN, "n_train": int | None,
    "seed": int, "threads": int, "evaluation": {"estimators": [_PLUGIN]},
}  # fmt: skip

_SPENT = {"samples": _count, "cpu_seconds": _count, "wall_seconds": _count}

_ESTIMATE = {
    "estimator": str, "settings": dict, "direction": str, "split": str, "points": _count, "mean": _number, "se_points": _number,
    "se_estimator": _number, "diagnostics": {str: _number}, "heavy_tails?": _number, "reliable?": bool, "instead?": str,
}  # fmt: skip

_SESSION = {
    "code": {"version": str, "commit": str | None, "source_sha256": str}, "dataset": {"sha256": str}, "machine": {"cpu": str},
    "threads": int, "packages": {str: str}, "flush_denormal": bool, "samples": int | None, "calibration_seconds?": _count,
    "sources?": {str: {str: str}}, "warnings?": [str], "memory?": {"first": _count, "last": _count, "most": _count},
}  # fmt: skip

RECORD: dict[Any, Any] = {
    "spec": _SPEC, "budget": {f"{name}?": _count for name in _SPENT}, "reason": str | None, "overshoot": {str: _count},
    "ledger": lambda value: value == {} or fits(value, {**_SPENT, str: _count}),  # before the first save it is empty
    "summary": [_ESTIMATE], "trace": {"rows": int, "bytes": int, "sha256": str}, "provenance": [_SESSION],
}  # fmt: skip

ROW: dict[Any, Any] = {
    "marks": {str: _count}, "end": bool, "ledger": {**_SPENT, str: _count}, "info": {str: _number}, "estimates": [_ESTIMATE],
}  # fmt: skip

EVALUATION: dict[Any, Any] = {"ledger": {str: _count}, "estimate": _ESTIMATE, "file": str | None, "sha256?": str | None}
