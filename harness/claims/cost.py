"""Claims about CPU time."""

import statistics
from collections.abc import Iterator

from harness.analysis import selection
from harness.analysis.stored_run import StoredRun
from harness.claims.estimates import parts_of
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Cost
from harness.claims.regression import like
from harness.claims.wording import runs_in_words


def verdicts(claim: Cost, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run whether its CPU time is within the limits."""
    for part, runs in parts_of(evidence.select(claim), evidence.kinds(claim)):
        selection.require_alike(runs, f"{evidence.claims.place(claim)}: {part}", evidence.compare(claim))
        ended = [run for run in runs if _spent(run)]
        if not ended:
            yield Verdict(claim, part, None, None, "", "fails", "no run is done")
            continue
        if claim.at_most is not None:
            kernels = [1000 * _each(run) / kernel for run in ended if (kernel := run.calibration_seconds)]
            required = f"≤ {claim.at_most:g}"
            if not kernels:
                yield Verdict(
                    claim, part, None, None, required, "fails", "no run has stored what the calibration kernel took"
                )
            else:
                found = statistics.median(kernels)
                says: Says = "holds" if found <= claim.at_most else "fails"
                why = f"calibration kernels for a thousand samples, median of {runs_in_words(len(kernels))}"
                yield Verdict(claim, part, found, None, required, says, why)
        if claim.times_baseline is not None:
            required = f"≤ {claim.times_baseline:g} × baseline"
            old = [run for run in like(runs[0], claim, evidence) if _spent(run)]
            if not old:
                raise evidence.refusal(claim, f"the baseline has no runs of {part}: save it again")
            here, there = ({_machine(run) for run in own} for own in (ended, old))
            if here != there:
                why = f"these runs are from {' and '.join(sorted(here))}, and the baseline's from {' and '.join(sorted(there))}"
                yield Verdict(claim, part, None, None, required, "cannot tell", why)
                continue
            times = statistics.median(map(_each, ended)) / statistics.median(map(_each, old))
            says = "holds" if times <= claim.times_baseline else "fails"
            why = f"CPU seconds a sample, median of {runs_in_words(len(ended))}"
            yield Verdict(claim, part, times, None, required, says, why)


def _spent(run: StoredRun) -> bool:
    return bool(run.status == "done" and run.record.ledger.get("samples"))


def _each(run: StoredRun) -> float:
    """Return the CPU seconds of a sample."""
    return run.record.ledger["cpu_seconds"] / run.record.ledger["samples"]


def _machine(run: StoredRun) -> str:
    """Return what CPU times of two runs must share to be compared."""
    whose = f" ({run.origin})" if run.origin else ""
    return f"{run.processor or 'an unknown machine'}{whose} with {run.last_session.get('threads', 'unknown')} threads"
