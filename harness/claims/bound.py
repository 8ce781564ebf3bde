"""Claims that a mean lies within bounds."""

import math
from collections.abc import Iterator

from harness.analysis.statistics import mean
from harness.claims.apart import each_by_itself
from harness.claims.estimates import described, estimates_at, judged, parts_of
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Bound
from harness.claims.level import Open
from harness.claims.wording import runs_in_words


def verdicts(claim: Bound, evidence: Evidence) -> Iterator[Verdict | Open]:
    """Yield for each part of the runs and each mark whether their mean is within the bounds, and each that stands apart."""
    required = " and ".join(
        f"{word} {limit:g}{sign}{claim.tolerance:g}" if claim.tolerance else f"{word} {limit:g}"
        for word, limit, sign in (("≥", claim.least, " - "), ("≤", claim.most, " + "))
        if math.isfinite(limit)
    )
    for part, runs in parts_of(evidence.select(claim), claim.per):
        for mark in claim.at:
            subject = described(claim, part, mark)
            estimates = estimates_at(claim, evidence, runs, mark, lambda run: run.id)
            if estimates.missing:
                yield Verdict(claim, subject, None, None, required, "fails", estimates.missing)
                continue
            found = mean(list(estimates.values.values()))
            low, high = claim.least - claim.tolerance - found.mean, found.mean - claim.most - claim.tolerance
            over = max(low, high)
            where = "below" if low > high else "above"
            why = (
                f"{over:.3g} nats {where} what is allowed"
                if over > 0
                else f"mean of {runs_in_words(found.n)}{estimates.remark}"
            )
            says: Says = "fails" if over > 0 else "holds"
            verdict = judged(Verdict(claim, subject, found.mean, found.error, required, says, why), estimates)
            least, most = claim.least - claim.tolerance, claim.most + claim.tolerance
            kinds = {run.id: kind for kind, own in parts_of(runs, evidence.kinds(claim)) for run in own}
            yield each_by_itself(verdict, estimates.values, least=least, most=most, kinds=kinds)
