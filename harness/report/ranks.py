"""Rankings, for people."""

import math
from collections.abc import Iterator, Sequence

from harness.analysis.foreign import MARK as FOREIGN
from harness.analysis.machines import SECONDS
from harness.analysis.profiles import FEW_PANELS, LARGEST_RATIO
from harness.analysis.rank import COUNTERS, Entry, Panel, Ranking
from harness.analysis.reliability import MARK
from harness.analysis.statistics import mean
from harness.report.text import counted, interval_text, marked, print_table, quantity, with_error
from harness.safe_text import show

HEADS = {"samples": "samples", "cpu_seconds": "CPU time"}

STANDING = ("rank", "entrant", "test ± se", "difference to best ± se", "95% interval", "seeds", "regret")

COST = (
    *(f"{head} to target" for head in HEADS.values()), "seeds that do", *(f"{head} of tuning" for head in HEADS.values())
)  # fmt: skip

MEANT = (
    "nats per datapoint on the test set, means over seeds; ± is the standard error (se) over seeds; differences to the best "
    "are paired over seeds, with the 95 % confidence interval of each alone; of entrants with the same rank none is surely "
    "better"
)
"""What the numbers of a ranking are, in a sentence."""


def print_ranking(ranking: Ranking) -> None:
    """Print every panel and the performance profiles."""
    show(MEANT)
    for panel in ranking.panels:
        where = panel.mark if isinstance(panel.mark, str) else f"{panel.mark:,.0f} samples"
        show("", f"{panel.about}: {panel.estimator} at {where}")
        print_table(STANDING, [standing(panel, entry) for entry in panel.entries])
        show(f"cost of reaching {panel.target:.2f}, the median over seeds, with tuning")
        print_table(("entrant", *COST), [[entry.entrant, *cost(entry)] for entry in panel.entries])
        for entry in panel.entries:
            for words in entry.doubts:
                show(f"{MARK} {entry.entrant}: {words}")
    for words in (*of_others(ranking), *not_ranked(ranking)):
        show(words)
    show("", units(ranking))
    _print_profiles(ranking)


def of_others(ranking: Ranking) -> list[str]:
    """Return which runs of each entrant are somebody else's, and whose, each once."""
    return list(
        dict.fromkeys(f"{e.entrant}: {who}" for panel in ranking.panels for e in panel.entries for who in e.foreign)
    )


def not_ranked(ranking: Ranking) -> list[str]:
    """Return which panels have no ranking, and why."""
    return [f"not ranked: {words}" for words in ranking.left_out]


def units(ranking: Ranking) -> str:
    """Return in a sentence what CPU time and regret are."""
    why = ", as the runs are of several machines" if ranking.unit != SECONDS else ""
    return (
        f"CPU time is in {ranking.unit}{why}; a target is reached by a curve, over the points of every mark; regret is the mean "
        "distance from the best curve, over the marks that all have"
    )


def standing(panel: Panel, entry: Entry) -> list[str]:
    """Return where an entrant stands in its panel: the cells under `STANDING`."""
    found, same = entry.to_best, sum(one.group == entry.group for one in panel.entries)
    own = mean(list(entry.values.values())) if entry.values else None
    diverged = f" ({len(entry.diverged)} diverged)" if entry.diverged else ""
    return [
        f"{entry.group}{' tied' if same > 1 else ''}",
        entry.entrant,
        "" if own is None else marked(with_error(own.mean, own.error), bool(entry.doubts)),
        "best"
        if entry is panel.entries[0]
        else ""
        if found is None
        else with_error(found.mean, found.error, sign=True),
        "" if found is None or found.interval is None else interval_text(found.mean, found.interval, found.error),
        f"{len(entry.values)}{FOREIGN if entry.foreign else ''}{diverged}",
        "" if entry.regret is None else f"{entry.regret:.2f}",
    ]


def cost(entry: Entry) -> list[str]:
    """Return what reaching the target cost an entrant: the cells under `COST`."""
    costs = [entry.times[counter] for counter in COUNTERS]
    seeds = costs[0].by_seed.values()
    return [
        *("never" if math.isinf(one.median) else quantity(one.median) for one in costs),
        f"{sum(map(math.isfinite, seeds))} of {len(seeds)}",
        *(quantity(one.tuning) if one.tuning else "none" for one in costs),
    ]


def _print_profiles(ranking: Ranking) -> None:
    if len(ranking.panels) < FEW_PANELS:
        show(too_few(ranking))
        return
    for title, heads, rows in profiles(ranking):
        show("", title)
        print_table(heads, rows)
    show(SCORE)


SCORE = f"score: the mean share from 1 to {LARGEST_RATIO:g} times; its interval is by the bootstrap over seeds, for these panels"


def too_few(ranking: Ranking) -> str:
    """Return in a sentence why there are no performance profiles."""
    return (
        f"{counted(len(ranking.panels), 'panel')}: too few to say who is fast in general; a performance profile needs "
        f"{FEW_PANELS} or more"
    )


def profiles(ranking: Ranking) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield the title, heads and cells of the performance profiles by each counter; none where there are too few panels."""
    ratios = (1.0, 2.0, LARGEST_RATIO)
    for counter in COUNTERS if len(ranking.panels) >= FEW_PANELS else ():
        rows = [
            [
                one.entrant,
                *(f"{one.share(ratio):.0%}" for ratio in ratios),
                f"{one.score:.2f}",
                f"{one.low:.2f} to {one.high:.2f}",
            ]
            for one in ranking.profiles[counter]
        ]
        title = f"share of {len(ranking.panels)} panels whose target was reached at so many times the least {HEADS[counter]}"
        yield title, ("entrant", *(f"{ratio:g} times" for ratio in ratios), "score", "95% interval"), rows
