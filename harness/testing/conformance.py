"""The conformance suite that every plugin passes, for the tests of this project and of others:

    from harness import testing

    def test_my_algorithm():
        testing.check_algorithm("my_algo.py")

Each check takes a name or a path, runs the plugin on tiny problems, and raises AssertionError with one sentence about the
first thing that is not as `harness.api` says.
"""

import ast
import gc
import inspect
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from harness import api
from harness.data.dataset import Kind
from harness.errors import BadInput
from harness.inference import gradients
from harness.specs import registry
from harness.specs.run import make_spec
from harness.testing import toy
from harness.training.loop import Training

KINDS: tuple[Kind, ...] = get_args(Kind)

REPEATS = 60  # of each point, to see how an estimator's noise varies


class Outcome(NamedTuple):
    """What came of an algorithm on a model and a kind of data: it ran, or was refused with a reason."""

    model: str
    kind: Kind
    refused: str | None


def training(algorithm: str, model: str = "mlp", kind: Kind = "binary", *, seed: int = 0, **settings: Any) -> Training:
    """Return an algorithm at the start of a run on the tiny dataset, with a small version of the model."""
    fields = registry.get("models", model).module.Config.model_fields
    small = {name: value for name, value in {"nz": 2, "hidden": 5, "init_sd": 0.1}.items() if name in fields}
    spec = make_spec(algorithm, toy.__file__, model, settings={**small, "kind": kind, **settings}, seed=seed)
    return Training(spec)


def check_algorithm(name: str) -> list[Outcome]:
    """Check an algorithm on every model and kind of data; return what came of each."""
    plugin = registry.get("algorithms", name)
    _check_module(plugin)
    traits, config = plugin.module.TRAITS, plugin.module.Config
    assert isinstance(traits, api.Traits), f"TRAITS is {traits!r}: it must be an api.Traits"
    if traits.batch == "minibatch":
        assert "batch_size" in config.model_fields, "its batches are minibatches, so its Config needs batch_size"
    outcomes = []
    for model in registry.listing("models"):
        for kind in KINDS:
            if model.module is None:
                continue
            try:
                training(name, model.name, kind)
            except BadInput as refusal:
                assert len(str(refusal)) > 20, f"it is refused without a reason: {refusal}"
                outcomes.append(Outcome(model.name, kind, str(refusal)))
                continue
            _check_steps(name, model.name, kind)
            outcomes.append(Outcome(model.name, kind, None))
    assert any(outcome.refused is None for outcome in outcomes), f"it runs on nothing: {outcomes[0].refused}"
    return outcomes


def _check_steps(name: str, model: str, kind: Kind) -> None:
    """Take steps: finite, metered, nothing left in memory, the same for the same seed, and after saving and loading."""
    first, second = training(name, model, kind), training(name, model, kind)
    for _ in range(3):
        info = first._step()
        assert all(map(math.isfinite, info.values())), f"on {model} and {kind} data its Info is not finite: {info}"
    if first.batch_size is not None:
        batch = second._batch()
        points = weakref.ref(batch.x)
        second.algorithm.step(second.state, batch)
        del batch
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
        assert first._step() == second._step(), (
            "a step after saving and loading differs: its State lacks something, such as rng"
        )
    _same(first.checkpoint(), second.checkpoint(), "after saving and loading")
    third = training(name, model, kind)
    for _ in range(6):
        third._step()
    _same(first.checkpoint(), third.checkpoint(), "in a second run with the same seed")


def _same(a: dict[str, Any], b: dict[str, Any], when: str) -> None:
    from harness.store.checkpoint import digest

    for part in ("theta", "phi", "algorithm", "rng", "ledger"):
        assert digest(a[part]) == digest(b[part]), f"{part} is not the same {when}"


def check_model(name: str) -> None:
    """Check a model on every kind of data that it observes: shapes, gradients in float64 against differences, sums."""
    plugin = registry.get("models", name)
    _check_module(plugin)
    assert set(plugin.module.OBSERVES) <= set(KINDS), f"OBSERVES is {plugin.module.OBSERVES}: choose from {KINDS}"
    for kind in plugin.module.OBSERVES:
        _check_densities(plugin, kind)


def _check_densities(plugin: registry.Plugin, kind: Kind) -> None:
    fields = plugin.module.Config.model_fields
    config = plugin.module.Config(**{k: v for k, v in {"nz": 2, "hidden": 3, "init_sd": 0.5}.items() if k in fields})
    data = toy.load(toy.Config(kind=kind))
    x, streams = data.train[:4].double(), api.Streams(1)
    model, recognition = plugin.module.build(config, api.DataFacts(kind, 12, 60), streams, torch.float64)
    samples, z = model.sample(5, streams("samples"))
    assert samples.shape == (5, 12), f"sample(5) returns x of shape {tuple(samples.shape)}, not (5, 12)"
    assert z.shape == (5, model.latents.total), f"sample(5) returns z of shape {tuple(z.shape)}"
    z = torch.stack([z[:4], z[1:5]])  # (2, 4, Z)
    joint, parts = model.log_p_xz(x, z), model.log_p_x_given_z(x, z) + model.log_p_z(z)
    assert joint.shape == (2, 4), f"log_p_xz returns {tuple(joint.shape)}, not (S, B)"
    assert torch.allclose(joint, parts, rtol=1e-12), "log_p_xz is not log_p_x_given_z + log_p_z"
    flat = model.params.flat
    if model.latents.kind == "continuous":
        z.requires_grad_()
    inputs = [flat, z] if z.requires_grad else [flat]
    assert torch.autograd.gradcheck(lambda *_: model.log_p_xz(x, z), inputs), "gradients of log_p_xz"
    if gradients.by_hand(model):
        _check_gradients(model, x, z.detach())
    if hasattr(model, "mean_x"):
        _check_mean(model, streams("mean"))
    if recognition is None:
        return
    if gradients.by_hand(recognition):
        _check_recognition_gradients(recognition, x)
    posterior = recognition.posterior(x)
    q = posterior.sample(3, streams("posterior"))
    assert q.shape == (3, 4, model.latents.total), f"sample(3) of a posterior has shape {tuple(q.shape)}"
    phi = recognition.params.flat
    assert torch.autograd.gradcheck(lambda _: recognition.posterior(x).log_prob(q), [phi]), "gradients of log_prob"
    if recognition.analytic_kl:
        assert torch.autograd.gradcheck(lambda _: recognition.posterior(x).kl(), [phi]), "gradients of kl"
        n = 20_000
        draws = posterior.sample(n, streams("kl"))
        log_ratio = posterior.log_prob(draws) - model.log_p_z(draws)  # (n, B)
        error = (log_ratio.mean(0) - posterior.kl()) / (log_ratio.std(0) / math.sqrt(n))
        assert error.abs().max() < 5, f"kl is {error.abs().max():.1f} standard errors from its Monte Carlo estimate"
    if recognition.reparameterised:
        assert torch.autograd.gradcheck(
            lambda _: recognition.posterior(x).rsample(2, api.Streams(2)("noise")), [phi]
        ), "gradients of rsample"


def _check_gradients(model: Any, x: Tensor, z: Tensor) -> None:
    """Compare the gradients that a model computes itself with autograd's."""
    free = z.clone().requires_grad_()
    log_lik = model.log_p_x_given_z(x, free)
    by_theta, by_z = torch.autograd.grad(0.5 * log_lik.sum(), [model.params.flat, free])
    found = model.gradients(x, z, weight=0.5)
    for mine, autograd, what in zip(found, (log_lik, by_theta, by_z), ("value", "θ", "z"), strict=True):
        assert torch.allclose(mine, autograd, rtol=1e-9, atol=1e-12), f"gradients: {what} is not autograd's"
    assert model.gradients(x, z, by_z=False)[2] is None, "gradients(by_z=False) returns the gradient of z all the same"
    densities: list[tuple[str, Callable[[], Tensor], Callable[[bool], Any]]] = [
        ("score", lambda: model.log_p_xz(x, free), lambda value: model.score(x, z, value)),
        ("prior_score", lambda: model.log_p_z(free), lambda value: model.prior_score(z, value)),
    ]
    for name, density, score in densities:
        log_p = density()
        (grad,) = torch.autograd.grad(log_p.sum(), free)
        value, slope = score(True)
        assert torch.allclose(value, log_p, rtol=1e-9), f"the value of {name} is not the density's"
        assert torch.allclose(slope, grad, rtol=1e-9, atol=1e-12), f"{name} is not autograd's gradient"
        nothing, alone = score(False)
        assert nothing is None, f"{name} returns a value that was not asked for"
        assert torch.allclose(alone, slope, rtol=1e-9, atol=1e-12), f"{name} depends on whether a value is asked for"


def _check_mean(model: Any, rng: torch.Generator, n: int = 20_000) -> None:
    """Check that x less its mean averages to 0, and is uncorrelated with z: in 5 standard errors, one test in a million fails."""
    x, z = model.sample(n, rng)
    error = x - model.mean_x(z.unsqueeze(0))[0]  # (n, D)
    for weight in (torch.ones(n, 1), *z.split(1, dim=-1)):
        part = error * weight
        off = part.mean(0) / (part.std(0) / math.sqrt(n))
        assert off.abs().max() < 5, f"x less mean_x(z) is {off.abs().max():.1f} standard errors from 0 on average"


def _check_recognition_gradients(recognition: Any, x: Tensor) -> None:
    """Compare the gradients that a recognition model computes itself with autograd's."""
    phi, streams = recognition.params.flat, api.Streams(2)
    for n in (1, 3):
        plain, other = recognition.posterior(x), recognition.posterior(x)
        z, kl = plain.rsample(n, streams("noise")), plain.kl()
        mine, my_kl = other.reparameterise(n, streams("noise"))
        assert torch.allclose(mine, z, rtol=1e-9), "reparameterise draws another z than rsample"
        assert torch.allclose(my_kl, kl, rtol=1e-9, atol=1e-12), "reparameterise returns another KL than kl"
        g_z = torch.randn(z.shape, generator=streams("gradient"), dtype=z.dtype)
        (expected,) = torch.autograd.grad((g_z * z).sum() - 0.7 * kl.sum(), phi)
        assert torch.allclose(other.pull_back(g_z, -0.7), expected, rtol=1e-9, atol=1e-12), (
            "pull_back is not autograd's"
        )
        log_q = recognition.posterior(x).log_prob(z.detach())
        (expected,) = torch.autograd.grad(log_q.sum(), phi)
        value, gradient = recognition.posterior(x).gradients(z.detach())
        assert torch.allclose(value, log_q, rtol=1e-9), "gradients returns another log q than log_prob"
        assert torch.allclose(gradient, expected, rtol=1e-9, atol=1e-12), "gradients of a posterior are not autograd's"


def check_dataset(name: str, data_dir: str | None = None) -> None:
    """Check a dataset: shapes, range for its kind, and the same points again for the same stream."""
    plugin = registry.get("datasets", name)
    _check_module(plugin)
    data = plugin.module.load(plugin.module.Config(), data_dir)
    assert data.kind in KINDS, f"kind is {data.kind!r}: choose from {KINDS}"
    assert data.train.ndim == data.test.ndim == 2, "train and test must be (N, D)"
    assert data.train.shape[1] == data.test.shape[1], "train and test differ in dimensions"
    assert len(data.sha256) == 64, f"sha256 is {data.sha256!r}"
    for split in ("train", "test"):
        index = torch.arange(min(50, len(getattr(data, split))))
        x = data.rows(split, index, api.Streams(0)("a"))
        assert x.dtype == torch.float32
        assert torch.equal(x, data.rows(split, index, api.Streams(0)("a"))), (
            "the same points differ for the same stream"
        )
        assert torch.isfinite(x).all(), f"{split} has points that are not finite"
        if data.kind == "unit":
            assert 0 <= x.min() <= x.max() <= 1, f"{split} leaves [0, 1]"
        if data.kind == "binary":
            assert ((x == 0) | (x == 1)).all(), f"{split} has values besides 0 and 1"


def check_estimator(name: str, **settings: Any) -> None:
    """Check an estimator on every model that it applies to: shapes, finite, and its variance tells its own noise.

    Args:
        name: name or path.
        settings: of the estimator, such as will make it quick.
    """
    plugin = registry.get("estimators", name)
    _check_module(plugin)
    assert plugin.module.DIRECTION in ("lower", "upper", "exact"), f"DIRECTION is {plugin.module.DIRECTION!r}"
    config, judged = plugin.module.Config(**settings), 0
    for model_plugin in registry.listing("models"):
        if model_plugin.module is None:
            continue
        fields, kind = model_plugin.module.Config.model_fields, model_plugin.module.OBSERVES[0]
        small = model_plugin.module.Config(
            **{k: v for k, v in {"nz": 2, "hidden": 5, "init_sd": 0.5}.items() if k in fields}
        )
        model, recognition = model_plugin.module.build(small, api.DataFacts(kind, 12, 60), api.Streams(0))
        if plugin.module.skip(config, model, recognition):
            continue
        judged += 1
        x, z = (part.repeat(REPEATS, 1) for part in model.sample(10, api.Streams(1)("points")))
        latents = {"z": z} if plugin.simulated else {}
        with torch.no_grad():
            found = plugin.module.estimate(model, recognition, x, config, api.Streams(0)("noise"), **latents)
        n = 10 * REPEATS
        assert found.value.shape == found.variance.shape == (n,), "it must return a value and a variance for each point"
        for diagnostic, numbers in found.diagnostics.items():
            assert numbers.shape == (n,), f"the diagnostic {diagnostic} must have a number for each point"
        values, variances = found.value.double().view(REPEATS, 10), found.variance.double()
        assert torch.isfinite(values).all(), "a value is not finite"
        assert (variances >= 0).all(), "a variance is negative"
        # A ratio to chi-squared of 590 degrees of freedom: 0.7 to 1.4 is beyond 5 standard deviations.
        if plugin.module.DIRECTION != "exact":
            ratio = (variances.mean() / values.var(0).mean()).item()
            assert 0.7 < ratio < 1.4, f"the variance that it states is {ratio:.2f} of what repeats show"
    assert judged, "it judges no model"


def _check_module(plugin: registry.Plugin) -> None:
    """Check what is the same for all plugins: docstring, settings, and that they import nothing of harness but its api."""
    assert plugin.description, f"{plugin.name} has no docstring: its first line describes it in listings"
    config = plugin.module.Config
    assert issubclass(config, api.Config), "Config must be an api.Config"
    config()  # every setting has a default
    for name, field in config.model_fields.items():
        assert field.description, f"setting {name} has no help text: declare it with api.setting"
        search = (field.json_schema_extra or {}).get("search")
        if search and "Choice" in search:
            for value in search["Choice"]["values"]:
                config(**{name: value})
        if search and "LogUniform" in search:
            assert 0 < search["LogUniform"]["low"] < search["LogUniform"]["high"], f"search space of {name}: {search}"
    path = Path(inspect.getfile(plugin.module))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module == "harness":
            modules = [f"harness.{alias.name}" for alias in node.names]
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            inside = module == "harness" or module.startswith("harness.")
            assert not inside or module == "harness.api", (
                f"{path.name} imports {module}: plugins import harness.api alone"
            )
