"""Claims that runs are no worse than a stored baseline."""

from collections.abc import Iterator, Sequence

from harness.analysis import selection
from harness.analysis.statistics import Difference, difference
from harness.analysis.stored_run import StoredRun
from harness.claims.estimates import described, estimates_at, judged, parts_of, require_pairs
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Baseline, Claim
from harness.claims.wording import more_seeds_in_words, pairs_in_words


def verdicts(claim: Baseline, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run and each mark whether it is no worse than the baseline."""
    required = f"≥ -{claim.tolerance:g}"
    for part, runs in parts_of(evidence.select(claim), evidence.kinds(claim)):
        reference = like(runs[0], claim, evidence)
        _require_comparable(claim, evidence, runs, reference, part)
        for mark in claim.at:
            subject = described(part, mark)
            old = estimates_at(claim, evidence, reference, mark, lambda run: run.seed, compared_with=runs)
            if old.missing:
                again = f"save it again with `harness baseline save {evidence.claims.called}`"
                raise evidence.refusal(claim, f"in the baseline, {old.missing}: {again}")
            new = estimates_at(claim, evidence, runs, mark, lambda run: run.seed, compared_with=reference)
            if new.missing:
                yield Verdict(claim, subject, None, None, required, "fails", new.missing)
                continue
            require_pairs(claim, evidence, min(len(new.values), len(old.values)), subject)
            found = difference(new.values, old.values)
            says, why = no_worse(found, claim.tolerance, claim.level)
            yield judged(Verdict(claim, subject, found.mean, found.error, required, says, why + new.remark), new, old)


def no_worse(found: Difference, tolerance: float, level: float) -> tuple[Says, str]:
    """Judge a difference, new minus old: it fails only where its one-sided interval excludes a loss within the tolerance."""
    half = found.half_width(level)
    pairs = pairs_in_words(found)
    if found.mean + half < -tolerance:
        return "fails", f"worse by {-(found.mean + half):.3g} nats or more: {pairs}"
    if found.mean - half > 0:
        return "better", f"better by {found.mean - half:.3g} nats or more: {pairs}"
    if found.mean - half >= -tolerance:
        least = tolerance + found.detectable(level)
        return "holds", f"{pairs}; a loss of {least:.2g} nats would be noticed 95 times out of 100"
    more = more_seeds_in_words(found, -tolerance, level)
    return "cannot tell", f"the loss may be up to {half - found.mean:.3g} nats: {pairs}{more}, in the baseline too"


def like(run: StoredRun, claim: Claim, evidence: Evidence) -> list[StoredRun]:
    """Return the baseline's runs of the same kind as a run."""
    return selection.select(evidence.reference, run.options(evidence.kinds(claim)))


def _require_comparable(
    claim: Baseline, evidence: Evidence, runs: Sequence[StoredRun], reference: Sequence[StoredRun], words: str
) -> None:
    """Raise BadInput, naming the difference, where runs and baseline are not of the same data and settings.

    The code of a user's file may differ: whether it has made learning worse is what is asked.
    """
    again = f"save it again with `harness baseline save {evidence.claims.called}`"
    if not reference:
        raise evidence.refusal(claim, f"the baseline has no runs of {words}: {again}")
    for run in (*runs, *reference[1:]):
        found = selection.unlike(reference[0], run, except_for=claim.differing, code=False)
        if found is not None:
            name = found.setting.rpartition(".")[2].replace("_", "-")
            hint = "" if found.setting.startswith("data") else f", or name {name!r} in differing"
            raise evidence.refusal(
                claim,
                f"{words} cannot be compared with the baseline, which has {found.setting} {found.first} where "
                f"{run.id} has {found.second}: {again}{hint}",
            )
