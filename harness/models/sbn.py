"""Sigmoid belief net: layers of binary latents, each given the one above, and a recognition model that is one, too.

Radford Neal, "Connectionist learning of belief networks" (1992), Artificial Intelligence 56; with recognition models as Andriy
Mnih and Karol Gregor, "Neural variational inference and learning in belief networks" (2014), arXiv 1402.0030. With h_0 = x,

    p(x, z) = p(h_L) Π_i p(h_i | h_(i+1)),  every unit Bernoulli with logit  W h_(i+1) + b,  autoregressive  W h_(i+1) + U h_i + b
    q(z|x) = Π_i q(h_i | h_(i-1)),  likewise, the other way;  linear:  Π_i q(h_i | x)

Biases of the observed units begin at the log odds of the data's mean, and the recognition model is given data less their mean, as
in that paper. Counts of words are drawn from one softmax of W h_1 + b, whose biases begin at the log of how often a word is used.

Densities and gradients have no loop over units, whether units are autoregressive or not. Drawing autoregressive units has one:
a recognition model pays for it at every point, a prior only where it is sampled, as by wake-sleep. Cost of a sample of z at a
point:

    log p(x, z)   a product with every matrix W and U of p, and its gradient as many again
    z ~ q(z|x)    a product with every W of q, and half a one with every U, unit by unit
    log q(z|x)    of latents just drawn by factorial layers none, otherwise a product with every W and U; its gradient as many

A layer that is given the data alone has its product with W once a point, for all samples.
"""

from typing import Literal

import torch

from harness import api

OBSERVES = ("binary", "counts")

MISSING = True  # bits, and no words


class Config(api.Config):
    """Sizes, what units are given, initialisation and prior."""

    layers: api.Layers = api.setting(
        "200", "latents of each layer, the one next to the data first, such as 200-200-500"
    )
    prior: Literal["factorial", "autoregressive"] = api.setting(
        "factorial", "autoregressive: the latents of a layer of p(z) are given those before them, too"
    )
    recognition: Literal["factorial", "autoregressive", "linear"] = api.setting(
        "factorial",
        "factorial: a layer of q(z|x) is given the layer below; autoregressive: and those of its own units that come before; "
        "linear: every layer is given the data alone",
    )
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple[api.BeliefNet, api.BeliefRecognition]:
    """Return a new net and its recognition model."""
    sizes = api.sizes(config.layers)
    net = (api.FactorialBeliefNet if data.words else api.BinaryBeliefNet)(
        data.dim, sizes, autoregressive=config.prior == "autoregressive", observed_too=False,
        prior_sd=config.prior_sd, dtype=dtype, words=data.words, missing=data.missing,
    )  # fmt: skip
    recognition = api.BeliefRecognition(data.mean, sizes, config.recognition, config.prior_sd, dtype, data.missing)
    net.initialise(config.init_sd, data.mean, streams("initial decoder"))
    recognition.initialise(config.init_sd, streams("initial encoder"))
    return net, recognition
