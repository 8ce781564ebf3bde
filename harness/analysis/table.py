"""An experiment's numbers: for each algorithm and panel what was reached, how sure, at what cost, and how far from the paper."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.analysis import curves, published, selection
from harness.analysis.selection import Stored
from harness.analysis.statistics import mean
from harness.errors import BadInput
from harness.specs.experiment import Experiment
from harness.specs.recipes import FigureRecipe

Row = dict[str, Any]


class Spread(NamedTuple):
    """A mean over seeds, and the standard deviation between them: None for one seed."""

    mean: float
    sd: float | None


def rows(experiment: Experiment, runs: Sequence[Stored], at: Sequence[float], targets: Sequence[float]) -> list[Row]:
    """Return a row for each panel, number of samples and algorithm, as plain data.

    A row has the options of its panel; `algorithm`, `samples`, `seeds` and the seeds that `diverged` before; for every estimator
    and split the mean over seeds with the standard deviation between them, `<estimator> <split>`; of the recipe's estimator on
    the test set `difference`, the mean paired difference to the best algorithm over the seeds that both have, with `interval`,
    half its 95 % confidence interval by Student's t (None for one seed); `paper`, the published value there, and `distance`, ours
    less the paper's; and for every target the samples and CPU seconds at the first mark where the test estimate reaches it, means
    over the `reached` seeds.
    All estimates of a row's panel are over the same points: as many as all its runs were evaluated on.

    Args:
        experiment: whose recipe says which estimator counts and where the published curves are.
        runs: the experiment's.
        at: numbers of samples; if empty the recipe's, else the largest mark that all algorithms have.
        targets: nats; if empty the recipe's.

    Raises:
        BadInput: runs of one panel differ in more than algorithm and seed, or no run has a mark at `at`.
    """
    recipe = experiment.figure or FigureRecipe(estimator=curves.estimator_of(experiment, runs))
    at, targets = at or experiment.table.at, targets or experiment.table.targets
    if not any(map(curves.sound, runs)):
        raise BadInput(f"no run of {experiment.name} has a row yet: go on with `harness sweep {experiment.called}`")
    found: list[Row] = []
    asked: dict[float, None] = {}  # in order, each once
    for panel in _panels(runs):
        here = selection.select(runs, panel)
        name = ", ".join(f"{option} {value}" for option, value in panel.items() if value is not None)
        selection.require_alike(here, f"the table's part for {name}")
        for samples in at or [_shared(here)]:
            asked[samples] = None
            found += _compare(recipe, panel, here, samples, targets)
    if not found:
        have = ", ".join(curves.nearest(runs, samples) for samples in asked)
        said = f"no run of {experiment.name} has a row at {', '.join(f'{samples:,.0f}' for samples in asked)} samples"
        raise BadInput(f"{said}: choose marks with --at, the nearest are {have}")
    return found


def _panels(runs: Iterable[Stored]) -> list[dict[str, Any]]:
    """Return the options by which panels differ, each combination that there is once, in order."""
    panels = [selection.panel(record.spec) for record, _ in runs]
    distinct = [panel for i, panel in enumerate(panels) if panel not in panels[:i]]
    distinct.sort(key=lambda p: (str(p["dataset"]), p["nz"] or 0, p["n-train"] or math.inf))
    return distinct


def _farthest(stored: Stored) -> float:
    """Return the farthest mark of a run."""
    return max((curves.mark(stored[0], row) for row in curves.sound(stored)), default=0.0)


def _shared(runs: Sequence[Stored]) -> float:
    """Return the largest number of samples at which every algorithm has a row; the largest of all where they share none."""
    marks: dict[str, set[float]] = {}
    for record, rows_ in runs:
        own = {curves.mark(record, row) for row in rows_}
        marks.setdefault(record.spec["algorithm"]["name"], set()).update(own)
    shared = set.intersection(*marks.values())
    return max(shared or set.union(*marks.values()), default=0.0)


def _compare(
    recipe: FigureRecipe,
    panel: Mapping[str, Any],
    runs: Sequence[Stored],
    samples: float,
    targets: Sequence[float],
) -> list[Row]:
    """Return the rows of one panel at one number of samples."""
    there: dict[str, dict[int, Mapping[str, Any]]] = {record.spec["algorithm"]["name"]: {} for record, _ in runs}
    lost: dict[str, list[int]] = {name: [] for name in there}
    for stored in runs:
        name, seed = stored[0].spec["algorithm"]["name"], stored[0].spec["seed"]
        row = curves.row_at(stored, samples)
        if row is not None:
            there[name][seed] = row
        elif stored[0].status == "diverged" and _farthest(stored) < samples:
            lost[name].append(seed)
    if not any(there.values()):
        return []
    points = curves.common_points([row for by_seed in there.values() for row in by_seed.values()])
    main: dict[str, dict[int, float]] = {name: {} for name in there}
    for name, by_seed in there.items():
        for seed, one in by_seed.items():
            if (value := curves.value(one, recipe.estimator, "test", points)) is not None:
                main[name][seed] = value
    best = max((n for n in main if main[n]), key=lambda n: statistics.fmean(main[n].values()), default=None)
    out = []
    for name, by_seed in there.items():
        line: Row = {**panel, "algorithm": name, "samples": samples, "seeds": sorted(by_seed), "diverged": lost[name]}
        for estimator, split in points:
            values = [curves.value(one, estimator, split, points) for one in by_seed.values()]
            line[f"{estimator} {split}"] = _spread([value for value in values if value is not None])
        rivals = sum(map(bool, main.values())) > 1
        line |= _difference(main[name], main[best]) if best is not None and main[name] and rivals else {}
        line |= _published(recipe, panel, name, samples, main[name])
        own = [stored for stored in runs if stored[0].spec["algorithm"]["name"] == name]
        judged = curves.points(own, recipe.estimator)
        line["targets"] = [_reaching(judged, target) for target in targets]
        line["estimator"] = recipe.estimator
        out.append(line)
    return out


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _difference(own: Mapping[int, float], best: Mapping[int, float]) -> Row:
    """Return the mean paired difference to the best, and half its confidence interval."""
    if own == best or not own.keys() & best.keys():
        return {"difference": 0.0 if own == best else None, "interval": None}
    pairs = mean([own[seed] - best[seed] for seed in own.keys() & best.keys()])
    return {"difference": pairs.mean, "interval": pairs.interval}


def _published(
    recipe: FigureRecipe,
    panel: Mapping[str, Any],
    algorithm: str,
    samples: float,
    values: Mapping[int, float],
) -> Row:
    """Return the published test value at so many samples, and our distance from it; nothing where there is none."""
    curve = published.reference(recipe, panel)
    value = curve and published.published_at(str(recipe.reference), curve, algorithm, "test", samples)
    distance = statistics.fmean(values.values()) - value if value and values else None
    return {"paper": value or None, "distance": distance}


def _reaching(data: pd.DataFrame, target: float) -> Row:
    """Return what it cost to reach a target on the test set: at the first mark that does, mean over the seeds that do."""
    costs = []
    for _, curve in data[data["split"] == "test"].groupby("run"):
        over = curve[curve["nats"] >= target]
        if not over.empty:
            costs.append((over["samples"].iloc[0], over["cpu_seconds"].iloc[0]))
    samples, seconds = [statistics.fmean(cost) for cost in zip(*costs, strict=True)] if costs else (None, None)
    judged = data["run"].nunique()
    return {"target": target, "samples": samples, "cpu_seconds": seconds, "reached": len(costs), "of": judged}


def plain(rows_: Sequence[Row]) -> list[Row]:
    """Return rows as JSON has them."""
    return [{n: v._asdict() if isinstance(v, Spread) else v for n, v in row.items()} for row in rows_]
