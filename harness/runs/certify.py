"""The sandwich that says whether to believe a run's estimates."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from harness.errors import BadInput
from harness.inference.protocols import LatentVariableModel
from harness.inference.undirected import DeepModel, UnnormalisedModel
from harness.runs.evaluate import Trained
from harness.runs.gaps import BEST, Gap, Gaps, measure, refusal
from harness.runs.runner import Say, unheard
from harness.specs import registry
from harness.specs.run import estimator_settings
from harness.store.record import BOUNDS
from harness.training.evaluation import Estimate, Split, applicable

OTHER_SIDE = {"ais": "ais-reverse", "log-z-ais": "log-z-raise"}
"""What stands on the other side of log p(x) than an estimator."""


class Certificate(NamedTuple):
    """What `certify` found.

    Attributes:
        estimates: all of them.
        gap: upper minus lower bound, nats: how far either can be off.
        gap_error: its standard error, from the spread of the gap over points, and from the noise of log Z.
        disagreement: which estimator that the run reports differs most from AIS on the same test points, by how many nats, and
            the standard error of that, from its spread over points; None if the run reports none.
        tolerance: what was asked for.
        reference: what it is compared with: `ais` or `log-z-ais`, or an exact estimator, whose gap is 0.
        sandwiched: of which points the gap is; None where the reference is exact.
        split: of the points of the data.
        gaps: how the gap between log p(x) and the lower bound splits up on these; or why it does not.
    """

    estimates: list[Estimate]
    gap: float
    gap_error: float
    disagreement: tuple[str, float, float] | None
    tolerance: float
    reference: str
    sandwiched: Split | None
    split: Split
    gaps: Gaps | str

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


def certify(
    trained: Trained,
    points: int,
    tolerance: float,
    settings: Mapping[str, Any],
    say: Say = unheard,
    split: Split = "test",
) -> Certificate:
    """Sandwich log p(x) between forward and reverse annealing, and compare what the run reports.

    Where latents are not all continuous and log p(x) can be had by a closed form, a sum over bits or quadrature, that takes the
    place of the sandwich. That of an undirected model is of points of the data, as both sides are estimates of log Z: what lies
    between `log-z-ais` and `log-z-raise`.

    On points simulated from the model, forward AIS lies below log p(x) and reverse AIS above it, so the gap between them
    bounds the error of both; up to 3 latents quadrature stands between them. On points of the data, which cannot be sandwiched,
    forward AIS with the same settings is compared with every estimator that the run was evaluated by, at marks or afterwards.
    There the gap between log p(x) and the lower bound is split, too, and kept with the run; see `harness.runs.gaps`.

    Args:
        trained: the run.
        points: how many simulated points, and points of the data; two or more.
        tolerance: what gap and disagreement may be, nats.
        settings: of `ais`, or of `log-z-ais` for an undirected model; two or more chains.
        say: told which estimate is being made.
        split: of which points of the data: train, valid or test.

    Raises:
        BadInput: there is no such split, or these cannot tell an error, or nothing bounds log p(x) of this model from above.
        NotNamed: the run was evaluated by an estimator of a file that the user has not named in this command.
    """
    if isinstance(trained.subject.model, DeepModel):
        raise BadInput(
            f"run {trained.run.id} cannot be certified: there is no upper bound for a model whose lower layers are recognised; "
            f"see `harness evaluate {trained.run.id} --estimator log-z-raise` for a lower one"
        )
    undirected = isinstance(trained.subject.model, UnnormalisedModel)
    annealing = "log-z-ais" if undirected else "ais"
    complete = estimator_settings(annealing, settings)
    if points < 2 or complete["chains"] < 2:
        what = "--points" if points < 2 else "--chains"
        raise BadInput(f"{what} is 1, and one alone tells no error: give 2 or more")
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise BadInput(f"--tolerance is {tolerance:g}: give a positive number of nats, such as 0.5")
    if split == "simulated" or getattr(trained.subject.dataset, split, None) is None:
        there = [one for one in ("train", "valid", "test") if getattr(trained.subject.dataset, one) is not None]
        raise BadInput(
            f"--split is {split!r}: choose {' or '.join(there)}, beside which points are simulated in any case"
        )
    estimates: list[Estimate] = []

    def measured(
        name: str | registry.Plugin, chosen: Mapping[str, Any], split: Split = split
    ) -> tuple[Estimate, Tensor]:
        say(f"{name if isinstance(name, str) else name.name} on {points:,} {split} points")
        return trained.estimate(name, split, points, chosen, keep=name != BEST)  # which is kept with the gaps

    def add(name: str | registry.Plugin, split: Split, chosen: Mapping[str, Any]) -> tuple[Estimate, Tensor]:
        found = measured(name, chosen, split)
        estimates.append(found[0])
        return found

    exact = _exact(trained)
    reference = exact or annealing
    chosen: Mapping[str, Any] = {} if exact else complete
    reported = _reported(trained, reference, chosen, split)
    where: Split = split if undirected and exact is None else "simulated"
    one = other = add(reference, where, chosen)
    if exact is None:
        opposite = registry.get("estimators", OTHER_SIDE[annealing])
        own = {name: value for name, value in complete.items() if name in opposite.module.Config.model_fields}
        other = add(opposite, where, own)
        for name in applicable(("quadrature",), trained.subject):
            add(name, where, {})
    gap = _between(one, other) if undirected else _between(other, one)
    log_p, expected = one if where == split else add(reference, split, chosen)
    worst: tuple[str, float, float] | None = None
    for plugin, its_settings in reported:
        called = _told_apart(plugin.name, its_settings, reference, chosen)
        found = (called, *_between(add(plugin, split, its_settings), (log_p, expected)))
        if worst is None or abs(found[1]) + 2 * found[2] > abs(worst[1]) + 2 * worst[2]:
            worst = found
    gaps: Gaps | str = refusal(trained.subject) or ""
    if not gaps:
        exactly = next(applicable(("exact", "quadrature"), trained.subject), None)
        log_p, expected = (log_p, expected) if exactly is None else measured(exactly, {})
        gaps = measure(trained.subject, measured, log_p, expected, gap if exactly is None else None)
        trained.keep(registry.get("estimators", BEST), gaps.best, gaps=gaps.row())
    return Certificate(estimates, *gap, worst, tolerance, reference, None if exact else where, split, gaps)


def _between(above: tuple[Estimate, Tensor], below: tuple[Estimate, Tensor]) -> Gap:
    """Return the mean gap between values of the same points; its error has the noise of log Z, which all of them share."""
    gap = Gap.between(above[1], below[1])
    noise = [estimate.se_estimator for estimate, _ in (above, below) if "log_Z" in estimate.diagnostics]
    return gap._replace(error=math.hypot(gap.error, *noise))


def _told_apart(name: str, settings: Mapping[str, Any], reference: str, chosen: Mapping[str, Any]) -> str:
    """Return what an estimator is called beside the reference, which may be the same with other settings."""
    own = [f"{key}={value}" for key, value in settings.items() if chosen.get(key, value) != value]
    return f"{name} with {' '.join(own)}" if name == reference and own else name


def _exact(trained: Trained) -> str | None:
    """Return the estimator that is exact for a model with other than continuous latents; None where there is none."""
    model = trained.subject.model
    if isinstance(model, LatentVariableModel) and model.latents.only("continuous"):
        return None
    return next(applicable(("exact", "exact-log-z", "quadrature"), trained.subject), None)


def _reported(
    trained: Trained, reference: str, settings: Mapping[str, Any], split: Split
) -> list[tuple[registry.Plugin, dict[str, Any]]]:
    """Return the estimators of log p(x) by which the run was evaluated at its marks or afterwards, each with all its settings.

    Lower bounds are not among them, as they need not be near log p(x), nor are the reference itself and its other side.
    """
    estimators = [(asked.plugin("estimators"), asked.settings) for asked in trained.spec.evaluation.estimators]
    for row in trained.run.evaluations():
        if row["estimate"]["split"] == split:
            name, its_settings = row["estimate"]["estimator"], row["estimate"]["settings"]
            estimators.append((registry.stored("estimators", name, row["file"], row.get("sha256")), its_settings))
    distinct = [one for i, one in enumerate(estimators) if one not in estimators[:i]]
    return [
        (plugin, own)
        for plugin, own in distinct
        if plugin.name not in (*BOUNDS, OTHER_SIDE["log-z-ais"]) and (plugin.name, own) != (reference, dict(settings))
    ]
