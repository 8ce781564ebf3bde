"""Neural autoregressive distribution estimator: log p(x) = Σ_d log p(x_d | x_<d) (Larochelle & Murray 2011)."""

import torch
import torch.nn.functional as F

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact"


class Config(api.Config):
    """Size and initialisation."""

    hidden: int = api.setting(5, "hidden units", gt=0)
    init_sd: float = api.setting(0.1, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new model; it has no latents, and needs no recognition model."""
    model = Nade(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    return model, None


class Nade:
    """A tractable model."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim = data.kind, data.dim
        weights = {"W": (self.dim, config.hidden), "V": (config.hidden, self.dim)}
        self.params = api.Parameters(weights, {"b": (self.dim,), "c": (config.hidden,)}, dtype=dtype)

    def _logits(self, x):
        """Return the logit of each x_d given those before it, (B, D)."""
        W, V, b, c = self.params.split()
        seen = x.unsqueeze(-1) * W  # (B, D, H)
        h = (c + seen.cumsum(1) - seen).sigmoid()  # of x_<d
        return (h * V.T).sum(-1) + b

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x(self, x):
        """Return log p(x), (B,)."""
        a = self._logits(x)
        return (x * a - F.softplus(a)).sum(-1)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n, rng):
        """Draw x (n, D), a bit after the other."""
        x = torch.zeros(n, self.dim, dtype=self.params.flat.dtype)
        for d in range(self.dim):
            x[:, d] = torch.bernoulli(self._logits(x)[:, d].sigmoid(), generator=rng)
        return x
