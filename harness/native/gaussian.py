"""Draws from diagonal Gaussians by reparameterisation, beside the prior N(0, I)."""

import torch
from torch import Tensor

from harness.native import path
from harness.native.layers import HALF, ONE, require


def gaussian_draw(statistics: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return z = μ + σ ε and σ ε (S, B, Z) of (μ, log σ²) (B, 2Z) and ε (S, B, Z), and KL(N(μ, σ²) || N(0, I)) (B,).

    KL = ½ Σ_j μ_j² + σ_j² - log σ_j² - 1  (Kingma & Welling 2014, appendix B).
    """
    if path.serves(statistics, noise):
        samples, points, dim = noise.shape
        require(statistics, (points, 2 * dim))
        statistics, noise = statistics.contiguous(), noise.contiguous()
        out = z, moved, kl = torch.empty_like(noise), torch.empty_like(noise), noise.new_empty(points)
        path.kernels.gaussian_draw(samples, points, dim, *(part.data_ptr() for part in (statistics, noise, *out)))
        return z, moved, kl
    mean, log_var = statistics.chunk(2, dim=-1)
    sd = log_var.mul(HALF).exp_()
    moved = sd * noise
    kl = sd.square_().sub_(ONE).addcmul_(mean, mean).sub_(log_var).sum(-1).mul_(HALF)
    return mean + moved, moved, kl


def gaussian_pull(statistics: Tensor, moved: Tensor, g_z: Tensor, g_kl: float) -> Tensor:
    """Return the gradient by (μ, log σ²), (B, 2Z), of what has gradient g_z (S, B, Z) by each z, and g_kl by each KL.

    Of moved = σ ε (S, B, Z):  ∂z/∂μ = 1,  ∂z/∂ log σ² = ½ σ ε,  ∂KL/∂μ = μ,  ∂KL/∂ log σ² = ½ (σ² - 1).
    """
    if path.serves(statistics, moved, g_z):
        samples, points, dim = moved.shape
        require(g_z, moved.shape)
        require(statistics, (points, 2 * dim))
        given = statistics.contiguous(), moved.contiguous(), g_z.contiguous()
        g = torch.empty_like(given[0])
        path.kernels.gaussian_pull(samples, points, dim, *(part.data_ptr() for part in (*given, g)), g_kl)
        return g
    mean, log_var = statistics.chunk(2, dim=-1)
    if len(g_z) == 1:
        g_mean, g_log_var = g_z.squeeze(0), (g_z * moved).squeeze(0)
    else:
        g_mean, g_log_var = g_z.sum(0), (g_z * moved).sum(0)
    slope = log_var.mul(HALF).exp_().square_().sub_(ONE)  # σ² - 1
    g_log_var.add_(slope, alpha=g_kl).mul_(HALF)
    return torch.cat([g_mean.add(mean, alpha=g_kl), g_log_var], dim=-1)
