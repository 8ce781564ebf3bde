"""Bayesian linear regression, x = F w + noise of variance s², with a latent that does nothing: its posterior of w is known."""

import math

import torch

from harness import api

OBSERVES = ("real",)
NOISE, DIM = 0.5, 3


def features(data_dim, dtype):
    """Return F (D, 3), three correlated features of each observed dimension."""
    F = torch.randn(data_dim, DIM, generator=api.Streams(0)("features"), dtype=torch.float64)
    F[:, 1] += 0.8 * F[:, 0]
    return F.to(dtype)


class Config(api.Config):
    """Prior."""

    prior_sd: float = api.setting(2.0, "prior on weights", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return the model, whose weights are 0, and q(z|x) = p(z)."""
    return Regression(config, data, dtype), Idle(dtype)


class Regression(api.LatentVariableModel):
    """p(x|w) N(z; 0, 1)."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("continuous", 1)
        self.params = api.Parameters({"w": (DIM, 1)}, {}, prior_sd=config.prior_sd, dtype=dtype)
        self.F = features(data.dim, dtype)

    @api.metered()
    def log_p_z(self, z):
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        error = x - (self.F @ self.params.split()[0]).squeeze(-1)
        log_p = -0.5 * (error.square() / NOISE**2 + math.log(2 * math.pi * NOISE**2)).sum(-1)
        return log_p.expand(z.shape[:2])

    @api.metered()
    def sample_z(self, n, rng):
        return torch.randn(n, 1, generator=rng, dtype=self.F.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    def sample_xz(self, n, rng):
        mean = (self.F @ self.params.split()[0].detach()).squeeze(-1)
        noise = torch.randn(n, self.dim, generator=rng, dtype=self.F.dtype)
        return mean + NOISE * noise, self.sample_z(n, rng)


class Standard:
    """N(0, 1) for every point."""

    def __init__(self, n, dtype, phi):
        self.n, self.dtype, self.phi = n, dtype, phi

    def sample(self, n, rng):
        return torch.randn(n, self.n, 1, generator=rng, dtype=self.dtype)

    def rsample(self, n, rng):
        return self.sample(n, rng) + 0 * self.phi

    def log_prob(self, z):
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1) + 0 * self.phi

    def kl(self):
        return torch.zeros(self.n, dtype=self.dtype) + 0 * self.phi


class Idle:
    """A recognition model that learns nothing."""

    posterior_type = Standard

    def __init__(self, dtype):
        self.params = api.Parameters({}, {"b": (1,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        return Standard(len(x), x.dtype, self.params.split()[0])
