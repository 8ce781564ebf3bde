"""What figures call things: axes, estimators, lines of the train and the test set."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis import foreign
from harness.analysis.machines import SECONDS, time_unit
from harness.analysis.stored_run import StoredRun
from harness.safe_text import label
from harness.store.record import BOUNDS

if TYPE_CHECKING:
    import pandas as pd

COUNTERS = {
    "samples": "training samples evaluated",
    "datapoints": "training points presented",
    "fantasies": "fantasy points sampled",
    "steps": "parameter updates",
    "cpu_seconds": "CPU seconds of training",
    "wall_seconds": "wall seconds of training",
}

MOST_SEEDS = 5  # more in a row are told by the first and the last

MOST_CURVES = 50  # of a figure; more cannot be told apart

DASHES: dict[str, Any] = {"test": "", "train": (4, 2), "valid": (1, 1.5)}

SPLITS = ("test", "train")  # that are drawn where nobody says otherwise


def dashes_of(splits: Collection[str]) -> dict[str, Any]:
    """Return how the lines of these splits are dashed: as always, but one alone is solid."""
    return {split: dashes if len(splits) > 1 else "" for split, dashes in DASHES.items() if split in splits}


def set_label(split: str) -> str:
    """Return what a legend calls the points of a split, such as `test set`."""
    return f"{'validation' if split == 'valid' else split} set"


def seeds_in_words(runs: Iterable[StoredRun]) -> str:
    """Return which seeds runs have, such as `seed 0` and `seeds 0, 1, 2`; empty if there are no runs."""
    seeds = sorted({run.seed for run in runs})
    every = len(seeds) > MOST_SEEDS and seeds == list(range(seeds[0], seeds[-1] + 1))
    words = f"{seeds[0]} to {seeds[-1]}" if every else ", ".join(map(str, seeds))
    return f"seed{'s' if len(seeds) > 1 else ''} {words}" if seeds else ""


def differing_settings(
    curves: Mapping[str, Sequence[StoredRun]], hidden: Collection[str] = (), varied: Collection[str] = ()
) -> dict[str, str]:
    """Return for each curve the settings of its algorithm in which curves or its own runs differ, in words.

    Args:
        curves: their runs, by name.
        hidden: options that are told elsewhere, as names of curves or panels have them.
        varied: options that are told of the curves that have them even if others have none, as the experiment varies them.
    """
    values: dict[str, dict[str, list[Any]]] = {}  # by setting and curve
    for name, runs in curves.items():
        for run in runs:
            for setting, value in run.spec["algorithm"]["settings"].items():
                own = values.setdefault(setting, {}).setdefault(name, [])
                if value not in own:
                    own.append(value)
    told: dict[str, list[str]] = {name: [] for name in curves}
    for setting, by_curve in values.items():
        option, rivals = setting.replace("_", "-"), list(by_curve.values())
        alike = all(len(own) == 1 and own == rivals[0] for own in rivals)
        if option in hidden or (alike and (option not in varied or len(by_curve) == len(curves))):
            continue
        for name, own in by_curve.items():
            *some, last = map(str, sorted(own, key=str))
            told[name].append(f"{option} " + (f"{', '.join(some)} or {last} by panel" if some else last))
    return {name: ", ".join(words) for name, words in told.items()}


def over_points(data: "pd.DataFrame") -> str:
    """Return over how many points the estimates of a table are, such as `over 2,000 train and 465 or 2,000 test points`."""
    numbers = {split: sorted(set(own["points"])) for split, own in data.groupby("split")}
    words = [
        f"{' or '.join(f'{n:,}' for n in numbers[split])} {split}"
        for split in ("train", "valid", "test")
        if split in numbers
    ]
    return f"over {' and '.join(words)} points" if words else "none"


def of_weights(runs: Iterable[StoredRun]) -> str:
    """Return what to say behind other words where estimates are of the mean of parameters over steps; else nothing."""
    return "; of averaged weights" if any(run.weights == "average" for run in runs) else ""


def of_others(runs: Sequence[StoredRun], counter: str = "samples") -> str:
    """Return what to say behind other words where runs are somebody else's, or of several machines; else nothing.

    Args:
        runs: that are shown.
        counter: what is on the x axis.
    """
    by = sorted({run.origin.by or "nobody knows whom" for run in runs if run.origin})
    said = f"; {foreign.number(runs)} of {len(runs)} runs are foreign, by {label(' and '.join(by))}" if by else ""
    several = counter == "wall_seconds" and time_unit(runs) != SECONDS
    return said + ("; wall seconds are of several machines" if several else "")


def counter_label(counter: str, unit: str = SECONDS) -> str:
    """Return what an axis of a counter is called; `unit` is that of CPU times."""
    if counter == "cpu_seconds" and unit != SECONDS:
        return f"CPU time of training, {unit}"
    return COUNTERS.get(counter, label(counter.replace("_", " ")))


def estimate_label(estimators: Collection[str], directions: Collection[str] = ()) -> str:
    """Return what an axis of estimates is called.

    Args:
        estimators: those whose estimates are shown.
        directions: of their bias: lower, exact or upper.
    """
    if len(estimators) == 1:
        (name,) = estimators
        what = f"lower bound by\n{label(name)}" if name in BOUNDS[1:] else f"log p(x) by {label(name)}"
        what = "lower bound" if name == BOUNDS[0] else what
    else:
        bounds = sorted({"lower", "upper"} & set(directions))
        kind = f"a {bounds[0]} bound" if len(bounds) == 1 else "a bound"
        if bounds:  # in three lines, to be no longer than a panel is high
            return f"log p(x) or\n{kind} on it,\nnats per datapoint"
        what = "log p(x)"
    return f"{what}, nats per datapoint"
