"""Which method, how surely, at what price: entrants ranked in every panel, and a performance profile across panels.

An entrant is a curve of the experiment, such as an algorithm, and one whose settings were tuned is another than the same with
settings that were given.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harness.analysis import curves, foreign, profiles, selection, table
from harness.analysis.machines import SECONDS, comparable
from harness.analysis.profiles import BAND, Profile, Times
from harness.analysis.reliability import doubt
from harness.analysis.statistics import Difference, difference, mean
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.specs.recipes import Compared
from harness.specs.where import in_words

COUNTERS = ("samples", "cpu_seconds")
"""What a time to a target is counted in."""


class NothingRanked(BadInput):
    """No panel can be ranked; what runs reached can be looked at all the same."""


class Entry(NamedTuple):
    """An entrant in a panel.

    Attributes:
        entrant: its name.
        values: its estimates by seed, nats per datapoint; seeds that diverged before have none.
        diverged: these seeds.
        group: 1 for the best and all that are not surely worse, 2 for the best of the others and so on.
        to_best: its difference to the best, paired over the seeds that both have; None of the best and where there is none.
        times: what the target cost, by counter.
        regret: how far it lay below the best curve, nats, mean over the marks that all have: they are spaced evenly in the
            logarithm of samples. None without such a mark, or without an estimate at the last.
        doubts: why its estimates are not to be trusted.
        foreign: which of its runs are somebody else's, and whose.
    """

    entrant: str
    values: Mapping[int, float]
    diverged: Sequence[int]
    group: int
    to_best: Difference | None
    times: Mapping[str, Times]
    regret: float | None
    doubts: Sequence[str]
    foreign: Sequence[str] = ()

    @property
    def mean(self) -> float:
        """Mean over seeds; minus infinity without one."""
        return statistics.fmean(self.values.values()) if self.values else -math.inf


class Panel(NamedTuple):
    """A panel's entrants, the best first.

    Attributes:
        about: its options in words.
        mark: the number of samples at which they are compared, or the word for where.
        estimator: whose estimates, on the test set.
        target: nats, which curves are to reach: estimates over the points of every mark, as opposed to more at the end.
        entries: the entrants.
    """

    about: str
    mark: float | str
    estimator: str
    target: float | None
    entries: Sequence[Entry]


class Ranking(NamedTuple):
    """All panels, and the profile of each entrant by counter; none where there are fewer than `FEW_PANELS`.

    Attributes:
        panels: in order.
        profiles: by counter, the best score first.
        unit: of CPU time: seconds, or calibration kernels where the runs are of several machines.
        left_out: in words, which panels have no ranking, and why.
    """

    panels: Sequence[Panel]
    profiles: Mapping[str, Sequence[Profile]]
    unit: str
    left_out: Sequence[str] = ()


def rank(
    experiment: Compared,
    runs: Sequence[StoredRun],
    tuning: Mapping[str, Mapping[str, float]],
    at: float | str | None = None,
    target: float | None = None,
) -> Ranking:
    """Rank the entrants of an experiment.

    Args:
        experiment: whose recipe says what is compared, where and by which estimator.
        runs: the experiment's.
        tuning: what tuning cost, by id of the runs whose settings were tuned.
        at: where entrants are compared; by default that one of the table's marks where the most seeds are, the last of several.
        target: nats to be reached on the test set; by default what the curve of every seed of the second best of the panel
            reaches.

    Raises:
        NothingRanked: no panel has two entrants with a row, and an estimator that its runs have in common.
        BadInput: runs of one panel differ in more than seed and what is compared, or their CPU times cannot be compared
            (`harness.analysis.machines`).
    """
    left_out: list[str] = []
    options, estimator = selection.panel_options(runs, experiment), curves.estimator_of(experiment, runs)
    (_, unit), every, panels = comparable(runs), selection.index(runs), []
    for where in table.in_order([run.options(options) for run in runs]):
        here = every.meeting(where)
        about = in_words(where)
        judge = estimator or curves.estimator_of(experiment, here)
        if judge is None:
            left_out.append(f"{about or 'all runs'}: {_by_whom(here)}")
            continue
        selection.require_alike(
            here, f"the ranking of {about or 'all runs'}", experiment.figure.compare, experiment.figure.differ
        )
        entrants = _entrants(here, experiment.figure.compare, tuning)
        went_on = [run for run in here if run.status != "diverged"] or here
        shared = table.shared_mark(went_on, experiment.figure.compare)
        marks = [at] if at is not None else experiment.table.at or [shared]
        mark = max(reversed(marks), key=lambda one: _seeds_at(entrants, one))
        panel = _panel(about, entrants, tuning, judge, mark, target, unit)
        if len(panel.entries) > 1:
            panels.append(panel)
    if not panels:
        why = "; ".join(left_out) or "no panel has two entrants with an estimate at the same mark"
        raise NothingRanked(f"nothing of {experiment.name} can be ranked: {why}")
    times = {
        counter: [{entry.entrant: entry.times[counter] for entry in panel.entries} for panel in panels]
        for counter in COUNTERS
    }
    return Ranking(
        panels, {counter: profiles.profiles(of_panels) for counter, of_panels in times.items()}, unit, left_out
    )


def _by_whom(runs: Sequence[StoredRun]) -> str:
    """Return in words by whom runs are evaluated that have no estimator in common."""
    names: dict[str, dict[str, None]] = {}
    for run in runs:
        names.setdefault(run.algorithm, {}).update(dict.fromkeys(run.estimators))
    told = ", ".join(f"{algorithm} by {' and '.join(own) or 'none'}" for algorithm, own in names.items())
    return f"its runs are evaluated by different estimators ({told}), and only estimates by one and the same are ranked"


def _seeds_at(entrants: Mapping[str, Sequence[StoredRun]], mark: float | str) -> int:
    """Return how many seeds every entrant has at a mark."""
    return min(sum(run.at(mark) is not None for run in own) for own in entrants.values())


def _entrants(
    runs: Sequence[StoredRun], compare: Sequence[str], tuning: Mapping[str, object]
) -> dict[str, list[StoredRun]]:
    """Return the runs of a panel by entrant."""
    found: dict[str, list[StoredRun]] = {}
    both = {run.id in tuning for run in runs} == {True, False}
    for run in runs:
        apart = (", tuned" if run.id in tuning else ", not tuned") if both else ""
        found.setdefault(run.curve(compare) + apart, []).append(run)
    return found


def _panel(
    about: str,
    entrants: Mapping[str, Sequence[StoredRun]],
    tuning: Mapping[str, Mapping[str, float]],
    judge: str,
    mark: float | str,
    target: float | None,
    unit: str,
) -> Panel:
    """Return a panel; without entries where fewer than two entrants have an estimate."""
    rows = {name: {run.seed: row for run in own if (row := run.at(mark))} for name, own in entrants.items()}
    over = curves.common_points([row for by_seed in rows.values() for row in by_seed.values()])
    found = {
        name: {seed: e for seed, row in by_seed.items() if (e := curves.estimate(row, judge, "test", over))}
        for name, by_seed in rows.items()
    }
    values = {name: {seed: float(e["mean"]) for seed, e in own.items()} for name, own in found.items()}
    best_first = sorted(values, key=lambda name: -statistics.fmean(values[name].values()) if values[name] else math.inf)
    if sum(map(bool, values.values())) < 2:
        return Panel(about, mark, judge, target, [])
    if target is None:  # of the curves, as it is they that reach it, which may be over fewer points than the ends
        second = best_first[1]
        reached = (curves.of_curve(row, judge, "test") for row in rows[second].values())
        target = min((value for value in reached if value is not None), default=min(values[second].values()))
    there = {name: own for name, own in entrants.items() if values[name]}
    groups, regrets = _groups(best_first, values), _regrets(there, judge, mark)
    entries = [
        Entry(
            name,
            values[name],
            [run.seed for run in entrants[name] if run.status == "diverged" and run.seed not in values[name]],
            groups[name],
            _to(values[name], values[best_first[0]]) if name != best_first[0] else None,
            {counter: _times(entrants[name], judge, mark, target, counter, tuning, unit) for counter in COUNTERS},
            regrets.get(name),
            list(dict.fromkeys(words for e in found[name].values() if (words := doubt(e)))),
            foreign.remarks(entrants[name]),
        )
        for name in best_first
    ]
    return Panel(about, mark, judge, target, entries)


def _to(own: Mapping[int, float], best: Mapping[int, float]) -> Difference | None:
    """Return the difference to the best, paired over the seeds that both have."""
    both = own.keys() & best.keys()
    if not both:
        return difference(own, best) if own and best else None
    return mean([own[seed] - best[seed] for seed in sorted(both)])


def _groups(best_first: Sequence[str], values: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
    """Return of each entrant its group: those whose difference to the group's best has 0 in its 95 % interval.

    One seed says nothing about the spread between seeds, so nobody is surely worse by it; one without an estimate is last.
    """
    groups: dict[str, int] = {}
    left = list(best_first)
    while left:
        leader = left[0]
        tied = []
        for name in left:
            found = _to(values[name], values[leader]) if name != leader else None
            if bool(values[name]) == bool(values[leader]) and (
                found is None or found.interval is None or abs(found.mean) <= found.interval
            ):
                tied.append(name)
        groups |= dict.fromkeys(tied, len(set(groups.values())) + 1)
        left = [name for name in left if name not in tied]
    return groups


def _samples_at(runs: Sequence[StoredRun], mark: float | str) -> float:
    """Return up to how many samples curves are looked at."""
    return math.inf if isinstance(mark, str) else mark * (1 + 1e-6) + 1


def _times(
    runs: Sequence[StoredRun],
    estimator: str,
    mark: float | str,
    target: float,
    counter: str,
    tuning: Mapping[str, Mapping[str, float]],
    unit: str,
) -> Times:
    """Return what the target cost: at the first mark of each seed whose test estimate reaches it, until the common mark."""
    limit, out = _samples_at(runs, mark), {run.seed: math.inf for run in runs}
    kernels = {
        run.seed: run.calibration_seconds or math.nan if counter == "cpu_seconds" and unit != SECONDS else 1.0
        for run in runs
    }
    for line in curves.estimates(runs, estimator):
        if line["split"] == "test" and line["nats"] >= target and line["mark"] <= limit:
            out[line["seed"]] = min(out[line["seed"]], line[counter] / kernels[line["seed"]])
    charged = [tuning[run.id].get(counter, 0.0) / kernels[run.seed] for run in runs if run.id in tuning]
    return Times(out, statistics.fmean(charged) if charged else 0.0)


def _regrets(entrants: Mapping[str, Sequence[StoredRun]], estimator: str, mark: float | str) -> dict[str, float]:
    """Return the mean distance of each curve, a mean over seeds, from the best at every mark that all have."""
    limit = next(_samples_at(own, mark) for own in entrants.values())
    at_marks: dict[str, dict[float, float]] = {}
    for name, own in entrants.items():
        by_mark: dict[float, list[float]] = {}
        for line in curves.estimates(own, estimator):
            if line["split"] == "test" and line["mark"] <= limit:
                by_mark.setdefault(round(line["mark"], 3), []).append(line["nats"])
        if by_mark:
            at_marks[name] = {m: statistics.fmean(nats) for m, nats in by_mark.items()}
    shared = set.intersection(*(set(one) for one in at_marks.values())) if at_marks else set()
    if not shared:
        return {}
    best = {m: max(one[m] for one in at_marks.values()) for m in shared}
    return {name: statistics.fmean(best[m] - one[m] for m in shared) for name, one in at_marks.items()}


def plain(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking as `harness rank --json` has it; what is infinite was not reached, and is null."""

    def number(value: float | None) -> float | None:
        return value if value is not None and math.isfinite(value) else None

    panels = [
        {
            "about": panel.about, "mark": panel.mark, "estimator": panel.estimator, "target": panel.target,
            "entrants": [
                {
                    "entrant": entry.entrant, "group": entry.group, "mean": number(entry.mean),
                    "values": {str(seed): value for seed, value in entry.values.items()},
                    "diverged": list(entry.diverged),
                    "difference": entry.to_best.mean if entry.to_best else None,
                    "interval": entry.to_best.interval if entry.to_best else None,
                    "times": {
                        counter: {
                            "by_seed": {str(seed): number(cost) for seed, cost in one.by_seed.items()},
                            "tuning": one.tuning, "median": number(one.median),
                        }
                        for counter, one in entry.times.items()
                    },
                    "regret": entry.regret, "doubts": list(entry.doubts), "foreign": list(entry.foreign),
                }
                for entry in panel.entries
            ],
        }
        for panel in ranking.panels
    ]  # fmt: skip
    of_counters = {
        counter: [
            {
                **one._asdict(),
                "ratios": [number(ratio) for ratio in one.ratios],
                "band": [(x, *ends) for x, ends in zip(BAND, one.band, strict=True)],
            }
            for one in ranking.profiles[counter]
        ]
        for counter in COUNTERS
    }
    return {"panels": panels, "profiles": of_counters, "unit": ranking.unit, "left_out": list(ranking.left_out)}
