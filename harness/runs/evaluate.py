"""Stored runs before estimators."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from harness.analysis.weights import Weights, no_average
from harness.errors import BadInput
from harness.runs.code import code_version
from harness.runs.inputs import loading, require_same_data
from harness.runs.stored_spec import stored_spec
from harness.specs import registry
from harness.specs.run import validated
from harness.store.run import Run
from harness.training.average import mean
from harness.training.evaluation import Estimate, Estimator, Split, finite
from harness.training.process import prepare_process
from harness.training.subject import Subject


class Trained:
    """A stored run's model as its checkpoint has it; the algorithm that trained it is not needed.

    Args:
        run: the run.
        data_dir: the user's folder of data files.
        weights: which parameters; see `harness.analysis.weights`.

    Raises:
        BadInput: these parameters or the data are gone, or they are not those of the run.
    """

    def __init__(self, run: Run, data_dir: str | None = None, weights: Weights = "last"):
        record, checkpoint = run.read(), _kept(run, weights)
        self.run, self.weights, self.checkpoint = run, weights, checkpoint
        self.spec = stored_spec(run, record, executes=("models", "datasets"))
        prepare_process(self.spec.threads)
        built = Subject.build(self.spec, data_dir)
        self.subject = replace(built, recognition=None) if checkpoint.get("phi") is None else built
        require_same_data(run, record, self.subject.dataset.sha256, self.subject.dataset.source)
        with loading(run, checkpoint, weights):
            self.subject.load(checkpoint)
        if weights == "average":
            if (why := no_average(record)) or not checkpoint.get("average", {}).get("taken"):
                raise BadInput(f"run {run.id} has no averaged weights: {why or 'its checkpoint has none'}")
            with loading(run, checkpoint, weights):
                self.subject.load(mean(checkpoint["average"]))
        self.ledger: dict[str, int] = checkpoint["ledger"]
        if not all(map(finite, self.subject.parts)):
            raise BadInput(
                f"run {run.id} has parameters that are not finite, so its model is none: see `harness show {run.id}`"
            )

    def estimate(
        self,
        name: str | registry.Plugin,
        split: Split = "test",
        points: int = 1000,
        settings: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
    ) -> tuple[Estimate, Tensor]:
        """Return an estimate over the first `points` evaluation points of a split, and the values (B,) that it is the mean of.

        The estimate is appended to the run's evaluations, unless it is not to be kept.

        Args:
            name: of the estimator, or path of its file, which the user has named in this command; or the plugin itself.
            split: where the points come from.
            points: how many.
            settings: of the estimator.
            keep: whether the estimate is kept.

        Raises:
            BadInput: an unknown estimator, setting or split, or an estimator that cannot evaluate this model, with its reason.
        """
        plugin = registry.get("estimators", name) if isinstance(name, str) else name
        config = plugin.module.Config(**validated(plugin.module.Config, settings or {}, f"of estimator {name!r}"))
        estimator, dataset = Estimator(plugin.name, plugin.module, config), self.subject.dataset
        splits = [s for s in ("train", "valid", "test") if getattr(dataset, s) is not None] + ["simulated"]
        if plugin.simulated:
            splits = ["simulated"]
        if split not in splits:
            raise BadInput(f"--split is {split!r}: choose {' or '.join(splits)} for {plugin.name} on this run")
        if points < 1:
            raise BadInput(f"--points is {points}: give a whole number from 1")
        if reason := estimator.skip(self.subject):
            raise BadInput(f"{plugin.name} cannot evaluate run {self.run.id}: {reason}")
        each = estimator.each(self.subject, split, points, self.spec.seed)
        found = estimator.summary(self.subject, split, each)
        found = found if self.weights == "last" else replace(found, weights=self.weights)
        if keep:
            self.keep(plugin, found)
        return found, each.value.double()

    def keep(self, plugin: registry.Plugin, found: Estimate, **more: Any) -> None:
        """Append an estimate to the run's evaluations, with what more was made of it."""
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "code": code_version(), "file": plugin.file}
        row |= {} if plugin.file is None else {"sha256": plugin.sha256}
        self.run.append_evaluation({**row, "ledger": dict(self.ledger), "estimate": found.row(), **more})


def _kept(run: Run, weights: Weights) -> dict[str, Any]:
    """Return what the store has of a run's parameters `theta` and `phi`, and the `ledger` of their training.

    Raises:
        BadInput: it has none, with the reason.
    """
    if weights == "best-valid":
        if (found := run.best()) is not None:
            return found
        if run.read().spec["evaluation"].get("keep") != "best-valid":
            raise BadInput(
                f"run {run.id} was made without --keep best-valid, so it has no parameters of its best mark: make a run with it "
                "and with --splits train,valid,test"
            )
        raise BadInput(
            f"run {run.id} has no parameters of its best mark: it had no mark yet, or they stayed where it was made; see "
            f"`harness show {run.id}`"
        )
    if (found := run.checkpoint()) is None:
        raise BadInput(
            f"run {run.id} has no checkpoint, and so no model to evaluate: checkpoints stay where a run was made, and "
            f"{str(run.path)!r} has none; make it again with `harness run` in another --results"
        )
    return found
