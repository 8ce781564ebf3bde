"""Claims about stored runs, held or not: what CI asks (DESIGN §1). Higher is better for every estimate, in nats per datapoint."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.selection import Stored
from harness.claims import baseline, benchmark, bound, cost, invariant, order, paper, regression
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Baseline, Benchmark, Bound, Claim, Claims, Cost, Invariant, Order, Paper
from harness.errors import BadInput

if TYPE_CHECKING:
    from harness.runs.jobs import Outcome
    from harness.runs.sweep import Scheduler


def make(claims: Claims, scheduler: "Scheduler", only: str | None = None) -> tuple[dict[str, str], list["Outcome"]]:
    """Make the runs that claims are about, by the code as it is now.

    They belong to groups `check-<experiment>-<fingerprint of code and experiment>`, so that runs of other code are never taken
    for its own, and those that are there already are not made again.

    Returns:
        The groups by the names of the experiments, and how every run ended.

    Raises:
        BadInput: no claim is about an experiment, or options make no run.
        Interrupted, StoreTrouble: as `Sweep.run` raises them.
    """
    from harness.runs.code import fingerprint
    from harness.runs.sweep import Sweep

    groups, ended = {}, []
    for experiment in claims.experiments():
        groups[experiment.name] = f"check-{experiment.name}-{fingerprint(experiment.path.read_bytes())}"
        ended += Sweep(scheduler, experiment, only, group=groups[experiment.name]).run()
    if not groups:
        raise BadInput(
            f"{claims.path}: its claims are about no experiment, so --run does not know what to make: leave it out"
        )
    return groups, ended


def lost(ended: Sequence["Outcome"]) -> list[str]:
    """Return in words which runs ended without a result, and why."""
    bad = ("failed", "diverged", "skipped")
    return [f"{one.job.spec.run_id} {one.status}: {one.reason}" for one in ended if one.status in bad]


def check(evidence: Evidence) -> list[Verdict]:
    """Hold every claim of a file against the runs that there are.

    A claim that selects nothing fails. A baseline claim that cannot be told is no failure.

    Raises:
        BadInput: a claim about runs, options or a baseline that do not exist or do not fit, or over too few seeds.
    """
    judges: dict[type[Claim], Callable[[Any, Evidence], Iterator[Verdict]]] = {
        Bound: bound.verdicts, Order: order.verdicts, Baseline: regression.verdicts, Paper: paper.verdicts,
        Cost: cost.verdicts, Benchmark: benchmark.verdicts, Invariant: invariant.verdicts,
    }  # fmt: skip
    out: list[Verdict] = []
    for claim in evidence.claims.claims:
        if not evidence.left_out(claim):
            found = list(judges[type(claim)](claim, evidence))
            out += found or [Verdict(claim, "", None, None, "", "fails", "it selects no run")]
    if not out:
        raise BadInput(f"--only is {evidence.only!r}, and no claim of {evidence.claims.called} is about such runs")
    return out


def failed(verdicts: Sequence[Verdict], *, strict: bool = False) -> bool:
    """Say whether a claim fails, or with `strict` cannot be told."""
    return any(verdict.says == "fails" or (strict and verdict.says == "cannot tell") for verdict in verdicts)


def baseline_content(evidence: Evidence) -> dict[str, Any]:
    """Return what a file's claims need of a baseline, from the runs that there are; BadInput as `harness.baseline.content`."""
    runs: dict[str, Stored] = {}
    marks: list[float | str] = []
    for claim in evidence.claims.claims:
        if isinstance(claim, Baseline):
            marks += claim.at
        if isinstance(claim, Baseline) or (isinstance(claim, Cost) and claim.times_baseline is not None):
            runs |= {stored[0].run: stored for stored in evidence.select(claim)}
    return baseline.content(runs.values(), marks)
