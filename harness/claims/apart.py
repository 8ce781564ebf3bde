"""Runs that stand apart from the others: no claim about a mean holds if one of them contradicts it by itself."""

import math
from collections.abc import Callable

import numpy as np

from harness.analysis.losses import Adjusted, below
from harness.claims.evidence import Values, Verdict
from harness.claims.level import LEVEL, Open, own_level, rejects

FEWEST = 3  # values of which one can stand apart


def each_by_itself(
    verdict: Verdict, values: Values, *, least: float = -math.inf, most: float = math.inf,
    called: Callable[[object], str] = str,
) -> Verdict | Open:  # fmt: skip
    """Return the verdict on a mean, open where it would hold, until it is known whether a value stands apart.

    With fewer than three values none can be told from the others: a value beyond the limits is named then.

    Args:
        verdict: on the mean.
        values: what it is the mean of, by what they are called.
        least: below it a value contradicts the claim by itself.
        most: the same above it.
        called: returns what a value's key is called.
    """
    beyond = [key for key, value in values.items() if not least <= value <= most]
    if verdict.says == "fails":
        return verdict
    if len(values) < FEWEST:
        said = "".join(f"; {called(key)} by itself is beyond, at {values[key]:.4g}" for key in beyond)
        return verdict._replace(why=verdict.why + said)
    numbers = np.array(list(values.values()))
    sides = math.isfinite(least) + math.isfinite(most)
    p = sides * np.minimum(below(numbers, least), below(-numbers, -most))

    def settle(adjusted: Adjusted) -> Verdict:
        if not rejects(adjusted, LEVEL):
            return verdict
        level = own_level(adjusted, LEVEL)
        apart = [key for key, one in zip(values, p, strict=True) if one <= 1 - level]
        rest = np.mean([value for key, value in values.items() if key not in apart])
        where = ", ".join(f"{called(key)} at {values[key]:.4g}" for key in apart)
        why = f"collapsed seed: {where}, where the others have {rest:.4g} on average; {verdict.why}"
        return verdict._replace(says="fails", why=why, collapsed=tuple(map(called, apart)))

    return Open(min(1.0, float(p.min())), LEVEL, "loss", settle)
