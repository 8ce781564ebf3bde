"""Claims about stored runs, held or not: what CI asks (DESIGN §1). Higher is better for every estimate, in nats per datapoint."""

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from harness import baseline, curves, differences
from harness.claims import Baseline, Benchmark, Bound, Claim, Claims, Cost, Invariant, Judged, Order, Paper
from harness.curves import Stored
from harness.differences import Difference
from harness.errors import BadInput, suggestion
from harness.experiment import conditions, same
from harness.store import Run, Store

if TYPE_CHECKING:
    from harness.sweep import Crew
    from harness.workers import Outcome

Says = Literal["holds", "better", "cannot tell", "fails"]

R = TypeVar("R")

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
        experiment = self.claims.experiment(claim)
        own = experiment.name if experiment else str(claim.group)
        group = self.groups.get(own, own)
        if group not in self._loaded:
            self._loaded[group] = [(run, run.content()) for run in self.store.runs(group)]
        runs = self._loaded[group]
        if not runs:
            hint = f"`harness check {self.claims.called} --run` makes them" if experiment else "see `harness list`"
            raise self.refusal(claim, f"there are no runs of {own} in {str(self.store.root)!r}: {hint}")
        self._require_options(claim, [stored for _, stored in runs])
        return [one for one in runs if self._has(one[1], claim.where)]

    def left_out(self, claim: Claim) -> bool:
        """Say whether `only` leaves a claim without a run that it is about."""
        if not self.only or isinstance(claim, Benchmark):
            return False
        wanted = conditions(self.only)
        names = [claim.above, claim.below] if isinstance(claim, Order) else [None]
        return any(
            not any(
                all(any(same(curves.option(stored[0].spec, n), v) for v in values) for n, values in wanted.items())
                for stored in self.select(claim)
                if name in (None, stored[0].spec["algorithm"]["name"])
            )
            for name in names
        )

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

    def _has(self, stored: Stored, where: Mapping[str, Any]) -> bool:
        return all(same(curves.option(stored[0].spec, name), value) for name, value in where.items())

    def _require_options(self, claim: Claim, runs: Sequence[Stored]) -> None:
        """Raise BadInput for options that no run has."""
        known = {"algo", "model", "dataset", "n-train", "seed", "threads", "device"}
        for record, _ in runs:
            for part in ("algorithm", "model", "dataset"):
                known |= {name.replace("_", "-") for name in record.spec[part]["settings"]}
        per = claim.per if isinstance(claim, Judged) else ()
        for name in (*claim.where, *per):
            if name not in known:
                raise self.refusal(
                    claim, f"runs cannot be chosen by {name!r}{suggestion(name, known)}: no run has that option"
                )


def make(claims: Claims, crew: "Crew", only: str | None = None) -> tuple[dict[str, str], list["Outcome"]]:
    """Make the runs that claims are about, by the code as it is now.

    They belong to groups `check-<experiment>-<fingerprint of the code>`, so that runs of other code are never taken for its own,
    and those that are there already are not made again.

    Returns:
        The groups by the names of the experiments, and how every run ended.

    Raises:
        BadInput: no claim is about an experiment, or options make no run.
        Interrupted, StoreTrouble: as `Sweep.run` raises them.
    """
    from harness.provenance import fingerprint
    from harness.sweep import Sweep

    groups, ended = {}, []
    for experiment in claims.experiments():
        groups[experiment.name] = f"check-{experiment.name}-{fingerprint()}"
        ended += Sweep(crew, experiment, only, group=groups[experiment.name]).run()
    if not groups:
        raise BadInput(
            f"{claims.path}: its claims are about no experiment, so --run does not know what to make: leave it out"
        )
    return groups, ended


def check(evidence: Evidence) -> list[Verdict]:
    """Hold every claim of a file against the runs that there are.

    A claim that selects nothing fails. A baseline claim that cannot be told is no failure.

    Raises:
        BadInput: a claim about runs, options or a baseline that do not exist or do not fit, or over too few seeds.
    """
    judges: dict[type[Claim], Callable[[Any, Evidence], Iterator[Verdict]]] = {
        Bound: _bound, Order: _order, Baseline: _baseline, Paper: _paper, Cost: _cost, Benchmark: _benchmark,
        Invariant: _invariant,
    }  # fmt: skip
    out: list[Verdict] = []
    for claim in evidence.claims.claims:
        if not evidence.left_out(claim):
            found = list(judges[type(claim)](claim, evidence))
            out += found or [Verdict(claim, "", None, None, "", "fails", "it selects no run")]
    if not out:
        raise BadInput(f"--only is {evidence.only!r}, and no claim of {evidence.claims.called} is about such runs")
    return out


# -- what claims have in common


def parts(runs: Sequence[R], options: Sequence[str], stored: Callable[[R], Stored]) -> Iterator[tuple[str, list[R]]]:
    """Yield runs apart by the values of options, with words for each part; `stored` gets at a run's content."""
    keys = [tuple(curves.option(stored(run)[0].spec, name) for name in options) for run in runs]
    for key in dict.fromkeys(keys):
        yield words(options, key), [run for run, own in zip(runs, keys, strict=True) if own == key]


def _parts(runs: Sequence[Stored], options: Sequence[str]) -> Iterator[tuple[str, list[Stored]]]:
    return parts(runs, options, lambda stored: stored)


def words(options: Sequence[str], values: Sequence[Any]) -> str:
    """Return the values of options in short: names alone where they tell what they are."""
    named = {name: value for name, value in zip(options, values, strict=True) if value is not None}
    return " ".join(str(value) if name in ("algo", "dataset") else f"{name}={value}" for name, value in named.items())


def _values(
    claim: Judged,
    runs: Sequence[Stored],
    mark: float | str,
    key: Callable[[Stored], Any],
    beside: Sequence[Stored] = (),
) -> tuple[Values, str]:
    """Return the estimates at a mark, all over the same points as those `beside`, and why there are none."""
    rows = [(stored, row) for stored in runs if (row := curves.row_at(stored, mark)) is not None]
    if not rows:
        far = sorted({int(curves.mark(stored[0], stored[1][-1])) for stored in runs if stored[1]})
        ends = " and ".join(f"{n:,}" for n in far[:3])
        return {}, f"no run has a row at {_mark(mark)}" + (f": they end at {ends} samples" if ends else "")
    others = [row for stored in beside if (row := curves.row_at(stored, mark)) is not None]
    points = curves.common_points([row for _, row in rows] + others)
    out = {}
    for stored, row in rows:
        if (value := curves.value(row, claim.estimator, claim.split, points)) is not None:
            out[key(stored)] = value
    return out, "" if out else f"no run has an estimate by {claim.estimator} on {claim.split} at {_mark(mark)}"


def _mark(mark: float | str) -> str:
    return "the end" if isinstance(mark, str) else f"{mark:,.0f} samples"


def _about(words: str, mark: float | str) -> str:
    return f"{words} at {_mark(mark)}".strip()


def _lost(runs: Sequence[Stored], mark: float | str) -> str | None:
    """Return in words which run of a selection ended badly before a mark."""
    for stored in runs:
        if stored[0].status in ("diverged", "failed") and curves.row_at(stored, mark) is None:
            return f"run {stored[0].run} {stored[0].status}: {stored[0].reason}"
    return None


def _seed(stored: Stored) -> Any:
    return stored[0].spec["seed"]


def _require_seeds(claim: Claim, evidence: Evidence, values: Mapping[Any, float], about: str) -> None:
    if len(values) == 1 and type(claim).needs > 1:
        raise evidence.refusal(
            claim,
            f"{claim.title()}: there is one seed ({about}), and an interval needs two: add seeds to the experiment",
        )


KIND = ("algo", "dataset", "nz", "n-train")
"""Options by which runs of one kind, which differ in their seeds alone, are told apart."""


# -- kinds of claim


def _bound(claim: Bound, evidence: Evidence) -> Iterator[Verdict]:
    required = " and ".join(
        f"{word} {limit:g}{sign}{claim.tolerance:g}" if claim.tolerance else f"{word} {limit:g}"
        for word, limit, sign in (("≥", claim.least, " - "), ("≤", claim.most, " + "))
        if math.isfinite(limit)
    )
    for part, runs in _parts(evidence.select(claim), claim.per):
        for mark in claim.at:
            about = _about(part, mark)
            values, without = _values(claim, runs, mark, lambda stored: stored[0].run)
            if lost := _lost(runs, mark) or without:
                yield Verdict(claim, about, None, None, required, "fails", lost)
                continue
            found = differences.mean(list(values.values()))
            low, high = claim.least - claim.tolerance - found.mean, found.mean - claim.most - claim.tolerance
            over = max(low, high)
            where = "below" if low > high else "above"
            why = f"{over:.3g} nats {where} what is allowed" if over > 0 else f"mean of {_runs(found.n)}"
            yield Verdict(claim, about, found.mean, found.error, required, "fails" if over > 0 else "holds", why)


def _order(claim: Order, evidence: Evidence) -> Iterator[Verdict]:
    required = f"> 0 at {claim.level:.0%}"
    chosen = evidence.select(claim)
    there = {record.spec["algorithm"]["name"] for record, _ in chosen}
    for name in (claim.above, claim.below):
        if chosen and name not in there:
            raise evidence.refusal(
                claim, f"no run is by {name!r}{suggestion(name, there)}: choose of {', '.join(sorted(there))}"
            )
    for part, runs in _parts(chosen, claim.per):
        for mark in claim.at:
            about = _about(f"{claim.above} less {claim.below} {part}", mark)
            sides = []
            for name in (claim.above, claim.below):
                own = [stored for stored in runs if stored[0].spec["algorithm"]["name"] == name]
                without = f"there is no run by {name}" if not own else _lost(own, mark)
                values: Values = {}
                if not without:
                    values, without = _values(claim, own, mark, _place, beside=runs)
                sides.append((values, without))
            if lost := next((without for _, without in sides if without), None):
                yield Verdict(claim, about, None, None, required, "fails", lost)
                continue
            shared = sides[0][0].keys() & sides[1][0].keys()
            _require_seeds(claim, evidence, dict.fromkeys(shared, 0.0) or {None: 0.0}, about)
            found = differences.mean([sides[0][0][key] - sides[1][0][key] for key in shared])
            half = found.half(claim.level)
            interval = f"{_pairs(found)}, interval from {found.mean - half:+.3g}"
            if found.mean - half > 0:
                yield Verdict(claim, about, found.mean, found.error, required, "holds", interval)
            else:
                why = (
                    f"it is below: {interval}"
                    if found.mean + half < 0
                    else f"not shown: {interval}{_more(found, 0.0, claim.level)}"
                )
                yield Verdict(claim, about, found.mean, found.error, required, "fails", why)


def _place(stored: Stored) -> Any:
    """Return what runs of two algorithms are paired over: their panel and their seed."""
    return (*curves.panel(stored[0].spec).values(), _seed(stored))


def _baseline(claim: Baseline, evidence: Evidence) -> Iterator[Verdict]:
    required = f"≥ -{claim.tolerance:g}"
    for part, runs in _parts(evidence.select(claim), KIND):
        reference = _like(runs[0], evidence)
        _require_comparable(claim, evidence, runs, reference, part)
        for mark in claim.at:
            about = _about(part, mark)
            old, missing = _values(claim, reference, mark, _seed, beside=runs)
            if missing:
                raise evidence.refusal(
                    claim,
                    f"the baseline has no estimate by {claim.estimator} on {claim.split} at "
                    f"{_mark(mark)} of {part}: save it again with `harness baseline save {evidence.claims.called}`",
                )
            new, without = _values(claim, runs, mark, _seed, beside=reference)
            if lost := _lost(runs, mark) or without:
                yield Verdict(claim, about, None, None, required, "fails", lost)
                continue
            _require_seeds(claim, evidence, new if len(new) < len(old) else old, about)
            found = differences.difference(new, old)
            says, why = no_worse(found, claim.tolerance, claim.level)
            yield Verdict(claim, about, found.mean, found.error, required, says, why)


def no_worse(found: Difference, tolerance: float, level: float) -> tuple[Says, str]:
    """Judge a difference, new less old: it fails only where its one-sided interval excludes a loss within the tolerance."""
    half = found.half(level)
    pairs = _pairs(found)
    if found.mean + half < -tolerance:
        return "fails", f"worse, and by {-(found.mean + half):.3g} nats or more: {pairs}"
    if found.mean - half > 0:
        return "better", f"better, and by {found.mean - half:.3g} nats or more: {pairs}"
    if found.mean - half >= -tolerance:
        least = tolerance + found.detectable(level)
        return "holds", f"{pairs}; a loss of {least:.2g} nats would be noticed 95 times of 100"
    return "cannot tell", f"the loss may be {half - found.mean:.3g} nats: {pairs}{_more(found, -tolerance, level)}"


def _like(stored: Stored, evidence: Evidence) -> list[Stored]:
    """Return the baseline's runs of the same kind as a run."""
    kind = [curves.option(stored[0].spec, name) for name in KIND]
    return [one for one in evidence.reference if [curves.option(one[0].spec, name) for name in KIND] == kind]


def _require_comparable(
    claim: Baseline, evidence: Evidence, runs: Sequence[Stored], reference: Sequence[Stored], words: str
) -> None:
    """Raise BadInput, naming the difference, where runs and baseline are not of the same data and settings."""
    again = f"save it again with `harness baseline save {evidence.claims.called}`"
    if not reference:
        raise evidence.refusal(claim, f"the baseline has no runs of {words}: {again}")
    for stored in (*runs, *reference[1:]):
        found = curves.difference(reference[0][0], stored[0], except_for=claim.differing)
        if found is not None:
            what, one, two = found
            hint = (
                ""
                if what.startswith("data")
                else f", or name {what.rpartition('.')[2].replace('_', '-')!r} in differing"
            )
            raise evidence.refusal(
                claim,
                f"{words} cannot be compared with the baseline, which has {what} {one} where "
                f"{stored[0].run} has {two}: {again}{hint}",
            )


def _paper(claim: Paper, evidence: Evidence) -> Iterator[Verdict]:
    required = f"≥ -{claim.within:g}"
    experiment = evidence.claims.experiment(claim)
    recipe = experiment.figure if experiment else None
    for part, runs in _parts(evidence.select(claim), KIND):
        record = runs[0][0]
        panel = curves.reference(recipe, curves.panel(record.spec)) if recipe else None
        for mark in claim.at:
            about = _about(part, mark)
            values, without = _values(claim, runs, mark, _seed)
            if lost := _lost(runs, mark) or without:
                yield Verdict(claim, about, None, None, required, "fails", lost)
                continue
            samples = mark if not isinstance(mark, str) else min(curves.mark(record, rows[-1]) for record, rows in runs)
            name = record.spec["algorithm"]["name"]
            published = (
                recipe and panel and curves.published_at(str(recipe.reference), panel, name, claim.split, samples)
            )
            if not published:
                raise evidence.refusal(
                    claim,
                    f"there is no published curve of {part} at {samples:,.0f} samples to be near: "
                    "leave the claim out, or choose another mark",
                )
            found = differences.mean([value - published for value in values.values()])
            says: Says = "holds" if abs(found.mean) <= claim.within else "better" if found.mean > 0 else "fails"
            why = f"{found.mean + published:.2f}, the paper has {published:.2f}: {_runs(found.n)}"
            yield Verdict(claim, about, found.mean, found.error, required, says, why)


def _cost(claim: Cost, evidence: Evidence) -> Iterator[Verdict]:
    for part, runs in _parts(evidence.select(claim), KIND):
        spent = [
            (record.ledger["cpu_seconds"] / record.ledger["samples"], record) for record, _ in runs if _spent(record)
        ]
        if not spent:
            yield Verdict(claim, part, None, None, "", "fails", "no run has spent anything")
            continue
        if claim.at_most is not None:
            found = statistics.median(1000 * each / _kernel(record) for each, record in spent)
            says: Says = "holds" if found <= claim.at_most else "fails"
            why = f"calibration kernels for a thousand samples, median of {_runs(len(spent))}"
            yield Verdict(claim, part, found, None, f"≤ {claim.at_most:g}", says, why)
        if claim.times_baseline is not None:
            required = f"≤ {claim.times_baseline:g} × baseline"
            old = [record for record, _ in _like(runs[0], evidence) if _spent(record)]
            if not old:
                raise evidence.refusal(claim, f"the baseline has no runs of {part}: save it again")
            machines = [{_machine(record) for record in records} for records in ([r for _, r in spent], old)]
            if machines[0] != machines[1]:
                here, there = (" and ".join(sorted(one)) for one in machines)
                why = f"these runs are from {here}, and the baseline's from {there}"
                yield Verdict(claim, part, None, None, required, "cannot tell", why)
                continue
            before = statistics.median(record.ledger["cpu_seconds"] / record.ledger["samples"] for record in old)
            times = statistics.median(each for each, _ in spent) / before
            says = "holds" if times <= claim.times_baseline else "fails"
            yield Verdict(
                claim, part, times, None, required, says, f"CPU seconds a sample, median of {_runs(len(spent))}"
            )


def _spent(record: Any) -> bool:
    return bool(record.status == "done" and record.ledger.get("samples"))


def _kernel(record: Any) -> float:
    """Return what the calibration kernel took where a run was made: the median over its sittings."""
    return float(statistics.median(sitting["calibration_seconds"] for sitting in record.provenance))


def _machine(record: Any) -> str:
    return f"{record.provenance[-1]['machine']['cpu']} with {record.provenance[-1]['threads']} threads"


def _benchmark(claim: Benchmark, evidence: Evidence) -> Iterator[Verdict]:
    path = evidence.benchmarks or evidence.claims.benchmarks
    make = "make one with `pytest -n 0 tests/benchmarks --benchmark-json FILE`"
    if path is None:
        raise evidence.refusal(claim, f"no file of benchmarks is named: give --benchmarks FILE; {make}")
    try:
        found = {one["name"]: one["extra_info"] for one in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]}
    except OSError as error:
        raise BadInput(f"the benchmarks {str(path)!r} cannot be read ({error.strerror}): {make}") from None
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{str(path)!r} is nothing that pytest-benchmark saved: {make}") from None
    if claim.test not in found:
        raise evidence.refusal(
            claim,
            f"{str(path)!r} has no benchmark {claim.test!r}{suggestion(claim.test, found)}: it has "
            f"{', '.join(sorted(found)) or 'none'}",
        )
    ratio = found[claim.test].get("ratio")
    if not isinstance(ratio, int | float):
        raise evidence.refusal(
            claim, f"benchmark {claim.test!r} has no ratio to a floor: its test must set benchmark.extra_info['ratio']"
        )
    says: Says = "holds" if ratio <= claim.at_most else "fails"
    yield Verdict(
        claim, claim.test, float(ratio), None, f"≤ {claim.at_most:g}", says, "times its floor, in one process"
    )


def _invariant(claim: Invariant, evidence: Evidence) -> Iterator[Verdict]:
    from harness import invariants  # PyTorch is imported by claims that need it

    if claim.holds in invariants.TRAIN and not evidence.trains:
        for about, _ in _parts(evidence.select(claim), KIND):
            yield Verdict(
                claim, about, None, None, "", "cannot tell", "needs data, checkpoints and a moment: give --run"
            )
        return
    for about, found in invariants.HOLDS[claim.holds](claim, evidence):
        yield Verdict(claim, about, found.observed, found.error, found.required, found.says, found.why)


# -- words


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"


def _pairs(found: Difference) -> str:
    return f"{found.n} pairs" if found.paired else f"unpaired, {found.n} seeds or more a side"


def _more(found: Difference, border: float, level: float) -> str:
    more = found.more_seeds(border, level)
    return (
        f"; needs about {more} more seeds" if more is not None else f"; needs more than {differences.MOST_SEEDS} seeds"
    )


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


def failed(verdicts: Sequence[Verdict], *, strict: bool = False) -> bool:
    """Say whether a claim fails, or with `strict` cannot be told."""
    return any(verdict.says == "fails" or (strict and verdict.says == "cannot tell") for verdict in verdicts)
