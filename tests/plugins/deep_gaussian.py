"""Deep latent Gaussian model of two layers: h₂ = G₂ ξ₂, h₁ = tanh(W h₂) + G₁ ξ₁, x ~ Bernoulli(σ(V h₁)); the latents are ξ."""

import math

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Config(api.Config):
    """Size and initialisation."""

    nz: int = api.setting(2, "latents of each layer", gt=0)
    init_sd: float = api.setting(0.3, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new model and its recognition model."""
    model, recognition = Deep(config, data, dtype), Recognition(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


class Deep(api.LatentVariableModel):
    """p(x, ξ), ξ ~ N(0, I)."""

    normalised = True

    def __init__(self, config, data, dtype):
        n = config.nz
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("continuous", n, n)
        weights = {"G2": (n, n), "W": (n, n), "G1": (n, n), "V": (n, self.dim)}
        self.params = api.Parameters(weights, {"b": (self.dim,)}, dtype=dtype)

    def _logits(self, z, parts):
        G2, W, G1, V, b = parts
        xi1, xi2 = self.latents.split(z)
        return ((xi2 @ G2 @ W).tanh() + xi1 @ G1) @ V + b

    @api.metered()
    def log_p_z(self, z):
        """Return log N(ξ; 0, I), (S, B)."""
        return -(0.5 * z.square() + HALF_LOG_2PI).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|ξ), (S, B)."""
        a = self._logits(z, self.params.split())
        return (x * a - F.softplus(a)).sum(-1)

    @api.metered()
    def sample_z(self, n, rng):
        """Draw ξ (n, Z)."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n, rng):
        """Draw n pairs."""
        z = self.sample_z(n, rng)
        return torch.bernoulli(self._logits(z, self.params.views).sigmoid(), generator=rng), z


class Recognition:
    """q(ξ|x), a diagonal Gaussian over both layers, linear in x."""

    posterior_type = api.posterior.DiagonalGaussian

    def __init__(self, config, data, dtype):
        n = 2 * config.nz
        self.params = api.Parameters({"A": (data.dim, n)}, {"a": (n,), "log_var": (n,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        """Return q(ξ|x)."""
        A, a, log_var = self.params.split()
        return api.posterior.DiagonalGaussian(x @ A + a, log_var)
