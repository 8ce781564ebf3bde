"""Restricted Boltzmann machine: an undirected model of bits and hidden units, with no connection within either.

Paul Smolensky, "Information processing in dynamical systems: foundations of harmony theory" (1986); as Geoffrey Hinton, "Training
products of experts by minimizing contrastive divergence", Neural Computation 14 (2002).

    p(x) = f(x) / Z      f(x) = exp(x·b) Π_j (1 + exp(c + xᵀ W)_j)

The hidden units are summed over; log Z is unknown, and for an estimator. Biases b begin at the log odds of the data's mean, and
there annealing begins, wherever they have gone. A point costs one product with W for log f(x), and another for its gradient; a
move of a chain, two.
"""

import torch

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "log-z-ais"


class Config(api.Config):
    """Size, initialisation and prior."""

    hidden: int = api.setting(500, "H, hidden units", gt=0)
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple[api.BoltzmannMachine, None]:
    """Return a new machine; it needs no recognition model."""
    model = api.BoltzmannMachine(data.mean, config.hidden, config.prior_sd, dtype)
    model.initialise(config.init_sd, streams("initial decoder"))
    return model, None
