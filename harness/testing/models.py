"""Checks of models and recognition models, each derived from a protocol that they satisfy."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness import api
from harness.inference.abilities import OF_MODELS
from harness.inference.gradients import posteriors_by_hand
from harness.inference.metered import MARK
from harness.specs import named, registry
from harness.specs.budget import Ledger
from harness.testing import entries, toy, undirected
from harness.testing.case import DRAWS, MAX_ERRORS, Case, all_states, require_gradient, require_mean
from harness.testing.module import check_module, small
from harness.training.metering import metered_twin

JITTER = 0.05  # of parameters, lest a kink such as a ReLU's lies at a bias of exactly zero


def check_model(name: str) -> None:
    """Check a model on every kind of data that it observes: what its protocols promise, and gradients against differences.

    Raises:
        AssertionError: with one sentence about the first thing that is not as `harness.api` says.
    """
    named.note(name)
    plugin = registry.get("models", name)
    check_module(plugin)
    unknown = set(plugin.module.OBSERVES) - set(toy.KINDS)
    assert not unknown, f"OBSERVES has {unknown}: choose from {toy.KINDS}"
    for kind in plugin.module.OBSERVES:
        _check_on(plugin, toy.Config(kind=kind))
        if getattr(plugin.module, "MISSING", False) and kind != "counts":
            _check_on(plugin, toy.Config(kind=kind, missing=0.3))


def _check_on(plugin: registry.Plugin, data_config: toy.Config) -> None:
    """Check a model on one dataset, of which entries may be missing: it then promises the same of the others."""
    config = plugin.module.Config(**small(plugin, 0.5))
    data, streams = toy.load(data_config), api.Streams(1)
    model, recognition = plugin.module.build(config, api.DataFacts.of(data), streams, torch.float64)
    for part in filter(None, (model, recognition)):
        _jitter(part.params.flat, streams("jitter"))
    case = Case(model, data.train[:4].double(), streams)
    _check_generative(case, data_config.kind)
    for protocol, check in CHECKS.items():
        if isinstance(model, protocol):
            check(case)
    if data.missing:
        entries.check_missing(case)
    if recognition is not None:
        _check_recognition(case, recognition)


@torch.no_grad()
def _jitter(flat: Tensor, rng: torch.Generator) -> None:
    flat += JITTER * torch.randn(flat.shape, generator=rng, dtype=flat.dtype)


def _two_words(dim: int) -> Tensor:
    """Return the counts of every sequence of two words of a vocabulary (D², D), float64."""
    one = torch.eye(dim, dtype=torch.float64)
    return (one.unsqueeze(0) + one.unsqueeze(1)).flatten(0, 1)


def _require_sum_over_words(log_p: Tensor, what: str) -> None:
    """Require that log densities (..., D²) of all sequences of two words sum to 1: those of words in order, given how many."""
    total = log_p.exp().sum(-1)
    assert torch.allclose(total, torch.ones_like(total), rtol=1e-6), (
        f"{what} sums to {total.flatten()[0].item():.6g} over all sequences of two words, not 1: the density of counts is that "
        "of words in their order, given how many there are, without the multinomial coefficient"
    )


def _check_generative(case: Case, kind: str) -> None:
    """Check what every model has: its facts, its draws, and a metered twin of the same abilities."""
    model, dim = case.model, case.x.shape[1]
    assert isinstance(model, api.GenerativeModel), f"it is not {OF_MODELS[api.GenerativeModel]}"
    assert model.kind == kind, f"its kind is {model.kind!r}, and it was built for {kind!r} data"
    assert model.dim == dim, f"its dim is {model.dim}, and it was built for {dim} dimensions"
    x = model.sample(5, case.streams("samples"))
    assert isinstance(x, Tensor), "sample(5) must return x alone: see sample_xz"
    assert x.shape == (5, dim), f"sample(5) returns x of shape {tuple(x.shape)}, not (5, {dim})"
    if kind == "binary":
        assert ((x == 0) | (x == 1)).all(), "sample returns values besides 0 and 1"
    if kind == "counts":
        assert ((x >= 0) & (x == x.round())).all(), "sample returns counts that are no whole numbers from 0 on"
        assert x.any(-1).all(), "sample returns an empty document"
    twin = metered_twin(model, Ledger())
    for protocol, words in OF_MODELS.items():
        if isinstance(model, protocol) and not isinstance(twin, protocol):
            methods = [n for n in dir(protocol) if not n.startswith("_") and callable(getattr(protocol, n))]
            bare = [n for n in methods if not hasattr(getattr(type(model), n), MARK)]
            raise AssertionError(
                f"it is {words}, and {' and '.join(bare)} carry no @api.metered, so algorithms cannot call them"
            )


def _check_latents(case: Case) -> None:
    """Check shapes, that the joint density is prior times likelihood, and that p(x|z) sums to 1 over bits."""
    model, x, streams = case
    n_z = model.latents.total
    for z in (model.sample_z(5, streams("z")), model.sample_xz(5, streams("xz"))[1]):
        assert z.shape == (5, n_z), f"latents are drawn of shape {tuple(z.shape)}, not (5, {n_z})"
    z = torch.stack([z[:4], z[1:5]])  # (2, 4, Z)
    joint, parts = model.log_p_xz(x, z), model.log_p_x_given_z(x, z) + model.log_p_z(z)
    assert joint.shape == (2, 4), f"log_p_xz returns {tuple(joint.shape)}, not (S, B)"
    assert torch.allclose(joint, parts, rtol=1e-12), "log_p_xz is not log_p_x_given_z + log_p_z"
    if model.kind == "binary" and model.normalised:
        states = all_states(model.dim)  # (B, D)
        log_p = model.log_p_x_given_z(states, z[:, :1].expand(-1, len(states), -1))  # (S, B)
        total = log_p.exp().sum(-1)
        assert torch.allclose(total, torch.ones_like(total), rtol=1e-6), (
            f"p(x|z) sums to {total[0].item():.6g} over all x, not 1: set normalised = False if Z is unknown"
        )
    if model.kind == "counts" and model.normalised:
        pairs = _two_words(model.dim)  # (B, D)
        log_p = model.log_p_x_given_z(pairs, z[:, :1].expand(-1, len(pairs), -1))  # (S, B)
        _require_sum_over_words(log_p, "p(x|z)")
    inputs = [model.params.flat]
    if model.latents.only("continuous"):
        inputs.append(z.requires_grad_())
    require_gradient(lambda: model.log_p_xz(x, z), inputs, "log_p_xz")


def _check_layers(case: Case) -> None:
    """Check that the log densities of the layers add up to the joint one."""
    model, x, streams = case
    z = model.sample_z(8, streams("z")).view(2, 4, -1)  # (S, B, Z)
    layers = model.log_p_layers(x, z)
    n = len(model.latents.layers) + 1
    assert layers.shape == (2, 4, n), f"log_p_layers returns {tuple(layers.shape)}, not (S, B, L + 1) = (2, 4, {n})"
    assert torch.allclose(layers.sum(-1), model.log_p_xz(x, z), rtol=1e-10), "log_p_layers do not add up to log_p_xz"


def _check_layer_gradients(case: Case) -> None:
    """Compare the gradients of layers that a model computes itself with autograd's, for weights of every row."""
    model, x, streams = case
    z = model.sample_z(8, streams("z")).view(2, 4, -1)  # (S, B, Z)
    weights = _noise(case, 2, 4)
    expected = model.log_p_layers(x, z)
    (by_theta,) = torch.autograd.grad((weights.unsqueeze(-1) * expected).sum(), model.params.flat)
    log_p, pull = model.layer_gradients(x, z)
    assert torch.allclose(log_p, expected, rtol=1e-9), "layer_gradients returns other values than log_p_layers"
    assert torch.allclose(pull(weights), by_theta, rtol=1e-9, atol=1e-12), (
        "the gradient of layer_gradients is not autograd's"
    )


def _check_tractable(case: Case) -> None:
    """Check log p(x): its gradient, and over bits its sum and the mean of draws."""
    model, x, streams = case
    assert model.normalised, "log_p_x is the density of a normalised model: set normalised = True, or call it log_f_x"
    log_p = model.log_p_x(x)
    assert log_p.shape == (4,), f"log_p_x returns {tuple(log_p.shape)}, not (B,)"
    require_gradient(lambda: model.log_p_x(x), [model.params.flat], "log_p_x")
    if model.kind == "binary":
        states = all_states(model.dim)
        p = model.log_p_x(states).exp()
        assert torch.allclose(p.sum(), torch.ones((), dtype=p.dtype), rtol=1e-6), (
            f"p(x) sums to {p.sum().item():.6g} over all x, not 1"
        )
        require_mean(model.sample(DRAWS, streams("draws")).double(), p @ states, "the mean of draws")
    if model.kind == "counts":
        _require_sum_over_words(model.log_p_x(_two_words(model.dim)), "p(x)")
        x, one = model.sample(DRAWS, streams("draws")).double(), torch.eye(model.dim, dtype=torch.float64)
        require_mean(x / x.sum(-1, keepdim=True), model.log_p_x(one).exp(), "the mean share of each word in draws")


def _check_em(case: Case) -> None:
    """Check that the statistics of points add up, and that no iteration of EM lowers log p(x)."""
    model, x = case.model, case.x
    log_p, statistics = model.expected_statistics(x)
    assert torch.allclose(log_p, model.log_p_x(x), rtol=1e-9), "expected_statistics returns other values than log_p_x"
    assert statistics.shape == model.params.flat.shape, "expected_statistics are not laid out like the parameters"
    apart = sum(model.expected_statistics(one)[1] for one in x.split(1))
    assert torch.allclose(apart, statistics, rtol=1e-9, atol=1e-12), "expected_statistics are no sum over points"
    before = model.params.flat.detach().clone()
    total = log_p.sum()
    for _ in range(20):
        model.maximise(model.expected_statistics(x)[1], 1e-9)  # a prior that weighs next to nothing
        now = model.log_p_x(x).sum()
        assert now > total - 1e-5, (
            f"an iteration of EM lowers log p(x) of {len(x)} points by {(total - now).item():.3g} nats"
        )
        total = now
    with torch.no_grad():
        model.params.flat.copy_(before)


def _check_orders(case: Case) -> None:
    """Check that p(x) sums to 1 in an order, is the mean over several, and that log_p_x_agnostic averages to E_o[log p(x)]."""
    model, x = case.model, case.x
    orders = api.orders(model.dim, 40, case.streams("orders"))
    each = torch.stack([model.log_p_x_in(x, order.unsqueeze(0)) for order in orders]).detach()  # (K, B)
    mean = each.logsumexp(0) - math.log(len(orders))
    assert torch.allclose(model.log_p_x_in(x, orders), mean, rtol=1e-9), (
        "log_p_x_in is not the log of the mean over orders"
    )
    total = model.log_p_x_in(all_states(model.dim), orders[:1]).exp().sum().item()
    assert abs(total - 1.0) < 1e-6, f"p(x) in an order sums to {total:.6g} over all x, not 1"
    n = DRAWS // len(x)
    found = model.log_p_x_agnostic(x.repeat(n, 1), case.streams("agnostic")).detach().view(n, -1) - each.mean(0)
    noise = (each.var(0) / len(orders) + found.var(0) / n).sqrt()  # of both means
    off = (found.mean(0) / noise).abs().max()
    assert off < MAX_ERRORS, f"the mean of log_p_x_agnostic is off by {off:.1f} standard errors"


def _check_mean(case: Case) -> None:
    """Check that x less its mean averages to 0, and is uncorrelated with z."""
    x, z = case.model.sample_xz(DRAWS, case.streams("mean"))
    error = x - case.model.mean_x(z.unsqueeze(0))[0]  # (n, D)
    for weight in (torch.ones(DRAWS, 1), *z.split(1, dim=-1)):
        part = error * weight
        require_mean(part, torch.zeros_like(part[0]), "the mean of x less mean_x(z), weighed by 1 or a latent,")


def _check_exact_posterior(case: Case) -> None:
    """Check that log p(x, z) less log p(z|x) is the same for every z."""
    posterior = case.model.exact_posterior(case.x)
    z = posterior.sample(3, case.streams("exact posterior"))
    evidence = case.model.log_p_xz(case.x, z) - posterior.log_prob(z)  # (S, B)
    assert torch.allclose(evidence, evidence[:1].expand_as(evidence), rtol=1e-8), (
        "log p(x, z) - log p(z|x) depends on z: exact_posterior is not the posterior"
    )


def _check_hand_derived(case: Case) -> None:
    """Compare the gradients that a model computes itself with autograd's."""
    model, x, streams = case
    z = model.sample_z(8, streams("z")).view(2, 4, -1)  # (S, B, Z)
    free = z.clone().requires_grad_()
    log_lik = model.log_p_x_given_z(x, free)
    by_theta, by_z = torch.autograd.grad(0.5 * log_lik.sum(), [model.params.flat, free])
    found = model.gradients(x, z, weight=0.5)
    for mine, autograd, what in zip(found, (log_lik, by_theta, by_z), ("value", "θ", "z"), strict=True):
        assert torch.allclose(mine, autograd, rtol=1e-9, atol=1e-12), f"gradients: {what} is not autograd's"
    assert model.gradients(x, z, by_z=False)[2] is None, "gradients(by_z=False) returns the gradient of z all the same"
    log_prior, of_prior = model.prior_gradients(z)
    assert torch.allclose(log_prior, model.log_p_z(z), rtol=1e-9), "the value of prior_gradients is not log_p_z"
    value, expected = model.log_p_z(z).sum(), torch.zeros_like(model.params.flat)
    if value.requires_grad:
        (expected,) = torch.autograd.grad(value, model.params.flat)
    assert torch.allclose(
        torch.zeros_like(expected) if of_prior is None else of_prior, expected, rtol=1e-9, atol=1e-12
    ), "the gradient of prior_gradients is not autograd's: None says that p(z) has no parameters"
    densities: list[tuple[str, Callable[[], Tensor], Callable[[bool], Any]]] = [
        ("score", lambda: model.log_p_xz(x, free), lambda value: model.score(x, z, value)),
        ("prior_score", lambda: model.log_p_z(free), lambda value: model.prior_score(z, value)),
    ]
    for name, density, score in densities:
        log_p = density()
        (grad,) = torch.autograd.grad(log_p.sum(), free)
        number, slope = score(True)
        assert torch.allclose(number, log_p, rtol=1e-9), f"the value of {name} is not the density's"
        assert torch.allclose(slope, grad, rtol=1e-9, atol=1e-12), f"{name} is not autograd's gradient"
        nothing, alone = score(False)
        assert nothing is None, f"{name} returns a value that was not asked for"
        assert torch.allclose(alone, slope, rtol=1e-9, atol=1e-12), f"{name} depends on whether a value is asked for"


CHECKS: dict[type[Any], Callable[[Case], None]] = {
    api.LatentVariableModel: _check_latents, api.LayeredModel: _check_layers, api.TractableModel: _check_tractable,
    api.FactorialModel: entries.check_factorial,
    api.ClosedFormEM: _check_em, api.OrderAgnosticModel: _check_orders, api.UnnormalisedModel: undirected.check_unnormalised,
    api.AnnealedModel: undirected.check_annealed, api.BipartiteModel: undirected.check_bipartite,
    api.LayerwiseModel: undirected.check_layerwise,
    api.MeanImage: _check_mean, api.ClosedFormPosterior: _check_exact_posterior,
    api.LayerGradients: _check_layer_gradients, api.HandDerived: _check_hand_derived,
}  # fmt: skip
"""What each protocol promises."""


def _check_recognition(case: Case, given: Any) -> None:
    """Check posteriors: shapes, and what each of their protocols promises."""
    model, x, streams = case
    assert isinstance(given, api.Recognition), (
        "a recognition model has params, posterior_type and posterior(x): one of them is missing"
    )
    recognition: Any = given
    assert hasattr(type(recognition).posterior, MARK), "its method posterior carries no @api.metered"
    posterior = recognition.posterior(x)
    assert type(posterior) is recognition.posterior_type, (
        f"posterior(x) returns a {type(posterior).__name__}, and posterior_type says {recognition.posterior_type.__name__}"
    )
    phi = recognition.params.flat
    q = posterior.sample(3, streams("posterior"))
    assert q.shape == (3, 4, model.latents.total), f"sample(3) of a posterior has shape {tuple(q.shape)}"
    require_gradient(lambda: recognition.posterior(x).log_prob(q), [phi], "log_prob")
    if api.offers(recognition, api.AnalyticKL):
        require_gradient(lambda: recognition.posterior(x).kl(), [phi], "kl")
        draws = posterior.sample(DRAWS, streams("kl"))
        log_ratio = posterior.log_prob(draws) - model.log_p_z(draws)  # (n, B)
        require_mean(log_ratio.detach(), posterior.kl().detach(), "kl beside its Monte Carlo estimate")
    if api.offers(recognition, api.Reparameterised):
        require_gradient(lambda: recognition.posterior(x).rsample(2, api.Streams(2)("noise")), [phi], "rsample")
    if api.offers(recognition, api.MeanField):
        diagonal = api.posterior.DiagonalGaussian(*recognition.posterior(x).moments())
        assert torch.allclose(posterior.log_prob(q), diagonal.log_prob(q), rtol=1e-9), (
            "log_prob is not that of the diagonal Gaussian with these moments: a posterior with covariances has no `moments`"
        )
    if api.offers(recognition, api.LayeredPosterior):
        _check_layered_posterior(case, recognition)
    if posteriors_by_hand(recognition):
        _check_hand_derived_posterior(recognition, x)


def _noise(case: Case, *shape: int) -> Tensor:
    return torch.randn(shape, generator=case.streams("weights"), dtype=torch.float64)


def _check_layered_posterior(case: Case, recognition: Any) -> None:
    """Check that layers add up, and compare the gradients that posteriors compute themselves with autograd's."""
    x, phi, sizes = case.x, recognition.params.flat, [layer.size for layer in case.model.latents.layers]
    posterior = recognition.posterior(x)
    z = posterior.sample(3, case.streams("layers"))  # (S, B, Z)
    log_q = posterior.log_layers(z)
    n = len(sizes)
    assert log_q.shape == (3, 4, n), f"log_layers returns {tuple(log_q.shape)}, not (S, B, L) = (3, 4, {n})"
    assert torch.allclose(log_q.sum(-1), posterior.log_prob(z), rtol=1e-10), "log_layers do not add up to log_prob"
    if not api.offers(recognition, api.LayerGradientsPosterior):
        return
    for weights in (_noise(case, 3, 4, n), _noise(case, 3, 4)):
        each = weights if weights.ndim == 3 else weights.unsqueeze(-1)
        (expected,) = torch.autograd.grad((each * log_q).sum(), phi, retain_graph=True)
        for one in (z, z.clone()):  # samples whose logits may have been kept, and others
            value, pull = posterior.layer_gradients(one)
            assert torch.allclose(value, log_q, rtol=1e-9), "layer_gradients returns other values than log_layers"
            assert torch.allclose(pull(weights), expected, rtol=1e-9, atol=1e-12), (
                "the gradient of layer_gradients is not autograd's"
            )


def _check_hand_derived_posterior(recognition: Any, x: Tensor) -> None:
    """Compare the gradients that posteriors compute themselves with autograd's."""
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
