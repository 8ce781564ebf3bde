"""Variational auto-encoder's pair: a Bernoulli or Gaussian decoder and a diagonal-Gaussian encoder, one tanh layer each.

Diederik P. Kingma and Max Welling, "Auto-encoding variational Bayes" (2014), arXiv 1312.6114, appendix C:

    p(z) = N(0, I)    log p(x|z) = Σ_d x_d log y_d + (1 - x_d) log(1 - y_d),  y = σ(W₂ tanh(W₁ z + b₁) + b₂)      (C.1)
               or     log p(x|z) = log N(x; m, s² I),  (a, log s²) = W₂ tanh(W₁ z + b₁) + b₂,  m = σ(a)           (C.2)
    q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄                                                    (C.2)

Grey pixels in [0, 1] enter (C.1) as they are, as in the paper; the likelihood is then not normalised in x. The mean of the
Gaussian decoder lies in (0, 1), as the paper has it for grey images, unless `gaussian_mean` says otherwise.

Both networks are differentiated by hand, for two kinds of caller: autograd, which any algorithm may use without knowing, and
algorithms that ask for gradients themselves (`api.gradients`) and save autograd's own time. No gradient is computed that is not
asked for: a sampler that moves z alone pays for z alone. A gradient by weights stays as its factors until an optimiser takes it.
The layers are primitives of `api.native`. Under `torch.func`'s transforms, such as vmap, both networks are plain PyTorch.
"""

import math
from typing import Any, Literal, cast

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary", "unit", "real")

LOG_2PI = math.log(2.0 * math.pi)


class Config(api.Config):
    """Sizes, initialisation and prior."""

    nz: int = api.setting(20, "number of latents", gt=0)
    hidden: int = api.setting(500, "tanh units in each network", gt=0)
    decoder: Literal["auto", "bernoulli", "gaussian"] = api.setting(
        "auto", "density of x given z; auto: gaussian for real data, bernoulli for others"
    )
    gaussian_mean: Literal["sigmoid", "linear"] = api.setting(
        "sigmoid", "sigmoid: the Gaussian decoder's mean lies in (0, 1); linear: anywhere"
    )
    init_sd: float = api.setting(0.01, "initial weights and biases are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["Decoder", api.GaussianEncoder]:
    """Return a new decoder and encoder."""
    gaussian = config.decoder == "gaussian" or (config.decoder == "auto" and data.kind == "real")
    if data.kind == "real" and not gaussian:
        raise api.BadInput("--decoder is 'bernoulli', which needs data in [0, 1]: choose gaussian for these")
    decoder = (GaussianDecoder if gaussian else BernoulliDecoder)(config, data, dtype)
    encoder = api.GaussianEncoder(data.dim, config.nz, config.hidden, config.prior_sd, dtype)
    decoder.params.normal_(config.init_sd, streams("initial decoder"))
    encoder.params.normal_(config.init_sd, streams("initial encoder"))
    return decoder, encoder


class Decoder(api.LatentVariableModel):
    """p(x, z) with z ~ N(0, I) and a network in between; its kinds add the density of x given the network's outputs."""

    normalised = True
    outputs: int  # for each observed dimension
    density: api.native.Density  # of x given them

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        Z, H, D = config.nz, config.hidden, data.dim * self.outputs
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("continuous", Z)
        self.params = api.Parameters(
            {"W1": (Z, H), "W2": (H, D)}, {"b1": (H,), "b2": (D,)}, prior_sd=config.prior_sd, dtype=dtype
        )

    def observe(self, x: Tensor, z: Tensor, **asked: Any) -> api.native.Observed:
        """Return what is asked for of the density of x (B, D) given z (S, B, Z); see `api.native.Stack.observed`."""
        return self.params.stack.observed(self.density, x, z, **asked)

    def plain_density(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log p(x|z) (S, B) from x (B, D) and outputs a, for PyTorch to differentiate and transform."""
        raise NotImplementedError

    def mean(self, a: Tensor) -> Tensor:
        """Return E[x|z] from outputs a, which may be overwritten."""
        raise NotImplementedError

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) from outputs a, which may be overwritten."""
        raise NotImplementedError

    @api.metered(rows="decoder", count="z")
    @torch.no_grad()
    def mean_x(self, z: Tensor) -> Tensor:
        """Return E[x|z] of z (S, B, Z), (S, B, D)."""
        return self.mean(self._outputs(z))

    def _outputs(self, z: Tensor) -> Tensor:
        """Return a = W₂ h + b₂ (S, B, ·) of z (S, B, Z)."""
        return self.params.stack.up(z)[-1].view(*z.shape[:-1], -1)

    @api.metered()
    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I), (S, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        if torch._C._are_functorch_transforms_active():
            W1, W2, b1, b2 = self.params.split()
            return self.plain_density(x, (z @ W1 + b1).tanh() @ W2 + b2)
        out: Tensor = _LogLikelihood.apply(self.params.flat, x, z, self, torch.is_grad_enabled())
        return out

    @api.metered(samples=True, rows="decoder", count="z", differentiated=True)
    def gradients(
        self, x: Tensor, z: Tensor, weight: float = 1.0, by_z: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return log p(x|z) (S, B), and of weight times its sum ∂/∂θ, overwritten by the next call, and ∂/∂z (S, B, Z)."""
        z = z.detach() if z.requires_grad else z
        found = self.observe(x, z, down=True, by_z=by_z, weight=weight)
        return (
            cast(Tensor, found.log_p),
            api.from_factors(self.params, cast(api.native.Factors, found.factors)),
            found.g_z,
        )

    @api.metered(samples=True, rows="decoder", count="z", differentiated=True)
    def score(self, x: Tensor, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(x, z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        z = z.detach()
        found = self.observe(x, z, value=value, by_z=True)
        grad = cast(Tensor, found.g_z).sub_(z)
        return None if found.log_p is None else found.log_p.add_(api.native.standard_normal(z)), grad

    @api.metered()
    def prior_score(self, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        return api.native.standard_normal(z) if value else None, -z

    @api.metered()
    def prior_gradients(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return log p(z) (S, B), and None, as the prior has no parameters."""
        return api.native.standard_normal(z), None

    @api.metered()
    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from N(0, I)."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        z = self.sample_z(n, rng)
        return self.draw(self._outputs(z), rng), z


class BernoulliDecoder(Decoder):
    """(C.1) from logits a: log p(x|z) = Σ_d x_d a_d - log(1 + exp a_d),  ∂/∂a = x - σ(a)."""

    outputs, density = 1, "bernoulli"

    def plain_density(self, x: Tensor, a: Tensor) -> Tensor:
        """See `Decoder.plain_density`."""
        return (x * a - torch.nn.functional.softplus(a)).sum(-1)

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Decoder.draw`."""
        return api.bernoulli(self.mean(a), rng)

    def mean(self, a: Tensor) -> Tensor:
        """See `Decoder.mean`."""
        return a.sigmoid_()


class GaussianDecoder(Decoder):
    """(C.2) from a and v = log s², e = (x - m)/s:  log p(x|z) = -½ Σ_d e² + v + log 2π,  ∂/∂m = e/s,  ∂/∂v = ½ (e² - 1)."""

    outputs = 2

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        super().__init__(config, data, dtype)
        self._squash = config.gaussian_mean == "sigmoid"
        self.density = "squashed gaussian" if self._squash else "gaussian"
        mean = (0.0, 1.0) if self._squash else None
        self.expects = api.Expects(mean, "--gaussian-mean linear", learned_variance=True)

    def plain_density(self, x: Tensor, a: Tensor) -> Tensor:
        """See `Decoder.plain_density`."""
        mean, log_var = a.chunk(2, dim=-1)
        error = x - (mean.sigmoid() if self._squash else mean)
        return -0.5 * (error.square() * (-log_var).exp() + log_var + LOG_2PI).sum(-1)

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Decoder.draw`."""
        mean, log_var = self.mean(a), a.chunk(2, dim=-1)[1]
        return mean + log_var.mul(0.5).exp_() * torch.randn(
            mean.shape, generator=rng, dtype=mean.dtype, device=mean.device
        )

    def mean(self, a: Tensor) -> Tensor:
        """See `Decoder.mean`."""
        mean = a.chunk(2, dim=-1)[0]
        return mean.sigmoid_() if self._squash else mean


class _LogLikelihood(api.MeteredFunction):
    """log p(x|z), for autograd."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, z: Tensor, decoder: Decoder, wanted: bool) -> Tensor:
        # ∂/∂a is computed here, while all that it needs is in cache.
        found = decoder.observe(x, z, slope=wanted and any(ctx.needs_input_grad))
        if found.slope is not None:
            ctx.save_for_backward(flat, z, found.slope, *found.units)
            ctx.decoder = decoder
        return cast(Tensor, found.log_p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        api.MeteredFunction.enter(ctx)
        flat, z, slope, *units = ctx.saved_tensors
        decoder, (by_theta, _, by_z, _, _) = ctx.decoder, ctx.needs_input_grad
        factors, g_z = decoder.params.stack.down(z, units, slope * grad.reshape(-1, 1), by_x=by_z)
        g_flat = api.Factored(decoder.params, factors).dense(torch.empty_like(flat)) if by_theta else None
        return g_flat, None, g_z, None, None
