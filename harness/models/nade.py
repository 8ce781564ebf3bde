"""Neural autoregressive distribution estimator: every bit is given those before it in an order, by a layer of hidden units.

Hugo Larochelle and Iain Murray, "The neural autoregressive distribution estimator" (AISTATS 2011). In an order o of the bits,
which the seed draws once and for all,

    p(x) = Π_i Bernoulli(x_oi; σ(b_oi + V_oi · h_i))      h_i = σ(c + Σ_(j<i) x_oj W_oj)

With several orders it is the mean of as many such p(x), which share their parameters: every order is one sample a point, and
takes as long as one alone.

A point costs three products of D · H numbers for its density and gradient, and twice H logistic functions for every bit that is
1, as hidden units change behind those alone; compiled code has the loops. Drawing x has one over bits.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact"


class Config(api.Config):
    """Sizes, initialisation and prior."""

    hidden: int = api.setting(500, "H, hidden units", gt=0)
    orders: int = api.setting(1, "orders of the bits, of which p(x) is the mean", gt=0)
    init_sd: float = api.setting(0.05, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["Nade", None]:
    """Return a new model, whose biases b are the log odds of the data's mean; it has no latents, and no recognition model."""
    model = Nade(config, data, api.orders(data.dim, config.orders, streams("orders of bits")), dtype)
    with torch.no_grad():
        flat, b = model.params.flat[: model.params.n_weights], model.params.views[2]
        flat.normal_(0.0, config.init_sd, generator=streams("initial decoder"))
        b.copy_(data.mean.clamp(0.001, 0.999).logit())
    return model, None


class Nade:
    """p(x). Parameters: W and V (D, H), b (D,), c (H,).

    Attributes:
        orders: how many there are.
    """

    normalised = True

    def __init__(self, config: Config, data: api.DataFacts, orders: Tensor, dtype: torch.dtype):
        self.kind, self.dim = data.kind, data.dim
        self.orders, self._orders = len(orders), orders
        shape = (data.dim, config.hidden)
        biases = {"b": (data.dim,), "c": (config.hidden,)}
        self.params = api.Parameters({"W": shape, "V": shape}, biases, prior_sd=config.prior_sd, dtype=dtype)

    @api.metered(samples=True, rows="decoder", count="x", times="orders")
    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of bits x (B, D), (B,)."""
        if self.orders == 1:
            return self.log_p_in_order(x, 0)
        each = torch.stack([self.log_p_in_order(x, k) for k in range(self.orders)])  # (K, B)
        return each.logsumexp(0) - math.log(self.orders)

    def log_p_in_order(self, x: Tensor, k: int) -> Tensor:
        """Return log p(x) in the order of this number, (B,)."""
        order = self._orders[k].to(x.device)
        log_p: Tensor = _LogP.apply(self.params.flat, self.params, x, order, torch.is_grad_enabled())
        return log_p

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D), a bit after the other, each point in an order of its own."""
        W, V, b, c = self.params.views
        x, noise = W.new_zeros(n, self.dim), torch.rand(n, self.dim, generator=rng, dtype=W.dtype, device=W.device)
        which = torch.randint(self.orders, (n,), generator=rng, device=W.device)
        a, row = c.repeat(n, 1), torch.arange(n, device=W.device)
        for d in self._orders.to(W.device)[which].unbind(1):  # (n,)
            p = (b[d] + torch.linalg.vecdot(a.sigmoid(), V[d])).sigmoid()
            x[row, d] = bit = (noise[row, d] < p).to(W.dtype)
            a += bit.unsqueeze(-1) * W[d]
        return x


class _LogP(api.MeteredFunction):
    """log p(x) in one order, by the primitives of `api.native`."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, params: api.Parameters, x: Tensor, order: Tensor, keep: bool) -> Tensor:
        a, states = api.native.nade_up(x, order, api.native.NadeParameters(*params.views), keep)
        ctx.params = params
        ctx.save_for_backward(x, order, a, states)
        log_p: Tensor = torch.linalg.vecdot(x, a) - softplus(a).sum(-1)
        return log_p

    @staticmethod
    def backward(ctx: Any, *weight: Tensor) -> tuple[Tensor, None, None, None, None]:
        api.MeteredFunction.enter(ctx)
        x, order, a, states = ctx.saved_tensors
        slope = (x - a.sigmoid()) * weight[0].unsqueeze(-1)  # (B, D)
        flat = torch.empty_like(ctx.params.flat)
        out = api.native.NadeParameters(*ctx.params.split(flat))
        api.native.nade_down(x, order, api.native.NadeParameters(*ctx.params.views), states, slope, out)
        return flat, None, None, None, None
