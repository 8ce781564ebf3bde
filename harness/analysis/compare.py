"""Two runs, selections or stores side by side: differences at common marks, paired over seeds, and what targets cost each.

A side is a run's id or the beginning of one, a group of the store, or a folder (a run, a group or a store), and behind a colon
the options that its runs have: `figure2:algo=aevb,nz=20`, `../other/results:nz=20`.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.analysis import curves, selection
from harness.analysis.selection import Stored
from harness.analysis.statistics import Difference, difference, mean
from harness.errors import BadInput, suggestion
from harness.specs.options import conditions
from harness.store.run import Run
from harness.store.store import Store


class Side(NamedTuple):
    """One side: how it was called, and its runs."""

    name: str
    runs: list[Stored]


class Gap(NamedTuple):
    """Both sides at a mark: means over seeds, and the first less the second."""

    samples: float
    first: float
    second: float
    difference: Difference

    @property
    def half(self) -> float | None:
        """Half the 95 % confidence interval of the difference; None where one seed tells none."""
        return self.difference.interval


class Race(NamedTuple):
    """What it took until the mean over seeds reached a target, at a mark that both have; None for a side that never did.

    CPU seconds of different machines are in units of each one's calibration kernel, as `unit` says.
    """

    target: float
    samples: tuple[float | None, float | None]
    cpu: tuple[float | None, float | None]
    unit: str


class Comparison(NamedTuple):
    """Both sides in one panel.

    Attributes:
        about: the panel's options in words.
        sides: its runs of either side.
        lost: in words, runs that are left out, as they diverged, failed or have no rows.
        gaps: at every mark that both have.
        race: to the mean that both reach; None where they share no mark.
    """

    about: str
    sides: tuple[list[Stored], list[Stored]]
    lost: list[str]
    gaps: list[Gap]
    race: Race | None


def side(store: Store, text: str) -> Side:
    """Return the runs that a side's words mean.

    Raises:
        BadInput: there are none.
    """
    name, _, only = text.partition(":")
    folder, wanted = Path(name), conditions(only, f"{text!r}")
    if folder.is_dir():
        paths = [folder] if (folder / "run.json").is_file() else sorted(p.parent for p in folder.glob("*/run.json"))
        runs = [Run(path.resolve()) for path in paths] or list(Store(folder).runs())
    else:
        runs = list(store.runs(name)) if "/" not in name and (store.root / name).is_dir() else [store.find(name)]
    if not runs:
        raise BadInput(f"{name!r} has no runs: name a run, a group or a folder with runs; see `harness list`")
    found = selection.load(runs)
    known = selection.options(found)
    for option, values in wanted.items():
        if option not in known:
            raise BadInput(f"{text!r} has option {option!r}{suggestion(option, known)}, which no run of {name!r} has")
        there = {str(selection.option(record.spec, option)) for record, _ in found}
        found = selection.wanted(found, {option: values})
        if not found:
            have = " and ".join(sorted(there)[:5])
            raise BadInput(f"no run of {name!r} has {option} {' or '.join(sorted(values))}: there is {have}")
    return Side(text, found)


def compare(
    first: Side, second: Side, estimator: str, split: str = "test", target: float | None = None
) -> list[Comparison]:
    """Compare two sides in every panel (dataset, nz, n-train) that both have; for each algorithm if both have the same ones.

    Args:
        first: one side.
        second: the other.
        estimator: whose estimates.
        split: over which points.
        target: nats to be reached; by default the lower of both means at the last mark that both have.

    Raises:
        BadInput: nothing that both have, several runs for one place, or runs on different data.
    """
    names = [{record.spec["algorithm"]["name"] for record, _ in one.runs} for one in (first, second)]
    shared = names[0] & names[1]
    if not shared and max(map(len, names)) > 1:
        raise BadInput(
            f"{first.name!r} is by {' and '.join(sorted(names[0]))} and {second.name!r} by {' and '.join(sorted(names[1]))}: "
            "choose one of each, as in GROUP:algo=NAME"
        )
    options = (*(("algo",) if shared else ()), *selection.PANEL)
    places = [_places(one, options) for one in (first, second)]
    unit = _unit([*first.runs, *second.runs])
    out = []
    for place in sorted(places[0].keys() & places[1].keys(), key=_in_order):
        sides = places[0][place], places[1][place]
        _require_same_data(sides)
        words = " ".join(f"{name}={value}" for name, value in zip(options, place, strict=True) if value is not None)
        whole = [[stored for stored in runs if _whole(stored)] for runs in sides]
        lost = [
            f"{record.run} ({record.status})" for runs in sides for record, own in runs if not _whole((record, own))
        ]
        paired = _paired(whole)
        gaps = _gaps(paired, estimator, split)
        out.append(Comparison(words, sides, lost, gaps, _race(paired, gaps, target, unit)))
    if not any(one.gaps for one in out):
        raise BadInput(
            f"{first.name!r} and {second.name!r} have no estimate by {estimator} on {split} at a mark in common in the same "
            "panel (dataset, nz, n-train): see `harness show RUN`"
        )
    return out


def _whole(stored: Stored) -> bool:
    return stored[0].status not in ("diverged", "failed") and bool(stored[1])


def what_differs(comparison: Comparison) -> list[tuple[str, Any, Any]]:
    """Return the settings in which the sides of a panel differ, seeds aside: name and both values."""
    specs = [{**runs[0][0].spec, "seed": None, "evaluation": None} for runs in comparison.sides]
    flat = [selection.flat("", spec) for spec in specs]
    names = sorted(flat[0].keys() | flat[1].keys())
    unequal = [n for n in names if flat[0].get(n) != flat[1].get(n) and not n.endswith(".file")]
    if specs[0]["algorithm"]["name"] != specs[1]["algorithm"]["name"]:  # what only one of them has says nothing more
        unequal = [n for n in unequal if n in flat[0] and n in flat[1]]
    return [(name.strip("."), flat[0].get(name), flat[1].get(name)) for name in unequal]


def _in_order(place: tuple[Any, ...]) -> list[tuple[bool, bool, Any]]:
    """Return what places are sorted by: words, then numbers, and all points of a training set behind any number of them."""
    return [(value is None, isinstance(value, int), value if value is not None else 0) for value in place]


def _places(one: Side, options: Sequence[str]) -> dict[tuple[Any, ...], list[Stored]]:
    """Return a side's runs by panel; BadInput if two of one differ in more than their seed, or in nothing."""
    out: dict[tuple[Any, ...], list[Stored]] = {}
    for stored in one.runs:
        place = tuple(selection.option(stored[0].spec, name) for name in options)
        others = out.setdefault(place, [])
        for other, _ in others:
            found = selection.first_difference(other, stored[0])
            if found or other.spec["seed"] == stored[0].spec["seed"]:
                begin = one.name.partition(":")[0]
                advice = (
                    f"say which, as in {begin}:{found[0].rpartition('.')[2].replace('_', '-')}=VALUE"
                    if found
                    else ("name the group or the folder of one")
                )
                what = f"differ in {found[0]}, {found[1]} and {found[2]}" if found else "are the same, of two groups"
                raise BadInput(f"in {one.name!r}, {other.run} and {stored[0].run} {what}: {advice}")
        others.append(stored)
    return out


def _require_same_data(sides: tuple[list[Stored], list[Stored]]) -> None:
    hashes = [
        record.provenance[-1]["dataset"]["sha256"][:12] for runs in sides for record, _ in runs if record.provenance
    ]
    if len(set(hashes)) > 1:
        raise BadInput(
            f"the runs were trained on different data ({' and '.join(sorted(set(hashes)))}), so they compare nothing"
        )


def _paired(sides: Sequence[list[Stored]]) -> list[list[Stored]]:
    """Return the runs of the seeds that both sides have; all of them where they share none."""
    shared = set.intersection(*({record.spec["seed"] for record, _ in runs} for runs in sides))
    return [[stored for stored in runs if not shared or stored[0].spec["seed"] in shared] for runs in sides]


def _gaps(sides: Sequence[list[Stored]], estimator: str, split: str) -> list[Gap]:
    """Return the differences at the marks that every run has, where each has an estimate if they are paired."""
    paired = {s[0].spec["seed"] for s in sides[0]} == {s[0].spec["seed"] for s in sides[1]}
    rows: list[list[tuple[Any, dict[float, Any]]]] = [
        [(s[0].spec["seed"], {round(curves.mark(s[0], row), 3): row for row in s[1]}) for s in runs] for runs in sides
    ]
    every = [{*by_mark} for side_ in rows for _, by_mark in side_]
    out = []
    for mark in sorted(set.intersection(*every)) if all(rows) else ():
        points = curves.common_points([by_mark[mark] for side_ in rows for _, by_mark in side_])
        values = [
            {seed: v for seed, by in side_ if (v := curves.value(by[mark], estimator, split, points)) is not None}
            for side_ in rows
        ]
        if all(values) and (not paired or values[0].keys() == values[1].keys()):
            means = [mean(list(one.values())).mean for one in values]
            out.append(Gap(mark, means[0], means[1], difference(values[0], values[1])))
    return out


def _unit(runs: Sequence[Stored]) -> str:
    """Return the unit in which CPU times of these runs compare."""
    machines = {record.provenance[-1].get("machine", {}).get("cpu") for record, _ in runs if record.provenance}
    return "CPU seconds" if len(machines) < 2 else "calibration kernels"


def _race(sides: Sequence[list[Stored]], gaps: Sequence[Gap], target: float | None, unit: str) -> Race | None:
    if not gaps:
        return None
    if target is None:
        target = min(gaps[-1].first, gaps[-1].second)
    marks = (
        next((gap.samples for gap in gaps if gap.first >= target), None),
        next((gap.samples for gap in gaps if gap.second >= target), None),
    )
    return Race(target, marks, (_cpu(sides[0], marks[0], unit), _cpu(sides[1], marks[1], unit)), unit)


def _cpu(runs: Sequence[Stored], mark: float | None, unit: str) -> float | None:
    """Return the mean CPU time at a mark; None without one, or where a run does not know its machine's kernel."""
    if mark is None:
        return None
    spent = []
    for stored in runs:
        row, kernel = curves.row_at(stored, mark), curves.kernel(stored[0]) if unit != "CPU seconds" else 1.0
        if row is None or kernel is None:
            return None
        spent.append(row["ledger"]["cpu_seconds"] / kernel)
    return math.fsum(spent) / len(spent)


def plain(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons as plain data."""
    out = []
    for one in comparisons:
        gaps = [
            {"samples": g.samples, "first": g.first, "second": g.second, "difference": g.difference.mean,
             "interval": g.half, "pairs": g.difference.n if g.difference.paired else 0}
            for g in one.gaps
        ]  # fmt: skip
        ids = [[record.run for record, _ in runs] for runs in one.sides]
        race = one.race._asdict() if one.race else None
        differs = [{"setting": name, "first": a, "second": b} for name, a, b in what_differs(one)]
        facts = {"about": one.about, "first": ids[0], "second": ids[1], "lost": one.lost, "differ_in": differs}
        out.append(facts | {"marks": gaps, "target": race})
    return out


def shown(gaps: Sequence[Gap]) -> list[Gap]:
    """Return the gaps that a table shows: at powers of ten, and the last."""
    return [gap for gap in gaps if abs(math.log10(max(gap.samples, 1.0)) % 1) < 1e-6 or gap is gaps[-1]]


def estimator_of(first: Side, second: Side, given: str | None) -> str:
    """Return whose estimates two sides are compared by: the lower bound if both have it, else what both have.

    Raises:
        BadInput: they have nothing in common, or not what was given.
    """
    there = [
        {e["estimator"] for _, rows in one.runs for row in rows for e in row["estimates"]} for one in (first, second)
    ]
    shared = sorted(there[0] & there[1], key=lambda name: (name != "lower-bound", name))
    if given is None and shared:
        return str(shared[0])
    if given in shared:
        return str(given)
    has = " and ".join(
        f"{one.name!r} has {', '.join(sorted(names))}" for one, names in zip((first, second), there, strict=True)
    )
    asked = f"--y is {given!r}{suggestion(str(given), shared)}, and " if given else ""
    raise BadInput(f"{asked}{has}: " + (f"choose {' or '.join(shared)}" if shared else "they share no estimator"))
