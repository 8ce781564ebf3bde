"""Fully visible sigmoid belief net: every bit is given those before it, by logistic regression.

Brendan Frey, "Graphical models for machine learning and digital communication" (1998); the form of Radford Neal, "Connectionist
learning of belief networks" (1992), Artificial Intelligence 56, without latents:

    p(x) = Π_d Bernoulli(x_d; σ(Σ_(i<d) x_i U_id + b_d))

A point costs one product with the triangle U for its density, and another for its gradient, without a loop over bits. Drawing x
has one. Bits are taken in the order of the data.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact"


class Config(api.Config):
    """Initialisation and prior."""

    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["VisibleBeliefNet", None]:
    """Return a new net, whose biases are the log odds of the data's mean; it has no latents, and no recognition model."""
    net = VisibleBeliefNet(config, data, dtype)
    U, b = net.params.views
    with torch.no_grad():
        U.normal_(0.0, config.init_sd, generator=streams("initial decoder"))
        b.copy_(data.mean.clamp(0.001, 0.999).logit())
    return net, None


class VisibleBeliefNet:
    """p(x). Parameters: what U has above its diagonal, row by row, (D (D - 1) / 2,), and b (D,)."""

    normalised = True

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        self.kind, self.dim = data.kind, data.dim
        weights, biases = {"U": (data.dim * (data.dim - 1) // 2,)}, {"b": (data.dim,)}
        self.params = api.Parameters(weights, biases, prior_sd=config.prior_sd, dtype=dtype)

    def _triangle(self) -> Tensor:
        """Return U (D, D)."""
        return api.native.triangle(self.params.views[0], self.dim)

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of x (B, D), (B,)."""
        log_p: Tensor = _LogP.apply(self.params.flat, self, x)
        return log_p

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D), a bit after the other."""
        return api.native.ancestral(self.params.views[1].repeat(n, 1), self._triangle(), rng)[0]


class _LogP(api.MeteredFunction):
    """log p(x) with a gradient that stays a triangle."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, net: VisibleBeliefNet, x: Tensor) -> Tensor:
        a = torch.addmm(net.params.views[1], x, net._triangle())
        ctx.net = net
        ctx.save_for_backward(x, a)
        log_p: Tensor = torch.linalg.vecdot(x, a) - softplus(a).sum(-1)
        return log_p

    @staticmethod
    def backward(ctx: Any, *weight: Tensor) -> tuple[Tensor, None, None]:
        api.MeteredFunction.enter(ctx)
        x, a = ctx.saved_tensors
        slope = (x - a.sigmoid()) * weight[0].unsqueeze(-1)  # (B, D)
        flat = torch.empty_like(ctx.net.params.flat)
        by_U, by_b = ctx.net.params.split(flat)
        api.native.of_triangle(x.t() @ slope, by_U)
        torch.sum(slope, 0, out=by_b)
        return flat, None, None
