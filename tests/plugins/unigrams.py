"""Mixture of unigrams: every document has one topic, of which all of its words are drawn independently (Nigam et al. 2000).

Counts x have the density of the word sequence given its length: p(x) = Σ_t π_t Π_w β_tw^x_w, without a multinomial coefficient.
"""

import torch

from harness import api

OBSERVES = ("counts",)
ESTIMATOR = "exact"


class Config(api.Config):
    """Size and initialisation."""

    topics: int = api.setting(3, "topics; with 1 every word is drawn from the same distribution", gt=0)
    init_sd: float = api.setting(0.1, "initial parameters are drawn from N(0, init_sd²)", gt=0)


def build(config, data, streams, dtype=torch.float32):
    """Return a new model; its topics are summed over, and it needs no recognition model."""
    model = Unigrams(config, data, dtype)
    model.params.normal_(config.init_sd, streams("initial decoder"))
    return model, None


class Unigrams:
    """A tractable model, with softmax parameters: π (T,) and β (T, D)."""

    normalised = True

    def __init__(self, config, data, dtype):
        self.kind, self.dim, self.length = data.kind, data.dim, data.words
        self.params = api.Parameters({"words": (config.topics, self.dim)}, {"topics": (config.topics,)}, dtype=dtype)

    @api.metered(samples=True, rows="decoder", count="x")
    def log_p_x(self, x):
        """Return log p(x) of counts x (B, D), (B,)."""
        words, topics = self.params.split()
        return (x @ words.log_softmax(-1).T + topics.log_softmax(0)).logsumexp(-1)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n, rng):
        """Draw documents (n, D) of as many words as those of the data have on average."""
        words, topics = self.params.views
        topic = torch.multinomial(topics.softmax(0), n, replacement=True, generator=rng)
        drawn = torch.multinomial(words.softmax(-1)[topic], self.length, replacement=True, generator=rng)  # (n, L)
        return torch.zeros(n, self.dim, dtype=words.dtype).scatter_add_(
            1, drawn, torch.ones(drawn.shape, dtype=words.dtype)
        )
