"""Comparisons, for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report.text import print_table, quantity

if TYPE_CHECKING:
    from harness.analysis.compare import Comparison


def print_comparisons(comparisons: Sequence["Comparison"], estimator: str, split: str) -> None:
    """Print both sides of every panel at powers of ten and at the last mark, and what a target cost each."""
    from harness.analysis.compare import shown, what_differs

    rows, races = [], []
    for one in comparisons:
        for gap in shown(one.gaps):
            error = "" if gap.half is None else f" ± {gap.half:.2f}"
            pairs = (
                ("1 pair" if gap.difference.n == 1 else f"{gap.difference.n} pairs")
                if gap.difference.paired
                else "unpaired"
            )
            cells = (
                f"{gap.samples:,.0f}",
                f"{gap.first:.2f}",
                f"{gap.second:.2f}",
                f"{gap.difference.mean:+.2f}{error}",
            )
            rows.append((one.about, *cells, pairs))
        if one.race is not None:
            costs = [_against(pair) for pair in (one.race.samples, one.race.cpu)]
            races.append((one.about, f"{one.race.target:.2f}", *costs[0], *costs[1]))
    print(
        f"{estimator} on {split}, nats per datapoint; A less B ± half its 95 % confidence interval, paired over seeds"
    )
    print_table(("", "samples", "A", "B", "A less B", "over"), rows)
    for one in comparisons:
        if one.lost:
            print(f"{one.about}: left out {', '.join(one.lost)}")
    for one in comparisons:
        differs = "; ".join(f"{name} {a} and {b}" for name, a, b in what_differs(one))
        print(
            f"\n{one.about}: A and B differ in {differs}"
            if differs
            else f"\n{one.about}: A and B have the same settings"
        )
    if races:
        unit = next(one.race.unit for one in comparisons if one.race)
        print(f"\nto reach a target on {split}, means over seeds")
        heads = ("", "target", "samples A", "B", "A / B", f"{unit} A", "B", "A / B")
        print_table(heads, races)


def _against(pair: tuple[float | None, float | None]) -> tuple[str, str, str]:
    """Return two costs and their ratio."""
    ratio = f"{pair[0] / pair[1]:.2f}" if pair[0] and pair[1] else ""
    first, second = ("never" if cost is None else quantity(cost) for cost in pair)
    return first, second, ratio
