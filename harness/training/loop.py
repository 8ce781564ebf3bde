"""Training: steps until the budget ends, a row at every mark; no input or output besides reading the data."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Literal, cast

import torch

from harness.api import Problem
from harness.data.dataset import Batch
from harness.errors import BadInput, Diverged, RunFailed
from harness.inference.rng import Streams
from harness.specs.budget import Budget, Ledger
from harness.specs.run import EstimatorSpec, RunSpec
from harness.training.checkpoint import pack, restore
from harness.training.clocks import Clocks
from harness.training.evaluation import Estimate, evaluate, finite
from harness.training.marks import Marks
from harness.training.metering import Metered, UpdateCounter
from harness.training.process import fork_count, prepare_process, require_device
from harness.training.subject import Subject

SANE_NATS = (
    100.0  # a bound worse than this for every observed dimension is no bound of a working model (log 256 is 5.5)
)

IDLE_STEPS = 1000  # so many steps without a sample cannot be on the way to the end of a budget of samples

TICK_SECONDS = 0.1  # how often `rows` lets its caller look, between marks

Row = dict[str, Any]

Tick = Literal["tick"]

TICK: Tick = "tick"


class Training:
    """One run in memory: data, models, algorithm, ledger and clocks.

    Args:
        spec: what to run.
        data_dir: the user's folder of data files.

    Attributes:
        due: the mark in samples and in CPU seconds of a row that is still to be evaluated, and what the last step reported.
        divergence: why the run has diverged; None if it has not.
        whole: whether the state is that of a whole number of steps.
        stopping: set by the caller who wants to stop before the next evaluation.

    Raises:
        BadInput: missing data, or algorithm, model and dataset that do not go together, with the reason.
    """

    def __init__(self, spec: RunSpec, data_dir: str | None = None):
        self.clocks, self.ledger = Clocks("setup"), Ledger()
        require_device(spec.device)
        prepare_process(spec.threads)
        self.spec, self.streams = spec, Streams(spec.seed)
        self.algorithm, config = spec.algorithm.plugin("algorithms").module, spec.algorithm.config("algorithms")
        self.subject = Subject.build(spec, data_dir).to(spec.device)
        prepare_process(spec.threads, spec.device)
        self.dataset, self.facts = self.subject.dataset, self.subject.facts
        self.model, self.recognition = self.subject.model, self.subject.recognition
        self.updates = UpdateCounter(self.model.params, self.ledger)
        self.problem = problem = Problem(
            cast(Any, Metered(self.model, self.ledger, self.updates)),
            cast(Any, Metered(self.recognition, self.ledger)) if self.recognition is not None else None,
            self.facts,
        )
        skip: Callable[[Problem], str | None] = getattr(self.algorithm, "skip", lambda problem: None)
        if reason := skip(problem):
            raise BadInput(
                f"algorithm {spec.algorithm.name!r} cannot run on model {spec.model.name!r}: {reason}; see `harness algos`"
            )
        every = [(j, j.plugin("estimators").module, j.config("estimators")) for j in spec.evaluation.estimators]
        self.judges = [judge for judge in every if self._applies(*judge)]
        self.order_rng = self.streams("minibatch order")
        self.binarise_rng = self.streams("binarisation")
        self.batch_size = config.batch_size if self.algorithm.TRAITS.batch == "minibatch" else None
        self.state = self.algorithm.init(problem, config, self.streams("training noise"))
        self.info: dict[str, float] = {}  # sums since the last mark
        self.info_steps = 0
        self.idle_steps = 0
        self.due: tuple[float, float, dict[str, float]] | None = None
        self.divergence: str | None = None
        self.whole, self.stopping = True, False
        self.marks = Marks(spec.evaluation.first_mark, spec.evaluation.marks_per_decade)
        self.cpu_marks = Marks(1.0, spec.evaluation.marks_per_decade)

    def rows(self, budget: Budget) -> Iterator[Row | Tick]:
        """Train until the budget is exhausted and yield a row at every mark and at the end, and TICK in between.

        The state is that of a whole number of steps, with the row of every mark up to there yielded or `due`, whenever this
        yields: the caller may then save it, and stop. Clocks count the time that the caller takes as output.

        Raises:
            Diverged: after the row that shows it.
            RunFailed: the algorithm raised, or spends nothing, or an estimator ran out of memory; see `whole`.
        """
        ledger, clocks = self.ledger, self.clocks
        if self.divergence is not None:
            raise Diverged(self.divergence)
        ended = budget.exhausted(ledger, clocks)
        if ended and self.due is None:
            return
        next_mark, next_cpu, info = self.due or (
            self.marks.after(ledger.samples),
            self.cpu_marks.after(clocks.cpu()),
            {},
        )
        if budget.cpu_seconds is None:
            next_cpu = math.inf
        elif next_cpu == math.inf:  # it had no such budget before
            next_cpu = self.cpu_marks.after(clocks.cpu())

        def due() -> bool:
            at_mark = ledger.samples >= next_mark or (next_cpu < math.inf and clocks.cpu() >= next_cpu)
            return ended or at_mark or not all(map(math.isfinite, info.values()))

        while True:
            if not due():
                self.due = None
                clocks.switch("training")
                pause = time.perf_counter() + TICK_SECONDS
                while True:
                    info = self._step()
                    ended = budget.exhausted(ledger, clocks)
                    if due():
                        self.due = next_mark, next_cpu, info
                    self.whole = True  # whoever stops it from here on knows that a row is due
                    if self.due is not None or time.perf_counter() >= pause:
                        break
            waiting = due()
            if not waiting and budget.limits().keys() == {"samples"} and self.idle_steps >= IDLE_STEPS:
                raise RunFailed(
                    f"algorithm {self.spec.algorithm.name!r} evaluated no sample in {self.idle_steps} steps, so --samples "
                    "would never end: give --cpu-seconds or --wall-seconds"
                )
            if not waiting or self.stopping:
                clocks.switch("output")
                yield TICK
                continue
            broken = [f"{name} became {value}" for name, value in info.items() if not math.isfinite(value)]
            clocks.switch("evaluation")
            row = self._row(next_mark, next_cpu, last=ended or bool(broken))
            clocks.switch("output")
            if row["marks"]:  # an end between marks leaves the next mark's row as it would be without it
                self.info, self.info_steps = {}, 0
            self.due = None
            if trouble := broken[0] if broken else self._insane(row):
                self.divergence = f"{trouble} after {ledger.samples:,} samples with {self._tunables()}"
            yield row
            if self.divergence is not None:
                raise Diverged(self.divergence)
            if ended:
                return
            next_mark, info = self.marks.after(ledger.samples), {}
            if next_cpu < math.inf:
                next_cpu = self.cpu_marks.after(clocks.cpu())

    def spent(self) -> dict[str, float]:
        """Return what the ledger has counted and the clocks have measured up to now."""
        return asdict(self.ledger) | self.clocks.seconds()

    def _step(self) -> dict[str, float]:
        """Present a batch, take one step, and return the numbers that it reports."""
        self.whole = False
        batch = self._batch()
        samples, forks, process = self.ledger.samples, fork_count.n, os.getpid()
        try:
            reported = self.algorithm.step(self.state, batch)
            info = dict(zip(reported._fields, map(float, reported), strict=True))
        except (Exception, SystemExit) as error:  # an algorithm may fail in any way
            if not all(map(finite, self.subject.parts)):
                return {"parameters": math.nan}
            raise RunFailed(f"algorithm {self.spec.algorithm.name!r} raised {type(error).__name__}: {error}") from error
        finally:
            if os.getpid() != process:  # a copy of this process, which must not go on with the run
                os._exit(0)
        if fork_count.n != forks:
            raise RunFailed(
                f"algorithm {self.spec.algorithm.name!r} forked, and what another process computes cannot be metered: compute in "
                "this one, with --threads if need be"
            )
        self.updates.look()
        self.idle_steps = 0 if self.ledger.samples > samples else self.idle_steps + 1
        self.ledger.datapoints += len(batch.index)
        self.info_steps += 1
        for name, value in info.items():
            self.info[name] = self.info.get(name, 0.0) + value
        return info

    def _batch(self) -> Batch:
        if self.batch_size is None:
            return self.dataset.full_batch(self.binarise_rng)
        index = torch.randint(self.facts.n_train, (self.batch_size,), generator=self.order_rng)
        return self.dataset.batch(index, self.binarise_rng)

    def _row(self, mark: float, cpu_mark: float, *, last: bool) -> Row:
        """Return the row of this moment: what was spent, what the steps since the last mark reported, and every estimate."""
        marks = {"samples": mark} if self.ledger.samples >= mark else {}
        if self.clocks.cpu() >= cpu_mark:
            marks["cpu_seconds"] = cpu_mark
        info = {name: total / self.info_steps for name, total in self.info.items()}
        return {
            "marks": marks,
            "end": last,
            "ledger": self.spent(),
            "info": info,
            "estimates": [estimate.row() for estimate in self._estimates(last)],
        }

    def _applies(self, judge: EstimatorSpec, estimator: Any, config: Any) -> bool:
        """Say whether an estimator can judge this run; only a lower bound may be left out, the rest was asked for."""
        if judge.name == "lower-bound" and not self.algorithm.TRAITS.lower_bound:
            return False
        reason = estimator.skip(config, self.model, self.recognition)
        if reason and judge.name != "lower-bound":
            raise BadInput(f"estimator {judge.name} cannot judge this run: {reason}")
        return reason is None

    def _estimates(self, last: bool) -> Iterator[Estimate]:
        """Apply every estimator to both splits, on the curve's points and at the end on the final points too."""
        for judge, estimator, config in self.judges:
            for split in ("train", "test"):
                n = len(getattr(self.dataset, split))
                for points in sorted({min(judge.points, n)} - {0} | ({min(judge.final_points, n)} if last else set())):
                    yield evaluate(
                        judge.name, estimator, config, self.model, self.recognition, self.dataset, split, points,
                        self.spec.seed,
                    )  # fmt: skip

    def _insane(self, row: Row) -> str | None:
        """Say what is wrong with the row's estimates, if one is beyond any sane value."""
        for estimate in row["estimates"]:
            if not estimate["mean"] > -SANE_NATS * self.facts.dim:
                return f"the {estimate['estimator']} on {estimate['split']} fell to {estimate['mean']:.4g} nats"
        return None

    def _tunables(self) -> str:
        """Name the settings that divergence may be blamed on: those with a search space, the step size among them."""
        fields = self.spec.algorithm.plugin("algorithms").module.Config.model_fields
        tunable = [name for name, field in fields.items() if (field.json_schema_extra or {}).get("search")]
        return ", ".join(f"{name}={self.spec.algorithm.settings[name]}" for name in tunable) or "these settings"

    def checkpoint(self) -> dict[str, Any]:
        """Return all that the next step depends on, as plain data."""
        return {
            "theta": pack(self.model.params.flat),
            "phi": None if self.recognition is None else pack(self.recognition.params.flat),
            "algorithm": pack(self.state),
            "rng": {"minibatch order": self.order_rng.get_state(), "binarisation": self.binarise_rng.get_state()},
            "ledger": asdict(self.ledger),
            "seconds": self.clocks.seconds(),
            "info": dict(self.info),
            "info_steps": self.info_steps,
            "due": None if self.due is None else list(self.due),
            "divergence": self.divergence,
        }

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Continue where `checkpoint` was taken."""
        self.subject.load(checkpoint)
        self.state = restore(self.state, checkpoint["algorithm"])
        self.order_rng.set_state(checkpoint["rng"]["minibatch order"])
        self.binarise_rng.set_state(checkpoint["rng"]["binarisation"])
        for counter, value in checkpoint["ledger"].items():
            setattr(self.ledger, counter, value)
        self.clocks.resume(checkpoint["seconds"])
        self.info, self.info_steps = dict(checkpoint["info"]), checkpoint["info_steps"]
        due = checkpoint.get("due")  # those of schema 1 have none
        self.due = None if due is None else tuple(due)
        self.divergence = checkpoint.get("divergence")
        self.updates.look(count=False)
