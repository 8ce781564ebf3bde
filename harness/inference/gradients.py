"""Gradients that algorithms ascend: a model's own where it computes them, autograd's elsewhere.

A model with `hand_derived = True` has `gradients`, and its recognition model's posteriors too: the numbers of autograd, sooner
(see `harness.api`).
"""

from typing import Any

import torch
from torch import Tensor


def by_hand(*models: Any) -> bool:
    """Say whether all of these models compute gradients themselves."""
    return all(getattr(model, "hand_derived", False) for model in models)


def log_joint(model: Any, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) of x (B, D) and z (S, B, Z), (S, B), and ∂/∂θ of its sum, which the next call may overwrite."""
    if by_hand(model):
        log_p, by_theta, _ = model.gradients(x, z, by_z=False)
        return log_p + model.log_p_z(z.detach()), by_theta
    log_p = model.log_p_xz(x, z)
    return log_p.detach(), torch.autograd.grad(log_p.sum(), model.params.flat)[0]


def log_posterior(recognition: Any, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q(z|x) of z (S, B, Z), (S, B), and ∂/∂φ of its sum, which the next call may overwrite."""
    posterior = recognition.posterior(x)
    if by_hand(recognition):
        found: tuple[Tensor, Tensor] = posterior.gradients(z)
        return found
    log_q = posterior.log_prob(z)
    return log_q.detach(), torch.autograd.grad(log_q.sum(), recognition.params.flat)[0]
