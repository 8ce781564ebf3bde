"""What is marked on curves: how a run was evaluated at its end, that it diverged, and that it is below the axis."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.figures.labels import SPLITS

if TYPE_CHECKING:
    import pandas as pd

EDGE = 0.02  # height of an arrow at the lower edge of the axes, in heights of the axes

ABOVE_EDGE = 0.07  # of the mark that it points from


GOES_ON = "goes on"


def dot(axes: Axes, x: float, nats: float, split: str, colour: Any) -> None:
    """Mark the final evaluation, which is over more points than the curve: of the training set open, of others full."""
    face = "white" if split == "train" else colour
    axes.plot(x, nats, "o", color=colour, mfc=face, ms=3.5, mew=0.8, zorder=4)


def dot_handle(points: Sequence[int], splits: Sequence[str] = SPLITS) -> Line2D:
    """Return what the legend says of the dots of these splits, which are over so many points."""
    over, full = " or ".join(f"{n:,}" for n in points), [split for split in splits if split != "train"]
    told = f" (train open, {' and '.join(full)} filled)" if full and len(full) < len(splits) else ""
    return Line2D([], [], color="0.2", marker="o", ms=3.5, lw=0, label=f"at the end, over {over} points{told}")


def cross(axes: Axes, x: float, nats: float, colour: Any) -> None:
    """Mark the last finite estimate of a run that diverged."""
    axes.plot(x, nats, "X", color=colour, ms=7, zorder=4)


def cross_handle() -> Line2D:
    """Return what the legend says of the crosses."""
    return Line2D([], [], color="0.2", marker="X", ms=7, lw=0, label="diverged")


def point_below(axes: Axes) -> bool:
    """Point at what ends below the axes, as their limits are now: an arrow at the lower edge, with the mark that lies there.

    Marks on an edge of the axes are drawn whole. Lines with the gid `GOES_ON` do not end where they end.

    Returns:
        Whether there is anything below.
    """
    (left, right), low = sorted(axes.get_xlim()), axes.get_ylim()[0]
    found: dict[tuple[Any, ...], None] = {}  # each once
    for line in axes.lines:
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        inside = np.flatnonzero((x >= left) & (x <= right) & np.isfinite(y))
        if not len(inside) or line.get_gid() == GOES_ON:
            continue
        end = inside[-1]
        if y[end] < low:
            look = line.get_color(), line.get_marker(), line.get_markersize(), line.get_markerfacecolor()
            found[float(x[end]), *look] = None
        elif len(x) == 1 and y[end] <= axes.get_ylim()[1]:
            line.set_clip_on(False)
    place = axes.get_xaxis_transform()
    for x_, colour, marker, size, face in found:
        axes.plot(x_, EDGE, "v", color=colour, ms=5, mew=0, transform=place, zorder=5, clip_on=False)
        if marker not in ("None", None, ""):
            axes.plot(x_, ABOVE_EDGE, marker, color=colour, ms=size, mfc=face, transform=place, zorder=5, clip_on=False)
    return bool(found)


def below_handle() -> Line2D:
    """Return what the legend says of the arrows."""
    return Line2D([], [], color="0.2", marker="v", ms=5, mew=0, lw=0, label="below the axis")


_BETWEEN: dict[str, Any] = {"facecolor": "none", "hatch": "////", "lw": 0, "alpha": 0.5}


def between(axes: Axes, x: Any, below: Any, above: Any, colour: Any) -> None:
    """Hatch the space between estimates of log p(x) from below and from above."""
    axes.fill_between(x, below, above, edgecolor=colour, **_BETWEEN)


def between_handle() -> Patch:
    """Return what the legend says of the hatched space."""
    return Patch(edgecolor="0.2", **_BETWEEN, label="up to the estimate from above")


UNRELIABLE_LABEL = "not to be trusted (Pareto k-hat)"

_UNRELIABLE: dict[str, Any] = {"marker": "v", "color": "red", "mfc": "none", "ms": 5, "ls": "none", "zorder": 4}


def mark_unreliable(axes: Axes, data: "pd.DataFrame", x: str) -> bool:
    """Mark the points of a table that are not to be trusted by their own diagnostics, and say whether there are any."""
    doubtful = data if data.empty else data[~data["reliable"].astype(bool)]
    if not doubtful.empty:
        axes.plot(doubtful[x], doubtful["nats"], **_UNRELIABLE)
    return not doubtful.empty


def unreliable_handle() -> Line2D:
    """Return what the legend says of these points."""
    return Line2D([], [], **_UNRELIABLE, label=UNRELIABLE_LABEL)
