"""Sweeps: the runs of an experiment, tuned first where it says so, each made once and the cheapest first."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from harness.errors import BadInput
from harness.runs import tune
from harness.runs.inputs import Inputs
from harness.runs.jobs import Calibration, CostEstimate, Executor, Job, Outcome, Report
from harness.runs.runner import Say, again, finished, unheard
from harness.specs.experiment import Experiment, key, spec_of
from harness.specs.options import Options
from harness.specs.run import RunSpec

WAITS = "waits for tuning"

OTHER_DATA = "other data"


class Planned(NamedTuple):
    """A job before it is begun.

    Attributes:
        job: the job.
        state: what the store has of it: "new", "to extend", a run's status, "skipped", or `OTHER_DATA`
            where it was trained on other data than are here; or `WAITS`, and the job is a stand-in.
        spent: samples that its run has spent.
        seconds: CPU seconds that it still costs, by calibration; None if it is not going to run.
        reason: why it is not going to run, if it is not done.
        datapoints: training points that were presented to its run.
    """

    job: Job
    state: str
    spent: float
    seconds: float | None
    reason: str | None = None
    datapoints: float = 0.0

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended already; None if it is to be run."""
        if self.seconds is not None:
            return None
        named: dict[str, Any] = {"done": "already", OTHER_DATA: "failed"}
        status = named.get(self.state, self.state)
        return Outcome(self.job, status, self.reason)


ShowProgress = Callable[[Sequence[Planned]], AbstractContextManager[Report]]
"""Returns a context in which the progress of planned jobs is shown."""


def no_progress(planned: Sequence[Planned]) -> AbstractContextManager[Report]:
    """Show nothing: the progress of a scheduler that no person watches."""
    return contextlib.nullcontext(lambda outcomes, active: None)


class Scheduler:
    """Plans jobs by what the store has and what they cost, and hands those that are to be done to an executor.

    Args:
        executor: carries out the jobs.
        progress: shows how far they are.
        say: told in a sentence what takes a while.
        warn: told of data that do not suit a model, in a sentence each, once for each dataset.
    """

    def __init__(
        self, executor: Executor, progress: ShowProgress = no_progress, say: Say = unheard, warn: Say = unheard
    ):
        self.store, self.inputs, self.workers = executor.store, Inputs(executor.data_dir), executor.workers
        self._executor, self._progress, self._say, self._warn = executor, progress, say, warn
        self._warned: set[tuple[str, str]] = set()
        self._calibrations: dict[str, Calibration] = {}

    def run(self, jobs: Iterable[Job], *, leave: bool = False) -> list[Outcome]:
        """Carry out the jobs that are not done, and return how all of them ended; raises as `Executor.run`."""
        planned = self.plan(jobs)
        ended = [p.outcome for p in planned if p.outcome is not None]
        if len(ended) == len(planned):
            return ended
        with self._progress(planned) as report:
            return ended + self._executor.run([p.job for p in planned if p.outcome is None], report, leave=leave)

    def plan(self, jobs: Iterable[Job]) -> list[Planned]:
        """Look jobs up in the store, calibrate those that are to run, and order them by seed, the cheapest first for each seed.

        So a sweep that is half done has the first seeds of everything.
        """
        planned: list[Planned] = []
        open_: list[tuple[Job, str, float, float]] = []
        for job in jobs:
            stored = job.stored(self.store)
            if not stored.exists():
                open_.append((job, "new", 0.0, 0.0))
                continue
            try:
                record = stored.read()
            except BadInput as error:
                planned.append(Planned(job, "failed", 0.0, None, str(error)))
                continue
            spent, data = record.ledger.get("samples", 0), record.ledger.get("datapoints", 0)
            if finished(record, job.budget):
                try:
                    self.inputs.require_same(stored, record, job.spec)
                    planned.append(Planned(job, "done", spent, None, None, data))
                except BadInput as error:
                    planned.append(Planned(job, OTHER_DATA, spent, None, str(error), data))
            elif record.status in ("diverged", "failed"):
                reason = f"{record.reason}; {again(stored, record)}"
                planned.append(Planned(job, record.status, spent, None, reason, data))
            else:
                state = "to extend" if record.status == "done" else record.status
                open_.append((job, state, spent, data))
        unknown = {_kind(job.spec): job.spec for job, *_ in open_ if _kind(job.spec) not in self._calibrations}
        if unknown:
            self._say(f"timing {len(unknown)} kinds of run, a moment each")
        self._calibrations |= zip(unknown, self._executor.calibrate(list(unknown.values())), strict=True)
        for job, *_ in open_:
            self._warn_of(job.spec)
        for job, state, spent, data in open_:
            found = self._calibrations[_kind(job.spec)]
            if isinstance(found, CostEstimate):
                planned.append(Planned(job, state, spent, found.seconds(job, spent), None, data))
            else:
                status, reason = found
                planned.append(Planned(job, status, spent, None, reason, data))
        return sorted(planned, key=lambda p: (p.seconds is not None, p.job.spec.seed, p.seconds or 0.0))

    def state(self, job: Job) -> str:
        """Return what the store has of a job; its data are not compared."""
        stored = job.stored(self.store)
        if not stored.exists():
            return "new"
        try:
            record = stored.read()
        except BadInput:
            return "failed"
        return "to extend" if record.status == "done" and not finished(record, job.budget) else record.status

    def _warn_of(self, spec: RunSpec) -> None:
        """Tell what calibration has found of data that do not suit the model, unless it has been told of this dataset."""
        found = self._calibrations[_kind(spec)]
        for about, words in found.warnings.items() if isinstance(found, CostEstimate) else ():
            key = spec.dataset.model_dump_json(), about
            if key not in self._warned:
                self._warned.add(key)
                self._warn(words)


class Sweep:
    """An experiment's runs, which are a group of the store, by default of the experiment's name.

    Args:
        scheduler: plans the jobs and has them carried out, for a store.
        experiment: what to run.
        only: which of its runs; see `Experiment.tasks`.
        scale: what budgets are multiplied by.
        group: the group of the store that the runs belong to; by default the experiment's name.

    Raises:
        BadInput: options that make no run, or conditions that none meets.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        experiment: Experiment,
        only: str | None = None,
        scale: float = 1.0,
        group: str | None = None,
    ):
        self.scheduler, self.experiment, self._only, self._scale = scheduler, experiment, only, scale
        self._group = group or experiment.name
        tasks = experiment.tasks(only, scale)
        try:
            self.studies = tune.studies(tasks, experiment.tune)
        except BadInput as error:
            raise BadInput(f"{experiment.path}: {error}") from None

    def plan(self) -> list[Planned]:
        """Return what there is to do, nothing of it done: trials of settings to be tuned first, then runs."""
        trials, chosen = [], {}
        for study in {study.id: study for study in self.studies.values()}.values():
            settings = tune.chosen(self.scheduler.store, study)
            if settings is None:
                trials += study.jobs(study.grid())
            else:
                chosen[study.id] = settings
        jobs, waiting = self._jobs(chosen)
        plan = self.scheduler.plan
        stand_ins = [p._replace(state=WAITS) if p.state == "new" else p for p in plan(job for job, _ in waiting)]
        return [p for p in plan(trials) if p.state != "done"] + plan(jobs) + stand_ins

    def states(self) -> Counter[str]:
        """Return how many runs are in which state, as the store has them, nothing timed; see `Planned.state`."""
        chosen = {s.id: found for s in self.studies.values() if (found := tune.chosen(self.scheduler.store, s))}
        jobs, waiting = self._jobs(chosen)
        return Counter(self.scheduler.state(job) for job in jobs) + Counter(WAITS for _ in waiting)

    def run(self, *, leave: bool = False) -> list[Outcome]:
        """Tune, run, and return how every run ended.

        Args:
            leave: end as soon as all runs that are left are being made by others; trials, which decide, are waited for.

        Raises:
            Interrupted, StoreTrouble: as `Executor.run` raises them; the same sweep goes on from there.
        """
        self.scheduler.store.require_writable()
        settled = tune.settle(self.scheduler.store, self.studies.values(), self.scheduler.run)
        jobs, without = self._jobs({name: found for name, found in settled.items() if isinstance(found, dict)})
        return self.scheduler.run(jobs, leave=leave) + [Outcome(job, *settled[name]) for job, name in without]

    def chosen(self) -> list[str]:
        """Return in words what was chosen for its runs, and what that cost."""
        ids = dict.fromkeys(study.id for study in self.studies.values())
        return [tune.in_words(content) for name in ids if (content := tune.stored(self.scheduler.store, name))]

    def _jobs(self, chosen: Mapping[str, Options]) -> tuple[list[Job], list[tuple[Job, str]]]:
        """Return the runs as far as their settings are chosen, and stand-ins for the others, each with its study's id."""
        settings = {name: chosen[study.id] for name, study in self.studies.items() if study.id in chosen}
        jobs, without = [], []
        for task in self.experiment.tasks(self._only, self._scale, settings):
            if task.spec is not None:
                jobs.append(Job(task.spec, task.budget, self._group))
                continue
            study = self.studies[key(task.options)]
            stand_in = spec_of(task.options | study.corner())
            without.append((Job(stand_in, task.budget, self._group), study.id))
        return jobs, without


def _kind(spec: RunSpec) -> str:
    """Return what runs of the same cost share: all but the seed and those settings of the algorithm that are no counts."""
    settings = {name: value for name, value in spec.algorithm.settings.items() if not isinstance(value, float)}
    algorithm = spec.algorithm.model_copy(update={"settings": settings})
    return spec.model_copy(update={"seed": 0, "algorithm": algorithm}).digest
