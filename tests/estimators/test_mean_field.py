"""The best Gaussian's bound: against its closed form, beside the encoder's, and what it refuses."""

from typing import Any

import pytest
import torch
from gaussians import case
from support import PLUGINS, Judged

from harness import api
from harness.estimators import lower_bound, mean_field
from harness.models import linear_gaussian, mlp, sbn
from harness.specs import named, registry
from harness.specs.budget import Budget
from harness.testing import conformance, toy
from harness.training.evaluation import Estimator


@torch.no_grad()
@pytest.mark.parametrize("start", ["prior", "encoder"])
def test_it_converges_to_the_closed_form(start: Any) -> None:
    """To 0.01 nat in the mean beside noise of 4.5 standard errors, from either beginning."""
    known = case()
    config = mean_field.Config(steps=400, start=start, draws=1000)
    found = mean_field.estimate(known.model, known.recognition, known.x, config, api.Streams(0)("noise"))
    error = (found.variance.mean() / len(known.x)).sqrt()
    assert abs((found.value - known.bound).mean()) < 0.01 + 4.5 * error
    assert ((found.value - known.bound).abs() < 0.03 + 4.5 * found.variance.sqrt()).all()
    assert (found.diagnostics["gain"] > 0).all()
    assert (found.diagnostics["samples"] == 400 + 4 * 1000).all()


@pytest.fixture(scope="module")
def trained() -> Any:
    """AEVB with few samples on a toy, whose encoder is not yet the best."""
    run = conformance.training("aevb", nz=2, hidden=10, lr=0.1, init_sd=0.5)
    for _ in run.rows(Budget(samples=20_000)):
        pass
    return run.subject


def test_from_the_encoders_gaussians_it_is_nowhere_below_their_bound(trained: Any) -> None:
    """By draws that chose nothing: at every one of 60 points within 4.5 standard errors, and above on average."""

    def judge(name: str, module: Any, **settings: Any) -> api.PerPoint:
        estimator = Estimator(name, module, module.Config(**settings))
        return estimator.each(Judged(trained.dataset, trained.model, trained.recognition), "test", 60, 0)

    best = judge("mean-field", mean_field, draws=500)
    amortised = judge("lower-bound", lower_bound, n_samples=500)
    error = (best.variance + amortised.variance).sqrt()
    assert (best.value > amortised.value - 4.5 * error).all()
    assert best.value.mean() > amortised.value.mean() + 0.05
    assert (best.diagnostics["gain"] > -4.5 * error).all()
    gain = best.diagnostics["gain"].mean().item()
    assert gain == pytest.approx((best.value - amortised.value).mean().item(), abs=4.5 * error.mean().item() / 60**0.5)


def test_a_step_too_long_leaves_the_beginning(trained: Any) -> None:
    """Where the end is worse than the beginning, that is kept, and nothing is gained."""
    config = mean_field.Config(steps=1, step_size=100)
    x = trained.dataset.test[:20]
    with torch.no_grad():
        found = mean_field.estimate(trained.model, trained.recognition, x, config, api.Streams(0)("noise"))
    assert (found.diagnostics["gain"] == 0).all()


def test_it_says_what_it_cannot_do() -> None:
    binary, _ = sbn.build(sbn.Config(layers="3"), api.DataFacts("binary", 9, 10), api.Streams(0))
    assert "the model's latents are binary: use ais or exact" in str(mean_field.skip(mean_field.Config(), binary, None))
    decoder, _ = mlp.build(mlp.Config(nz=2, hidden=4), api.DataFacts("binary", 9, 10), api.Streams(0))
    assert mean_field.skip(mean_field.Config(), decoder, None) is None
    assert "use --start prior" in str(mean_field.skip(mean_field.Config(start="encoder"), decoder, None))


class Correlated(linear_gaussian.LinearEncoder):
    """A recognition model whose Gaussians have covariances."""

    posterior_type = linear_gaussian.FullGaussian


def test_posteriors_with_covariances_are_no_beginning() -> None:
    known = case()
    encoder = Correlated(linear_gaussian.Config(nz=3), api.DataFacts("real", 10, 20), torch.float64)
    refused = mean_field.skip(mean_field.Config(start="encoder"), known.model, encoder)
    assert "no diagonal Gaussians to start at: use --start prior" in str(refused)
    with torch.no_grad():
        found = mean_field.estimate(known.model, encoder, known.x, mean_field.Config(steps=5), api.Streams(0)("noise"))
    assert found.value.shape == (20,)


def test_mixed_latents_are_refused() -> None:
    named.note(PLUGINS / "mixed_layers.py")
    module = registry.get("models", str(PLUGINS / "mixed_layers.py")).module
    data = toy.load(toy.Config(kind=module.OBSERVES[0]))
    model, _ = module.build(module.Config(), api.DataFacts.of(data), api.Streams(0))
    refused = str(mean_field.skip(mean_field.Config(), model, None))
    assert "continuous" in refused
    assert "binary" in refused
    assert "use importance or quadrature" in refused
