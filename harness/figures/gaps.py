"""Where lower bounds lose: a bar from a run's lower bound to log p(x), in two parts, amortisation and approximation gap."""

from collections.abc import Iterable
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness import safe_text
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import seeds_in_words
from harness.figures.output import legend_below, style
from harness.figures.trace import labels
from harness.store.run import Run

BAR = 0.45  # inches, with the room around it
MOST_BARS = 40


def draw(runs: Iterable[Run]) -> Figure:
    """Draw the last split of each run's gap on each split of the data.

    Raises:
        BadInput: a run has none, or there are more than anybody can read.
    """
    found: list[tuple[Run, dict[str, Any]]] = []
    for run in runs:
        own = {row["gaps"]["split"]: row["gaps"] for row in run.evaluations() if "gaps" in row}
        if not own:
            raise BadInput(f"run {run.id} has no gap that was split: see `harness certify {run.id}`")
        found += [(run, own[split]) for split in sorted(own, reverse=True)]  # train before test
    if len(found) > MOST_BARS:
        raise BadInput(f"{len(found)} gaps are more than anybody can read: choose runs with {MOST_BARS} or fewer")
    stored = [StoredRun(*run.content(), run) for run, _ in found]
    amortisation, approximation = sns.color_palette("colorblind", 2)
    with style(font_size=9, axes_titlesize=9):
        figure = Figure(figsize=(7.2, BAR * len(found) + 1.3), layout="constrained")
        axes = figure.subplots()
        for place, (_, gaps) in enumerate(found):
            bound = gaps["best"] if gaps["bound"] is None else gaps["bound"]
            _bar(axes, place, bound, gaps["best"], gaps["amortisation"], amortisation)
            _bar(axes, place, gaps["best"], gaps["log_p"], gaps["approximation"], approximation)
        axes.set_yticks(range(len(found)), [
            safe_text.label(f"{name}, {gaps['points']:,} {gaps['split']} points")
            for name, (_, gaps) in zip(labels(stored), found, strict=True)
        ])  # fmt: skip
        axes.invert_yaxis()
        axes.use_sticky_edges = False  # a bar does not begin at the axis
        axes.margins(x=0.12)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("nats per datapoint")
        axes.set_title(seeds_in_words(stored), loc="left")
        handles = [
            Patch(color=amortisation, label="amortisation gap: to the best Gaussians"),
            Patch(color=approximation, label="approximation gap: from there to log p(x)"),
        ]
        by = safe_text.label(" or ".join(dict.fromkeys(gaps["reference"] for _, gaps in found)))
        note = f"from the lower bound to log p(x) by {by}; ± is the standard error over points"
        legend_below(
            figure,
            handles,
            3,
            note,
        )
        sns.despine(figure)
    return figure


def _bar(axes: Axes, place: int, begin: float, end: float, gap: dict[str, float] | None, colour: Any) -> None:
    """Draw one part of a bar, with its number in or above it."""
    if gap is None:
        return
    axes.barh(place, end - begin, left=begin, color=colour, height=0.6)
    axes.annotate(
        f"{gap['mean']:.1f} ± {gap['error']:.1f}", ((begin + end) / 2, place - 0.3), (0, 1), textcoords="offset points",
        ha="center", va="bottom", fontsize=7,
    )  # fmt: skip
