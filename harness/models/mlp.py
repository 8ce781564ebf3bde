"""Variational auto-encoder's pair: a Bernoulli or Gaussian decoder and a diagonal-Gaussian encoder, one tanh layer each.

Diederik P. Kingma and Max Welling, "Auto-encoding variational Bayes" (2014), arXiv 1312.6114, appendix C:

    p(z) = N(0, I)    log p(x|z) = Σ_d x_d log y_d + (1 - x_d) log(1 - y_d),  y = σ(W₂ tanh(W₁ z + b₁) + b₂)      (C.1)
               or     log p(x|z) = log N(x; m, s² I),  (a, log s²) = W₂ tanh(W₁ z + b₁) + b₂,  m = σ(a)           (C.2)
    q(z|x) = N(μ, σ² I),  (μ, log σ²) = W₄ tanh(W₃ x + b₃) + b₄                                                    (C.2)

Grey pixels in [0, 1] enter (C.1) as they are, as in the paper; the likelihood is then not normalised in x. The mean of the
Gaussian decoder lies in (0, 1), as the paper has it for grey images, unless `gaussian_mean` says otherwise.

Both networks are differentiated by hand. Gradients go into one flat tensor with no copy, and none is computed for parameters
that are held fixed, so that a sampler which moves z alone pays for z alone.
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary", "unit", "real")
LOG2 = math.log(2.0)
LOG_2PI = math.log(2.0 * math.pi)
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
) -> tuple["Decoder", "GaussianEncoder"]:
    """Return a new decoder and encoder."""
    gaussian = config.decoder == "gaussian" or (config.decoder == "auto" and data.kind == "real")
    if data.kind == "real" and not gaussian:
        raise api.BadInput("--decoder is 'bernoulli', which needs data in [0, 1]: choose gaussian for these")
    decoder = (GaussianDecoder if gaussian else BernoulliDecoder)(config, data.dim, dtype)
    encoder = GaussianEncoder(config, data.dim, dtype)
    decoder.params.normal_(config.init_sd, streams("initial decoder"))
    encoder.params.normal_(config.init_sd, streams("initial encoder"))
    return decoder, encoder


class Decoder:
    """p(x, z) with z ~ N(0, I) and a network in between; its kinds add the density of x given the network's outputs."""

    outputs: ClassVar[int]  # for each observed dimension

    def __init__(self, config: Config, dim: int, dtype: torch.dtype):
        Z, H, D = config.nz, config.hidden, dim * self.outputs
        self.latents = api.Latents("continuous", (Z,))
        self.params = api.Parameters(
            {"W1": (Z, H), "W2": (H, D)}, {"b1": (H,), "b2": (D,)}, prior_sd=config.prior_sd, dtype=dtype
        )

    def density(self, x: Tensor, a: Tensor, differentiated: bool) -> tuple[Tensor, Tensor | None]:
        """Return log p(x|z) (S, B) from x (B, D) and outputs a, and ∂ log p / ∂a if asked for; it may overwrite a."""
        raise NotImplementedError

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (n, D) from outputs a."""
        raise NotImplementedError

    @api.metered()
    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I), (S, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    @api.metered(samples=True, rows="decoder")
    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        out: Tensor = _LogLikelihood.apply(self.params.flat, x, z, self, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
        return out

    @api.metered(samples=True, rows="decoder")
    def log_p_xz(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) + log p(z), (S, B)."""
        return self.log_p_x_given_z(x, z) + self.log_p_z(z)

    @api.metered(dreams=True, rows="decoder")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        W1, W2, b1, b2 = self.params.views
        z = torch.randn(n, W1.shape[0], generator=rng, dtype=W1.dtype)
        return self.draw(torch.addmm(b2, torch.addmm(b1, z, W1).tanh_(), W2), rng), z


class BernoulliDecoder(Decoder):
    """(C.1) from logits a: log p(x|z) = Σ_d x_d a_d - log(1 + exp a_d),  ∂/∂a = x - σ(a)."""

    outputs = 1

    def density(self, x: Tensor, a: Tensor, differentiated: bool) -> tuple[Tensor, Tensor | None]:
        """See `Decoder.density`."""
        y = a.sigmoid()
        slope = x - y if differentiated else None
        # log(1 + exp a) = max(a, 0) - log max(y, 1 - y). The last logarithm lies in [-log 2, 0], where log2 of the rounded y is
        # as exact as the sum over pixels is, and several times as fast as log1p.
        value: Tensor = torch.linalg.vecdot(x, a).sub_(a.clamp_min_(0.0).sum(-1))
        value.add_(y.sub_(0.5).abs_().add_(0.5).log2_().sum(-1), alpha=LOG2)
        return value, slope

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Decoder.draw`."""
        return torch.bernoulli(a.sigmoid_(), generator=rng)


class GaussianDecoder(Decoder):
    """(C.2) from a and v = log s², e = (x - m)/s:  log p(x|z) = -½ Σ_d e² + v + log 2π,  ∂/∂m = e/s,  ∂/∂v = ½ (e² - 1)."""

    outputs = 2

    def __init__(self, config: Config, dim: int, dtype: torch.dtype):
        super().__init__(config, dim, dtype)
        self._squash = config.gaussian_mean == "sigmoid"

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        a, log_var = outputs.chunk(2, dim=-1)
        return a.sigmoid() if self._squash else a, log_var

    def density(self, x: Tensor, a: Tensor, differentiated: bool) -> tuple[Tensor, Tensor | None]:
        """See `Decoder.density`."""
        mean, log_var = self._moments(a)
        precision = log_var.neg().exp_()
        error = x - mean
        pull = error * precision
        squares = error.mul_(pull)  # e²
        value = (squares + log_var).sum(-1).add_(x.shape[-1] * LOG_2PI).mul_(-0.5)
        if not differentiated:
            return value, None
        if self._squash:
            pull.mul_(mean).mul_(1.0 - mean)
        return value, torch.cat([pull, squares.sub_(1.0).mul_(0.5)], dim=-1)

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Decoder.draw`."""
        mean, log_var = self._moments(a)
        return mean + log_var.mul(0.5).exp_() * torch.randn(mean.shape, generator=rng, dtype=mean.dtype)


class GaussianEncoder:
    """q(z|x) of (C.2)."""

    reparameterised = True
    analytic_kl = True

    def __init__(self, config: Config, dim: int, dtype: torch.dtype):
        Z, H = config.nz, config.hidden
        self.params = api.Parameters(
            {"W3": (dim, H), "W4": (H, 2 * Z)}, {"b3": (H,), "b4": (2 * Z,)}, prior_sd=config.prior_sd, dtype=dtype
        )

    @api.metered(rows="encoder")
    def posterior(self, x: Tensor) -> "DiagonalGaussian":
        """Return q(z|x) for x (B, D)."""
        return DiagonalGaussian(self.params, x)


class DiagonalGaussian:
    """q(z|x) = N(μ, σ² I) for the points x (B, D) of one batch, beside the prior N(0, I).

    The network runs when something is first asked for, together with what was asked: a sample, the KL and the statistics
    share one pass and one derivative.
    """

    def __init__(self, params: api.Parameters, x: Tensor):
        self._params, self._x = params, x
        self._encoded: tuple[Tensor, Tensor, Tensor] | None = None

    def _encode(self, n: int, rng: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return n samples (n, B, Z), the KL (B,) and the statistics (B, 2Z)."""
        Z = self._params.shapes["b4"][0] // 2
        noise = torch.randn(n, len(self._x), Z, generator=rng, dtype=self._x.dtype)
        self._encoded = _Encode.apply(self._params.flat, self._x, noise, self._params)  # type: ignore[no-untyped-call]
        return self._encoded

    @property
    def statistics(self) -> Tensor:
        """(μ, log σ²), (B, 2Z)."""
        return (self._encoded or self._encode(0, None))[2]

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z = μ + σ ε (eq. 4), (n, B, Z), differentiable in μ and σ."""
        return self._encode(n, rng)[0]

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), without a gradient."""
        z, _, _ = self._encode(n, rng)
        self._encoded = None  # it was computed without a gradient, which may be wanted of the rest
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z|x) of z (S, B, Z), (S, B)."""
        mean, log_var = self.statistics.chunk(2, dim=-1)
        return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + LOG_2PI).sum(-1)

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || N(0, I)) (appendix B), (B,)."""
        return (self._encoded or self._encode(0, None))[1]


def _refuse_second_derivative() -> None:
    """Say so where a backward pass is itself to be differentiated, as `create_graph=True` asks."""
    if torch.is_grad_enabled():
        raise NotImplementedError(
            "the networks of model 'mlp' are differentiated by hand, once: create_graph=True cannot work"
        )


class _LogLikelihood(torch.autograd.Function):
    """log p(x|z) from the network's outputs a = W₂ h + b₂, h = tanh(W₁ z + b₁), with the decoder's density of them."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, z: Tensor, decoder: Decoder, wanted: bool) -> Tensor:
        W1, W2, b1, b2 = decoder.params.views
        h = torch.addmm(b1, z.reshape(-1, z.shape[-1]), W1).tanh_()  # (S·B, H)
        a = torch.addmm(b2, h, W2).view(*z.shape[:-1], -1)  # (S, B, D)
        # ∂/∂a is computed here, while all that it needs is in cache.
        value, slope = decoder.density(x, a, wanted and any(ctx.needs_input_grad))
        if slope is not None:
            ctx.save_for_backward(flat, z, h, slope)
            ctx.params = decoder.params
        return value  # (S, B)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        flat, z, h, slope = ctx.saved_tensors
        W1, W2, _, _ = ctx.params.views
        # The chain rule through W₂, tanh and W₁.
        g_a = torch.mul(slope, grad.unsqueeze(-1)).view(-1, slope.shape[-1])  # (S·B, D)
        g_u = tanh_backward(torch.mm(g_a, W2.t()), h)  # (S·B, H)
        g_flat = g_z = None
        if ctx.needs_input_grad[0]:
            g_flat = torch.empty_like(flat)
            g_W1, g_W2, g_b1, g_b2 = ctx.params.split(g_flat)
            torch.mm(h.t(), g_a, out=g_W2)
            torch.sum(g_a, 0, out=g_b2)
            torch.mm(z.reshape(-1, z.shape[-1]).t(), g_u, out=g_W1)
            torch.sum(g_u, 0, out=g_b1)
        if ctx.needs_input_grad[2]:
            g_z = torch.mm(g_u, W1.t()).view_as(z)
        return g_flat, None, g_z, None, None


def _sum(t: Tensor) -> Tensor:
    """Sum over samples, (S, B, Z) -> (B, Z); one sample, the usual case, is its own sum."""
    return t[0] if len(t) == 1 else t.sum(0)


class _Encode(torch.autograd.Function):
    """Samples, KL and statistics (μ, log σ²) = W₄ h + b₄, h = tanh(W₃ x + b₃), of (C.2).

    With σ = exp(½ log σ²):   z = μ + σ ε                               ∂z/∂μ = 1     ∂z/∂ log σ² = ½ σ ε
                              KL = ½ Σ_j μ_j² + σ_j² - log σ_j² - 1     ∂KL/∂μ = μ    ∂KL/∂ log σ² = ½ (σ² - 1)
    """

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, x: Tensor, noise: Tensor, params: api.Parameters
    ) -> tuple[Tensor, Tensor, Tensor]:
        W3, W4, b3, b4 = params.views
        h = torch.addmm(b3, x, W3).tanh_()  # (B, H)
        statistics = torch.addmm(b4, h, W4)
        mean, log_var = statistics.chunk(2, dim=-1)
        sd = log_var.mul(0.5).exp_()
        moved = sd * noise  # σ ε, (S, B, Z)
        slope = sd.square_().sub_(1.0)  # σ² - 1
        kl = torch.addcmul(slope, mean, mean).sub_(log_var).sum(-1).mul_(0.5)
        ctx.save_for_backward(flat, x, h, mean, moved, slope)
        ctx.set_materialize_grads(False)
        ctx.params = params
        return mean + moved, kl, statistics

    @staticmethod
    def backward(
        ctx: Any, g_z: Tensor | None, g_kl: Tensor | None, g_statistics: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        flat, x, h, mean, moved, slope = ctx.saved_tensors
        _, W4, _, _ = ctx.params.views
        g_flat = torch.empty_like(flat)
        g_W3, g_W4, g_b3, g_b4 = ctx.params.split(g_flat)
        if g_z is not None:
            g_mean, g_log_var = _sum(g_z), _sum(g_z * moved)
        else:
            g_mean, g_log_var = torch.zeros_like(mean), torch.zeros_like(mean)
        if g_kl is not None:
            g_kl = g_kl.unsqueeze(-1)
            g_mean, g_log_var = torch.addcmul(g_mean, mean, g_kl), torch.addcmul(g_log_var, slope, g_kl)
        g_s = torch.cat([g_mean, 0.5 * g_log_var], dim=-1)
        if g_statistics is not None:
            g_s.add_(g_statistics)
        torch.mm(h.t(), g_s, out=g_W4)
        torch.sum(g_s, 0, out=g_b4)
        g_u = tanh_backward(torch.mm(g_s, W4.t()), h)
        torch.mm(x.t(), g_u, out=g_W3)
        torch.sum(g_u, 0, out=g_b3)
        return g_flat, None, None, None
