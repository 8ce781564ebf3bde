"""The one way in which all estimators are applied (DESIGN §4).

Every estimate is over points in one fixed random order, the same for every algorithm and seed, in chunks of one fixed size
and with a generator that begins at the same place each time: common random numbers, in which the first points of a longer
evaluation are those of a shorter one.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from harness.api import LogZ, PerPoint
from harness.data.dataset import Dataset
from harness.errors import OutOfMemory, RunFailed, out_of_memory
from harness.inference import pareto
from harness.inference.abilities import missing
from harness.inference.protocols import (
    GenerativeModel,
    Kind,
    LatentVariableModel,
    Recognition,
)
from harness.inference.rng import Streams
from harness.inference.undirected import DeepModel, UnnormalisedModel
from harness.specs import registry
from harness.specs.plugin_errors import blaming

CHUNK = 500  # rows evaluated at a time: activations stay in cache
MOST_HEAVY = 0.05  # of the points may have weights of a heavy tail
BETTER = ("exact", "quadrature", "ais")  # than a mean of such weights; the best first
DISCRETE: dict[Kind, str] = {"binary": "bits", "counts": "words"}
"""Data whose log-probabilities are not above 0, and of what these are."""
MAX_ERRORS = 4.0  # standard errors by which noise may lift the mean of a log-probability above 0

Split = Literal["train", "valid", "test", "simulated"]
"""Where points come from: a split of the dataset, or the model itself."""
OPPOSITE = {"lower": "upper", "upper": "lower"}


class Evaluated(Protocol):
    """What is evaluated: data, and models that are not metered."""

    @property
    def dataset(self) -> Dataset:
        """The data."""
        ...

    @property
    def model(self) -> GenerativeModel:
        """The generative model."""
        ...

    @property
    def recognition(self) -> Recognition | None:
        """The recognition model; None where none was trained."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A figure about a model, in nats per datapoint.

    Attributes:
        estimator: its name.
        settings: its settings.
        direction: on which side of log p(x) it lies in expectation: "lower", "upper", "exact" or "not a bound".
        split: where the points come from.
        points: how many points it is a mean over.
        mean: the mean; higher is better.
        se_points: standard error of the mean over the choice of points.
        se_estimator: standard error of the mean over the estimator's own noise.
        diagnostics: means over points of what the estimator tells of itself, such as effective sample size or acceptance.
        heavy_tails: the share of points whose importance weights have a Pareto k-hat above 0.7; None where it is not known.
        reliable: whether these are few enough for the estimate to be trusted; None where it is not known.
        instead: what should be used instead where it is not reliable: an estimator, or more samples.
        weights: "average" where it is of the mean of the parameters over steps, "best-valid" where it is of those that are kept
            of the best mark; None where it is of the last ones.
        perplexity: of documents, a word: exp of minus the mean over documents of nats per word. Lower is better, and where the
            mean lies below log p(x) in expectation, this lies above that of the model. None for other data.
        se_perplexity: its standard error, over the choice of points and the estimator's own noise together.
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
    heavy_tails: float | None = None
    reliable: bool | None = None
    instead: str | None = None
    weights: Literal["average", "best-valid"] | None = None
    perplexity: float | None = None
    se_perplexity: float | None = None

    def row(self) -> dict[str, Any]:
        """Return it as a plain dict, without what is not known."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Estimator:
    """An estimator with its settings.

    Attributes:
        name: what it is called.
        module: its plugin module.
        config: its settings.
    """

    name: str
    module: Any
    config: Any

    @property
    def of_log_z(self) -> bool:
        """Whether it estimates the normaliser of an unnormalised model."""
        return hasattr(self.module, "estimate_log_z")

    def direction(self, model: GenerativeModel) -> str:
        """Return on which side of log p(x) it lies in expectation; log p(x) = log f(x) - log Z lies opposite to log Z.

        Of a deep model log f(x) is a lower bound itself: with an upper bound for log Z, or the exact one, it is still one.
        """
        direction: str = self.module.DIRECTION
        if not self.of_log_z:
            return direction
        if isinstance(model, DeepModel):
            return "lower" if direction in ("exact", "upper") else "not a bound"
        return OPPOSITE.get(direction, direction)

    def skip(self, subject: Evaluated) -> str | None:
        """Return why it cannot evaluate these models; None if it can."""
        model, recognition = subject.model, subject.recognition
        if self.of_log_z and isinstance(model, DeepModel):
            model = model.top
        reason = missing(self.module.NEEDS, model, recognition)
        if reason is None and not model.normalised and not self.of_log_z:
            reason = "the model's density is not normalised, so log f(x) is no likelihood: use an estimator of log Z"
        if reason is None:
            with blaming(f"estimator {self.name!r}", self.module):
                reason = self.module.skip(self.config, model, recognition)
        return reason

    def estimate(self, subject: Evaluated, split: Split, points: int, seed: int) -> Estimate:
        """Return the estimate over the first `points` evaluation points of a split (over all if there are fewer).

        Args:
            subject: data and models.
            split: "train", "valid" or "test" of the dataset, or "simulated": points drawn from the model.
            points: how many.
            seed: of the run; fixes the estimator's noise. The choice of points and their binarisation are the same for all seeds.

        Raises:
            RunFailed: it says that bits are more probable than 1.
        """
        return self.summary(subject, split, self.each(subject, split, points, seed))

    def summary(self, subject: Evaluated, split: Split, each: PerPoint) -> Estimate:
        """Return the mean of what it said of each point, and its errors; raises as `estimate`."""
        value, variance, n = each.value.double(), each.variance.double().mean(), len(each.value)
        # The spread of values over points has the estimator's noise in it, which is told apart from the choice of points;
        # the noise of log Z is the same at all points, and that of a bound on log f(x) is left in the spread.
        own = torch.zeros(()) if self.of_log_z else variance
        spread = value.var() if n > 1 else torch.tensor(math.nan)
        found = Estimate(
            estimator=self.name,
            settings=self.config.model_dump(mode="json"),
            direction=self.direction(subject.model),
            split=split,
            points=n,
            mean=value.mean().item(),
            se_points=((spread - own).clamp(min=0.0) / n).sqrt().item(),
            se_estimator=(variance if self.of_log_z else variance / n).sqrt().item(),
            diagnostics={key: numbers.double().mean().item() for key, numbers in each.diagnostics.items()},
            **_perplexity(subject.dataset, split, value),
        )
        self._require_probability(subject, found)
        if each.k_hat is None:
            return found
        heavy = (~(each.k_hat <= pareto.LIMIT)).double().mean().item()  # NaN is not below it, either
        reliable = heavy <= MOST_HEAVY
        better = None if reliable else next(applicable(BETTER, subject), "more samples")
        return replace(found, heavy_tails=heavy, reliable=reliable, instead=better)

    def _require_probability(self, subject: Evaluated, found: Estimate) -> None:
        """Raise RunFailed where a mean log-probability of bits or words is above 0, beyond what noise explains."""
        what = DISCRETE.get(subject.model.kind)
        if what is None or found.direction in ("upper", "not a bound"):
            return
        noise = found.se_estimator if math.isfinite(found.se_estimator) else 0.0
        if found.mean > MAX_ERRORS * noise + 1e-3:
            raise RunFailed(
                f"estimator {self.name} gives {found.mean:.4g} nats on {found.split}, and no log-probability of {what} is above "
                "0: the model's density is not normalised, or its methods do not belong together; see "
                "`harness.testing.check_model`"
            )

    def each(self, subject: Evaluated, split: Split, points: int, seed: int) -> PerPoint:
        """Return what `estimate` averages, for each point; see there. All of it is NaN where the model is not finite.

        Raises:
            PluginFailed: the code of the estimator or of the model raised an error.
            OutOfMemory: it needs more than there is.
        """
        with torch.no_grad(), blaming(f"estimator {self.name!r}", self.module):
            return self._each(subject, split, points, seed)

    def _each(self, subject: Evaluated, split: Split, points: int, seed: int) -> PerPoint:
        dataset, model, recognition = subject.dataset, subject.model, subject.recognition

        def nothing() -> PerPoint:
            n = points if split == "simulated" else min(points, len(getattr(dataset, split)))
            return PerPoint(torch.full((n,), math.nan), torch.full((n,), math.nan))

        if not all(finite(part) for part in (model, recognition) if part is not None):
            return nothing()
        noise = Streams(seed)(f"evaluation noise {split}")
        found, log_z = [], None
        for x, z in _simulated(model, points) if split == "simulated" else _chosen(dataset, split, points):
            try:
                if self.of_log_z and isinstance(model, UnnormalisedModel | DeepModel):
                    log_z = log_z or self._log_z(model, x, split, seed)
                    found.append(_normalised(model, x, log_z, noise))
                    continue
                latents = {"z": z} if getattr(self.module, "SIMULATED", False) else {}
                found.append(self.module.estimate(model, recognition, x, self.config, noise, **latents))
            except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
                return nothing()  # a covariance or a curvature was not finite, as those of a model that diverges are
            except Exception as error:
                if not out_of_memory(error):
                    raise
                raise self._out_of_memory(error, len(x), split) from error
        return PerPoint.joined(found)

    def _log_z(self, model: UnnormalisedModel | DeepModel, x: Tensor, split: Split, seed: int) -> LogZ:
        """Return `log_z` with points x (B, D) of a split: the last one again, if it would be the same."""
        from_data = getattr(self.module, "FROM_DATA", False)
        noise = f"evaluation noise of log Z {split}" if from_data else "evaluation noise of log Z"
        of = [self.module, self.config, seed, noise, _digest(model.params.flat), _digest(x) if from_data else b""]
        if self.name not in _last_log_z or _last_log_z[self.name][0] != of:
            _last_log_z[self.name] = of, self.log_z(model, x, Streams(seed)(noise))
        return _last_log_z[self.name][1]

    def log_z(self, model: UnnormalisedModel | DeepModel, x: Tensor, rng: torch.Generator) -> LogZ:
        """Return log Z of a model, or of the top of a deep one, with points x (B, D) of the data where it takes any."""
        if isinstance(model, DeepModel):
            x, model = model.up(x, model.pairs - 1, rng), model.top
        points = {"x": x} if getattr(self.module, "FROM_DATA", False) else {}
        found: LogZ = self.module.estimate_log_z(model, self.config, rng, **points)
        return found

    def _out_of_memory(self, error: Exception, points: int, split: Split) -> OutOfMemory:
        sizes = [
            f"{name.replace('_', '-')}={value}"
            for name, value in self.config
            if isinstance(value, int) and not isinstance(value, bool)
        ]
        said = str(error).partition(". ")[0][:200] or type(error).__name__
        return OutOfMemory(
            f"{self.name} ran out of memory on {points:,} points of {split} ({said}): lower "
            f"{' or '.join(sizes) or 'the size of the model'}, or use a machine with more"
        )


_last_log_z: dict[str, tuple[list[Any], LogZ]] = {}
"""The last log Z by each estimator, and of what: it costs far more than all points, and several splits are evaluated by it."""


def _digest(tensor: Tensor) -> bytes:
    """Return a digest of the numbers in a tensor."""
    return hashlib.sha256(tensor.detach().cpu().numpy().tobytes()).digest()


def _perplexity(dataset: Dataset, split: Split, value: Tensor) -> dict[str, Any]:
    """Return the perplexity of these log-probabilities (N,) of documents and its standard error; nothing for other data.

    As Andriy Mnih and Karol Gregor (2014), arXiv 1402.0030, have it: exp(-1/N Σ_n 1/L_n log p(x_n)), document n of L_n words.
    """
    if dataset.kind != "counts" or split == "simulated":
        return {}
    words = torch.cat([x.sum(-1, dtype=torch.float64) for x, _ in _chosen(dataset, split, len(value))])
    nats = value / words.to(value.device)
    perplexity = (-nats.mean()).exp()
    error = perplexity * nats.std() / len(nats) ** 0.5  # by the delta method
    return {"perplexity": perplexity.item(), "se_perplexity": error.item()}


def applicable(names: Iterable[str], subject: Evaluated) -> Iterator[str]:
    """Yield those of the estimators of these names that can evaluate a model with their default settings."""
    for name in names:
        module = registry.get("estimators", name).module
        if Estimator(name, module, module.Config()).skip(subject) is None:
            yield name


def _normalised(model: UnnormalisedModel | DeepModel, x: Tensor, log_z: LogZ, noise: torch.Generator) -> PerPoint:
    """Return log p(x) = log f(x) - log Z of each point, or a bound on it, with the variance of log Z."""
    log_f = model.log_f_bound(x, noise) if isinstance(model, DeepModel) else model.log_f_x(x)
    value = log_f.double() - log_z.value
    diagnostics = {
        name: torch.full_like(value, number) for name, number in {"log_Z": log_z.value, **log_z.diagnostics}.items()
    }
    return PerPoint(value, torch.full_like(value, log_z.variance), diagnostics)


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


def _simulated(model: GenerativeModel, points: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    rng = Streams(0)("simulated points")
    if isinstance(model, LatentVariableModel):
        x, z = model.sample_xz(points, rng)
        yield from zip(x.split(CHUNK), z.split(CHUNK), strict=True)
    else:
        yield from ((x, None) for x in model.sample(points, rng).split(CHUNK))
