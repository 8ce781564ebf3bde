"""Claims that runs are no worse than a stored baseline."""

from collections.abc import Iterator, Sequence

from harness.analysis import selection
from harness.analysis.selection import Stored
from harness.analysis.statistics import Difference, difference
from harness.claims.estimates import KIND, described, parts_of, require_pairs, seed_of, take
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Baseline
from harness.claims.wording import more_seeds_in_words, pairs_in_words


def verdicts(claim: Baseline, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run and each mark whether it is no worse than the baseline."""
    required = f"≥ -{claim.tolerance:g}"
    for part, runs in parts_of(evidence.select(claim), KIND):
        reference = like(runs[0], evidence)
        _require_comparable(claim, evidence, runs, reference, part)
        for mark in claim.at:
            about = described(part, mark)
            old = take(claim, evidence, reference, mark, seed_of, beside=runs)
            if old.trouble:
                again = f"save it again with `harness baseline save {evidence.claims.called}`"
                raise evidence.refusal(claim, f"in the baseline, {old.trouble}: {again}")
            new = take(claim, evidence, runs, mark, seed_of, beside=reference)
            if new.trouble:
                yield Verdict(claim, about, None, None, required, "fails", new.trouble)
                continue
            require_pairs(claim, evidence, min(len(new.values), len(old.values)), about)
            found = difference(new.values, old.values)
            says, why = no_worse(found, claim.tolerance, claim.level)
            yield Verdict(claim, about, found.mean, found.error, required, says, why + new.note)


def no_worse(found: Difference, tolerance: float, level: float) -> tuple[Says, str]:
    """Judge a difference, new less old: it fails only where its one-sided interval excludes a loss within the tolerance."""
    half = found.half_width(level)
    pairs = pairs_in_words(found)
    if found.mean + half < -tolerance:
        return "fails", f"worse, and by {-(found.mean + half):.3g} nats or more: {pairs}"
    if found.mean - half > 0:
        return "better", f"better, and by {found.mean - half:.3g} nats or more: {pairs}"
    if found.mean - half >= -tolerance:
        least = tolerance + found.detectable(level)
        return "holds", f"{pairs}; a loss of {least:.2g} nats would be noticed 95 times of 100"
    more = more_seeds_in_words(found, -tolerance, level)
    return "cannot tell", f"the loss may be {half - found.mean:.3g} nats: {pairs}{more}, in the baseline too"


def like(stored: Stored, evidence: Evidence) -> list[Stored]:
    """Return the baseline's runs of the same kind as a run."""
    kind = [selection.option(stored[0].spec, name) for name in KIND]
    return [one for one in evidence.reference if [selection.option(one[0].spec, name) for name in KIND] == kind]


def _require_comparable(
    claim: Baseline, evidence: Evidence, runs: Sequence[Stored], reference: Sequence[Stored], words: str
) -> None:
    """Raise BadInput, naming the difference, where runs and baseline are not of the same data and settings."""
    again = f"save it again with `harness baseline save {evidence.claims.called}`"
    if not reference:
        raise evidence.refusal(claim, f"the baseline has no runs of {words}: {again}")
    for stored in (*runs, *reference[1:]):
        found = selection.first_difference(reference[0][0], stored[0], except_for=claim.differing)
        if found is not None:
            what, one, two = found
            hint = (
                ""
                if what.startswith("data")
                else f", or name {what.rpartition('.')[2].replace('_', '-')!r} in differing"
            )
            raise evidence.refusal(
                claim,
                f"{words} cannot be compared with the baseline, which has {what} {one} where "
                f"{stored[0].run} has {two}: {again}{hint}",
            )
