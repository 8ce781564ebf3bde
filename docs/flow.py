"""Draw the rooms of the harness and which imports which, from the code itself: `python docs/flow.py flow.svg`.

A room is a folder of `harness/`, or a module beside those folders; `algorithms/` and `datasets/` are rooms too. Rooms stand above
what they import. An arrow that others imply is left out: where A imports B and B imports C, none is drawn from A to C.
"""

import ast
import math
import random
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).parents[1]

BASE = ("errors", "files")  # everyone may import these: their arrows would say nothing

Imports = dict[str, set[str]]

WIDTH, HEIGHT, GAP = 2.3, 1.0, 0.3  # of a box, and between two of one row


def modules() -> dict[str, list[Path]]:
    """Return the source files of each room."""
    found = defaultdict(list)
    for path in sorted((ROOT / "harness").rglob("*.py")):
        first = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
        if first != "__init__":
            found["cli" if first == "__main__" else first].append(path)
    for room in ("algorithms", "datasets"):
        found[room] = sorted((ROOT / room).glob("*.py"))
    return dict(found)


def imports() -> Imports:
    """Return which rooms each room imports, those that every room may import left out."""
    rooms = modules()
    found: Imports = {room: set() for room in rooms if room not in BASE}
    for room in found:
        for path in rooms[room]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module is not None:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in names:
                    package, _, rest = name.partition(".")
                    other = rest.partition(".")[0]
                    if package == "harness" and other in found and other != room:
                        found[room].add(other)
    return found


def below(room: str, arrows: Imports) -> set[str]:
    """Return all rooms that a room imports, directly or not."""
    found: set[str] = set()
    new = set(arrows[room])
    while new:
        found |= new
        new = {other for one in new for other in arrows[one]} - found
    return found


def levels(arrows: Imports) -> dict[str, int]:
    """Return the level of each room: 0 imports no room, every other stands one above the highest that it imports."""
    level: dict[str, int] = {}

    def of(room: str, path: tuple[str, ...]) -> int:
        if room in path:
            raise ValueError(f"a circle of imports: {' → '.join([*path[path.index(room) :], room])}")
        if room not in level:
            level[room] = max((of(other, (*path, room)) + 1 for other in sorted(arrows[room])), default=0)
        return level[room]

    for room in sorted(arrows):
        of(room, ())
    return level


def needed(arrows: Imports) -> Imports:
    """Return the arrows that no others imply."""
    return {
        room: {other for other in others if not any(other in below(third, arrows) for third in others - {other})}
        for room, others in arrows.items()
    }


def description(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = next(p for p in modules()[room] if p.name in ("__init__.py", f"{room}.py"))
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return first.partition(". ")[0].rstrip(".:").replace("`", "")


def routes(arrows: Imports, level: dict[str, int]) -> dict[tuple[str, str], list[str]]:
    """Return the stops of each arrow: a room, a way-point on every level that it crosses, and a room."""
    return {
        (room, other): [room, *(f"{room}>{other}@{k}" for k in range(level[room] - 1, level[other], -1)), other]
        for room, others in arrows.items()
        for other in others
    }


def places(level: dict[str, int], ways: Iterable[list[str]]) -> dict[str, tuple[float, float]]:
    """Return where the rooms and the way-points lie: each row is sorted so that its stops lie near their neighbours."""
    joined: dict[str, set[str]] = defaultdict(set)
    height = dict(level)
    for stops in ways:
        for k, (one, other) in enumerate(pairwise(stops)):
            joined[one].add(other)
            joined[other].add(one)
            height[other] = level[stops[0]] - k - 1 if "@" in other else level[other]
    rows = [sorted(stop for stop in height if height[stop] == k) for k in range(max(height.values()) + 1)]
    best, least, rng = dict.fromkeys(height, 0.0), math.inf, random.Random(0)
    for _ in range(50):  # beginnings; of all that they lead to, the shortest arrows
        x = {}
        for row in rows:
            rng.shuffle(row)
            x |= _spread(row)
        for row in (rows + rows[::-1]) * 4:
            row.sort(key=lambda stop: sum(x[o] for o in joined[stop]) / max(1, len(joined[stop])))
            x |= _spread(row)
            length = sum((x[one] - x[other]) ** 2 for one in joined for other in joined[one])
            if length < least:
                best, least = dict(x), length
    return {stop: (best[stop], 1.5 * height[stop]) for stop in height}


def _spread(row: list[str]) -> dict[str, float]:
    """Return where the stops of a row lie from left to right, its middle at 0."""
    widths = [GAP if "@" in stop else WIDTH + GAP for stop in row]
    left = -sum(widths) / 2
    return {stop: left + sum(widths[:k]) + width / 2 for k, (stop, width) in enumerate(zip(row, widths, strict=True))}


def draw(path: Path) -> None:
    """Write the picture; the suffix says in which format."""
    found = imports()
    level, arrows = levels(found), needed(found)
    ways = routes(arrows, level)
    place = places(level, ways.values())
    half = max(abs(x) for x, _ in place.values()) + WIDTH / 2 + 0.2
    top = max(y for _, y in place.values()) + HEIGHT / 2 + 0.1
    figure = Figure(figsize=(0.95 * 2 * half, 0.95 * (top + 1.9)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-half, half), ylim=(-1.9, top))
    axes.axis("off")

    def box(x: float, y: float, width: float, title: str, words: str, colour: str) -> None:
        style = "round,pad=0,rounding_size=0.08"
        corner = (x - width / 2, y - HEIGHT / 2)
        axes.add_patch(FancyBboxPatch(corner, width, HEIGHT, boxstyle=style, fc=colour, ec="#334155", lw=1, zorder=3))
        lines = textwrap.wrap(words, round(14.5 * width), max_lines=3, placeholder=" …")
        axes.text(x, y + 0.29, title, ha="center", va="center", weight="bold", size=12, color="#0f172a", zorder=4)
        axes.text(x, y - 0.13, "\n".join(lines), ha="center", va="center", size=8, color="#334155", zorder=4)

    for room in level:
        box(*place[room], WIDTH, room, description(room), "#e0ecf9" if level[room] % 2 else "#eef4ec")
    box(0.0, -1.3, 2 * half - 0.4, ", ".join(BASE), "every room may import these two", "#f1f5f9")
    for (room, other), stops in ways.items():
        outgoing = sorted((ways[room, o][1] for o in arrows[room]), key=lambda stop: place[stop])
        incoming = sorted((ways[r, other][-2] for r in arrows if other in arrows[r]), key=lambda stop: place[stop])
        points = [(_port(place[room][0], outgoing.index(stops[1]), len(outgoing)), place[room][1] - HEIGHT / 2)]
        for x, y in (place[stop] for stop in stops[1:-1]):
            points += [(x, y + HEIGHT / 2), (x, y - HEIGHT / 2)]
        points += [(_port(place[other][0], incoming.index(stops[-2]), len(incoming)), place[other][1] + HEIGHT / 2)]
        for start, end in pairwise(points[:-1]):
            axes.plot(*zip(start, end, strict=True), color="#64748b", lw=1.2, zorder=2)
        arrow = FancyArrowPatch(
            points[-2], points[-1], arrowstyle="-|>", mutation_scale=10, shrinkA=0, shrinkB=0, color="#64748b", lw=1.2
        )
        axes.add_patch(arrow)
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)


def _port(centre: float, k: int, n: int) -> float:
    """Return where the k-th of n arrows touches a box."""
    return centre + WIDTH * ((k + 1) / (n + 1) - 0.5)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
