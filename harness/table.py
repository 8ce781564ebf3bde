"""An experiment's numbers: for each algorithm and panel what was reached, how sure, at what cost, and how far from the paper."""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness import curves, differences
from harness.curves import Stored
from harness.errors import BadInput
from harness.experiment import Experiment, FigureRecipe
from harness.report import quantity

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
        here = curves.select(runs, panel)
        name = ", ".join(f"{option} {value}" for option, value in panel.items() if value is not None)
        curves.require_alike(here, f"the table's part for {name}")
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
    panels = [curves.panel(record.spec) for record, _ in runs]
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
    pairs = differences.mean([own[seed] - best[seed] for seed in own.keys() & best.keys()])
    return {"difference": pairs.mean, "interval": pairs.interval}


def _published(
    recipe: FigureRecipe,
    panel: Mapping[str, Any],
    algorithm: str,
    samples: float,
    values: Mapping[int, float],
) -> Row:
    """Return the published test value at so many samples, and our distance from it; nothing where there is none."""
    curve = curves.reference(recipe, panel)
    value = curve and curves.published_at(str(recipe.reference), curve, algorithm, "test", samples)
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


# -- as text


def cells(rows_: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heads and cells for people; columns in which nothing stands are left out."""
    estimates = list(dict.fromkeys(key for row in rows_ for key in row if key.endswith((" train", " test"))))
    targets = [target["target"] for target in rows_[0]["targets"]] if rows_ else []
    judge = rows_[0]["estimator"] if rows_ else ""
    options = [name for name in curves.PANEL if any(row[name] is not None for row in rows_)]
    heads = [
        *options,
        "algorithm",
        "samples",
        "seeds",
        *estimates,
        f"{judge}: less the best",
        "paper",
        "less the paper",
    ]
    heads += [f"{cost} to {target:g}" for target in targets for cost in ("samples", "CPU s")]
    lines = []
    for row in rows_:
        line = ["all" if row[name] is None else str(row[name]) for name in options]
        lost = f" ({len(row['diverged'])} diverged)" if row["diverged"] else ""
        line += [row["algorithm"], f"{row['samples']:,.0f}", f"{len(row['seeds'])}{lost}"]
        line += [_with_error(*(row.get(key) or (None, None))) for key in estimates]
        line += [
            "best" if row.get("difference") == 0 else _with_error(row.get("difference"), row.get("interval"), sign=True)
        ]
        line += [_with_error(row["paper"], None), _with_error(row["distance"], None, sign=True)]
        for target in row["targets"]:
            short = "" if target["reached"] == target["of"] else f" ({target['reached']} of {target['of']})"
            for cost in ("samples", "cpu_seconds"):
                reached = "" if not target["of"] else "never"
                line.append(reached if target[cost] is None else f"{quantity(target[cost])}{short}")
        lines.append(line)
    kept = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    return [heads[i] for i in kept], [[line[i] for i in kept] for line in lines]


def _with_error(value: float | None, error: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{value:{'+' if sign else ''}.2f}" + ("" if error is None else f" ± {error:.2f}")


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---"] * len(heads)
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rule, *lines))


def latex(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a LaTeX tabular, with booktabs' rules."""

    def row(cells_: Sequence[str]) -> str:
        safe = (cell.replace("_", r"\_").replace("%", r"\%").replace(" ± ", r" $\pm$ ") for cell in cells_)
        return " & ".join(safe) + r" \\"

    body = [rf"\begin{{tabular}}{{{'l' * len(heads)}}}", r"\toprule", row(heads), r"\midrule", *map(row, lines)]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def comma_separated(rows_: Sequence[Row]) -> str:
    """Return CSV for programs: a number a cell, and full precision."""
    flat = []
    for row in rows_:
        line: Row = {}
        for name, value in row.items():
            if isinstance(value, Spread):
                line |= {name: value.mean, f"{name} sd": value.sd}
            elif name == "targets":
                for target in value:
                    line |= {
                        f"{cost} to {target['target']:g}": target[cost]
                        for cost in ("samples", "cpu_seconds", "reached")
                    }
            else:
                line[name] = " ".join(map(str, value)) if isinstance(value, list) else value
        flat.append(line)
    names = list(dict.fromkeys(name for line in flat for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue().rstrip("\n")
