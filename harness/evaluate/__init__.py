"""Estimators, one a file, and the one way in which all of them are applied (DESIGN §4).

Every estimate is over points in one fixed random order, the same for every algorithm and seed, in chunks of one fixed size
and with a generator that begins at the same place each time: common random numbers, in which the first points of a longer
evaluation are those of a shorter one.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from harness.data import Dataset, Split
from harness.rng import Streams

CHUNK = 500  # rows evaluated at a time: activations stay in cache


@dataclass(frozen=True)
class Estimate:
    """A figure about a model, in nats per datapoint.

    Attributes:
        estimator: its name.
        settings: its settings.
        direction: on which side of log p(x) it lies in expectation: "lower", "upper" or "exact".
        split: "train" or "test".
        points: how many points it is a mean over.
        mean: the mean; higher is better.
        se_points: standard error of the mean over the choice of points.
        se_estimator: standard error of the mean over the estimator's own noise.
    """

    estimator: str
    settings: dict[str, Any]
    direction: str
    split: Split
    points: int
    mean: float
    se_points: float
    se_estimator: float

    def row(self) -> dict[str, Any]:
        """Return it as a plain dict."""
        return asdict(self)


@torch.no_grad()
def evaluate(
    name: str,
    estimator: Any,
    config: Any,
    model: Any,
    recognition: Any,
    dataset: Dataset,
    split: Split,
    points: int,
    seed: int,
) -> Estimate:
    """Apply an estimator to the first `points` evaluation points of a split (to all if there are fewer).

    Args:
        name: the estimator's name.
        estimator: its plugin module.
        config: its settings.
        model: the generative model, not metered.
        recognition: the recognition model, or None.
        dataset: where the points come from.
        split: "train" or "test".
        points: how many.
        seed: of the run; fixes the estimator's noise. The choice of points and their binarisation are the same for all seeds.
    """
    streams, common = Streams(seed), Streams(0)
    noise, binarisation = streams(f"evaluation noise {split}"), common(f"evaluation binarisation {split}")
    order = torch.randperm(len(getattr(dataset, split)), generator=common(f"evaluation points {split}"))
    values, variances = [], []
    for index in order[:points].split(CHUNK):
        x = dataset.rows(split, index, binarisation)
        value, variance = estimator.estimate(model, recognition, x, config, noise)
        values.append(value.double())
        variances.append(variance.double())
    value, variance = torch.cat(values), torch.cat(variances)
    n = len(value)
    return Estimate(
        estimator=name,
        settings=config.model_dump(mode="json"),
        direction=estimator.DIRECTION,
        split=split,
        points=n,
        mean=value.mean().item(),
        se_points=value.std().item() / math.sqrt(n) if n > 1 else math.nan,
        se_estimator=math.sqrt(variance.mean().item() / n),
    )
