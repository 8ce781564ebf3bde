"""Gauss-Hermite quadrature over up to three latents, centred on each point's posterior mode and scaled by its curvature.

John Naylor and Adrian Smith, "Applications of a method for the efficient computation of posterior distributions" (Applied
Statistics 31, 1982). With z = m + C u, C Cᵀ the inverse of the curvature at the mode m:

    p(x) = ∫ p(x, m + C u) |C| du ≈ |C| Σ_i w_i exp(u_i²) p(x, m + C u_i)

with nodes and weights for exp(-u²) in units of √2 standard deviations. The number of nodes is doubled until that moves the
result by less than `tolerance`; the last movement is reported, and its square stands for the variance.
"""

import functools
import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import api

DIRECTION = "exact"
MOST_LATENTS = 3


class Config(api.Config):
    """Settings of the estimate."""

    nodes: int = api.setting(8, "nodes in each dimension to begin with", gt=1)
    doublings: int = api.setting(3, "how often they are doubled at the most", gt=0, le=5)
    tolerance: float = api.setting(0.01, "accepted when doubling moves the result by less, nats", gt=0)


def skip(config: Config, model: Any, recognition: Any) -> str | None:
    """Refuse latents that are not continuous or too many."""
    n, kind = model.latents.total, model.latents.kind
    if kind != "continuous":
        return f"it integrates continuous latents, and the model's are {kind}"
    if n > MOST_LATENTS:
        return f"it can integrate {MOST_LATENTS} latents at the most, and the model has {n}: use importance or ais"
    return None


def estimate(model: Any, recognition: Any, x: Tensor, config: Config, rng: torch.Generator) -> api.PerPoint:
    """Return each point's log p(x); how far the last doubling moved it, squared; and the same with the nodes used."""
    mode, scale = mode_and_scale(model, recognition, x, rng)
    value = _integral(model, x, mode, scale, config.nodes)
    moved, used = torch.full_like(value, math.inf), torch.full_like(value, config.nodes)
    for doubling in range(1, config.doublings + 1):
        open_ = (moved >= config.tolerance).nonzero().squeeze(-1)
        if not len(open_):
            break
        nodes = config.nodes * 2**doubling
        new = _integral(model, x[open_], mode[open_], scale[open_], nodes)
        moved[open_], value[open_], used[open_] = (new - value[open_]).abs(), new, float(nodes)
    accepted = (moved < config.tolerance).double()
    return api.PerPoint(value, moved.square(), {"moved": moved, "nodes": used, "accepted": accepted})


def mode_and_scale(model: Any, recognition: Any, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return each point's posterior mode (B, Z), by damped Newton steps, and a Cholesky factor of the inverse curvature there."""
    posterior = api.hmc.target(functools.partial(model.log_p_xz, x), model.params)
    z = api.posterior.likely(model, recognition, x, rng).unsqueeze(0)  # (1, B, Z)
    log_p, grad = posterior(z)
    for _ in range(100):
        step = torch.linalg.solve(_curvature(posterior, z), grad.unsqueeze(-1)).squeeze(-1)
        best_z, best_log_p, best_grad = z, log_p, grad
        for halvings in range(8):
            there = z + 0.5**halvings * step
            value, slope = posterior(there)
            better = value > best_log_p
            best_z, best_grad = (
                torch.where(better.unsqueeze(-1), new, old) for new, old in ((there, best_z), (slope, best_grad))
            )
            best_log_p = torch.where(better, value, best_log_p)
        climbed = best_log_p - log_p
        z, log_p, grad = best_z, best_log_p, best_grad
        if climbed.max() < 1e-3:
            break
    covariance = torch.linalg.inv(_curvature(posterior, z)[0])
    return z[0], torch.linalg.cholesky(covariance)


def _curvature(posterior: api.hmc.Target, z: Tensor, delta: float = 1e-2) -> Tensor:
    """Return minus the Hessian (..., Z, Z) by differences of gradients, its eigenvalues made at least 1, the prior's own."""
    columns = []
    for j in range(z.shape[-1]):
        shift = torch.zeros(z.shape[-1], dtype=z.dtype)
        shift[j] = delta
        columns.append((posterior(z - shift)[1] - posterior(z + shift)[1]) / (2 * delta))
    hessian = torch.stack(columns, dim=-1)
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
    curvature: Tensor = vectors @ torch.diag_embed(values.clamp(min=1.0)) @ vectors.mT
    return curvature


def _integral(model: Any, x: Tensor, mode: Tensor, scale: Tensor, nodes: int) -> Tensor:
    """Return log Σ_i of the formula above, (B,) in float64."""
    u, w = np.polynomial.hermite.hermgauss(nodes)
    grid = torch.tensor(list(itertools.product(u, repeat=mode.shape[-1])))  # (nodes^Z, Z)
    log_w = torch.tensor(list(itertools.product(np.log(w), repeat=mode.shape[-1]))).sum(-1) + grid.square().sum(-1)
    sizes = api.posterior.pieces(len(grid), len(x))
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for some, weight in zip(grid.to(mode.dtype).split(sizes), log_w.split(sizes), strict=True):
        z = mode + math.sqrt(2.0) * torch.einsum("bij,sj->sbi", scale, some)  # (S, B, Z)
        log_p = model.log_p_xz(x, z).double() + weight.unsqueeze(-1)
        total = torch.logaddexp(total, log_p.logsumexp(0))
    jacobian = scale.diagonal(dim1=-2, dim2=-1).log().sum(-1).double() + 0.5 * math.log(2.0) * mode.shape[-1]
    return total + jacobian
