"""Stored estimates that their own diagnostics contradict: how they are told, marked and explained wherever they are shown."""

from collections.abc import Iterable, Mapping
from typing import Any

MARK = "(!)"
"""Behind every figure that is not to be trusted."""

LEGEND = f"{MARK} not to be trusted: Pareto k-hat of the importance weights is above 0.7 at more than 5 % of the points"

OF_WEIGHTS = ("importance",)
"""Estimators that had no k-hat at first, so that older estimates by them lack it."""

Estimate = Mapping[str, Any]
"""An estimate as it is stored."""


def unreliable(estimate: Estimate) -> bool:
    """Say whether an estimate is not to be trusted by its own diagnostics."""
    return estimate.get("reliable") is False


def doubt(estimate: Estimate) -> str | None:
    """Return in words why an estimate is not to be trusted, and what to use instead; None if nothing is known against it."""
    if not unreliable(estimate):
        return None
    share = f"at {estimate.get('heavy_tails', 1.0):.0%} of the points".replace("%", " %")
    return (
        f"{estimate['estimator']} on {estimate['split']} is not to be trusted: Pareto k-hat of its weights is above 0.7 {share}, "
        f"so it may be off by far more than its standard error; use {estimate.get('instead', 'another estimator')}"
    )


def doubts(estimates: Iterable[Estimate]) -> list[str]:
    """Return the doubts about estimates, each once; of several by the same estimator on the same split the last."""
    return list({(e["estimator"], e["split"]): words for e in estimates if (words := doubt(e))}.values())


def tails(estimate: Estimate) -> str | None:
    """Return in words what is known of the tails of an estimate's weights; None if it has none."""
    if "heavy_tails" in estimate:
        return f"k-hat > 0.7 at {estimate['heavy_tails']:.0%}".replace("%", " %")
    return "k-hat unknown" if estimate["estimator"] in OF_WEIGHTS else None
