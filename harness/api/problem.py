"""What algorithms and estimators say of themselves, what they are given, and what they return."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from harness.data.dataset import Dataset
from harness.inference.abilities import OF_POSTERIORS
from harness.inference.protocols import Kind, LatentKind, LatentVariableModel, Recognition


@dataclass(frozen=True)
class Traits:
    """What an algorithm needs and offers.

    Attributes:
        needs: protocols that model, recognition model and its posteriors have to satisfy.
        latents: the kinds of latent variable that it can infer, where it needs a `LatentVariableModel`.
        batch: "minibatch" (its Config has `batch_size`; drawn with replacement) or "full" (all training points).
        lower_bound: whether what it learns comes with a lower bound on log p(x).
        estimator: the estimator that is evaluated at marks, instead of the model's own; see `ESTIMATOR` of a model.
        schedule: whether every step size is multiplied by `problem.schedule()`, so that `--schedule` works.
        bound_of: the setting K, where `gradient` is of the bound L_K of K weighted samples; None: of the lower bound, L_1.
    """

    needs: tuple[type[Any], ...] = (LatentVariableModel, Recognition)
    latents: tuple[LatentKind, ...] = ("continuous",)
    batch: Literal["minibatch", "full"] = "minibatch"
    lower_bound: bool = True
    estimator: str | None = None
    schedule: bool = False
    bound_of: str | None = None

    @property
    def recognition(self) -> bool:
        """Whether it trains a recognition model."""
        return any(need is Recognition or need in OF_POSTERIORS for need in self.needs)


@dataclass(frozen=True)
class DataFacts:
    """What a model or an algorithm may know of the data before it sees any batch.

    Attributes:
        kind: the kind of observation.
        dim: D, observed dimensions.
        n_train: training points.
        shape: (rows, columns) of an image, where points are images.
        counts: points of each split.
        missing: whether entries of points may be missing. They are NaN, and every density is that of the other entries.
    """

    kind: Kind
    dim: int
    n_train: int
    shape: tuple[int, int] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    _mean: Callable[[], Tensor] | None = field(default=None, repr=False, compare=False)
    missing: bool = False
    _observed: Callable[[], float] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, dataset: Dataset) -> "DataFacts":
        """Return what may be known of a dataset."""
        splits = {name: getattr(dataset, name) for name in ("train", "valid", "test")}
        counts = {name: len(points) for name, points in splits.items() if points is not None}
        dim = dataset.train.shape[1]
        return cls(
            dataset.kind, dim, counts["train"], dataset.shape, counts, dataset.mean, dataset.missing, dataset.observed
        )

    @property
    def mean(self) -> Tensor:
        """The mean of the training points (D,), float32; 1/2 where no data are at hand. A copy, computed when first asked for."""
        return self._computed_mean.clone()

    @property
    def observations(self) -> float:
        """How much is observed of a point: the words of a document on average, for counts, and else its entries.

        These are D where none are missing, and otherwise an average, too.
        """
        if self.kind == "counts":
            return self._computed_mean.sum().item()
        return float(self.dim) if self._observed is None else self._observed()

    def filled(self, x: Tensor) -> Tensor:
        """Return x (B, D) with the mean in the place of entries that are missing, for networks; x itself where none may be."""
        return torch.where(x.isnan(), self._computed_mean.to(x), x) if self.missing else x

    @property
    def words(self) -> int:
        """The words of a document on average, in whole, one at least; 0 for data that are no counts."""
        return max(1, round(self.observations)) if self.kind == "counts" else 0

    @cached_property
    def _computed_mean(self) -> Tensor:
        return torch.full((self.dim,), 0.5) if self._mean is None else self._mean()


def _constant() -> float:
    return 1.0


@dataclass(frozen=True)
class Problem:
    """What an algorithm is given: metered models, what may be known of the data, and the schedule of its step size.

    Attributes:
        model: the generative model.
        recognition: the recognition model; None where the algorithm needs none.
        data: what may be known of the data.
        schedule: returns the factor of the step size now, after the samples that the ledger has counted; 1 unless the run has
            another `--schedule`. Optimisers of `harness.api` take it as `schedule`.
    """

    model: Any
    recognition: Any
    data: DataFacts
    schedule: Callable[[], float] = _constant


class PerPoint(NamedTuple):
    """What an estimator says of each point of a batch.

    Attributes:
        value: its estimate of log p(x) in nats (B,).
        variance: of that value, over the estimator's own noise (B,).
        diagnostics: what tells whether to believe it, by name (B,).
        k_hat: Pareto k-hat of its importance weights (B,), see `api.pareto`; None where it has none, or too few to tell.
    """

    value: Tensor
    variance: Tensor
    diagnostics: dict[str, Tensor] = {}  # noqa: RUF012  # a default that nobody changes
    k_hat: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["PerPoint"]) -> "PerPoint":
        """Return what is said of the points of several batches, one behind the other."""
        diagnostics = {name: torch.cat([part.diagnostics[name] for part in parts]) for name in parts[0].diagnostics}
        tails = [part.k_hat for part in parts if part.k_hat is not None]
        k_hat = torch.cat(tails) if len(tails) == len(parts) else None
        return cls(
            torch.cat([part.value for part in parts]), torch.cat([part.variance for part in parts]), diagnostics, k_hat
        )


class LogZ(NamedTuple):
    """What an estimator says of the normaliser of an unnormalised model.

    Attributes:
        value: its estimate of log Z, nats.
        variance: of that value, over the estimator's own noise.
        diagnostics: what tells whether to believe it, by name.
    """

    value: float
    variance: float
    diagnostics: dict[str, float] = {}  # noqa: RUF012  # a default that nobody changes
