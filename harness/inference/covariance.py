"""Gaussian posteriors of layers of latents that are independent of each other, with covariances of rank one or full ones.

Danilo Rezende, Shakir Mohamed and Daan Wierstra, "Stochastic backpropagation and approximate inference in deep generative models"
(2014), arXiv 1401.4082. Beside the prior N(0, I), with ε ~ N(0, I) for each point:

    q(z|x) = Π_l N(z_l; μ_l, C_l),  C = R Rᵀ,  z = μ + R ε        KL = ½ Σ_l |μ_l|² + tr C_l - log |C_l| - K_l
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.inference.encoder import Encoded, Encoder
from harness.inference.factored import from_factors
from harness.inference.posterior import LOG_2PI
from harness.inference.protocols import Latents


class RankOneGaussian:
    """Π_l N(μ_l, C_l) with precisions C_l⁻¹ = D_l + u_l u_lᵀ, for every point of a batch: linear in the number of latents.

    With D = diag(1/σ²), w = σ u, s = |w|² and r = √(1 + s) for each layer, the matrix R = diag(σ) (I - c w wᵀ) with
    c = 1/(r (1 + r)) is a root of C, as (I - c w wᵀ)² = I - w wᵀ/(1 + s) = (I + w wᵀ)⁻¹ by Sherman and Morrison. So

        tr C = Σ_j σ_j² (1 - w_j²/(1 + s))    log |C| = Σ_j log σ_j² - log (1 + s)
        log q = -½ (|e|² + (w·e)² + log |C| + K log 2π),  e = (z - μ)/σ

    Args:
        mean: μ (B, Z).
        log_var: log σ² (B, Z), minus the log of D.
        u: (B, Z).
        latents: the layers.
    """

    def __init__(self, mean: Tensor, log_var: Tensor, u: Tensor, latents: Latents):
        self._parts, self._latents = (mean, log_var, u), latents

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return μ, log σ² and u, (B, Z) each."""
        return self._parts

    def transform(self, noise: Tensor) -> Tensor:
        """Return z = μ + R ε of ε (S, B, Z), differentiable."""
        mean, log_var, u = self.parts()
        sd = (0.5 * log_var).exp()
        w = sd * u
        r = (1.0 + self._sums(w.square())).sqrt()
        return mean + sd * (noise - w * self._each(self._sums(w * noise) / (r * (1.0 + r))))

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), differentiable."""
        mean = self.parts()[0]
        return self.transform(torch.randn(n, *mean.shape, generator=rng, dtype=mean.dtype))

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), without a gradient."""
        return self.rsample(n, rng)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        mean, log_var, u = self.parts()
        sd = (0.5 * log_var).exp()
        e = (z - mean) / sd
        squares = e.square().sum(-1) + self._sums(sd * u * e).square().sum(-1)
        log_q: Tensor = -0.5 * (squares + self.log_det() + z.shape[-1] * LOG_2PI)
        return log_q

    def log_det(self) -> Tensor:
        """Return log |C| of all layers together (B,)."""
        _, log_var, u = self.parts()
        return log_var.sum(-1) - self._sums(log_var.exp() * u.square()).log1p().sum(-1)

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || N(0, I)), (B,)."""
        mean, log_var, u = self.parts()
        var = log_var.exp()
        squares = var * u.square()  # w²
        trace = (var * (1.0 - squares / self._each(1.0 + self._sums(squares)))).sum(-1)
        return 0.5 * (mean.square().sum(-1) + trace - self.log_det() - mean.shape[-1])

    def _sums(self, values: Tensor) -> Tensor:
        """Return the sum over each layer of values (..., Z), (..., L)."""
        if len(self._latents.layers) == 1:
            return values.sum(-1, keepdim=True)
        return values @ _membership(self._latents, values.dtype, values.device)

    def _each(self, values: Tensor) -> Tensor:
        """Return for each latent the number of its layer, of numbers (..., L); it need only broadcast to (..., Z)."""
        if len(self._latents.layers) == 1:
            return values
        return values @ _membership(self._latents, values.dtype, values.device).t()


@functools.lru_cache(maxsize=32)
def _membership(latents: Latents, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a matrix (Z, L) of ones where a latent is in a layer, and zeros elsewhere."""
    ones = [torch.ones(layer.size, 1, dtype=dtype, device=device) for layer in latents.layers]
    membership: Tensor = torch.block_diag(*ones)
    return membership


class EncodedRankOne(Encoded, RankOneGaussian):
    """The same of a network's outputs (μ, log σ², u) (B, 3Z), differentiated by hand.

    With q = σ ∂/∂z, t = q·w, a = w·ε and k = 1 + s:

        z     ∂/∂w = t a c² (1 + 2r)/r w - c (a q + t ε)
        KL    ∂/∂w = ((1 - σ²)/k + Σ_j σ_j² w_j²/k²) w    ∂/∂ log σ² = ½ (σ² (1 - w²/k) - 1)  while w stays
        log q ∂/∂w = w/k - (w·e) e                        ∂/∂ log σ² = ½ (e f - 1),  ∂/∂μ = f/σ,  f = e + (w·e) w

    and then, as w = σ u,  ∂/∂u = σ ∂/∂w  and  ½ w ∂/∂w  is added to  ∂/∂ log σ².
    """

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `RankOneGaussian.parts`."""
        mean, log_var, u = self.statistics.chunk(3, dim=-1)
        return mean, log_var, u

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), differentiable."""
        self._anew()
        return self.transform(self._noise(n, rng))

    # Without autograd, for algorithms that ask for gradients themselves. Every gradient of φ is overwritten by the next.

    @torch.no_grad()
    def reparameterise(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z (n, B, Z) and return it with the KL (B,); `pull_back` then has their gradient."""
        noise = self._noise(n, rng)
        mean, log_var, u = self._up()[-1].chunk(3, dim=-1)
        sd = log_var.mul(0.5).exp_()
        w, var = sd * u, sd.square()
        squares = w.square()
        k = self._sums(squares).add_(1.0)
        r = k.sqrt()
        c = (r * (r + 1.0)).reciprocal_()
        a = self._sums(w * noise)  # (n, B, L)
        moved = torch.addcmul(noise, w, self._each(c * a), value=-1.0).mul_(sd)
        share, weighted = self._each(k.reciprocal()), squares.mul_(var)
        diagonal = torch.addcmul(var, weighted, share, value=-1.0)  # of C
        kl = (mean.square().add_(diagonal).sub_(log_var).sum(-1) + k.log().sum(-1) - mean.shape[-1]).mul_(0.5)
        self._draw = noise, moved, mean, sd, w, var, diagonal, share, self._sums(weighted), k, r, c, a
        return mean + moved, kl

    @torch.no_grad()
    def pull_back(self, g_z: Tensor, g_kl: float) -> Tensor:
        """Return ∂/∂φ of what has derivative g_z (n, B, Z) by the z that `reparameterise` drew, and g_kl by each KL."""
        noise, moved, mean, sd, w, var, diagonal, share, spread, k, r, c, a = self._draw
        q = g_z * sd
        t = self._sums(q * w)  # (n, B, L)
        along = _over_samples(t * a) * (c.square() * (1.0 + 2.0 * r) / r) + g_kl * spread / k.square()  # (B, L)
        g_w = (1.0 - var).mul_(share).mul_(g_kl).add_(self._each(along)).mul_(w)
        g_w -= _over_samples(q.mul_(self._each(c * a)).addcmul_(noise, self._each(c * t)))
        g_log_var = diagonal.sub(1.0).mul_(g_kl).add_(_over_samples(g_z * moved)).addcmul_(w, g_w).mul_(0.5)
        return self._down(_over_samples(g_z).add(mean, alpha=g_kl), g_log_var, g_w.mul_(sd))

    @torch.no_grad()
    def gradients(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log q(z|x) of z (S, B, Z), (S, B), and ∂/∂φ of its sum."""
        mean, log_var, u = self._up()[-1].chunk(3, dim=-1)
        sd = log_var.mul(0.5).exp_()
        w, e = sd * u, (z.detach() - mean) / sd
        k, b = self._sums(w.square()).add_(1.0), self._sums(w * e)  # (B, L), (S, B, L)
        log_det = log_var.sum(-1) - k.log().sum(-1)
        log_q = (e.square().sum(-1) + b.square().sum(-1) + log_det + z.shape[-1] * LOG_2PI).mul_(-0.5)
        each, n = self._each(b), len(z)
        f = torch.addcmul(e, each, w)
        g_w = w / self._each(k) * n - (each * e).sum(0)
        g_log_var = (e * f).sum(0).sub_(n).addcmul_(w, g_w).mul_(0.5)
        return log_q, self._down((f / sd).sum(0), g_log_var, sd * g_w)

    def _down(self, *by_parts: Tensor) -> Tensor:
        """Return ∂/∂φ of what has these derivatives (B, Z) by μ, log σ² and u."""
        *units, _ = self._up()
        return from_factors(self._params, self._params.stack.down(self._x, units, torch.cat(by_parts, dim=-1))[0])


def _over_samples(values: Tensor) -> Tensor:
    """Return the sum over samples of values (n, B, ·), (B, ·)."""
    return values.squeeze(0) if len(values) == 1 else values.sum(0)


class RankOneEncoder(Encoder):
    """A recognition model whose layers have precisions of a diagonal and rank one. See `Encoder` for the arguments."""

    posterior_type = EncodedRankOne

    @staticmethod
    def n_outputs(sizes: Sequence[int]) -> int:
        """See `Encoder.n_outputs`: μ, log σ² and u for each latent."""
        return 3 * sum(sizes)


class FullGaussian:
    """Π_l N(μ_l, R_l R_lᵀ) with lower triangles R_l, for every point of a batch.

    Args:
        mean: μ (B, Z).
        roots: R_l (B, K, K) of each layer, their diagonals positive.
        latents: the layers.
    """

    def __init__(self, mean: Tensor, roots: list[Tensor], latents: Latents):
        self._parts, self._latents = (mean, roots), latents

    def parts(self) -> tuple[Tensor, list[Tensor]]:
        """Return μ (B, Z), and R_l (B, K, K) of each layer."""
        return self._parts

    def transform(self, noise: Tensor) -> Tensor:
        """Return z = μ + R ε of ε (S, B, Z), differentiable."""
        mean, roots = self.parts()
        layers = zip(roots, self._latents.split(noise), strict=True)
        return mean + torch.cat([(R @ part.unsqueeze(-1)).squeeze(-1) for R, part in layers], dim=-1)

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), differentiable."""
        mean = self.parts()[0]
        return self.transform(torch.randn(n, *mean.shape, generator=rng, dtype=mean.dtype))

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), without a gradient."""
        return self.rsample(n, rng)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        mean, roots = self.parts()
        squares = torch.zeros_like(z[..., 0])
        for R, offset in zip(roots, self._latents.split(z - mean), strict=True):
            white = torch.linalg.solve_triangular(R, offset.permute(1, 2, 0), upper=False)  # (B, K, S)
            squares = squares + white.square().sum(1).t()
        log_q: Tensor = -0.5 * (squares + self.log_det() + z.shape[-1] * LOG_2PI)
        return log_q

    def log_det(self) -> Tensor:
        """Return log |C| of all layers together (B,)."""
        return torch.stack([2.0 * R.diagonal(dim1=-2, dim2=-1).log().sum(-1) for R in self.parts()[1]]).sum(0)

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || N(0, I)), (B,)."""
        mean, roots = self.parts()
        trace = torch.stack([R.square().sum((-2, -1)) for R in roots]).sum(0)
        return 0.5 * (mean.square().sum(-1) + trace - self.log_det() - mean.shape[-1])


class EncodedFull(Encoded, FullGaussian):
    """The same of a network's outputs: μ, and of each layer the rows of R_l, with the logs of its diagonal. By autograd."""

    def parts(self) -> tuple[Tensor, list[Tensor]]:
        """See `FullGaussian.parts`."""
        sizes = [layer.size for layer in self._latents.layers]
        mean, *rows = self.statistics.split([sum(sizes), *(size * (size + 1) // 2 for size in sizes)], dim=-1)
        return mean, [_root(row, size) for row, size in zip(rows, sizes, strict=True)]

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, B, Z), differentiable."""
        self._anew()
        return self.transform(self._noise(n, rng))


def _root(rows: Tensor, size: int) -> Tensor:
    """Return the lower triangle (B, K, K) of its rows, one behind the other (B, K (K + 1) / 2), with the logs of its diagonal."""
    i = torch.arange(size, device=rows.device)
    place = (i * (i + 1) // 2).unsqueeze(-1) + i  # of entry (i, j), for j <= i
    entries = rows[..., place.tril().flatten()].unflatten(-1, (size, size))
    root: Tensor = entries.tril(-1) + torch.diag_embed(entries.diagonal(dim1=-2, dim2=-1).exp())
    return root


class FullEncoder(Encoder):
    """A recognition model whose layers have full covariances. See `Encoder` for the arguments."""

    posterior_type = EncodedFull

    @staticmethod
    def n_outputs(sizes: Sequence[int]) -> int:
        """See `Encoder.n_outputs`: for each layer, means and a triangle."""
        return sum(size + size * (size + 1) // 2 for size in sizes)
