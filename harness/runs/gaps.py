"""Where a lower bound loses: how much to the family of its Gaussians, and how much to the recognition model.

Chris Cremer, Xuechen Li and David Duvenaud, "Inference suboptimality in variational autoencoders" (2018), arXiv 1801.03558. With
L(x) the bound of the recognition model's q(z|x), and L*(x) that of the best diagonal Gaussian of each point,

    log p(x) - L(x)  =  [log p(x) - L*(x)]  +  [L*(x) - L(x)]       approximation gap + amortisation gap
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from harness.inference.abilities import offers
from harness.inference.protocols import MeanField
from harness.specs import registry
from harness.training.evaluation import Estimate, Estimator, Evaluated

BEST = "mean-field"
"""The estimator of the best Gaussian's bound."""

DRAWS = 50
"""Of z for the recognition model's bound, as many as for the best Gaussian's."""

Measure = Callable[[str, Mapping[str, Any]], tuple[Estimate, Tensor]]
"""Takes the name of an estimator and its settings, and returns its estimate, and its values at the same points each time (B,)."""


class Gap(NamedTuple):
    """A mean difference over points, nats, and its standard error: paired over points, the estimators' noise in it."""

    mean: float
    error: float

    @classmethod
    def between(cls, above: Tensor, below: Tensor) -> "Gap":
        """Return the gap between values of the same points (B,)."""
        difference = above - below
        return cls(difference.mean().item(), difference.std().item() / math.sqrt(len(difference)))


class Gaps(NamedTuple):
    """What `measure` found.

    Attributes:
        split: of which points.
        points: how many.
        log_p: the estimate of log p(x).
        best: the bound of the best Gaussian of each point.
        bound: the bound of the recognition model; None where there is none, or none of diagonal Gaussians.
        approximation: log p(x) minus the best Gaussian's bound.
        amortisation: that bound minus the recognition model's; None as above.
        sandwich: how far log p(x) may be too low, as a sandwich on simulated points tells; None where it is exact.
    """

    split: str
    points: int
    log_p: Estimate
    best: Estimate
    bound: Estimate | None
    approximation: Gap
    amortisation: Gap | None
    sandwich: Gap | None

    def row(self) -> dict[str, Any]:
        """Return it as a plain dict, with means in the place of estimates."""
        plain = {
            name: part.mean if isinstance(part, Estimate) else part._asdict() if isinstance(part, Gap) else part
            for name, part in self._asdict().items()
        }
        return {**plain, "reference": self.log_p.estimator}


def refusal(subject: Evaluated) -> str | None:
    """Return why the gap of a model cannot be split; None if it can."""
    module = registry.get("estimators", BEST).module
    return Estimator(BEST, module, module.Config()).skip(subject)


def measure(subject: Evaluated, measured: Measure, log_p: Estimate, values: Tensor, sandwich: Gap | None) -> Gaps:
    """Split the gap between log p(x) and the lower bound.

    Args:
        subject: the models, which `refusal` has nothing against.
        measured: estimates on the points that `log_p` is over.
        log_p: log p(x).
        values: its values (B,).
        sandwich: how far these may be too low; None where they are exact.
    """
    best, optimised = measured(BEST, {})
    bound = amortisation = None
    if subject.recognition is not None and offers(subject.recognition, MeanField):
        bound, amortised = measured("lower-bound", {"n_samples": DRAWS})
        amortisation = Gap.between(optimised, amortised)
    approximation = Gap.between(values, optimised)
    return Gaps(log_p.split, log_p.points, log_p, best, bound, approximation, amortisation, sandwich)
