"""Claims that runs are no worse than a stored baseline."""

import functools
import math
import statistics
from collections.abc import Iterator, Sequence

from harness.analysis import curves, selection
from harness.analysis.losses import FEWEST, WAYS, Adjusted, Loss, loss
from harness.analysis.statistics import Difference, difference
from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import row_at
from harness.claims.estimates import Estimates, described, estimates_at, judged, parts_of, require_pairs
from harness.claims.evidence import Evidence, Says, Values, Verdict
from harness.claims.file import Baseline, Claim
from harness.claims.level import Open, own_level, rejects
from harness.claims.wording import more_seeds_in_words, pairs_in_words, seeds_in_words, unmatched_in_words


def verdicts(claim: Baseline, evidence: Evidence) -> Iterator[Verdict | Open]:
    """Yield for each kind of run and each mark whether it is no worse than the baseline."""
    required = f"≥ -{claim.tolerance:g}"
    for part, runs in parts_of(evidence.select(claim), evidence.kinds(claim)):
        reference = _of_the_seeds_asked_for(like(runs[0], claim, evidence), runs, claim, evidence)
        _require_comparable(claim, evidence, runs, reference, part)
        for mark in claim.at:
            subject = described(claim, part, mark)
            old = estimates_at(claim, evidence, reference, mark, lambda run: run.seed, compared_with=runs)
            if old.missing:
                again = f"save it again with `harness baseline save {evidence.claims.called}`"
                raise evidence.refusal(claim, f"in the baseline, {old.missing}: {again}")
            new = estimates_at(claim, evidence, runs, mark, lambda run: run.seed, compared_with=reference)
            if new.missing:
                yield Verdict(claim, subject, None, None, required, "fails", new.missing)
                continue
            require_pairs(claim, evidence, min(len(new.values), len(old.values)), subject)
            spread, freedom = _spread_of_seeds(claim, evidence, reference[0], old.values, mark)
            pairs = _Pairs(claim, new.values, old.values, spread, freedom)
            begin = Verdict(claim, subject, pairs.found.mean, pairs.found.error, required, "fails", "")
            unmatched = unmatched_in_words(new.values, old.values, "these runs", "the baseline")
            allowed = claim.allow_unmatched_seeds or evidence.unmatched
            if unmatched and not allowed:
                why = f"{unmatched}: make them, or allow it with allow-unmatched-seeds = true; "
                own = pairs.judged(Adjusted(pairs.loss.p.item(), 1, 1))
                yield judged(begin._replace(why=why + own[1], collapsed=own[2]), new, old)
                continue
            remark = f"; {unmatched}, which is allowed" if unmatched else new.remark
            settle = functools.partial(_settled, pairs, begin, remark, (new, old))
            yield Open(pairs.loss.p.item(), claim.level, "loss", settle)


def _settled(pairs: "_Pairs", begin: Verdict, remark: str, sides: Sequence[Estimates], adjusted: Adjusted) -> Verdict:
    """Return the verdict on pairs at the level of the file."""
    says, why, collapsed = pairs.judged(adjusted)
    return judged(begin._replace(says=says, why=why + remark, collapsed=collapsed), *sides)


class _Pairs:
    """Runs and baseline, paired over seeds where they match.

    Attributes:
        found: the mean difference.
        differences: of each pair, by seed; of unpaired runs to the baseline's mean.
        loss: what they show of a loss.
    """

    def __init__(self, claim: Baseline, new: Values, old: Values, spread: float, freedom: int):
        self.claim = claim
        self.found = difference(new, old)
        middle = statistics.fmean(old.values())
        seeds = sorted(new.keys() & old.keys() if self.found.paired else new)
        self.differences = {seed: new[seed] - (old[seed] if self.found.paired else middle) for seed in seeds}
        gap, error = self.found.mean + claim.tolerance, self.found.error
        mean = None if self.found.paired or error is None else self.found._replace(mean=gap).p_below
        self.loss: Loss = loss(list(self.differences.values()), claim.tolerance, spread, freedom, mean)

    def judged(self, adjusted: Adjusted) -> tuple[Says, str, tuple[str, ...]]:
        """Return whether they hold, why, and in words the seeds that have collapsed."""
        claim, level = self.claim, own_level(adjusted, self.claim.level)
        by_mean = 1 - (1 - level) * WAYS[len(self.differences) >= FEWEST]["mean"]
        says, why = no_worse(self.found, claim.tolerance, claim.level, by_mean)
        if not rejects(adjusted, claim.level):
            if says == "fails":
                return "cannot tell", f"not shown at the level of all {adjusted.tests} tests: {why}", ()
            return says, why, ()
        lost = [seed for seed, gone in zip(self.differences, self.loss.lost(level), strict=True) if gone]
        if lost:
            return "fails", self._collapsed(lost, by_mean), tuple(f"seed {seed}" for seed in lost)
        if says == "fails":
            return says, why, ()
        worst = sorted(self.differences, key=self.differences.__getitem__)
        if self.loss.ways.get("all but one", math.inf) <= 1 - level:
            return (
                "fails",
                f"worse in {len(worst) - 1} of {len(worst)} pairs, and seed {worst[-1]} hides it in the mean",
                (),
            )
        return "fails", f"every pair is worse, the best by {-self.differences[worst[-1]]:.3g} nats", ()

    def _collapsed(self, lost: Sequence[int], level: float) -> str:
        """Say which seeds have collapsed, and whether the others are worse, too."""
        values = ", ".join(f"{self.differences[seed]:+.3g}" for seed in lost)
        rest = {seed: nats for seed, nats in self.differences.items() if seed not in lost}
        others = difference(rest, dict.fromkeys(rest, 0.0))
        said = (
            f"collapsed {seeds_in_words(lost)}: {values} nats where the other pairs have {others.mean:+.3g} on average"
        )
        also, why = no_worse(others, self.claim.tolerance, self.claim.level, level)
        return f"{said}; without {'it' if len(lost) == 1 else 'them'} {why}" if also == "fails" else said


def no_worse(found: Difference, tolerance: float, level: float, tested: float | None = None) -> tuple[Says, str]:
    """Judge a mean difference, new minus old: it fails only where its one-sided interval excludes a loss within the tolerance.

    Args:
        found: the difference.
        tolerance: nats.
        level: of the interval.
        tested: of the interval by which it fails; by default the same.
    """
    half, test = found.half_width(level), found.half_width(level if tested is None else tested)
    pairs = pairs_in_words(found)
    if found.mean + test < -tolerance:
        return "fails", f"worse by {-(found.mean + test):.3g} nats or more: {pairs}"
    if found.mean - half > 0:
        return "better", f"better by {found.mean - half:.3g} nats or more: {pairs}"
    if found.mean - half >= -tolerance:
        least = tolerance + found.detectable(level if tested is None else tested)
        return "holds", f"{pairs}; a loss of {least:.2g} nats would be noticed 95 times out of 100"
    more = more_seeds_in_words(found, -tolerance, level if tested is None else tested)
    return "cannot tell", f"the loss may be up to {half - found.mean:.3g} nats: {pairs}{more}, in the baseline too"


def like(run: StoredRun, claim: Claim, evidence: Evidence) -> list[StoredRun]:
    """Return the baseline's runs of the same kind as a run."""
    return selection.select(evidence.reference, run.options(evidence.kinds(claim)))


def _of_the_seeds_asked_for(
    reference: list[StoredRun], runs: Sequence[StoredRun], claim: Baseline, evidence: Evidence
) -> list[StoredRun]:
    """Return the baseline's runs; those of these runs' seeds where the claim or `only` says which seeds are meant."""
    if not evidence.names_seeds(claim):
        return reference
    seeds = {run.seed for run in runs}
    return [run for run in reference if run.seed in seeds]


def _spread_of_seeds(
    claim: Baseline, evidence: Evidence, of: StoredRun, own: Values, mark: float | str
) -> tuple[float, int]:
    """Return the standard deviation between a baseline's seeds and its degrees of freedom.

    It is pooled over all kinds of run that the baseline has on the same data, as a few seeds tell little; where these seeds
    differ more, it is their own.
    """
    squares, freedom = 0.0, 0
    kinds = [run for run in evidence.reference if run.dataset_sha256 == of.dataset_sha256]
    for _, runs in parts_of(kinds, evidence.kinds(claim)):
        rows = [row for run in runs if (row := row_at(run, mark, claim.weights)) is not None]
        points = curves.common_points(rows)
        found = [curves.estimate(row, claim.estimator, claim.split, points) for row in rows]
        values = [float(one["mean"]) for one in found if one is not None]
        if len(values) > 1:
            squares += statistics.variance(values) * (len(values) - 1)
            freedom += len(values) - 1
    alone = statistics.stdev(own.values())
    return (max(alone, math.sqrt(squares / freedom)), freedom) if freedom else (alone, len(own) - 1)


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
