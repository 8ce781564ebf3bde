"""Diagonal Gaussians beside the prior N(0, I): draws by reparameterisation, and log densities with their gradients."""

import torch
from torch import Tensor

from harness.native import path
from harness.native.densities import LOG_2PI
from harness.native.layers import HALF, ONE, require


def drawn(statistics: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return z = μ + σ ε and σ ε (S, B, Z) of (μ, log σ²) (B, 2Z) and ε (S, B, Z), and KL(N(μ, σ²) || N(0, I)) (B,), by PyTorch.

    KL = ½ Σ_j μ_j² + σ_j² - log σ_j² - 1  (Kingma & Welling 2014, appendix B).
    """
    mean, log_var = statistics.chunk(2, dim=-1)
    sd = log_var.mul(HALF).exp_()
    moved = sd * noise
    kl = sd.square_().sub_(ONE).addcmul_(mean, mean).sub_(log_var).sum(-1).mul_(HALF)
    return mean + moved, moved, kl


def pulled(statistics: Tensor, moved: Tensor, g_z: Tensor, g_kl: float) -> Tensor:
    """Return the gradient by (μ, log σ²), (B, 2Z), of what has gradient g_z (S, B, Z) by each z, and g_kl by each KL, by PyTorch.

    Of moved = σ ε (S, B, Z):  ∂z/∂μ = 1,  ∂z/∂ log σ² = ½ σ ε,  ∂KL/∂μ = μ,  ∂KL/∂ log σ² = ½ (σ² - 1).
    """
    mean, log_var = statistics.chunk(2, dim=-1)
    if len(g_z) == 1:
        g_mean, g_log_var = g_z.squeeze(0), (g_z * moved).squeeze(0)
    else:
        g_mean, g_log_var = g_z.sum(0), (g_z * moved).sum(0)
    slope = log_var.mul(HALF).exp_().square_().sub_(ONE)  # σ² - 1
    g_log_var.add_(slope, alpha=g_kl).mul_(HALF)
    return torch.cat([g_mean.add(mean, alpha=g_kl), g_log_var], dim=-1)


def gaussian_score(statistics: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q of z (S, B, Z), (S, B), under Gaussians of (μ, log σ²) (B, 2Z), and the gradient of its sum by these, (B, 2Z).

    With e = (z - μ)/σ:  log q = -½ Σ_j e_j² + log σ_j² + log 2π,  ∂ log q/∂μ = e/σ,  ∂ log q/∂ log σ² = ½ (e² - 1).
    """
    if path.serves(statistics, z):
        samples, points, dim = z.shape
        require(statistics, (points, 2 * dim))
        statistics, z = statistics.contiguous(), z.contiguous()
        log_q, g = z.new_empty(samples, points), torch.empty_like(statistics)
        path.kernels.gaussian_score(samples, points, dim, *(part.data_ptr() for part in (statistics, z, log_q, g)))
        return log_q, g
    mean, log_var = statistics.chunk(2, dim=-1)
    precision = log_var.neg().exp_()
    error = z - mean
    pull = error * precision
    squares = error.mul_(pull)  # e²
    log_q = (squares + log_var).sum(-1).add_(mean.shape[-1] * LOG_2PI).mul_(-0.5)
    g = torch.cat([pull, squares.sub_(ONE).mul_(HALF)], dim=-1)
    return log_q, g.squeeze(0) if len(g) == 1 else g.sum(0)


def standard_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, I), (S, B), of z (S, B, Z)."""
    if path.serves(z):
        z = z.contiguous()
        log_p, dim = z.new_empty(z.shape[:-1]), z.shape[-1]
        path.kernels.standard_normal(log_p.numel(), dim, z.data_ptr(), log_p.data_ptr())
        return log_p
    return -0.5 * (z.square() + LOG_2PI).sum(-1)
