"""The contract of plugins, and all that a plugin needs to import.

Shapes: S samples, B points of a batch, D observed dimensions, Z latents of all layers together.
Every log density, bound and objective is in nats per datapoint, and higher is better.

An **algorithm** is a module with, in this order:

    TRAITS = api.Traits(...)                      what it needs and whether it has a lower bound
    class Config(api.Config)                      its settings, each an `api.setting`
    class State                                   a dataclass: exactly what the next step needs
    class Info(NamedTuple)                        numbers that a step reports, higher is better where they are objectives
    def skip(problem) -> str | None               optional: why it cannot work on this problem
    def init(problem, config, rng) -> State
    def step(state, batch) -> Info                changes the state and the parameters in place

A **model** is a module with `Config`, `OBSERVES` (kinds of data that it can describe), and
`build(config, data, streams, dtype) -> (GenerativeModel, Recognition | None)`.

A **dataset** is a module with `Config` and `load(config, data_dir) -> Dataset`.

An **estimator** is a module with `Config`, `DIRECTION` ("lower", "upper" or "exact"),
`skip(config, model, recognition) -> str | None` and `estimate(model, recognition, x, config, rng) -> PerPoint`.
One that also has `SIMULATED = True` works on points drawn from the model alone, and is given the latents that they were drawn
with as `z` (B, Z).

The first line of a plugin's docstring is its description in listings; the name of its file is its name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import pydantic
import torch
from torch import Tensor

from harness.data.dataset import Batch, Dataset, Kind
from harness.data.download import (
    MissingData,
    cache_folder,
    expect,
    find,
    from_package_index,
    from_url,
    local_folder,
    not_found,
    save,
)
from harness.data.formats import read_idx, read_matlab, unpickle_arrays
from harness.errors import BadInput, HarnessError
from harness.inference import ais, gradients, hmc, posterior
from harness.inference.adagrad import Adagrad
from harness.inference.metered import HandDerived, metered
from harness.inference.parameters import Parameters
from harness.inference.rng import Streams, bernoulli

__all__ = [
    "Adagrad",
    "BadInput",
    "Batch",
    "Choice",
    "Config",
    "DataFacts",
    "Dataset",
    "GenerativeModel",
    "HandDerived",
    "HarnessError",
    "Kind",
    "Latents",
    "LogUniform",
    "MissingData",
    "Parameters",
    "PerPoint",
    "Posterior",
    "Problem",
    "Recognition",
    "Streams",
    "Traits",
    "ais",
    "bernoulli",
    "cache_folder",
    "expect",
    "find",
    "from_package_index",
    "from_url",
    "gradients",
    "hmc",
    "local_folder",
    "metered",
    "not_found",
    "posterior",
    "read_idx",
    "read_matlab",
    "save",
    "setting",
    "unpickle_arrays",
]


MOST = 10**12  # of any setting that counts something


class Config(pydantic.BaseModel):
    """Base of every plugin's settings: frozen, and an unknown or invalid value is refused, or one of a size that is none."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @pydantic.field_validator("*")
    @classmethod
    def _calculable(cls, value: Any) -> Any:
        if isinstance(value, int) and abs(value) > MOST:
            raise ValueError(f"give one of {MOST:.0e} at most")
        if isinstance(value, float) and value and not 1 / MOST**3 < abs(value) < MOST**3:  # as single precision has
            raise ValueError(f"give one from {1 / MOST**3:.0e} to {MOST**3:.0e}")
        return value


class Choice(NamedTuple):
    """A search space of a few values."""

    values: tuple[Any, ...]


class LogUniform(NamedTuple):
    """A search space that is uniform in the logarithm."""

    low: float
    high: float


def setting(default: Any, help: str, *, search: Choice | LogUniform | None = None, **constraints: Any) -> Any:
    """Declare one setting of a `Config`.

    Args:
        default: its value where the user gives none.
        help: one line for listings.
        search: what tuning may try, for a setting that should be tuned.
        constraints: pydantic's, such as gt=0.
    """
    extra: Any = None if search is None else {"search": {type(search).__name__: search._asdict()}}
    return pydantic.Field(default, description=help, json_schema_extra=extra, **constraints)


@dataclass(frozen=True)
class Traits:
    """What an algorithm needs and offers.

    Attributes:
        latents: the kinds of latent variable that it can infer.
        recognition: whether it needs a recognition model q(z|x).
        batch: "minibatch" (its Config has `batch_size`; drawn with replacement) or "full" (all training points).
        lower_bound: whether what it learns comes with a lower bound on log p(x).
    """

    latents: tuple[Literal["continuous", "binary", "none"], ...] = ("continuous",)
    recognition: bool = True
    batch: Literal["minibatch", "full"] = "minibatch"
    lower_bound: bool = True


@dataclass(frozen=True)
class Latents:
    """The latent variables of a model: their kind, and how many in each layer, the one next to the data first."""

    kind: Literal["continuous", "binary", "none"]
    sizes: tuple[int, ...]

    @property
    def total(self) -> int:
        """Latents of all layers together: the last dimension of every z."""
        return sum(self.sizes)


@dataclass(frozen=True)
class DataFacts:
    """What a model may know of the data before it is built."""

    kind: Kind
    dim: int
    n_train: int


class GenerativeModel(Protocol):
    """p(x, z). Its methods carry `@api.metered(...)`, which says what they count; others are hidden from algorithms."""

    params: Parameters
    latents: Latents

    def log_p_z(self, z: Tensor) -> Tensor:
        """Return the log prior density of z (S, B, Z), shape (S, B)."""
        ...

    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the log likelihood of z (S, B, Z) for x (B, D), shape (S, B)."""
        ...

    def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the log joint density, shape (S, B)."""
        ...

    def sample(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        ...

    # Where there are closed forms a model may also have log_p_x(x) -> (B,) and posterior(x) -> Posterior, which estimators use,
    # and mean_x(z) -> (S, B, D), the mean of p(x|z) for z (S, B, Z), which `harness plot manifold` and `samples` draw.
    #
    # A model may compute gradients itself, sooner than autograd: one with `hand_derived = True` has
    #   gradients(x, z, weight=1.0, by_z=True) -> log p(x|z) (S, B), and of weight · its sum the gradient of θ (which may be
    #       overwritten by the next call; p(z) must have no parameters) and, unless by_z is False, of z (S, B, Z)
    #   score(x, z, value) -> log p(x, z) (S, B) if value, else None, and its gradient by z (S, B, Z)
    #   prior_score(z, value) -> the same of log p(z)
    # A recognition model with `hand_derived = True` has posteriors with
    #   reparameterise(n, rng) -> z (n, B, Z) and KL (B,)
    #   pull_back(g_z, g_kl) -> the gradient of φ of what has gradient g_z (n, B, Z) by that z and g_kl, a number, by every KL
    #   gradients(z) -> log q(z|x) (S, B), and the gradient of φ of its sum; either gradient may be overwritten by the next
    # `gradients` and `score` are `metered` with differentiated=True. `harness.testing` compares all of them with autograd.


class Posterior(Protocol):
    """q(z|x) for the points of one batch."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n samples a point, shape (n, B, Z), without a gradient."""
        ...

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n samples a point by reparameterisation, shape (n, B, Z), where the recognition model can."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z|x) of z (S, B, Z), shape (S, B)."""
        ...

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || p(z)), shape (B,), where it has a closed form."""
        ...


class Recognition(Protocol):
    """A recognition model.

    Attributes:
        params: its parameters φ.
        reparameterised: whether its posteriors have `rsample`.
        analytic_kl: whether its posteriors' `kl` has a closed form.
    """

    params: Parameters
    reparameterised: bool
    analytic_kl: bool

    def posterior(self, x: Tensor) -> Posterior:
        """Return q(z|x) for x (B, D)."""
        ...


class PerPoint(NamedTuple):
    """What an estimator says of each point of a batch.

    Attributes:
        value: its estimate of log p(x) in nats (B,).
        variance: of that value, over the estimator's own noise (B,).
        diagnostics: what tells whether to believe it, by name (B,).
    """

    value: Tensor
    variance: Tensor
    diagnostics: dict[str, Tensor] = {}  # noqa: RUF012  # a default that nobody changes

    @classmethod
    def joined(cls, parts: Sequence["PerPoint"]) -> "PerPoint":
        """Return what is said of the points of several batches, one behind the other."""
        diagnostics = {name: torch.cat([part.diagnostics[name] for part in parts]) for name in parts[0].diagnostics}
        return cls(torch.cat([part.value for part in parts]), torch.cat([part.variance for part in parts]), diagnostics)


@dataclass(frozen=True)
class Problem:
    """What an algorithm is given: metered models, and the size of the training set."""

    model: GenerativeModel
    recognition: Recognition | None
    data: DataFacts
