"""Every primitive against its formula in double precision, compiled and by PyTorch alone."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import native
from harness.native import path

SIZES = (1, 7, 101)
DRAWS = [(1, 1, 1), (1, 7, 3), (5, 101, 20), (2, 3, 101), (1, 0, 4), (0, 4, 4)]  # samples, points, dimensions
ODD = [-1e4, -200.0, -88.5, -87.5, -20.0, -1e-3, -1e-42, 0.0, 1e-42, 1e-3, 1.0, 20.0, 87.5, 88.5, 200.0, 1e4]


@pytest.fixture(params=["compiled", "PyTorch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "PyTorch":
        monkeypatch.setattr(path, "kernels", None)
    elif path.kernels is None:
        pytest.skip(path.description)
    return str(request.param)


def draw(*shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw numbers, in memory that begins one number after where an allocator would have it begin."""
    n = math.prod(shape)
    values = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul_(scale)
    return torch.empty(n + 1, dtype=dtype)[1:].copy_(values).view(shape)


def close(found: Tensor | None, expected: Tensor, rtol: float, atol: float) -> None:
    assert found is not None
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=atol, equal_nan=True)


def identity(n: int) -> native.Layer:
    """Return a layer of n units whose outputs are its inputs."""
    return native.Layer(torch.eye(n), torch.zeros(n))


@pytest.mark.parametrize("n", [0, *SIZES])
@pytest.mark.parametrize("k", SIZES)
@pytest.mark.parametrize("m", SIZES)
def test_a_layer_of_tanh_units(n: int, k: int, m: int, way: str) -> None:
    x, W, b = draw(n, k), draw(k, m, seed=1), draw(m, seed=2)
    u = x.double() @ W.double() + b.double()
    close(native.Layer(W, b).tanh(x), u.tanh(), 5e-6, 5e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 8.0, 100.0])
def test_tanh_to_a_few_units_in_the_last_place(scale: float, way: str) -> None:
    u = draw(40, 50, scale=scale)
    found = identity(u.shape[1]).tanh(u)
    close(found, u.double().tanh(), 6e-7, 1e-40)
    assert found.abs().max() <= 1.0


def test_tanh_keeps_what_is_no_number(way: str) -> None:
    u = torch.tensor([[math.inf], [-math.inf], [math.nan], [1e4], [-1e4]])
    assert identity(u.shape[1]).tanh(u).flatten().tolist() == pytest.approx([1, -1, math.nan, 1, -1], nan_ok=True)


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
@pytest.mark.parametrize(("k", "m"), [(1, 1), (7, 101), (101, 7)])
def test_layers_and_gradients_through_them(n: int, k: int, m: int, way: str) -> None:
    x, W, b, g = draw(n, k), draw(k, m, seed=1), draw(m, seed=2), draw(n, m, seed=3)
    wide_x, wide_W, wide_g = x.double(), W.double(), g.double()
    close(native.Layer(W, b).affine(x), wide_x @ wide_W + b.double(), 1e-5, 1e-5)
    h = x.tanh()  # as if it came from a layer before
    close(native.Layer(W, b).tanh_back(g, h), (wide_g @ wide_W.t()) * (1 - h.double().square()), 1e-5, 2e-5)
    behind = draw(n, m, seed=4).tanh()
    before = wide_g * (1 - behind.double().square())
    g_u, nothing = native.Layer(W, b).tanh_down(g.clone(), behind)
    close(g_u, before, 1e-6, 1e-6)
    assert nothing is None
    g_u, g_x = native.Layer(W, b).tanh_down(g.clone(), behind, x)
    close(g_u, before, 1e-6, 1e-6)
    close(g_x, before @ wide_W.t(), 1e-5, 2e-5)


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
    expected = closed_form(density, x, h, W, b, weight=0.25)
    found = observe(density, x, h, W, b, weight=0.25)
    scale = dim**0.5
    for one, other, atol in zip(found, expected, (1e-5 * scale, 1e-5, 1e-5 * scale), strict=True):
        close(one, other, 2e-5, atol)
    alone = observe(density, x, h, W, b, slope=False, down=False)
    close(alone[0], expected[0], 2e-5, 1e-5 * scale)
    assert alone[1] is None
    assert alone[2] is None
    down = observe(density, x, h, W, b, value=False, slope=False)
    close(down[2], 4.0 * expected[2], 2e-5, 4e-5 * scale)
    assert down[0] is None


def observe(density: str, x: Tensor, h: Tensor, W: Tensor, b: Tensor, **asked: object) -> native.Observed:
    asked = {"slope": True, "down": True} | asked
    named: Any = "squashed gaussian" if density == "squashed" else density
    return native.observed_layer(named, x, h, native.Layer(W, b), **asked)  # type: ignore[arg-type]


def closed_form(
    density: str, x: Tensor, h: Tensor, W: Tensor, b: Tensor, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p, and of weight times its sum the gradients by outputs and by h, by autograd in double precision."""
    x, h, W, b = (part.double() for part in (x, h, W, b))
    h.requires_grad_()
    a = h @ W + b
    a.retain_grad()
    each = x.repeat(len(h) // max(len(x), 1), 1) if len(x) else x
    if density == "bernoulli":
        log_p = (each * a - torch.nn.functional.softplus(a)).sum(-1)
    else:
        mean, log_var = a.chunk(2, -1)
        mean = mean.sigmoid() if density == "squashed" else mean
        log_p = torch.distributions.Normal(mean, (0.5 * log_var).exp(), validate_args=False).log_prob(each).sum(-1)
    (weight * log_p.sum()).backward()
    assert a.grad is not None
    assert h.grad is not None
    return log_p.detach().view(len(h) // len(x) if len(x) else 1, len(x)), a.grad, h.grad


@pytest.mark.parametrize("pixel", [0.0, 0.3, 1.0])
def test_extreme_logits(pixel: float, way: str) -> None:
    """One output a point; beyond 88 the odds overflow in single precision, which must show in neither value nor slope."""
    a = torch.tensor(ODD).unsqueeze(1)
    x = torch.full_like(a, pixel)
    found = native.observed_layer("bernoulli", x, a, identity(1), slope=True)
    wide = a.double()
    close(found.log_p, (pixel * wide - torch.nn.functional.softplus(wide)).t(), 1e-6, 1e-7)
    close(found.slope, pixel - wide.sigmoid(), 1e-6, 1e-7)


@pytest.mark.parametrize("log_var", [-60.0, -10.0, 0.0, 10.0, 60.0])
def test_extreme_variances(log_var: float, way: str) -> None:
    outputs = torch.tensor([[0.5, log_var]])
    found = native.observed_layer("gaussian", torch.tensor([[0.4]]), outputs, identity(2), slope=True)
    error, precision = 0.4 - 0.5, math.exp(-log_var)
    close(found.log_p, torch.tensor([[-0.5 * (error**2 * precision + log_var + math.log(2 * math.pi))]]), 1e-5, 1e-6)
    close(found.slope, torch.tensor([[error * precision, 0.5 * (error**2 * precision - 1)]]), 1e-5, 1e-6)


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("density", ["bernoulli", "squashed", "gaussian"])
def test_what_is_no_number_stays_none(density: str, where: str, way: str) -> None:
    """Divergence must be seen, whichever output it begins in."""
    dim = 230
    outputs = torch.zeros(3, dim * (1 if density == "bernoulli" else 2))
    outputs[1, {"first": 0, "middle": dim // 2, "last": dim - 1}[where]] = math.nan
    layer = identity(outputs.shape[1])
    found = observe(density, torch.full((3, dim), 0.5), outputs, layer.W, layer.b)
    assert found.log_p is not None
    assert found.slope is not None
    assert found.log_p.isfinite().tolist() == [[True, False, True]]
    assert found.slope.isfinite().all(-1).tolist() == [True, False, True]


@pytest.mark.parametrize(("samples", "points", "dim"), DRAWS)
def test_draws_from_gaussians(samples: int, points: int, dim: int, way: str) -> None:
    statistics, noise = draw(points, 2 * dim), draw(samples, points, dim, seed=1)
    g_z = draw(samples, points, dim, seed=2)
    wide = statistics.double().requires_grad_()
    mean, log_var = wide.chunk(2, -1)
    z = mean + (0.5 * log_var).exp() * noise.double()
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(-1)
    ((g_z.double() * z).sum() - 0.7 * kl.sum()).backward()
    found_z, moved, found_kl = native.gaussian_draw(statistics, noise)
    close(found_z, z.detach(), 1e-6, 1e-6)
    close(moved, (z - mean).detach(), 1e-6, 1e-6)
    close(found_kl, kl.detach(), 2e-6, 1e-6 * dim)
    assert wide.grad is not None
    close(native.gaussian_pull(statistics, moved, g_z, -0.7), wide.grad, 1e-5, 1e-5)


@pytest.mark.parametrize("n", [0, *SIZES])
@pytest.mark.parametrize(("k", "m"), [(1, 1), (7, 101), (101, 7), (96, 5), (97, 5), (200, 30)])
def test_adagrad_on_factors(k: int, m: int, n: int) -> None:
    if path.kernels is None:
        pytest.skip(path.description)
    a, g = draw(n, k), draw(n, m, seed=1)
    W, b, W_sums, b_sums = draw(k, m, seed=2), draw(m, seed=3), draw(k, m, seed=4).abs(), draw(m, seed=5).abs()
    before = [part.double() for part in (W, b, W_sums, b_sums)]
    native.Layer(W, b).adagrad(native.Layer(W_sums, b_sums), a, g, 0.1, 0.5)
    by_W = a.double().t() @ g.double() - 0.5 * before[0]
    by_b = g.double().sum(0)
    for value, sums, was, squares, by in (
        (W, W_sums, before[0], before[2], by_W),
        (b, b_sums, before[1], before[3], by_b),
    ):
        squares = squares + by.square()
        close(sums, squares, 1e-5, 1e-5)
        close(value, was + 0.1 * by / squares.sqrt(), 1e-5, 1e-5)


def test_compiled_primitives_refuse_other_shapes() -> None:
    """They read as much memory as the shapes say."""
    if path.kernels is None:
        pytest.skip(path.description)
    x, h, layer = torch.zeros(3, 5), torch.zeros(3, 4), native.Layer(torch.zeros(5, 4), torch.zeros(4))
    calls = [
        lambda: layer.tanh(h),
        lambda: layer.affine(h),
        lambda: layer.tanh_back(x, x),
        lambda: layer.tanh_back(h, h),
        lambda: layer.tanh_down(x.clone(), h),
        lambda: layer.tanh_down(h.clone(), x),
        lambda: layer.tanh_down(h.clone(), h, h),
        lambda: layer.tanh_down(h.clone(), h, x[1:]),
        lambda: layer.adagrad(layer, x, x, 0.1, 0.0),
        lambda: layer.adagrad(layer, h, h, 0.1, 0.0),
        lambda: layer.adagrad(native.Layer(torch.zeros(4, 5), torch.zeros(5)), x, h, 0.1, 0.0),
        lambda: native.observed_layer("bernoulli", h, h, layer),
        lambda: native.observed_layer("gaussian", h, x, layer),
        lambda: native.gaussian_draw(x, torch.zeros(2, 3, 2)),
        lambda: native.gaussian_score(x, torch.zeros(2, 3, 2)),
        lambda: native.gaussian_pull(h, torch.zeros(2, 3, 2), torch.zeros(1, 3, 2), 1.0),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"a tensor of shape \(.*\) is where one of \(.*\) belongs"):
            call()
    with pytest.raises(ValueError, match=r"a tensor of shape \(4,\) is where one of \(5,\) belongs"):
        native.Layer(torch.zeros(4, 5), torch.zeros(4))
    with pytest.raises(ValueError, match="2 rows of h do not belong to 3 points of x"):
        native.observed_layer("bernoulli", torch.zeros(3, 4), torch.zeros(2, 5), layer)
    with pytest.raises(ValueError, match="without gaps"):
        native.Layer(torch.zeros(4, 5).t(), torch.zeros(4)).adagrad(layer, x, h, 0.1, 0.0)
    with pytest.raises(ValueError, match="single precision"):
        layer.adagrad(layer, x.double(), h.double(), 0.1, 0.0)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_of_a_layer_computes_with_its_own_memory(copied: Any, way: str) -> None:
    layer = native.Layer(draw(3, 2), draw(2, seed=1))
    other, x = copied(layer), draw(4, 3, seed=2)
    if other.W.data_ptr() != layer.W.data_ptr():
        layer.W.zero_()
    close(other.tanh(x), torch.addmm(other.b, x, other.W).tanh(), 1e-6, 1e-6)
    if path.kernels is not None:
        assert other.at == (other.W.data_ptr(), other.b.data_ptr())


def test_numbers_of_other_types_are_pytorchs(way: str) -> None:
    x, W, b = (draw(*shape, dtype=torch.float64) for shape in ((3, 5), (5, 4), (4,)))
    assert native.Layer(W, b).tanh(x).equal((torch.addmm(b, x, W)).tanh())


def test_denormal_numbers_are_flushed_as_the_process_says() -> None:
    """The library keeps to the modes of the process, and changes none."""
    if path.kernels is None or not torch.set_flush_denormal(True):
        pytest.skip("no compiled library, or a processor that does not flush")
    try:
        tiny = torch.full((1, 1), 1e-20)
        tiny_layer = native.Layer(tiny, torch.zeros(1))
        tiny_layer.tanh(tiny)
        assert tiny_layer.tanh(tiny).item() == 0.0
        torch.set_flush_denormal(False)
        found = tiny_layer.tanh(tiny).item()
        assert found == pytest.approx(1e-40, rel=1e-3)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("m", [1, 2, *SIZES])
def test_a_triangle_and_the_matrix_that_it_belongs_to(m: int, way: str) -> None:
    above = draw(m * (m - 1) // 2)
    matrix = native.triangle(above, m)
    i, j = torch.triu_indices(m, m, 1)
    assert torch.equal(matrix[i, j], above)
    assert torch.equal(matrix.triu(1), matrix)
    assert torch.equal(native.of_triangle(matrix + torch.ones(m, m).tril(), torch.empty_like(above)), above)
    with pytest.raises(ValueError, match="is where one of"):
        native.triangle(draw(m * (m - 1) // 2 + 1), m)
    with pytest.raises(ValueError, match="is where one of"):
        native.of_triangle(matrix, torch.empty(m * (m + 1) // 2 + 1))


@pytest.mark.parametrize("n", [0, 1, 300])
@pytest.mark.parametrize("m", [*SIZES])
def test_units_that_are_drawn_one_after_the_other(n: int, m: int, way: str) -> None:
    """Against a loop in double precision with the same noise; weights below the diagonal count nothing."""
    a, U = draw(n, m), draw(m, m, seed=1, scale=0.5)
    found = native.ancestral(a.clone(), U, torch.Generator().manual_seed(3))
    noise = torch.rand(n, m, generator=torch.Generator().manual_seed(3)).double()
    units, near = torch.zeros(n, m, dtype=torch.float64), False
    for j in range(m):
        p = (a[:, j].double() + units[:, :j] @ U[:j, j].double()).sigmoid()
        near = near or bool(((noise[:, j] - p).abs() < 1e-6).any())
        units[:, j] = (noise[:, j] < p).double()
    assert near or torch.equal(found.double(), units)
    assert set(found.unique().tolist()) <= {0.0, 1.0}


def test_units_of_extreme_logits(way: str) -> None:
    a = torch.tensor([[-math.inf, -200.0, 200.0, math.inf, math.nan]]).repeat(50, 1)
    found = native.ancestral(a, torch.zeros(5, 5), torch.Generator().manual_seed(0))
    assert torch.equal(found, torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]]).repeat(50, 1))


def test_a_layer_without_inputs(way: str) -> None:
    """It has biases alone: its outputs, and its update."""
    b, g = draw(4), draw(3, 4, seed=1)
    layer, sums = native.Layer(torch.empty(0, 4), b.clone()), native.Layer(torch.empty(0, 4), torch.ones(4))
    assert torch.equal(layer.affine(torch.empty(3, 0)), b.expand(3, 4))
    close(layer.tanh(torch.empty(3, 0)), b.double().tanh().expand(3, 4), 1e-6, 1e-6)
    assert layer.tanh_back(g, torch.empty(3, 0)).shape == (3, 0)
    if way == "compiled":
        layer.adagrad(sums, torch.empty(3, 0), g, 0.1, 0.0)
        total = g.double().sum(0)
        close(layer.b, b.double() + 0.1 * total / (1 + total.square()).sqrt(), 1e-6, 1e-6)
