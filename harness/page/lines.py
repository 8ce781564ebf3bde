"""What the charts of a page draw, as plain data: the curve of every run, and means over seeds with their range."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from harness import safe_text
from harness.analysis import curves, published
from harness.analysis.foreign import MARK
from harness.analysis.machines import SECONDS, comparable, time_unit
from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput
from harness.figures.labels import counter_label, estimate_label, set_label
from harness.figures.trace import limits
from harness.specs.recipes import Compared
from harness.specs.where import Where

if TYPE_CHECKING:
    import pandas as pd

COUNTERS = ("samples", "cpu_seconds", "wall_seconds", "datapoints")
"""What can be on the x axis."""

SPLITS = ("test", "train", "valid")

LETTERS = 120  # of a name in a legend


class Panel(NamedTuple):
    """A panel of the page.

    Attributes:
        about: its options in words.
        where: its options.
        runs: its runs.
        alike: whether these differ in their seed and in what is compared alone, so that there are means over seeds.
    """

    about: str
    where: Where
    runs: Sequence[StoredRun]
    alike: bool


def drawn(compared: Compared, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return all that the charts need.

    Entries:
        counters, estimators, splits: what a reader can choose, each with its label; not CPU time where it cannot be compared.
        curves: the names of curves, cut where they are long; lines refer to them by number.
        chosen: the choices at the beginning.
        panels: of each its title and, by estimator and split, the limits of the y axis.
        runs: of each its panel, curve, id, seed, status and lines; a line has its estimator, split, x by counter, y, standard
            error, and the numbers of points that are not to be trusted. The id of a foreign run has its mark.
        means: of each panel, curve, estimator and split the mean over seeds with its range, over how many seeds, and whether one
            of them is foreign.
        published: the lines of a paper, against samples.
    """
    runs, axes = _on_axes([run for panel in panels for run in panel.runs])
    compare = compared.figure.compare
    names = list(dict.fromkeys([*compared.curves, *(run.curve(compare) for run in runs)]))
    have = {run.curve(compare) for run in runs}
    curve_of = {name: k for k, name in enumerate(name for name in names if name in have)}
    estimators = list(dict.fromkeys(name for run in runs for name in run.estimators))
    judge = compared.figure.estimator or curves.estimator_of(compared, runs)
    if judge is None:  # each run has its own, which are shown as one
        estimators = ["", *estimators]
    panel_of = {run.id: k for k, panel in enumerate(panels) for run in panel.runs}
    foreign = {run.id for run in runs if run.origin is not None}
    lines: dict[str, list[dict[str, Any]]] = {run.id: [] for run in runs}
    out: dict[str, Any] = {"means": [], "panels": [{"title": panel.about, "limits": {}} for panel in panels]}
    splits: set[str] = set()
    for e, estimator in enumerate(estimators):
        data = curves.points(runs, estimator or None, compare, list(axes))
        data = data[data["split"].isin(SPLITS)]
        splits |= set(data["split"])
        for (run, split), own in _groups(data, "run", "split"):
            lines[run].append({"estimator": e, "split": split, **_line(own)})
        for (panel, split), own in _groups(data.assign(panel=data["run"].map(panel_of)), "panel", "split"):
            out["panels"][panel]["limits"].setdefault(e, {})[split] = [_short(v) for v in limits(own["nats"])]
            if panels[panel].alike:
                for (curve,), seeds in _groups(own, "curve"):
                    about = {"panel": panel, "curve": curve_of[curve], "estimator": e, "split": split}
                    marked = {} if foreign.isdisjoint(seeds["run"]) else {"foreign": True}
                    out["means"].append(about | _mean(seeds) | marked)
    labels = {
        name: estimate_label([name]) if name else "log p(x) or a bound, nats per datapoint" for name in estimators
    }
    return out | {
        "counters": [[c, words] for c, words in axes.items() if c != "datapoints" or _other_data(runs)],
        "estimators": [[_cut(n) or "each run's own", safe_text.short(labels[n].replace("\n", " "))] for n in estimators],
        "splits": [[split, set_label(split)] for split in SPLITS if split in splits],
        "curves": _unique([_cut(name) for name in curve_of]),
        "chosen": {
            "counter": compared.figure.x if compared.figure.x in axes else "samples",
            "scale": compared.figure.scale,
            "estimator": estimators.index(judge) if judge in estimators else 0,
        },
        "runs": [
            {
                "panel": panel_of[run.id], "curve": curve_of[run.curve(compare)],
                "name": _cut(run.id) + (MARK if run.id in foreign else ""), "seed": run.seed, "status": run.status,
                "lines": lines[run.id],
            }
            for run in runs
        ],
        "published": list(_published(compared, panels, curve_of)),
    }  # fmt: skip


def _on_axes(runs: Sequence[StoredRun]) -> tuple[Sequence[StoredRun], dict[str, str]]:
    """Return runs whose CPU times can be compared, and how axes of counters are called; CPU time has none if not."""
    several, unit = time_unit(runs) != SECONDS, SECONDS
    names = list(COUNTERS)
    try:
        runs, unit = comparable(runs)
    except BadInput:
        names.remove("cpu_seconds")
    labels = {name: counter_label(name, unit) for name in names}
    return runs, labels | ({"wall_seconds": f"{labels['wall_seconds']}, of several machines"} if several else {})


def _groups(data: "pd.DataFrame", *names: str) -> Iterable[tuple[tuple[Any, ...], "pd.DataFrame"]]:
    """Return the parts of a table that have the same values in these columns, with the values."""
    return [(key if isinstance(key, tuple) else (key,), part) for key, part in data.groupby(list(names), sort=False)]


def _line(points: "pd.DataFrame") -> dict[str, Any]:
    """Return the line of a run."""
    doubtful = [k for k, reliable in enumerate(points["reliable"]) if not reliable]
    own = {"x": _by_counter(points), "y": _numbers(points["nats"]), "error": _numbers(points["error"])}
    return own | ({"doubtful": doubtful} if doubtful else {})


def _mean(points: "pd.DataFrame") -> dict[str, Any]:
    """Return the mean over seeds of a curve, with its range."""
    first, *others = [name for name in COUNTERS if name in points and points[name].notna().all()]
    found = curves.over_seeds(points, first, *others)
    x = {first: _numbers(found["x"]), **{name: _numbers(found[name]) for name in others}}
    y = {name: _numbers(found[column]) for name, column in (("y", "nats"), ("low", "low"), ("high", "high"))}
    return {"x": x, **y, "seeds": [int(n) for n in found["seeds"]]}


def _by_counter(points: "pd.DataFrame") -> dict[str, list[float | None]]:
    return {name: _numbers(points[name]) for name in COUNTERS if name in points and points[name].notna().any()}


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_short(value) for value in values]


def _short(value: float) -> float | None:
    """Return a number to six digits, which is more than a picture shows; None if it is not finite."""
    if not math.isfinite(value):
        return None
    found = float(f"{value:.6g}")
    return int(found) if found == int(found) else found


def _cut(name: str) -> str:
    return safe_text.short(name, LETTERS)


def _unique(names: Sequence[str]) -> list[str]:
    """Return names, with a number behind those that are the same since they were cut."""
    return [name if names.index(name) == k else f"{name} #{k + 1}" for k, name in enumerate(names)]


def _other_data(runs: Sequence[StoredRun]) -> bool:
    """Say whether samples do not tell how many training points were presented."""
    ledgers = [run.rows[-1]["ledger"] for run in runs if run.rows]
    return any(one.get("datapoints", one["samples"]) != one["samples"] for one in ledgers)


def _published(compared: Compared, panels: Sequence[Panel], curve_of: dict[str, int]) -> Iterable[dict[str, Any]]:
    """Yield the lines of the paper that an experiment is compared with."""
    figure = compared.figure.reference
    for k, panel in enumerate(panels):
        name = published.reference(compared.figure, panel.where)
        points = published.published(figure, name) if figure and name else []
        for algorithm, split in dict.fromkeys((point.algorithm, point.split) for point in points):
            own = [p for p in points if (p.algorithm, p.split) == (algorithm, split) and math.isfinite(p.samples)]
            if own and figure:
                line = {"x": _numbers(p.samples for p in own), "y": _numbers(p.value for p in own)}
                about = {"panel": k, "curve": curve_of.get(algorithm), "split": split}
                yield about | {"name": f"{algorithm} ({published.label(figure)})"} | line
