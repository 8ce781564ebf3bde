"""Estimators of log p(x) of nets of binary latents, judged by a sum over all states. Seeds are fixed; error rates are stated."""

import functools
import itertools
import math
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from support import PLUGINS
from torch import Tensor

from harness import api
from harness.estimators import ais, ais_reverse, exact, hmc_density, importance, quadrature
from harness.specs import registry

NETS: dict[str, dict[str, Any]] = {
    "toy_belief_net": {"nz": 10}, "two_layer_net": {"n1": 7, "n2": 5}, "sbn": {"layers": "4-4-4"}, "fdarn": {"nz": 10},
    "darn": {"nz": 10},
}  # fmt: skip
"""Nets of the tests, and their sizes."""
POINTS = 60


class Case(NamedTuple):
    """A net, points that were drawn from it with their latents, and their exact log p(x)."""

    model: Any
    recognition: Any
    x: Tensor
    z: Tensor
    log_p: Tensor


def built(name: str, dim: int, init_sd: float, **sizes: Any) -> tuple[Any, Any]:
    file = PLUGINS / f"{name}.py"
    module = registry.get("models", str(file) if file.is_file() else name).module
    facts = api.DataFacts("binary", dim, 100)
    pair: tuple[Any, Any] = module.build(module.Config(**sizes, init_sd=init_sd), facts, api.Streams(2))
    return pair


@functools.cache
def case(name: str) -> Case:
    """A net of up to 12 latents with large weights, its recognition model trained on what it dreams."""
    model, recognition = built(name, 12, 1.0, **NETS[name])
    rng = api.Streams(3)("dreams")
    adagrad = api.Adagrad(recognition.params, lr=0.1)
    for _ in range(200):
        x, z = model.sample_xz(100, rng)
        adagrad.ascend([api.gradients.log_posterior(recognition, x, z.unsqueeze(0))[1]])
    x, z = model.sample_xz(POINTS, api.Streams(3)("points"))
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=model.latents.total)))
    with torch.no_grad():
        each = [model.log_p_xz(one.unsqueeze(0), states.unsqueeze(1)).double().logsumexp(0) for one in x]
    return Case(model, recognition, x, z, torch.cat(each))


def errors(name: str, estimator: ModuleType, **settings: Any) -> tuple[Tensor, api.PerPoint]:
    """Return an estimator's errors at the points (B,), and all that it says."""
    model, recognition, x, z, log_p = case(name)
    config, rng = estimator.Config(**settings), api.Streams(4)("noise")
    assert estimator.skip(config, model, recognition) is None
    latents = {"z": z} if estimator is ais_reverse else {}
    with torch.no_grad():
        found = estimator.estimate(model, recognition, x, config, rng, **latents)
    return found.value.double() - log_p, found


@pytest.mark.parametrize("name", NETS)
def test_exact_is_the_sum_over_all_states(name: str) -> None:
    error, found = errors(name, exact)
    assert error.abs().max() < 1e-5
    assert (found.variance == 0).all()


@pytest.mark.parametrize("name", NETS)
def test_importance_is_within_a_tenth_of_a_nat(name: str) -> None:
    """K = 1000 with the encoder; and below on average, as its direction says."""
    error, found = errors(name, importance, K=1000)
    print(f"importance, {name}: mean {error.mean():+.4f}, worst {error.abs().max():.3f} nats")
    assert error.mean().abs() < 0.1
    assert error.mean() < 2 * error.std() / math.sqrt(POINTS)
    assert (error.abs() < 5 * found.variance.sqrt() + 0.1).all()


@pytest.mark.parametrize(("start", "sampler"), [("prior", "gibbs"), ("encoder", "metropolis")])
@pytest.mark.parametrize("name", NETS)
def test_ais_is_within_a_tenth_of_a_nat(name: str, start: str, sampler: str) -> None:
    error, found = errors(name, ais, distributions=60, flips=5, start=start, sampler=sampler)
    print(f"ais, {name} {start} {sampler}: mean {error.mean():+.4f}, worst {error.abs().max():.3f} nats")
    assert error.mean().abs() < 0.1
    assert (error.abs() < 5 * found.variance.sqrt() + 0.1).all()
    assert found.diagnostics["effective_samples"].mean() > 10
    assert 0.05 < found.diagnostics["acceptance"].mean() < 0.95


@pytest.mark.parametrize("name", NETS)
def test_ais_lies_below_and_reverse_ais_above(name: str) -> None:
    """With few distributions by several standard errors over points; with more the gap between them closes."""
    gaps = []
    for distributions, flips in ((5, 1), (60, 5)):
        below, above = (errors(name, each, distributions=distributions, flips=flips)[0] for each in (ais, ais_reverse))
        print(f"{name}, {distributions} distributions: {below.mean():+.4f} to {above.mean():+.4f} nats")
        assert below.mean() < 2 * below.std() / math.sqrt(POINTS)
        assert above.mean() > -2 * above.std() / math.sqrt(POINTS)
        gaps.append((above.mean() - below.mean()).item())
    assert gaps[0] > 0.4
    assert abs(gaps[1]) < 0.1


@pytest.mark.parametrize("sampler", ["gibbs", "metropolis"])
@pytest.mark.parametrize("estimator", [ais, ais_reverse])
def test_mean_weights_are_unbiased(estimator: ModuleType, sampler: str) -> None:
    """Over 4000 chains of one point, forward for p(x) and in reverse for 1 / p(x), within 4.5 standard errors.

    Forward chains begin at draws from the prior, those in reverse at exact draws from the posterior. Four comparisons: wrong once
    in 37,000 seeds.
    """
    n, (model, _, x, _, log_p) = 4000, case("two_layer_net")
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=model.latents.total)))
    rng, settings = api.Streams(5)("noise"), {"distributions": 12, "flips": 3, "chains": 1, "sampler": sampler}
    with torch.no_grad():
        posterior = model.log_p_xz(x[:1], states.unsqueeze(1)).squeeze(1).softmax(0)
        z = states[torch.multinomial(posterior, n, replacement=True, generator=rng)]
        latents = {"z": z} if estimator is ais_reverse else {}
        found = estimator.estimate(model, None, x[:1].expand(n, -1), estimator.Config(**settings), rng, **latents)
    off = found.value.double() - log_p[0]
    w = (off if estimator is ais else -off).exp()
    assert w.std() > 0.3
    assert abs(w.mean() - 1.0) < 4.5 * w.std() / math.sqrt(n)


def test_twenty_latents_are_summed_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 latents 17 say nothing of x: log p(x) is that of a net of the other three."""
    large, _ = built("toy_belief_net", 3, 1.0, nz=20)
    small, _ = built("toy_belief_net", 3, 1.0, nz=3)
    chosen = [0, 7, 19]
    with torch.no_grad():
        W, b, prior = large.params.views
        others = [i for i in range(20) if i not in chosen]
        W[others] = 0.0
        for own, part in zip(small.params.views, (W[chosen], b, prior[chosen]), strict=True):
            own.copy_(part)
    rows: list[int] = []
    log_p_xz = large.log_p_xz
    monkeypatch.setattr(large, "log_p_xz", lambda x, z: rows.append(z[..., 0].numel()) or log_p_xz(x, z))
    x = torch.tensor([[0.0, 1.0, 1.0]])
    with torch.no_grad():
        found, expected = (exact.estimate(m, None, x, exact.Config(), torch.Generator()) for m in (large, small))
    torch.testing.assert_close(found.value, expected.value, rtol=0, atol=1e-4)
    assert sum(rows) == 2**20
    assert max(rows) <= api.posterior.ROWS


@pytest.mark.parametrize(
    ("estimator", "settings", "trained", "reason"),
    [
        (
            importance,
            {"proposal": "gaussian"},
            True,
            "a Gaussian cannot propose binary latents: use --proposal encoder",
        ),
        (importance, {"proposal": "posterior"}, True, "posterior has no closed form: use --proposal encoder"),
        (
            importance,
            {},
            False,
            "no recognition model was trained to propose with; a Gaussian cannot propose binary latents",
        ),
        (importance, {"proposal": "gaussian"}, False, "use ais"),
        (ais, {"start": "encoder"}, False, "no recognition model was trained to start at: use --start prior"),
        (hmc_density, {}, True, "HMC samples continuous latents, and the model's are binary"),
        (quadrature, {}, True, "the model's are binary"),
    ],
)
def test_what_binary_latents_cannot_have_is_refused_in_words(
    estimator: ModuleType, settings: dict[str, Any], trained: bool, reason: str
) -> None:
    model, recognition = built("toy_belief_net", 5, 0.1, nz=21)
    assert reason in str(estimator.skip(estimator.Config(**settings), model, recognition if trained else None))


@pytest.mark.parametrize("estimator", [ais, ais_reverse])
def test_chains_of_several_kinds_of_latents_are_refused(estimator: ModuleType) -> None:
    model, recognition = built("mixed_layers", 8, 0.3, nz=2)
    reason = str(estimator.skip(estimator.Config(), model, recognition))
    assert reason == (
        "a chain moves latents of one kind, and the model's are continuous and binary: use importance or quadrature"
    )
