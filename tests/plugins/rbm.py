"""Restricted Boltzmann machine: p(x) ∝ Σ_h exp(x·b + h·c + x·W h), with log Z unknown."""

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact-log-z"
SWEEPS = 100  # of Gibbs sampling, from uniform bits to a draw


class Config(api.Config):
    """Size and initialisation."""

    hidden: int = api.setting(4, "hidden units", gt=0)
    init_sd: float = api.setting(0.1, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new machine; it needs no recognition model."""
    model = Machine(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    return model, None


class Machine:
    """An unnormalised model with block Gibbs moves."""

    normalised = False

    def __init__(self, config, data, dtype):
        self.kind, self.dim = data.kind, data.dim
        shapes = {"b": (self.dim,), "c": (config.hidden,)}
        self.params = api.Parameters({"W": (self.dim, config.hidden)}, shapes, dtype=dtype)

    @api.metered(samples=True, rows="decoder", count="x")
    def log_f_x(self, x):
        """Return minus the free energy, (B,)."""
        W, b, c = self.params.split()
        return x @ b + F.softplus(x @ W + c).sum(-1)

    @api.metered(fantasies=True, rows="decoder", count="x")
    @torch.no_grad()
    def gibbs(self, x, rng):
        """Return x after drawing h given x, and x given h."""
        W, b, c = self.params.views
        h = torch.bernoulli((x @ W + c).sigmoid(), generator=rng)
        return torch.bernoulli((h @ W.T + b).sigmoid(), generator=rng)

    @api.metered(fantasies=True, rows="decoder", count="n")
    def sample(self, n, rng):
        """Draw x (n, D) by a long chain."""
        x = torch.bernoulli(torch.full((n, self.dim), 0.5, dtype=self.params.flat.dtype), generator=rng)
        for _ in range(SWEEPS):
            x = self.gibbs(x, rng)
        return x
