"""Claims that one algorithm, or whatever an experiment compares, learns the better model than another."""

from collections.abc import Iterator

from harness.analysis import selection
from harness.analysis.statistics import mean
from harness.claims.estimates import described, estimates_at, judged, parts_of, require_pairs
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Order
from harness.claims.wording import more_seeds_in_words
from harness.errors import suggestion


def verdicts(claim: Order, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each part of the runs and each mark whether the order is shown."""
    required = f"> 0 at {claim.level:.0%}"
    chosen = evidence.select(claim)
    compare, panels = evidence.compare(claim), evidence.panels(claim)
    there = {run.curve(compare) for run in chosen}
    for name in (claim.above, claim.below):
        if chosen and name not in there:
            choices = ", ".join(sorted(there))
            raise evidence.refusal(claim, f"no run is by {name!r}{suggestion(name, there)}: choose one of {choices}")
    for part, runs in parts_of(chosen, claim.per):
        for panel, own in parts_of(runs, panels):
            selection.require_alike(own, f"{evidence.claims.place(claim)}: {panel}", compare)
        for mark in claim.at:
            subject = described(" ".join((claim.above, "minus", claim.below, part)).strip(), mark)
            sides = [
                estimates_at(
                    claim, evidence, [run for run in runs if run.curve(compare) == name], mark,
                    lambda run: (*run.options(panels).values(), run.seed), compared_with=runs,
                )
                for name in (claim.above, claim.below)
            ]  # fmt: skip
            if missing := sides[0].missing or sides[1].missing:
                yield Verdict(claim, subject, None, None, required, "fails", missing)
                continue
            shared = sides[0].values.keys() & sides[1].values.keys()
            require_pairs(claim, evidence, len(shared), subject)
            found = mean([sides[0].values[place] - sides[1].values[place] for place in sorted(shared, key=str)])
            half = found.half_width(claim.level)
            interval = f"{found.n} pairs of panel and seed, interval from {found.mean - half:+.3g}"
            if found.mean - half > 0:
                says, why = "holds", interval
            elif found.mean + half < 0:
                says, why = "fails", f"it is below: {interval}"
            else:
                says, why = "fails", f"not shown: {interval}{more_seeds_in_words(found, 0.0, claim.level)}"
            verdict = Verdict(claim, subject, found.mean, found.error, required, says, why)  # type: ignore[arg-type]
            yield judged(verdict, *sides)
