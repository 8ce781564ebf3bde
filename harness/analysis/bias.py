"""Whether the mean of a high-dimensional estimate is where it should be, by the means of a few independent groups of draws.

With group means d_1 … d_G, each less what it should be, inner products of different groups have no noise on average: E[d_g · d_h]
is |bias|². Song Xi Chen and Ying-Li Qin, "A two-sample test for high-dimensional data" (2010), Annals of Statistics 38, test by
their mean, whose distribution without a bias depends on how coordinates are correlated. Here it is that of random signs of the
groups, which is right for any correlation where group means are distributed symmetrically.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FLIPS = 50_000
"""Random signs; a p-value is not below one in so many."""


class Bias(NamedTuple):
    """What group means say of a bias.

    Attributes:
        size: an estimate of |bias|, 0 where the noise is larger.
        limit: the size that two standard errors of the noise have: a smaller one is not seen.
        p: how often noise alone looks at least as biased.
    """

    size: float
    limit: float
    p: float


def bias(products: NDArray[Any]) -> Bias:
    """Return what is known of a bias.

    Args:
        products: d_g · d_h of all groups (G, G).
    """
    n = len(products)
    off = products[~np.eye(n, dtype=bool)]
    square = float(off.mean())
    error = math.sqrt(2 * float(np.mean(off**2)) / (n * (n - 1)))  # where there is no bias
    signs = _signs(n)
    flipped = np.einsum("fg,fg->f", signs @ products, signs) - float(np.trace(products))
    as_large = int((flipped >= n * (n - 1) * square * (1 - 1e-9)).sum())
    return Bias(math.sqrt(max(square, 0.0)), math.sqrt(2 * error), (1 + as_large) / (1 + FLIPS))


@functools.cache
def _signs(n: int) -> NDArray[Any]:
    return np.random.default_rng(0).choice((-1.0, 1.0), (FLIPS, n))


def size(products: NDArray[Any]) -> float:
    """Return an estimate of the length of what vectors v_g estimate without bias, of v_g · v_h of all groups (G, G)."""
    off = products[~np.eye(len(products), dtype=bool)]
    return math.sqrt(max(float(off.mean()), 0.0))
