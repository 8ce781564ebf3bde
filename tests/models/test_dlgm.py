"""Deep latent Gaussian models against plain formulas, factor analysis, quadrature, and equations (21)-(22) of the review."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import api, testing
from harness.errors import BadInput
from harness.estimators import ais, ais_reverse, importance, quadrature
from harness.models import dlgm, linear_gaussian
from harness.native import path
from harness.specs.run import make_spec

D = 8
COVARIANCES = ("diagonal", "rank-one", "full")


def built(
    kind: api.Kind = "binary", dtype: torch.dtype = torch.float64, **settings: Any
) -> tuple[dlgm.DeepGaussian, api.Encoder]:
    """A model with random parameters, and its recognition model."""
    config = dlgm.Config(**{"layers": "3-2", "hidden": 4, "init_sd": 0.6, **settings})
    return dlgm.build(config, api.DataFacts(kind, D, 100), api.Streams(3), dtype)


def named(model: dlgm.DeepGaussian) -> dict[str, Tensor]:
    return dict(zip(model.params.shapes, model.params.split(), strict=True))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("maps", ["network", "nlgbn"])
@pytest.mark.parametrize("variance", ["network", "constant"])
def test_densities_are_those_of_the_plain_formulas(
    activation: str, maps: str, variance: str, rng: torch.Generator
) -> None:
    """Two layers of real data, written out, with their gradients by θ and by the latents for weights of every row."""
    model, _ = built("real", activation=activation, maps=maps, gaussian_variance=variance, gaussian_mean="linear")
    p = named(model)
    f = torch.tanh if activation == "tanh" else torch.relu
    x = torch.randn(5, D, generator=rng, dtype=torch.float64)
    z = torch.randn(2, 5, 5, generator=rng, dtype=torch.float64).requires_grad_()
    xi_1, xi_2 = z[..., :3], z[..., 3:]
    if maps == "network":
        h_2 = xi_2 @ p["G2"]
        h_1 = f(h_2 @ p["W1.1"] + p["b1.1"]) @ p["W1.2"] + p["b1.2"] + xi_1 @ p["G1"]
        before, W, b = f(h_1 @ p["W0.1"] + p["b0.1"]), p["W0.2"], p["b0.2"]
    else:
        h_2 = p["G2"] * xi_2
        h_1 = f(h_2) @ p["W1.1"] + p["b1.1"] + p["G1"] * xi_1
        before, W, b = f(h_1), p["W0.1"], p["b0.1"]
    mean = before @ W[:, :D] + b[:D]
    log_var = before @ W[:, D:] + b[D:] if variance == "network" else b[D:].expand_as(mean)
    expected = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(model.log_p_x_given_z(x, z), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model.mean_x(z), mean, rtol=1e-10, atol=1e-10)
    weights = torch.randn(2, 5, generator=rng, dtype=torch.float64)
    wanted = torch.autograd.grad((weights * expected).sum(), [model.params.flat, z])
    found = torch.autograd.grad((weights * model.log_p_x_given_z(x, z)).sum(), [model.params.flat, z])
    for mine, autograd in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, autograd, rtol=1e-9, atol=1e-10)


def factor_analysis(**settings: Any) -> tuple[dlgm.DeepGaussian, api.Encoder, linear_gaussian.LinearGaussian]:
    """A model of one layer with linear maps, and the linear-Gaussian one that it is."""
    model, encoder = built(
        "real", layers="3", hidden="none", gaussian_mean="linear", gaussian_variance="constant", **settings
    )
    config = linear_gaussian.Config(nz=3)
    same, _ = linear_gaussian.build(config, api.DataFacts("real", D, 100), api.Streams(0), torch.float64)
    p = named(model)
    with torch.no_grad():
        same.params.flat.copy_(torch.cat([(p["G1"] @ p["W0.1"]).flatten(), p["b0.1"]]))
    return model, encoder, same


def test_one_layer_and_linear_maps_are_factor_analysis(rng: torch.Generator) -> None:
    """log p(x, z), what is drawn, and gradients: by W through that of G W, as G and W are told apart by none but their prior."""
    model, _, same = factor_analysis()
    x, z = same.sample(6, rng), torch.randn(4, 6, 3, generator=rng, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(model.log_p_xz(x, z), same.log_p_xz(x, z), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*(one.sample(6, api.Streams(0)("x")) for one in (model, same)), rtol=1e-10, atol=1e-10)
    by_theta, by_z = torch.autograd.grad(model.log_p_xz(x, z).sum(), [model.params.flat, z])
    by_W, by_mean, by_log_noise = same.params.split(
        torch.autograd.grad(same.log_p_xz(x, z).sum(), same.params.flat, retain_graph=True)[0]
    )
    torch.testing.assert_close(by_z, torch.autograd.grad(same.log_p_xz(x, z).sum(), z)[0], rtol=1e-9, atol=1e-9)
    found = dict(zip(model.params.shapes, model.params.split(by_theta), strict=True))
    p = named(model)
    torch.testing.assert_close(found["W0.1"], p["G1"].T @ by_W, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found["G1"], by_W @ p["W0.1"].T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found["b0.1"], torch.cat([by_mean, by_log_noise]), rtol=1e-9, atol=1e-9)


def test_the_posterior_of_factor_analysis_lies_in_the_family_of_full_covariances(rng: torch.Generator) -> None:
    """With the exact parameters set by hand, log p(x, z) - log q(z|x) is log p(x) for every z, and the bound is tight."""
    model, encoder, same = factor_analysis(covariance="full")
    W, mean, log_noise = same.params.views
    scaled = W * (-log_noise).exp()
    covariance = (torch.eye(3, dtype=torch.float64) + scaled @ W.T).inverse()
    root = torch.linalg.cholesky(covariance)
    A = scaled.T @ covariance
    rows = torch.cat([root[i, : i + 1] for i in range(3)])
    rows[[0, 2, 5]] = rows[[0, 2, 5]].log()
    with torch.no_grad():
        weights, biases = encoder.params.views
        weights.zero_()
        weights[:, :3].copy_(A)
        biases.copy_(torch.cat([-mean @ A, rows]))
    x = same.sample(6, rng)
    q, exact = encoder.posterior(x), same.exact_posterior(x)
    z = q.sample(5, rng)
    torch.testing.assert_close(q.log_prob(z), exact.log_prob(z), rtol=1e-9, atol=1e-9)
    evidence = same.log_p_x(x)
    torch.testing.assert_close(model.log_p_xz(x, z) - q.log_prob(z), evidence.expand(5, -1), rtol=1e-9, atol=1e-9)
    # Where the bound is tight, the gradient of log p(x) is its gradient's mean (Fisher), here over 20,000 draws; 4.5 errors.
    n = 20_000
    by_z = torch.autograd.grad(model.log_p_xz(x, (draws := q.sample(n, rng)).requires_grad_()).sum(), draws)[0]
    assert (by_z.mean(0) / (by_z.std(0) / math.sqrt(n))).abs().max() < 4.5


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_gradients_of_the_review(covariance: str) -> None:
    """Equations (21)-(22) of the review against the reparameterised gradients that `aevb` ascends: 4 standard errors.

    With z = μ + R ε, C = R Rᵀ and the free energy F = -E[log p(x|z)] + ½ (|μ|² + tr C - log |C| - K):

        dF/dμ = -E[∂ log p(x|z)/∂z] + μ        dF/dR_ij = -E[ε_j ∂ log p(x|z)/∂z_i] + ½ d(tr C - log |C|)/dR_ij

    The review has a factor of ½ before the second mean, "up to the factor by which R enters". As z is linear in R, with
    ∂z_i/∂R_ij = ε_j, that factor is 1. The ½ is that of Price's theorem, dE[f] = ½ E[tr(∂²f dC)]: dC = dR Rᵀ + R dRᵀ has two
    terms that count the same, and E[∂²f R] = E[∂f εᵀ] by parts, so that ½ becomes 1. With ½ the test fails.

    Both sides are means over independent draws; of 26 numbers in all three cases, one in 600 seeds fails.
    """
    model, encoder = built(layers="2-1", covariance=covariance, init_sd=0.8)
    n = 20_000
    x = torch.tensor([[1.0, 0, 1, 1, 0, 0, 1, 0]], dtype=torch.float64)
    points = x.expand(n, -1)
    behind = list(encoder.params.shapes).index("b4")  # whose gradient is that by the network's outputs, of all points
    bound = api.gradients.bound(model, encoder, points, 1, api.Streams(0)("aevb"))
    by_aevb = -encoder.params.split(bound.by_phi)[behind] / n
    q = encoder.posterior(points)
    free_energy = -model.log_p_x_given_z(points, q.rsample(1, api.Streams(0)("aevb"))) + q.kl()
    (draws,) = torch.autograd.grad(free_energy.sum(), q.statistics)  # the same, of each point
    torch.testing.assert_close(draws.mean(0), by_aevb, rtol=1e-9, atol=1e-9)

    said = encoder.posterior(x).statistics.detach()[0]
    mean, R = root_of(said, covariance)
    noise = torch.randn(n, 1, 3, generator=api.Streams(0)("review"), dtype=torch.float64)
    z = (mean + noise @ R.T).requires_grad_()
    (g,) = torch.autograd.grad(model.log_p_x_given_z(x, z).sum(), z)  # (n, 1, Z)
    by_mean, by_noise = mean - g, -g.mT @ noise  # (n, 1, Z), (n, i, j)
    jacobian = torch.autograd.functional.jacobian(
        lambda s: torch.cat([p.flatten() for p in root_of(s, covariance)]), said
    )

    def errors(factor: float) -> Tensor:
        """How many standard errors both sides differ by, with a factor before the mean of ε_j ∂ log p(x|z)/∂z_i."""
        by_R = factor * by_noise + R - R.inverse().T  # as d(tr C - log |C|) = 2 (R - R⁻ᵀ) dR
        by_review = torch.cat([by_mean.flatten(1), by_R.flatten(1)], dim=1) @ jacobian
        error = ((draws.var(0) + by_review.var(0)) / n).sqrt()
        return ((by_aevb - by_review.mean(0)) / error).abs().max()

    assert errors(1.0) < 4
    assert errors(0.5) > 4


def root_of(said: Tensor, covariance: str) -> tuple[Tensor, Tensor]:
    """Return μ (3,) and R (3, 3) of layers of two and of one latent, from what a network says, written out."""
    if covariance == "diagonal":
        mean, log_var = said.chunk(2)
        return mean, torch.diag((0.5 * log_var).exp())
    if covariance == "rank-one":
        mean, log_var, u = said.chunk(3)
        blocks = []
        for part in (slice(0, 2), slice(2, 3)):
            sd = (0.5 * log_var[part]).exp()
            w = sd * u[part]
            s = w @ w
            blocks.append(sd.unsqueeze(-1) * (torch.eye(len(w)) - (1 - (1 + s) ** -0.5) / s * torch.outer(w, w)))
        return mean, torch.block_diag(*blocks)
    zero = torch.zeros((), dtype=said.dtype)
    mean, (a, b, c, d) = said[:3], said[3:]
    rows = [torch.stack([a.exp(), zero, zero]), torch.stack([b, c.exp(), zero]), torch.stack([zero, zero, d.exp()])]
    return mean, torch.stack(rows)


def test_estimators_agree_on_two_latents_in_two_layers() -> None:
    """Quadrature, importance and annealing from both sides within 0.1 nat; and over all x, p(x) sums to 1.

    The recognition model is not trained, and begins near the prior: it is a proposal without tails that are too light.
    """
    model, encoder = built(layers="1-1", covariance="rank-one", init_sd=1.0, dtype=torch.float32)
    encoder.params.normal_(0.1, api.Streams(0)("wide"))
    x, z = model.sample_xz(20, api.Streams(0)("points"))
    given = (model, encoder, x)
    exact = quadrature.estimate(*given, quadrature.Config(modes=8), api.Streams(0)("a"))
    assert exact.diagnostics["accepted"].all()
    truth = exact.value.mean().item()
    found = {
        "importance": importance.estimate(*given, importance.Config(K=4000), api.Streams(0)("b")),
        "ais": ais.estimate(*given, ais.Config(distributions=150), api.Streams(0)("c")),
        "reverse": ais_reverse.estimate(*given, ais_reverse.Config(distributions=150), api.Streams(0)("d"), z=z),
    }
    for name, one in found.items():
        assert one.value.mean().item() == pytest.approx(truth, abs=0.1), name
    states = next(api.states(D, 1 << D, torch.float32))
    every = quadrature.estimate(model, encoder, states, quadrature.Config(modes=3), api.Streams(0)("e"))
    assert every.value.exp().sum().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["binary", "real"])
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("settings", [{}, {"hidden": "5-4", "layers": "2-3-2"}, {"maps": "nlgbn"}, {"layers": "3"}])
def test_compiled_and_plain_gradients_of_the_bound_are_the_same(
    kind: api.Kind, covariance: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision, to rounding, and with or without asking for them by hand."""
    x = (torch.rand(6, D, generator=api.Streams(0)("x")) < 0.5).float()
    model, encoder = built(kind, torch.float32, covariance=covariance, **settings)
    found = []
    for kernels in (path.kernels, None):
        monkeypatch.setattr(path, "kernels", kernels)
        bound = api.gradients.bound(model, encoder, x, 2, api.Streams(0)("noise"))
        found.append([torch.as_tensor(part[:]).clone() for part in (bound.by_theta, bound.by_phi)])
    q = encoder.posterior(x)
    value = model.log_p_x_given_z(x, q.rsample(2, api.Streams(0)("noise"))).sum() / 2 - q.kl().sum()
    found.append(torch.autograd.grad(value, [model.params.flat, encoder.params.flat]))
    for other in found[1:]:
        for mine, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-4 * theirs.abs().max().item())


def test_the_model_can_be_mapped() -> None:
    """`torch.func.vmap` over samples and points gives the same densities."""
    for covariance in COVARIANCES:
        model, encoder = built(covariance=covariance, dtype=torch.float32)
        x, z = torch.zeros(4, D), torch.randn(3, 4, 5, generator=api.Streams(0)("z"))
        mapped = torch.func.vmap(lambda one: model.log_p_xz(x, one.unsqueeze(0))[0])(z)  # noqa: B023
        torch.testing.assert_close(mapped, model.log_p_xz(x, z))
        kl = torch.func.vmap(lambda one: encoder.posterior(one.unsqueeze(0)).kl()[0])(x)  # noqa: B023
        torch.testing.assert_close(kl, encoder.posterior(x).kl())


@pytest.mark.parametrize(
    "others",
    [
        {"covariance": "rank-one", "gaussian_variance": "constant"},
        pytest.param({"covariance": "full", "activation": "relu", "maps": "nlgbn"}, marks=pytest.mark.slow),
    ],
)
def test_other_settings_pass_conformance_too(tmp_path: Path, others: dict[str, str]) -> None:
    """What the suite checks of the defaults, of a model with others: every gradient in double precision among it."""
    source = Path(dlgm.__file__).read_text()
    for name, value in others.items():
        default = dlgm.Config.model_fields[name].default
        source, n = re.subn(f'(    {name}: .*= api.setting\\(\\s*)"{default}"', f'\\1"{value}"', source)
        assert n == 1, name
    path = tmp_path / "other.py"
    path.write_text(source)
    testing.check_model(str(path))


def test_new_models_have_noise_of_size_one() -> None:
    model, _ = built(init_sd=1e-6)
    for number, size in enumerate((3, 2), 1):
        torch.testing.assert_close(named(model)[f"G{number}"], torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-4)
    net, _ = built(init_sd=1e-6, maps="nlgbn")
    torch.testing.assert_close(named(net)["G1"], torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"layers": "200-x"}, "--layers of model 'dlgm' is '200-x': give the size of each layer, from 1 to 100000"),
        ({"layers": "0"}, "--layers of model 'dlgm' is '0': give the size of each layer"),
        ({"layers": "none"}, "--layers of model 'dlgm' is 'none': give the size of one layer at least"),
        ({"layers": "200--200"}, "--layers of model 'dlgm' is '200--200'"),
        ({"hidden": "0"}, "--hidden of model 'dlgm' is '0'"),
        ({"covariance": "rank1"}, "input should be 'diagonal', 'rank-one' or 'full'"),
        ({"maps": "linear"}, "input should be 'network' or 'nlgbn'"),
        ({"nz": 20}, "there is no setting --nz"),
    ],
)
def test_bad_settings_are_one_sentence(settings: dict[str, object], words: str) -> None:
    with pytest.raises(BadInput) as error:
        make_spec("aevb", "binarized-mnist", "dlgm", settings=settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_real_data_are_no_bits() -> None:
    with pytest.raises(BadInput, match="needs data in \\[0, 1\\]: choose gaussian"):
        built("real", decoder="bernoulli")


def test_samples_come_from_the_model() -> None:
    """The mean of drawn bits against the mean of their probabilities, 5 standard errors over 8 bits: 5e-6."""
    model, _ = built()
    x, z = model.sample_xz(40_000, api.Streams(0)("fantasies"))
    y = F.sigmoid(model.outputs(z))
    assert ((x - y).mean(0).abs() / (x.std(0) / 200)).max() < 5
