"""An experiment's numbers: for each curve of each panel what was reached, how sure, at what cost, and how far from the paper."""

import math
import statistics
from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

from harness.analysis import curves, foreign, machines, published, selection
from harness.analysis.reliability import doubt
from harness.analysis.statistics import mean
from harness.analysis.stored_run import Row as StoredRow
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.specs.recipes import Compared, FigureRecipe
from harness.specs.where import Where

Row = dict[str, Any]

NOWHERE = {
    "end": "is done, so none has an end: give --at samples, or go on with `harness sweep`",
    "best-valid": "is done and has estimates on the validation split at its marks: give --at samples, make runs with --splits "
    "train,valid,test, or go on with `harness sweep`",
}
"""Why no run has a mark that is a word."""

COLUMNS = {"algo": "algorithm"}
"""What the columns of options are called that are not called like the option."""


class Spread(NamedTuple):
    """A mean over seeds, its standard error, and the standard deviation between seeds: both None for one seed."""

    mean: float
    error: float | None
    sd: float | None


def rows(
    experiment: Compared, runs: Sequence[StoredRun], at: Sequence[float | str], targets: Sequence[float]
) -> list[Row]:
    """Return a row for each panel, mark and curve, as plain data.

    A row has the options of its panel and those that are compared (by default `algorithm`), and its `version` where runs of
    several are shown; the `mark`, as asked for, at which curves are compared, and the means over seeds of what was spent there,
    `samples` and `datapoints` (None where an older baseline does not tell); `seeds`, the seeds that `diverged` before, and those
    of runs that have not come there and are `unfinished`; for every estimator and split the mean over seeds with its standard
    error, `<estimator> <split>`, and in `points` over how many points it is; for documents also `<estimator> <split>
    perplexity`, of which lower is better; of its `estimator` on the test set `difference`, the mean paired difference to the
    best curve over the seeds that both have, with its standard `error` and `interval`, the half-width of its 95 % confidence
    interval by Student's t (both None for one seed); `paper`, the published value there, and `distance`, ours minus the
    paper's; and for every target the samples and CPU seconds at the first mark where the test estimate reaches it, means over
    the `reached` seeds. `unreliable` names those of its columns that rest on estimates which are not to be trusted by their own
    diagnostics, and `doubts` says why. `foreign` says which runs are somebody else's, and whose.
    CPU times of several machines are in calibration kernels (`harness.analysis.machines`), as `cpu_unit` says.
    Rows about the mean of parameters over steps have `weights`, "average".
    Where runs have no estimator in common, each is evaluated by its own, and rows also have the `bias` of theirs.
    All estimates of a row's panel are over the same points: as many as all its runs were evaluated on there. Targets are reached
    by the curve, whose points are those of every mark.

    Args:
        experiment: whose recipe says what is compared by which estimator, and where the published curves are.
        runs: the experiment's.
        at: numbers of samples, "end" for the end of each run that is done, or "best-valid" for the mark of each run
            that was best on the validation split (`harness.store.best`); if empty the recipe's, else the largest mark that
            all curves have, or "end" where all budgets are of datapoints.
        targets: nats; if empty the recipe's.

    Raises:
        BadInput: runs of one panel differ in more than seed and what is compared, no run has a mark at `at`, or targets are
            asked for and CPU times cannot be compared.
    """
    panels = selection.panel_options(runs, experiment)
    at, targets = at or experiment.table.at, targets or experiment.table.targets
    if not any(run.sound_rows for run in runs):
        raise BadInput(f"no run of {experiment.name} has a row yet: continue with `harness sweep {experiment.called}`")
    runs, unit = machines.comparable(runs) if targets else (runs, machines.time_unit(runs))
    estimator = curves.estimator_of(experiment, runs)
    versions = any(run.version for run in runs)
    found: list[Row] = []
    every = selection.index(runs)
    asked: dict[float | str, None] = {}  # in order, each once
    for panel in in_order([run.options(panels) for run in runs]):
        here = every.meeting(panel)
        name = ", ".join(f"{option} {value}" for option, value in panel.items() if value is not None)
        selection.require_alike(
            here, f"the table's part for {name or 'all runs'}", experiment.figure.compare, experiment.figure.differ
        )
        for mark in at or [shared_mark(here, experiment.figure.compare)]:
            asked[mark] = None
            rows_of = _panel(experiment.figure, panel, here, estimator, mark, targets, versions)
            found += [row | {"cpu_unit": unit} for row in rows_of]
    if not found:
        numbers = [mark for mark in asked if not isinstance(mark, str)]
        said = " or ".join(NOWHERE[mark] for mark in asked if isinstance(mark, str))
        if not numbers:
            raise BadInput(f"no run of {experiment.name} {said}")
        at_samples = f"has a row at {', '.join(f'{samples:,.0f}' for samples in numbers)} samples"
        have = ", ".join(curves.nearest(runs, samples) for samples in numbers)
        raise BadInput(f"no run of {experiment.name} {at_samples}: choose marks with --at, the nearest are {have}")
    return found


def in_order(panels: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each panel once, in order; all points of a training set come after any number of them."""

    def place(panel: Where) -> list[tuple[int, Any]]:
        return [
            (3 if name == "n-train" else 0, 0) if v is None else (1, v) if isinstance(v, int | float) else (2, str(v))
            for name, v in panel.items()
        ]

    return sorted(selection.distinct(panels), key=place)


def _farthest(run: StoredRun) -> float:
    """Return the farthest mark of a run."""
    return max(run.sound_marks, default=0.0)


def shared_mark(runs: Sequence[StoredRun], compare: Sequence[str]) -> float | str:
    """Return where curves are compared unless told otherwise.

    It is the largest number of samples at which every curve has a row, the largest of all where they share none; or "end" where
    every run has a budget of datapoints and none of samples, and every curve has a run that is done.
    """
    marks: dict[str, set[float]] = {}
    done: dict[str, bool] = {}
    for run in runs:
        name = run.curve(compare)
        marks.setdefault(name, set()).update(run.marks)
        done[name] = done.get(name, False) or run.at("end") is not None
    if all(done.values()) and all(
        {"samples", "datapoints"} & run.record.budget.keys() == {"datapoints"} for run in runs
    ):
        return "end"
    shared = set.intersection(*marks.values())
    return max(shared or set.union(*marks.values()), default=0.0)


def _panel(
    recipe: FigureRecipe,
    panel: Where,
    runs: Sequence[StoredRun],
    estimator: str | None,
    mark: float | str,
    targets: Sequence[float],
    versions: bool,
) -> list[Row]:
    """Return the rows of one panel at one mark, each with its version where the table tells `versions` apart."""
    members: dict[str, list[StoredRun]] = {}
    for run in runs:
        members.setdefault(run.curve(recipe.compare), []).append(run)
    reached = {
        name: {run.seed: row for run in own if (row := run.at(mark)) is not None} for name, own in members.items()
    }
    if not any(reached.values()):
        return []
    points = curves.common_points([row for by_seed in reached.values() for row in by_seed.values()])
    estimators = {name: curves.estimator_for(own[0], estimator) for name, own in members.items()}
    values = {name: _values(by_seed, estimators[name], points) for name, by_seed in reached.items()}
    doubted = {name: _doubted(by_seed, points) for name, by_seed in reached.items()}
    best = max((n for n in values if values[n]), key=lambda n: statistics.fmean(values[n].values()), default=None)
    several = sum(map(bool, values.values())) > 1
    out = []
    for name, own in members.items():
        compared = {COLUMNS.get(option, option): value for option, value in own[0].options(recipe.compare).items()}
        compared |= {"version": own[0].version or "now"} if versions else {}
        diverged = [
            run.seed
            for run in own
            if run.seed not in reached[name]
            and run.status == "diverged"
            and (isinstance(mark, str) or _farthest(run) < mark)
        ]
        spent = [row["ledger"] for row in reached[name].values()]
        line: Row = {**panel, **compared, "mark": mark, **_spent(spent)}
        line |= {"seeds": sorted(reached[name]), "diverged": diverged, "unfinished": unfinished(own, reached[name])}
        for key in points:
            line[" ".join(key)] = _spread(list(_values(reached[name], key[0], points, key[1]).values()))
            if perplexities := _perplexities(reached[name], key, points):
                line[f"{' '.join(key)} perplexity"] = _spread(perplexities)
        line["points"] = {" ".join(key): n for key, n in points.items()}
        line |= _difference(values[name], values[best]) if best is not None and values[name] and several else {}
        there = line["samples"] if isinstance(mark, str) else mark
        line |= _published(recipe, panel, own[0].algorithm, there or 0.0, values[name])
        data = curves.estimates(own, estimators[name]) if targets or estimator is None else []
        line["targets"] = [_reaching(data, target) for target in targets]
        line["estimator"] = estimators[name]
        line["unreliable"] = [" ".join(key) for key in doubted[name]]
        compared_by = (estimators[name], "test"), (estimators[best], "test") if best is not None else None
        if compared_by[0] in doubted[name] or (best is not None and compared_by[1] in doubted[best]):
            line["unreliable"].append("difference")
        line["doubts"], line["foreign"] = list(doubted[name].values()), foreign.remarks(own)
        line |= {"weights": own[0].weights} if own[0].weights != "last" else {}
        if estimator is None:
            line["bias"] = data[0]["direction"] if data else ""
        out.append(line)
    return out


def unfinished(runs: Sequence[StoredRun], reached: Container[int]) -> list[int]:
    """Return the seeds of runs that may go on, of those that have not come to a mark."""
    return sorted(run.seed for run in runs if run.seed not in reached and run.status not in ("done", "diverged"))


def _values(
    by_seed: Mapping[int, StoredRow], estimator: str, points: Mapping[tuple[str, str], int], split: str = "test"
) -> dict[int, float]:
    """Return the estimates of those seeds that have one, nats per datapoint."""
    found = {seed: curves.value(row, estimator, split, points) for seed, row in by_seed.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _perplexities(
    by_seed: Mapping[int, StoredRow], key: tuple[str, str], points: Mapping[tuple[str, str], int]
) -> list[float]:
    """Return the perplexities of those seeds whose estimate has one."""
    found = [curves.estimate(row, *key, points) or {} for row in by_seed.values()]
    return [e["perplexity"] for e in found if math.isfinite(e.get("perplexity", math.nan))]


def _doubted(by_seed: Mapping[int, StoredRow], points: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], str]:
    """Return by estimator and split why one of the seeds' estimates is not to be trusted."""
    found = {}
    for key in points:
        for row in by_seed.values():
            e = curves.estimate(row, *key, points)
            if e is not None and (words := doubt(e)):
                found[key] = words
    return found


def _spent(ledgers: Sequence[Mapping[str, float]]) -> Row:
    """Return the means of samples and datapoints; None of what is not known."""
    known = {name: [ledger[name] for ledger in ledgers if name in ledger] for name in ("samples", "datapoints")}
    return {name: statistics.fmean(own) if own and len(own) == len(ledgers) else None for name, own in known.items()}


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    found = mean(values)
    return Spread(found.mean, found.error, statistics.stdev(values) if len(values) > 1 else None)


def _difference(own: Mapping[int, float], best: Mapping[int, float]) -> Row:
    """Return the mean paired difference to the best, its standard error, and the half-width of its confidence interval."""
    if own == best or not own.keys() & best.keys():
        return {"difference": 0.0 if own == best else None, "error": None, "interval": None}
    pairs = mean([own[seed] - best[seed] for seed in own.keys() & best.keys()])
    return {"difference": pairs.mean, "error": pairs.error, "interval": pairs.interval}


def _published(
    recipe: FigureRecipe,
    panel: Where,
    algorithm: str,
    samples: float,
    values: Mapping[int, float],
) -> Row:
    """Return the published test value at so many samples, and our distance from it; nothing where there is none."""
    curve = published.reference(recipe, panel)
    value = curve and published.published_at(str(recipe.reference), curve, algorithm, "test", samples)
    distance = statistics.fmean(values.values()) - value if value and values else None
    return {"paper": value or None, "distance": distance}


def _reaching(estimates: Sequence[Row], target: float) -> Row:
    """Return what it cost to reach a target on the test set: at the first mark that does, mean over the seeds that do."""
    reached: dict[str, Row] = {}  # the first by each run
    for one in estimates:
        if one["split"] == "test" and one["nats"] >= target:
            reached.setdefault(one["run"], one)
    costs = [(one["samples"], one["cpu_seconds"]) for _, one in sorted(reached.items())]
    samples, seconds = [statistics.fmean(cost) for cost in zip(*costs, strict=True)] if costs else (None, None)
    with_estimates = len({one["run"] for one in estimates})
    return {"target": target, "samples": samples, "cpu_seconds": seconds, "reached": len(costs), "of": with_estimates}


def plain(rows_: Sequence[Row]) -> list[Row]:
    """Return rows as JSON has them."""
    return [{n: v._asdict() if isinstance(v, Spread) else v for n, v in row.items()} for row in rows_]
