"""Where models stand: for each what it reached on the test set, from which side that is known, how surely, and at what cost.

Models of one table need not have an estimator in common: of a tractable one log p(x) is exact, of one with latents it is known
from below, and of an unnormalised one from both sides. So every figure comes with its estimator and its side.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from harness.analysis import foreign, machines, published, selection
from harness.analysis.reliability import doubt
from harness.analysis.stored_run import Row as StoredRow
from harness.analysis.stored_run import StoredRun
from harness.analysis.table import unfinished
from harness.errors import BadInput
from harness.specs.experiment import Experiment
from harness.specs.recipes import ModelRow
from harness.specs.where import Where
from harness.store.record import BOUNDS

Row = dict[str, Any]

SIDES = ("exact", "lower", "upper")
"""Of log p(x), on which an estimate lies in expectation."""


class Found(NamedTuple):
    """An estimate on the test set, the mean over seeds.

    Attributes:
        estimator: whose.
        direction: on which side of log p(x) it lies in expectation.
        nats: per datapoint; higher is better.
        se_points: its standard error over the choice of points, which seeds share.
        se_estimator: its standard error over the estimator's own noise.
        se_seeds: its standard error over seeds; None of one seed.
        points: how many points it is over.
    """

    estimator: str
    direction: str
    nats: float
    se_points: float
    se_estimator: float
    se_seeds: float | None
    points: int


class _Line(NamedTuple):
    """The runs of a model by an algorithm; none, and no algorithm, where there is no run."""

    recipe: ModelRow
    where: Where
    algorithm: str
    runs: Sequence[StoredRun]


def rows(
    experiment: Experiment, runs: Sequence[StoredRun], cpu_seconds: float | Literal["all"] | None = None
) -> list[Row]:
    """Return a row for each model of the experiment's table and each algorithm that it was trained by, as plain data.

    A row has the title of the `model`, its `algorithm`, its `seeds`, those that `diverged` or are `unfinished`, and what was
    spent: `samples`, `datapoints` and `cpu_seconds`, means over seeds. Of the test set it has `log_p`, which is exact or from
    below; `at_most`, which is from above; the `bound`; the `published` value with its `source`, and `difference`, ours minus the
    published one. None stands for what there is not, and a model without runs has a row of its own. `doubts` says which figures
    are not to be trusted, and why; `foreign` which runs are somebody else's, and whose; `cpu_unit` what `cpu_seconds` are
    counted in.

    Estimates made after training (`harness evaluate`) count where they are of the parameters that the row is about.

    Args:
        experiment: whose `[[table.row]]` say which models.
        runs: the experiment's.
        cpu_seconds: at most so many are spent on each model: it stands where it was at its last mark within them. "all" is what
            the model with the fewest spent in all. By default each stands where the recipe says, else where it ended.

    Raises:
        BadInput: runs of one model differ in more than seed and algorithm, the recipe's `at` is a number, or runs are of several
            machines and a number of CPU seconds is asked for, or one does not say what the calibration kernel took there.
    """
    if any(not isinstance(mark, str) for mark in experiment.table.at):
        raise BadInput(f'{experiment.path}: at of a [table] with rows names samples: choose "end" or "best-valid"')
    at = next(map(str, experiment.table.at), "end")
    runs, unit = machines.comparable(runs)
    if isinstance(cpu_seconds, float) and unit != machines.SECONDS:
        raise BadInput(
            f"--budget is cpu-seconds={cpu_seconds:g}, and the runs are of several machines, whose CPU times are in {unit}: give "
            "cpu-seconds, without a number"
        )
    index, lines = selection.index(runs), list[_Line]()
    for recipe in experiment.table.rows:
        for where in recipe.panels():
            here = index.meeting(where)
            selection.require_alike(here, f"the row {recipe.title.format(**where)!r}")
            for name in dict.fromkeys(run.algorithm for run in here) or ("",):
                lines.append(_Line(recipe, where, name, [run for run in here if run.algorithm == name]))
    fewest = min((_whole_cost(line.runs) for line in lines if line.runs), default=math.inf)
    within = fewest if cpu_seconds == "all" else cpu_seconds
    return [_row(experiment, line, at, within) | {"cpu_unit": unit} for line in lines]


def _whole_cost(runs: Sequence[StoredRun]) -> float:
    """Return the CPU seconds of the longest of a line's runs."""
    return max((float(run.sound_rows[-1]["ledger"]["cpu_seconds"]) for run in runs if run.sound_rows), default=math.inf)


def _row(experiment: Experiment, line: _Line, at: str, cpu_seconds: float | None) -> Row:
    recipe, where, algorithm, runs = line
    reached = {run.seed: (run, row) for run in runs if (row := _at(run, at, cpu_seconds)) is not None}
    ledgers = [row["ledger"] for _, row in reached.values()]
    figures = _figures([_estimates(run, row, at) for run, row in reached.values()])
    exact, low, high = (_chosen(recipe, figures, side) for side in SIDES)
    log_p = exact or low
    at_most = high if exact is None else None
    bound = next((one for one, _ in figures if one.estimator == BOUNDS[0]), None)
    table, panel = experiment.table.reference, recipe.reference
    value = published.final(table, panel.format(**where), algorithm) if table and panel else None
    ours = log_p if recipe.against == "log-p" else bound
    shown = [one for one in (log_p, at_most, bound) if one is not None]
    return {
        "model": recipe.title.format(**where),
        "algorithm": algorithm or None,
        "seeds": sorted(reached),
        "diverged": sorted(run.seed for run in runs if run.status == "diverged"),
        "unfinished": unfinished(runs, reached),
        **{name: _mean(ledgers, name) for name in ("samples", "datapoints", "cpu_seconds")},
        "log_p": log_p and log_p._asdict(),
        "at_most": at_most and at_most._asdict(),
        "bound": bound and bound._asdict(),
        "published": value,
        "against": recipe.against,
        "source": published.label(str(table)) if value is not None else None,
        "difference": ours.nats - value if ours is not None and value is not None else None,
        "doubts": list(dict.fromkeys(words for one, own in figures if one in shown for words in own)),
        "foreign": foreign.remarks(runs),
    }


def _at(run: StoredRun, at: str, cpu_seconds: float | None) -> StoredRow | None:
    """Return where a run stands; None where it has nothing there."""
    if cpu_seconds is None:
        return run.at(at)
    within = [row for row in run.sound_rows if row["ledger"]["cpu_seconds"] <= cpu_seconds]
    return within[-1] if within else None


def _chosen(recipe: ModelRow, figures: Sequence[tuple[Found, list[str]]], side: str) -> Found | None:
    """Return the estimate of log p(x) on a side: that of the recipe's estimator, else the one nearest to log p(x)."""
    own = [one for one, _ in figures if one.direction == side and one.estimator not in BOUNDS]
    named = [one for one in own if one.estimator == recipe.estimator]
    return (min if side == "upper" else max)(named or own, key=lambda one: one.nats, default=None)


def _estimates(run: StoredRun, row: StoredRow, at: str) -> list[Mapping[str, Any]]:
    """Return the estimates on the test set of the parameters that a row is about, those made after training the last."""
    weights = {"last": at if at == "best-valid" else None}.get(run.weights, run.weights)
    after = [
        one["estimate"]
        for one in (run.folder.evaluations() if run.folder is not None else ())
        if one["ledger"].get("samples") == row["ledger"]["samples"] and one["estimate"].get("weights") == weights
    ]
    return [e for e in (*row["estimates"], *after) if e["split"] == "test" and math.isfinite(e["mean"])]


def _figures(by_seed: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[Found, list[str]]]:
    """Return what every seed has an estimate of, each over the most points that all have, with the doubts about it.

    Of several estimates by one estimator over as many points the last counts.
    """
    found = []
    kinds = dict.fromkeys((e["estimator"], e["direction"]) for own in by_seed for e in own)
    for kind in kinds:
        each = [{e["points"]: e for e in own if (e["estimator"], e["direction"]) == kind} for own in by_seed]
        if shared := set.intersection(*map(set, each)):
            points = max(shared)
            members = [own[points] for own in each]
            nats = [float(e["mean"]) for e in members]
            n = len(members)
            figure = Found(
                *kind,
                statistics.fmean(nats),
                statistics.fmean(e["se_points"] for e in members),
                math.hypot(*(e["se_estimator"] for e in members)) / n,
                statistics.stdev(nats) / math.sqrt(n) if n > 1 else None,
                points,
            )
            found.append((figure, [words for e in members if (words := doubt(e))]))
    return found


def _mean(ledgers: Sequence[Mapping[str, float]], name: str) -> float | None:
    known = [ledger[name] for ledger in ledgers if name in ledger]
    return statistics.fmean(known) if known and len(known) == len(ledgers) else None
