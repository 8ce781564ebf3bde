"""Runs that stand apart from the others: no claim about a mean holds if one of them contradicts it by itself."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.analysis.losses import Adjusted, below
from harness.claims.evidence import Values, Verdict
from harness.claims.level import LEVEL, Open, own_level, rejects

FEWEST = 3  # values of which one can stand apart


def each_by_itself(
    verdict: Verdict, values: Values, *, least: float = -math.inf, most: float = math.inf,
    kinds: Mapping[Any, str] | None = None, called: Callable[[object], str] = str,
) -> Verdict | Open:  # fmt: skip
    """Return the verdict on a mean, open where it would hold, until it is known whether a value stands apart.

    Values of one kind are compared with one another, and those of kinds that have fewer than three together. Where there are no
    three to compare, none can be told from the others: a value beyond the limits is named then.

    Args:
        verdict: on the mean.
        values: what it is the mean of, by what they are called.
        least: below it a value contradicts the claim by itself.
        most: the same above it.
        kinds: of what kind values are, where they are of several that may differ.
        called: returns what a value's key is called.
    """
    if verdict.says == "fails":
        return verdict
    compared = _compared(values, kinds or {})
    beyond = [key for key, value in values.items() if not least <= value <= most]
    unknown = set(beyond).difference(*compared)
    said = "".join(f"; {called(key)} by itself is beyond, at {values[key]:.4g}" for key in beyond if key in unknown)
    verdict = verdict._replace(why=verdict.why + said)
    if not compared:
        return verdict
    times = len(compared) * (math.isfinite(least) + math.isfinite(most))
    p: Values = {}
    for keys in compared:
        numbers = np.array([values[key] for key in keys])
        each = times * np.minimum(below(numbers, least), below(-numbers, -most))
        p |= dict(zip(keys, each.tolist(), strict=True))

    def settle(adjusted: Adjusted) -> Verdict:
        if not rejects(adjusted, LEVEL):
            return verdict
        level = own_level(adjusted, LEVEL)
        apart = [key for key in p if p[key] <= 1 - level]
        others = [
            values[key] for keys in compared if not set(apart).isdisjoint(keys) for key in keys if key not in apart
        ]
        where = ", ".join(f"{called(key)} at {values[key]:.4g}" for key in apart)
        why = f"collapsed seed: {where}, where the others have {np.mean(others):.4g} on average; {verdict.why}"
        return verdict._replace(says="fails", why=why, collapsed=tuple(map(called, apart)))

    return Open(min(1.0, min(p.values())), LEVEL, "loss", settle)


def _compared(values: Values, kinds: Mapping[Any, str]) -> list[list[Any]]:
    """Return the keys of the values that are compared with one another."""
    groups: dict[str, list[Any]] = {}
    for key in values:
        groups.setdefault(kinds.get(key, ""), []).append(key)
    few = [key for keys in groups.values() if len(keys) < FEWEST for key in keys]
    return [keys for keys in (*groups.values(), few) if len(keys) >= FEWEST]
