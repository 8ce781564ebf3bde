"""Whether stored runs are what they say, found by processes that share nothing with the ones that made them.

The stored model is evaluated again without its algorithm, or the run is made again, and what the store says is compared. Where
nothing has changed that numbers depend on they must agree in every bit; elsewhere rounding is allowed for.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from harness.analysis.stored_run import StoredRun
from harness.errors import BadInput, HarnessError, RunFailed, out_of_memory
from harness.runs.evaluate import Trained
from harness.runs.jobs import Outcome
from harness.runs.local import LocalExecutor
from harness.runs.pool import Connection, Last
from harness.runs.provenance import provenance
from harness.runs.runner import ensure
from harness.runs.stored_spec import stored_spec
from harness.specs.budget import Ledger
from harness.specs.horizon import up_to
from harness.specs.run import RunSpec
from harness.store.best import best_row
from harness.store.record import Record, changes
from harness.store.run import Run
from harness.store.store import Store
from harness.training.evaluation import Estimator
from harness.training.process import prepare_process, require_device

ROUNDING_NATS = 1e-3
"""What sums in another order may change in the mean of an estimate of one model: some ten times what they do in float32."""
CHAIN_ERRORS = 4.0
"""Standard errors of the estimator beyond that: the other rounding lets a Markov chain accept another move, and go elsewhere."""
TRAINED_NATS = 1.0
"""What it may change in the model that comes of training, as every step goes on from the rounding of those before."""

COUNTERS = tuple(vars(Ledger()))

Row = Mapping[str, Any]


class Verified(NamedTuple):
    """What was found about a run.

    Attributes:
        run: its id.
        says: whether what is stored agrees with what was computed again.
        rows: how many rows of the trace were compared.
        values: how many estimates of these.
        largest: the largest difference between two means, nats; None if none was compared.
        why: what differs first, why it cannot be told, or how far estimates may differ; in words.
    """

    run: str
    says: Literal["agrees", "differs", "cannot tell"]
    rows: int
    values: int
    largest: float | None
    why: str


def verify(runs: Sequence[Run], workers: int, data_dir: str | None = None, *, retrain: bool = False) -> list[Verified]:
    """Verify runs, each in a process of its own that has not imported their algorithms.

    Args:
        runs: the runs.
        workers: how many at a time.
        data_dir: the user's folder of data files.
        retrain: whether to make them again, instead of evaluating the models that are stored.

    Raises:
        Interrupted: a signal came.
    """
    executor = LocalExecutor(Store(Path(tempfile.gettempdir())), workers, data_dir)
    found: list[Verified | HarnessError] = executor.each(
        _verify, [(run.path, data_dir, retrain) for run in runs], lambda how: RunFailed(f"its process {how}")
    )
    return [
        Verified(run.id, "cannot tell", 0, 0, None, str(one)) if isinstance(one, HarnessError) else one
        for run, one in zip(runs, found, strict=True)
    ]


def failures(outcomes: Sequence[Outcome], executor: LocalExecutor) -> list[str]:
    """Return in words which of the runs that were made, or were there already, are not what they say.

    One without estimates, or whose checkpoint was removed, cannot be verified, and is none of them.
    """
    made = [one.job.stored(executor.store) for one in outcomes if one.status in ("done", "already")]
    chosen = [run for run in made if run.checkpoint_path.is_file() and any(row["estimates"] for row in run.rows())]
    found = verify(chosen, executor.workers, executor.data_dir)
    return [f"{one.run} does not verify: {one.why}" for one in found if one.says != "agrees"]


# What follows runs in the workers.


def _verify(_: Connection, path: Path, data_dir: str | None, retrain: bool) -> Last:
    try:
        found: Verified | HarnessError = (_trained_again if retrain else _evaluated_again)(Run(path), data_dir)
    except HarnessError as error:
        found = RunFailed(str(error))
    except Exception as error:
        why = "there is not enough memory for it" if out_of_memory(error) else f"{type(error).__name__}: {error}"
        found = RunFailed(why)
    return Last(found)


def _evaluated_again(run: Run, data_dir: str | None) -> Verified:
    """Evaluate the last, the averaged and the best parameters, those that there are, and compare the rows made of them."""
    record, rows = run.content()
    spec = stored_spec(run, record, executes=("models", "datasets", "estimators"))
    require_device(spec.device)
    models = [Trained(run, data_dir)]
    kept = run.best() if spec.evaluation.keep == "best-valid" else None
    if kept is not None:
        models.append(Trained(run, data_dir, "best-valid"))
    if any("averaged" in row for _, row in _rows_of(models[0].ledger, rows)):
        models.append(Trained(run, data_dir, "average"))
    prepare_process(spec.threads, spec.device)
    estimators = {
        one.name: Estimator(one.name, one.plugin("estimators").module, one.config("estimators"))
        for one in spec.evaluation.estimators
    }
    compared = _Compared(run, record, ROUNDING_NATS, CHAIN_ERRORS)
    saved = StoredRun(record, rows[: record.trace["rows"]]).sound_rows  # those that its files were written with
    compared.differs = _contradiction(record, rows, spec) or _not_best(kept, saved, spec)
    numbers = set[int]()
    for trained in models:
        trained.subject = trained.subject.to(spec.device)
        own = _rows_of(trained.ledger, rows)
        if not own:
            raise BadInput(
                f"its checkpoint is of {trained.ledger['samples']:,} samples, where it has no row: `harness resume {run.id}`, "
                "or --retrain"
            )
        numbers.update(number for number, _ in own)
        averaged = trained.weights == "average"
        for number, row in own:
            for stored in row.get("averaged", ()) if averaged else row["estimates"]:
                if estimator := estimators.get(stored["estimator"]):
                    again = estimator.estimate(trained.subject, stored["split"], stored["points"], spec.seed)
                    again = replace(again, weights="average") if averaged else again
                    compared.estimate(number, row, stored, again.row())
    return compared.found(len(numbers))


def _rows_of(ledger: Mapping[str, int], rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Return the rows that were made when this was spent, with their numbers from 1."""
    spent = {name: ledger.get(name, 0) for name in ("samples", "steps", "datapoints")}
    numbered = enumerate(rows, 1)
    return [
        (n, row) for n, row in numbered if all(row["ledger"].get(name, 0) == value for name, value in spent.items())
    ]


def _not_best(kept: Mapping[str, Any] | None, rows: Sequence[Row], spec: RunSpec) -> str | None:
    """Say how what is kept of the best mark differs from the row that is it; None if it does not, or nothing is kept."""
    if kept is None:
        return None
    best = best_row([one.model_dump() for one in spec.evaluation.estimators], rows)
    if best is None:
        return "it keeps parameters of a mark, and no row has an estimate on the validation split"
    row, estimate = best
    if kept["ledger"]["samples"] != row["ledger"]["samples"]:
        return f"it keeps parameters of {kept['ledger']['samples']:,} samples, and was best at {row['ledger']['samples']:,}"
    if not _same(kept["estimate"], dict(estimate)):
        return (
            f"what it keeps of its best mark has another estimate than the row at {row['ledger']['samples']:,} samples"
        )
    return None


def _contradiction(record: Record, rows: Sequence[Row], spec: RunSpec) -> str | None:
    """Say in what a record and its rows contradict one another; None if in nothing."""
    asked = {one.name for one in spec.evaluation.estimators}
    for number, row in enumerate(rows, 1):
        for estimate in _estimates(row):
            if estimate["estimator"] not in asked:
                return f"row {number} has an estimate by {estimate['estimator']}, by which the run is not evaluated"
    saved = rows[: record.trace["rows"]]  # a process that was killed, or still trains, has written more of them
    if not _same(record.summary, saved[-1]["estimates"] if saved else []):
        return "run.json has other estimates than the last row"
    last = saved[-1]["ledger"] if saved else {}
    for name in COUNTERS:
        before, now = last.get(name, 0), record.ledger.get(name, 0)
        if now < before or (now > before and record.status == "done"):
            return f"run.json has {now:,} {name.replace('_', ' ')}, and the last row has {before:,}"
    return None


def _trained_again(run: Run, data_dir: str | None) -> Verified:
    """Make a run again, and compare all rows: what was spent, what steps reported, and estimates."""
    record, rows = run.content()
    spec = stored_spec(run, record)
    if not rows or not rows[-1]["ledger"]["samples"]:
        raise BadInput("it has no row after its first sample, up to which it could be made again")
    ended = None
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as folder:
        store = Store(Path(folder))
        try:
            ensure(store, spec, up_to(spec.schedule, int(rows[-1]["ledger"]["samples"])), data_dir=data_dir)
        except RunFailed as error:
            ended = str(error)
        same = store.run(spec.run_id)
        again, best_again = (same.rows(), same.best()) if same.exists() else ([], None)
    compared = _Compared(run, record, TRAINED_NATS, 0.0)
    compared.differs = _contradiction(record, rows, spec)
    kept = run.best() if spec.evaluation.keep == "best-valid" else None
    saved = rows[: record.trace["rows"]]
    compared.differs = compared.differs or _not_best(kept, StoredRun(record, saved).sound_rows, spec)
    pairs = list(_pairs(rows, again))
    for number, row, other in pairs:
        compared.row(number, row, other)
    if kept is not None and best_again is not None and len(saved) == len(rows):
        compared.best(kept, best_again)
    if compared.differs is None and any(other is None for _, _, other in pairs):
        compared.differs = f"it has no such rows when it is made again{f': {ended}' if ended else ''}"
    elif compared.differs is None and ended and record.status not in ("failed", "diverged"):
        compared.differs = f"it is {record.status}, and ends otherwise when it is made again: {ended}"
    return compared.found(len(pairs))


def _pairs(rows: Sequence[Row], again: Sequence[Row]) -> Iterator[tuple[int, Row, Row | None]]:
    """Yield each row at a mark of samples, and the last one, with its number from 1 and the row of the same samples.

    Marks of CPU time are elsewhere each time, and the ends of smaller budgets are none of one that goes on.
    """
    others = {row["ledger"]["samples"]: row for row in again}
    for number, row in enumerate(rows, 1):
        if row["marks"].get("samples") or number == len(rows):
            yield number, row, others.get(row["ledger"]["samples"])


class _Compared:
    """What of a run was compared, and what differs first.

    Args:
        run: the run.
        record: its run.json.
        nats: by how much means may differ where rounding does.
        errors: by how many standard errors of the estimator beyond that.
    """

    def __init__(self, run: Run, record: Record, nats: float, errors: float):
        self._run, self._nats, self._errors = run, nats, errors
        self._changed = changes(record.provenance[-1], provenance("")) if record.provenance else "an unknown machine"
        self._values = 0
        self._largest: float | None = None
        self.differs: str | None = None

    def found(self, rows: int) -> Verified:
        """Return the verdict."""
        if not self._values and self.differs is None and rows < 2:
            return Verified(self._run.id, "cannot tell", rows, 0, None, "its rows have no estimates")
        exact = f"within rounding, as here are {self._changed}" if self._changed else "in every bit"
        says: Literal["agrees", "differs"] = "agrees" if self.differs is None else "differs"
        return Verified(self._run.id, says, rows, self._values, self._largest, self.differs or exact)

    def row(self, number: int, row: Row, again: Row | None) -> None:
        """Compare a row with that of the same samples."""
        if again is None:
            return
        for name in COUNTERS:
            before, now = row["ledger"].get(name), again["ledger"].get(name)
            if before != now and before is not None:
                self._note(number, row, f"{name.replace('_', ' ')} were {before:,} and are {now:,}")
        if not self._changed:
            for name, value in row["info"].items():
                if not _same(value, again["info"].get(name, math.nan)):
                    self._note(number, row, f"{name} was {value!r} and is {again['info'].get(name)!r}")
        others = {_key(estimate): estimate for estimate in _estimates(again)}
        for estimate in _estimates(row):
            if _key(estimate) in others:
                self.estimate(number, row, estimate, others[_key(estimate)])

    def estimate(self, number: int, row: Row, stored: Row, again: Row) -> None:
        """Compare an estimate."""
        self._values += 1
        difference = abs(stored["mean"] - again["mean"])
        same = _same(stored["mean"], again["mean"])
        difference = 0.0 if same else difference
        self._largest = max(self._largest or 0.0, difference)
        what = f"{stored['estimator']} on {stored['points']:,} {stored['split']} points"
        if self._changed and math.isfinite(difference):
            error = again["se_estimator"] if math.isfinite(again["se_estimator"]) else 0.0  # not what is stored
            same = difference <= self._nats + self._errors * error
        if not same:
            self._note(number, row, f"{what} was {stored['mean']!r} and is {again['mean']!r}")
        for name in () if self._changed else sorted(stored.keys() | again.keys()):
            if not _same(stored.get(name), again.get(name)):
                self._note(number, row, f"{name} of {what} was {stored.get(name)!r} and is {again.get(name)!r}")

    def best(self, kept: Row, again: Row) -> None:
        """Compare what is kept of the best mark, in every bit; where rounding differs, rows alone tell how far marks may part."""
        if self._changed or self.differs is not None:
            return
        differing = [name for name in ("ledger", "theta", "phi") if not _same(kept[name], again[name])]
        if differing:
            self.differs = f"what it keeps of its best mark has another {differing[0]} when it is made again"

    def _note(self, number: int, row: Row, words: str) -> None:
        if self.differs is None:
            self.differs = f"row {number}, at {row['ledger']['samples']:,} samples: {words}"


def _estimates(row: Row) -> list[Row]:
    """Return the estimates of a row, those of the mean of parameters over steps included."""
    return [*row["estimates"], *row.get("averaged", ())]


def _key(estimate: Row) -> tuple[Any, ...]:
    return estimate["estimator"], estimate["split"], estimate["points"], estimate.get("weights")


def _same(one: Any, other: Any) -> bool:
    """Say whether two values are the same, tensors in every bit; NaN is itself."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return isinstance(one, Tensor) and isinstance(other, Tensor) and one.equal(other)
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
