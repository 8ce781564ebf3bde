"""Variational auto-encoder's pair: a Bernoulli or Gaussian decoder and a diagonal-Gaussian encoder, tanh or ReLU networks.

Diederik P. Kingma and Max Welling, "Auto-encoding variational Bayes" (2014), arXiv 1312.6114, appendix C, with one hidden layer:

    p(z) = N(0, I)    log p(x|z) = Σ_d x_d log y_d + (1 - x_d) log(1 - y_d),  y = σ(W₂ tanh(W₁ z + b₁) + b₂)      (C.1)
               or     log p(x|z) = log N(x; m, s² I),  (a, log s²) = W₂ tanh(W₁ z + b₁) + b₂,  m = σ(a)           (C.2)
    q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄                                                    (C.2)

`--hidden 200-200` gives both networks two, as later papers have them, and `--hidden none` none. `--activation relu` has units
max(u, 0).

Grey pixels in [0, 1] enter (C.1) as they are, as in the paper; the likelihood is then not normalised in x. The mean of the
Gaussian decoder lies in (0, 1), as the paper has it for grey images, unless `gaussian_mean` says otherwise.

Both networks are differentiated by hand. A gradient by weights stays as its factors until an optimiser takes it. Entries of x
that are missing have no density, and the encoder is given the data's mean in their place. The layers are primitives of
`api.native`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary", "unit", "real")

MISSING = True


class Config(api.Config):
    """Sizes, initialisation and prior."""

    nz: int = api.setting(20, "number of latents", gt=0)
    hidden: api.Hidden = api.setting(
        500, "units of each hidden layer of both networks, the one next to the data first; none: linear"
    )
    decoder: Literal["auto", "bernoulli", "gaussian"] = api.setting(
        "auto", "density of x given z; auto: gaussian for real data, bernoulli for others"
    )
    gaussian_mean: Literal["sigmoid", "linear"] = api.setting(
        "sigmoid", "sigmoid: the Gaussian decoder's mean lies in (0, 1); linear: anywhere"
    )
    activation: Literal["tanh", "relu"] = api.setting("tanh", "of hidden units; relu: max(u, 0)")
    init_sd: float = api.setting(0.01, "initial weights and biases are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["NetworkDecoder", api.GaussianEncoder]:
    """Return a new decoder and encoder."""
    hidden, observation = api.sizes(config.hidden), api.observation(data.kind, config.decoder, config.gaussian_mean)
    networks: dict[str, Any] = {"prior_sd": config.prior_sd, "dtype": dtype, "activation": config.activation}
    params = api.Parameters.network([config.nz, *reversed(hidden), data.dim * observation.outputs], **networks)
    decoder = NetworkDecoder(data.kind, data.dim, [config.nz], observation, params, data.missing)
    encoder = api.GaussianEncoder(data.dim, [config.nz], hidden, mean=data.mean if data.missing else None, **networks)
    decoder.params.normal_(config.init_sd, streams("initial decoder"))
    encoder.params.normal_(config.init_sd, streams("initial encoder"))
    return decoder, encoder


class NetworkDecoder(api.Decoder):
    """p(x, z) with z ~ N(0, I) and one network in between."""

    def outputs(self, z: Tensor) -> Tensor:
        """See `api.Decoder.outputs`."""
        return self.params.outputs(z)

    def up(self, z: Tensor) -> Tensor:
        """See `api.Decoder.up`."""
        return self.params.stack.up(z)[-1].view(*z.shape[:-1], -1)

    def observe(self, x: Tensor, z: Tensor, **asked: Any) -> api.native.Observed:
        """See `api.Decoder.observe`."""
        return self.params.stack.observed(self.observation.density, x, z, missing=self.missing, **asked)

    def down(
        self, z: Tensor, units: Sequence[Tensor], slope: Tensor, by_z: bool
    ) -> tuple[api.native.Factors, Tensor | None]:
        """See `api.Decoder.down`."""
        return self.params.stack.down(z, units, slope, by_x=by_z)

    def gradient(self, factors: Sequence[tuple[Tensor, Tensor]], out: Tensor | None = None) -> Tensor:
        """See `api.Decoder.gradient`."""
        return api.from_factors(self.params, factors) if out is None else api.Factored(self.params, factors).dense(out)
