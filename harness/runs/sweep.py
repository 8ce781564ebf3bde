"""Sweeps: the runs of an experiment, tuned first where it says so, each made once and the cheapest first (DESIGN §9)."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from harness.errors import BadInput
from harness.runs import tune
from harness.runs.jobs import Cost, Job, Outcome, Status
from harness.runs.local import LocalExecutor, calibrate
from harness.runs.runner import again, finished
from harness.specs.experiment import Experiment, key, spec_of
from harness.specs.options import Options
from harness.specs.run import RunSpec
from harness.store.store import Store

WAITS = "waits for tuning"


class Planned(NamedTuple):
    """A job before it is begun.

    Attributes:
        job: the job.
        state: what the store has of it: "new", "to extend", a run's status, or "skipped"; or `WAITS`, and the job is a stand-in.
        spent: samples it has spent.
        seconds: CPU seconds to go, by calibration; None where it is not going to run.
        reason: why it is not going to run, if it is not done.
    """

    job: Job
    state: str
    spent: float
    seconds: float | None
    reason: str | None = None

    @property
    def outcome(self) -> Outcome | None:
        """How it has ended already; None if it is to be run."""
        if self.seconds is not None:
            return None
        status: Any = "already" if self.state == "done" else self.state
        return Outcome(self.job, status, self.reason)


def unwatched(planned: list[Planned]) -> Any:
    """Return a context that watches a pool do planned jobs and shows nothing: a `Crew`'s progress for programs."""
    return contextlib.nullcontext(lambda pool: None)


class Scheduler:
    """Workers for a store, and what they have found jobs to cost.

    Args:
        store: where runs are kept.
        workers: how many runs at a time.
        data_dir: the user's folder of data files.
        progress: returns a context that watches a pool do planned jobs.
        say: told what takes a while.
    """

    def __init__(
        self,
        store: Store,
        workers: int,
        data_dir: str | None,
        progress: Callable[[list[Planned]], Any],
        say: Callable[[str], None] = lambda words: None,
    ):
        self.store, self.workers, self._data_dir, self._progress = store, workers, data_dir, progress
        self._say = say
        self._costs: dict[str, Cost | tuple[Status, str]] = {}

    def do(self, jobs: Iterable[Job]) -> list[Outcome]:
        """Do the jobs that are not done, and return how all of them ended; raises as `Pool.run`."""
        planned = self.plan(jobs)
        ended = [p.outcome for p in planned if p.outcome is not None]
        if len(ended) == len(planned):
            return ended
        with self._progress(planned) as watch:
            pool = LocalExecutor(self.store, self.workers, self._data_dir, watch)
            return ended + pool.run([p.job for p in planned if p.outcome is None])

    def plan(self, jobs: Iterable[Job]) -> list[Planned]:
        """Look jobs up in the store, calibrate those that are to run, and order them: by seed, and of a seed the cheapest first.

        A sweep that is half done then has the first seeds of everything.
        """
        planned: list[Planned] = []
        open_: list[tuple[Job, str, float]] = []
        for job in jobs:
            stored = job.stored(self.store)
            if not stored.exists():
                open_.append((job, "new", 0.0))
                continue
            try:
                record = stored.read()
            except BadInput as error:
                planned.append(Planned(job, "failed", 0.0, None, str(error)))
                continue
            spent = record.ledger.get("samples", 0)
            if finished(record, job.budget):
                planned.append(Planned(job, "done", spent, None))
            elif record.status in ("diverged", "failed"):
                reason = f"{record.reason}; {again(stored, record)}"
                planned.append(Planned(job, record.status, spent, None, reason))
            else:
                open_.append((job, "to extend" if record.status == "done" else record.status, spent))
        unknown = {_kind(job.spec): job.spec for job, _, _ in open_ if _kind(job.spec) not in self._costs}
        if unknown:
            self._say(f"timing {len(unknown)} kinds of run, a moment each")
        self._costs |= zip(unknown, calibrate(list(unknown.values()), self.workers, self._data_dir), strict=True)
        for job, state, spent in open_:
            cost = self._costs[_kind(job.spec)]
            if isinstance(cost, Cost):
                planned.append(Planned(job, state, spent, cost.seconds(job, spent)))
            else:
                planned.append(Planned(job, cost[0], spent, None, cost[1]))
        return sorted(planned, key=lambda p: (p.seconds is not None, p.job.spec.seed, p.seconds or 0.0))


class Sweep:
    """An experiment's runs in a store; they are a group of its name.

    Args:
        crew: who works, and for which store.
        experiment: what to run.
        only: which of its runs; see `Experiment.tasks`.
        scale: what budgets are multiplied by.
        group: the group of the store that the runs belong to; by default the experiment's name.

    Raises:
        BadInput: options that make no run, or conditions that none meets.
    """

    def __init__(
        self,
        crew: Scheduler,
        experiment: Experiment,
        only: str | None = None,
        scale: float = 1.0,
        group: str | None = None,
    ):
        self.crew, self.experiment, self._only, self._scale = crew, experiment, only, scale
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
            settings = tune.chosen(self.crew.store, study)
            if settings is None:
                trials += study.jobs(study.grid())
            else:
                chosen[study.id] = settings
        jobs, waiting = self._jobs(chosen)
        stand_ins = [
            p._replace(state=WAITS) if p.state == "new" else p for p in self.crew.plan(job for job, _ in waiting)
        ]
        return [p for p in self.crew.plan(trials) if p.state != "done"] + self.crew.plan(jobs) + stand_ins

    def run(self) -> list[Outcome]:
        """Tune, run, and return how every run ended.

        Raises:
            Interrupted, StoreTrouble: as `Pool.run` raises them; the same sweep goes on from there.
        """
        self.crew.store.require_writable()
        settled = tune.settle(self.crew.store, self.studies.values(), self.crew.do)
        jobs, without = self._jobs({name: found for name, found in settled.items() if isinstance(found, dict)})
        return self.crew.do(jobs) + [Outcome(job, *settled[name]) for job, name in without]

    def chosen(self) -> list[str]:
        """Return in words what was chosen for its runs, and what that cost."""
        ids = dict.fromkeys(study.id for study in self.studies.values())
        return [tune.in_words(content) for name in ids if (content := tune.stored(self.crew.store, name))]

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
    """Return what runs of the same cost have in common: all but the seed, and an algorithm's numbers that are no counts."""
    settings = {name: value for name, value in spec.algorithm.settings.items() if not isinstance(value, float)}
    algorithm = spec.algorithm.model_copy(update={"settings": settings})
    return spec.model_copy(update={"seed": 0, "algorithm": algorithm}).digest
