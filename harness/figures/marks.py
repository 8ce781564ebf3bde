"""What is marked on curves: how a run was evaluated at its end."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D


def dot(axes: Axes, x: float, nats: float, split: str, colour: Any) -> None:
    """Mark the final evaluation, which is over more points than the curve: of the test set full, of the training set open."""
    face = "white" if split == "train" else colour
    axes.plot(x, nats, "o", color=colour, mfc=face, ms=3.5, mew=0.8, zorder=4)


def dot_handle(points: Sequence[int]) -> Line2D:
    """Return what the legend says of the dots, which are over so many points."""
    over = " or ".join(f"{n:,}" for n in points)
    return Line2D(
        [], [], color="0.2", marker="o", ms=3.5, lw=0, label=f"at the end, over {over} points (○ train, ● test)"
    )
