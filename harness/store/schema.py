"""What stored runs have to look like for their readers: a checksum says that a file is as it was written, and not by whom.

By hand, as pydantic is slower here: importing it and building the validators takes 0.4 CPU seconds, which `harness list` does not
need otherwise. It would take 0.72 instead of 0.23 CPU seconds for a few runs, 1.8 instead of 1.3 for 2,000, the same for 10,000.
"""

import math
import re
from collections.abc import Callable
from types import UnionType
from typing import Any, cast

from harness.store.record import NAME

Check = Callable[[Any], bool]
"""Says whether a value has a shape."""


def checker(shape: Any) -> Check:
    """Return what says whether plain data have a shape.

    A shape is a type, or a union of types; a function that says whether a value fits; a list with the one shape of all items; or
    a dictionary with the shapes of entries by key: `key?` for one that may be missing, and the type `str` for all of them.
    Entries that are not listed may be anything. What is returned is made once and for all, as traces have many rows.
    """
    if isinstance(shape, list):
        each = checker(shape[0])
        return lambda value: isinstance(value, list) and all(map(each, value))
    if isinstance(shape, type | UnionType):
        return lambda value: isinstance(value, shape)
    if isinstance(shape, dict):
        return _entries_checker(shape)
    return cast(Check, shape)


def _entries_checker(shape: dict[Any, Any]) -> Check:
    every = shape.get(str)
    each = None if every is None else checker(every)
    numbers = every in (_count, _number)
    named = [
        (key.removesuffix("?"), key[-1] == "?", isinstance(part, type | UnionType), part, checker(part))
        for key, part in shape.items()
        if key is not str
    ]

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        for name, may_be_missing, is_type, part, fits in named:
            if name not in value:
                if not may_be_missing:
                    return False
            elif not (isinstance(value[name], part) if is_type else fits(value[name])):
                return False
        return each is None or (numbers and _plain_counts(value)) or all(map(each, value.values()))

    return check


def _plain_counts(value: dict[str, Any]) -> bool:
    """Say whether all entries are numbers from 0 of ordinary size, which a row has many of; if not, each has to be looked at."""
    numbers = value.values()
    return not numbers or (set(map(type, numbers)) <= {int, float} and min(numbers) >= 0 and sum(numbers) < 2**63)


def _count(value: Any) -> bool:
    return _number(value) and 0 <= value < math.inf


def _number(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, int) and abs(value) < 2**64
    )  # others cannot be calculated with


def _whole(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**63


def _tensor(value: Any) -> bool:
    return hasattr(value, "layout")  # of PyTorch, which is not imported here; nothing else in plain data has it


def _is_due(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(map(_number, value[:2]))
        and isinstance(value[2], dict)
        and all(map(_number, value[2].values()))
    )


_PLUGIN = {"name": str, "settings": dict, "file?": str | None, "sha256?": str | None}

_SPEC = {
    "algorithm": _PLUGIN, "model": {**_PLUGIN, "settings": {"nz?": _count}}, "dataset": _PLUGIN, "n_train": int | None,
    "seed": int, "threads": int, "evaluation": {"estimators": [_PLUGIN]},
}  # fmt: skip

_SPENT = {"samples": _count, "cpu_seconds": _count, "wall_seconds": _count}

_LEDGER = checker({**_SPENT, str: _count})

_ESTIMATE = {
    "estimator": str, "settings": dict, "direction": str, "split": str, "points": _count, "mean": _number, "se_points": _number,
    "se_estimator": _number, "diagnostics": {str: _number}, "heavy_tails?": _number, "reliable?": bool, "instead?": str,
}  # fmt: skip

_SESSION = {
    "code": {"version": str, "commit": str | None, "source_sha256": str}, "dataset": {"sha256": str}, "machine": {"cpu": str},
    "threads": int, "packages": {str: str}, "flush_denormal": bool, "samples": int | None, "calibration_seconds?": _count,
    "sources?": {str: {str: str}}, "warnings?": [str], "memory?": {"first": _count, "last": _count, "most": _count},
    "primitives?": str,
}  # fmt: skip

is_record = checker({
    "run": lambda value: isinstance(value, str) and re.match(NAME, value), "spec": _SPEC,
    "budget": {f"{name}?": _count for name in _SPENT}, "reason": str | None, "overshoot": {str: _count},
    "ledger": lambda value: value == {} or _LEDGER(value),  # before the first save it is empty
    "summary": [_ESTIMATE], "trace": {"rows": int, "bytes": int, "sha256": str}, "provenance": [_SESSION],
})  # fmt: skip
"""Says whether plain data have the shape of a run.json."""

is_checkpoint = checker({
    "theta": _tensor, "phi": lambda value: value is None or _tensor(value), "rng": {str: _tensor}, "info_steps": _whole,
    "ledger": {str: _whole}, "seconds": {str: _count}, "info": {str: _number}, "unread?": [{str: _number}],
    "due?": lambda value: value is None or _is_due(value), "divergence?": str | None,
    "trace": {"rows": _whole, "bytes": _whole, "sha256": str},
})  # fmt: skip
"""Says whether the state in a checkpoint has the shape of a run's; the algorithm's own is not known here."""

are_rows = checker([
    {"marks": {str: _count}, "end": bool, "ledger": _LEDGER, "info": {str: _number}, "estimates": [_ESTIMATE]},
])  # fmt: skip
"""Says whether plain data have the shape of a trace's rows."""

are_evaluations = checker([
    {"ledger": {str: _count}, "estimate": _ESTIMATE, "file": str | None, "sha256?": str | None},
])  # fmt: skip
"""Says whether plain data have the shape of estimates made after training."""
