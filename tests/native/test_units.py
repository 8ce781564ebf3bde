"""Binary units that are drawn one after the other, compiled and by PyTorch alone, and the matrices of their weights."""

import math

import pytest
import torch
from stacks import SIZES, draw

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
