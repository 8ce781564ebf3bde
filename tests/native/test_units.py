"""Binary units, compiled and by PyTorch alone: drawn at once or one after the other, their density, and matrices of weights."""

import math

import pytest
import torch
from stacks import SIZES, close, draw

from harness import native


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
    found, drawn_by = native.ancestral(a.clone(), U, torch.Generator().manual_seed(3))
    noise = torch.rand(n, m, generator=torch.Generator().manual_seed(3)).double()
    units, near = torch.zeros(n, m, dtype=torch.float64), False
    for j in range(m):
        p = (a[:, j].double() + units[:, :j] @ U[:j, j].double()).sigmoid()
        near = near or bool(((noise[:, j] - p).abs() < 1e-6).any())
        units[:, j] = (noise[:, j] < p).double()
    assert near or torch.equal(found.double(), units)
    close(drawn_by, a.double() + found.double() @ U.double().triu(1), 1e-4, 1e-5)
    assert set(found.unique().tolist()) <= {0.0, 1.0}


def test_units_of_extreme_logits(way: str) -> None:
    a = torch.tensor([[-math.inf, -200.0, 200.0, math.inf, math.nan]]).repeat(50, 1)
    expected = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.0]]).repeat(50, 1)
    assert torch.equal(native.draw_units(a, (50,), torch.Generator().manual_seed(0)), expected)
    found, _ = native.ancestral(a, torch.zeros(5, 5), torch.Generator().manual_seed(0))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("shape", [(), (4,), (3, 4)])
def test_units_that_are_drawn_at_once(shape: tuple[int, ...], m: int, way: str) -> None:
    """With the same noise as the comparison in double precision; logits are shared by the dimensions that they lack."""
    a = draw(*shape, m, scale=3.0)
    found = native.draw_units(a, (3, 4), torch.Generator().manual_seed(3))
    noise = torch.rand(3, 4, m, generator=torch.Generator().manual_seed(3)).double()
    p = a.double().sigmoid().expand(3, 4, m)
    assert torch.equal(found.double(), (noise < p).double()) or bool(((noise - p).abs() < 1e-6).any())


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("of_u", [(4,), (3, 4)])
@pytest.mark.parametrize("of_a", [(), (4,), (3, 4)])
def test_density_of_units(of_a: tuple[int, ...], of_u: tuple[int, ...], m: int, way: str) -> None:
    u, a, log_p = draw(*of_u, m).gt(0).float(), draw(*of_a, m, seed=1, scale=30.0), torch.empty(3, 4)
    if len(of_a) == len(of_u) == 1:
        log_p = torch.empty(1, 4)
    slope = native.score_units(u, a, log_p)
    wide_a = a.double()
    expected = (u.double() * wide_a - torch.nn.functional.softplus(wide_a)).sum(-1)
    close(log_p, expected.expand_as(log_p), 1e-5, 1e-5)
    close(slope, (u.double() - wide_a.sigmoid()).expand_as(slope), 1e-5, 1e-6)


@pytest.mark.parametrize("magnitude", [200.0, 1e4, math.inf])
def test_density_of_units_of_extreme_logits(magnitude: float, way: str) -> None:
    a = torch.tensor([[magnitude, -magnitude], [magnitude, -magnitude]])
    u, log_p = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.empty(1, 2)
    slope = native.score_units(u, a, log_p)
    assert log_p[0, 1].item() == -2 * magnitude or math.isnan(log_p[0, 1].item())
    if magnitude < math.inf:
        assert log_p[0, 0].item() == 0.0
        assert torch.equal(slope.view(2, 2), torch.tensor([[0.0, 0.0], [-1.0, 1.0]]))


@pytest.mark.parametrize(("centre", "scale"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("n", [1, 20])
def test_values_less_their_running_moments(n: int, centre: bool, scale: bool, way: str) -> None:
    """A kind with a variance below 1 is not divided; the moments go on afterwards, with the variance that divides by n."""
    values, mean, variance = draw(n, 2) * 3 - 100, torch.tensor([-90.0, 5.0]), torch.tensor([4.0, 0.25])
    found = native.standardise(values, mean, variance, 0.8, centre=centre, scale=scale)
    wide_values = values.double()
    expected = wide_values - torch.tensor([-90.0, 5.0]) if centre else wide_values
    close(found, expected / torch.tensor([2.0, 1.0]) if scale else expected, 1e-6, 1e-6)
    close(mean, 0.8 * torch.tensor([-90.0, 5.0]).double() + 0.2 * wide_values.mean(0), 1e-6, 1e-6)
    close(variance, 0.8 * torch.tensor([4.0, 0.25]).double() + 0.2 * wide_values.var(0, unbiased=False), 1e-5, 1e-5)
