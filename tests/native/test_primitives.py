"""Every primitive against its formula in double precision, compiled and by PyTorch alone."""

import math
from typing import Any

import pytest
import torch
from stacks import SIZES, check_factors, close, draw, identity, stack, through, wide
from torch import Tensor

from harness import native
from harness.native import updates

# units of each layer
STACKS = [(1, 1), (5, 7), (7, 101, 3), (3, 17, 9), (2, 1, 6, 5), (4, 9, 9, 9, 8), (0, 4), (0, 5, 4)]
DRAWS = [(1, 1, 1), (1, 7, 3), (5, 101, 20), (2, 3, 101), (1, 0, 4), (0, 4, 4)]  # samples, points, dimensions
ODD = [-1e4, -200.0, -88.5, -87.5, -20.0, -1e-3, -1e-42, 0.0, 1e-42, 1e-3, 1.0, 20.0, 87.5, 88.5, 200.0, 1e4]


@pytest.mark.parametrize("n", [0, *SIZES])
@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("m", SIZES)
def test_a_layer_of_tanh_units(n: int, k: int, m: int, way: str) -> None:
    x, W, b = draw(n, k), draw(k, m, seed=1), draw(m, seed=2)
    u = x.double() @ W.double() + b.double()
    found, behind = native.Stack([native.Layer(W, b), *identity(m).layers]).up(x)
    close(found, u.tanh(), 5e-6, 5e-6)
    assert behind.equal(found)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 8.0, 100.0])
def test_tanh_to_a_few_units_in_the_last_place(scale: float, way: str) -> None:
    u = draw(40, 50, scale=scale)
    found = identity(u.shape[1], 2).up(u)[0]
    close(found, u.double().tanh(), 6e-7, 1e-40)
    assert found.abs().max() <= 1.0


def test_tanh_keeps_what_is_no_number(way: str) -> None:
    u = torch.tensor([[math.inf], [-math.inf], [math.nan], [1e4], [-1e4]])
    assert identity(u.shape[1], 2).up(u)[0].flatten().tolist() == pytest.approx([1, -1, math.nan, 1, -1], nan_ok=True)


@pytest.mark.parametrize(("samples", "points", "dim"), DRAWS)
def test_log_densities_of_gaussians(samples: int, points: int, dim: int, way: str) -> None:
    statistics, z = draw(points, 2 * dim), draw(samples, points, dim, seed=1)
    wide = statistics.double().requires_grad_()
    mean, log_var = wide.chunk(2, -1)
    log_q = torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z.double()).sum(-1)
    log_q.sum().backward()
    found, slope = native.gaussian_score(statistics, z)
    close(found, log_q.detach(), 1e-5, 1e-6 * dim)
    assert wide.grad is not None
    close(slope, wide.grad, 2e-5, 2e-5)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(z.double()).sum(-1)
    close(native.standard_normal(z), normal, 1e-6, 1e-6)


@pytest.mark.parametrize("n", [0, *SIZES])
@pytest.mark.parametrize("sizes", STACKS)
def test_up_and_down_a_stack(sizes: tuple[int, ...], n: int, way: str) -> None:
    net = stack(*sizes)
    x, g = draw(n, sizes[0], seed=1), draw(n, sizes[-1], seed=2)
    layers, x64 = wide(net), x.double().requires_grad_()
    expected = through(layers, x64)
    (g.double() * expected[-1]).sum().backward()
    found = net.up(x)
    for one, other in zip(found, expected, strict=True):
        close(one, other.detach(), 1e-5, 1e-5)
    factors, g_x = net.down(x, found[:-1], g, by_x=True)
    check_factors(factors, layers, 5e-5)
    assert x64.grad is not None
    close(g_x, x64.grad, 2e-5, 5e-5)
    assert net.down(x, found[:-1], g)[1] is None


def test_a_layer_without_inputs(way: str) -> None:
    """Its outputs are its biases, which are updated."""
    net, sums, x, g = stack(0, 4), stack(0, 4), draw(2, 3, 0), draw(6, 4, seed=1)
    b = net.layers[0].b.clone()
    assert net.up(x)[-1].equal(b.expand(6, 4))
    factors, g_x = net.down(x, [], g, by_x=True)
    assert g_x is not None
    assert g_x.shape == x.shape
    if way == "compiled":
        for of_batch in (factors, [(x, g)]):  # as the stack has made them, and as pairs
            net.layers[0].b.copy_(b)
            sums.layers[0].b.fill_(1.0)
            native.ascend(
                native.Move(updates.ADAGRAD, 0.1), [(native.Ascent(net.layers, [sums.layers], 0.5), of_batch)]
            )
            by_b = g.double().sum(0)
            close(net.layers[0].b, b.double() + 0.1 * by_b / (1 + by_b.square()).sqrt(), 1e-6, 1e-6)


def test_rows_of_latents_go_up_and_down_as_they_are(way: str) -> None:
    """Inputs (S, B, k) without a copy, and their gradient of the same shape; inputs with gaps as well."""
    net, x = stack(3, 7, 5), draw(2, 4, 3)
    *units, a = net.up(x)
    _, g_x = net.down(x, units, a, by_x=True)
    assert g_x is not None
    assert g_x.shape == x.shape
    for one, other in zip(net.up(x.view(8, 3)), (*units, a), strict=True):
        close(one, other, 1e-6, 1e-6)
    with_gaps = torch.stack([x, x], dim=-1)[..., 0]
    assert not with_gaps.is_contiguous()
    close(net.up(with_gaps)[-1], a, 1e-6, 1e-6)
    close(net.down(with_gaps, units, torch.stack([a, a], dim=-1)[..., 0], by_x=True)[1], g_x, 1e-6, 1e-6)


@pytest.mark.parametrize("dim", SIZES)
def test_rows_of_bytes(dim: int, way: str) -> None:
    """To the last bit: a batch is the same, whatever makes it."""
    stored = torch.randint(256, (50, dim), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for index in (torch.tensor([3, 49, 0, 3]), torch.arange(0, 50, 7), torch.tensor([], dtype=torch.int64)):
        found = native.bytes_at(stored, index, 1 / 255)
        assert found.dtype is torch.float32
        assert found.equal(stored[index].to(torch.float32) * (1 / 255))
    for wrong in (50, -1):
        with pytest.raises(IndexError, match="index out of range"):
            native.bytes_at(stored, torch.tensor([0, wrong]), 1.0)


@pytest.mark.parametrize("n", [0, 1, 7, 101, 10_000])
def test_totals_in_double_precision(n: int, way: str) -> None:
    values = draw(n, scale=100.0)
    found, expected = float(native.total(values)), values.double().sum().item()
    assert found == pytest.approx(
        expected, rel=1e-12 if way == "compiled" else 1e-4, abs=1e-9 if way == "compiled" else 0.1
    )


@pytest.mark.parametrize(("points", "samples"), [(1, 1), (7, 1), (101, 1), (7, 5), (1, 300), (0, 1)])
@pytest.mark.parametrize("dim", [1, 7, 101, 1000])
@pytest.mark.parametrize("density", ["bernoulli", "gaussian", "squashed"])
def test_a_layer_that_is_observed(density: str, dim: int, points: int, samples: int, way: str) -> None:
    outputs, k, n = (1 if density == "bernoulli" else 2), 9, points * samples
    x = draw(points, dim).sigmoid()
    h, W, b = draw(n, k, seed=1), draw(k, dim * outputs, seed=2, scale=0.3), draw(dim * outputs, seed=3)
    log_p, slope, g_h = closed_form(density, x, h, W, b, weight=0.25)
    layer = native.Stack([native.Layer(W, b)])
    found = observe(density, x, h, layer, weight=0.25)
    scale = dim**0.5
    close(found.log_p, log_p.flatten(), 2e-5, 1e-5 * scale)
    close(found.slope, slope, 2e-5, 1e-5)
    close(found.g_z, g_h, 2e-5, 1e-5 * scale)
    assert found.factors is not None
    ((a, g),) = found.factors
    assert a.equal(h)
    assert g is found.slope
    alone = observe(density, x, h, layer, down=False, by_z=False)
    close(alone.log_p, log_p.flatten(), 2e-5, 1e-5 * scale)
    assert alone == (alone.log_p, [], None, None, None)
    by_z = observe(density, x, h, layer, value=False, down=False)
    close(by_z.g_z, 4.0 * g_h, 2e-5, 4e-5 * scale)
    assert by_z == (None, [], None, None, by_z.g_z)


@pytest.mark.parametrize(("samples", "points"), [(1, 1), (1, 101), (3, 7), (1, 0), (0, 2)])
@pytest.mark.parametrize("sizes", STACKS)
@pytest.mark.parametrize("density", ["bernoulli", "gaussian", "squashed"])
def test_a_stack_that_is_observed(density: str, sizes: tuple[int, ...], samples: int, points: int, way: str) -> None:
    *sizes_below, dim = sizes
    net = stack(*sizes_below, dim * (1 if density == "bernoulli" else 2), scale=0.3)
    x, z = draw(points, dim).sigmoid(), draw(samples, points, sizes[0], seed=1)
    layers, z64 = wide(net), z.double().requires_grad_()
    *units, a = through(layers, z64)
    log_p = log_density(density, x.double(), a)
    (0.5 * log_p.sum()).backward()
    found = observe(density, x, z, net, weight=0.5)
    close(found.log_p, log_p.detach(), 2e-5, 1e-5 * dim**0.5)
    check_factors(found.factors, layers, 1e-4)
    assert z64.grad is not None
    close(found.g_z, z64.grad, 2e-5, 1e-4)
    for one, other in zip(found.units, units, strict=True):
        close(one, other.detach().flatten(0, -2), 1e-5, 1e-5)
    by_z = observe(density, x, z, net, value=False, down=False)
    close(by_z.g_z, 2.0 * z64.grad, 2e-5, 2e-4)
    assert by_z.log_p is by_z.slope is by_z.factors is None
    slope = observe(density, x, z, net, down=False, by_z=False, slope=True)
    close(slope.slope, 2.0 * found.slope, 1e-5, 1e-6)  # type: ignore[operator]
    assert slope.g_z is slope.factors is None


@pytest.mark.parametrize(("samples", "points"), [(1, 1), (1, 101), (3, 7)])
@pytest.mark.parametrize("dim", [1, 7, 230])
@pytest.mark.parametrize("density", ["bernoulli", "gaussian", "squashed"])
def test_a_stack_of_which_some_outputs_are_observed(
    density: str, dim: int, samples: int, points: int, way: str
) -> None:
    """Entries that are NaN add nothing, and their slopes are 0; what is observed counts as it does alone."""
    net = stack(3, 5, dim * (1 if density == "bernoulli" else 2), scale=0.3)
    x, z = draw(points, dim).sigmoid(), draw(samples, points, 3, seed=1)
    gone = draw(points, dim, seed=2) < 0
    layers, z64 = wide(net), z.double().requires_grad_()
    a = through(layers, z64)[-1]
    each = log_densities(density, x.double(), a.view(samples, points, -1))
    log_p = each.masked_fill(gone, 0.0).sum(-1)
    (0.5 * log_p.sum()).backward()
    asked = x.masked_fill(gone, math.nan)
    found = observe(density, asked, z, net, weight=0.5, missing=True)
    close(found.log_p, log_p.detach(), 2e-5, 1e-5 * dim**0.5)
    check_factors(found.factors, layers, 1e-4)
    assert z64.grad is not None
    close(found.g_z, z64.grad, 2e-5, 1e-4)
    assert found.slope is not None
    no_slope = gone if density == "bernoulli" else gone.repeat(1, 2)
    assert (found.slope.view(samples, points, -1) == 0).logical_or(~no_slope).all()
    by_z = observe(density, asked, z, net, value=False, down=False, missing=True)
    close(by_z.g_z, 2.0 * z64.grad, 2e-5, 2e-4)
    alone = observe(density, asked, z, net, down=False, by_z=False, missing=True)
    close(alone.log_p, log_p.detach(), 2e-5, 1e-5 * dim**0.5)
    whole, same = (observe(density, x, z, net, missing=missing) for missing in (False, True))
    close(same.log_p, whole.log_p, 1e-6, 1e-6)
    unsaid = observe(density, asked, z, net).log_p  # where nobody says that NaN means missing, it stays no number
    assert unsaid is not None
    assert unsaid.isnan().equal(gone.any(-1).expand(samples, points))


def observe(density: str, x: Tensor, z: Tensor, net: native.Stack, **asked: object) -> native.Observed:
    asked = {"down": True, "by_z": True} | asked
    named: Any = "squashed gaussian" if density == "squashed" else density
    return net.observed(named, x, z, **asked)  # type: ignore[arg-type]


def log_density(density: str, x: Tensor, a: Tensor) -> Tensor:
    """Return log p(x | a), a number a row of outputs (..., B, ·)."""
    return log_densities(density, x, a).sum(-1)


def log_densities(density: str, x: Tensor, a: Tensor) -> Tensor:
    """Return the log density of every entry, (..., B, D)."""
    if density == "bernoulli":
        return x * a - torch.nn.functional.softplus(a)
    mean, log_var = a.chunk(2, -1)
    mean = mean.sigmoid() if density == "squashed" else mean
    return torch.distributions.Normal(mean, (0.5 * log_var).exp(), validate_args=False).log_prob(x)


def closed_form(
    density: str, x: Tensor, h: Tensor, W: Tensor, b: Tensor, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p, and of weight times its sum the gradients by outputs and by h, by autograd in double precision."""
    x, h, W, b = (part.double() for part in (x, h, W, b))
    h.requires_grad_()
    a = h @ W + b
    a.retain_grad()
    each = x.repeat(len(h) // max(len(x), 1), 1) if len(x) else x
    log_p = log_density(density, each, a)
    (weight * log_p.sum()).backward()
    assert a.grad is not None
    assert h.grad is not None
    return log_p.detach().view(len(h) // len(x) if len(x) else 1, len(x)), a.grad, h.grad


@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_extreme_logits(pixel: float, way: str) -> None:
    """One output a point; beyond 88 the odds overflow in single precision, which must show in neither value nor slope."""
    a = torch.tensor(ODD).unsqueeze(1)
    x = torch.full_like(a, pixel)
    found = identity(1).observed("bernoulli", x, a, slope=True)
    wide = a.double()
    close(found.log_p, (pixel * wide - torch.nn.functional.softplus(wide)).flatten(), 1e-6, 1e-7)
    close(found.slope, pixel - wide.sigmoid(), 1e-6, 1e-7)


@pytest.mark.parametrize("log_var", [-60.0, -10.0, 0.0, 10.0, 60.0])
def test_extreme_variances(log_var: float, way: str) -> None:
    outputs = torch.tensor([[0.5, log_var]])
    found = identity(2).observed("gaussian", torch.tensor([[0.4]]), outputs, slope=True)
    error, precision = 0.4 - 0.5, math.exp(-log_var)
    close(found.log_p, torch.tensor([-0.5 * (error**2 * precision + log_var + math.log(2 * math.pi))]), 1e-5, 1e-6)
    close(found.slope, torch.tensor([[error * precision, 0.5 * (error**2 * precision - 1)]]), 1e-5, 1e-6)


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("density", ["bernoulli", "squashed", "gaussian"])
def test_what_is_no_number_stays_none(density: str, where: str, way: str) -> None:
    """Divergence must be seen, whichever output it begins in."""
    dim = 230
    outputs = torch.zeros(3, dim * (1 if density == "bernoulli" else 2))
    outputs[1, {"first": 0, "middle": dim // 2, "last": dim - 1}[where]] = math.nan
    found = observe(density, torch.full((3, dim), 0.5), outputs, identity(outputs.shape[1]))
    assert found.log_p is not None
    assert found.slope is not None
    assert found.log_p.isfinite().tolist() == [True, False, True]
    assert found.slope.isfinite().all(-1).tolist() == [True, False, True]


@pytest.mark.parametrize("below", [(), (7,), (9, 5)])
@pytest.mark.parametrize(("samples", "points", "dim"), DRAWS)
def test_draws_from_gaussians(samples: int, points: int, dim: int, below: tuple[int, ...], way: str) -> None:
    net = stack(4, *below, 2 * dim)
    x, noise, g_z = draw(points, 4), draw(samples, points, dim, seed=1), draw(samples, points, dim, seed=2)
    layers = wide(net)
    outs = through(layers, x.double())
    mean, log_var = outs[-1].chunk(2, -1)
    z = mean + (0.5 * log_var).exp() * noise.double()
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1)
    ((g_z.double() * z).sum() - 0.7 * kl.sum()).backward()
    found = native.Draw(net, x, noise.clone())
    close(found.z, z.detach(), 1e-5, 1e-5)
    close(found.kl, kl.detach(), 1e-5, 1e-5 * dim)
    for one, other in zip(found.outs, outs, strict=True):
        close(one, other.detach(), 1e-5, 1e-5)
    check_factors(found.pull(g_z, -0.7), layers, 1e-4)


@pytest.mark.parametrize("log_var", [-60.0, -10.0, 0.0, 10.0, 60.0])
def test_draws_of_extreme_variances(log_var: float, way: str) -> None:
    found = native.Draw(identity(2), torch.tensor([[0.5, log_var]]), torch.tensor([[[1.5]], [[0.0]]]))
    sd = math.exp(0.5 * log_var)
    close(found.z, torch.tensor([[[0.5 + 1.5 * sd]], [[0.5]]], dtype=torch.float64), 1e-5, 1e-6)
    kl = 0.5 * (0.25 + math.exp(log_var) - log_var - 1)
    close(found.kl, torch.tensor([kl], dtype=torch.float64), 1e-5, 1e-6)
    ((_, g),) = found.pull(torch.tensor([[[2.0]], [[1.0]]]), 1.0)
    expected = [3.0 + 0.5, 0.5 * 2.0 * 1.5 * sd + 0.5 * (math.exp(log_var) - 1)]
    close(g, torch.tensor([expected], dtype=torch.float64), 1e-5, 1e-6)


def test_a_draw_that_is_no_number_stays_none(way: str) -> None:
    """Of its point alone."""
    found = native.Draw(identity(2), torch.tensor([[0.0, math.nan], [0.0, 0.0]]), torch.ones(1, 2, 1))
    assert found.z.flatten().isfinite().tolist() == [False, True]
    assert found.kl.isfinite().tolist() == [False, True]
