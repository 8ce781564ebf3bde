"""What stored runs have to look like for their readers: a checksum says that a file is as it was written, and not by whom.

By hand, as pydantic is slower here: importing it and building the validators takes 0.4 CPU seconds, which `harness list` does not
need otherwise. It would take 0.72 instead of 0.23 CPU seconds for a few runs, 1.8 instead of 1.3 for 2,000, the same for 10,000.
"""

import itertools
import math
import re
from collections.abc import Callable
from operator import itemgetter
from types import UnionType
from typing import Any

from harness.store.record import NAME

Check = Callable[[Any], bool]
"""Says whether a value has a shape."""


AllCheck = Callable[[list[Any]], bool]
"""Says whether all of several values have a shape."""


def checker(shape: Any) -> Check:
    """Return what says whether plain data have a shape.

    A shape is a type, or a union of types; a function that says whether a value fits; a list with the one shape of all items; or
    a dictionary with the shapes of entries by key: `key?` for one that may be missing, and the type `str` for all of them.
    Entries that are not listed may be anything.
    """
    fit = _all_checker(shape)
    return lambda value: fit([value])


def _all_checker(shape: Any) -> AllCheck:
    """Return what says whether all of several values have a shape.

    Traces have many rows, so values are not looked at one by one: those of one entry are asked together, by functions of Python
    itself. What is returned is made once and for all.
    """
    if isinstance(shape, list):
        each = _all_checker(shape[0])
        return lambda values: _are(list, values) and each(list(itertools.chain.from_iterable(values)))
    if isinstance(shape, type | UnionType):
        return lambda values: _are(shape, values)
    if isinstance(shape, dict):
        return _entries_checker(shape)
    if shape is _count:
        return lambda values: _are_plain_counts(values) or all(map(_count, values))
    if shape is _number:
        return lambda values: set(map(type, values)) <= {float} or all(map(_number, values))
    return lambda values: all(map(shape, values))


def _entries_checker(shape: dict[Any, Any]) -> AllCheck:
    every = _all_checker(shape[str]) if str in shape else None
    parts = {key: _all_checker(part) for key, part in shape.items() if key is not str}
    needed = [(itemgetter(key), fit) for key, fit in parts.items() if key[-1] != "?"]
    others = [(key.removesuffix("?"), fit) for key, fit in parts.items() if key[-1] == "?"]

    def check(values: list[Any]) -> bool:
        if not _are(dict, values):
            return False
        try:
            if not all(fit(list(map(entry, values))) for entry, fit in needed):
                return False
        except KeyError:
            return False
        for name, fit in others:
            if (there := [value[name] for value in values if name in value]) and not fit(there):
                return False
        return every is None or every(list(itertools.chain.from_iterable(map(dict.values, values))))

    return check


def _are(shape: Any, values: list[Any]) -> bool:
    """Say whether all values are of a type, or of one of a union."""
    kinds = set(map(type, values))
    return kinds == {shape} or all(issubclass(kind, shape) for kind in kinds)


def _are_plain_counts(values: list[Any]) -> bool:
    """Say whether all values are numbers from 0 of ordinary size; if not, each has to be looked at."""
    return not values or (set(map(type, values)) <= {int, float} and min(values) >= 0 and sum(values) < 2**63)


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
    "seed": int, "threads": int, "evaluation": {"estimators": [_PLUGIN]}, "schedule?": str, "average?": int | None,
}  # fmt: skip

_SPENT = {"samples": _count, "cpu_seconds": _count, "wall_seconds": _count}

_LEDGER: dict[Any, Any] = {**_SPENT, str: _count}

_is_ledger = checker(_LEDGER)

_ESTIMATE = {
    "estimator": str, "settings": dict, "direction": str, "split": str, "points": _count, "mean": _number, "se_points": _number,
    "se_estimator": _number, "diagnostics": {str: _number}, "heavy_tails?": _number, "reliable?": bool, "instead?": str,
    "weights?": str, "perplexity?": _number, "se_perplexity?": _number,
}  # fmt: skip

_SESSION = {
    "code": {"version": str, "commit": str | None, "source_sha256": str}, "dataset": {"sha256": str}, "machine": {"cpu": str},
    "threads": int, "packages": {str: str}, "flush_denormal": bool, "samples": int | None, "calibration_seconds?": _count,
    "sources?": {str: {str: str}}, "warnings?": [str], "memory?": {"first": _count, "last": _count, "most": _count},
    "primitives?": str,
}  # fmt: skip

_is_sums = checker({"sum": _tensor, "block": _tensor})

_AVERAGE = {"steps": _whole, "taken": _whole, "theta": _is_sums, "phi": lambda value: value is None or _is_sums(value)}

is_record = checker({
    "run": lambda value: isinstance(value, str) and re.match(NAME, value), "spec": _SPEC,
    "budget": {f"{name}?": _count for name in (*_SPENT, "datapoints")}, "reason": str | None, "overshoot": {str: _count},
    "ledger": lambda value: value == {} or _is_ledger(value),  # before the first save it is empty
    "summary": [_ESTIMATE], "trace": {"rows": int, "bytes": int, "sha256": str}, "provenance": [_SESSION],
})  # fmt: skip
"""Says whether plain data have the shape of a run.json."""

_KEPT = {
    "theta": _tensor, "phi": lambda value: value is None or _tensor(value), "ledger": {"samples": _whole, str: _whole},
    "estimate": _ESTIMATE,
}  # fmt: skip

is_best = checker(_KEPT)
"""Says whether plain data have the shape of what is kept of the best mark."""

_is_kept = checker({name: lambda value: value is None or is_best(value) for name in ("marks", "end")})

is_checkpoint = checker({
    "theta": _tensor, "phi": lambda value: value is None or _tensor(value), "rng": {str: _tensor}, "info_steps": _whole,
    "ledger": {str: _whole}, "seconds": {str: _count}, "info": {str: _number}, "unread?": [{str: _number}],
    "due?": lambda value: value is None or _is_due(value), "divergence?": str | None,
    "trace": {"rows": _whole, "bytes": _whole, "sha256": str}, "average?": _AVERAGE, "best?": _is_kept,
})  # fmt: skip
"""Says whether the state in a checkpoint has the shape of a run's; the algorithm's own is not known here."""

are_rows = checker([
    {
        "marks": {str: _count}, "end": bool, "ledger": _LEDGER, "info": {str: _number}, "estimates": [_ESTIMATE],
        "averaged?": [_ESTIMATE],
    },
])  # fmt: skip
"""Says whether plain data have the shape of a trace's rows."""

_is_gap = checker({"mean": _number, "error": _number})

_GAPS = {
    "split": str, "points": _count, "reference": str, "log_p": _number, "best": _number,
    "bound": lambda value: value is None or _number(value), "approximation": _is_gap,
    "amortisation": lambda value: value is None or _is_gap(value), "sandwich": lambda value: value is None or _is_gap(value),
}  # fmt: skip

are_evaluations = checker([
    {"ledger": {str: _count}, "estimate": _ESTIMATE, "file": str | None, "sha256?": str | None, "gaps?": _GAPS},
])  # fmt: skip
"""Says whether plain data have the shape of estimates made after training."""

_BLOCK = {
    "part": str, "name": str, "parameters": _whole, "norm": _number, "bias": _number, "bias_limit": _number, "p": _number,
    "biased": bool, "variance": _number, "se": _number, "scale": _number,
}  # fmt: skip

_REFERENCE = {"exact": bool, "bound": _number, "bound_se": _number}

are_gradients = checker([
    {
        "ledger": {"samples": _count, str: _count}, "weights": str, "points": _whole, "draws": _whole, "fit": _whole,
        "seed": _whole, "made_again": str | None, "estimators": [
            {
                "estimator": str, "algorithm": str, "settings": dict, "K": _whole, "bound": _number, "bound_se": _number,
                "reference": _REFERENCE, "samples": _count, "cpu_seconds": _count, "fitted": bool, "blocks": [_BLOCK],
            },
        ],
    },
])  # fmt: skip
"""Says whether plain data have the shape of measurements of gradient estimators."""

_POINT = {
    "iteration": _count, "nats": _number, "se": _number, "nats_per_entry": _number, "se_per_entry": _number, "gain?": _number,
    "se_gain?": _number,
}  # fmt: skip

_is_curve = checker([_POINT])

_IMPUTATION = {
    "settings": {
        "missing": str, "iterations": _count, "chains": _count, "points": _count, "seed": _whole, "latents": str, "weights": str,
    },
    "direction": str, "entries": _count, "curve": lambda value: _is_curve(value) and len(value) > 0,
}  # fmt: skip

are_imputations = checker([{"ledger": {str: _count}, "imputation": _IMPUTATION}])
"""Says whether plain data have the shape of what `harness impute` has found."""
