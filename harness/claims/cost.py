"""Claims about CPU time."""

import statistics
from collections.abc import Iterator

from harness.analysis import curves, selection
from harness.claims.estimates import KIND, parts_of
from harness.claims.evidence import Evidence, Says, Verdict
from harness.claims.file import Cost
from harness.claims.regression import like
from harness.claims.wording import runs_in_words
from harness.store.record import Record


def verdicts(claim: Cost, evidence: Evidence) -> Iterator[Verdict]:
    """Yield for each kind of run whether its CPU time is within the limits."""
    for part, runs in parts_of(evidence.select(claim), KIND):
        selection.require_alike(runs, f"{evidence.claims.place(claim)}: {part}")
        ended = [record for record, _ in runs if _spent(record)]
        if not ended:
            yield Verdict(claim, part, None, None, "", "fails", "no run is done")
            continue
        if claim.at_most is not None:
            kernels = [1000 * _each(record) / kernel for record in ended if (kernel := curves.kernel(record))]
            required = f"≤ {claim.at_most:g}"
            if not kernels:
                yield Verdict(
                    claim, part, None, None, required, "fails", "no run knows what the calibration kernel took"
                )
            else:
                found = statistics.median(kernels)
                says: Says = "holds" if found <= claim.at_most else "fails"
                why = f"calibration kernels for a thousand samples, median of {runs_in_words(len(kernels))}"
                yield Verdict(claim, part, found, None, required, says, why)
        if claim.times_baseline is not None:
            required = f"≤ {claim.times_baseline:g} × baseline"
            old = [record for record, _ in like(runs[0], evidence) if _spent(record)]
            if not old:
                raise evidence.refusal(claim, f"the baseline has no runs of {part}: save it again")
            here, there = ({_machine(record) for record in records} for records in (ended, old))
            if here != there:
                why = f"these runs are from {' and '.join(sorted(here))}, and the baseline's from {' and '.join(sorted(there))}"
                yield Verdict(claim, part, None, None, required, "cannot tell", why)
                continue
            times = statistics.median(map(_each, ended)) / statistics.median(map(_each, old))
            says = "holds" if times <= claim.times_baseline else "fails"
            why = f"CPU seconds a sample, median of {runs_in_words(len(ended))}"
            yield Verdict(claim, part, times, None, required, says, why)


def _spent(record: Record) -> bool:
    return bool(record.status == "done" and record.ledger.get("samples"))


def _each(record: Record) -> float:
    """Return the CPU seconds of a sample."""
    return record.ledger["cpu_seconds"] / record.ledger["samples"]


def _machine(record: Record) -> str:
    """Return what CPU times of two runs must share to compare."""
    last = record.provenance[-1] if record.provenance else {}
    return f"{last.get('machine', {}).get('cpu', 'an unknown machine')} with {last.get('threads', 'unknown')} threads"
