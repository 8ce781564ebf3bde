"""What figures call things: axes, estimators, lines of the train and the test set."""

from collections.abc import Collection
from typing import Any

COUNTERS = {
    "samples": "training samples evaluated",
    "datapoints": "training points presented",
    "fantasies": "fantasy points sampled",
    "steps": "parameter updates",
    "cpu_seconds": "CPU seconds of training",
    "wall_seconds": "wall seconds of training",
}

DASHES: dict[str, Any] = {"test": "", "train": (4, 2)}


UNRELIABLE: dict[str, Any] = {"marker": "v", "color": "red", "mfc": "none", "ms": 5, "ls": "none", "zorder": 4}
"""How estimates look that are not to be trusted by their own diagnostics, and what their entry in a legend is."""

UNRELIABLE_LABEL = "not to be trusted (Pareto k-hat)"


def counter_label(counter: str) -> str:
    """Return what an axis of a counter is called."""
    return COUNTERS.get(counter, counter.replace("_", " "))


def estimate_label(estimators: Collection[str], directions: Collection[str] = ()) -> str:
    """Return what an axis of estimates is called.

    Args:
        estimators: those whose estimates are shown.
        directions: of their bias: lower, exact or upper.
    """
    if len(estimators) == 1:
        (name,) = estimators
        what = "lower bound" if name == "lower-bound" else f"log p(x) by {name}"
    else:
        bounds = sorted({"lower", "upper"} & set(directions))
        kind = f"a {bounds[0]} bound" if len(bounds) == 1 else "a bound"
        what = f"log p(x) or\n{kind} on it" if bounds else "log p(x)"  # two lines, to be no longer than a panel is high
    return f"{what}, nats per datapoint"
