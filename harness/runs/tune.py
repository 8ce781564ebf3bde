"""Tuning: settings chosen by equal trials, each trial a stored run that is paid for like any other (DESIGN §5).

The rule of Kingma & Welling (2014), arXiv 1312.6114, section 5, is the default: every step size of a few is tried, and the best
training-set estimate after the first samples wins; test data have no say. Search spaces that cannot be tried in whole are
searched by Optuna's TPE (Akiba et al. 2019, arXiv 1907.10902), which this driver asks and tells.

Trials are runs in the store's group `tune-<samples>`, and there is no other database: a study is rebuilt from them whenever it
goes on. What was chosen, and at what cost, is written as `tune/<study>.json`, which is enough for `--lr tuned`.
"""

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

from harness.errors import BadInput, RunFailed, StoreTrouble, suggestion
from harness.files import read_file, replace_file, seal, unseal
from harness.runs.jobs import Job, Outcome, Status
from harness.runs.runner import finished
from harness.specs import registry
from harness.specs.budget import Budget
from harness.specs.experiment import TUNED, Task, key, spec_of, waiting
from harness.specs.options import BUDGETS, Options
from harness.specs.recipes import TuneRule
from harness.specs.run import RunSpec, default_estimator
from harness.store.names import former, modern_problem
from harness.store.record import Record, final_estimates
from harness.store.run import require_inside
from harness.store.store import Store

GROUP = "tune"

BATCH = 4  # trials that TPE is asked for at a time, so that workers have something to do

DEFAULT_TRIALS = 20  # where not all of a few are tried

SPENT = ("samples", "cpu_seconds", "wall_seconds")

Settings = dict[str, Any]

Work = Callable[[Sequence[Job]], list[Outcome]]


class Trial(NamedTuple):
    """One setting, tried with every seed.

    Attributes:
        settings: what was tried.
        values: the training-set estimate for each seed, nats per datapoint; -inf where the run diverged.
        runs: ids of the runs.
        spent: what they cost together.
    """

    settings: Settings
    values: tuple[float, ...]
    runs: tuple[str, ...]
    spent: dict[str, float]

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)


class Tuned(NamedTuple):
    """A study that is done: all trials, the best one's settings, and the cost of all."""

    study: str
    trials: list[Trial]
    chosen: Settings
    spent: dict[str, float]


@dataclass(frozen=True)
class Study:
    """What is tuned, and by what rule.

    Args:
        options: of the runs that it is for, as `harness run` would be given them; seed and budget aside. The settings to choose
            have the value "tuned".
        rule: budget, seeds and number of trials.

    Raises:
        BadInput: a setting without a search space, or options that make no run.
    """

    options: Options
    rule: TuneRule

    def __post_init__(self) -> None:
        self.spec(next(iter(self.grid() or [self.corner()])), self.rule.seeds[0])

    @property
    def algorithm(self) -> Any:
        """The algorithm's module."""
        return registry.get("algorithms", str(self.options["algo"])).module

    @property
    def estimator(self) -> str:
        """Whose training-set estimate decides."""
        model = registry.get("models", str(self.options.get("model", "mlp"))).module
        default = default_estimator(self.algorithm, model)
        judged = default != "lower-bound" or self.algorithm.TRAITS.lower_bound
        return self.rule.estimator or (default if judged else "hmc-density")

    def space(self) -> dict[str, dict[str, Any]]:
        """Return the search space of each setting, as its Config declares it: {"Choice": …} or {"LogUniform": …}."""
        spaces = searchable(self.algorithm)
        for name in waiting(self.options):
            if name not in spaces:
                raise BadInput(
                    f"{name} cannot be tuned{suggestion(name, spaces)}: the settings of {self.options['algo']} with a "
                    f"search space are {', '.join(spaces) or 'none'}"
                )
        return {name: spaces[name] for name in waiting(self.options)}

    @property
    def n_trials(self) -> int:
        """How many settings are tried: all of a few, or as many as the rule says."""
        grid = self.grid()
        return len(grid) if grid else self.rule.trials or DEFAULT_TRIALS

    def grid(self) -> list[Settings]:
        """Return every setting, if there are no more than may be tried."""
        spaces = self.space()
        if not all("Choice" in space for space in spaces.values()):
            return []
        values = [space["Choice"]["values"] for space in spaces.values()]
        every = [dict(zip(spaces, combination, strict=True)) for combination in itertools.product(*values)]
        return every if len(every) <= (self.rule.trials or len(every)) else []

    def corner(self) -> Settings:
        """Return the first setting of the search space, as a stand-in."""
        return {
            name: space["Choice"]["values"][0] if "Choice" in space else space["LogUniform"]["low"]
            for name, space in self.space().items()
        }

    def spec(self, settings: Settings, seed: int) -> RunSpec:
        """Return the run of a trial: without estimates of log p(x), unless one decides."""
        given = {**self.options, **self.rule.override}
        spec = spec_of({**given, **settings, "seed": seed})
        estimators = spec.evaluation.estimators[:1]  # the default
        if self.estimator != estimators[0].name:
            decides: Options = {name: given[name] for name in ("algo", "marginal-points") if name in given}
            estimators += spec_of({**decides, "final-marginal": self.estimator}).evaluation.estimators[1:]
        evaluation = spec.evaluation.model_copy(update={"estimators": estimators})
        return spec.model_copy(update={"evaluation": evaluation})

    @property
    def budget(self) -> Budget:
        """What a trial may spend with each seed."""
        return Budget(samples=int(self.rule.samples))

    @cached_property
    def id(self) -> str:
        """A readable name with eight digits of a hash over everything that the study depends on."""
        spec = self.spec(self.corner(), self.rule.seeds[0])
        rest = _rest(spec, self.space())
        rest = former(rest) | {"device": rest["device"]}  # which studies have always had in their hash
        content = [rest, self.space(), self.rule.model_dump(mode="json"), self.estimator]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{spec.run_id.rpartition('-s')[0]}-{digest[:8]}"

    @property
    def group(self) -> str:
        """The store's group of its trials: one for each budget, as a run goes on and never back."""
        return f"{GROUP}-{int(self.rule.samples)}"

    def jobs(self, settings: Iterable[Settings]) -> list[Job]:
        """Return the runs of the trials of these settings."""
        return [Job(self.spec(s, seed), self.budget, self.group) for s in settings for seed in self.rule.seeds]

    def trial(self, store: Store, settings: Settings) -> Trial:
        """Return a trial whose runs have ended, as the store has them; RunFailed if it has not."""
        values, ids = [], []
        spent = dict.fromkeys(SPENT, 0.0)
        for job in self.jobs([settings]):
            record = job.stored(store).read()
            if not (finished(record, self.budget) or record.status == "diverged"):
                raise RunFailed(f"trial {record.run} is {record.status}, and not done: tune again")
            values.append(self._value(record))
            ids.append(record.run)
            for name in SPENT:
                spent[name] += record.ledger[name]
        return Trial(settings, tuple(values), tuple(ids), spent)

    def _value(self, record: Record) -> float:
        if record.status == "diverged":
            return -math.inf
        found = [
            e["mean"] for e in final_estimates(record) if e["estimator"] == self.estimator and e["split"] == "train"
        ]
        if not found:
            raise BadInput(
                f"{self.estimator} says nothing of run {record.run}, so it cannot be tuned by it: name another with --estimator"
            )
        return float(found[0]) if math.isfinite(found[0]) else -math.inf


def tune(store: Store, study: Study, work: Work) -> Tuned:
    """Do the trials of a study, choose, and write down what was chosen.

    Settings are asked for in the same order each time, whatever was interrupted and however many workers there are, so what the
    store has of a study is found there, at no cost.

    Args:
        store: where trials are kept.
        study: what to tune.
        work: brings jobs to their budgets, such as `Scheduler.run`; it does not repeat what is done.

    Raises:
        RunFailed: a trial's run failed, or every trial diverged.
        BadInput: trials cannot be run at all.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(space) for name, space in study.space().items()}
    driver = optuna.create_study(direction="maximize")
    for settings in study.grid():
        driver.enqueue_trial(settings)
    trials: list[Trial] = []
    while len(trials) < study.n_trials:
        asked = []
        for index in range(len(trials), study.n_trials if study.grid() else min(len(trials) + BATCH, study.n_trials)):
            driver.sampler = optuna.samplers.TPESampler(seed=study.rule.seeds[0] + index)
            asked.append(driver.ask(distributions))
        for outcome in work(study.jobs(one.params for one in asked)):
            if outcome.status not in ("done", "already", "diverged"):
                kind = BadInput if outcome.status == "skipped" else RunFailed
                raise kind(f"trial {outcome.job.spec.run_id} {outcome.status}: {outcome.reason}")
        for one in asked:
            ended = study.trial(store, one.params)
            driver.tell(one, ended.value)
            trials.append(ended)
    best = max(trials, key=lambda trial: trial.value)
    if best.value == -math.inf:
        raise RunFailed(f"every trial of {study.id} diverged: give a smaller budget with --samples, or other settings")
    trials.sort(key=lambda trial: -trial.value)
    tuned = Tuned(study.id, trials, best.settings, {name: sum(t.spent[name] for t in trials) for name in SPENT})
    _write(store, study, tuned)
    return tuned


def studies(tasks: Sequence[Task], rule: TuneRule) -> dict[str, Study]:
    """Return the studies that these tasks wait for, by `key` of their options; tasks that differ in seed alone share one."""
    found: dict[str, Study] = {}
    distinct: dict[str, Study] = {}
    for task in tasks:
        if task.spec is None:
            options = {n: v for n, v in task.options.items() if n not in (*BUDGETS, "seed")}
            if key(options) not in distinct:
                distinct[key(options)] = Study(options, rule)
            found[key(task.options)] = distinct[key(options)]
    return found


def settle(store: Store, wanted: Iterable[Study], work: Work) -> dict[str, Settings | tuple[Status, str]]:
    """Return what studies choose, by id, or why they cannot; trials that the store does not have are run."""
    distinct = {study.id: study for study in wanted}
    found: dict[str, Settings | tuple[Status, str]] = {}
    open_ = {}
    for name, study in distinct.items():
        settings = chosen(store, study)
        if settings is None:
            open_[name] = study
        else:
            found[name] = settings
    work([job for study in open_.values() for job in study.jobs(study.grid())])  # all at once: no worker is idle
    for name, study in open_.items():
        try:
            found[name] = tune(store, study, work).chosen
        except StoreTrouble:
            raise
        except RunFailed as error:
            found[name] = "failed", str(error)
        except BadInput as error:
            found[name] = "skipped", str(error)
    return found


def chosen(store: Store, study: Study) -> Settings | None:
    """Return what a study has chosen; None if it has not been done."""
    content = stored(store, study.id)
    return None if content is None else cast(Settings, content["chosen"])


def stored(store: Store, name: str) -> dict[str, Any] | None:
    """Return what was written down of a study; None if it has not been done, or what was written is damaged.

    The study is then done again, and its trials are found in the store.
    """
    try:
        content = unseal(read_file(store.root / GROUP / f"{name}.json"))
        problem = modern_problem(content["problem"])
        return {**content, "chosen": dict(content["chosen"]), "problem": problem, "rule": content["rule"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def look_up(store: Store, options: Options) -> dict[str, Any]:
    """Return the study in which a run's settings were tuned, by whatever rule; of several the one with the longest trials.

    Raises:
        BadInput: there is none.
    """
    study = Study(options, TuneRule())
    like, names = _problem(study.spec(study.corner(), 0), study.space()), list(study.space())
    found = []
    for path in sorted((store.root / GROUP).glob("*.json")):
        content = stored(store, path.stem)
        if content is not None and _same_problem(content, like, names):
            found.append((content["rule"]["samples"], path.stem, content))
    if not found:
        words = " ".join(f"--{n} {v}" for n, v in options.items() if n not in ("samples", "seed") and v != TUNED)
        raise BadInput(
            f"{' and '.join(names)} of {options['algo']} {'has' if len(names) == 1 else 'have'} not been tuned for this run: "
            f"do it with `harness tune {words}`"
        )
    return max(found, key=lambda one: one[:2])[2]


def filled(store: Store, options: Options, settings: Options) -> tuple[Options, str]:
    """Return settings of a run with those that are "tuned" replaced by what was chosen, and that in words; see `look_up`."""
    given = {name: value for name, value in options.items() if value is not None}
    content = look_up(store, given | settings)
    return settings | content["chosen"], in_words(content)


def in_words(content: dict[str, Any]) -> str:
    """Return what a study chose and spent, as a sentence."""
    words = " ".join(f"--{name} {value}" for name, value in content["chosen"].items())
    cost = f"{content['spent']['samples']:,.0f} samples and {content['spent']['cpu_seconds']:.1f} CPU s"
    return f"{content['study']}: {words}, by {len(content['trials'])} trials of {cost} together"


def to_tune(options: Options) -> Options:
    """Return options in which something is to be tuned: if nothing is, every setting with a search space that is not given."""
    if waiting(options):
        return options
    spaces = searchable(registry.get("algorithms", str(options["algo"])).module)
    open_ = [name for name in spaces if name not in options]
    if not open_:
        raise BadInput(
            f"there is nothing to tune: the settings of {options['algo']} with a search space are {', '.join(spaces) or 'none'}"
        )
    return options | dict.fromkeys(open_, TUNED)


def searchable(algorithm: Any) -> dict[str, dict[str, Any]]:
    """Return the search space of every setting of an algorithm that has one, by option."""
    fields = algorithm.Config.model_fields
    extras = {name.replace("_", "-"): field.json_schema_extra or {} for name, field in fields.items()}
    return {name: extra["search"] for name, extra in extras.items() if "search" in extra}


def _distribution(space: Mapping[str, Any]) -> Any:
    from optuna import distributions

    if "Choice" in space:
        return distributions.CategoricalDistribution(space["Choice"]["values"])
    return distributions.FloatDistribution(**space["LogUniform"], log=True)


def _rest(spec: RunSpec, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a trial is, but for its seed and the settings that are tuned."""
    content = spec.model_dump(mode="json")
    del content["seed"]
    content["algorithm"]["settings"] = {
        name: value for name, value in content["algorithm"]["settings"].items() if name.replace("_", "-") not in space
    }
    for part in ("algorithm", "model", "dataset"):
        del content[part]["file"]
    return content


def _problem(spec: RunSpec, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study must share with a run for its choice to be the run's."""
    rest = _rest(spec, space)
    return {name: rest[name] for name in ("algorithm", "model", "dataset", "n_train")}


def _same_problem(content: Mapping[str, Any], like: Mapping[str, Any], names: Sequence[str]) -> bool:
    return content["problem"] == json.loads(json.dumps(like)) and sorted(content["chosen"]) == sorted(names)


def _write(store: Store, study: Study, tuned: Tuned) -> None:
    corner = study.spec(study.corner(), 0)
    content = {
        "study": tuned.study,
        "problem": _problem(corner, study.space()),
        "rule": study.rule.model_dump(mode="json", by_alias=True),
        "estimator": study.estimator,
        "chosen": tuned.chosen,
        "spent": tuned.spent,
        "trials": [{**t._asdict(), "value": t.value} for t in tuned.trials],
    }
    path = store.root / GROUP / f"{tuned.study}.json"
    try:
        require_inside(store.root, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, seal(content))
    except OSError as error:
        raise StoreTrouble(f"{path} cannot be written ({error.strerror}): make room or mend it") from error
