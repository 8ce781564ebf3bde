"""Estimators, one a file, and the one way in which all of them are applied (DESIGN §4).

Every estimate is over points in one fixed random order, the same for every algorithm and seed, in chunks of one fixed size
and with a generator that begins at the same place each time: common random numbers, in which the first points of a longer
evaluation are those of a shorter one.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from harness.api import PerPoint
from harness.data.dataset import Dataset
from harness.errors import OutOfMemory, out_of_memory
from harness.inference.rng import Streams

CHUNK = 500  # rows evaluated at a time: activations stay in cache

Split = Literal["train", "valid", "test", "simulated"]
"""Where points come from: a split of the dataset, or the model itself."""


@dataclass(frozen=True)
class Estimate:
    """A figure about a model, in nats per datapoint.

    Attributes:
        estimator: its name.
        settings: its settings.
        direction: on which side of log p(x) it lies in expectation: "lower", "upper" or "exact".
        split: where the points come from.
        points: how many points it is a mean over.
        mean: the mean; higher is better.
        se_points: standard error of the mean over the choice of points.
        se_estimator: standard error of the mean over the estimator's own noise.
        diagnostics: means over points of what the estimator tells of itself, such as effective sample size or acceptance.
    """

    estimator: str
    settings: dict[str, Any]
    direction: str
    split: Split
    points: int
    mean: float
    se_points: float
    se_estimator: float
    diagnostics: dict[str, float] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return it as a plain dict."""
        return asdict(self)


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
        split: "train", "valid" or "test" of the dataset, or "simulated": points drawn from the model.
        points: how many.
        seed: of the run; fixes the estimator's noise. The choice of points and their binarisation are the same for all seeds.
    """
    each = evaluate_points(estimator, config, model, recognition, dataset, split, points, seed)
    return summarise(name, estimator, config, split, each)


def summarise(name: str, estimator: Any, config: Any, split: Split, each: PerPoint) -> Estimate:
    """Return the mean of what an estimator said of each point, and its errors."""
    value, variance, n = each.value.double(), each.variance.double().mean(), len(each.value)
    # The spread of values over points has the estimator's noise in it, which is told apart from the choice of points.
    spread = value.var() if n > 1 else torch.tensor(math.nan)
    return Estimate(
        estimator=name,
        settings=config.model_dump(mode="json"),
        direction=estimator.DIRECTION,
        split=split,
        points=n,
        mean=value.mean().item(),
        se_points=((spread - variance).clamp(min=0.0) / n).sqrt().item(),
        se_estimator=(variance / n).sqrt().item(),
        diagnostics={key: numbers.double().mean().item() for key, numbers in each.diagnostics.items()},
    )


@torch.no_grad()
def evaluate_points(
    estimator: Any,
    config: Any,
    model: Any,
    recognition: Any,
    dataset: Dataset,
    split: Split,
    points: int,
    seed: int,
) -> PerPoint:
    """Return what `evaluate` averages, for each point; see there. All of it is NaN where the model is not finite."""

    def nothing() -> PerPoint:
        n = points if split == "simulated" else min(points, len(getattr(dataset, split)))
        return PerPoint(torch.full((n,), math.nan), torch.full((n,), math.nan))

    if not all(finite(part) for part in (model, recognition) if part is not None):
        return nothing()
    noise = Streams(seed)(f"evaluation noise {split}")
    found = []
    for x, z in _simulated(model, points) if split == "simulated" else _chosen(dataset, split, points):
        latents = {"z": z} if getattr(estimator, "SIMULATED", False) else {}
        try:
            found.append(estimator.estimate(model, recognition, x, config, noise, **latents))
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return nothing()  # a covariance or a curvature was not finite, as those of a model that diverges are
        except Exception as error:
            if not out_of_memory(error):
                raise
            sizes = [f"{n.replace('_', '-')}={v}" for n, v in config if isinstance(v, int) and not isinstance(v, bool)]
            name = estimator.__name__.rpartition(".")[2].replace("_", "-")
            said = str(error).partition(". ")[0][:200] or type(error).__name__
            raise OutOfMemory(
                f"{name} ran out of memory on {len(x):,} points of {split} ({said}): lower "
                f"{' or '.join(sizes) or 'the size of the model'}, or use a machine with more"
            ) from error
    return PerPoint.joined(found)


def finite(part: Any) -> bool:
    """Say whether all parameters of a generative or recognition model are finite, as their sum then is."""
    return math.isfinite(part.params.flat.detach().sum().item())


def chosen_points(dataset: Dataset, split: Split, points: int) -> Tensor:
    """Return the first evaluation points of a split (points, D)."""
    return torch.cat([x for x, _ in _chosen(dataset, split, points)])


def _chosen(dataset: Dataset, split: Any, points: int) -> Iterator[tuple[Tensor, None]]:
    binarisation = Streams(0)(f"evaluation binarisation {split}")
    choice = Streams(0, "cpu")(f"evaluation points {split}")  # the same points on every device
    order = torch.randperm(len(getattr(dataset, split)), generator=choice, device="cpu").to(dataset.train.device)
    for index in order[:points].split(CHUNK):
        yield dataset.rows(split, index, binarisation), None


def _simulated(model: Any, points: int) -> Iterator[tuple[Tensor, Tensor]]:
    x, z = model.sample(points, Streams(0)("simulated points"))
    yield from zip(x.split(CHUNK), z.split(CHUNK), strict=True)
