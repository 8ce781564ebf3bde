"""What a run trains: data and models."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.api import DataFacts, Traits
from harness.data.dataset import Dataset
from harness.data.download import MissingData
from harness.data.suitability import Warnings, warnings
from harness.errors import BadInput
from harness.inference.abilities import missing
from harness.inference.protocols import GenerativeModel, LatentVariableModel, Recognition
from harness.inference.rng import Streams
from harness.specs import registry
from harness.specs.plugin_errors import blaming
from harness.specs.run import RunSpec


@dataclass(frozen=True)
class Subject:
    """What a run trains, and what is evaluated: data and models as a specification asks for, at their beginning.

    Attributes:
        dataset: the data.
        facts: what models and algorithms may know of them.
        model: the generative model.
        recognition: the recognition model; None where the algorithm trains none.
    """

    dataset: Dataset
    facts: DataFacts
    model: GenerativeModel
    recognition: Recognition | None

    @classmethod
    def build(cls, spec: RunSpec, data_dir: str | None = None) -> "Subject":
        """Load the data and build the models, the recognition model of the model's whether an algorithm trains it or not.

        Raises:
            BadInput: missing data, or data and model that do not go together, with the reason.
            PluginFailed: the code of either raised an error.
        """
        model_plugin = spec.model.plugin("models").module
        dataset = load_dataset(spec, data_dir).first(spec.n_train)
        facts = DataFacts.of(dataset)
        if facts.kind not in model_plugin.OBSERVES:
            other = getattr(spec.dataset.plugin("datasets").module, "OTHER_KINDS", {})
            ways = [
                f"give {option} for {kind} ones, or " for kind, option in other.items() if kind in model_plugin.OBSERVES
            ]
            raise BadInput(
                f"model {spec.model.name!r} cannot describe dataset {spec.dataset.name!r}: its data are {facts.kind}, "
                f"the model takes {' or '.join(model_plugin.OBSERVES)}; {''.join(ways)}see `harness models` and "
                "`harness datasets`"
            )
        if facts.missing and not getattr(model_plugin, "MISSING", False):
            others = (one for one in registry.listing("models") if getattr(one.module, "MISSING", False))
            can = [one.name for one in others if facts.kind in one.module.OBSERVES]
            raise BadInput(
                f"model {spec.model.name!r} cannot describe dataset {spec.dataset.name!r}: entries are missing, and it needs "
                f"all; {', '.join(can) or 'none that is installed'} can do without, see `harness models`"
            )
        config = spec.model.config("models")
        with blaming(f"model {spec.model.name!r}", model_plugin):
            model, recognition = model_plugin.build(config, facts, Streams(spec.seed))
        return cls(dataset, facts, model, recognition)

    def trained_by(self, spec: RunSpec) -> "Subject":
        """Return it as the algorithm of a run trains it; BadInput if it cannot, with the reason."""
        traits = spec.algorithm.plugin("algorithms").module.TRAITS
        if reason := unsuited(traits, self.model, self.recognition):
            others = [plugin for plugin in registry.listing("algorithms") if plugin.module is not None]
            can = [one.name for one in others if not unsuited(one.module.TRAITS, self.model, self.recognition)]
            raise BadInput(
                f"algorithm {spec.algorithm.name!r} cannot run on model {spec.model.name!r}: {reason}; "
                f"{', '.join(can) or 'none that is installed'} can, see `harness algos`"
            )
        return self if traits.recognition else replace(self, recognition=None)

    def to(self, device: str) -> "Subject":
        """Return it with data and parameters on a device, in whole; they begin the same on all."""
        for part in self.parts:
            part.params.to(torch.device(device))
        return replace(self, dataset=self.dataset.to(torch.device(device)))

    @property
    def parts(self) -> list[GenerativeModel | Recognition]:
        """The generative model and, if there is one, the recognition model."""
        return [self.model] if self.recognition is None else [self.model, self.recognition]

    def begun_again(self, spec: RunSpec) -> "Subject":
        """Return it with models as they were at the beginning."""
        with torch.device("cpu"):  # where they begin on every device
            plugin, streams = spec.model.plugin("models").module, Streams(spec.seed)
            model, recognition = plugin.build(spec.model.config("models"), self.facts, streams)
        again = replace(self, model=model, recognition=recognition if self.recognition is not None else None)
        return again.to(spec.device)

    def with_missing(self, spec: RunSpec) -> "Subject":
        """Return it with a generative model of the same parameters that may be given points of which entries are missing."""
        plugin, facts = spec.model.plugin("models").module, replace(self.facts, missing=True)
        model, _ = plugin.build(spec.model.config("models"), facts, Streams(spec.seed))
        with torch.no_grad():
            model.params.flat.copy_(self.model.params.flat)
        return replace(self, facts=facts, model=model, recognition=None)

    def warnings(self, name: str) -> Warnings:
        """Return what the user should know of data that do not suit the model; `name` is the dataset's."""
        return warnings(name, self.dataset, getattr(self.model, "expects", None))

    def require_parameters(self, checkpoint: dict[str, Any]) -> None:
        """Raise BadInput where the parameters of a checkpoint are not those of these models."""
        for name, part in zip(("theta", "phi"), self.parts, strict=False):
            flat, own = checkpoint[name], part.params.flat
            if flat is None or (flat.shape, flat.dtype) != (own.shape, own.dtype):
                there = "not there" if flat is None else f"{flat.dtype} of shape {tuple(flat.shape)}"
                raise BadInput(f"{name} is {there}, and the model has {own.dtype} of shape {tuple(own.shape)}")

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take over the parameters of a checkpoint; BadInput if they are not those of these models."""
        self.require_parameters(checkpoint)
        with torch.no_grad():
            for name, part in zip(("theta", "phi"), self.parts, strict=False):
                part.params.flat.copy_(checkpoint[name])


_kept: dict[tuple[str, str | None], Dataset] | None = None
"""The last dataset, where a process keeps it."""


def keep_last_dataset() -> None:
    """Keep the last dataset of the harness itself from here on: for a process that makes many runs of the same data."""
    global _kept
    _kept = {}


def load_dataset(spec: RunSpec, data_dir: str | None) -> Dataset:
    """Load the data of a run, all of them; BadInput where they cannot be had, PluginFailed where code raised another error."""
    key = spec.dataset.model_dump_json(), data_dir
    if _kept is not None and key in _kept:
        return _kept[key]
    plugin, config = spec.dataset.plugin("datasets"), spec.dataset.config("datasets")
    with blaming(f"dataset {spec.dataset.name!r}", plugin.module):
        try:
            found = plugin.module.load(config, data_dir)
        except OSError as error:  # of a plugin that does not look before it reads; no output of ours
            raise MissingData(
                f"the data of dataset {spec.dataset.name!r} cannot be read ({type(error).__name__}: {error}): give the "
                "path of a file that can"
            ) from error
        if not isinstance(found, Dataset):
            raise TypeError(f"load returned {type(found).__name__}, and not a harness.api.Dataset")
    if _kept is not None and plugin.is_ours:
        _kept.clear()
        _kept[key] = found
    return found


def unsuited(traits: Traits, model: object, recognition: Recognition | None) -> str | None:
    """Return why an algorithm of these traits cannot work on these models; None if it can."""
    infers = any(LatentVariableModel in need.__mro__ for need in traits.needs)
    latents = model.latents if infers and isinstance(model, LatentVariableModel) else None
    if latents and any(layer.kind not in traits.latents for layer in latents.layers):
        return f"the model's latents are {latents.kinds}, and it infers {' or '.join(traits.latents)} ones"
    return missing(traits.needs, model, recognition)
