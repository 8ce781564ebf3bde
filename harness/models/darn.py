"""Deep autoregressive network (DARN): one layer of binary latents; latents and observed units are autoregressive.

Karol Gregor, Ivo Danihelka, Andriy Mnih, Charles Blundell and Daan Wierstra, "Deep autoregressive networks" (2014),
arXiv 1310.8499, with one stochastic layer:

    p(z) = Π_j Bernoulli(z_j; σ(Σ_(i<j) U_ij z_i + c_j))    p(x|z) = Π_d Bernoulli(x_d; σ((W z)_d + Σ_(i<d) V_id x_i + b_d))

At a sample of z, its density costs a product with each of W and U, and its gradient as many again, without a loop over units;
those with V are once a point. q(z|x) costs a product with its matrix once a point, and its gradient another. Drawing z and x
costs a product with W and half a one with each of U and V, unit by unit.
"""

from typing import Literal

import torch

from harness import api

OBSERVES = ("binary",)


class Config(api.Config):
    """Size, recognition model, initialisation and prior."""

    nz: int = api.setting(500, "number of latents", gt=0)
    recognition: Literal["factorial", "autoregressive"] = api.setting(
        "factorial", "autoregressive: each latent of q(z|x) is given those before it, too"
    )
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple[api.BeliefNet, api.BeliefRecognition]:
    """Return a new net and its recognition model."""
    net = api.BeliefNet(
        data.dim, [config.nz], autoregressive=True, observed_too=True, prior_sd=config.prior_sd, dtype=dtype
    )
    recognition = api.BeliefRecognition(data.mean, [config.nz], config.recognition, config.prior_sd, dtype)
    net.initialise(config.init_sd, data.mean, streams("initial decoder"))
    recognition.initialise(config.init_sd, streams("initial encoder"))
    return net, recognition
