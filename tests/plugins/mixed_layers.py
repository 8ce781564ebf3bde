"""A model of mixed layers with a prior that learns: a bit chooses the mean of a Gaussian, which the data are decoded from."""

import math

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)
LOG_2PI = math.log(2 * math.pi)


class Config(api.Config):
    """Size and initialisation."""

    nz: int = api.setting(2, "continuous latents; one bit lies above them", gt=0)
    init_sd: float = api.setting(0.3, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new model and its recognition model."""
    model, recognition = Mixed(config, data, dtype), Recognition(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


def log_bernoulli(logits, bits):
    """Return the sum over the last dimension of log Bernoulli(bits; σ(logits))."""
    return (bits * logits - F.softplus(logits)).sum(-1)


def log_normal(z, mean):
    """Return log N(z; mean, I), the sum over the last dimension."""
    return -0.5 * ((z - mean).square() + LOG_2PI).sum(-1)


class Mixed(api.LatentVariableModel):
    """p(b) p(z|b) p(x|z)."""

    normalised = True

    def __init__(self, config, data, dtype):
        n, layer = config.nz, api.Layer
        self.kind, self.dim = data.kind, data.dim
        self.latents = api.Latents((layer("continuous", n), layer("binary", 1)))
        biases = {"b": (self.dim,), "mean": (n,), "logit": (1,)}
        self.params = api.Parameters({"V": (n, self.dim), "M": (1, n)}, biases, dtype=dtype)

    @api.metered()
    def log_p_z(self, z):
        """Return log p(z, b), (S, B)."""
        _, M, _, mean, logit = self.params.split()
        z1, bit = self.latents.split(z)
        return log_normal(z1, bit @ M + mean) + log_bernoulli(logit, bit)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z), (S, B)."""
        V, _, b, _, _ = self.params.split()
        return log_bernoulli(self.latents.split(z)[0] @ V + b, x)

    @api.metered()
    @torch.no_grad()
    def sample_z(self, n, rng):
        """Draw (z, b), from the top."""
        _, M, _, mean, logit = self.params.views
        bit = torch.bernoulli(logit.sigmoid().expand(n, -1), generator=rng)
        noise = torch.randn(n, len(mean), generator=rng, dtype=M.dtype)
        return torch.cat([bit @ M + mean + noise, bit], dim=-1)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n, rng):
        """Draw n pairs."""
        V, _, b, _, _ = self.params.views
        z = self.sample_z(n, rng)
        return torch.bernoulli((self.latents.split(z)[0] @ V + b).sigmoid(), generator=rng), z


class Both:
    """q(z|x) q(b|x): unit-variance Gaussians, and a bit."""

    def __init__(self, mean, logit):
        self.mean, self.logit = mean, logit

    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n samples a point, (n, B, Z)."""
        noise = torch.randn(n, *self.mean.shape, generator=rng, dtype=self.mean.dtype)
        bit = torch.bernoulli(self.logit.sigmoid().expand(n, -1, -1), generator=rng)
        return torch.cat([self.mean + noise, bit], dim=-1)

    def log_prob(self, z):
        """Return log q(z, b|x), (S, B)."""
        return log_normal(z[..., :-1], self.mean) + log_bernoulli(self.logit, z[..., -1:])


class Recognition:
    """The recognition model, linear in x."""

    posterior_type = Both

    def __init__(self, config, data, dtype):
        self.params = api.Parameters({"A": (data.dim, config.nz + 1)}, {"a": (config.nz + 1,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        """Return q(z, b|x)."""
        A, a = self.params.split()
        found = x @ A + a
        return Both(found[:, :-1], found[:, -1:])
