"""Restricted Boltzmann machines: undirected models of bits and hidden units, with no connection within either.

Paul Smolensky, "Information processing in dynamical systems: foundations of harmony theory" (1986); free energy and block Gibbs
moves as Geoffrey Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14 (2002). With
hidden units h of 0 and 1,

    p(x) = f(x) / Z      f(x) = Σ_h exp(x·b + h·c + xᵀ W h) = exp(x·b) Π_j (1 + exp(c + xᵀ W)_j)

log Z is unknown, and for an estimator. Annealing goes as Ruslan Salakhutdinov and Iain Murray, "On the quantitative analysis of
deep belief networks" (ICML 2008), from independent bits of logits a, such as the base rates of the data:

    f_β(x) = exp((1 - β) x·a + β x·b) Π_j (1 + exp β (c + xᵀ W)_j)      log Z_0 = H log 2 + Σ_d log(1 + exp a_d)

A point costs one product with W for log f(x), and another for its gradient; a move of a chain, two, annealed or not.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import native
from harness.inference.metered import MeteredFunction, metered
from harness.inference.parameters import Parameters
from harness.inference.protocols import Kind
from harness.inference.undirected import UnnormalisedModel

SWEEPS = 1000  # Gibbs moves from the base to a draw


class BoltzmannMachine(UnnormalisedModel):
    """p(x) of a restricted Boltzmann machine. Parameters: W (D, H), b (D,), c (H,).

    Args:
        mean: base rates (D,), where b and annealing begin.
        hidden: H.
        prior_sd: of the prior on weights.
        dtype: of the parameters.

    Attributes:
        hidden: H.
    """

    normalised = False
    kind: Kind = "binary"

    def __init__(self, mean: Tensor, hidden: int, prior_sd: float, dtype: torch.dtype):
        self.dim, self.hidden = len(mean), hidden
        self.begin_at(mean)
        biases = {"b": (self.dim,), "c": (hidden,)}
        self.params = Parameters({"W": (self.dim, hidden)}, biases, prior_sd=prior_sd, dtype=dtype)

    @torch.no_grad()
    def initialise(self, sd: float, rng: torch.Generator) -> None:
        """Draw weights from N(0, sd²); b are the log odds of the base rates, and c are 0."""
        self.params.views[0].normal_(0.0, sd, generator=rng)
        self.initialise_b()

    @torch.no_grad()
    def initialise_b(self) -> None:
        """Set b to the log odds of the base rates."""
        self.params.views[1].copy_(self._a)

    def begin_at(self, mean: Tensor) -> None:
        """Take other base rates (D,) from now on."""
        self._a = mean.clamp(0.001, 0.999).logit()

    @metered(samples=True, rows="decoder", count="x")
    def log_f_x(self, x: Tensor) -> Tensor:
        """Return log f(x) of x (B, D), (B,)."""
        log_f: Tensor = _LogF.apply(self.params.flat, self.params, x)
        return log_f

    @metered(rows="decoder", count="h")
    @torch.no_grad()
    def log_f_h(self, h: Tensor) -> Tensor:
        """Return log Σ_x f(x, h) of h (B, H), (B,)."""
        return h @ self.params.views[2] + softplus(self.down(h)).sum(-1)

    @metered(samples=True, rows="decoder", count="x")
    @torch.no_grad()
    def gibbs(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return x (C, D) after drawing h given x, and x given h."""
        h = native.draw_units(self.up(x), x.shape[:1], rng)  # (C, H)
        return native.draw_units(self.down(h), x.shape[:1], rng)

    def up(self, x: Tensor) -> Tensor:
        """Return the logits of h given x (B, D), (B, H)."""
        W, _, c = self.params.views
        return torch.addmm(c, x, W)

    def down(self, h: Tensor) -> Tensor:
        """Return the logits of x given h (B, H), (B, D)."""
        W, b, _ = self.params.views
        return torch.addmm(b, h, W.t())

    @metered(fantasies=True, rows="decoder", count="n")
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D), each by a long chain, so that it is from p(x) as far as the chain has come."""
        x = self.sample_base(n, rng)
        for _ in range(SWEEPS):
            x = self.gibbs(x, rng)
        return x

    @metered()
    def log_z_base(self) -> Tensor:
        """Return log Z_0."""
        return self.hidden * math.log(2.0) + softplus(self._base()).sum()

    @metered()
    @torch.no_grad()
    def sample_base(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) of independent bits with logits a."""
        return native.draw_units(self._base(), (n,), rng)

    @metered(samples=True, rows="decoder", count="x")
    @torch.no_grad()
    def anneal(self, x: Tensor, before: float, after: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return log f_after(x) - log f_before(x) of x (C, D), (C,), and x after a Gibbs move of f_after."""
        (W, b, _), a = self.params.views, self._base()
        logits = self.up(x)  # (C, H)
        now = after * logits
        log_ratio = (after - before) * (x @ (b - a)) + (softplus(now) - softplus(before * logits)).sum(-1)
        h = native.draw_units(now, x.shape[:1], rng)
        given_h = torch.addmm((1 - after) * a + after * b, h, W.t(), alpha=after)
        return log_ratio, native.draw_units(given_h, x.shape[:1], rng)

    def _base(self) -> Tensor:
        """Return a (D,), where the parameters are."""
        return self._a.to(self.params.flat)


class _LogF(MeteredFunction):
    """log f(x), with a gradient in one product."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, params: Parameters, x: Tensor) -> Tensor:
        W, b, c = params.views
        logits = torch.addmm(c, x, W)  # (B, H)
        ctx.params = params
        ctx.save_for_backward(x, logits)
        return x @ b + softplus(logits).sum(-1)

    @staticmethod
    def backward(ctx: Any, *weight: Tensor) -> tuple[Tensor, None, None]:
        MeteredFunction.enter(ctx)
        x, logits = ctx.saved_tensors
        h = logits.sigmoid().mul_(weight[0].unsqueeze(-1))  # weight · p(h = 1|x), (B, H)
        flat = torch.empty_like(ctx.params.flat)
        by_W, by_b, by_c = ctx.params.split(flat)
        torch.mm(x.t(), h, out=by_W)
        torch.mv(x.t(), weight[0], out=by_b)
        torch.sum(h, 0, out=by_c)
        return flat, None, None
