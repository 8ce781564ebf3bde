"""Mixture of Bernoulli distributions: a point belongs to one component, of which all of its bits are drawn independently.

    p(x) = Σ_k π_k Π_d μ_kd^x_d (1 - μ_kd)^(1 - x_d)

Parameters are logits: of the bits of each component M (K, D), μ = σ(M), and of the components w (K,), π = softmax(w). The
component is summed over, so log p(x) is exact. A point costs a product with M for its density, and another for its gradient or
for its part of an iteration of EM, whose M-step has a closed form:

    π_k = (N_k + α) / (N + K α)      μ_kd = (S_kd + α) / (N_k + 2 α)

with N_k = Σ_n p(k|x_n), S_kd = Σ_n p(k|x_n) x_nd, and α the pseudo-count of a Dirichlet prior on π and of a Beta prior on each μ.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "exact"


class Config(api.Config):
    """Size, initialisation and prior."""

    components: int = api.setting(500, "K, components", gt=0)
    init_sd: float = api.setting(
        0.5, "initial logits of bits are drawn from N(log odds of the data's mean, init_sd²)", gt=0
    )
    prior_sd: float = api.setting(
        10.0, "prior on the logits of bits, N(0, prior_sd²), of algorithms that ascend a gradient", gt=0
    )


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["BernoulliMixture", None]:
    """Return a new model; its components are summed over, and it needs no recognition model."""
    model = BernoulliMixture(config, data, dtype)
    M, _ = model.params.views
    with torch.no_grad():
        M.normal_(0.0, config.init_sd, generator=streams("initial decoder"))
        M.add_(data.mean.clamp(0.001, 0.999).logit())
    return model, None


class BernoulliMixture:
    """p(x), with both steps of EM."""

    normalised = True

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        self.kind, self.dim = data.kind, data.dim
        weights, biases = {"M": (config.components, data.dim)}, {"w": (config.components,)}
        self.params = api.Parameters(weights, biases, prior_sd=config.prior_sd, dtype=dtype)

    def _log_p_x_and_k(self, x: Tensor) -> Tensor:
        """Return log p(x, k) of every component, (B, K)."""
        M, w = self.params.split()
        return x @ M.t() + (w.log_softmax(0) - softplus(M).sum(-1))

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x(self, x: Tensor) -> Tensor:
        """Return log p(x) of x (B, D), (B,)."""
        return self._log_p_x_and_k(x).logsumexp(-1)

    @api.metered(samples=True, rows="decoder", count="x")
    @torch.no_grad()
    def expected_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x) (B,), and the S and N of these points, laid out like M and w."""
        joint = self._log_p_x_and_k(x)
        log_p = joint.logsumexp(-1)
        r = (joint - log_p.unsqueeze(-1)).exp()  # p(k|x), (B, K)
        return log_p, torch.cat([(r.t() @ x).flatten(), r.sum(0)])

    @api.metered()
    @torch.no_grad()
    def maximise(self, statistics: Tensor, pseudo_count: float) -> None:
        """Set θ to the M-step's of the statistics of all points."""
        S, N = self.params.split(statistics)
        M, w = self.params.views
        M.copy_((S + pseudo_count).log() - (N.unsqueeze(-1) - S + pseudo_count).clamp(min=pseudo_count).log())
        w.copy_(((N + pseudo_count) / (N + pseudo_count).sum()).log())

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D): a component, and the bits given it."""
        M, w = self.params.views
        k = torch.multinomial(w.softmax(0), n, replacement=True, generator=rng)
        return api.bernoulli(M[k].sigmoid(), rng)
