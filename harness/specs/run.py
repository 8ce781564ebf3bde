"""What a run is: a frozen, validated specification with a stable content hash.

The budget is not part of it, so that a run can be extended; nor is where data and results lie.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import pydantic

from harness.errors import BadInput, suggestion
from harness.specs import named, registry
from harness.specs.options import BUDGETS, OPTIONS
from harness.specs.schedule import StepSchedule
from harness.specs.values import WholeNumber
from harness.store.names import former


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _field(name: str) -> Any:
    """Return the field of a specification that is an option of a run, with its default, limits and help."""
    option = OPTIONS[name]
    if isinstance(option.value, WholeNumber):
        return pydantic.Field(option.default, ge=option.value.least, le=option.value.most, description=option.help)
    return pydantic.Field(option.default, description=option.help)


class PluginSpec(_Frozen):
    """A plugin and all its settings, defaults included; `file` and `sha256` for a user's own file."""

    name: str
    settings: dict[str, Any] = {}
    file: str | None = None
    sha256: str | None = None

    def plugin(self, kind: registry.Kind) -> registry.Plugin:
        """Return the plugin itself; BadInput if it is gone or, being a file, has changed or was not named in this command."""
        return registry.stored(kind, self.name, self.file, self.sha256 or "unknown")

    def config(self, kind: registry.Kind) -> Any:
        """Return its validated Config; BadInput if the plugin has other settings by now."""
        plugin = self.plugin(kind)
        try:
            return plugin.module.Config.model_validate(self.settings)
        except pydantic.ValidationError as error:
            raise BadInput(sentence(error, f"of {kind[:-1]} {plugin.name!r}")) from None


class EstimatorSpec(PluginSpec):
    """An estimator and all its settings, and on how much it is applied.

    A curve goes through the same random points of a split at every mark; at the end more of them are evaluated as well.
    """

    points: int = pydantic.Field(
        ge=0, description="points of each split that are evaluated at every mark; 0: at the end alone"
    )
    final_points: int = pydantic.Field(gt=0, description="points of each split that are evaluated at the end")


class Evaluation(_Frozen):
    """When a run is evaluated, and by what. Marks lie at first_mark · 10^(k / marks_per_decade) samples."""

    first_mark: int = _field("first-mark")
    marks_per_decade: int = _field("marks-per-decade")
    estimators: tuple[EstimatorSpec, ...] = ()
    splits: tuple[Literal["train", "valid", "test"], ...] = pydantic.Field(
        ("train", "test"), min_length=1, description="splits of the dataset that are evaluated"
    )
    keep: Literal["last", "best-valid"] = _field("keep")

    def require_validation(self) -> None:
        """Raise BadInput where parameters are to be kept by estimates on the validation split that there will not be."""
        if self.keep == "last":
            return
        if "valid" not in self.splits:
            raise BadInput(
                f"--keep is {self.keep!r}, and --splits is {','.join(self.splits)!r}: parameters are chosen on the validation "
                "split alone, so give --splits train,valid,test"
            )
        if not any(estimator.points for estimator in self.estimators):
            raise BadInput(
                f"--keep is {self.keep!r}, and --eval-points is 0: parameters are chosen by estimates at marks, so give "
                "--eval-points above 0, or --marginal"
            )


class RunSpec(_Frozen):
    """Everything that decides what a run computes, except how long it goes on."""

    algorithm: PluginSpec
    model: PluginSpec
    dataset: PluginSpec
    n_train: int | None = _field("n-train")
    seed: int = _field("seed")
    threads: int = _field("threads")
    device: Literal["cpu", "cuda"] = _field("device")
    schedule: str = _field("schedule")
    average: int | None = _field("average")
    evaluation: Evaluation = Evaluation()

    @pydantic.field_validator("schedule")
    @classmethod
    def _canonical(cls, schedule: str) -> str:
        return str(StepSchedule.parse(schedule))

    @property
    def steps(self) -> StepSchedule:
        """The schedule of its step size."""
        return StepSchedule.parse(self.schedule)

    @property
    def digest(self) -> str:
        """SHA-256 of the specification; where a plugin file lies does not count, what is in it does."""
        content = former(self.model_dump(mode="json"))  # stored runs keep their ids
        for part in ("algorithm", "model", "dataset"):
            del content[part]["file"]
        for estimator in content["evaluation"]["estimators"]:
            estimator["file"] = None
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def run_id(self) -> str:
        """A readable name with eight digits of the digest behind it."""
        parts = [self.algorithm.name, self.dataset.name]
        if "nz" in self.model.settings:
            parts.append(f"nz{self.model.settings['nz']}")
        elif "layers" in self.model.settings:
            parts.append(str(self.model.settings["layers"]))
        if self.n_train is not None:
            parts.append(f"n{self.n_train}")
        parts.append(f"s{self.seed}")
        slug = re.sub(r"[^a-z0-9.-]+", "-", "-".join(parts).lower()).strip("-.")[:90]
        return f"{slug}-{self.digest[:8]}"


def make_spec(
    algorithm: str,
    dataset: str = "mnist",
    model: str = "mlp",
    *,
    settings: Mapping[str, Any] | None = None,
    points: Any = OPTIONS["eval-points"].default,
    final_points: Any = OPTIONS["final-points"].default,
    marginal: str | None = None,
    final_marginal: str | None = None,
    marginal_points: Any = OPTIONS["marginal-points"].default,
    first_mark: Any = None,
    marks_per_decade: Any = None,
    splits: Any = None,
    keep: Any = None,
    n_train: Any = None,
    seed: Any = None,
    threads: Any = None,
    device: Any = None,
    schedule: Any = None,
    average: Any = None,
) -> RunSpec:
    """Return the specification of a run, with every default filled in.

    Args:
        algorithm: name or path of a plugin, as are dataset and model. Files that are named here may be executed.
        dataset: see algorithm.
        model: see algorithm.
        settings: of any of these and of the marginal estimators, by name; `algo.name`, `model.name`, `dataset.name`,
            `marginal.name` or `final-marginal.name` where two have the same.
        points: points of each split on which the default estimator is evaluated at every mark.
        final_points: the same at the end.
        marginal: an estimator of log p(x) that is also applied at the marks.
        final_marginal: one that is applied at the end alone.
        marginal_points: points of each split for both.
        first_mark: samples at which the first mark lies; None for the default, as for all that follow.
        marks_per_decade: marks in a factor of ten of samples.
        splits: those of the dataset that are evaluated.
        keep: "last", or "best-valid" to keep the parameters of the mark that is best on the validation split, too.
        n_train: how many training points are used.
        seed: of everything that is drawn.
        threads: of the process.
        device: "cpu" or "cuda".
        schedule: of the step size, such as "linear:1e7"; see `harness.specs.schedule`.
        average: samples from which on the mean of the parameters is evaluated beside them; None for no mean.

    Raises:
        BadInput: an unknown plugin, an unknown or ambiguous setting, a value that is not allowed, or a schedule for an
            algorithm that takes none.
    """
    named.note(algorithm, dataset, model, marginal, final_marginal)
    chosen = {
        "algo": registry.get("algorithms", algorithm),
        "model": registry.get("models", model),
        "dataset": registry.get("datasets", dataset),
    }
    default = registry.get("estimators", default_estimator(chosen["algo"].module, chosen["model"].module))
    at_marks = {"marginal": (marginal, marginal_points), "final_marginal": (final_marginal, 0)}
    marginals = {part: (name, points) for part, (name, points) in at_marks.items() if name is not None}
    for part, (name, _) in marginals.items():
        chosen[part] = estimator = registry.get("estimators", name)
        if estimator.name == default.name or estimator.simulated:
            why = "works on simulated points alone" if estimator.name != default.name else "is evaluated anyway"
            fit = [p.name for p in registry.listing("estimators") if p.name != default.name and not p.simulated]
            raise BadInput(
                f"--{part.replace('_', '-')} is {estimator.name!r}, which {why}: choose one of {', '.join(fit)}"
            )
    shares = _share_out(settings or {}, chosen)
    specs = {part: _plugin_spec(plugin, shares[part]) for part, plugin in chosen.items()}
    estimators = [{**_plugin_spec(default, {}), "points": points, "final_points": final_points}]
    for part, (_, at_every) in marginals.items():
        estimators.append({**specs[part], "points": at_every, "final_points": marginal_points})
    for plugin, asked in zip([default, *(chosen[part] for part in marginals)], tuple(estimators), strict=True):
        there = {one["name"] for one in estimators}
        for other, own in beside(plugin, asked["settings"]).items():
            if other.name not in there:
                estimators.append({**asked, **_plugin_spec(other, own)})
    when = {"first_mark": first_mark, "marks_per_decade": marks_per_decade, "splits": splits, "keep": keep}
    rest = {"n_train": n_train, "seed": seed, "threads": threads, "device": device}
    rest |= {"schedule": schedule, "average": average}
    frame = {
        "algorithm": specs["algo"],
        "model": specs["model"],
        "dataset": specs["dataset"],
        "evaluation": {**{name: value for name, value in when.items() if value is not None}, "estimators": estimators},
        **{name: value for name, value in rest.items() if value is not None},
    }
    try:
        spec = RunSpec.model_validate(frame)
    except pydantic.ValidationError as error:
        raise BadInput(sentence(error, "of the run")) from None
    spec.evaluation.require_validation()
    if spec.average is not None and spec.average >= (spec.steps.horizon or math.inf):
        raise BadInput(
            f"--average is {spec.average:,}, and --schedule {spec.schedule} ends there or before: begin with fewer samples"
        )
    if spec.steps.horizon is not None and not chosen["algo"].module.TRAITS.schedule:
        able = [p.name for p in registry.listing("algorithms") if p.module is not None and p.module.TRAITS.schedule]
        raise BadInput(
            f"--schedule is {spec.schedule!r}, and algorithm {spec.algorithm.name!r} takes no schedule of its step size: leave "
            f"it out, or choose {' or '.join(able)}; one of your own takes it by schedule=True in its TRAITS and problem.schedule"
        )
    return spec


def beside(estimator: registry.Plugin, settings: Mapping[str, Any]) -> dict[registry.Plugin, dict[str, Any]]:
    """Return the estimators that stand beside one, as the other side of its likelihood, each with what it shares of its settings.

    An estimator of an unknown normaliser names them by `BESIDE`: what it says is never reported alone.
    """
    others = [registry.get("estimators", name) for name in getattr(estimator.module, "BESIDE", ())]
    return {one: {k: v for k, v in settings.items() if k in one.module.Config.model_fields} for one in others}


def default_estimator(algorithm: Any, model: Any) -> str:
    """Return the estimator that is evaluated at marks by default: the algorithm's own, else the model's, else the lower bound."""
    name: str = algorithm.TRAITS.estimator or getattr(model, "ESTIMATOR", "lower-bound")
    return name


def _plugin_spec(plugin: registry.Plugin, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `PluginSpec` as plain data, its settings validated and complete."""
    whose = f"of {plugin.kind[:-1]} {plugin.name!r}"
    complete = validated(plugin.module.Config, settings, whose)
    return {"name": plugin.name, "settings": complete, "file": plugin.file, "sha256": plugin.sha256}


def validated(config: type[pydantic.BaseModel], settings: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """Return all settings of a Config as JSON-able values, or raise BadInput with one sentence about the first bad one."""
    try:
        return config.model_validate(settings).model_dump(mode="json")
    except pydantic.ValidationError as error:
        raise BadInput(sentence(error, whose)) from None


def estimator_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an estimator's settings, complete, from those given by name; BadInput as `make_spec` raises it."""
    return settings_of(registry.get("estimators", name), settings)


def settings_of(
    plugin: registry.Plugin, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a plugin's settings, complete, from those given by name; BadInput as `make_spec` raises it.

    Args:
        plugin: whose.
        settings: as they were given.
        defaults: those that were not given, as far as they are not its own defaults.
    """
    part = plugin.kind[:-1]
    chosen = {**(defaults or {}), **_share_out(settings, {part: plugin})[part]}
    return validated(plugin.module.Config, chosen, f"of {part} {plugin.name!r}")


def _share_out(settings: Mapping[str, Any], chosen: Mapping[str, registry.Plugin]) -> dict[str, dict[str, Any]]:
    """Give each setting to the one plugin that has it."""
    fields = {part: set(plugin.module.Config.model_fields) for part, plugin in chosen.items()}
    shares: dict[str, dict[str, Any]] = {part: {} for part in chosen}
    for given, value in settings.items():
        part, dot, name = given.replace("-", "_").rpartition(".")
        owners = [p for p in chosen if name in fields[p] and (not dot or p == part)]
        if not owners:
            known = sorted(set().union(*fields.values()))
            shown = ", ".join(name.replace("_", "-") for name in known)
            options = [*(name.replace("_", "-") for name in known), *OPTIONS, *BUDGETS]
            where = " and ".join(f"{plugin.kind[:-1]} {plugin.name!r}" for plugin in chosen.values())
            raise BadInput(
                f"there is no setting --{given}{suggestion(given, options)}: the settings of {where} are {shown}; "
                "see `harness algos`, `harness models`, `harness datasets` and `harness estimators`"
            )
        if len(owners) > 1:
            owned = [owner.replace("_", "-") for owner in owners]
            raise BadInput(
                f"--{given} is a setting of {' and '.join(owned)}: say --{owned[0]}.{given} or --{owned[1]}.{given}"
            )
        shares[owners[0]][name] = value
        if value is True and chosen[owners[0]].module.Config.model_fields[name].annotation is not bool:
            raise BadInput(f"--{given} needs a value: settings are given as --name value; see `harness run --help`")
    return shares


def sentence(error: pydantic.ValidationError, whose: str) -> str:
    """Turn the first of pydantic's findings into one sentence."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    message = (first["msg"][0].lower() + first["msg"][1:]).removeprefix("value error, ")
    return f"--{name} {whose} is {first['input']!r}: {message}"
