"""Tuning: settings chosen by equal trials, each trial a stored run that is paid for like any other (DESIGN §5).

The rule of Kingma & Welling (2014), arXiv 1312.6114, section 5, is the default: every step size of a few is tried, and the best
training-set estimate after the first samples wins; test data have no say. Search spaces that cannot be tried in whole are
searched by Optuna's TPE (Akiba et al. 2019, arXiv 1907.10902), which this driver asks and tells.

Trials are runs in the store's group `tune-<samples>`, and there is no other database: a study is rebuilt from them whenever it
goes on. What was chosen, and at what cost, is written as `tune/<study>.json`, which is enough for `--lr tuned`.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from harness.errors import BadInput, RunFailed, StoreTrouble
from harness.files import read_file, replace_file, require_inside, seal, unseal
from harness.runs.jobs import Job, Outcome, Status
from harness.runs.study import SPENT, Settings, Study, Trial, problem, searchable
from harness.specs import registry
from harness.specs.experiment import TUNED, Experiment, Task, key, waiting
from harness.specs.options import BUDGETS, Options
from harness.specs.recipes import TuneRule
from harness.store.names import modern_problem
from harness.store.store import STUDIES, Store

BATCH = 4  # trials that TPE is asked for at a time, so that workers have something to do

Work = Callable[[Sequence[Job]], list[Outcome]]


class Tuned(NamedTuple):
    """A study that is done: all trials, the best one's settings, and the cost of all."""

    study: str
    trials: list[Trial]
    chosen: Settings
    spent: dict[str, float]


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
        raise RunFailed(f"every trial of {study.id} diverged: give them a smaller budget, or other settings")
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
    """Return what a study has chosen; None if it has not been done, or what is stored is a choice of other settings."""
    content = stored(store, study.id)
    if content is None or content["chosen"].keys() != study.space().keys():
        return None
    return cast(Settings, content["chosen"])


def stored(store: Store, name: str) -> dict[str, Any] | None:
    """Return what was written down of a study; None if it has not been done, or what was written is damaged.

    The study is then done again, and its trials are found in the store.
    """
    try:
        content = unseal(read_file(store.root / STUDIES / f"{name}.json"))
        shared = modern_problem(content["problem"])
        return {**content, "chosen": dict(content["chosen"]), "problem": shared, "rule": content["rule"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def charges(store: Store, experiment: Experiment) -> dict[str, dict[str, float]]:
    """Return what tuning cost, by id of those runs of an experiment whose settings it chose: of all trials of their study."""
    waiting_for = studies(experiment.tasks(), experiment.tune)
    found = {name: content for name, study in waiting_for.items() if (content := stored(store, study.id)) is not None}
    chosen_ = {name: content["chosen"] for name, content in found.items()}
    return {
        task.spec.run_id: found[key(task.options)]["spent"]
        for task in experiment.tasks(tuned=chosen_)
        if task.spec is not None and key(task.options) in found
    }


def look_up(store: Store, options: Options) -> dict[str, Any]:
    """Return the study in which a run's settings were tuned, by whatever rule; of several the one with the longest trials.

    Raises:
        BadInput: there is none.
    """
    study = Study(options, TuneRule())
    like, names = problem(study.spec(study.corner(), 0), study.space()), list(study.space())
    found = []
    for path in store.studies():
        content = stored(store, path.stem)
        if content is not None and _same_problem(content, like, names):
            found.append((_longest(content), path.stem, content))
    if not found:
        words = " ".join(f"--{n} {v}" for n, v in options.items() if n not in (*BUDGETS, "seed") and v != TUNED)
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
    spent = content["spent"]
    data = (
        f", {spent['datapoints']:,.0f} datapoints"
        if spent.get("datapoints", spent["samples"]) != spent["samples"]
        else ""
    )
    cost = f"{spent['samples']:,.0f} samples{data} and {spent['cpu_seconds']:.1f} CPU s"
    doubtful = sum(bool(trial.get("doubts")) for trial in content["trials"])
    said = f"; the estimates of {doubtful} trials are not to be trusted by their own diagnostics" if doubtful else ""
    return f"{content['study']}: {words}, by {len(content['trials'])} trials of {cost} together{said}"


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


def _distribution(space: Mapping[str, Any]) -> Any:
    from optuna import distributions

    if "Choice" in space:
        return distributions.CategoricalDistribution(space["Choice"]["values"])
    return distributions.FloatDistribution(**space["LogUniform"], log=True)


def _longest(content: Mapping[str, Any]) -> float:
    """Return the samples of a trial; where its budget was of datapoints alone, those that the longest one came to."""
    given: float | None = content["rule"]["samples"]
    if given is not None:
        return given
    return float(max(trial["spent"]["samples"] / len(trial["runs"]) for trial in content["trials"]))


def _same_problem(content: Mapping[str, Any], like: Mapping[str, Any], names: Sequence[str]) -> bool:
    return content["problem"] == json.loads(json.dumps(like)) and sorted(content["chosen"]) == sorted(names)


def _write(store: Store, study: Study, tuned: Tuned) -> None:
    corner = study.spec(study.corner(), 0)
    content = {
        "study": tuned.study,
        "problem": problem(corner, study.space()),
        "rule": study.rule.model_dump(mode="json", by_alias=True),
        "estimator": study.estimator,
        "chosen": tuned.chosen,
        "spent": tuned.spent,
        "trials": [{**t._asdict(), "value": t.value} for t in tuned.trials],
    }
    path = store.root / STUDIES / f"{tuned.study}.json"
    try:
        require_inside(store.root, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, seal(content))
    except OSError as error:
        raise StoreTrouble(f"{path} cannot be written ({error.strerror}): make room or mend it") from error
