"""Pareto k-hat of importance weights: whether the mean of a sample of them can be trusted.

Aki Vehtari, Daniel Simpson, Andrew Gelman, Yuling Yao and Jonah Gabry, "Pareto smoothed importance sampling", JMLR 25 (2024),
arXiv 1507.02646. The largest weights are fitted by a generalised Pareto distribution, of which moments below 1/k exist. Above
k = 0.7 the number of samples that a mean of weights needs is out of reach, and its stated error is far too small.

The fit is that of Jin Zhang and Michael Stephens, "A new and efficient estimation method for the generalized Pareto
distribution", Technometrics 51 (2009), with the weak prior of the former (appendix C), which counts as 10 weights at k = 0.5.
"""

import math

import torch
from torch import Tensor

LIMIT = 0.7  # above this k-hat, a mean of weights is not to be trusted

FEWEST = 5  # weights that a tail can be fitted to

PRIOR = 10.0, 0.5  # as so many weights more, at this k

NEGLIGIBLE = 0.01  # of the mean, what too few large weights to fit may add to it: 0.01 nat


def tail_length(n: int) -> int:
    """Return how many of n weights are the tail, M of Vehtari et al.: a fifth of a few, 3 √n of many."""
    return math.ceil(min(n / 5, 3 * math.sqrt(n)))


def k_hat(log_w: Tensor) -> Tensor | None:
    """Return k-hat (B,) of log weights (S, B); None where there are too few to tell. See `Tail.k_hat`."""
    tail = Tail(len(log_w))
    tail.add(log_w)
    return tail.k_hat()


class Tail:
    """The largest weights of each point, of weights that come a part at a time.

    Args:
        n: how many there will be for each point.
    """

    def __init__(self, n: int):
        self._length = tail_length(n)
        self._kept: list[Tensor] = []  # log weights, (·, B) each, the largest so far among them
        self._rows = 0
        self._log_sum: Tensor | None = None

    def add(self, log_w: Tensor) -> None:
        """Take in log weights (S, B)."""
        log_w = log_w.double()
        log_sum = log_w.logsumexp(0)
        self._log_sum = log_sum if self._log_sum is None else torch.logaddexp(self._log_sum, log_sum)
        self._kept.append(log_w)
        self._rows += len(log_w)
        if self._rows > 2 * (self._length + 1):
            self._kept = [torch.cat(self._kept).topk(self._length + 1, dim=0).values]
            self._rows = self._length + 1

    def k_hat(self) -> Tensor | None:
        """Return k-hat of each point's weights (B,); None where there are too few weights to tell.

        Where fewer than `FEWEST` weights are larger than all outside the tail, as weights of a few bits have many ties, it is
        infinite if the mean depends on them, and minus infinity if not. It is NaN where a weight is.
        """
        if self._length < FEWEST or self._log_sum is None:
            return None
        largest = torch.cat(self._kept).topk(self._length + 1, dim=0).values  # (M + 1, B), falling
        relative = (largest - largest[0]).exp()
        over = relative[:-1] - relative[-1]  # (M, B), what exceeds the weights outside the tail
        excess = over.sum(0) * (largest[0] - self._log_sum).exp()  # as a fraction of the sum of all weights
        too_few = torch.where(excess <= NEGLIGIBLE, -math.inf, math.inf)
        k = torch.where((over > 0).sum(0) < FEWEST, too_few, _fitted(over))
        return torch.where(self._log_sum.isnan(), math.nan, k)


def _fitted(x: Tensor) -> Tensor:
    """Return k (B,) of generalised Pareto distributions fitted to the positive ones of x (M, B), which fall along M."""
    n = (x > 0).sum(0)  # (B,)
    quartile = x.gather(0, (n - (n / 4 + 0.5).long()).clamp(0, len(x) - 1).unsqueeze(0)).squeeze(0)
    size = 30 + math.isqrt(len(x))
    place = torch.arange(1, size + 1, dtype=x.dtype, device=x.device).unsqueeze(1) - 0.5
    theta = 1 / x[0] + (1 - (size / place).sqrt()) / (3 * quartile)  # (T, B), eq. (8) of Zhang & Stephens

    def shape(theta: Tensor) -> Tensor:
        return torch.log1p(-theta * x).sum(0) / n  # (B,), as log1p(0) = 0 of those that are not positive

    k = torch.stack([shape(one) for one in theta])  # (T, B)
    likelihood = n * ((-theta / k).log() - k - 1)
    weights = likelihood.nan_to_num(nan=-math.inf).softmax(0)
    k = shape((theta * weights).sum(0))
    counts, at = PRIOR
    return (n * k + counts * at) / (n + counts)
