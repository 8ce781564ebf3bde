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
    model, recognition = LogisticFactors(config, data.dim, dtype), Encoder(config, data.dim, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


class LogisticFactors:
    """p(x, z). Parameters: W (Z, D) and b (D,)."""

    def __init__(self, config, dim, dtype):
        self.latents = api.Latents("continuous", (config.nz,))
        self.params = api.Parameters({"W": (config.nz, dim)}, {"b": (dim,)}, dtype=dtype)

    @api.metered()
    def log_p_z(self, z):
        """Return log N(z; 0, I), (S, B)."""
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)

    @api.metered(samples=True, rows="decoder")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        W, b = self.params.split()
        logits = z @ W + b  # (S, B, D)
        return (x * logits - F.softplus(logits)).sum(-1)

    @api.metered(samples=True, rows="decoder")
    def log_p_xz(self, x, z):
        """Return log p(x, z), (S, B)."""
        return self.log_p_x_given_z(x, z) + self.log_p_z(z)

    @api.metered(dreams=True, rows="decoder")
    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n pairs: x (n, D) and z (n, Z)."""
        W, b = self.params.views
        z = torch.randn(n, len(W), generator=rng, dtype=W.dtype)
        return api.bernoulli((z @ W + b).sigmoid(), rng), z


class Encoder:
    """q(z|x) = N(A x + a, diag(σ²))."""

    reparameterised = True
    analytic_kl = True

    def __init__(self, config, dim, dtype):
        nz = config.nz
        self.params = api.Parameters({"A": (dim, nz)}, {"a": (nz,), "log_var": (nz,)}, dtype=dtype)

    @api.metered(rows="encoder")
    def posterior(self, x):
        """Return q(z|x) of x (B, D)."""
        A, a, log_var = self.params.split()
        return Gaussian(x @ A + a, log_var)


class Gaussian:
    """Independent Gaussians: means (B, Z) and log variances (Z,)."""

    def __init__(self, mean, log_var):
        self.mean, self.log_var = mean, log_var

    def rsample(self, n, rng):
        """Draw n samples per point, differentiable, (n, B, Z)."""
        noise = torch.randn(n, *self.mean.shape, generator=rng, dtype=self.mean.dtype)
        return self.mean + (0.5 * self.log_var).exp() * noise

    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n samples per point without a gradient, (n, B, Z)."""
        return self.rsample(n, rng)

    def log_prob(self, z):
        """Return log q(z|x), (S, B)."""
        return torch.distributions.Normal(self.mean, (0.5 * self.log_var).exp()).log_prob(z).sum(-1)

    def kl(self):
        """Return KL(q(z|x) || N(0, I)), (B,)."""
        return 0.5 * (self.mean.square() + self.log_var.exp() - self.log_var - 1).sum(-1)
