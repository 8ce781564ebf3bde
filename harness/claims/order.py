"""Claims that one algorithm, or whatever an experiment compares, learns the better model than another."""

import functools
from collections.abc import Iterator, Mapping, Sequence

from harness.analysis import selection
from harness.analysis.losses import Adjusted
from harness.analysis.statistics import mean
from harness.claims.apart import each_by_itself
from harness.claims.estimates import Estimates, described, estimates_at, judged, parts_of, require_pairs
from harness.claims.evidence import Evidence, Values, Verdict
from harness.claims.file import Order
from harness.claims.level import Open, own_level, rejects
from harness.claims.wording import more_seeds_in_words, unmatched_in_words
from harness.errors import suggestion
from harness.specs.where import in_words


def verdicts(claim: Order, evidence: Evidence) -> Iterator[Verdict | Open]:
    """Yield for each part of the runs and each mark whether the order is shown."""
    required = f"> 0 at {claim.level:.0%}"
    chosen = evidence.select(claim)
    compare, panels = evidence.compare(claim), evidence.panels(claim)
    there = {run.curve(compare) for run in chosen}
    for name in (claim.above, claim.below):
        if chosen and name not in there:
            choices = ", ".join(sorted(there))
            raise evidence.refusal(claim, f"no run is by {name!r}{suggestion(name, there)}: choose one of {choices}")
    panel_of = {run.id: in_words(run.options(panels)) for run in chosen}
    places = {run.id: f"{panel_of[run.id]} seed {run.seed}".strip() for run in chosen}
    kinds = {place: panel_of[run] for run, place in places.items()}
    for part, runs in parts_of(chosen, claim.per):
        for panel, own in parts_of(runs, panels):
            selection.require_alike(own, f"{evidence.claims.place(claim)}: {panel}", compare, evidence.differ(claim))
        for mark in claim.at:
            subject = described(claim, " ".join((claim.above, "minus", claim.below, part)).strip(), mark)
            sides = [
                estimates_at(
                    claim, evidence, [run for run in runs if run.curve(compare) == name], mark,
                    lambda run: places[run.id], compared_with=runs,
                )
                for name in (claim.above, claim.below)
            ]  # fmt: skip
            if missing := sides[0].missing or sides[1].missing:
                yield Verdict(claim, subject, None, None, required, "fails", missing)
                continue
            shared = sorted(sides[0].values.keys() & sides[1].values.keys())
            require_pairs(claim, evidence, len(shared), subject)
            pairs = {place: sides[0].values[place] - sides[1].values[place] for place in shared}
            found = mean(list(pairs.values()))
            begin = Verdict(claim, subject, found.mean, found.error, required, "fails", "")
            unmatched = unmatched_in_words(sides[0].values, sides[1].values, claim.above, claim.below)
            if unmatched and not (claim.allow_unmatched_seeds or evidence.unmatched):
                why = f"{unmatched}: make them, or allow it with allow-unmatched-seeds = true"
                yield judged(begin._replace(why=why), *sides)
                continue
            remark = f"; {unmatched}, which is allowed" if unmatched else ""
            settle = functools.partial(_settled, claim, begin, pairs, kinds, remark, sides)
            yield Open(found.p_above, claim.level, "order", settle)


def _settled(
    claim: Order,
    begin: Verdict,
    pairs: Values,
    kinds: Mapping[str, str],
    remark: str,
    sides: Sequence[Estimates],
    adjusted: Adjusted,
) -> Verdict | Open:
    """Return the verdict on pairs at the level of the file, which in the end no pair by itself may contradict."""
    found = mean(list(pairs.values()))
    half = found.half_width(claim.level)
    why = f"{found.n} pairs of panel and seed, interval from {found.mean - half:+.3g}{remark}"
    if rejects(adjusted, claim.level):
        verdict = judged(begin._replace(says="holds", why=why), *sides)
        return each_by_itself(verdict, pairs, least=0.0, kinds=kinds)
    level = own_level(adjusted, claim.level)
    if found.mean + half < 0:
        why = f"it is below: {why}"
    elif found.mean - half > 0:
        why = f"not shown at the level of all {adjusted.tests} orders: {why}, adjusted p {adjusted.p:.2g}"
    else:
        why = f"not shown: {why}{more_seeds_in_words(found, 0.0, level)}"
    return judged(begin._replace(why=why), *sides)
