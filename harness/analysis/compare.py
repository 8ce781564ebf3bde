"""Two runs, selections or stores compared: differences at common marks, paired over seeds, and what a target cost each.

A side is a run's id or the beginning of one, a group of the store, or a folder (a run, a group or a store), and after a colon
the options that its runs have: `figure2:algo=aevb,nz=20`, `../other/results:nz=20`.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.analysis import chosen, curves, foreign, selection
from harness.analysis.machines import SECONDS, time_unit
from harness.analysis.reliability import doubts, unreliable
from harness.analysis.statistics import Difference, difference, mean
from harness.analysis.stored_run import Row, StoredRun
from harness.errors import BadInput, suggestion
from harness.specs.where import in_words, parse_selection
from harness.store.record import Record
from harness.store.store import Store


class Side(NamedTuple):
    """One side: the selection as it was given, its runs, and the run, group or folder that it names."""

    name: str
    runs: list[StoredRun]
    of: str


class AtMark(NamedTuple):
    """Both sides at a mark: means over seeds, the first minus the second, all over so many points, and which is unreliable.

    `spent` are the samples and the datapoints of each side there, means over seeds, as far as they are known.
    """

    samples: float
    first: float
    second: float
    difference: Difference
    points: int
    unreliable: tuple[bool, bool] = (False, False)
    spent: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})  # a default that nobody changes

    @property
    def half_width(self) -> float | None:
        """Half-width of the 95 % confidence interval of the difference; None for one seed."""
        return self.difference.interval


class TargetCost(NamedTuple):
    """What it cost until the mean over seeds reached a target, at a mark that both sides have; None for a side that never did.

    CPU seconds of different machines are in units of each machine's calibration kernel, as `unit` says.
    """

    target: float
    samples: tuple[float | None, float | None]
    cpu: tuple[float | None, float | None]
    unit: str


class Comparison(NamedTuple):
    """Both sides in one panel.

    Attributes:
        panel: its options in words.
        sides: its runs of either side.
        left_out: in words, runs that are left out, as they diverged, failed or have no rows.
        marks: the comparison at every mark that both have.
        target_cost: what a target cost each side; None where they share no mark.
        doubts: in words, which of the estimates are not to be trusted by their own diagnostics; of each side's the last.
        foreign: in words, which runs are somebody else's, and whose.
    """

    panel: str
    sides: tuple[list[StoredRun], list[StoredRun]]
    left_out: list[str]
    marks: list[AtMark]
    target_cost: TargetCost | None
    doubts: list[str] = []  # noqa: RUF012  # a default that nobody changes
    foreign: list[str] = []  # noqa: RUF012  # the same


def side(store: Store, text: str, known: dict[Path, Record] | None = None) -> Side:
    """Return the runs that a text means.

    Args:
        store: where.
        text: the selection.
        known: as of `chosen.load`: what was read for the other side.

    Raises:
        BadInput: it means none.
    """
    name = parse_selection(text).name
    return Side(text, chosen.load(store, text, folders=True, known=known), name)


def sides_of(store: Store, first: str, second: str) -> tuple[Side, Side]:
    """Return both sides; raises as `side`. No record is read twice, though both may be chosen from the same runs."""
    known: dict[Path, Record] = {}
    return side(store, first, known), side(store, second, known)


def compare(
    first: Side, second: Side, estimator: str, split: str = "test", target: float | None = None
) -> list[Comparison]:
    """Compare two sides in every panel (data set, nz, n-train) that both have.

    Where both have some of the same algorithms, or of the same models, those are compared each with itself.

    Args:
        first: one side.
        second: the other.
        estimator: whose estimates.
        split: over which points.
        target: nats to be reached; by default the lower of both means at the last mark that both have.

    Raises:
        BadInput: they have nothing in common, one has several runs for one place, or they were trained on different data.
    """
    compare = [option for option in ("algo", "model") if _told_apart_by(option, first, second)]
    panels = selection.panel_options([*first.runs, *second.runs], compare=compare)
    several_models = len({run.option("model") for run in (*first.runs, *second.runs)}) > 1
    each_with_itself = [name for name in ("algo", *(("model",) if several_models else ())) if name not in compare]
    options = (*each_with_itself, *panels)
    places = [_places(one, options) for one in (first, second)]
    unit = time_unit([*first.runs, *second.runs])
    out = []
    for place in sorted(places[0].keys() & places[1].keys(), key=_in_order):
        sides = places[0][place], places[1][place]
        _require_same_data(sides)
        words = " ".join(f"{name}={value}" for name, value in zip(options, place, strict=True) if value is not None)
        usable = [[run for run in runs if _usable(run)] for runs in sides]
        left_out = [f"{run.id} ({run.status})" for runs in sides for run in runs if not _usable(run)]
        paired = _paired(usable)
        left_out += [
            f"{run.id} (seed {run.seed} is of {name} alone)"
            for name, runs, kept in zip("AB", usable, [{run.seed for run in runs} for runs in paired], strict=True)
            for run in runs
            if run.seed not in kept
        ]
        marks = _at_marks(paired, estimator, split)
        said = [
            f"{name}: {why}"
            for name, runs in zip("AB", paired, strict=True)
            for why in _doubts(runs, marks, estimator, split)
        ]
        others = [f"{name}: {who}" for name, runs in zip("AB", paired, strict=True) for who in foreign.remarks(runs)]
        cost = _target_cost(paired, marks, target, unit)
        out.append(Comparison(words, sides, left_out, marks, cost, said, others))
    if not any(one.marks for one in out):
        raise BadInput(
            f"{first.name!r} and {second.name!r} have no estimate by {estimator} on {split} at a mark in common in the same "
            f"panel ({', '.join(panels)}): see `harness show RUN`"
        )
    return out


def _told_apart_by(option: str, first: Side, second: Side) -> bool:
    """Say whether the sides have nothing in common of an option; BadInput if then one has several values of it."""
    values = [{str(run.option(option)) for run in one.runs} for one in (first, second)]
    if values[0] & values[1]:
        return False
    if max(map(len, values)) > 1:
        has = " and ".join(
            f"{one.name!r} has {in_words({option: ' and '.join(sorted(own))})}"
            for one, own in zip((first, second), values, strict=True)
        )
        raise BadInput(f"{has}: choose one of each, as in GROUP:{option}=NAME")
    return True


def _usable(run: StoredRun) -> bool:
    return run.status not in ("diverged", "failed") and bool(run.rows)


def what_differs(comparison: Comparison) -> list[selection.Unlike]:
    """Return the settings in which the sides of a panel differ, seeds aside."""
    first, second = (runs[0] for runs in comparison.sides)
    flat = [selection.flat("", {**run.spec, "seed": None, "evaluation": None}) for run in (first, second)]
    names = sorted(flat[0].keys() | flat[1].keys())
    unequal = [n for n in names if flat[0].get(n) != flat[1].get(n) and not n.endswith(".file")]
    for option in ("algo", "model"):
        if first.option(option) != second.option(option):  # a setting that only one of them has says nothing more
            unequal = [n for n in unequal if n in flat[0] and n in flat[1]]
    return [selection.Unlike(name.strip("."), flat[0].get(name), flat[1].get(name)) for name in unequal]


def _in_order(place: tuple[Any, ...]) -> list[tuple[bool, bool, Any]]:
    """Return what places are sorted by: words, then numbers, and all points of a training set after any number of them."""
    return [(value is None, isinstance(value, int), value if value is not None else 0) for value in place]


class _Place(NamedTuple):
    """The runs of a panel; where the first of each kind is, runs of a kind being seeds of each other; and where each seed is."""

    runs: list[StoredRun]
    kinds: list[int]
    seeds: dict[int, int]


def _places(one: Side, options: Sequence[str]) -> dict[tuple[Any, ...], list[StoredRun]]:
    """Return a side's runs by panel; BadInput if two of one panel differ in more than their seed, or in nothing."""
    out: dict[tuple[Any, ...], _Place] = {}
    for run in one.runs:
        others, kinds, seeds = out.setdefault(tuple(run.options(options).values()), _Place([], [], {}))
        near = sorted({*kinds, seeds.get(run.seed, 0)}) if others else []  # what they tell, all others tell
        for other in (others[i] for i in near):
            found = selection.unlike(other, run)
            if found or other.seed == run.seed:
                begin = one.of
                advice = (
                    f"say which, as in {begin}:{found.setting.rpartition('.')[2].replace('_', '-')}=VALUE"
                    if found
                    else ("name the group or the folder of one")
                )
                what = (
                    f"differ in {found.setting}, {found.first} and {found.second}"
                    if found
                    else "are the same run in two groups"
                )
                raise BadInput(f"in {one.name!r}, {other.id} and {run.id} {what}: {advice}")
        if not any(_of_one_kind(others[i], run) for i in kinds):
            kinds.append(len(others))
        seeds[run.seed] = len(others)
        others.append(run)
    return {place: found.runs for place, found in out.items()}


def _of_one_kind(one: StoredRun, other: StoredRun) -> bool:
    """Say whether two runs differ in their seeds alone, so that what is unlike one of them is unlike the other."""
    specs = [{**run.spec, "seed": 0} for run in (one, other)]
    return specs[0] == specs[1] and (one.dataset_sha256, one.version) == (other.dataset_sha256, other.version)


def _require_same_data(sides: tuple[list[StoredRun], list[StoredRun]]) -> None:
    hashes = {run.dataset_sha256[:12] for runs in sides for run in runs if run.dataset_sha256}
    if len(hashes) > 1:
        raise BadInput(
            f"the runs were trained on different data ({' and '.join(sorted(hashes))}), so they cannot be compared"
        )


def _paired(sides: Sequence[list[StoredRun]]) -> list[list[StoredRun]]:
    """Return the runs of the seeds that both sides have; all of them where they share none."""
    shared = set.intersection(*({run.seed for run in runs} for runs in sides))
    return [[run for run in runs if not shared or run.seed in shared] for runs in sides]


def _at_marks(sides: Sequence[list[StoredRun]], estimator: str, split: str) -> list[AtMark]:
    """Return both sides at the marks that every run has, where each has an estimate if they are paired."""
    paired = {run.seed for run in sides[0]} == {run.seed for run in sides[1]}
    rows: list[list[tuple[int, dict[float, Row]]]] = [
        [(run.seed, {round(mark, 3): row for row, mark in zip(run.rows, run.marks, strict=True)}) for run in runs]
        for runs in sides
    ]
    every = [{*by_mark} for side_ in rows for _, by_mark in side_]
    out = []
    for mark in sorted(set.intersection(*every)) if all(rows) else ():
        points = curves.common_points([by_mark[mark] for side_ in rows for _, by_mark in side_])
        found = [
            {seed: e for seed, by in side_ if (e := curves.estimate(by[mark], estimator, split, points)) is not None}
            for side_ in rows
        ]
        values = [{seed: float(e["mean"]) for seed, e in one.items()} for one in found]
        if all(values) and (not paired or values[0].keys() == values[1].keys()):
            means = [mean(list(one.values())).mean for one in values]
            first, second = (any(map(unreliable, one.values())) for one in found)
            n = points[estimator, split]
            both, spent = difference(values[0], values[1]), [_spent([by[mark] for _, by in side_]) for side_ in rows]
            out.append(AtMark(mark, means[0], means[1], both, n, (first, second), (spent[0], spent[1])))
    return out


def _spent(rows: Sequence[Row]) -> dict[str, float]:
    """Return the means of samples and datapoints over rows; an older baseline does not tell the latter."""
    ledgers = [row["ledger"] for row in rows]
    names = [name for name in ("samples", "datapoints") if all(name in ledger for ledger in ledgers)]
    return {name: math.fsum(ledger[name] for ledger in ledgers) / len(ledgers) for name in names}


def _doubts(runs: Sequence[StoredRun], marks: Sequence[AtMark], estimator: str, split: str) -> list[str]:
    """Return why estimates at these marks are not to be trusted."""
    shown = {one.samples for one in marks}
    every = [
        e
        for run in runs
        for row, mark in zip(run.rows, run.marks, strict=True)
        if round(mark, 3) in shown
        for e in row["estimates"]
    ]
    return doubts(e for e in every if (e["estimator"], e["split"]) == (estimator, split))


def _target_cost(
    sides: Sequence[list[StoredRun]], marks: Sequence[AtMark], target: float | None, unit: str
) -> TargetCost | None:
    if not marks:
        return None
    if target is None:
        target = min(marks[-1].first, marks[-1].second)
    reached = (
        next((one.samples for one in marks if one.first >= target), None),
        next((one.samples for one in marks if one.second >= target), None),
    )
    return TargetCost(target, reached, (_cpu(sides[0], reached[0], unit), _cpu(sides[1], reached[1], unit)), unit)


def _cpu(runs: Sequence[StoredRun], mark: float | None, unit: str) -> float | None:
    """Return the mean CPU time at a mark; None without one, or where it is not known what a run's machine takes."""
    if mark is None:
        return None
    spent = []
    for run in runs:
        row, kernel = run.at(mark), run.calibration_seconds if unit != SECONDS else 1.0
        if row is None or not kernel:
            return None
        spent.append(row["ledger"]["cpu_seconds"] / kernel)
    return math.fsum(spent) / len(spent)


def plain(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return comparisons as plain data, by the keys of `harness compare --json`."""
    out = []
    for one in comparisons:
        marks = [
            {"samples": m.samples, "first": m.first, "second": m.second, "difference": m.difference.mean,
             "error": m.difference.error, "interval": m.half_width, "points": m.points,
             "pairs": m.difference.n if m.difference.paired else 0, "unreliable": m.unreliable,
             "datapoints": [one.get("datapoints") for one in m.spent]}
            for m in one.marks
        ]  # fmt: skip
        ids = [[run.id for run in runs] for runs in one.sides]
        cost = one.target_cost._asdict() if one.target_cost else None
        differ = [found._asdict() for found in what_differs(one)]
        facts = {"about": one.panel, "first": ids[0], "second": ids[1], "left_out": one.left_out, "differ_in": differ}
        averaged = any(run.weights == "average" for runs in one.sides for run in runs)
        out.append(
            facts
            | ({"weights": "average"} if averaged else {})
            | {"marks": marks, "target": cost, "doubts": one.doubts, "foreign": one.foreign}
        )
    return out


def estimator_of(first: Side, second: Side, given: str | None) -> str:
    """Return the estimator by which two sides are compared: the lower bound if both have it, else one that both have.

    Raises:
        BadInput: they have nothing in common, or not what was given.
    """
    there = [{name for run in one.runs for name in run.estimators} for one in (first, second)]
    shared = sorted(there[0] & there[1], key=lambda name: (name != "lower-bound", name))
    if given is None and shared:
        return shared[0]
    if given is not None and given in shared:
        return given
    has = " and ".join(
        f"{one.name!r} has {', '.join(sorted(names))}" for one, names in zip((first, second), there, strict=True)
    )
    asked = f"--y is {given!r}{suggestion(str(given), shared)}, and " if given else ""
    raise BadInput(f"{asked}{has}: " + (f"choose {' or '.join(shared)}" if shared else "they share no estimator"))
