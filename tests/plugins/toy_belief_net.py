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
    model, recognition = BeliefNet(config, data, dtype), Recognition(config, data.dim, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


def log_bernoulli(logits, bits):
    """Return the sum over the last dimension of log Bernoulli(bits; σ(logits))."""
    return (bits * logits - F.softplus(logits)).sum(-1)


class BeliefNet(api.LatentVariableModel):
    """p(z) p(x|z), every unit Bernoulli."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("binary", config.nz)
        self.params = api.Parameters(
            {"W": (config.nz, self.dim)}, {"b": (self.dim,), "prior": (config.nz,)}, dtype=dtype
        )

    @api.metered()
    def log_p_z(self, z):
        """Return log p(z), (S, B)."""
        return log_bernoulli(self.params.split()[2], z)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z), (S, B)."""
        W, b, _ = self.params.split()
        return log_bernoulli(z @ W + b, x)

    @api.metered()
    @torch.no_grad()
    def sample_z(self, n, rng):
        """Draw z (n, Z)."""
        return torch.bernoulli(self.params.views[2].sigmoid().expand(n, -1), generator=rng)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n, rng):
        """Draw n pairs."""
        W, b, _ = self.params.views
        z = self.sample_z(n, rng)
        return torch.bernoulli((z @ W + b).sigmoid(), generator=rng), z


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


class Recognition:
    """q(z|x), factorial, linear in x."""

    posterior_type = Bits

    def __init__(self, config, dim, dtype):
        self.params = api.Parameters({"A": (dim, config.nz)}, {"a": (config.nz,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        """Return q(z|x)."""
        A, a = self.params.split()
        return Bits(x @ A + a)
