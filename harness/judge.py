"""Stored runs before estimators: one estimate of any kind, and the sandwich that says whether to believe them."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from harness import registry
from harness.errors import BadInput
from harness.evaluate import Estimate, Split, evaluate, finite
from harness.loop import Subject, set_threads
from harness.provenance import code_version
from harness.spec import RunSpec, validated
from harness.store import Run


class Trained:
    """A stored run's model as its checkpoint has it.

    Args:
        run: the run.
        data_dir: the user's folder of data files.

    Raises:
        BadInput: the checkpoint or the data are gone, or they are not those of the run.
    """

    def __init__(self, run: Run, data_dir: str | None = None):
        record, checkpoint = run.read(), run.checkpoint()
        if checkpoint is None:
            raise BadInput(
                f"run {run.id} has no checkpoint, and so no model to evaluate: checkpoints stay where a run was made, and "
                f"{str(run.path)!r} has none; make it again with `harness run` in another --results"
            )
        self.run, self.spec, self.ledger = run, RunSpec.model_validate(record.spec), checkpoint["ledger"]
        set_threads(self.spec.threads)
        self.subject = Subject.build(self.spec, data_dir)
        if record.provenance and record.provenance[-1]["dataset"]["sha256"] != self.subject.dataset.sha256:
            raise BadInput(
                f"run {run.id} was trained on other data than those in {self.subject.dataset.source}: "
                "name its own with --data-dir"
            )
        self.subject.load(checkpoint)
        if not all(map(finite, self.subject.parts)):
            raise BadInput(
                f"run {run.id} has parameters that are not finite, so its model is none: see `harness show {run.id}`"
            )

    def estimate(
        self, name: str, split: Split = "test", points: int = 1000, settings: Mapping[str, Any] | None = None
    ) -> Estimate:
        """Return an estimate over the first `points` evaluation points of a split, and append it to the run's evaluations.

        Raises:
            BadInput: an unknown estimator, setting or split, or an estimator that cannot judge this model, with its reason.
        """
        plugin = registry.get("estimators", name)
        config = plugin.module.Config(**validated(plugin.module.Config, settings or {}, f"of estimator {name!r}"))
        dataset, model, recognition = self.subject.dataset, self.subject.model, self.subject.recognition
        splits = [s for s in ("train", "valid", "test") if getattr(dataset, s) is not None] + ["simulated"]
        if getattr(plugin.module, "SIMULATED", False):
            splits = ["simulated"]
        if split not in splits:
            raise BadInput(f"--split is {split!r}: choose {' or '.join(splits)} for {name} on this run")
        if points < 1:
            raise BadInput(f"--points is {points}: give a whole number from 1")
        if reason := plugin.module.skip(config, model, recognition):
            raise BadInput(f"{name} cannot judge run {self.run.id}: {reason}")
        found = evaluate(plugin.name, plugin.module, config, model, recognition, dataset, split, points, self.spec.seed)
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "code": code_version()}
        self.run.append_evaluation({**row, "ledger": dict(self.ledger), "estimate": found.row()})
        return found


class Certificate(NamedTuple):
    """What `certify` found.

    Attributes:
        estimates: all of them.
        gap: upper minus lower bound on simulated points, nats: how far either can be off there.
        gap_error: its standard error.
        disagreement: the largest difference between AIS and a likelihood that the run reports, on the same test points, beyond
            twice its standard error; None if it reports none.
        tolerance: what was asked for.
    """

    estimates: list[Estimate]
    gap: float
    gap_error: float
    disagreement: tuple[str, float] | None
    tolerance: float

    @property
    def trustworthy(self) -> bool:
        """Whether gap, with twice its error, and disagreement are within the tolerance."""
        agrees = self.disagreement is None or self.disagreement[1] <= self.tolerance
        return self.closed and agrees

    @property
    def closed(self) -> bool:
        """Whether the gap, with twice its error, is within the tolerance."""
        return self.gap + 2 * self.gap_error <= self.tolerance


def certify(
    trained: Trained,
    points: int,
    tolerance: float,
    settings: Mapping[str, Any],
    watch: Callable[[Estimate], None] = lambda _: None,
) -> Certificate:
    """Sandwich log p(x) between forward and reverse annealed importance sampling, and compare what the run reports.

    On points simulated from the model, forward AIS lies below log p(x) and reverse AIS above it, so the gap between them
    bounds the error of both; up to 3 latents quadrature stands between them. On test points, which cannot be sandwiched,
    forward AIS with the same settings is compared with the estimators by which the run was judged.

    Args:
        trained: the run.
        points: how many simulated points, and test points.
        tolerance: what gap and disagreement may be, nats.
        settings: of `ais`.
        watch: called with each estimate when it is there.
    """
    estimates: list[Estimate] = []

    def add(name: str, split: Split, **more: Any) -> Estimate:
        estimates.append(trained.estimate(name, split, points, more or None))
        watch(estimates[-1])
        return estimates[-1]

    lower = add("ais", "simulated", **settings)
    upper = add("ais-reverse", "simulated", **{k: v for k, v in settings.items() if k != "start"})
    quadrature = registry.get("estimators", "quadrature").module
    if quadrature.skip(quadrature.Config(), trained.subject.model, trained.subject.recognition) is None:
        add("quadrature", "simulated")
    reference = add("ais", "test", **settings)
    worst: tuple[str, float] | None = None
    for name, reported in _reported(trained).items():
        mine = add(name, "test", **reported)
        noise = math.hypot(mine.se_estimator, reference.se_estimator)
        excess = max(abs(mine.mean - reference.mean) - 2 * noise, 0.0)
        if worst is None or excess > worst[1]:
            worst = name, excess
    gap_error = math.hypot(lower.se_estimator, upper.se_estimator)
    return Certificate(estimates, upper.mean - lower.mean, gap_error, worst, tolerance)


def _reported(trained: Trained) -> dict[str, dict[str, Any]]:
    """Return the estimators of log p(x), with their settings, by which the run was judged at its marks or afterwards."""
    judges = {judge.name: judge.settings for judge in trained.spec.evaluation.estimators}
    for row in trained.run.evaluations():
        if row["estimate"]["split"] == "test":
            judges[row["estimate"]["estimator"]] = row["estimate"]["settings"]
    return {name: settings for name, settings in judges.items() if name not in ("lower-bound", "ais")}
