"""Binary units that are drawn one after the other, each given those before it."""

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import require

BLOCK = 32  # units after which those that follow are told of all of them by one product


def ancestral(a: Tensor, U: Tensor, rng: torch.Generator) -> Tensor:
    """Draw units u (n, m) one after the other:  u_j = 1 with probability σ(a_j + Σ_(i<j) u_i U_ij).

    Args:
        a: logits (n, m), which may be overwritten.
        U: weights (m, m), of which those above the diagonal count.
        rng: draws them.
    """
    require(U, (a.shape[-1], a.shape[-1]))
    noise = torch.rand(a.shape, generator=rng, dtype=a.dtype, device=a.device)
    if path.serves(a, U) and a.is_contiguous() and U.is_contiguous():
        path.kernels.ancestral(*a.shape, a.data_ptr(), U.data_ptr(), noise.data_ptr())
        return noise
    units = torch.empty_like(noise)
    m = a.shape[-1]
    for begin in range(0, m, BLOCK):
        end = min(begin + BLOCK, m)
        here = a[:, begin:end] + units[:, :begin] @ U[:begin, begin:end]
        for j in range(begin, end):
            unit = (noise[:, j] < here[:, j - begin].sigmoid()).to(a.dtype)
            units[:, j] = unit
            here[:, j - begin + 1 :] += unit.unsqueeze(1) * U[j, j + 1 : end]
    return units


def triangle(above: Tensor, m: int) -> Tensor:
    """Return the matrix (m, m) that has these numbers (m (m - 1) / 2,) above its diagonal, row by row, and zeros elsewhere."""
    require(above, (m * (m - 1) // 2,))
    if path.serves(above) and above.is_contiguous() and not above.requires_grad:
        out = above.new_empty(m, m)
        path.kernels.triangle(m, above.data_ptr(), out.data_ptr())
        return out
    return above.new_zeros(m, m).masked_scatter(_above(m, above.device), above)


def of_triangle(matrix: Tensor, out: Tensor) -> Tensor:
    """Write the numbers above the diagonal of a matrix (m, m), row by row, to out (m (m - 1) / 2,), and return it."""
    m = len(matrix)
    require(matrix, (m, m))
    require(out, (m * (m - 1) // 2,))
    if path.serves(matrix, out) and matrix.is_contiguous() and out.is_contiguous():
        path.kernels.of_triangle(m, matrix.data_ptr(), out.data_ptr())
        return out
    return out.copy_(matrix[_above(m, matrix.device)])


def _above(m: int, device: torch.device) -> Tensor:
    return torch.ones(m, m, dtype=torch.bool, device=device).triu(1)
