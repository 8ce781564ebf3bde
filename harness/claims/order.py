"""Claims that one algorithm learns the better model than another."""

from collections.abc import Iterator
from typing import Any

from harness.analysis import selection
from harness.analysis.selection import Stored
from harness.analysis.statistics import mean
from harness.claims.estimates import described, parts_of, require_pairs, seed_of, take
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Order
from harness.claims.wording import more_seeds_in_words
from harness.errors import suggestion


def verdicts(claim: Order, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each part of the runs and each mark whether the order is shown."""
    required = f"> 0 at {claim.level:.0%}"
    chosen = evidence.select(claim)
    there = {record.spec["algorithm"]["name"] for record, _ in chosen}
    for name in (claim.above, claim.below):
        if chosen and name not in there:
            choices = ", ".join(sorted(there))
            raise evidence.refusal(claim, f"no run is by {name!r}{suggestion(name, there)}: choose of {choices}")
    for part, runs in parts_of(chosen, claim.per):
        for panel, own in parts_of(runs, selection.PANEL):
            selection.require_alike(own, f"{evidence.claims.place(claim)}: {panel}")
        for mark in claim.at:
            about = described(" ".join((claim.above, "less", claim.below, part)).strip(), mark)
            sides = [
                take(claim, evidence, [s for s in runs if s[0].spec["algorithm"]["name"] == name], mark, _place, runs)
                for name in (claim.above, claim.below)
            ]
            if trouble := sides[0].trouble or sides[1].trouble:
                yield Verdict(claim, about, None, None, required, "fails", trouble)
                continue
            shared = sides[0].values.keys() & sides[1].values.keys()
            require_pairs(claim, evidence, len(shared), about)
            found = mean([sides[0].values[place] - sides[1].values[place] for place in sorted(shared, key=str)])
            half = found.half_width(claim.level)
            interval = f"{found.n} pairs of panel and seed, interval from {found.mean - half:+.3g}"
            if found.mean - half > 0:
                says, why = "holds", interval
            elif found.mean + half < 0:
                says, why = "fails", f"it is below: {interval}"
            else:
                says, why = "fails", f"not shown: {interval}{more_seeds_in_words(found, 0.0, claim.level)}"
            yield Verdict(claim, about, found.mean, found.error, required, says, why)  # type: ignore[arg-type]


def _place(stored: Stored) -> Any:
    """Return what runs of two algorithms are paired over: their panel and their seed."""
    return (*selection.panel(stored[0].spec).values(), seed_of(stored))
