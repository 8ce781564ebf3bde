"""Draws of a gradient estimator at parameters that stand still: their means, how they vary, and what they cost.

An estimator is an algorithm that has `gradient`; see `harness.api`. Gradients are per datapoint, of a batch that stays the same.
Draws are dealt out to a fixed number of groups, whose means are independent: how these vary says how sure the mean is.
"""

from dataclasses import dataclass
from time import process_time
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness.api import Problem
from harness.data.dataset import Batch
from harness.errors import BadInput, RunFailed
from harness.inference.bounds import enumerable, enumerated, unbiased
from harness.inference.factored import Factored
from harness.inference.gradients import Bound
from harness.inference.protocols import LatentVariableModel
from harness.inference.rng import Streams
from harness.specs import registry
from harness.specs.budget import Ledger
from harness.specs.plugin_errors import blaming
from harness.store.checkpoint import digest
from harness.training.checkpoint import pack, restore
from harness.training.metering import metered_twin
from harness.training.subject import Subject, unsuited

GROUPS = 20
LEAST_DRAWS = 2 * GROUPS
"""Each group has two at least, so that it tells a variance."""


@dataclass(frozen=True)
class GradientEstimator:
    """An algorithm with its settings, as an estimator of a gradient.

    Attributes:
        label: what it is called: as it was given.
        plugin: the algorithm.
        config: its settings.
    """

    label: str
    plugin: registry.Plugin
    config: Any

    @property
    def bound_of(self) -> int:
        """Of how many weighted samples the bound is that it ascends."""
        setting: str | None = self.plugin.module.TRAITS.bound_of
        return 1 if setting is None else int(getattr(self.config, setting))


class Block(NamedTuple):
    """Parameters that are looked at together: all of θ or of φ, or those of one name.

    Attributes:
        part: "theta" or "phi".
        name: of the parameters; empty for all.
        begin: the first of them, among those of θ and φ one behind the other.
        end: the one after the last.
    """

    part: str
    name: str
    begin: int
    end: int


def blocks(subject: Subject) -> list[Block]:
    """Return θ and φ, and the parameters of each name in them."""
    found, at = [], 0
    for part, model in zip(("theta", "phi"), subject.parts, strict=True):
        params, begin = model.params, at
        named = []
        for name, values in zip(params.shapes, params.views, strict=True):
            if values.numel():
                named.append(Block(part, name, at, at + values.numel()))
            at += values.numel()
        found += [Block(part, "", begin, at), *(named if len(named) > 1 else [])]
    return found


class Draws:
    """Means and variances of gradients of θ and φ, one behind the other, by group.

    Args:
        blocks: of which parameters the variance is wanted.
    """

    def __init__(self, blocks: list[Block]):
        self._blocks, self.n = blocks, 0
        self._first: tuple[float, Tensor] | None = None  # taken away from all, lest digits cancel
        self._sums = torch.zeros(0)
        self._squares = torch.zeros(GROUPS, len(blocks), dtype=torch.float64)
        self._values = torch.zeros(GROUPS, dtype=torch.float64)

    def add(self, value: float, gradient: Tensor) -> None:
        """Take another draw: the estimate of the bound, and the gradient (P,), double precision."""
        if self._first is None:
            self._first, self._sums = (value, gradient), gradient.new_zeros(GROUPS, len(gradient))
        group, left = self.n % GROUPS, gradient - self._first[1]
        self._sums[group] += left
        self._values[group] += value - self._first[0]
        self._squares[group] += torch.stack([left[b.begin : b.end].square().sum() for b in self._blocks])
        self.n += 1

    @property
    def _counts(self) -> Tensor:
        return torch.bincount(torch.arange(self.n) % GROUPS, minlength=GROUPS).double()

    def means(self) -> Tensor:
        """Return the mean gradient of each group (G, P)."""
        assert self._first is not None
        return self._first[1] + self._sums / self._counts.unsqueeze(-1)

    def values(self) -> Tensor:
        """Return the mean estimate of the bound of each group (G,)."""
        assert self._first is not None
        return self._first[0] + self._values / self._counts

    def variances(self) -> Tensor:
        """Return the trace of the covariance within each group, of each block (G, blocks)."""
        n = self._counts.unsqueeze(-1)
        of_mean = torch.stack([self._sums[:, b.begin : b.end].square().sum(-1) for b in self._blocks], -1)
        return ((self._squares - of_mean / n) / (n - 1)).clamp(min=0.0)


class Measured(NamedTuple):
    """What was drawn of an estimator, and what it cost.

    Attributes:
        draws: of its gradient.
        samples: that a draw evaluates, as the ledger counts them.
        cpu_seconds: of a draw, on average.
        fitted: whether it has parts that were fitted to the parameters first, such as baselines.
        scale: of each block, the factor by which it multiplies the gradient on purpose, and without which it was drawn.
    """

    draws: Draws
    samples: float
    cpu_seconds: float
    fitted: bool
    scale: list[float]


@dataclass(frozen=True)
class Reference:
    """The gradient of L_K by which estimators are judged.

    Attributes:
        means: of each group (G, P): all the same where it is exact, else means of independent draws.
        values: of the bound, likewise (G,).
        exact: whether it is.
    """

    means: Tensor
    values: Tensor
    exact: bool


class Bench:
    """Where gradient estimators are measured: models whose parameters stand still, and a batch of points.

    Args:
        subject: data, a model of latent variables and its recognition model. Parameters may be changed between measurements.
        points: how many points of the training set, chosen at random.
        seed: of the choice of points, of minibatches to fit to, and of every estimator's noise.

    Raises:
        BadInput: there are not so many points.
    """

    def __init__(self, subject: Subject, points: int, seed: int):
        n = subject.facts.n_train
        if points > n:
            raise BadInput(f"--points is {points:,}, and the run has {n:,} training points: give a number up to that")
        self.subject, self.points, self._streams = subject, points, Streams(seed)
        index = torch.randperm(n, generator=self._streams("points of gradients"))[:points]
        self._batch = subject.dataset.batch(index, self._streams("binarisation of gradients"))
        self.blocks = blocks(subject)

    def problem(self, ledger: Ledger) -> Problem:
        """Return what an estimator is given: metered models, and a step size that stays as it is."""
        model, recognition = self.subject.model, self.subject.recognition
        return Problem(metered_twin(model, ledger), metered_twin(recognition, ledger), self.subject.facts)

    def refusal(self, plugin: registry.Plugin) -> str | None:
        """Return why an algorithm cannot be measured on these models; None if it can."""
        module = plugin.module
        if not hasattr(module, "gradient"):
            return "it has no gradient(state, batch) that estimates the gradient of one bound"
        if reason := unsuited(module.TRAITS, self.subject.model, self.subject.recognition):
            return reason
        with blaming(f"algorithm {plugin.name!r}", module):
            reason = module.skip(self.problem(Ledger())) if hasattr(module, "skip") else None
        return reason

    def reference(self, K: int, draws: int) -> Reference:
        """Return the gradient of L_K: by enumeration where latents are few, else by so many draws of an unbiased estimate."""
        model, recognition = self.subject.model, self.subject.recognition
        assert isinstance(model, LatentVariableModel)
        assert recognition is not None
        if enumerable(model):
            value, gradient = self._per_point(enumerated(model, recognition, self._batch.x, K))
            return Reference(gradient.expand(GROUPS, -1), torch.full((GROUPS,), value, dtype=torch.float64), True)
        found, rng = Draws(self.blocks), self._streams(f"reference gradient {K}")
        for _ in range(draws):
            found.add(*self._per_point(unbiased(model, recognition, self._batch.x, K, rng)))
        return Reference(found.means(), found.values(), False)

    def measure(self, estimator: GradientEstimator, draws: int, fit: int) -> Measured:
        """Draw from an estimator.

        Parts of its state that adapt to the parameters, such as baselines, are fitted in so many steps to random minibatches.
        Every draw then begins with that state, so that draws are independent.

        Args:
            estimator: what to draw from; one that is not refused.
            draws: how many.
            fit: steps of fitting.

        Raises:
            PluginFailed: its code raised an error.
            RunFailed: it changed parameters, or a gradient is not finite.
        """
        module, ledger = estimator.plugin.module, Ledger()
        who = f"algorithm {estimator.plugin.name!r}"
        rng = self._streams(f"gradient noise {estimator.label}")
        before = self._parameters()
        with blaming(who, module):
            state = module.init(self.problem(ledger), estimator.config, rng)
            if hasattr(module, "warm_up"):
                module.warm_up(state, self._points())
            fitted = self._adapts(module, state, rng)
            if fitted:
                self._fit(module, state, getattr(estimator.config, "batch_size", self.points), fit)
            scale = [1.0] * len(self.blocks)
            if hasattr(module, "unscaled"):
                unscaled = module.unscaled(state)
                scale = self._scale(module, state, unscaled, rng)
                state = unscaled
            kept, found, seconds, samples = pack(state) if fitted else None, Draws(self.blocks), 0.0, ledger.samples
            for number in range(draws):
                if fitted:
                    _restore(state, kept, rng)
                batch, began = self._points(), process_time()
                drawn = _dense(module.gradient(state, batch))
                seconds += process_time() - began
                value, gradient = self._per_point(drawn)
                if not gradient.isfinite().all():
                    raise RunFailed(f"{who}: its gradient is not finite at draw {number + 1:,} of {estimator.label}")
                found.add(value, gradient)
        if not torch.equal(self._parameters(), before):
            raise RunFailed(f"{who}: its gradient(state, batch) changed parameters, which step alone may")
        return Measured(found, (ledger.samples - samples) / draws, seconds / draws, fitted, scale)

    def _points(self) -> Batch:
        """Return the batch, a copy: an algorithm may change its own."""
        return Batch(self._batch.x.clone(), self._batch.index)

    def _parameters(self) -> Tensor:
        return torch.cat([part.params.flat.detach() for part in self.subject.parts])

    def _per_point(self, drawn: Bound) -> tuple[float, Tensor]:
        """Return the bound and its gradient by θ and φ, of each point on average, in double precision."""
        value, by_theta, by_phi = _dense(drawn)
        return float(value) / self.points, torch.cat([by_theta.double(), by_phi.double()]) / self.points

    def _adapts(self, module: Any, state: Any, rng: torch.Generator) -> bool:
        """Say whether a gradient changes the state, apart from the generator, which is left as it was."""
        random = rng.get_state()
        before = digest(pack(state))
        module.gradient(state, self._points())
        rng.set_state(random)
        return digest(pack(state)) != before

    def _fit(self, module: Any, state: Any, size: int, steps: int) -> None:
        """Let a state adapt to the parameters by gradients of random minibatches, which are not ascended."""
        order, binarisation = self._streams("minibatches to fit to"), self._streams("binarisation to fit to")
        for _ in range(steps):
            index = torch.randint(self.subject.facts.n_train, (size,), generator=order)
            module.gradient(state, self.subject.dataset.batch(index, binarisation))

    def _scale(self, module: Any, state: Any, unscaled: Any, rng: torch.Generator) -> list[float]:
        """Return by how much one state's gradient is larger than the other's by the same noise, of each block."""
        random, norms = rng.get_state(), []
        for one in (state, unscaled):
            kept = pack(one)
            _, gradient = self._per_point(module.gradient(one, self._points()))
            norms.append([gradient[b.begin : b.end].norm().item() for b in self.blocks])
            restore(one, kept)
            rng.set_state(random)
        return [a / b if b else 1.0 for a, b in zip(*norms, strict=True)]


def _restore(state: Any, kept: Any, rng: torch.Generator) -> None:
    """Put a state back as it was kept, apart from the generator, which goes on."""
    random = rng.get_state()
    restore(state, kept)
    rng.set_state(random)


def _dense(drawn: Bound) -> Bound:
    """Return an estimate with gradients that are multiplied out, as an optimiser would."""
    by_theta, by_phi = (g.dense() if isinstance(g, Factored) else g for g in (drawn.by_theta, drawn.by_phi))
    return drawn._replace(by_theta=by_theta, by_phi=by_phi)
