"""Binary units: drawn at once, or one after the other, each given those before it; and their density."""

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import require, rows

BLOCK = 32  # units after which those that follow are told of all of them by one product


def draw_units(a: Tensor, shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Draw units (*shape, m), 1 with probability σ(a), of logits a (m,), (B, m) or (*shape, m), where shape ends in B."""
    m = a.shape[-1]
    noise = torch.rand((*shape, m), generator=rng, dtype=a.dtype, device=a.device)
    if path.serves(a):
        require(a, noise.shape[-a.ndim :])
        points, n, a = rows(a, m), noise.numel() // m, a.contiguous()
        path.kernels.units_draw(n, points, m, a.data_ptr(), noise.data_ptr())
        return noise
    return torch.lt(noise, a.sigmoid(), out=noise)


def score_units(u: Tensor, a: Tensor, out: Tensor) -> Tensor:
    """Write log p(u) given logits a, each (m,), (B, m) or (S, B, m), to out (S, B), and return its slopes u - σ(a) (S, B, m)."""
    if path.serves(u, a, out) and out.is_contiguous():
        m = a.shape[-1]
        shape = (*out.shape, m)
        for part in (u, a):
            require(part, shape[-part.ndim :])
        u, a, slope = u.contiguous(), a.contiguous(), u.new_empty(shape)
        at = u.data_ptr(), a.data_ptr(), out.data_ptr(), slope.data_ptr()
        path.kernels.units_score(out.numel(), rows(u, m), rows(a, m), m, *at)
        return slope
    out.copy_(torch.linalg.vecdot(u, a) - torch.nn.functional.softplus(a).sum(-1))
    return u - a.sigmoid()


def ancestral(a: Tensor, U: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw units u (n, m) one after the other:  u_j = 1 with probability σ(a_j + Σ_(i<j) u_i U_ij).

    Return them with the logits that they were drawn by, for which the memory of a is used.

    Args:
        a: a (n, m).
        U: weights (m, m), of which those above the diagonal count.
        rng: draws them.
    """
    require(U, (a.shape[-1], a.shape[-1]))
    noise = torch.rand(a.shape, generator=rng, dtype=a.dtype, device=a.device)
    if path.serves(a, U) and a.is_contiguous() and U.is_contiguous():
        path.kernels.ancestral(*a.shape, a.data_ptr(), U.data_ptr(), noise.data_ptr())
        return noise, a
    units = torch.empty_like(noise)
    m = a.shape[-1]
    for begin in range(0, m, BLOCK):
        end = min(begin + BLOCK, m)
        here = a[:, begin:end].addmm_(units[:, :begin], U[:begin, begin:end])
        for j in range(begin, end):
            unit = (noise[:, j] < here[:, j - begin].sigmoid()).to(a.dtype)
            units[:, j] = unit
            here[:, j - begin + 1 :] += unit.unsqueeze(1) * U[j, j + 1 : end]
    return units, a


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
