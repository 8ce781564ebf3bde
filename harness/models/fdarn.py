"""Deep autoregressive network with independent observed units (fDARN): one layer of binary latents, autoregressive a priori.

Karol Gregor, Ivo Danihelka, Andriy Mnih, Charles Blundell and Daan Wierstra, "Deep autoregressive networks" (2014),
arXiv 1310.8499, as compared by Andriy Mnih and Karol Gregor (2014), arXiv 1402.0030:

    p(z) = Π_j Bernoulli(z_j; σ(Σ_(i<j) U_ij z_i + c_j))    p(x|z) = Π_d Bernoulli(x_d; σ(W z + b)_d)
    q(z|x) = Π_j Bernoulli(z_j; σ(A (x - mean) + a)_j)

Counts of words are drawn from one softmax of W z + b instead. It is the model `sbn` with --prior autoregressive and one layer.
At a sample of z, its density costs a product with W and one with U, and its gradient as many again, without a loop over
latents. q(z|x) costs a product with A once a point, and its gradient another. Drawing from the prior, as wake-sleep does, costs
half a product with U, latent by latent, and one with W. An autoregressive q(z|x) draws so, too.
"""

from typing import Literal

import torch

from harness import api

OBSERVES = ("binary", "counts")

MISSING = True  # bits, and no words


class Config(api.Config):
    """Size, recognition model, initialisation and prior."""

    nz: int = api.setting(200, "number of latents", gt=0)
    recognition: Literal["factorial", "autoregressive"] = api.setting(
        "factorial", "autoregressive: each latent of q(z|x) is given those before it, too"
    )
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple[api.BeliefNet, api.BeliefRecognition]:
    """Return a new net and its recognition model."""
    net = (api.FactorialBeliefNet if data.words else api.BinaryBeliefNet)(
        data.dim, [config.nz], autoregressive=True, observed_too=False, prior_sd=config.prior_sd, dtype=dtype,
        words=data.words, missing=data.missing,
    )  # fmt: skip
    recognition = api.BeliefRecognition(
        data.mean, [config.nz], config.recognition, config.prior_sd, dtype, data.missing
    )
    net.initialise(config.init_sd, data.mean, streams("initial decoder"))
    recognition.initialise(config.init_sd, streams("initial encoder"))
    return net, recognition
