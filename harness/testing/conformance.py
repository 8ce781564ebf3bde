"""Checks of algorithms, datasets and estimators, on tiny problems.

Each check takes a name or a path, runs the plugin on tiny problems, and raises AssertionError with one sentence about the
first thing that is not as `harness.api` says.
"""

import gc
import math
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from harness import api
from harness.analysis.bias import bias
from harness.errors import BadInput, RunFailed
from harness.specs import named, registry
from harness.specs.run import make_spec
from harness.testing import toy
from harness.testing.module import check_module, small
from harness.training.evaluation import Estimator
from harness.training.gradients import Bench, GradientEstimator
from harness.training.loop import Training

REPEATS = 60  # of each point, to see how an estimator's noise varies
DRAWS, FIT = 200, 50  # of a gradient, and steps in which it adapts before
DIRECTIONS = ("lower", "upper", "exact", "not a bound")
LEAST_P = 1e-4  # of a gradient by θ or by φ, below which it is biased


class Outcome(NamedTuple):
    """What came of an algorithm on a model and a kind of data: it ran, or was refused with a reason."""

    model: str
    kind: api.Kind
    refused: str | None


def training(
    algorithm: str,
    model: str = "mlp",
    kind: api.Kind = "binary",
    *,
    seed: int = 0,
    schedule: str = "constant",
    **settings: Any,
) -> Training:
    """Return an algorithm at the start of a run on the tiny dataset, with a small version of the model."""
    named.note(model)
    every = {**small(registry.get("models", model), 0.1), "kind": kind, **settings}
    return Training(make_spec(algorithm, toy.__file__, model, settings=every, seed=seed, schedule=schedule))


def check_algorithm(name: str) -> list[Outcome]:
    """Check an algorithm on every model and kind of data; return what came of each."""
    named.note(name)
    plugin = registry.get("algorithms", name)
    check_module(plugin)
    traits, config = plugin.module.TRAITS, plugin.module.Config
    assert isinstance(traits, api.Traits), f"TRAITS is {traits!r}: it must be an api.Traits"
    if traits.batch == "minibatch":
        assert "batch_size" in config.model_fields, "its batches are minibatches, so its Config needs batch_size"
    if traits.bound_of is not None:
        assert traits.bound_of in config.model_fields, (
            f"TRAITS has bound_of={traits.bound_of!r}, and its Config has no such setting: name the one that is K of L_K"
        )
    outcomes = [check_on(name, model, kind) for model in _sound_models() for kind in toy.KINDS]
    assert any(outcome.refused is None for outcome in outcomes), f"it runs on nothing: {outcomes[0].refused}"
    return outcomes


def _sound_models() -> list[str]:
    """Return the names of the installed models that can be imported."""
    return [model.name for model in registry.listing("models") if model.module is not None]


def check_on(name: str, model: str, kind: api.Kind) -> Outcome:
    """Check an algorithm on one model and kind of data: its steps; on the kind that the model names first, its gradient, too."""
    module = registry.get("algorithms", name).module
    try:
        training(name, model, kind)
    except BadInput as refusal:
        assert len(str(refusal)) > 20, f"it is refused without a reason: {refusal}"
        return Outcome(model, kind, str(refusal))
    _check_steps(name, model, kind)
    if hasattr(module, "gradient") and kind == registry.get("models", model).module.OBSERVES[0]:
        _check_gradient(name, model, kind)
    if module.TRAITS.schedule:
        _check_schedule(name, model, kind)
    return Outcome(model, kind, None)


def _check_steps(name: str, model: str, kind: api.Kind) -> None:
    """Take steps: finite, metered, nothing left in memory, the same for the same seed, and after saving and loading."""
    first, second = training(name, model, kind), training(name, model, kind)
    for _ in range(3):
        info = first.step()
        assert all(map(math.isfinite, info.values())), f"on {model} and {kind} data its Info is not finite: {info}"
    if first.batch_size is not None:
        batch = second._batch()
        points = weakref.ref(batch.x)
        second.algorithm.step(second.state, batch)
        del batch
        if points() is not None:  # a cycle of Python's own is no leak
            gc.collect()
        assert points() is None, (
            "its batch is still in memory after the step: is there a hook that leads back to its tensor?"
        )
    spent = first.ledger
    assert spent.samples or spent.fantasies, (
        "three steps evaluated no density and sampled no fantasy through the metered models"
    )
    saved = first.checkpoint()
    second.load(saved)
    for _ in range(3):
        assert first.step() == second.step(), (
            "a step after saving and loading differs: its State lacks something, such as rng"
        )
    _same(first.checkpoint(), second.checkpoint(), "after saving and loading")
    third = training(name, model, kind)
    for _ in range(6):
        third.step()
    _same(first.checkpoint(), third.checkpoint(), "in a second run with the same seed")


def _check_gradient(name: str, model: str, kind: api.Kind) -> None:
    """Draw gradients after a few steps: metered, parameters as they were, and on average the gradient of the bound."""
    run, plugin = training(name, model, kind), registry.get("algorithms", name)
    for _ in range(3):
        run.step()
    where = f"on {model} and {kind} data"
    assert run.recognition is not None, "it has a gradient of a bound, so its TRAITS need a recognition model"
    bench = Bench(run.subject, 5, 0)
    one = GradientEstimator(plugin.name, plugin, plugin.module.Config())
    try:
        drawn = bench.measure(one, DRAWS, FIT)
    except RunFailed as error:
        raise AssertionError(f"{where}, {error}") from error
    assert drawn.samples, f"{where} its gradient evaluated no density through the metered models"
    off = drawn.draws.means() - bench.reference(one.bound_of, DRAWS).means
    for block in bench.blocks:
        d = off[:, block.begin : block.end]
        assert block.name or bias((d @ d.T).numpy()).p > LEAST_P, (
            f"{where} its gradient by {block.part} is not on average that of "
            f"{'the lower bound' if one.bound_of == 1 else f'the bound of {one.bound_of} samples'}: does it sum over points, "
            "leave the prior out, and does TRAITS have the bound_of? If it is scaled on purpose, give unscaled(state)"
        )


def _check_schedule(name: str, model: str, kind: api.Kind) -> None:
    """Take steps behind the horizon of a schedule, where every step size is 0: no parameter changes."""
    fields = registry.get("algorithms", name).module.Config.model_fields
    run = training(name, model, kind, schedule="linear:1", **({"warmup": 0} if "warmup" in fields else {}))
    run.step()
    before = [part.params.flat.detach().clone() for part in run.subject.parts]
    for _ in range(2):
        run.step()
    assert all(torch.equal(part.params.flat, flat) for part, flat in zip(run.subject.parts, before, strict=True)), (
        f"TRAITS has schedule=True, and on {model} and {kind} data parameters change where problem.schedule() is 0: multiply "
        "every step size by it"
    )


def _same(a: dict[str, Any], b: dict[str, Any], when: str) -> None:
    from harness.store.checkpoint import digest

    for part in ("theta", "phi", "algorithm", "rng", "ledger"):
        assert digest(a[part]) == digest(b[part]), f"{part} is not the same {when}"


def check_dataset(name: str, data_dir: str | None = None, **settings: Any) -> None:
    """Check a dataset: it is one, which was checked when it was made, and gives the same points again.

    It does so when it is loaded again, under the same SHA-256, and for the same stream of random numbers.

    Args:
        name: name or path.
        data_dir: folder of the user's data.
        settings: of the dataset, such as it needs.
    """
    named.note(name)
    plugin = registry.get("datasets", name)
    check_module(plugin)
    config = plugin.module.Config(**settings)
    data = plugin.module.load(config, data_dir)
    assert isinstance(data, api.Dataset), f"load returns {type(data).__name__}, and no api.Dataset"
    again = plugin.module.load(config, data_dir)
    assert again.sha256 == data.sha256, "its SHA-256 differs from one load to the next, so no run could be compared"
    for part in ("train", "valid", "test"):
        first, second = getattr(data, part), getattr(again, part)
        same = first is None if second is None else first is not None and torch.equal(first, second)
        assert same, f"its {part} points differ from one load to the next under one SHA-256"
    for split in ("train", "test"):
        index = torch.arange(min(50, len(getattr(data, split))))
        x = data.rows(split, index, api.Streams(0)("a"))
        assert x.dtype == torch.float32
        assert torch.equal(x, data.rows(split, index, api.Streams(0)("a"))), (
            "the same points differ for the same stream"
        )


def check_estimator(name: str, models: Sequence[str] = (), **settings: Any) -> None:
    """Check an estimator on every model that it applies to: shapes, finite, and its variance tells its own noise.

    Args:
        name: name or path.
        models: names or paths of models that it is tried on besides those that are installed.
        settings: of the estimator, such as will make it quick.
    """
    named.note(name, *models)
    plugin = registry.get("estimators", name)
    check_module(plugin)
    assert plugin.module.DIRECTION in DIRECTIONS, f"DIRECTION is {plugin.module.DIRECTION!r}: choose from {DIRECTIONS}"
    applies = [check_estimator_on(name, model, **settings) for model in [*_sound_models(), *models]]
    assert any(applies), "it evaluates no model"


def check_estimator_on(name: str, model_name: str, **settings: Any) -> bool:
    """Check an estimator on one model, untrained and small; return whether it applies to it."""
    plugin, model_plugin = registry.get("estimators", name), registry.get("models", model_name)
    config = plugin.module.Config(**settings)
    estimator = Estimator(plugin.name, plugin.module, config)
    sizes = model_plugin.module.Config(**small(model_plugin, 0.5))
    data = toy.load(toy.Config(kind=model_plugin.module.OBSERVES[0]))
    model, recognition = model_plugin.module.build(sizes, api.DataFacts.of(data), api.Streams(0))
    if estimator.skip(_Subject(data, model, recognition)):
        return False
    if estimator.of_log_z:
        _check_log_z(estimator, model, data.train)
        return True
    x, z = _points(model)
    latents = {"z": z} if plugin.simulated else {}
    with torch.no_grad():
        found = plugin.module.estimate(model, recognition, x, config, api.Streams(0)("noise"), **latents)
    n = 10 * REPEATS
    assert found.value.shape == found.variance.shape == (n,), "it must return a value and a variance for each point"
    for diagnostic, numbers in found.diagnostics.items():
        assert numbers.shape == (n,), f"the diagnostic {diagnostic} must have a number for each point"
    _check_k_hat(found, weighted=getattr(plugin.module, "WEIGHTED", False))
    values, variances = found.value.double().view(REPEATS, 10), found.variance.double()
    assert torch.isfinite(values).all(), "a value is not finite"
    assert (variances >= 0).all(), "a variance is negative"
    # A ratio to chi-squared of 590 degrees of freedom: 0.7 to 1.4 is beyond 5 standard deviations.
    if plugin.module.DIRECTION != "exact":
        ratio = (variances.mean() / values.var(0).mean()).item()
        assert 0.7 < ratio < 1.4, f"the variance that it states is {ratio:.2f} of what repeats show"
    return True


def _check_k_hat(found: api.PerPoint, *, weighted: bool) -> None:
    """Check Pareto k-hat of an estimator of importance weights: there, a number for each point, and not made up."""
    effective, n, k = found.diagnostics.get("effective_samples"), len(found.value), found.k_hat
    if effective is not None:
        assert (effective > 0.999).all(), "an effective sample size is below 1, which not even one weight alone has"
    if k is None:
        assert not weighted, (
            "WEIGHTED is True, and it returns no k_hat: give api.pareto.k_hat(log_w) of 21 weights a point or more; if its "
            "settings make fewer by default, check it with more"
        )
        return
    assert weighted, "it returns k_hat, and WEIGHTED = True does not say that it is a mean of importance weights"
    assert k.shape == (n,), f"k_hat has shape {tuple(k.shape)}: it must have a number for each point, (B,)"
    assert not k.isnan().any(), "a k_hat is NaN where the value is finite"
    made_up = len(k.unique()) == 1 and k[0].isfinite() and (found.variance > 0).all()
    assert not made_up, (
        f"k_hat is {k[0].item():g} for all {n} points, whose weights differ: compute it from each point's own"
    )


class _Subject(NamedTuple):
    """What an estimator is asked about."""

    dataset: api.Dataset
    model: Any
    recognition: Any


def _points(model: Any) -> tuple[Tensor, Tensor | None]:
    """Return ten points drawn from a model, each of them `REPEATS` times, with the latents that they were drawn with."""
    rng = api.Streams(1)("points")
    if not isinstance(model, api.LatentVariableModel):
        return model.sample(10, rng).repeat(REPEATS, 1), None
    x, z = model.sample_xz(10, rng)
    return x.repeat(REPEATS, 1), z.repeat(REPEATS, 1)


def _check_log_z(estimator: Estimator, model: Any, x: Tensor) -> None:
    """Check an estimator of log Z: finite, and its variance tells its own noise, and that of the choice of points x (B, D)."""
    found = []
    with torch.no_grad():
        for k in range(REPEATS):
            rng = api.Streams(k)("noise")
            some = x[torch.randint(len(x), (len(x),), generator=rng)]
            found.append(estimator.log_z(model, some, rng))
    values, variances = (torch.tensor([getattr(one, part) for one in found]) for part in ("value", "variance"))
    assert torch.isfinite(values).all(), "log Z is not finite"
    assert (variances >= 0).all(), "a variance is negative"
    if estimator.module.DIRECTION != "exact":  # of 59 degrees of freedom: a factor of 2 is beyond 5 standard deviations
        ratio = (variances.mean() / values.var()).item()
        assert 0.5 < ratio < 2.0, f"the variance that it states is {ratio:.2f} of what repeats show"
