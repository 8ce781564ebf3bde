"""Claims about what holds of every sound run."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from harness.claims import invariants
from harness.claims.estimates import KIND, parts, parts_of
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Invariant


def verdicts(claim: Invariant, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run whether the invariant holds."""
    holds = invariants.HOLDS.get(claim.holds)
    if holds is None and not evidence.trains:
        for about, _ in parts_of(evidence.select(claim), KIND):
            why = "it takes checkpoints and training for a moment: give --run"
            yield Verdict(claim, about, None, None, "", "cannot tell", why)
        return
    if evidence.trains:
        from harness.claims import probes  # PyTorch

        trained: dict[str, Any] = {**probes.HOLDS, "bias-order": partial(invariants.bias_order, bounds=probes.bounds)}
        holds = trained.get(claim.holds, holds)
    assert holds is not None
    sound = []
    for run, stored in evidence.found(claim):
        record, rows = stored
        if record.status in ("diverged", "failed") or not rows:
            why = f"run {record.run} is {record.status}" + (
                f": {record.reason}" if record.reason else ", and has no rows"
            )
            yield Verdict(claim, record.run, None, None, "", "fails", why)
        else:
            sound.append((run, stored))
    for about, kind in parts(sound, KIND, lambda one: one[1]):
        for more, found in holds(claim, evidence, kind):
            yield Verdict(claim, about + more, found.observed, found.error, found.required, found.says, found.why)
