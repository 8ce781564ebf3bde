"""The bound L_K and its gradients, by which estimators of them are judged: exact for a few binary latents, else without bias.

    L_K(x) = E[log 1/K Σ_k w_k],  w_k = p(x, z_k) / q(z_k|x),  z_k ~ q(z|x)

of Yuri Burda, Roger Grosse and Ruslan Salakhutdinov (2016), arXiv 1509.00519, eq. (8). L_1 is the lower bound.
"""

import math
from typing import cast

import torch
from torch import Tensor

from harness.inference.abilities import offers
from harness.inference.enumeration import states
from harness.inference.gradients import Bound, bound, joint_layers, posterior_layers
from harness.inference.protocols import AnalyticKL, LatentVariableModel, Recognition, Reparameterised

MOST_BITS = 12
"""Latents up to which all states are enumerated."""
ROWS = 4000
"""States times points that are differentiated at a time."""
GROUPS = 10
"""Independent groups of K samples a point of which an unbiased estimate is the mean."""
STEP = 0.25
"""Between nodes of the integral for L_K: it is analytic for |Im u| < π/2, so the error is some exp(-π² / STEP)."""
NEGLIGIBLE = 1e-18


def enumerable(model: LatentVariableModel) -> bool:
    """Say whether the latents of a model are few enough, and binary."""
    return model.latents.only("binary") and model.latents.total <= MOST_BITS


def enumerated(model: LatentVariableModel, recognition: Recognition, x: Tensor, K: int) -> Bound:
    """Return L_K of points x (B, D), summed over them, and its gradients, by the sum over all states of binary latents.

    It differentiates `log_p_xz` and `log_prob` by autograd, and is in double precision as far as these are.
    """
    n = max(1, ROWS // len(x))
    pieces = list(states(model.latents.total, n, x.dtype))

    def log_densities(piece: Tensor) -> tuple[Tensor, Tensor]:
        z = piece.unsqueeze(1).expand(-1, len(x), -1)  # (N, B, Z)
        return model.log_p_xz(x, z).double(), recognition.posterior(x).log_prob(z).double()

    with torch.no_grad():
        log_p, log_q = (torch.cat(parts) for parts in zip(*map(log_densities, pieces), strict=True))  # (2^Z, B)
    value, by_q, by_log_w = derivatives(log_q, log_p - log_q, K)
    of_log_q = by_q * log_q.exp() - by_log_w  # as log w has -log q
    by_theta, by_phi = (torch.zeros_like(part.params.flat, dtype=torch.float64) for part in (model, recognition))
    for piece, a, b in zip(pieces, by_log_w.split(n), of_log_q.split(n), strict=True):
        p, q = log_densities(piece)
        by_theta += torch.autograd.grad((a * p).sum(), model.params.flat)[0]
        by_phi += torch.autograd.grad((b * q).sum(), recognition.params.flat)[0]
    return Bound(value.sum(), by_theta, by_phi)


def derivatives(log_q: Tensor, log_w: Tensor, K: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return L_K of each point (B,), and its derivatives by q(z) and by log w(z), (N, B), for all N states of z.

    The one by q(z) is up to a constant, which changes no gradient, as probabilities sum to 1. With φ(t) = E_q[exp(-t w)]

        log Σ_k w_k = ∫ (exp(-t) - exp(-t Σ_k w_k)) dt/t    so    L_K + log K = ∫ (exp(-eᵘ) - φ(eᵘ)ᴷ) du,  t = eᵘ,

    an integral over one dimension for any K; the trapezoid rule converges exponentially.

    Args:
        log_q: log q(z|x) of each state (N, B), double precision.
        log_w: log p(x, z) - log q(z|x), likewise.
        K: weighted samples.
    """
    q = log_q.exp()
    if K == 1:
        return (q * log_w).sum(0), log_w, q
    centre = (q * log_w).sum(0)
    log_w = log_w - centre
    value, by_q, by_log_w = torch.zeros_like(centre), torch.zeros_like(q), torch.zeros_like(q)
    u = -log_w.max().item() - math.log(K) + math.log(NEGLIGIBLE)  # below it, exp(-t Σ w) is 1
    last = math.log(50.0) - log_w.min().item()
    while u < last:  # never for what is not a number
        tw = (u + log_w).clamp(max=50.0).exp()  # above it, exp(-t w) is 0
        e = (-tw).exp()
        phi, first = (q * e).sum(0), math.exp(-math.exp(min(u, 50.0)))
        value += STEP * (first - phi**K)
        by_q += STEP * K * (first - phi ** (K - 1) * e)
        by_log_w += STEP * K * phi ** (K - 1) * q * tw * e
        if u > 4.0 and phi.max() < NEGLIGIBLE:
            break
        u += STEP
    return value + centre - math.log(K), by_q, by_log_w


def unbiased(model: LatentVariableModel, recognition: Recognition, x: Tensor, K: int, rng: torch.Generator) -> Bound:
    """Return an unbiased estimate of L_K of points x (B, D), summed over them, and of its gradients; the next may overwrite it.

    A mean of `GROUPS` estimates: by reparameterisation where there is one, for K > 1 doubly (George Tucker, Dieterich Lawson,
    Shixiang Gu and Chris Maddison 2019, arXiv 1810.04152); else by the score function, with the mean of a point's other groups as
    baseline.
    """
    if not offers(recognition, Reparameterised):
        return _by_score(model, recognition, x, K, rng)
    if K == 1:
        return bound(model, recognition, x, GROUPS, rng, analytic_kl=offers(recognition, AnalyticKL))
    q = cast(Reparameterised, recognition.posterior(x))
    z = q.rsample(GROUPS * K, rng)
    log_w = (model.log_p_xz(x, z) - q.log_prob(z)).unflatten(0, (GROUPS, K))  # (G, K, B)
    weight = log_w.detach().softmax(1)  # w̃
    by_theta, by_z = torch.autograd.grad((weight * log_w).sum() / GROUPS, [model.params.flat, z])
    (by_phi,) = torch.autograd.grad(z, recognition.params.flat, weight.flatten(0, 1).unsqueeze(-1) * by_z)
    return Bound(_mean_bound(log_w.detach()).sum() / GROUPS, by_theta, by_phi)


def _by_score(model: LatentVariableModel, recognition: Recognition, x: Tensor, K: int, rng: torch.Generator) -> Bound:
    posterior = recognition.posterior(x)
    z = posterior.sample(GROUPS * K, rng)
    log_p, by_theta = joint_layers(model, x, z)
    log_q, by_phi = posterior_layers(recognition, posterior, z)
    log_w = (log_p.sum(-1) - log_q.sum(-1)).unflatten(0, (GROUPS, K))  # (G, K, B)
    weight, found = log_w.softmax(1), _mean_bound(log_w)
    others = (found.sum(0) - found) / (GROUPS - 1)
    signal = (found - others).to(log_w).unsqueeze(1).expand_as(log_w)
    signal = signal - weight if K > 1 else signal  # for K = 1 that is the score, whose mean is 0
    pulled = ((by(weights.flatten(0, 1) / GROUPS)) for by, weights in ((by_theta, weight), (by_phi, signal)))
    return Bound(found.sum() / GROUPS, *pulled)


def _mean_bound(log_w: Tensor) -> Tensor:
    """Return log 1/K Σ_k w_k of log weights (G, K, B), (G, B), in double precision."""
    return log_w.double().logsumexp(1) - math.log(log_w.shape[1])
