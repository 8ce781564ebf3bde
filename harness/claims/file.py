"""Claims about runs, from a TOML file: what `harness check` checks.

Every `[[claim]]` has a `kind`, which is one of the classes below, and may have a `name`, `where` (the options that its runs have)
and, instead of the file's own, an `experiment` or a `group` of the store where its runs are.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic

from harness.errors import BadInput, suggestion
from harness.specs import registry, toml
from harness.specs.experiment import Experiment
from harness.specs.recipes import Value
from harness.specs.toml import Part, TomlFile
from harness.specs.where import same
from harness.store.record import NAME

BUILT_IN = Path(__file__).parent.parent / "checks"


def built_in() -> list[str]:
    """Return the names of the files of claims that come with the harness."""
    return toml.built_in(BUILT_IN)


Mark = float | Literal["end", "best-valid"]

USES = {
    "tolerance": ("bias-order", "importance", "stationary"),
    "per-datapoint": ("ledger",),
    "points": ("importance",),
}
"""Which invariants use a key."""


class Claim(Part):
    """What every claim has.

    Attributes:
        kind: which claim it is.
        name: what it is called where it is reported.
        experiment: whose runs it is about: a built-in one or a .toml file, from the folder of the claims; by default the file's.
        group: instead of an experiment, a group of the store.
        where: options that its runs have.
    """

    needs: ClassVar[int] = 1  # seeds without which it tells nothing
    kind: str
    name: str | None = None
    experiment: str | None = None
    group: str | None = pydantic.Field(None, pattern=NAME)
    where: dict[str, Value] = pydantic.Field({})

    def title(self) -> str:
        """Return its name, or what it says in short."""
        return self.name or " ".join([self.kind, *(f"{name}={value}" for name, value in self.where.items())])


class ClaimAtMarks(Claim):
    """A claim about estimates at marks.

    Attributes:
        at: samples, one mark or several, "end", or "best-valid": the mark of each run that is best on the validation split.
        weights: of which parameters: "last", or "average", their mean over steps.
        estimator: whose estimates.
        split: over which points.
    """

    at: tuple[Mark, ...]
    weights: Literal["last", "average"] = "last"
    estimator: str = "lower-bound"
    split: Literal["train", "test"] = "test"

    @pydantic.field_validator("at", mode="before")
    @classmethod
    def _listed(cls, at: Any) -> Any:
        return at if isinstance(at, list) else [at]

    @pydantic.field_validator("at")
    @classmethod
    def _somewhere(cls, at: tuple[Mark, ...]) -> tuple[Mark, ...]:
        if not at or any(not isinstance(mark, str) and mark <= 0 for mark in at):
            raise ValueError('give samples above 0, one number or a list of them, "end" or "best-valid"')
        return at

    @pydantic.field_validator("estimator")
    @classmethod
    def _known(cls, estimator: str) -> str:
        names = registry.names("estimators")
        if estimator not in names:
            raise ValueError(
                f"there is no such estimator{suggestion(estimator, names)}: choose one of {', '.join(names)}"
            )
        return estimator


class Bound(ClaimAtMarks):
    """The mean over runs is at least `least` minus a tolerance, and at most `most` plus it. Nats.

    Runs with different values of the options in `per` are judged apart.
    """

    per: tuple[str, ...] = ()
    least: float = -math.inf
    most: float = math.inf
    tolerance: float = pydantic.Field(0.0, ge=0)

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> "Bound":
        if self.least == -math.inf and self.most == math.inf:
            raise ValueError("it bounds nothing: give least or most, in nats")
        return self


class Order(ClaimAtMarks):
    """`above` learns the better model than `below`: shown at a confidence level, one-sided.

    Both are names of curves: by default of algorithms, else values of what the experiment compares. Pairs have panel and seed in
    common. They count together, so that the interval is over panels as well as seeds, unless options in `per` set them apart.
    A pair that one of them lacks fails the claim, unless `allow_unmatched_seeds`.
    """

    needs: ClassVar[int] = 2
    per: tuple[str, ...] = ()
    above: str
    below: str
    level: float = pydantic.Field(0.95, gt=0.5, lt=1)
    allow_unmatched_seeds: bool = False


class Baseline(ClaimAtMarks):
    """No worse than the stored baseline by more than a tolerance (nats).

    It fails when a one-sided test over seeds shows that more is lost: paired where the seeds match, else not. So does a seed that
    has collapsed, and one that the runs or the baseline lack, unless `allow_unmatched_seeds`. See `harness.analysis.losses`.
    `differing` names settings that may differ from the baseline's, for when the effect of changing one is judged.
    """

    needs: ClassVar[int] = 2
    tolerance: float = pydantic.Field(gt=0)
    level: float = pydantic.Field(0.98, gt=0.5, lt=1)
    allow_unmatched_seeds: bool = False
    differing: tuple[str, ...] = ()


class Paper(ClaimAtMarks):
    """At most `within` nats below the published curve; what is above it by more than that is reported as better."""

    within: float = pydantic.Field(gt=0)


class Invariant(Claim):
    """What must hold of any sound run; `holds` says which, see `harness.claims.invariants` and `harness.claims.probes`.

    Attributes:
        holds: which.
        tolerance: the allowed deviation, in the unit of what is observed; None for its own default.
        per_datapoint: for `ledger`: counters, and what each counts for every training point presented.
        points: for `importance`: the number of test points.
    """

    holds: Literal["bias-order", "importance", "ledger", "resume", "fresh-fantasies", "stationary"]
    tolerance: float | None = pydantic.Field(None, ge=0)
    per_datapoint: dict[str, float] = pydantic.Field({})
    points: int = pydantic.Field(500, gt=1)

    @pydantic.model_validator(mode="after")
    def _of_use(self) -> "Invariant":
        for name, kinds in USES.items():
            if name.replace("-", "_") in self.model_fields_set and self.holds not in kinds:
                raise ValueError(f"{name} has no meaning for {self.holds}: it is for {', '.join(kinds)}")
        return self


class Cost(Claim):
    """CPU seconds of training, in units that survive a change of machine, the median over runs.

    Attributes:
        at_most: calibration kernels (`harness.runs.provenance.calibrate`) for a thousand samples.
        times_baseline: at most so many times the baseline's, which must be of the same processor and number of threads.
    """

    at_most: float | None = pydantic.Field(None, gt=0)
    times_baseline: float | None = pydantic.Field(None, gt=0)

    @pydantic.model_validator(mode="after")
    def _says_something(self) -> "Cost":
        if self.at_most is None and self.times_baseline is None:
            raise ValueError("it limits nothing: give at-most or times-baseline")
        return self


class Benchmark(Claim):
    """A ratio to a floor that was measured in the same process, from what pytest-benchmark saved (`--benchmark-json`).

    Attributes:
        test: the benchmark's name.
        at_most: what its `extra_info` has as `ratio` may be.
    """

    test: str
    at_most: float = pydantic.Field(gt=0)


KINDS: dict[str, type[Claim]] = {
    "bound": Bound, "order": Order, "baseline": Baseline, "paper": Paper, "invariant": Invariant, "cost": Cost,
    "benchmark": Benchmark,
}  # fmt: skip


class _File(Part):
    title: str = ""
    experiment: str | None = None
    group: str | None = pydantic.Field(None, pattern=NAME)
    baseline: str | None = None
    benchmarks: str | None = None
    claim: tuple[dict[str, Any], ...] = pydantic.Field(min_length=1)


class Claims:
    """A file of claims.

    Args:
        name: of a built-in one, or the path of a .toml file.

    Attributes:
        path: of the file.
        called: the name that was given.
        title: what the file says that it is about.
        claims: in order of the file.
        baseline: the file of the stored baseline, if it names one.
        benchmarks: the file that pytest-benchmark saved, if it names one.

    Raises:
        BadInput: there is none, it is not valid, or claims contradict one another: with the line.
    """

    def __init__(self, name: str):
        self.path, self.called = toml.find(name, BUILT_IN, "claims"), name
        self._toml = TomlFile(self.path)
        file = self._toml.validated(_File, self._toml.content, explain=_explained)
        self.title = file.title
        self.baseline, self.benchmarks = self._path(file.baseline), self._path(file.benchmarks)
        self._experiments: dict[str, Experiment] = {}
        self.claims = [self._claim(file, number, content) for number, content in enumerate(file.claim)]
        self._require_consistent()

    def line(self, claim: Claim) -> int:
        """Return the line at which a claim stands."""
        return self._toml.line(self._where(claim))

    def place(self, claim: Claim) -> str:
        """Return file and line of a claim."""
        return self._toml.place(self._where(claim))

    def experiment(self, claim: Claim) -> Experiment | None:
        """Return the experiment whose runs a claim is about; None where it names a group."""
        return self._experiments[claim.experiment] if claim.experiment is not None else None

    def experiments(self) -> Iterator[Experiment]:
        """Yield every experiment that a claim is about, once."""
        yield from self._experiments.values()

    def _where(self, claim: Claim) -> tuple[Any, ...]:
        return "claim", next(number for number, one in enumerate(self.claims) if one is claim)

    def _path(self, name: str | None) -> Path | None:
        """Return a path that is given relative to the folder of the claims."""
        return None if name is None else self.path.parent / name

    def _claim(self, file: _File, number: int, content: dict[str, Any]) -> Claim:
        where = ("claim", number)
        kind = content.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            said = "has no kind" if kind is None else f"is of kind {kind!r}{suggestion(str(kind), KINDS)}"
            raise BadInput(f"{self._toml.place((*where, 'kind'))}: this claim {said}: choose one of {', '.join(KINDS)}")
        claim = self._toml.validated(KINDS[kind], content, where)
        if claim.experiment is None and claim.group is None:
            claim = claim.model_copy(update={"experiment": file.experiment, "group": file.group})
        needs_no_runs = isinstance(claim, Benchmark)
        if (claim.experiment is None) == (claim.group is None) and not needs_no_runs:
            raise BadInput(
                f"{self._toml.place(where)}: a claim is about the runs of an experiment or of a group: give one of the "
                "two, in it or above all claims"
            )
        if claim.experiment is not None and claim.experiment not in self._experiments:
            name = claim.experiment
            at = (*where, "experiment") if self._toml.has((*where, "experiment")) else ("experiment",)
            try:
                found = Experiment(str(self.path.parent / name) if name.endswith(".toml") else name)
            except BadInput as error:
                raise BadInput(f"{self._toml.place(at)}: {error}") from None
            self._experiments[name] = found
        return claim

    def _require_consistent(self) -> None:
        """Raise BadInput where two claims cannot both hold."""
        for i, one in enumerate(self.claims):
            for other in self.claims[: i + 1]:
                if why := _contradiction(one, other):
                    raise BadInput(
                        f"{self.place(one)}: this claim contradicts the one of line {self.line(other)}: {why}"
                    )


def _explained(where: tuple[Any, ...], value: Any) -> str | None:
    if where == ("claim",):
        return "a file of claims needs one or more [[claim]], with double brackets"
    return None


def _contradiction(one: Claim, other: Claim) -> str | None:
    """Say why two claims cannot both hold, or one claim not by itself; None if they can."""
    if isinstance(one, Order) and isinstance(other, Order) and _of_the_same_runs(one, other):
        turned = (one.above, one.below) == (other.below, other.above)
        return f"{one.above} would be above {one.below} and below it" if turned else None
    if isinstance(one, Bound) and isinstance(other, Bound) and _of_the_same_runs(one, other):
        for low, high in ((one, other), (other, one)):
            if low.least - low.tolerance > high.most + high.tolerance:
                return f"at least {low.least:g} and at most {high.most:g}"
    return None


def _of_the_same_runs(one: ClaimAtMarks, other: ClaimAtMarks) -> bool:
    """Say whether two claims share some estimates."""
    sources = [(claim.experiment, claim.group, claim.weights, claim.estimator, claim.split) for claim in (one, other)]
    return (
        sources[0] == sources[1]
        and bool(set(one.at) & set(other.at))
        and one.where.keys() == other.where.keys()
        and all(same(value, other.where[name]) for name, value in one.where.items())
    )
