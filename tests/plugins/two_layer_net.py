"""A sigmoid belief net of two binary layers, p(x|z₁) p(z₁|z₂) p(z₂), which tells the log density of each."""

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)


class Config(api.Config):
    """Sizes and initialisation."""

    n1: int = api.setting(4, "latents of the layer next to the data", gt=0)
    n2: int = api.setting(3, "latents of the layer above", gt=0)
    init_sd: float = api.setting(0.1, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new net and its recognition model."""
    model, recognition = Net(config, data, dtype), Recognition(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


def log_bernoulli(logits, bits):
    """Return the sum over the last dimension of log Bernoulli(bits; σ(logits))."""
    return (bits * logits - F.softplus(logits)).sum(-1)


class Net(api.LayeredModel):
    """A layered model."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("binary", config.n1, config.n2)
        biases = {"b0": (self.dim,), "b1": (config.n1,), "b2": (config.n2,)}
        self.params = api.Parameters({"W0": (config.n1, self.dim), "W1": (config.n2, config.n1)}, biases, dtype=dtype)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_layers(self, x, z):
        """Return log p(x|z₁), log p(z₁|z₂) and log p(z₂), (S, B, 3)."""
        W0, W1, b0, b1, b2 = self.params.split()
        z1, z2 = self.latents.split(z)
        layers = log_bernoulli(z1 @ W0 + b0, x), log_bernoulli(z2 @ W1 + b1, z1), log_bernoulli(b2, z2)
        return torch.stack(layers, dim=-1)

    @api.metered()
    def log_p_z(self, z):
        """Return log p(z), (S, B)."""
        _, W1, _, b1, b2 = self.params.split()
        z1, z2 = self.latents.split(z)
        return log_bernoulli(z2 @ W1 + b1, z1) + log_bernoulli(b2, z2)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        """Return log p(x|z), (S, B)."""
        return self.log_p_layers(x, z)[..., 0]

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_xz(self, x, z):
        """Return log p(x, z), (S, B)."""
        return self.log_p_layers(x, z).sum(-1)

    @api.metered()
    @torch.no_grad()
    def sample_z(self, n, rng):
        """Draw z (n, Z), from the top."""
        _, W1, _, b1, b2 = self.params.views
        z2 = torch.bernoulli(b2.sigmoid().expand(n, -1), generator=rng)
        return torch.cat([torch.bernoulli((z2 @ W1 + b1).sigmoid(), generator=rng), z2], dim=-1)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n, rng):
        """Draw n pairs."""
        W0, _, b0, _, _ = self.params.views
        z = self.sample_z(n, rng)
        return torch.bernoulli((self.latents.split(z)[0] @ W0 + b0).sigmoid(), generator=rng), z


class Bits:
    """q(z|x) = q(z₁|x) q(z₂|z₁): each layer tells its own log density."""

    def __init__(self, params, x, latents):
        self._params, self._x, self._latents = params, x, latents

    @torch.no_grad()
    def sample(self, n, rng):
        """Draw n samples a point, from the bottom."""
        A1, A2, a1, a2 = self._params.views
        z1 = torch.bernoulli((self._x @ A1 + a1).sigmoid().expand(n, -1, -1), generator=rng)
        return torch.cat([z1, torch.bernoulli((z1 @ A2 + a2).sigmoid(), generator=rng)], dim=-1)

    def log_layers(self, z):
        """Return log q(z₁|x) and log q(z₂|z₁), (S, B, 2)."""
        A1, A2, a1, a2 = self._params.split()
        z1, z2 = self._latents.split(z)
        return torch.stack([log_bernoulli(self._x @ A1 + a1, z1), log_bernoulli(z1 @ A2 + a2, z2)], dim=-1)

    def log_prob(self, z):
        """Return log q(z|x), (S, B)."""
        return self.log_layers(z).sum(-1)


class Recognition:
    """The recognition model."""

    posterior_type = Bits

    def __init__(self, config, data, dtype):
        self._latents = api.Latents.of("binary", config.n1, config.n2)
        weights = {"A1": (data.dim, config.n1), "A2": (config.n1, config.n2)}
        self.params = api.Parameters(weights, {"a1": (config.n1,), "a2": (config.n2,)}, dtype=dtype)

    @api.metered(rows="encoder", count="x")
    def posterior(self, x):
        """Return q(z|x)."""
        return Bits(self.params, x, self._latents)
