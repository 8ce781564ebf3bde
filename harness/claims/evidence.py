"""What claims are held against, and what comes of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.analysis import selection
from harness.analysis.selection import Stored
from harness.claims import baseline
from harness.claims.file import Benchmark, Claim, Claims, Order
from harness.errors import BadInput, suggestion
from harness.specs.options import conditions
from harness.store.run import Run
from harness.store.store import Store

Says = Literal["holds", "better", "cannot tell", "fails"]

Values = dict[Any, float]
"""Estimates by what they are paired over."""


class Verdict(NamedTuple):
    """What came of a claim, for one selection of runs at one mark.

    Attributes:
        claim: the claim.
        about: which runs, at which mark.
        observed: what was found, in the claim's own unit; None if nothing.
        error: its standard error; None where one run tells none.
        required: what the claim asks for, in words.
        says: whether it holds.
        why: in words.
    """

    claim: Claim
    about: str
    observed: float | None
    error: float | None
    required: str
    says: Says
    why: str


@dataclass
class Evidence:
    """What claims are held against.

    Args:
        claims: the file.
        store: where runs are.
        groups: where the runs of experiments are, by the names that claims give them; by default groups of their own names.
        only: conditions on runs such as "nz=20"; claims that are left without runs are left out.
        baseline: file of the baseline instead of the one that the claims name.
        benchmarks: the same for what pytest-benchmark saved.
        data_dir: the user's folder of data files.
        trains: whether invariants may load checkpoints, evaluate and train for a moment.
    """

    claims: Claims
    store: Store
    groups: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None
    baseline: Path | None = None
    benchmarks: Path | None = None
    data_dir: str | None = None
    trains: bool = False
    _loaded: dict[str, list[tuple[Run, Stored]]] = field(default_factory=dict)

    def select(self, claim: Claim) -> list[Stored]:
        """Return the runs that a claim is about; none if there are runs, and none of them has its options.

        Raises:
            BadInput: there are no runs at all, or an option that none has.
        """
        return [stored for _, stored in self.found(claim)]

    def found(self, claim: Claim) -> list[tuple[Run, Stored]]:
        """Return the same with their folders."""
        wanted = conditions(self.only)
        return [(run, stored) for run, stored in self._all(claim) if self._meets(stored, wanted)]

    def left_out(self, claim: Claim) -> bool:
        """Say whether a claim has all the runs that it is about without `only`, and not with it."""
        if not self.only or isinstance(claim, Benchmark):
            return False
        have, left = (
            {stored[0].spec["algorithm"]["name"] for _, stored in runs}
            for runs in (self._all(claim), self.found(claim))
        )
        if experiment := self.claims.experiment(claim):  # with --run, those that `only` leaves out are not even made
            have |= {algorithm for algorithm, _ in experiment.asked_for(claim.where)}
        needed = {claim.above, claim.below} if isinstance(claim, Order) else set()
        return (bool(have) and not left) or (needed <= have and not needed <= left)

    def _all(self, claim: Claim) -> list[tuple[Run, Stored]]:
        """Return the runs that a claim is about, whatever `only` says."""
        experiment = self.claims.experiment(claim)
        own = experiment.name if experiment else str(claim.group)
        group = self.groups.get(own, own)
        if group not in self._loaded:
            self._loaded[group] = [(run, run.content()) for run in self.store.runs(group)]
        runs = self._loaded[group]
        if not runs:
            hint = f"`harness check {self.claims.called} --run` makes them" if experiment else "see `harness list`"
            raise self.refusal(claim, f"there are no runs of {own} in {str(self.store.root)!r}: {hint}")
        known = selection.options(stored for _, stored in runs)
        for name in (*claim.where, *getattr(claim, "per", ()), *getattr(claim, "differing", ())):
            if name not in known:
                why = f"runs cannot be chosen by {name!r}{suggestion(name, known)}: no run has that option"
                raise self.refusal(claim, why)
        wanted = {name: {value} for name, value in claim.where.items()}
        return [(run, stored) for run, stored in runs if self._meets(stored, wanted)]

    @staticmethod
    def _meets(stored: Stored, wanted: Mapping[str, Collection[Any]]) -> bool:
        return bool(selection.wanted([stored], wanted))

    @cached_property
    def reference(self) -> list[Stored]:
        """The baseline's runs; BadInput if there is no baseline."""
        path = self.baseline or self.claims.baseline
        if path is None:
            raise BadInput(
                f'{self.claims.path}: a claim is about a baseline, and the file names none: give baseline = "FILE" above all '
                "claims, or --baseline FILE"
            )
        return baseline.runs(baseline.read(path))

    def refusal(self, claim: Claim, why: str) -> BadInput:
        """Return the error that a claim cannot be judged, with its line."""
        return BadInput(f"{self.claims.place(claim)}: {why}")
