"""Restricted Boltzmann machine: an undirected model of bits and hidden units, with no connection within either.

Paul Smolensky, "Information processing in dynamical systems: foundations of harmony theory" (1986); free energy and block Gibbs
moves as Geoffrey Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14 (2002). With
hidden units h of 0 and 1,

    p(x) = f(x) / Z      f(x) = Σ_h exp(x·b + h·c + xᵀ W h) = exp(x·b) Π_j (1 + exp(c + xᵀ W)_j)

log Z is unknown, and for an estimator. Annealing goes as Ruslan Salakhutdinov and Iain Murray, "On the quantitative analysis of
deep belief networks" (ICML 2008), from independent bits of logits a, the base rates of the data:

    f_β(x) = exp((1 - β) x·a + β x·b) Π_j (1 + exp β (c + xᵀ W)_j)      log Z_0 = H log 2 + Σ_d log(1 + exp a_d)

A point costs one product with W for log f(x), and another for its gradient; a move of a chain, two, annealed or not.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "log-z-ais"
SWEEPS = 1000  # Gibbs moves from the base rates to a draw


class Config(api.Config):
    """Size, initialisation and prior."""

    hidden: int = api.setting(500, "H, hidden units", gt=0)
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["Rbm", None]:
    """Return a new machine, whose biases b are the log odds of the data's mean; its hidden units are summed over."""
    model = Rbm(config, data, dtype)
    W, b, _ = model.params.views
    with torch.no_grad():
        W.normal_(0.0, config.init_sd, generator=streams("initial decoder"))
        b.copy_(data.mean.clamp(0.001, 0.999).logit())
    return model, None


class Rbm(api.UnnormalisedModel):
    """p(x). Parameters: W (D, H), b (D,), c (H,).

    Attributes:
        hidden: H.
    """

    normalised = False

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        self.kind, self.dim, self.hidden = data.kind, data.dim, config.hidden
        self._a = data.mean.clamp(0.001, 0.999).logit().to(dtype)
        biases = {"b": (data.dim,), "c": (config.hidden,)}
        self.params = api.Parameters({"W": (data.dim, config.hidden)}, biases, prior_sd=config.prior_sd, dtype=dtype)

    @api.metered(samples=True, rows="decoder", count="x")
    def log_f_x(self, x: Tensor) -> Tensor:
        """Return log f(x) of x (B, D), (B,)."""
        log_f: Tensor = _LogF.apply(self.params.flat, self.params, x)
        return log_f

    @api.metered(rows="decoder", count="h")
    @torch.no_grad()
    def log_f_h(self, h: Tensor) -> Tensor:
        """Return log Σ_x f(x, h) of h (B, H), (B,)."""
        W, b, c = self.params.views
        return h @ c + softplus(torch.addmm(b, h, W.t())).sum(-1)

    @api.metered(samples=True, rows="decoder", count="x")
    @torch.no_grad()
    def gibbs(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return x (C, D) after drawing h given x, and x given h."""
        W, b, c = self.params.views
        h = api.native.draw_units(torch.addmm(c, x, W), x.shape[:1], rng)  # (C, H)
        return api.native.draw_units(torch.addmm(b, h, W.t()), x.shape[:1], rng)

    @api.metered(fantasies=True, rows="decoder", count="n")
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D), each by a long chain, so that it is from p(x) as far as the chain has come."""
        x = self.sample_base(n, rng)
        for _ in range(SWEEPS):
            x = self.gibbs(x, rng)
        return x

    @api.metered()
    def log_z_base(self) -> Tensor:
        """Return log Z_0."""
        return self.hidden * math.log(2.0) + softplus(self._base()).sum()

    @api.metered()
    @torch.no_grad()
    def sample_base(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) of independent bits with logits a."""
        return api.native.draw_units(self._base(), (n,), rng)

    @api.metered(samples=True, rows="decoder", count="x")
    @torch.no_grad()
    def anneal(self, x: Tensor, before: float, after: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log f_after(x) - log f_before(x) of x (C, D), (C,), and x after a Gibbs move of f_after."""
        (W, b, c), a = self.params.views, self._base()
        logits = torch.addmm(c, x, W)  # (C, H)
        now = after * logits
        log_ratio = (after - before) * (x @ (b - a)) + (softplus(now) - softplus(before * logits)).sum(-1)
        h = api.native.draw_units(now, x.shape[:1], rng)
        given_h = torch.addmm((1 - after) * a + after * b, h, W.t(), alpha=after)
        return log_ratio, api.native.draw_units(given_h, x.shape[:1], rng)

    def _base(self) -> Tensor:
        """Return a (D,), where the parameters are."""
        return self._a.to(self.params.flat.device)


class _LogF(api.MeteredFunction):
    """log f(x), with a gradient in one product."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, params: api.Parameters, x: Tensor) -> Tensor:
        W, b, c = params.views
        logits = torch.addmm(c, x, W)  # (B, H)
        ctx.params = params
        ctx.save_for_backward(x, logits)
        return x @ b + softplus(logits).sum(-1)

    @staticmethod
    def backward(ctx: Any, *weight: Tensor) -> tuple[Tensor, None, None]:
        api.MeteredFunction.enter(ctx)
        x, logits = ctx.saved_tensors
        h = logits.sigmoid().mul_(weight[0].unsqueeze(-1))  # weight · p(h = 1|x), (B, H)
        flat = torch.empty_like(ctx.params.flat)
        by_W, by_b, by_c = ctx.params.split(flat)
        torch.mm(x.t(), h, out=by_W)
        torch.mv(x.t(), weight[0], out=by_b)
        torch.sum(h, 0, out=by_c)
        return flat, None, None
