"""Estimators of log p(x) against closed forms, quadrature and each other. Seeds are fixed; error rates are stated."""

import functools
import itertools
import math
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from support import Judged
from torch import Tensor

from harness import api
from harness.data.dataset import Dataset
from harness.estimators import ais, ais_reverse, exact, hmc_density, importance, lower_bound, quadrature
from harness.inference import posterior
from harness.models import linear_gaussian, mlp
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.training.evaluation import Estimator
from harness.training.loop import Training


@functools.cache
def linear(nz: int, points: int = 100) -> tuple[linear_gaussian.LinearGaussian, Tensor, Tensor, Tensor]:
    """A linear-Gaussian model of 20 dimensions, points simulated from it with their latents, and their exact log p(x)."""
    config = linear_gaussian.Config(nz=nz, init_sd=0.5)
    model, _ = linear_gaussian.build(config, api.DataFacts("real", 20, 100), api.Streams(5), torch.float64)
    x, z = model.sample_xz(points, api.Streams(5)("points"))
    with torch.no_grad():
        return model, x, z, model.log_p_x(x)


@torch.no_grad()
def errors(nz: int, estimator: ModuleType, points: int = 100, **settings: Any) -> tuple[Tensor, api.PerPoint]:
    """An estimator's errors on that model, (B,), and all that it says."""
    model, x, z, truth = linear(nz)
    latents = {"z": z[:points]} if estimator is ais_reverse else {}
    rng = api.Streams(6)("noise")
    found = estimator.estimate(model, None, x[:points], estimator.Config(**settings), rng, **latents)
    return found.value.double() - truth[:points], found


def test_exact_is_the_closed_form() -> None:
    assert errors(10, exact)[0].abs().max() == 0.0


@pytest.mark.parametrize("nz", [1, 3])
def test_quadrature_is_exact_on_a_gaussian(nz: int) -> None:
    error, found = errors(nz, quadrature)
    assert error.abs().max() < 1e-6
    assert found.diagnostics["accepted"].min() == 1.0


@pytest.mark.parametrize("nz", [3, 10])
def test_importance_with_the_true_posterior_is_exact(nz: int) -> None:
    error, found = errors(nz, importance, proposal="posterior", K=20)
    assert error.abs().max() < 1e-4
    assert found.diagnostics["effective_samples"].min() > 19.999


def test_importance_with_a_fitted_gaussian() -> None:
    error, found = errors(3, importance, K=2000)  # no encoder: a Gaussian fitted to posterior samples
    assert abs(error.mean()) < 0.01
    assert found.diagnostics["effective_samples"].mean() > 1000


@pytest.mark.slow
def test_ais_is_within_a_twentieth_of_a_nat() -> None:
    error, found = errors(10, ais, distributions=1000, chains=16)
    print(f"AIS, N_z = 10: mean error {error.mean():+.4f}, mean |error| {error.abs().mean():.4f} nats")
    assert abs(error.mean()) < 0.05
    assert found.diagnostics["acceptance"].mean() == pytest.approx(0.8, abs=0.05)


def test_reverse_ais_lies_above_and_forward_ais_below() -> None:
    """With few distributions both are biased, to their own sides, by several standard errors; with more they close in."""
    gaps = []
    for distributions in (10, 100):
        below, above = (errors(10, each, distributions=distributions)[0] for each in (ais, ais_reverse))
        for error, sign in ((below, -1), (above, 1)):
            assert sign * error.mean() > -2 * error.std() / 10
        gaps.append((above.mean() - below.mean()).item())
    assert gaps[0] > 0.5
    assert gaps[1] < 0.3 * gaps[0]


@pytest.mark.parametrize(("density", "near"), [("gaussian", 0.05), ("kde", 0.1)])
def test_hmc_density_at_three_latents(density: str, near: float) -> None:
    """Within 0.05 of the closed form on average with a Gaussian; a kernel density estimate has twice the spread."""
    error, found = errors(3, hmc_density, density=density)
    print(f"hmc-density, {density}: mean error {error.mean():+.4f} nats")
    assert abs(error.mean()) < near
    assert found.diagnostics["acceptance"].mean() > 0.85


def test_kernel_density_and_gaussian_are_densities(rng: torch.Generator) -> None:
    """They integrate to one: by importance sampling from a wide Gaussian, within 4.5 standard errors."""
    z = 0.5 * torch.randn(40, 3, 2, generator=rng, dtype=torch.float64) + torch.tensor([1.0, -1.0])
    wide = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 2.5)
    draws = 2.5 * torch.randn(8_000, 3, 2, generator=rng, dtype=torch.float64)
    for density in (posterior.Gaussian(z), posterior.KernelDensity(z)):
        weights = torch.cat([(density.log_prob(d) - wide.log_prob(d).sum(-1)).exp() for d in draws.split(2000)])
        assert ((weights.mean(0) - 1) / (weights.std(0) / math.sqrt(len(weights)))).abs().max() < 4.5


def test_kernel_density_is_a_mean_of_kernels(rng: torch.Generator) -> None:
    z = torch.randn(30, 2, 2, generator=rng, dtype=torch.float64)
    at = torch.randn(1, 2, 2, generator=rng, dtype=torch.float64)
    covariance = torch.cov(z[:, 0].T) * 30 ** (-2 / 6)
    kernels = torch.distributions.MultivariateNormal(z[:, 0], covariance).log_prob(at[0, 0])
    found = posterior.KernelDensity(z).log_prob(at)[0, 0]
    assert found.item() == pytest.approx((kernels.logsumexp(0) - math.log(30)).item(), rel=1e-4)


@pytest.fixture(scope="module")
def trained(mnist: Dataset) -> Training:
    """A decoder of three latents after 100,000 samples of binarised MNIST."""
    spec = make_spec("aevb", settings={"nz": 3, "hidden": 100, "lr": 0.1, "binarize": "threshold"}, points=100)
    training = Training(spec)
    for _ in training.rows(Budget(samples=100_000)):
        pass
    return training


@pytest.mark.slow
def test_all_estimators_agree_on_a_trained_decoder(trained: Training) -> None:
    """100 test digits, and an order within two standard errors of each difference:

    lower bound <= importance with the encoder <= with a fitted Gaussian <= quadrature <= hmc-density.
    """
    found: dict[str, api.PerPoint] = {}
    for name, estimator, settings in (
        ("lower bound", lower_bound, {"n_samples": 100}),
        ("encoder", importance, {"K": 5000}),
        ("importance", importance, {"K": 5000, "proposal": "gaussian"}),
        ("AIS", ais, {"distributions": 100, "start": "encoder"}),
        ("quadrature", quadrature, {}),
        ("hmc-density", hmc_density, {}),
    ):
        found[name] = Estimator(name, estimator, estimator.Config(**settings)).each(trained.subject, "test", 100, 0)
        told = ", ".join(f"{k} {v.double().mean():.3f}" for k, v in found[name].diagnostics.items())
        print(f"{name}: {found[name].value.double().mean():.4f} {told}")
    assert found["quadrature"].diagnostics["moved"].max() < 0.01
    mean = {name: each.value.double().mean().item() for name, each in found.items()}
    error = {name: each.variance.double().mean().sqrt().item() / 10 for name, each in found.items()}
    for name, near in (("importance", 0.15), ("AIS", 0.15), ("hmc-density", 0.3)):
        assert abs(mean[name] - mean["quadrature"]) < near, name
    order = ["lower bound", "encoder", "importance", "quadrature", "hmc-density"]
    for below, above in itertools.pairwise(order):
        assert mean[below] < mean[above] + 2 * math.hypot(error[below], error[above]), (below, above)


def test_ais_from_the_encoder_and_from_the_prior_agree(trained: Training) -> None:
    """Within 4.5 of their own standard errors; from the encoder few distributions are enough."""

    def judge(config: ais.Config) -> Any:
        return Estimator("ais", ais, config).estimate(trained.subject, "test", 10, 0)

    encoder = judge(ais.Config(start="encoder", distributions=60))
    prior = judge(ais.Config(distributions=200))
    assert abs(encoder.mean - prior.mean) < 4.5 * math.hypot(encoder.se_estimator, prior.se_estimator) + 0.05


def test_sandwich_closes_on_simulated_data(trained: Training) -> None:
    """Forward AIS <= quadrature <= reverse AIS on points drawn from the model, within two standard errors."""
    subject = Judged(trained.dataset, trained.model, None)

    def judge(name: str, module: ModuleType, config: api.Config) -> Any:
        return Estimator(name, module, config).estimate(subject, "simulated", 30, 0)

    below = judge("ais", ais, ais.Config(distributions=100))
    above = judge("ais-reverse", ais_reverse, ais_reverse.Config(distributions=100))
    between = judge("quadrature", quadrature, quadrature.Config())
    assert between.diagnostics["accepted"] == 1.0
    assert below.mean < between.mean + 2 * below.se_estimator
    assert between.mean < above.mean + 2 * above.se_estimator
    assert above.mean - below.mean < 0.5


def test_mode_is_a_mode(trained: Training, mnist: Dataset) -> None:
    """The gradient vanishes there, and no draw near it is likelier."""
    x = (mnist.rows("test", torch.arange(20), torch.Generator()) > 0.5).float()
    rng = api.Streams(0)("mode")
    with torch.no_grad():
        modes = quadrature.find_modes(trained.model, trained.recognition, x, rng, 1)
        mode, scale = modes.z[0], modes.scale[0]
        best = trained.model.log_p_xz(x, mode[None])
        near = mode + 0.3 * torch.einsum("bij,sbj->sbi", scale, torch.randn(200, 20, 3, generator=rng))
        assert (trained.model.log_p_xz(x, near) < best + 1e-2).all()


@pytest.mark.parametrize(
    ("estimator", "settings", "nz", "reason"),
    [
        (hmc_density, {}, 6, "use importance or ais, or insist with --force"),
        (hmc_density, {"n_samples": 3}, 5, "use a larger --n-samples"),
        (quadrature, {}, 4, "3 latents at the most, and the model has 4"),
        (exact, {}, 3, "no closed form"),
        (importance, {"proposal": "encoder"}, 3, "use --proposal gaussian"),
        (importance, {"proposal": "posterior"}, 3, "no closed form"),
        (importance, {"fit": 10}, 20, "use a larger --fit"),
        (ais, {"start": "encoder"}, 3, "use --start prior"),
        (lower_bound, {}, 3, "no recognition model"),
    ],
)
def test_refusals_say_why(estimator: ModuleType, settings: dict[str, Any], nz: int, reason: str) -> None:
    model, _ = mlp.build(mlp.Config(nz=nz, hidden=4), api.DataFacts("binary", 9, 10), api.Streams(0))
    assert reason in str(estimator.skip(estimator.Config(**settings), model, None))


def test_force_insists() -> None:
    model, _ = mlp.build(mlp.Config(nz=6, hidden=4), api.DataFacts("binary", 9, 10), api.Streams(0))
    assert hmc_density.skip(hmc_density.Config(force=True), model, None) is None


def test_errors_over_points_and_of_the_estimator_are_told_apart() -> None:
    """Values of spread 3 over points, with noise of 4: 3, 4 and together 5 over √n, within 5 %."""
    rng, n = torch.Generator().manual_seed(0), 20_000
    value = 3 * torch.randn(n, generator=rng) + 4 * torch.randn(n, generator=rng)
    any_, subject = (
        Estimator("any", exact, exact.Config()),
        Judged(SimpleNamespace(kind="real"), SimpleNamespace(kind="real"), None),
    )
    found = any_.summary(subject, "test", api.PerPoint(value, torch.full((n,), 16.0)))
    assert found.se_points * math.sqrt(n) == pytest.approx(3.0, rel=0.05)
    assert found.se_estimator * math.sqrt(n) == pytest.approx(4.0)
    noise_alone = any_.summary(subject, "test", api.PerPoint(value, torch.full((n,), 30.0)))
    assert noise_alone.se_points == 0.0


def test_reverse_ais_is_unbiased_for_one_over_p_whatever_its_pilot() -> None:
    """Over many exact samples of a posterior with a narrow and a wide mode the mean of w · p(x) is one, within 4.5 errors."""
    n, rng = 4000, api.Streams(0)("noise")

    class Mixture:
        latents, params = api.Latents.of("continuous", 1), api.Parameters({}, {"none": (1,)})

        def log_p_z(self, z: Tensor) -> Tensor:
            return torch.distributions.Normal(0.0, 2.0).log_prob(z).sum(-1)

        def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
            modes = [torch.distributions.Normal(m, s).log_prob(z).sum(-1) for m, s in ((-1.0, 0.1), (1.0, 0.9))]
            return torch.logaddexp(*modes) - math.log(2.0)

        def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
            return torch.zeros(n, 1), 2.0 * torch.randn(n, 1, generator=rng)

    narrow = torch.rand(n, 1, generator=rng) < 0.5
    z = torch.where(narrow, -1.0, 1.0) + torch.where(narrow, 0.1, 0.9) * torch.randn(n, 1, generator=rng)
    config = ais_reverse.Config(distributions=60, chains=1)
    found = ais_reverse.estimate(Mixture(), None, torch.zeros(n, 1), config, rng, z=z)
    w = (-found.value).exp()  # p(x) = 1
    assert abs(w.mean() - 1.0) < 4.5 * w.std() / math.sqrt(n)


class TwoModes:
    """p(z) = N(0, I); x says of |z_1| alone, and so leaves two modes of equal weight."""

    latents = api.Latents.of("continuous", 2)
    params = api.Parameters({}, {"none": (1,)})

    def log_p_z(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
        return self.log_p_z(z) - 200.0 * (z[..., 0].square() - x[:, 0]).square()

    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, 2, generator=rng)
        return z[:, :1].square(), z


def test_quadrature_adds_up_all_modes() -> None:
    """Against a sum over a fine grid of z_1: with one mode alone it would be log 2 too small."""
    x = torch.tensor([[0.5], [1.0], [2.0]])
    grid = torch.linspace(-6, 6, 240_001, dtype=torch.float64)
    prior = -0.5 * grid.square() - 0.5 * math.log(2 * math.pi)
    truth = torch.stack([(prior - 200.0 * (grid.square() - value).square()).logsumexp(0) for value in x.double()[:, 0]])
    truth += math.log(12 / 240_000)
    found = quadrature.estimate(TwoModes(), None, x, quadrature.Config(), api.Streams(0)("noise"))
    torch.testing.assert_close(found.value, truth, rtol=0, atol=0.01)
    assert found.diagnostics["modes"].tolist() == [2.0, 2.0, 2.0]


class Lopsided(TwoModes):
    """Three latents; of its two modes, the one where z_1 > 0 weighs five times as much as the other."""

    latents = api.Latents.of("continuous", 3)

    def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
        return super().log_p_xz(x, z) + 0.8 * z[..., 0]

    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, 3, generator=rng)
        return z[:, :1].square(), z


def test_quadrature_finds_a_mode_that_no_likely_beginning_is_near() -> None:
    """The lighter one has 17 % of the weight, without which log p(x) would be 0.18 nats too small."""
    x = torch.ones(1, 1)
    assert (posterior.likely(Lopsided(), None, x, api.Streams(0)("noise"), 6)[..., 0] > 0).all()
    grid = torch.linspace(-6, 6, 240_001, dtype=torch.float64)
    truth = -0.5 * grid.square() - 0.5 * math.log(2 * math.pi) - 200.0 * (grid.square() - 1).square() + 0.8 * grid
    found = quadrature.estimate(Lopsided(), None, x, quadrature.Config(), api.Streams(0)("noise"))
    assert found.value.item() == pytest.approx((truth.logsumexp(0) + math.log(12 / 240_000)).item(), abs=0.01)
    assert (found.diagnostics["modes"].item(), found.diagnostics["accepted"].item()) == (2.0, 1.0)


def test_modes_that_one_beginning_alone_led_to_are_not_accepted() -> None:
    """Two beginnings find each mode once, and say so; or one twice, and then nothing tells of the other."""
    verdicts = set()
    for seed in range(20):
        x = torch.full((1, 1), 1.0)
        found = quadrature.estimate(Lopsided(), None, x, quadrature.Config(modes=1), api.Streams(seed)("noise"))
        told = {name: value.item() for name, value in found.diagnostics.items()}
        verdicts.add((told["modes"], round(told["found_once"]), told["accepted"]))
    assert {(1.0, 0, 1.0), (2.0, 1, 0.0)} <= verdicts <= {(1.0, 0, 1.0), (1.0, 1, 0.0), (2.0, 1, 0.0)}


def test_beginnings_are_apart_and_the_likeliest_is_first() -> None:
    x = torch.tensor([[0.5], [1.0]])
    z = posterior.likely(TwoModes(), None, x, api.Streams(0)("noise"), 4)
    assert z.shape == (4, 2, 2)
    for i in range(4):
        for j in range(i):
            assert ((z[i] - z[j]).square().sum(-1) >= posterior.APART**2).all()
    log_p = TwoModes().log_p_xz(x, z)
    assert (log_p[0] >= log_p).all()
