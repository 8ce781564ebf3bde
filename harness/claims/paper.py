"""Claims that runs are near the published curves."""

from collections.abc import Iterator

from harness.analysis import published, selection
from harness.analysis.statistics import mean
from harness.claims.estimates import KIND, described, parts_of, seed_of, take
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Paper
from harness.claims.wording import runs_in_words


def verdicts(claim: Paper, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run and each mark how far it is from the published curve."""
    required = f"≥ -{claim.within:g}"
    experiment = evidence.claims.experiment(claim)
    recipe = experiment.figure if experiment else None
    for part, runs in parts_of(evidence.select(claim), KIND):
        selection.require_alike(runs, f"{evidence.claims.place(claim)}: {part}")
        spec = runs[0][0].spec
        panel = published.reference(recipe, selection.panel(spec)) if recipe else None
        for mark in claim.at:
            about = described(part, mark)
            taken = take(claim, evidence, runs, mark, seed_of)
            if taken.trouble:
                yield Verdict(claim, about, None, None, required, "fails", taken.trouble)
                continue
            there = None
            if recipe and panel:
                name = spec["algorithm"]["name"]
                there = published.published_at(str(recipe.reference), panel, name, claim.split, taken.mark)
            if there is None:
                why = f"there is no published curve of {part} at {taken.mark:,.0f} samples to be near: choose another mark"
                raise evidence.refusal(claim, why)
            found = mean([value - there for value in taken.values.values()])
            says: Says = "holds" if abs(found.mean) <= claim.within else "better" if found.mean > 0 else "fails"
            why = f"{found.mean + there:.2f}, the paper has {there:.2f}: {runs_in_words(found.n)}{taken.note}"
            yield Verdict(claim, about, found.mean, found.error, required, says, why)
