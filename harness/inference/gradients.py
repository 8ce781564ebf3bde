"""Gradients that algorithms ascend: a model's own where it computes them, autograd's elsewhere.

A model that satisfies `HandDerived` or `LayerGradients`, and a recognition model whose posteriors satisfy `HandDerivedPosterior`
or `LayerGradientsPosterior`, compute the numbers of autograd sooner. Algorithms ask here, and need not know.
"""

from typing import Any, NamedTuple, TypeGuard, cast

import torch
from torch import Tensor

from harness import native
from harness.inference.abilities import offers
from harness.inference.protocols import (
    AnalyticKL,
    HandDerived,
    HandDerivedPosterior,
    LatentVariableModel,
    LayeredModel,
    LayeredPosterior,
    LayerGradients,
    LayerGradientsPosterior,
    Posterior,
    Pull,
    Recognition,
    Reparameterised,
)

_derived: dict[tuple[type, type], bool] = {}
"""What was found of classes of models, as asking a protocol takes as long as a small matrix product."""


def by_hand(model: object) -> TypeGuard[HandDerived]:
    """Say whether a generative model computes gradients itself."""
    return _cached(model, HandDerived, isinstance)


def posteriors_by_hand(recognition: Recognition) -> bool:
    """Say whether the posteriors of a recognition model compute gradients themselves."""
    return _cached(recognition, HandDerivedPosterior, offers)


def _cached(part: Any, protocol: type, ask: Any) -> bool:
    key = type(part), protocol
    if key not in _derived:
        _derived[key] = ask(part, protocol)
    return _derived[key]


class Bound(NamedTuple):
    """An estimate of a bound, summed over points, and its gradients.

    Attributes:
        value: the sum over points, nats, in double precision: a number, or a tensor of one.
        by_theta: its gradient by θ, which the next call may overwrite.
        by_phi: its gradient by φ, which the next call may overwrite.
    """

    value: Tensor | float
    by_theta: Tensor
    by_phi: Tensor


def bound(
    model: LatentVariableModel,
    recognition: Recognition,
    x: Tensor,
    n_samples: int,
    rng: torch.Generator,
    *,
    analytic_kl: bool = True,
) -> Bound:
    """Return the lower bound E_q[log p(x, z) - log q(z|x)] on log p(x), summed over points, by reparameterisation.

    Kingma & Welling (2014), arXiv 1312.6114, eqs. (4), (6) and (7).

    Args:
        model: p(x, z).
        recognition: q(z|x), reparameterised.
        x: points (B, D).
        n_samples: L, samples of z a point.
        rng: draws them.
        analytic_kl: estimator B, eq. (7), with the closed form of the KL; estimator A, eq. (6), by sampling alone otherwise.
    """
    L = n_samples
    if analytic_kl and by_hand(model) and posteriors_by_hand(recognition):
        q = cast(HandDerivedPosterior, recognition.posterior(x))
        z, kl = q.reparameterise(L, rng)  # (L, B, Z), eq. (4), and (B,)
        log_p, by_theta, by_z = model.gradients(x, z, weight=1 / L)  # of eq. (7)'s second term
        by_phi = q.pull_back(cast(Tensor, by_z), -1.0)  # through eq. (4), and of the first term
        return Bound(native.total(log_p) / L - native.total(kl), by_theta, by_phi)
    posterior = cast(Reparameterised, recognition.posterior(x))
    z = posterior.rsample(L, rng)
    if analytic_kl:  # eq. (7), which is eq. (10) for a Gaussian encoder
        total = model.log_p_x_given_z(x, z).sum() / L - cast(AnalyticKL, posterior).kl().sum()
    else:  # eq. (6)
        total = (model.log_p_xz(x, z) - posterior.log_prob(z)).sum() / L
    by_theta, by_phi = torch.autograd.grad(total, [model.params.flat, recognition.params.flat])
    return Bound(total.detach().double(), by_theta, by_phi)


def log_joint(model: LatentVariableModel, x: Tensor, z: Tensor, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) of x (B, D) and z (S, B, Z), (S, B), and ∂/∂θ of weight times its sum.

    The next call may overwrite the gradient.
    """
    if by_hand(model):
        log_p, by_theta, _ = model.gradients(x, z, weight, by_z=False)
        log_prior, of_prior = model.prior_gradients(z.detach())
        return log_p + log_prior, by_theta if of_prior is None else by_theta + weight * of_prior
    layers, pull = joint_layers(model, x, z)
    log_p = layers.sum(-1)
    return log_p, pull(weight)


def log_posterior(recognition: Recognition, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q(z|x) of z (S, B, Z), (S, B), and ∂/∂φ of its sum, which the next call may overwrite."""
    posterior = recognition.posterior(x)
    if posteriors_by_hand(recognition):
        return cast(HandDerivedPosterior, posterior).gradients(z)
    layers, pull = posterior_layers(recognition, posterior, z)
    log_q = layers.sum(-1)
    return log_q, pull(1.0)


# Score-function estimators weigh the gradient of every sample by something that is known only when all densities are.


def joint_layers(model: LatentVariableModel, x: Tensor, z: Tensor) -> tuple[Tensor, Pull]:
    """Return log p(x|z₁), log p(z₁|z₂), …, log p(z_L), (S, B, L + 1), and what takes weights to their gradient.

    Of a model that has no layers it is log p(x, z), (S, B, 1). Weights, (S, B) or a number, become ∂/∂θ of
    Σ weight · log p(x, z), which the next may overwrite.

    Args:
        model: p(x, z).
        x: points (B, D).
        z: latents (S, B, Z).
    """
    if _cached(model, LayerGradients, isinstance):
        return cast(LayerGradients, model).layer_gradients(x, z)
    layered = _cached(model, LayeredModel, isinstance)
    log_p = cast(LayeredModel, model).log_p_layers(x, z) if layered else model.log_p_xz(x, z).unsqueeze(-1)
    return log_p.detach(), _by_autograd(log_p, model.params.flat)


def posterior_layers(recognition: Recognition, posterior: Posterior, z: Tensor) -> tuple[Tensor, Pull]:
    """Return the log density of each layer of q(z|x), (S, B, L), and what takes weights to their gradient.

    Of posteriors without layers it is log q(z|x), (S, B, 1). Weights, (S, B, L), or (S, B) or a number for all layers,
    become ∂/∂φ of the weighted sum, which the next may overwrite.

    Args:
        recognition: q.
        posterior: of some points, by `recognition.posterior(x)`.
        z: latents (S, B, Z).
    """
    if _cached(recognition, LayerGradientsPosterior, offers):
        return cast(LayerGradientsPosterior, posterior).layer_gradients(z)
    layered = _cached(recognition, LayeredPosterior, offers)
    log_q = cast(LayeredPosterior, posterior).log_layers(z) if layered else posterior.log_prob(z).unsqueeze(-1)
    return log_q.detach(), _by_autograd(log_q, recognition.params.flat)


def _by_autograd(log_density: Tensor, flat: Tensor) -> Pull:
    def pull(weights: Tensor | float) -> Tensor:
        if isinstance(weights, Tensor) and weights.ndim < log_density.ndim:
            weights = weights.unsqueeze(-1)
        return torch.autograd.grad((weights * log_density).sum(), flat, retain_graph=True)[0]

    return pull
