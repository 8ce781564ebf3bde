"""Comparisons, for people."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.machines import SECONDS
from harness.analysis.reliability import MARK
from harness.report.text import counted, interval_text, marked, other_data, print_table, quantity, with_error
from harness.safe_text import show

if TYPE_CHECKING:
    from harness.analysis.compare import AtMark, Comparison


def print_comparisons(comparisons: Sequence["Comparison"], estimator: str, split: str) -> None:
    """Print both sides of every panel at powers of ten and at the last mark, and what a target cost each."""
    from harness.analysis.compare import what_differs

    rows, costs = [], []
    both = other_data(spent for one in comparisons for mark in one.marks for spent in mark.spent)
    for one in comparisons:
        for mark in _shown(one.marks):
            found = mark.difference
            interval = "" if mark.half_width is None else interval_text(found.mean, mark.half_width, found.error)
            figures = (f"{mark.first:.2f}", f"{mark.second:.2f}", with_error(found.mean, found.error, sign=True))
            means = map(marked, figures, (*mark.unreliable, any(mark.unreliable)))
            pairs = counted(found.n, "pair") if found.paired else "unpaired"
            known = [spent.get("datapoints") for spent in mark.spent] if both else []
            data = ["" if n is None else f"{n:,.0f}" for n in known]
            rows.append((one.panel, f"{mark.samples:,.0f}", *data, f"{mark.points:,}", *means, interval, pairs))
        if (cost := one.target_cost) is not None:
            cpu = [
                "unknown" if n is not None and seconds is None else ""
                for n, seconds in zip(cost.samples, cost.cpu, strict=True)
            ]
            costs.append((one.panel, f"{cost.target:.2f}", *_with_ratio(cost.samples), *_with_ratio(cost.cpu, *cpu)))
    of = ", of averaged weights" if any(run.weights == "average" for one in comparisons for run in one.sides[0]) else ""
    show(f"{estimator} on {split}{of}, nats per datapoint, means over seeds; ± is the standard error (se) over seeds")
    data = ["datapoints A", "datapoints B"] if both else []
    print_table(("panel", "samples", *data, "points", "A", "B", "A - B ± se", "95% interval", "seeds"), rows)
    for one in comparisons:
        if one.left_out:
            show(f"{one.panel}: left out {', '.join(one.left_out)}")
    for one in comparisons:
        for words in one.doubts:
            show(f"{MARK} {one.panel}: {words}")
    for one in comparisons:
        for words in one.foreign:
            show(f"{one.panel}: {words}")
    for one in comparisons:
        differs = "; ".join(
            f"{found.setting} {_short(found.first)} and {_short(found.second)}" for found in what_differs(one)
        )
        show("", f"{one.panel}: A and B " + (f"differ in {differs}" if differs else "have the same settings"))
    if costs:
        unit = next(one.target_cost.unit for one in comparisons if one.target_cost)
        why = "" if unit == SECONDS else "; of several machines, so CPU time is in calibration kernels"
        show("", f"cost of reaching a target on {split}, means over seeds{why}")
        print_table(("panel", "target", "samples A", "B", "A / B", f"{unit} A", "B", "A / B"), costs)


def _shown(marks: Sequence["AtMark"]) -> list["AtMark"]:
    """Return the marks that a table shows: powers of ten, and the last."""
    return [one for one in marks if abs(math.log10(max(one.samples, 1.0)) % 1) < 1e-6 or one is marks[-1]]


def _short(value: object) -> object:
    """Return a value of a setting; of a SHA-256 its first digits, which tell two apart."""
    return value[:12] if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else value


def _with_ratio(pair: tuple[float | None, float | None], *instead: str) -> tuple[str, str, str]:
    """Return two costs and their ratio; what stands instead of one that is not there is given where it is not `never`."""
    ratio = f"{pair[0] / pair[1]:.2f}" if pair[0] and pair[1] else ""
    words = [word or "never" for word in instead or ("", "")]
    first, second = (word if cost is None else quantity(cost) for cost, word in zip(pair, words, strict=True))
    return first, second, ratio
