"""Training: steps until the budget ends, a row at every mark; no input or output besides reading the data."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from time import perf_counter
from typing import Any, Literal, NamedTuple

import torch

from harness.api import Problem
from harness.data.dataset import Batch
from harness.errors import BadInput, Diverged, RunFailed
from harness.inference.rng import Streams
from harness.specs.budget import Budget, Ledger
from harness.specs.plugin_errors import blaming, failed
from harness.specs.run import EstimatorSpec, RunSpec
from harness.store.checkpoint import digest
from harness.training.average import EVERY, Average
from harness.training.best import Best
from harness.training.checkpoint import pack, restore
from harness.training.clocks import Clocks
from harness.training.divergence import Diagnosis
from harness.training.evaluation import Estimate, Estimator, finite
from harness.training.guard import Guard
from harness.training.idle import IdleSteps, counted
from harness.training.marks import Marks, Schedule
from harness.training.metering import UpdateCounter, metered_twin
from harness.training.order import Order
from harness.training.process import prepare_process, require_device
from harness.training.subject import Subject

READ_STEPS = 100
"""After so many steps what they report is read from a GPU, which waits for all that it has been given to do."""
TICK_SECONDS = 0.1
"""How often `rows` lets its caller look, between marks."""

Row = dict[str, Any]
Tick = Literal["tick"]
TICK: Tick = "tick"


class Due(NamedTuple):
    """A row that is still to be evaluated.

    Attributes:
        next_samples: the mark of samples that comes next.
        next_cpu: the mark of CPU seconds that comes next.
        broken: what a step reported that is no finite number, by name.
    """

    next_samples: float
    next_cpu: float
    broken: dict[str, float]


class Training:
    """One run in memory: data, models, algorithm, ledger and clocks.

    Args:
        spec: what to run.
        data_dir: the user's folder of data files.

    Attributes:
        average: the mean of the parameters over steps; None where none is asked for.
        due: a row that is still to be evaluated.
        divergence: why the run has diverged; None if it has not.
        remedy: what may help where it has diverged.
        warnings: what the user should know of data that do not suit the model, in sentences by what they are about.
        whole: whether the state is that of a whole number of steps.
        stopping: set by the caller who wants to stop before the next evaluation.

    Raises:
        BadInput: missing data, or algorithm, model and dataset that do not go together, with the reason.
    """

    def __init__(self, spec: RunSpec, data_dir: str | None = None):
        self.clocks = Clocks("setup")
        self.ledger, steps = (ledger := Ledger()), spec.steps
        require_device(spec.device)
        prepare_process(spec.threads)
        self.spec, self.streams = spec, Streams(spec.seed)
        self.algorithm, config = spec.algorithm.plugin("algorithms").module, spec.algorithm.config("algorithms")
        self.subject = Subject.build(spec, data_dir).trained_by(spec).to(spec.device)
        prepare_process(spec.threads, spec.device)
        self.dataset, self.facts = self.subject.dataset, self.subject.facts
        self.model, self.recognition = self.subject.model, self.subject.recognition
        self.updates = UpdateCounter(self.model.params, self.ledger)
        self.problem = problem = Problem(
            metered_twin(self.model, self.ledger, self.updates),
            None if self.recognition is None else metered_twin(self.recognition, self.ledger),
            self.facts,
            lambda: steps.factor(ledger.samples),
        )
        skip: Callable[[Problem], str | None] = getattr(self.algorithm, "skip", lambda problem: None)
        with self._blaming():
            reason = skip(problem)
        if reason:
            raise BadInput(
                f"algorithm {spec.algorithm.name!r} cannot run on model {spec.model.name!r}: {reason}; see `harness algos`"
            )
        asked_for = [
            (e, Estimator(e.name, e.plugin("estimators").module, e.config("estimators")))
            for e in spec.evaluation.estimators
        ]
        self.estimators = [pair for number, pair in enumerate(asked_for) if self._applies(pair[1], default=number == 0)]
        self.splits = spec.evaluation.splits
        for split in self.splits:
            if getattr(self.dataset, split) is None:
                raise BadInput(
                    f"--splits has {split}, and dataset {spec.dataset.name!r} has no such points: leave it out, and any --keep"
                )
        self.best = Best(spec, [asked for asked, _ in self.estimators])
        self.batch_size = config.batch_size if self.algorithm.TRAITS.batch == "minibatch" else None
        self.order = Order(
            self.facts.n_train, 1 if self.batch_size is None else self.batch_size, self.streams("minibatch order")
        )
        self.binarise_rng = self.streams("binarisation")
        self.guard = Guard(spec, self.subject, self.ledger, [estimator.module for _, estimator in self.estimators])
        every = 1 if self.batch_size is None else EVERY
        self.average = None if spec.average is None else Average(spec, self.subject, every)
        with self._blaming(), self.guard.init(lambda: self.clocks.cpu("setup")):
            self.state = self.algorithm.init(problem, config, self.streams("training noise"))
        self.info: dict[str, float] = {}  # sums since the last mark
        self._unread: list[tuple[tuple[str, ...], tuple[Any, ...]]] = []  # what steps reported, not yet in the sums
        self._broken: dict[str, float] = {}
        self._idle, self.remedy, self.info_steps = IdleSteps(), "", 0
        self.due: Due | None = None
        self.divergence: str | None = None
        self.warnings = self.subject.warnings(spec.dataset.name)
        self.diagnosis = Diagnosis(spec, self.subject, self.estimators, "scale" in self.warnings)
        self.whole, self.stopping = True, False
        per_decade = spec.evaluation.marks_per_decade
        self.schedule = Schedule(Marks(spec.evaluation.first_mark, per_decade), Marks(1.0, per_decade))
        self._warm_up()

    def rows(self, budget: Budget) -> Iterator[Row | Tick]:
        """Train until the budget is exhausted and yield a row at every mark and at the end, and TICK in between.

        The state is that of a whole number of steps, with the row of every mark up to there yielded or `due`, whenever this
        yields: the caller may then save it, and stop. Clocks count the time that the caller takes as output.

        Raises:
            Diverged: after the row that shows it.
            PluginFailed: the code of a plugin raised an error; see `whole`.
            RunFailed: the algorithm spends nothing, forked, or an estimator ran out of memory.
        """
        if self.divergence is not None:
            raise Diverged(self.divergence)
        if self.due is None and budget.exhausted(self.ledger, self.clocks):
            return
        self._begin(budget)
        while True:
            if self.due is None:
                self._train(budget)
            if self.due is None:
                self._idle.require_few(self.spec.algorithm.name, budget)
            if self.due is None or self.stopping:
                self.clocks.switch("output")
                yield TICK
                continue
            row = self._evaluated(self.due, last=budget.exhausted(self.ledger, self.clocks))
            yield row
            if self.divergence is not None:
                raise Diverged(self.divergence)
            if row["end"]:
                return
            self.schedule.move_on(self.ledger.samples, self.clocks.cpu() if budget.cpu_seconds is not None else None)

    def spent(self) -> dict[str, float]:
        """Return what the ledger has counted and the clocks have measured up to now."""
        return asdict(self.ledger) | self.clocks.seconds()

    def _begin(self, budget: Budget) -> None:
        """Set the next marks, those of a row that is due or the first ones beyond what has been spent."""
        cpu = self.clocks.cpu() if budget.cpu_seconds is not None else None
        self.schedule.move_on(self.ledger.samples, cpu)
        if self.due is None:
            return
        next_cpu = self.due.next_cpu if cpu is not None and self.due.next_cpu < math.inf else self.schedule.next_cpu
        self.schedule.set(self.due.next_samples, next_cpu)
        self._broken = dict(self.due.broken)
        self.due = self._row_due(budget)  # a row at the end of a smaller budget is not due in a larger one

    def _row_due(self, budget: Budget) -> Due | None:
        """Return the row that is due at this moment: at a mark, at the end, or where a step reported no number."""
        at_mark = self.schedule.reached(self.ledger.samples, self.clocks.cpu)
        if not (at_mark or self._broken or budget.exhausted(self.ledger, self.clocks)):
            return None
        return Due(self.schedule.next_samples, self.schedule.next_cpu, self._broken)

    def _train(self, budget: Budget) -> None:
        """Take steps until a row is due, or for the time of a tick."""
        before, steps, ledger = counted(budget, self.ledger), self.info_steps, self.ledger
        until = min(self.schedule.next_samples, math.inf if budget.samples is None else budget.samples)
        points = math.inf if budget.datapoints is None else budget.datapoints
        timed = budget.cpu_seconds is not None or budget.wall_seconds is not None  # any step may end it
        pause = perf_counter() + TICK_SECONDS
        self.whole = False
        with self.guard.steps():
            self.clocks.switch("training")
            while True:
                self._step()
                if (
                    ledger.samples >= until or ledger.datapoints >= points or timed or self._broken
                ):  # else no row is due
                    self.due = self._row_due(budget)
                if self.due is not None or perf_counter() >= pause:
                    break
        self.whole = True  # whoever stops it from here on knows that a row is due
        self._idle.note(self.info_steps - steps, before, counted(budget, self.ledger))

    def _evaluated(self, due: Due, *, last: bool) -> Row:
        """Return the row that is due, and note whether it shows divergence."""
        self._read()
        broken = [f"{name} became {value}" for name, value in self._broken.items()]
        self.clocks.switch("evaluation")
        with self.guard.evaluation():
            row = self._row(last=last or bool(broken))
        self.clocks.switch("output")
        if row["marks"]:  # an end between marks leaves the next mark's row as it would be without it
            self.info, self.info_steps = {}, 0
        self.due = None
        if what := broken[0] if broken else self.diagnosis.implausible(row):
            first_step = self.ledger.steps <= 1 and bool(broken)
            self.divergence, self.remedy = self.diagnosis.of(what, self.ledger.samples, first_step=first_step)
        else:
            self.best.see(row, self.subject)
        return row

    def step(self) -> dict[str, float]:
        """Take one step, watched by itself, and return what has been read of the numbers that it reports."""
        with self.guard.steps():
            return self._step()

    def _step(self) -> dict[str, float]:
        """Present a batch, take one step, and return what has been read of the numbers that it reports."""
        batch = self._batch()
        try:
            reported = self.algorithm.step(self.state, batch)
            self._unread.append((reported._fields, tuple(reported)))
            info = self._read() if self.spec.device == "cpu" or len(self._unread) >= READ_STEPS else {}
        except (Exception, SystemExit) as error:  # an algorithm may fail in any way
            if not all(map(finite, self.subject.parts)):
                self._broken = {"parameters": math.nan}
                return self._broken
            raise failed(f"algorithm {self.spec.algorithm.name!r}", error, self.algorithm) from error
        self.updates.look()
        if self.average is not None:
            self.average.look(self.ledger.samples)
        self.ledger.add(batch.index.shape[0], "datapoints")
        self.info_steps += 1
        return info

    def _read(self) -> dict[str, float]:
        """Enter what steps have reported into the sums, and return the numbers of the last one that was read."""
        info: dict[str, float] = {}
        for names, values in self._unread:
            info = dict(zip(names, map(float, values), strict=True))
            for name, value in info.items():
                self.info[name] = self.info.get(name, 0.0) + value
                if not math.isfinite(value):
                    self._broken.setdefault(name, value)
        self._unread.clear()
        return info

    def _batch(self) -> Batch:
        if self.batch_size is None:
            return self.dataset.full_batch(self.binarise_rng)
        return self.dataset.batch(next(self.order), self.binarise_rng)

    def _warm_up(self) -> None:
        """Let the algorithm compile what it will need, on the set-up clock, and see that it has changed nothing."""
        warm_up: Callable[[Any, Batch], None] | None = getattr(self.algorithm, "warm_up", None)
        if warm_up is None:
            return
        before = digest(self._learned())
        index = torch.arange(self.batch_size or self.facts.n_train) % self.facts.n_train
        with self._blaming():
            warm_up(self.state, self.dataset.batch(index, self.streams("warm-up")))
        if digest(self._learned()) != before:
            raise RunFailed(
                f"the warm_up of algorithm {self.spec.algorithm.name!r} changed parameters or its state: it may compile, and "
                "must not train"
            )
        self.ledger.__dict__.update(asdict(Ledger()))
        self.updates.look(count=False)
        self.guard.settle()

    def _blaming(self) -> AbstractContextManager[None]:
        return blaming(f"algorithm {self.spec.algorithm.name!r}", self.algorithm)

    def _row(self, *, last: bool) -> Row:
        """Return the row of this moment: what was spent, what the steps since the last mark reported, and every estimate."""
        marks = self.schedule.reached(self.ledger.samples, self.clocks.cpu)
        row = {
            "marks": marks,
            "end": last,
            "ledger": self.spent(),
            "info": {name: total / self.info_steps for name, total in self.info.items()},
            "estimates": [estimate.row() for estimate in self._estimates(last)],
        }
        if self.average is not None and (mean := self.average.subject()) is not None:
            row["averaged"] = [replace(one, weights="average").row() for one in self._estimates(last, mean)]
        return row

    def _applies(self, estimator: Estimator, *, default: bool) -> bool:
        """Say whether an estimator can evaluate this run. A lower bound by default may be left out; others were asked for."""
        optional = default and estimator.name == "lower-bound"
        if optional and not self.algorithm.TRAITS.lower_bound:
            return False
        reason = estimator.skip(self.subject)
        if reason and not optional:
            raise BadInput(f"estimator {estimator.name} cannot evaluate this run: {reason}")
        return reason is None

    def _estimates(self, last: bool, subject: Subject | None = None) -> Iterator[Estimate]:
        """Apply every estimator to every split, on the curve's points and at the end on the final points too."""
        for asked, estimator in self.estimators:
            for split in self.splits:
                for points in self._points(asked, split, last):
                    yield estimator.estimate(subject or self.subject, split, points, self.spec.seed)

    def _points(self, asked: EstimatorSpec, split: str, last: bool) -> list[int]:
        n = len(getattr(self.dataset, split))
        return sorted({min(asked.points, n)} - {0} | ({min(asked.final_points, n)} if last else set()))

    def _learned(self) -> dict[str, Any]:
        """Return parameters, the algorithm's state and the random streams as plain data."""
        return {
            "theta": pack(self.model.params.flat),
            "phi": None if self.recognition is None else pack(self.recognition.params.flat),
            "algorithm": pack(self.state),
            "rng": {"minibatch order": self.order.get_state(), "binarisation": self.binarise_rng.get_state()},
        }

    def checkpoint(self) -> dict[str, Any]:
        """Return all that the next step depends on, as plain data."""
        return {
            **self._learned(),
            "ledger": asdict(self.ledger),
            "seconds": self.clocks.seconds(),
            "info": dict(self.info),
            "info_steps": self.info_steps,
            "unread": [{name: float(value) for name, value in zip(*one, strict=True)} for one in self._unread],
            "due": None if self.due is None else list(self.due),
            "divergence": self.divergence,
            **({} if self.average is None else {"average": pack(self.average.state())}),
            **self.best.state(),
        }

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Continue where `checkpoint` was taken; raises BadInput, or anything, if it is not of such a run."""
        self.subject.load(checkpoint)
        self.state = restore(self.state, checkpoint["algorithm"])
        if self.average is not None:
            self.average.load(checkpoint["average"])
        self.order.set_state(checkpoint["rng"]["minibatch order"])
        self.binarise_rng.set_state(checkpoint["rng"]["binarisation"])
        if digest(self._learned()) != digest({name: checkpoint[name] for name in ("theta", "phi", "algorithm", "rng")}):
            raise BadInput("the state of the algorithm is of another structure or of other types than its own")
        if not {"samples"} <= checkpoint["ledger"].keys() <= asdict(self.ledger).keys():
            raise BadInput("its ledger has other counters")
        self.ledger.__dict__.update(checkpoint["ledger"])
        self.clocks.resume(checkpoint["seconds"])
        self.info, self.info_steps = dict(checkpoint["info"]), checkpoint["info_steps"]
        self._unread = [(tuple(one), tuple(one.values())) for one in checkpoint.get("unread", ())]
        due = checkpoint.get("due")  # those of schema 1 have none
        self.due = None
        if due is not None:  # before schema 3 with all that the last step reported
            self.due = Due(due[0], due[1], {name: value for name, value in due[2].items() if not math.isfinite(value)})
        self.divergence = checkpoint.get("divergence")
        self.best.load(checkpoint, self.subject)
        self.updates.look(count=False)
        self.guard.settle()
