"""Claims about what must hold for every sound run."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.analysis.losses import Adjusted
from harness.claims import invariants
from harness.claims.estimates import parts_of
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Invariant
from harness.claims.level import LEVEL, Open, rejects


def verdicts(claim: Invariant, evidence: Evidence) -> Iterator[Verdict | Open]:
    """Yield for each kind of run whether the invariant holds."""
    holds = invariants.HOLDS.get(claim.holds)
    if holds is None and not evidence.trains:
        for subject, _ in parts_of(evidence.select(claim), evidence.kinds(claim)):
            why = "it needs checkpoints and a moment of training: give --run"
            yield Verdict(claim, subject, None, None, "", "cannot tell", why)
        return
    if evidence.trains:
        from harness.claims import probes  # PyTorch

        trained: dict[str, Any] = {**probes.HOLDS, "bias-order": partial(invariants.bias_order, bounds=probes.bounds)}
        holds = trained.get(claim.holds, holds)
    assert holds is not None
    sound = []
    for run in evidence.select(claim):
        if run.status in ("diverged", "failed") or not run.rows:
            reason = f": {run.record.reason}" if run.record.reason else ", and has no rows"
            yield Verdict(claim, run.id, None, None, "", "fails", f"run {run.id} is {run.status}{reason}")
        else:
            sound.append(run)
    for subject, runs in parts_of(sound, evidence.kinds(claim)):
        for more, found in holds(claim, evidence, runs):
            verdict = Verdict(claim, subject + more, found.observed, found.error, found.required, found.says, found.why)
            yield verdict if found.p is None else Open(found.p, LEVEL, "loss", partial(_settled, verdict, found))


def _settled(verdict: Verdict, found: invariants.Found, adjusted: Adjusted) -> Verdict:
    """Return the verdict that a test over seeds decides at the level of the file."""
    fails = rejects(adjusted, LEVEL)
    return verdict._replace(says="fails", why=found.otherwise or found.why) if fails else verdict
