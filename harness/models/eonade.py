"""Order-agnostic NADE: one network gives any bit the probability of a 1 given any others, so it has a density in every order.

Benigno Uria, Iain Murray and Hugo Larochelle, "A deep and tractable density estimator" (ICML 2014), arXiv 1310.1757. Of bits x of
which those of a mask m are seen, with one or two layers of hidden units,

    h = relu(x∘m W + m R + c)    h = relu(h W₂ + c₂)    p(x_d = 1 | seen) = σ(b_d + V_d · h)

In an order o,  p(x) = Π_i p(x_oi | x_oj, j < i),  which costs the network once for every bit: D · H numbers with one layer, and a
product of D · H² with two. p(x) is the mean over `--orders` orders that the seed draws, each of which is a sample a point; the
estimator `order-ensemble` takes others.

Training has no order: with each bit seen or not at random, it ascends an estimate of E_o[log p(x)] over all orders, their
eqs. (4) to (6), at the cost of the network once, and one sample a point.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact"
NUMBERS = 2_000_000  # hidden units of so many bits and points are computed at a time, which stay in cache or nearly so


class Config(api.Config):
    """Sizes, orders, initialisation and prior."""

    hidden: int = api.setting(500, "H, hidden units of a layer", gt=0)
    depth: Literal[1, 2] = api.setting(2, "layers of hidden units")
    orders: int = api.setting(1, "orders of the bits, of which p(x) is the mean; training does without", gt=0)
    init_sd: float = api.setting(0.05, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["OrderAgnosticNade", None]:
    """Return a new model, whose biases b are the log odds of the data's mean; it has no latents, and no recognition model."""
    model = OrderAgnosticNade(config, data, api.orders(data.dim, config.orders, streams("orders of bits")), dtype)
    with torch.no_grad():
        flat, b = model.params.flat[: model.params.n_weights], model.params.views[-1]
        flat.normal_(0.0, config.init_sd, generator=streams("initial decoder"))
        b.copy_(data.mean.clamp(0.001, 0.999).logit())
    return model, None


class OrderAgnosticNade:
    """p(x) in any order. Parameters: W, R and V (D, H), W₂ (H, H), c and c₂ (H,), b (D,).

    Attributes:
        orders: of how many p(x) is the mean.
    """

    normalised = True

    def __init__(self, config: Config, data: api.DataFacts, orders: Tensor, dtype: torch.dtype):
        self.kind, self.dim = data.kind, data.dim
        self.orders, self._orders, self._deep = len(orders), orders, config.depth == 2
        D, H = data.dim, config.hidden
        weights = {"W": (D, H), "R": (D, H), "V": (D, H)} | ({"W2": (H, H)} if self._deep else {})
        biases = {"c": (H,)} | ({"c2": (H,)} if self._deep else {}) | {"b": (D,)}
        self.params = api.Parameters(weights, biases, prior_sd=config.prior_sd, dtype=dtype)
        self._n_weights = len(weights)

    def _second(self, h: Tensor, parts: list[Tensor]) -> Tensor:
        """Return what a second layer, if there is one, makes of the first, (..., H)."""
        return torch.addmm(parts[5], h.flatten(0, -2), parts[3]).relu().view(h.shape) if self._deep else h

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x_agnostic(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return an unbiased estimate of E_o[log p(x)] over all orders of bits x (B, D), (B,).

        A share of bits that is uniform on (0, 1) is seen, so that every number of them from 0 to D is as likely as any other.
        """
        share = torch.rand(len(x), 1, generator=rng, dtype=x.dtype, device=x.device)
        return self.log_p_masked(x, api.bernoulli(share.expand_as(x), rng))

    def log_p_masked(self, x: Tensor, m: Tensor) -> Tensor:
        """Return (D + 1) times the mean log-probability of those bits of x (B, D) that m (B, D) does not show, (B,).

        Its mean over masks, with every number of bits from 0 to D as likely to be seen, is E_o[log p(x)]: each of the D numbers
        below D has probability 1 / (D + 1), and stands for one factor of p(x).
        """
        parts = self.params.split()
        W, R, V = parts[:3]
        c, b = parts[self._n_weights], parts[-1]
        a = self._second((c + (x * m) @ W + m @ R).relu(), parts) @ V.t() + b
        hidden = 1.0 - m
        return (self.dim + 1) * (hidden * (x * a - softplus(a))).sum(-1) / hidden.sum(-1).clamp(min=1.0)

    @api.metered(samples=True, rows="decoder", count="x", times="orders")
    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of bits x (B, D), (B,)."""
        return self.log_p_x_in(x, self._orders)

    @api.metered(samples=True, rows="decoder", count="x", times="orders")
    def log_p_x_in(self, x: Tensor, orders: Tensor) -> Tensor:
        """Return the log of the mean of p(x) over orders (K, D), (B,)."""
        each = torch.stack([self._in_order(x, order) for order in orders.to(x.device)])  # (K, B)
        return each.logsumexp(0) - math.log(len(each))

    def _in_order(self, x: Tensor, order: Tensor) -> Tensor:
        parts = self.params.split()
        W, R, V = parts[:3]
        c, b = parts[self._n_weights], parts[-1]
        seen, log_p = c.expand(len(x), -1), x.new_zeros(len(x))
        for block in order.split(max(1, NUMBERS // max(1, seen.numel()))):
            bits = x[:, block]  # (B, P)
            each = bits.unsqueeze(-1) * W[block] + R[block]  # what seeing a bit adds, (B, P, H)
            before = torch.cat([seen.unsqueeze(1), each[:, :-1]], dim=1).cumsum(1)
            a = torch.linalg.vecdot(self._second(before.relu(), parts), V[block]) + b[block]
            log_p = log_p + (bits * a - softplus(a)).sum(-1)
            seen = before[:, -1] + each[:, -1]
        return log_p

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D), a bit after the other, each point in one of the orders."""
        parts = self.params.views
        W, R, V = parts[:3]
        c, b = parts[self._n_weights], parts[-1]
        which = torch.randint(len(self._orders), (n,), generator=rng, device=W.device)
        x, seen, row = W.new_zeros(n, self.dim), c.repeat(n, 1), torch.arange(n, device=W.device)
        for d in self._orders.to(W.device)[which].unbind(1):  # (n,)
            p = (b[d] + torch.linalg.vecdot(self._second(seen.relu(), parts), V[d])).sigmoid()
            x[row, d] = bit = api.bernoulli(p, rng)
            seen += bit.unsqueeze(-1) * W[d] + R[d]
        return x
