"""Claims that runs are near the published curves."""

from collections.abc import Iterator

from harness.analysis import published, selection
from harness.analysis.statistics import mean
from harness.claims.apart import each_by_itself
from harness.claims.estimates import described, estimates_at, judged, parts_of
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Paper
from harness.claims.level import Open
from harness.claims.wording import runs_in_words


def verdicts(claim: Paper, evidence: Evidence) -> Iterator[Verdict | Open]:
    """Yield for each kind of run and each mark how far it is from the published curve."""
    required = f"≥ -{claim.within:g}"
    experiment = evidence.claims.experiment(claim)
    recipe = experiment.figure if experiment else None
    panels = evidence.panels(claim)
    for part, runs in parts_of(evidence.select(claim), evidence.kinds(claim)):
        selection.require_alike(runs, f"{evidence.claims.place(claim)}: {part}", evidence.compare(claim))
        panel = published.reference(recipe, runs[0].options(panels)) if recipe else None
        for mark in claim.at:
            subject = described(claim, part, mark)
            estimates = estimates_at(claim, evidence, runs, mark, lambda run: run.seed)
            if estimates.missing:
                yield Verdict(claim, subject, None, None, required, "fails", estimates.missing)
                continue
            there = None
            if recipe and panel:
                curve = str(recipe.reference), panel, runs[0].algorithm, claim.split
                there = published.published_at(*curve, estimates.mark)
            if there is None:
                why = f"there is no published curve of {part} at {estimates.mark:,.0f} samples: choose another mark"
                raise evidence.refusal(claim, why)
            gaps = {seed: value - there for seed, value in estimates.values.items()}
            found = mean(list(gaps.values()))
            says: Says = "holds" if abs(found.mean) <= claim.within else "better" if found.mean > 0 else "fails"
            why = f"{found.mean + there:.2f}, the paper has {there:.2f}: {runs_in_words(found.n)}{estimates.remark}"
            verdict = judged(Verdict(claim, subject, found.mean, found.error, required, says, why), estimates)
            yield each_by_itself(verdict, gaps, least=-claim.within, called=lambda seed: f"seed {seed}")
