"""Entries that are missing: densities, estimates and training are of the entries that are observed."""

import math
from typing import Any

import pytest
import torch
from harness.datasets import toy_linear_gaussian as toy_data
from support import Judged
from torch import Tensor
from torch.distributions import MultivariateNormal

from harness import api
from harness.models import linear_gaussian, mlp
from harness.specs import registry
from harness.specs.run import make_spec
from harness.testing import toy
from harness.testing.conformance import training
from harness.training.evaluation import Estimator
from harness.training.loop import Training

ERRORS = 4.5  # standard errors: one test in 100,000 fails by chance


def points(n: int, dim: int, share: float = 0.4) -> Tensor:
    """Return points (n, dim), float64, of which some entries are missing, and never all of a point."""
    rng = api.Streams(0)("points")
    x = torch.randn(n, dim, generator=rng, dtype=torch.float64)
    gone = torch.rand(n, dim, generator=rng) < share
    gone[torch.arange(n), torch.arange(n) % dim] = False
    return x.masked_fill(gone, math.nan)


def gaussian(nz: int, dim: int, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    config = linear_gaussian.Config(nz=nz, init_sd=0.7, **settings)
    return linear_gaussian.build(config, api.DataFacts("real", dim, 50, missing=True), api.Streams(1), dtype)


def marginal(model: Any, x: Tensor) -> Tensor:
    """Return log p of the observed entries of each point, from the rows and columns of the covariance of x, (B,)."""
    W, mean, log_noise = model.params.split()
    covariance = W.T @ W + torch.diag(log_noise.exp().expand(len(mean)))
    there = ~x.isnan()
    return torch.stack(
        [
            MultivariateNormal(mean[seen], covariance[seen][:, seen]).log_prob(one[seen])
            for one, seen in zip(x, there, strict=True)
        ]
    )


@pytest.mark.parametrize("noise", ["diagonal", "isotropic"])
def test_the_likelihood_is_the_marginal_of_what_is_observed(noise: str) -> None:
    """Value and gradient, of a linear-Gaussian model, against the marginal of its covariance."""
    model, _ = gaussian(3, 7, noise=noise)
    x = points(20, 7)
    found, expected = model.log_p_x(x), marginal(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(one.sum(), model.params.flat)[0] for one in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


def test_the_lower_bound_is_the_marginal_where_the_recognition_model_is_exact() -> None:
    """One latent, and the same entries missing in all points: the true posterior is in the recognition model's family."""
    model, encoder = gaussian(1, 5)
    x = points(8, 5, share=0.0)
    gone = torch.tensor([False, True, False, True, False])
    x[:, gone] = math.nan
    W, mean, log_noise = model.params.views
    weights = (W * (-log_noise).exp()).masked_fill(gone, 0.0)
    precision = 1 + (W * weights).sum()
    A = (weights / precision).T
    with torch.no_grad():
        encoder.params.flat.copy_(torch.cat([A.flatten(), -(mean @ A), -precision.log().reshape(1)]))
    bound = api.gradients.bound(model, encoder, x, 1, api.Streams(0)("z"), analytic_kl=False)
    assert float(bound.value) == pytest.approx(marginal(model, x).sum().item(), rel=1e-10)
    (expected,) = torch.autograd.grad(marginal(model, x).sum(), model.params.flat)
    many = [api.gradients.bound(model, encoder, x, 1, api.Streams(k)("z")).by_theta for k in range(400)]
    draws = torch.stack(many)
    assert ((draws.mean(0) - expected).abs() <= ERRORS * draws.std(0) / 20 + 1e-9).all()


def test_maximum_likelihood_with_entries_missing_is_at_least_as_good_as_the_truth() -> None:
    """On the training points, where no parameters can be better than those of the maximum; and it is one: the gradient is 0."""
    true = toy_data.truth(toy_data.Config(true_nz=2, dim=6))
    data = toy_data.load(toy_data.Config(true_nz=2, dim=6, n_train_points=300, n_test_points=2, missing=0.3))
    x, (model, _) = data.train.double(), gaussian(2, 6)
    flat = model.params.flat
    optimiser = torch.optim.LBFGS([flat], max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-7)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -model.log_p_x(x).mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert flat.grad is not None
    assert flat.grad.abs().max() < 1e-4
    reached = marginal(model, x).mean().item()
    with torch.no_grad():
        flat.copy_(torch.cat([true.W.flatten(), true.mean, true.noise.log()]))
    assert reached > marginal(model, x).mean().item()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("exact", {}),
        ("quadrature", {}),
        ("importance", {"K": 1000, "proposal": "posterior"}),
        ("importance", {"K": 2000, "proposal": "gaussian"}),
        ("ais", {"distributions": 200}),
        ("hmc-density", {"n_samples": 100}),
        ("lower-bound", {}),
    ],
)
def test_every_estimator_estimates_what_is_observed(name: str, settings: dict[str, Any]) -> None:
    """On a linear-Gaussian model, beside its closed form: on the right side of it, or equal, within errors."""
    data = toy.load(toy.Config(kind="real", missing=0.4))
    model, encoder = linear_gaussian.build(
        linear_gaussian.Config(nz=2, init_sd=0.7), api.DataFacts.of(data), api.Streams(1)
    )
    plugin = registry.get("estimators", name)
    estimator = Estimator(name, plugin.module, plugin.module.Config(**settings))
    each = estimator.each(Judged(data, model, encoder), "test", 40, 0)
    order = Judged(data, model, encoder)
    exact = Estimator("exact", registry.get("estimators", "exact").module, None).each(order, "test", 40, 0).value
    assert exact.isfinite().all()
    difference, error = (each.value - exact).double().mean().item(), (each.variance.double().mean() / 40).sqrt().item()
    if name == "lower-bound":
        assert difference < ERRORS * error
    else:
        assert abs(difference) < ERRORS * error + 0.03  # and what each may be biased by


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_compiled_gradients_are_those_of_double_precision(kind: Any) -> None:
    data = toy.load(toy.Config(kind=kind, missing=0.4))
    x, config = data.train[:20], mlp.Config(nz=3, hidden=7, init_sd=0.5)
    single, double = (
        mlp.build(config, api.DataFacts.of(data), api.Streams(1), dtype)[0] for dtype in (torch.float32, torch.float64)
    )
    with torch.no_grad():
        double.params.flat.copy_(single.params.flat.double())
    z = torch.randn(2, 20, 3, generator=api.Streams(0)("z"))
    free = z.double().requires_grad_()
    log_p = double.log_p_x_given_z(x.double(), free)
    by_theta, by_z = torch.autograd.grad(log_p.sum(), [double.params.flat, free])
    found = single.gradients(x, z)
    for mine, expected in zip(found, (log_p, by_theta, by_z), strict=True):
        torch.testing.assert_close(torch.as_tensor(mine + 0.0).double(), expected.detach(), rtol=2e-5, atol=2e-4)


@pytest.mark.parametrize("model", ["mlp", "linear-gaussian", "sbn", "fdarn"])
@pytest.mark.parametrize("algorithm", registry.names("algorithms"))
def test_every_algorithm_learns_from_what_is_observed(algorithm: str, model: str) -> None:
    kind = "real" if model == "linear-gaussian" else "binary"
    try:
        run = training(algorithm, model, kind, missing=0.3)
    except api.BadInput as refusal:
        assert "infers" in str(refusal) or "it needs" in str(refusal)  # which it does without missing entries, too
        return
    for _ in range(3):
        assert all(map(math.isfinite, run.step().values()))
    assert all(part.params.flat.isfinite().all() for part in run.subject.parts)


def test_a_model_that_needs_every_entry_is_refused_with_those_that_do_not() -> None:
    said = r"'darn' cannot describe dataset '.*toy.*': entries are missing, and it needs all; dlgm, fdarn, mlp, sbn can"
    with pytest.raises(api.BadInput, match=said):
        training("nvil", "darn", "binary", missing=0.3)


def test_the_mean_and_the_number_of_entries_are_of_those_that_are_observed() -> None:
    data = toy.load(toy.Config(kind="real", missing=0.3))
    facts, there = api.DataFacts.of(data), ~data.train.isnan()
    torch.testing.assert_close(facts.mean, data.train.nan_to_num(0.0).sum(0) / there.sum(0))
    assert facts.observations == pytest.approx(there.sum().item() / len(there))
    filled = facts.filled(data.train)
    assert filled[there].equal(data.train[there])
    assert filled[0][~there[0]].equal(facts.mean[~there[0]])
    draws = data.marginal(4000, torch.Generator().manual_seed(0))
    assert not draws.isnan().any()
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - facts.mean).abs() < ERRORS * error).all()


@pytest.mark.parametrize("stochastic", [False, True])
def test_batches_keep_what_is_missing(stochastic: bool, rng: torch.Generator) -> None:
    x = torch.rand(30, 4, generator=rng).masked_fill(torch.rand(30, 4, generator=rng) < 0.3, math.nan)
    x[:, 0] = 0.5
    data = api.Dataset(x, x, kind="binary" if stochastic else "unit", stochastic=stochastic, missing=True)
    for seen in (data.batch(torch.arange(30), rng).x, data.full_batch(rng).x, data.rows("test", torch.arange(30), rng)):
        assert seen.isnan().equal(x.isnan())
        bits = seen[~seen.isnan()]
        assert not stochastic or ((bits == 0) | (bits == 1)).all()


def test_a_first_part_in_which_a_column_is_all_missing_is_refused() -> None:
    x = torch.tensor([[1.0, math.nan], [2.0, 3.0]])
    data = api.Dataset(x, x, kind="real", missing=True)
    assert len(data.first(2).train) == 2
    with pytest.raises(api.BadInput, match="--n-train is 1, and train has no value in column 1"):
        data.first(1)


def test_a_run_on_the_toy_data_with_entries_missing() -> None:
    spec = make_spec("aevb", "toy-linear-gaussian", "linear-gaussian", settings={"missing": 0.2})
    assert Training(spec).dataset.missing
    whole = make_spec("aevb", "toy-linear-gaussian", "linear-gaussian")
    assert whole.run_id == "aevb-toy-linear-gaussian-nz3-s0-db24fa0a"  # as before there was this setting
