"""Values less their running mean, over their running standard deviation."""

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import ONE, require


def standardise(values: Tensor, mean: Tensor, variance: Tensor, decay: float, *, centre: bool, scale: bool) -> Tensor:
    """Return (values - mean) / max(1, √variance) of values (n, L); then take them into account in mean and variance (L,).

        mean ← decay · mean + (1 - decay) · mean of the values      and so the variance, in place

    Args:
        values: n of each of L kinds, at least one.
        mean: running mean, of values before these.
        variance: running variance, of values before these.
        decay: of both.
        centre: subtract the mean.
        scale: divide by the standard deviation, where that is above 1.
    """
    n, kinds = values.shape
    for moment in (mean, variance):
        require(moment, (kinds,))
    if n and path.serves(values, mean, variance) and mean.is_contiguous() and variance.is_contiguous():
        values, out = values.contiguous(), torch.empty_like(values)
        at = values.data_ptr(), mean.data_ptr(), variance.data_ptr(), out.data_ptr()
        path.kernels.standardise(n, kinds, centre, scale, *at, decay)
        return out
    out = values - mean if centre else values
    if scale:
        out = out / variance.sqrt().clamp(min=ONE.to(variance))
    for running, now in zip((variance, mean), torch.var_mean(values, 0, unbiased=False), strict=True):
        running.lerp_(now, 1 - decay)
    return out
