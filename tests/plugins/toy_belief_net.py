"""A sigmoid belief net of one layer, small enough to sum over all of its latents."""

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)


class Config(api.Config):
    """Size and initialisation."""

    nz: int = api.setting(8, "number of binary latents", gt=0)
    init_sd: float = api.setting(0.1, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new net and its factorial recognition model."""
    model, recognition = BeliefNet(config, data.dim, dtype), Recognition(config, data.dim, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


def log_bernoulli(logits, bits):
    """Return the sum over the last dimension of log Bernoulli(bits; σ(logits))."""
    return (bits * logits - F.softplus(logits)).sum(-1)


class BeliefNet:
    """p(z) p(x|z), every unit Bernoulli."""

    def __init__(self, config, dim, dtype):
        self.latents = api.Latents("binary", (config.nz,))
        self.params = api.Parameters({"W": (config.nz, dim)}, {"b": (dim,), "prior": (config.nz,)}, dtype=dtype)

    @api.metered()
    def log_p_z(self, z):
        """Return log p(z), (S, B)."""
        return log_bernoulli(self.params.split()[2], z)

    @api.metered(samples=True, rows="decoder")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z), (S, B)."""
        W, b, _ = self.params.split()
        return log_bernoulli(z @ W + b, x)

    @api.metered(samples=True, rows="decoder")
    def log_p_xz(self, x, z):
        """Return log p(x, z), (S, B)."""
        return self.log_p_x_given_z(x, z) + self.log_p_z(z)

    @api.metered(dreams=True, rows="decoder")
    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n pairs."""
        W, b, prior = self.params.views
        z = torch.bernoulli(prior.sigmoid().expand(n, -1), generator=rng)
        return torch.bernoulli((z @ W + b).sigmoid(), generator=rng), z


class Recognition:
    """q(z|x), factorial, linear in x."""

    reparameterised = False
    analytic_kl = False

    def __init__(self, config, dim, dtype):
        self.params = api.Parameters({"A": (dim, config.nz)}, {"a": (config.nz,)}, dtype=dtype)

    @api.metered(rows="encoder")
    def posterior(self, x):
        """Return q(z|x)."""
        A, a = self.params.split()
        return Bits(x @ A + a)


class Bits:
    """Independent bits."""

    def __init__(self, logits):
        self.logits = logits

    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n samples a point."""
        return torch.bernoulli(self.logits.sigmoid().expand(n, -1, -1), generator=rng)

    def log_prob(self, z):
        """Return log q(z|x)."""
        return log_bernoulli(self.logits, z)
