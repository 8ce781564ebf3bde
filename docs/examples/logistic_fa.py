"""Logistic factor analysis: p(z) = N(0, I) and p(x|z) = Bernoulli(σ(W z + b)), with a linear Gaussian encoder."""

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)


class Config(api.Config):
    """Size and initialisation."""

    nz: int = api.setting(3, "number of latents", gt=0)
    init_sd: float = api.setting(0.01, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new model and its recognition model."""
    model, recognition = LogisticFactors(config, data, dtype), Encoder(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


class LogisticFactors(api.LatentVariableModel):
    """p(x, z). Parameters: W (Z, D) and b (D,). log_p_xz and sample are inherited."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim = data.kind, data.dim
        self.latents = api.Latents.of("continuous", config.nz)
        self.params = api.Parameters({"W": (config.nz, self.dim)}, {"b": (self.dim,)}, dtype=dtype)

    @api.metered()
    def log_p_z(self, z):
        """Return log N(z; 0, I), (S, B)."""
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        W, b = self.params.split()
        logits = z @ W + b  # (S, B, D)
        return (x * logits - F.softplus(logits)).sum(-1)

    @api.metered()
    def sample_z(self, n, rng):
        """Draw z (n, Z) from the prior."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n, rng):
        """Draw n pairs: x (n, D) and z (n, Z)."""
        W, b = self.params.views
        z = self.sample_z(n, rng)
        return api.bernoulli((z @ W + b).sigmoid(), rng), z


class Encoder:
    """q(z|x) = N(A x + a, diag(σ²)), with samples by reparameterisation and a closed form of the KL."""

    posterior_type = api.posterior.DiagonalGaussian

    def __init__(self, config, data, dtype):
        nz = config.nz
        self.params = api.Parameters({"A": (data.dim, nz)}, {"a": (nz,), "log_var": (nz,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        """Return q(z|x) of x (B, D)."""
        A, a, log_var = self.params.split()
        return api.posterior.DiagonalGaussian(x @ A + a, log_var)
