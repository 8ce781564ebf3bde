"""Stored runs before estimators: one estimate of any kind, and the sandwich that says whether to believe them."""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from harness import registry
from harness.errors import BadInput
from harness.evaluate import Estimate, Split, evaluate_points, finite, summarise
from harness.loop import Subject, prepare_process
from harness.provenance import code_version
from harness.spec import stored_spec, validated
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
        self.run, self.spec, self.ledger = run, stored_spec(run, record), checkpoint["ledger"]
        self.checkpoint = checkpoint
        prepare_process(self.spec.threads)
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
        self,
        name: str,
        split: Split = "test",
        points: int = 1000,
        settings: Mapping[str, Any] | None = None,
        *,
        keep: bool = True,
    ) -> tuple[Estimate, Tensor]:
        """Return an estimate over the first `points` evaluation points of a split, and the values (B,) that it is the mean of.

        The estimate is appended to the run's evaluations, unless it is not to be kept.

        Raises:
            BadInput: an unknown estimator, setting or split, or an estimator that cannot judge this model, with its reason.
        """
        plugin = registry.get("estimators", name)
        config = plugin.module.Config(**validated(plugin.module.Config, settings or {}, f"of estimator {name!r}"))
        dataset, model, recognition = self.subject.dataset, self.subject.model, self.subject.recognition
        splits = [s for s in ("train", "valid", "test") if getattr(dataset, s) is not None] + ["simulated"]
        if plugin.simulated:
            splits = ["simulated"]
        if split not in splits:
            raise BadInput(f"--split is {split!r}: choose {' or '.join(splits)} for {name} on this run")
        if points < 1:
            raise BadInput(f"--points is {points}: give a whole number from 1")
        if reason := plugin.module.skip(config, model, recognition):
            raise BadInput(f"{name} cannot judge run {self.run.id}: {reason}")
        each = evaluate_points(plugin.module, config, model, recognition, dataset, split, points, self.spec.seed)
        found = summarise(plugin.name, plugin.module, config, split, each)
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "code": code_version(), "file": plugin.file}
        if keep:
            self.run.append_evaluation({**row, "ledger": dict(self.ledger), "estimate": found.row()})
        return found, each.value.double()


class Certificate(NamedTuple):
    """What `certify` found.

    Attributes:
        estimates: all of them.
        gap: upper minus lower bound on simulated points, nats: how far either can be off there.
        gap_error: its standard error, from the spread of the gap over points.
        disagreement: which estimator that the run reports differs most from AIS on the same test points, by how many nats, and
            the standard error of that, from its spread over points; None if the run reports none.
        tolerance: what was asked for.
    """

    estimates: list[Estimate]
    gap: float
    gap_error: float
    disagreement: tuple[str, float, float] | None
    tolerance: float

    @property
    def trustworthy(self) -> bool:
        """Whether gap and disagreement, each with twice its error, are within the tolerance."""
        return self.closed and (self.disagreement is None or _within(*self.disagreement[1:], self.tolerance))

    @property
    def closed(self) -> bool:
        """Whether the gap is within the tolerance, with twice its error. One far below zero is no less wrong than one above."""
        return _within(self.gap, self.gap_error, self.tolerance)


def _within(difference: float, error: float, tolerance: float) -> bool:
    return abs(difference) + 2 * error <= tolerance


def certify(trained: Trained, points: int, tolerance: float, settings: Mapping[str, Any]) -> Certificate:
    """Sandwich log p(x) between forward and reverse annealed importance sampling, and compare what the run reports.

    On points simulated from the model, forward AIS lies below log p(x) and reverse AIS above it, so the gap between them
    bounds the error of both; up to 3 latents quadrature stands between them. On test points, which cannot be sandwiched,
    forward AIS with the same settings is compared with every estimator by which the run was judged, at its marks or afterwards.

    Args:
        trained: the run.
        points: how many simulated points, and test points; two or more.
        tolerance: what gap and disagreement may be, nats.
        settings: of `ais`, complete; two or more chains.

    Raises:
        BadInput: these cannot tell an error.
    """
    if points < 2 or settings["chains"] < 2:
        what = "--points" if points < 2 else "--chains"
        raise BadInput(f"{what} is 1, and one alone tells no error: give 2 or more")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise BadInput(f"--tolerance is {tolerance:g}: give a positive number of nats, such as 0.5")
    estimates: list[Estimate] = []

    def add(name: str, split: Split, chosen: Mapping[str, Any]) -> Tensor:
        estimate, values = trained.estimate(name, split, points, chosen)
        estimates.append(estimate)
        return values

    def difference(a: Tensor, b: Tensor) -> tuple[float, float]:
        return (a - b).mean().item(), (a - b).std().item() / math.sqrt(len(a))

    reported = _reported(trained, settings)
    lower = add("ais", "simulated", settings)
    upper = add("ais-reverse", "simulated", {k: v for k, v in settings.items() if k != "start"})
    gap, gap_error = difference(upper, lower)
    quadrature = registry.get("estimators", "quadrature").module
    if quadrature.skip(quadrature.Config(), trained.subject.model, trained.subject.recognition) is None:
        add("quadrature", "simulated", {})
    reference = add("ais", "test", settings)
    worst: tuple[str, float, float] | None = None
    for name, its_settings in reported:
        found = (name, *difference(add(name, "test", its_settings), reference))
        if worst is None or abs(found[1]) + 2 * found[2] > abs(worst[1]) + 2 * worst[2]:
            worst = found
    return Certificate(estimates, gap, gap_error, worst, tolerance)


def _reported(trained: Trained, reference: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the estimators of log p(x) by which the run was judged at its marks or afterwards, each with all its settings.

    Lower bounds are not among them, as they need not be near log p(x), nor is AIS as the reference has it.
    """
    judges = [(judge.file or judge.name, judge.settings) for judge in trained.spec.evaluation.estimators]
    for row in trained.run.evaluations():
        if row["estimate"]["split"] == "test":
            judges.append((row["file"] or row["estimate"]["estimator"], row["estimate"]["settings"]))
    distinct = [judge for i, judge in enumerate(judges) if judge not in judges[:i]]
    return [judge for judge in distinct if judge[0] != "lower-bound" and judge != ("ais", dict(reference))]
