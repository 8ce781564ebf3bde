"""Checks claims about stored runs, as CI does. For every estimate, nats per datapoint, higher is better."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from harness.analysis.stored_run import StoredRun
from harness.analysis.weights import Weights
from harness.claims import baseline, benchmark, bound, cost, invariant, order, paper, regression
from harness.claims.evidence import Evidence, Verdict
from harness.claims.file import Baseline, Benchmark, Bound, Claim, Claims, Cost, Invariant, Order, Paper
from harness.claims.level import Open, settled
from harness.errors import BadInput
from harness.specs.experiment import TUNED, spec_of

if TYPE_CHECKING:
    from harness.runs.jobs import Outcome
    from harness.runs.sweep import Scheduler


def make(claims: Claims, scheduler: "Scheduler", only: str | None = None) -> tuple[dict[str, str], list["Outcome"]]:
    """Make the runs that claims are about, by the code as it is now.

    They belong to groups `check-<experiment>-<fingerprint of code, experiment and data>`, so that runs of other code or data are
    never used instead, and runs that are there already are not made again.

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
        tasks = experiment.tasks()
        specs = [task.spec or spec_of({n: v for n, v in task.options.items() if v != TUNED}) for task in tasks]
        data = sorted({str(scheduler.inputs.sha256(spec)) for spec in specs})
        given = experiment.path.read_bytes() + " ".join(data).encode()
        groups[experiment.name] = f"check-{experiment.name}-{fingerprint(given)}"
        ended += Sweep(scheduler, experiment, only, group=groups[experiment.name]).run()
    if not groups:
        raise BadInput(
            f"{claims.path}: its claims are about no experiment, so --run does not know what to make: leave it out"
        )
    return groups, ended


def failures(ended: Sequence["Outcome"]) -> list[str]:
    """Return in words which runs have no result, and why."""
    bad = ("failed", "diverged", "skipped")
    return [f"{one.job.spec.run_id} {one.status}: {one.reason}" for one in ended if one.status in bad]


def check(evidence: Evidence) -> list[Verdict]:
    """Check every claim of a file against the runs that there are.

    A claim that selects no run fails. A baseline claim about which the runs cannot tell does not fail. Tests over seeds keep
    their level over all claims together.

    Raises:
        BadInput: a claim about runs, options or a baseline that do not exist or do not fit, or over too few seeds.
    """
    verdicts_on: dict[type[Claim], Callable[[Any, Evidence], Iterator[Verdict | Open]]] = {
        Bound: bound.verdicts, Order: order.verdicts, Baseline: regression.verdicts, Paper: paper.verdicts,
        Cost: cost.verdicts, Benchmark: benchmark.verdicts, Invariant: invariant.verdicts,
    }  # fmt: skip
    out: list[Verdict | Open] = []
    for claim in evidence.claims.claims:
        if not evidence.left_out(claim):
            found = list(verdicts_on[type(claim)](claim, evidence))
            out += found or [Verdict(claim, "", None, None, "", "fails", "it selects no run")]
    if not out:
        raise BadInput(f"--only is {evidence.only!r}, and no claim of {evidence.claims.called} is about such runs")
    return settled(out)


def failed(verdicts: Sequence[Verdict], *, strict: bool = False) -> bool:
    """Say whether a claim fails, or with `strict` whether the runs cannot tell."""
    return any(verdict.says == "fails" or (strict and verdict.says == "cannot tell") for verdict in verdicts)


def baseline_content(evidence: Evidence) -> dict[str, Any]:
    """Return what a file's claims need of a baseline, from the runs that there are; BadInput as `baseline.content`."""
    runs: dict[str, StoredRun] = {}
    marks: list[tuple[float | str, Weights]] = []
    for claim in evidence.claims.claims:
        if isinstance(claim, Baseline):
            marks += [(mark, claim.weights) for mark in claim.at]
        if isinstance(claim, Baseline) or (isinstance(claim, Cost) and claim.times_baseline is not None):
            runs |= {run.id: run for run in evidence.select(claim)}
    return baseline.content(runs.values(), marks)
