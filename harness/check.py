"""Claims about stored runs, held or not: what CI asks (DESIGN §1). Higher is better for every estimate, in nats per datapoint."""

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from harness import baseline, curves, differences
from harness.claims import Baseline, Benchmark, Bound, Claim, Claims, Cost, Invariant, Judged, Order, Paper
from harness.curves import Stored
from harness.differences import Difference
from harness.errors import BadInput, suggestion
from harness.experiment import conditions
from harness.files import from_json, read_file
from harness.store import Record, Run, Store

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
        known = curves.options(stored for _, stored in runs)
        for name in (*claim.where, *getattr(claim, "per", ()), *getattr(claim, "differing", ())):
            if name not in known:
                why = f"runs cannot be chosen by {name!r}{suggestion(name, known)}: no run has that option"
                raise self.refusal(claim, why)
        wanted = {name: {value} for name, value in claim.where.items()}
        return [(run, stored) for run, stored in runs if self._meets(stored, wanted)]

    @staticmethod
    def _meets(stored: Stored, wanted: Mapping[str, Collection[Any]]) -> bool:
        return bool(curves.wanted([stored], wanted))

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


def make(claims: Claims, crew: "Crew", only: str | None = None) -> tuple[dict[str, str], list["Outcome"]]:
    """Make the runs that claims are about, by the code as it is now.

    They belong to groups `check-<experiment>-<fingerprint of code and experiment>`, so that runs of other code are never taken
    for its own, and those that are there already are not made again.

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
        groups[experiment.name] = f"check-{experiment.name}-{fingerprint(experiment.path.read_bytes())}"
        ended += Sweep(crew, experiment, only, group=groups[experiment.name]).run()
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


class _Taken(NamedTuple):
    """Estimates of a selection of runs at a mark.

    Attributes:
        values: by what they are paired over.
        mark: where they are, samples.
        trouble: why the claim fails before it is judged: a run that has none although it should.
        note: what else there is to say: runs whose budget ends before.
    """

    values: Values
    mark: float = math.nan
    trouble: str = ""
    note: str = ""


def _take(
    claim: Judged,
    evidence: Evidence,
    runs: Sequence[Stored],
    mark: float | str,
    key: Callable[[Stored], Any],
    beside: Sequence[Stored] = (),
) -> _Taken:
    """Return the estimates at a mark, all over the same points as those `beside`.

    Raises:
        BadInput: two runs that would count as one, or ends at different marks.
    """
    rows = {stored[0].run: row for stored in runs if (row := curves.row_at(stored, mark)) is not None}
    short = 0
    for record, own in runs:
        if record.run not in rows and record.status == "done":
            short += 1
        elif record.run not in rows:
            reason = f": {record.reason}" if record.reason else f" after {len(own)} rows"
            return _Taken({}, trouble=f"run {record.run} is {record.status}{reason}")
    if not rows:
        said = "" if isinstance(mark, str) else f": the nearest marks are {curves.nearest(runs, mark)}"
        return _Taken({}, trouble=f"no run has a row at {_mark(mark)}{said}")
    others = [(stored, row) for stored in beside if (row := curves.row_at(stored, mark)) is not None]
    chosen = [stored for stored in runs if stored[0].run in rows]
    marks = {curves.mark(stored[0], rows[stored[0].run]) for stored in chosen}
    if isinstance(mark, str) and len(ends_ := marks | {curves.mark(stored[0], row) for stored, row in others}) > 1:
        said = " and ".join(f"{n:,.0f}" for n in sorted(ends_)[:3])
        raise evidence.refusal(claim, f"runs end at {said} samples, so their ends do not compare: give a mark as at")
    points = curves.common_points([*rows.values(), *(row for _, row in others)])
    out: Values = {}
    whose: dict[Any, Stored] = {}
    for stored in chosen:
        record = stored[0]
        value, place = curves.value(rows[record.run], claim.estimator, claim.split, points), key(stored)
        if value is None:
            why = f"run {record.run} has no finite estimate by {claim.estimator} on {claim.split} at {_mark(mark)}"
            return _Taken({}, trouble=why)
        if place in whose:
            found = curves.difference(whose[place][0], record)
            what = f"{found[0]} {found[1]} and {found[2]}" if found else "nothing"
            raise evidence.refusal(
                claim,
                f"{whose[place][0].run} and {record.run} would count as one, and differ in {what}: say which with where",
            )
        out[place], whose[place] = value, stored
    note = f", {_runs(short)} shorter" if short else ""
    return _Taken(out, max(marks), note=note)


def _mark(mark: float | str) -> str:
    return "the end" if isinstance(mark, str) else f"{mark:,.0f} samples"


def _about(words: str, mark: float | str) -> str:
    return f"{words} at {_mark(mark)}".strip()


def _seed(stored: Stored) -> Any:
    return stored[0].spec["seed"]


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
            taken = _take(claim, evidence, runs, mark, lambda stored: stored[0].run)
            if taken.trouble:
                yield Verdict(claim, about, None, None, required, "fails", taken.trouble)
                continue
            found = differences.mean(list(taken.values.values()))
            low, high = claim.least - claim.tolerance - found.mean, found.mean - claim.most - claim.tolerance
            over = max(low, high)
            where = "below" if low > high else "above"
            why = f"{over:.3g} nats {where} what is allowed" if over > 0 else f"mean of {_runs(found.n)}{taken.note}"
            yield Verdict(claim, about, found.mean, found.error, required, "fails" if over > 0 else "holds", why)


def _order(claim: Order, evidence: Evidence) -> Iterator[Verdict]:
    required = f"> 0 at {claim.level:.0%}"
    chosen = evidence.select(claim)
    there = {record.spec["algorithm"]["name"] for record, _ in chosen}
    for name in (claim.above, claim.below):
        if chosen and name not in there:
            choices = ", ".join(sorted(there))
            raise evidence.refusal(claim, f"no run is by {name!r}{suggestion(name, there)}: choose of {choices}")
    for part, runs in _parts(chosen, claim.per):
        for panel, own in _parts(runs, curves.PANEL):
            curves.require_alike(own, f"{evidence.claims.place(claim)}: {panel}")
        for mark in claim.at:
            about = _about(" ".join((claim.above, "less", claim.below, part)).strip(), mark)
            sides = [
                _take(claim, evidence, [s for s in runs if s[0].spec["algorithm"]["name"] == name], mark, _place, runs)
                for name in (claim.above, claim.below)
            ]
            if trouble := sides[0].trouble or sides[1].trouble:
                yield Verdict(claim, about, None, None, required, "fails", trouble)
                continue
            shared = sides[0].values.keys() & sides[1].values.keys()
            _require_pairs(claim, evidence, len(shared), about)
            found = differences.mean(
                [sides[0].values[place] - sides[1].values[place] for place in sorted(shared, key=str)]
            )
            half = found.half(claim.level)
            interval = f"{found.n} pairs of panel and seed, interval from {found.mean - half:+.3g}"
            if found.mean - half > 0:
                says, why = "holds", interval
            elif found.mean + half < 0:
                says, why = "fails", f"it is below: {interval}"
            else:
                says, why = "fails", f"not shown: {interval}{_more(found, 0.0, claim.level)}"
            yield Verdict(claim, about, found.mean, found.error, required, says, why)  # type: ignore[arg-type]


def _require_pairs(claim: Claim, evidence: Evidence, n: int, about: str) -> None:
    """Raise BadInput where there are not two pairs to tell an interval from."""
    if n < type(claim).needs:
        count = "no seed that both sides have" if n == 0 else "one seed alone"
        raise evidence.refusal(
            claim, f"{about} there is {count}, and an interval needs two: add seeds to the experiment"
        )


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
            old = _take(claim, evidence, reference, mark, _seed, beside=runs)
            if old.trouble:
                again = f"save it again with `harness baseline save {evidence.claims.called}`"
                raise evidence.refusal(claim, f"in the baseline, {old.trouble}: {again}")
            new = _take(claim, evidence, runs, mark, _seed, beside=reference)
            if new.trouble:
                yield Verdict(claim, about, None, None, required, "fails", new.trouble)
                continue
            _require_pairs(claim, evidence, min(len(new.values), len(old.values)), about)
            found = differences.difference(new.values, old.values)
            says, why = no_worse(found, claim.tolerance, claim.level)
            yield Verdict(claim, about, found.mean, found.error, required, says, why + new.note)


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
    more = _more(found, -tolerance, level)
    return "cannot tell", f"the loss may be {half - found.mean:.3g} nats: {pairs}{more}, in the baseline too"


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
        curves.require_alike(runs, f"{evidence.claims.place(claim)}: {part}")
        spec = runs[0][0].spec
        panel = curves.reference(recipe, curves.panel(spec)) if recipe else None
        for mark in claim.at:
            about = _about(part, mark)
            taken = _take(claim, evidence, runs, mark, _seed)
            if taken.trouble:
                yield Verdict(claim, about, None, None, required, "fails", taken.trouble)
                continue
            published = None
            if recipe and panel:
                name = spec["algorithm"]["name"]
                published = curves.published_at(str(recipe.reference), panel, name, claim.split, taken.mark)
            if published is None:
                why = f"there is no published curve of {part} at {taken.mark:,.0f} samples to be near: choose another mark"
                raise evidence.refusal(claim, why)
            found = differences.mean([value - published for value in taken.values.values()])
            says: Says = "holds" if abs(found.mean) <= claim.within else "better" if found.mean > 0 else "fails"
            why = f"{found.mean + published:.2f}, the paper has {published:.2f}: {_runs(found.n)}{taken.note}"
            yield Verdict(claim, about, found.mean, found.error, required, says, why)


def _cost(claim: Cost, evidence: Evidence) -> Iterator[Verdict]:
    for part, runs in _parts(evidence.select(claim), KIND):
        curves.require_alike(runs, f"{evidence.claims.place(claim)}: {part}")
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
                why = f"calibration kernels for a thousand samples, median of {_runs(len(kernels))}"
                yield Verdict(claim, part, found, None, required, says, why)
        if claim.times_baseline is not None:
            required = f"≤ {claim.times_baseline:g} × baseline"
            old = [record for record, _ in _like(runs[0], evidence) if _spent(record)]
            if not old:
                raise evidence.refusal(claim, f"the baseline has no runs of {part}: save it again")
            here, there = ({_machine(record) for record in records} for records in (ended, old))
            if here != there:
                why = f"these runs are from {' and '.join(sorted(here))}, and the baseline's from {' and '.join(sorted(there))}"
                yield Verdict(claim, part, None, None, required, "cannot tell", why)
                continue
            times = statistics.median(map(_each, ended)) / statistics.median(map(_each, old))
            says = "holds" if times <= claim.times_baseline else "fails"
            why = f"CPU seconds a sample, median of {_runs(len(ended))}"
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


def _benchmark(claim: Benchmark, evidence: Evidence) -> Iterator[Verdict]:
    path = evidence.benchmarks or evidence.claims.benchmarks
    make = "make one with `pytest -n 0 tests/benchmarks --benchmark-json FILE`"
    if path is None:
        raise evidence.refusal(claim, f"no file of benchmarks is named: give --benchmarks FILE; {make}")
    try:
        content = from_json(read_file(path, baseline.MOST).decode())
        found = {str(one["name"]): one["extra_info"].get("ratio") for one in content["benchmarks"]}
    except OSError as error:
        raise BadInput(f"the benchmarks {str(path)!r} cannot be read ({error.strerror}): {make}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(f"{str(path)!r} is nothing that pytest-benchmark saved: {make}") from None
    if claim.test not in found:
        raise evidence.refusal(
            claim,
            f"{str(path)!r} has no benchmark {claim.test!r}{suggestion(claim.test, found)}: it has "
            f"{', '.join(sorted(found)) or 'none'}",
        )
    ratio = found[claim.test]
    if not (isinstance(ratio, int | float) and abs(ratio) < 1e300):
        raise evidence.refusal(
            claim, f"benchmark {claim.test!r} has no ratio to a floor: its test must set benchmark.extra_info['ratio']"
        )
    says: Says = "holds" if ratio <= claim.at_most else "fails"
    yield Verdict(
        claim, claim.test, float(ratio), None, f"≤ {claim.at_most:g}", says, "times its floor, in one process"
    )


def _invariant(claim: Invariant, evidence: Evidence) -> Iterator[Verdict]:
    from harness import invariants

    holds = invariants.HOLDS.get(claim.holds)
    if holds is None:
        if not evidence.trains:
            for about, _ in _parts(evidence.select(claim), KIND):
                why = "it takes checkpoints and training for a moment: give --run"
                yield Verdict(claim, about, None, None, "", "cannot tell", why)
            return
        from harness import probes  # PyTorch

        holds = probes.HOLDS[claim.holds]
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
