"""Studies: what is tuned, by what rule, and what a trial of it is (DESIGN §5)."""

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from harness.analysis.reliability import doubts
from harness.errors import BadInput, RunFailed, suggestion
from harness.runs.jobs import Job
from harness.runs.runner import finished
from harness.specs import registry
from harness.specs.budget import Budget
from harness.specs.experiment import spec_of, waiting
from harness.specs.horizon import within
from harness.specs.options import Options
from harness.specs.recipes import TuneRule
from harness.specs.run import RunSpec, default_estimator
from harness.store.names import former
from harness.store.record import Record, final_estimates
from harness.store.store import STUDIES, Store

DEFAULT_TRIALS = 20  # where not all of a few are tried
SPENT = ("samples", "datapoints", "cpu_seconds", "wall_seconds")

Settings = dict[str, Any]


class Trial(NamedTuple):
    """One setting, tried with every seed.

    Attributes:
        settings: what was tried.
        values: the training-set estimate for each seed, nats per datapoint; -inf where the run diverged.
        runs: ids of the runs.
        spent: what they cost together.
        doubts: in words, why estimates that decide are not to be trusted.
    """

    settings: Settings
    values: tuple[float, ...]
    runs: tuple[str, ...]
    spent: dict[str, float]
    doubts: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)


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
        bounded = default != "lower-bound" or self.algorithm.TRAITS.lower_bound
        return self.rule.estimator or (default if bounded else "hmc-density")

    def space(self) -> dict[str, dict[str, Any]]:
        """Return the search space of each setting, as the rule or its Config declares it: {"Choice": …} or {"LogUniform": …}."""
        algorithm = str(self.options["algo"])
        given, fields = self.rule.choices.get(algorithm, {}), self.algorithm.Config.model_fields
        for name in given:
            if name.replace("-", "_") not in fields:
                raise BadInput(
                    f"choices for {algorithm} have {name!r}{suggestion(name, fields)}: it has no such setting"
                )
        spaces = searchable(self.algorithm) | {name: {"Choice": {"values": list(v)}} for name, v in given.items()}
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
        evaluation = spec.evaluation.model_copy(update={"estimators": estimators, "keep": "last"})
        return spec.model_copy(update={"evaluation": evaluation, "average": None})  # neither has a say

    @property
    def budget(self) -> Budget:
        """What a trial may spend with each seed; BadInput if that is beyond the horizon of the runs' schedule."""
        given = {**self.options, **self.rule.override}
        return within(str(given.get("schedule", "constant")), Budget(**self.rule.limits))

    @cached_property
    def id(self) -> str:
        """A readable name with eight digits of a hash over everything that the study depends on."""
        spec = self.spec(self.corner(), self.rule.seeds[0])
        rest = without_tuned(spec, self.space())
        rest = former(rest) | {"device": rest["device"]}  # which studies have always had in their hash
        rule = self.rule.model_dump(mode="json", exclude={"choices"})  # those of this algorithm are the space
        content = [rest, self.space(), rule, self.estimator]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{spec.run_id.rpartition('-s')[0]}-{digest[:8]}"

    @property
    def group(self) -> str:
        """The store's group of its trials: one for each budget, as a run goes on and never back."""
        words = [str(limit) if name == "samples" else f"{name}-{limit}" for name, limit in self.rule.limits.items()]
        return "-".join((STUDIES, *words))

    def jobs(self, settings: Iterable[Settings]) -> list[Job]:
        """Return the runs of the trials of these settings."""
        return [Job(self.spec(s, seed), self.budget, self.group) for s in settings for seed in self.rule.seeds]

    def trial(self, store: Store, settings: Settings) -> Trial:
        """Return a trial whose runs have ended, as the store has them; RunFailed if it has not."""
        values, ids, said = [], [], list[str]()
        spent = dict.fromkeys(SPENT, 0.0)
        for job in self.jobs([settings]):
            record = job.stored(store).read()
            if not (finished(record, self.budget) or record.status == "diverged"):
                raise RunFailed(f"trial {record.run} is {record.status}, and not done: tune again")
            values.append(self._value(record))
            ids.append(record.run)
            said += doubts(self._deciding(record))
            for name in SPENT:
                spent[name] += record.ledger[name]
        return Trial(settings, tuple(values), tuple(ids), spent, tuple(dict.fromkeys(said)))

    def _value(self, record: Record) -> float:
        if record.status == "diverged":
            return -math.inf
        found = [e["mean"] for e in self._deciding(record)]
        if not found:
            raise BadInput(
                f"{self.estimator} says nothing of run {record.run}, so it cannot be tuned by it: name another with --estimator"
            )
        return float(found[0]) if math.isfinite(found[0]) else -math.inf

    def _deciding(self, record: Record) -> list[dict[str, Any]]:
        return [e for e in final_estimates(record) if e["estimator"] == self.estimator and e["split"] == "train"]


def searchable(algorithm: Any) -> dict[str, dict[str, Any]]:
    """Return the search space of every setting of an algorithm that has one, by option."""
    fields = algorithm.Config.model_fields
    extras = {name.replace("_", "-"): field.json_schema_extra or {} for name, field in fields.items()}
    return {name: extra["search"] for name, extra in extras.items() if "search" in extra}


def without_tuned(spec: RunSpec, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a trial is, but for its seed and the settings that are tuned."""
    content = spec.model_dump(mode="json")
    del content["seed"]
    content["algorithm"]["settings"] = {
        name: value for name, value in content["algorithm"]["settings"].items() if name.replace("_", "-") not in space
    }
    for part in ("algorithm", "model", "dataset"):
        del content[part]["file"]
    return content


def problem(spec: RunSpec, space: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study must share with a run for its choice to be the run's."""
    rest = without_tuned(spec, space)
    shared = {name: rest[name] for name in ("algorithm", "model", "dataset", "n_train")}
    return shared if spec.steps.horizon is None else {**shared, "schedule": spec.schedule}
