"""Pictures of what peers.py and sizes.py have measured."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def bars(stored: dict[str, Any], columns: Sequence[str], caption: str, path: Path) -> None:
    """Draw everyone's CPU time over the floor: a panel for each row, a bar for each number of threads.

    Args:
        stored: what was measured.
        columns: everyone, in order.
        caption: on what and with what.
        path: where; its ending is the format.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from harness.figures.output import style

    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for row in stored["rows"]:
        rows.setdefault(row["title"], {})[row["threads"]] = row["columns"]
    threads = sorted({n for by_threads in rows.values() for n in by_threads})
    across = min(2, len(rows))
    down = math.ceil(len(rows) / across)
    palette, plain = sns.color_palette("deep"), {"facecolor": "white", "edgecolor": "none", "pad": 0.4}  # over the line
    with style():
        figure = Figure(figsize=(5.2 * across, 0.9 + 2.7 * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False)
        for panel, (title, by_threads) in zip(panels.flat, rows.items(), strict=False):
            names = [name for name in columns if any(name in found for found in by_threads.values())]
            highest = max(found[name]["cpu"] for found in by_threads.values() for name in names if name in found)
            height = 0.8 / len(threads)
            for number, n in enumerate(threads):
                for place, name in enumerate(names):
                    if name not in by_threads.get(n, {}):
                        continue
                    ratio, y = by_threads[n][name]["cpu"], place + (number - (len(threads) - 1) / 2) * height
                    colour = (
                        palette[3] if name.startswith("harness") else palette[0] if "products" not in name else "0.6"
                    )
                    panel.barh(y, ratio, height * 0.92, color=colour, alpha=1.0 if number == 0 else 0.55)
                    panel.text(
                        ratio + 0.012 * highest, y, f"{ratio:.2f}", va="center", fontsize=7, zorder=5, bbox=plain
                    )
            panel.axvline(1.0, color="black", linewidth=1.0)
            panel.set_yticks(range(len(names)), names, fontsize=8)
            panel.set_ylim(len(names) - 0.45, -0.55)
            panel.set_xlim(0, 1.1 * max(highest, 1.0))
            panel.set_title(title.replace("N_z", "$N_z$"), fontsize=9, loc="left")
            panel.tick_params(axis="x", labelsize=8)
            panel.grid(False, axis="y")
        for panel in panels.flat[len(rows) :]:
            panel.set_axis_off()
        shades = [
            Patch(facecolor="0.3", alpha=1.0 if k == 0 else 0.55, label=f"{n} thread{'s' * (n > 1)}")
            for k, n in enumerate(threads)
        ]
        note = "CPU time as a ratio to PyTorch's matrix products of the same work (line)"
        figure.legend(
            handles=shades, ncols=len(shades), loc="outside upper left", frameon=False, title=note, alignment="left"
        )
        _caption(figure, caption)
        figure.savefig(path)


def _caption(figure: Any, caption: str) -> None:
    import textwrap

    width = int(figure.get_figwidth() * 19)
    lines = [part for line in caption.splitlines() for part in textwrap.wrap(line, width)]
    figure.supxlabel("\n".join(lines), fontsize=7, x=0.01, ha="left", color="0.3")


def curves(stored: dict[str, Any], names: dict[str, str], caption: str, path: Path) -> None:
    """Draw the CPU time over the floor against each size: a panel a size, a line an algorithm.

    Args:
        stored: what was measured.
        names: each size in words.
        caption: on what and with what.
        path: where; its ending is the format.
    """
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    from harness.figures.output import style

    sizes = list(dict.fromkeys(row["size"] for row in stored["rows"]))
    algorithms = list(dict.fromkeys(row["algorithm"] for row in stored["rows"]))
    palette = dict(zip(algorithms, sns.color_palette("deep"), strict=False))
    highest = max(row["cpu"] for row in stored["rows"])
    with style():
        figure = Figure(figsize=(2.9 * len(sizes), 3.9), layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for panel, size in zip(panels, sizes, strict=True):
            values = sorted({row["value"] for row in stored["rows"] if row["size"] == size})
            for algorithm in algorithms:
                points = sorted(
                    (row["value"], row["cpu"])
                    for row in stored["rows"]
                    if row["size"] == size and row["algorithm"] == algorithm
                )
                if points:
                    panel.plot(*zip(*points, strict=True), marker="o", color=palette[algorithm], label=algorithm)
            panel.set_xscale("log")
            panel.xaxis.set_major_locator(FixedLocator(values))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.set_xticks(values, [f"{value:,}" for value in values], fontsize=8)
            panel.axhline(1.0, color="black", linewidth=1.0)
            panel.set_ylim(0, 1.1 * highest)
            panel.set_xlabel(names[size].replace("N_z", "$N_z$"))
        panels[0].set_ylabel("CPU time / its matrix products")
        handles = [line for line in panels[0].get_lines() if not line.get_label().startswith("_")]
        figure.legend(handles=handles, ncols=len(handles), loc="outside upper left", frameon=False)
        _caption(figure, caption)
        figure.savefig(path)
