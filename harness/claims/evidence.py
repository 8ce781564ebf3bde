"""What claims are checked against, and the verdicts on them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harness.analysis import foreign, selection
from harness.analysis.losses import Adjusted
from harness.analysis.stored_run import StoredRun
from harness.analysis.versions import present
from harness.claims import baseline
from harness.claims.file import Benchmark, Claim, Claims, Order
from harness.errors import BadInput, suggestion
from harness.specs.where import parse_selection
from harness.store.store import Store

Says = Literal["holds", "better", "cannot tell", "fails"]

Values = dict[Any, float]
"""Estimates by what they are paired over."""


class Verdict(NamedTuple):
    """The verdict on a claim, for one selection of runs at one mark.

    Attributes:
        claim: the claim.
        subject: which runs, at which mark.
        observed: what was found, in the claim's own unit; None if nothing.
        error: its standard error; None for one run.
        required: what the claim asks for, in words.
        says: whether it holds.
        why: in words.
        tests: its tests over seeds: what each shows, its own level, and its p-value among those of the file.
        collapsed: in words, the seeds that stand apart from the others, for the worse.
    """

    claim: Claim
    subject: str
    observed: float | None
    error: float | None
    required: str
    says: Says
    why: str
    tests: tuple[tuple[str, float, Adjusted], ...] = ()
    collapsed: tuple[str, ...] = ()


@dataclass
class Evidence:
    """What claims are checked against.

    Args:
        claims: the file.
        store: where runs are.
        groups: where the runs of experiments are, by the names that claims give them; by default groups of their own names.
        only: a selection of runs, such as "nz=20"; claims that are left without runs are left out.
        baseline: file of the baseline instead of the one that the claims name.
        benchmarks: the same for what pytest-benchmark saved.
        data_dir: the user's folder of data files.
        unmatched: whether seeds that one side alone has are allowed, whatever the claims say.
        trains: whether invariants may load checkpoints, evaluate and train for a moment.
        say: told which runs are left out, as they are of an earlier version of the user's files or of the experiment.
        absent: whether claims about an experiment or a group without any run are left out, instead of an error.
    """

    claims: Claims
    store: Store
    groups: Mapping[str, str] = field(default_factory=dict)
    only: str | None = None
    baseline: Path | None = None
    benchmarks: Path | None = None
    data_dir: str | None = None
    trains: bool = False
    unmatched: bool = False
    say: Callable[[str], None] = lambda words: None
    absent: bool = False
    _loaded: dict[str, list[StoredRun]] = field(default_factory=dict)
    _there: dict[str, bool] = field(default_factory=dict)

    def select(self, claim: Claim) -> list[StoredRun]:
        """Return the runs that a claim is about; none if there are runs, and none of them has its options.

        Raises:
            BadInput: there are no runs at all, or an option that none has.
        """
        chosen = parse_selection(self.only or "", "--only")
        return [run for run in self._about(claim) if chosen.meets(run.id, self.own(claim), run.option)]

    def names_seeds(self, claim: Claim) -> bool:
        """Say whether the claim or `only` chooses seeds, or single runs, so that not all of a baseline are asked for."""
        chosen = parse_selection(self.only or "", "--only")
        return "seed" in claim.where or "seed" in chosen.where or chosen.name not in ("", self.own(claim))

    def compare(self, claim: Claim) -> tuple[str, ...]:
        """Return the options that the experiment of a claim compares; by default the algorithm."""
        experiment = self.claims.experiment(claim)
        return experiment.figure.compare if experiment else selection.COMPARE

    def differ(self, claim: Claim) -> tuple[str, ...]:
        """Return the options in which curves of a claim's experiment may differ besides what it compares."""
        experiment = self.claims.experiment(claim)
        return experiment.figure.differ if experiment else ()

    def panels(self, claim: Claim) -> tuple[str, ...]:
        """Return the options by which the panels of a claim's experiment differ."""
        return selection.panel_options(self._group(claim), self.claims.experiment(claim))

    def kinds(self, claim: Claim) -> tuple[str, ...]:
        """Return the options by which kinds of runs are told apart; those of one kind differ in their seeds alone."""
        return (*self.compare(claim), *self.panels(claim))

    def left_out(self, claim: Claim) -> bool:
        """Say whether a claim has all the runs that it is about without `only`, and not with it; or none at all, if `absent`."""
        if self.absent and not self.has_runs(claim):
            return True
        if not self.only or isinstance(claim, Benchmark):
            return False
        have, left = (
            {run.curve(self.compare(claim)) for run in runs} for runs in (self._about(claim), self.select(claim))
        )
        if experiment := self.claims.experiment(claim):  # with --run, those that `only` leaves out are not even made
            have |= {curve for curve, _ in experiment.asked_for(claim.where)}
        needed = {claim.above, claim.below} if isinstance(claim, Order) else set()
        return (bool(have) and not left) or (needed <= have and not needed <= left)

    def has_runs(self, claim: Claim) -> bool:
        """Say whether the experiment or group of a claim has any run; that of a claim about none has what it needs."""
        if isinstance(claim, Benchmark):
            return True
        own = self.own(claim)
        group = self.groups.get(own, own)
        if group not in self._there:  # many claims are about one
            self._there[group] = any(True for _ in self.store.runs(group))
        return self._there[group]

    def _group(self, claim: Claim) -> list[StoredRun]:
        """Return all runs of a claim's experiment or group; BadInput if there are none."""
        experiment, own = self.claims.experiment(claim), self.own(claim)
        group = self.groups.get(own, own)
        if group not in self._loaded:
            runs = selection.load(self.store.runs(group))
            if not runs:
                hint = f"`harness check {self.claims.called} --run` makes them" if experiment else "see `harness list`"
                raise self.refusal(claim, f"there are no runs of {own} in {str(self.store.root)!r}: {hint}")
            for words in foreign.remarks(runs):
                self.say(words)
            self._loaded[group] = present(runs, experiment, self.say)
        return self._loaded[group]

    def own(self, claim: Claim) -> str:
        """Return what the group of a claim's runs is called by itself or by its experiment."""
        experiment = self.claims.experiment(claim)
        return experiment.name if experiment else str(claim.group)

    def _about(self, claim: Claim) -> list[StoredRun]:
        """Return the runs that a claim is about, whatever `only` says."""
        runs = self._group(claim)
        known = selection.options(runs)
        for name in (*claim.where, *getattr(claim, "per", ()), *getattr(claim, "differing", ())):
            if name not in known:
                why = f"runs cannot be chosen by {name!r}{suggestion(name, known)}: no run has that option"
                raise self.refusal(claim, why)
        return selection.select(runs, claim.where)

    @cached_property
    def reference(self) -> list[StoredRun]:
        """The baseline's runs; BadInput if there is no baseline."""
        path = self.baseline or self.claims.baseline
        if path is None:
            raise BadInput(
                f'{self.claims.path}: a claim needs a baseline, and the file names none: give baseline = "FILE" above all '
                "claims, or --baseline FILE"
            )
        return baseline.runs(baseline.read(path))

    def refusal(self, claim: Claim, why: str) -> BadInput:
        """Return the error that a claim cannot be checked, with its line."""
        return BadInput(f"{self.claims.place(claim)}: {why}")
