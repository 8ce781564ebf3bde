"""Variational auto-encoder's pair: a Bernoulli or Gaussian decoder and a diagonal-Gaussian encoder, one tanh layer each.

Diederik P. Kingma and Max Welling, "Auto-encoding variational Bayes" (2014), arXiv 1312.6114, appendix C:

    p(z) = N(0, I)    log p(x|z) = Σ_d x_d log y_d + (1 - x_d) log(1 - y_d),  y = σ(W₂ tanh(W₁ z + b₁) + b₂)      (C.1)
               or     log p(x|z) = log N(x; m, s² I),  (a, log s²) = W₂ tanh(W₁ z + b₁) + b₂,  m = σ(a)           (C.2)
    q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄                                                    (C.2)

Grey pixels in [0, 1] enter (C.1) as they are, as in the paper; the likelihood is then not normalised in x. The mean of the
Gaussian decoder lies in (0, 1), as the paper has it for grey images, unless `gaussian_mean` says otherwise.

Both networks are differentiated by hand, in `Decoder._back` and `_encode_back`, for two kinds of caller: autograd, which any
algorithm may use without knowing, and algorithms that ask for gradients themselves (`api.gradients`) and save autograd's own
time. Gradients go into one flat tensor with no copy, and none is computed that is not asked for: a sampler that moves z alone
pays for z alone. Under `torch.func`'s transforms, such as vmap, both networks are plain PyTorch.
"""

import math
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary", "unit", "real")

BLOCK = 200_000  # numbers that stay in a processor's cache

LOG_2PI = math.log(2.0 * math.pi)

HALF, ONE = (
    torch.tensor(number, device="cpu") for number in (0.5, 1.0)
)  # a third of the time that PyTorch takes with a number

tanh_backward = torch.ops.aten.tanh_backward  # grad · (1 - h²), the chain rule through h = tanh(u)


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
    outputs: ClassVar[int]  # for each observed dimension

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        Z, H, D = config.nz, config.hidden, data.dim * self.outputs
        self.kind, self.dim, self.latents = data.kind, data.dim, api.Latents.of("continuous", Z)
        self.params = api.Parameters(
            {"W1": (Z, H), "W2": (H, D)}, {"b1": (H,), "b2": (D,)}, prior_sd=config.prior_sd, dtype=dtype
        )

    def density(self, x: Tensor, a: Tensor, value: bool, slope: bool) -> tuple[Tensor | None, Tensor | None]:
        """Return log p(x|z) (S, B) and ∂ log p / ∂a, whichever is asked for, from x (B, D) and outputs a.

        The outputs may be overwritten.
        """
        raise NotImplementedError

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
        return self.mean(self._up(z)[1])

    def _up(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return h = tanh(W₁ z + b₁) (S·B, H) and a = W₂ h + b₂ (S, B, ·)."""
        W1, W2, b1, b2 = self.params.views
        h = torch.addmm(b1, z.reshape(-1, z.shape[-1]), W1).tanh_()
        return h, torch.addmm(b2, h, W2).view(*z.shape[:-1], -1)

    def _back(
        self, z: Tensor, h: Tensor, g_a: Tensor, gradient: list[Tensor] | None, by_z: bool = True
    ) -> Tensor | None:
        """Take ∂/∂a (S, B, ·) down through W₂, tanh and W₁; write ∂/∂θ into views of a gradient, and return ∂/∂z (S, B, Z)."""
        W1, W2, _, _ = self.params.views
        g_a = g_a.view(len(h), -1)
        g_u = tanh_backward(torch.mm(g_a, W2.t()), h)  # (S·B, H); W₂ first, which the forward pass has left in cache
        if gradient is not None:
            g_W1, g_W2, g_b1, g_b2 = gradient
            torch.mm(h.t(), g_a, out=g_W2)
            torch.sum(g_a, 0, out=g_b2)
            torch.mm(z.reshape(-1, z.shape[-1]).t(), g_u, out=g_W1)
            torch.sum(g_u, 0, out=g_b1)
        return torch.mm(g_u, W1.t()).view_as(z) if by_z else None

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
        z = z.detach()
        h, a = self._up(z)
        log_p, slope = cast(tuple[Tensor, Tensor], self.density(x, a, True, True))
        if weight != 1.0:
            slope.mul_(weight)
        flat, views = self.params.gradient
        return log_p, flat, self._back(z, h, slope, views, by_z)

    @api.metered(samples=True, rows="decoder", count="z", differentiated=True)
    def score(self, x: Tensor, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(x, z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        z = z.detach()
        h, a = self._up(z)
        log_p, slope = self.density(x, a, value, True)
        grad = cast(Tensor, self._back(z, h, cast(Tensor, slope), None)).sub_(z)
        return None if log_p is None else log_p.add_(self.log_p_z(z)), grad

    @api.metered()
    def prior_score(self, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        return self.log_p_z(z) if value else None, -z

    @api.metered()
    def prior_gradients(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return log p(z) (S, B), and None, as the prior has no parameters."""
        return self.log_p_z(z), None

    @api.metered()
    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from N(0, I)."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @api.metered(fantasies=True, rows="decoder", count="n")
    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        z = self.sample_z(n, rng)
        return self.draw(self._up(z)[1], rng), z


class BernoulliDecoder(Decoder):
    """(C.1) from logits a: log p(x|z) = Σ_d x_d a_d - log(1 + exp a_d),  ∂/∂a = x - σ(a)."""

    outputs = 1

    def density(self, x: Tensor, a: Tensor, value: bool, slope: bool) -> tuple[Tensor | None, Tensor | None]:
        """See `Decoder.density`."""
        if not value:
            return None, torch.sub(x, a.sigmoid_(), out=a)
        if a.numel() > BLOCK and len(x) > 1:  # some points at a time: what lies in between stays in cache
            n = max(1, BLOCK * len(x) // a.numel())
            parts = [self.density(*part, value, False)[0] for part in zip(x.split(n), a.split(n, dim=-2), strict=True)]
            return torch.cat(cast(list[Tensor], parts), dim=-1), self.density(x, a, False, True)[1] if slope else None
        log_p: Tensor = torch.linalg.vecdot(x, a)
        # In float32 as exact as the sum over pixels is, and several times as fast as softplus; infinite where a is beyond 88.
        odds = a.exp().add_(ONE)  # 1 + exp a = 1 / (1 - σ(a))
        normaliser = odds.log().sum(-1)
        if a.is_cuda or not normaliser.max().item() < math.inf:
            normaliser = torch.nn.functional.softplus(a).sum(-1)
        return log_p.sub_(normaliser), odds.reciprocal_().add_(x).sub_(ONE) if slope else None

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
        mean = (0.0, 1.0) if self._squash else None
        self.expects = api.Expects(mean, "--gaussian-mean linear", learned_variance=True)

    def density(self, x: Tensor, a: Tensor, value: bool, slope: bool) -> tuple[Tensor | None, Tensor | None]:
        """See `Decoder.density`."""
        mean, log_var = a.chunk(2, dim=-1)
        if self._squash:
            mean.sigmoid_()
        error = x - mean
        pull = log_var.neg().exp_().mul_(error)
        squares = error.mul_(pull)  # e²
        log_p = None
        if value:
            log_p = squares.sum(-1).add_(log_var.sum(-1)).add_(x.shape[-1] * LOG_2PI).mul_(-0.5)
        if not slope:
            return log_p, None
        if self._squash:
            torch.ops.aten.sigmoid_backward(pull, mean, grad_input=mean)
        else:
            mean.copy_(pull)
        torch.mul(squares, HALF, out=log_var).sub_(HALF)
        return log_p, a

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
        h, a = decoder._up(z)
        # ∂/∂a is computed here, while all that it needs is in cache.
        log_p, slope = decoder.density(x, a, True, wanted and any(ctx.needs_input_grad))
        if slope is not None:
            ctx.save_for_backward(flat, z, h, slope)
            ctx.decoder = decoder
        return cast(Tensor, log_p)  # (S, B)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        api.MeteredFunction.enter(ctx)
        flat, z, h, slope = ctx.saved_tensors
        by_theta, _, by_z, _, _ = ctx.needs_input_grad
        g_flat = torch.empty_like(flat) if by_theta else None
        views = None if g_flat is None else ctx.decoder.params.split(g_flat)
        return g_flat, None, ctx.decoder._back(z, h, slope * grad.unsqueeze(-1), views, by_z), None, None
