"""Gauss-Hermite quadrature over up to three continuous latents, at the posterior's modes, and a sum over a few bits.

John Naylor and Adrian Smith, "Applications of a method for the efficient computation of posterior distributions" (Applied
Statistics 31, 1982), for one mode m with C Cᵀ the inverse of the curvature there, z = m + √2 C u, and nodes u_i with weights
w_i for exp(-u²):

    p(x) = ∫ p(x, z) dz ≈ 2^(Z/2) |C| Σ_i w_i exp(u_i²) p(x, z_i)

A posterior of several modes is shared out among them: p(x) = Σ_k ∫ r_k(z) p(x, z) dz, r_k = N_k / Σ_j N_j with N_k the normal
density of mean m_k and covariance C_k C_kᵀ, each integral about its own mode. The number of nodes is doubled until that moves
the result by less than `tolerance`; the last movement is reported, and its square stands for the variance. Where some latents are
binary, p(x) is the sum of such integrals of p(x, z, b) over all states b.

A mode to which no beginning leads is missed. Half of the beginnings are likely ones, which are often all near one mode, and
half are draws from the prior. The more modes were found only once, the more there are that were not found (Irving Good, "The
population frequencies of species and the estimation of population parameters", Biometrika 40, 1953). So an estimate is not
accepted if modes to which one beginning alone led have more than `tolerance` of the mass, by Laplace's approximation.
"""

import itertools
import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness import api

DIRECTION = "exact"
NEEDS = (api.LatentVariableModel,)

MOST_LATENTS = 3

MOST_BITS = 8

NEGLIGIBLE = 15.0  # nats by which a mode must weigh less than the heaviest to be left out


class Config(api.Config):
    """Settings of the estimate."""

    modes: int = api.setting(
        6, "beginnings of the search for modes that are likely and apart, and as many drawn from the prior", gt=0
    )
    nodes: int = api.setting(8, "nodes in each dimension to begin with", gt=1)
    doublings: int = api.setting(3, "how often they are doubled at the most", gt=0, le=5)
    tolerance: float = api.setting(0.01, "accepted when doubling moves the result by less, nats", gt=0)


def skip(config: Config, model: api.LatentVariableModel, recognition: api.Recognition | None) -> str | None:
    """Refuse models with no continuous latents, with too many of them, or with too many bits beside them."""
    n, bits = (int((_continuous(model) == wanted).sum()) for wanted in (True, False))
    if n == 0:
        return f"it integrates continuous latents, and the model's are {model.latents.kinds}: use exact or importance"
    if bits > MOST_BITS:
        return (
            f"2^{bits} states of the binary latents are too many to sum over, {MOST_BITS} are the most: use importance"
        )
    if n > MOST_LATENTS:
        return f"it can integrate {MOST_LATENTS} latents at the most, and the model has {n}: use importance or ais"
    return None


def estimate(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's log p(x); how far the last doubling moved it, squared; and the same, with modes and nodes used.

    Also the share of modes that were found once. With bits, this and how far doublings moved it are means over their states,
    weighted by p(b|x); modes and nodes are the most of any.
    """
    continuous = _continuous(model)
    if bool(continuous.all()):
        value, moved, once, modes, nodes = _refined(model, recognition, x, config, rng)
    else:
        bits = itertools.product((0.0, 1.0), repeat=int((~continuous).sum()))
        given = (_Given(model, continuous, torch.tensor(b, dtype=x.dtype)) for b in bits)
        proposals: Any = None if recognition is None else _Continuous(recognition, continuous)
        parts = [_refined(one, proposals, x, config, rng) for one in given]
        values, *others = (torch.stack(column) for column in zip(*parts, strict=True))  # (2^bits, B) each
        value, modes, nodes = values.logsumexp(0), others[2].amax(0), others[3].amax(0)
        moved, once = ((each * values.softmax(0)).sum(0) for each in others[:2])
    accepted = ((moved < config.tolerance) & (once < config.tolerance)).double()
    told = {"moved": moved, "found_once": once, "modes": modes, "nodes": nodes, "accepted": accepted}
    return api.PerPoint(value, moved.square(), told)


def _continuous(model: api.LatentVariableModel) -> Tensor:
    """Say of each latent whether it is continuous, (Z,)."""
    return torch.tensor([layer.kind == "continuous" for layer in model.latents.layers for _ in range(layer.size)])


class _Given(api.LatentVariableModel):
    """p(x, z, b) at one state b of the binary latents, a function of the continuous ones: its prior is p(z, b)."""

    normalised = False

    def __init__(self, model: api.LatentVariableModel, continuous: Tensor, bits: Tensor):
        self.params, self.kind, self.dim = model.params, model.kind, model.dim
        self.latents = api.Latents.of("continuous", int(continuous.sum()))
        self._model, self._continuous, self._bits = model, continuous, bits
        self._order = torch.cat([continuous.nonzero(), (~continuous).nonzero()]).squeeze(-1).argsort()

    def _whole(self, z: Tensor) -> Tensor:
        both = torch.cat([z, self._bits.expand(*z.shape[:-1], -1)], dim=-1)
        return both[..., self._order]

    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log p(z, b) of z (S, B, Z), (S, B)."""
        return self._model.log_p_z(self._whole(z))

    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z, b), (S, B)."""
        return self._model.log_p_x_given_z(x, self._whole(z))

    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from p(z), whatever the bits."""
        return self._model.sample_z(n, rng)[..., self._continuous]

    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z), whatever the bits."""
        x, z = self._model.sample_xz(n, rng)
        return x, z[..., self._continuous]


class _Continuous(NamedTuple):
    """A recognition model whose posteriors draw the continuous latents alone."""

    recognition: api.Recognition
    continuous: Tensor

    def posterior(self, x: Tensor) -> SimpleNamespace:
        """Return what draws them for the points x (B, D)."""
        q = self.recognition.posterior(x)
        return SimpleNamespace(sample=lambda n, rng: q.sample(n, rng)[..., self.continuous])


def _refined(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return (B,) each: the integral with enough nodes, how far the last doubling moved it, the share of modes that were found
    once, and modes and nodes used.
    """
    modes = find_modes(model, recognition, x, rng, config.modes)
    value = _integral(model, x, modes, config.nodes)
    moved, used = torch.full_like(value, math.inf), torch.full_like(value, config.nodes)
    for doubling in range(1, config.doublings + 1):
        open_ = (moved >= config.tolerance).nonzero().squeeze(-1)
        if not len(open_):
            break
        nodes = config.nodes * 2**doubling
        new = _integral(model, x[open_], modes.at(open_), nodes)
        moved[open_], value[open_], used[open_] = (new - value[open_]).abs(), new, float(nodes)
    return value, moved, modes.found_once(), modes.present.sum(0).double(), used


class Modes(NamedTuple):
    """Modes of each point's posterior.

    Attributes:
        z: where they are (K, B, Z).
        scale: C, a Cholesky factor of the inverse curvature there (K, B, Z, Z).
        mass: log of what Laplace's approximation says that it weighs (K, B).
        present: whether it is one, and not the same as another or beyond all weight (K, B).
        found: how many beginnings led to it (K, B).
    """

    z: Tensor
    scale: Tensor
    mass: Tensor
    present: Tensor
    found: Tensor

    def at(self, index: Tensor) -> "Modes":
        """Return those of some of the points."""
        return Modes(*(part[:, index] for part in self))

    def found_once(self) -> Tensor:
        """Return the share of the modes' mass that is of those to which one beginning alone led, (B,)."""
        shares = self.mass.masked_fill(~self.present, -math.inf).double().softmax(0)
        return (shares * (self.found == 1)).sum(0)

    def log_normal(self, z: Tensor) -> Tensor:
        """Return log N(z; m_k, C_k C_kᵀ) up to a constant, for z (S, B, Z), (K, S, B); minus infinity for absent ones."""
        offset = (z - self.z.unsqueeze(1)).unsqueeze(-1)  # (K, S, B, Z, 1)
        white = torch.linalg.solve_triangular(self.scale.unsqueeze(1), offset, upper=False).squeeze(-1)
        log_p: Tensor = -0.5 * white.square().sum(-1) - _log_det(self.scale).unsqueeze(1)
        return log_p.masked_fill(~self.present.unsqueeze(1), -math.inf)


def _log_det(scale: Tensor) -> Tensor:
    return scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def find_modes(
    model: api.LatentVariableModel, recognition: api.Recognition | None, x: Tensor, rng: torch.Generator, n: int
) -> Modes:
    """Return the modes of each point's posterior to which damped Newton steps lead from n likely z and n draws from the prior."""
    posterior = api.hmc.joint(model, x)
    anywhere = model.sample_xz(n, rng)[1].unsqueeze(1).expand(-1, len(x), -1)
    z = torch.cat([api.posterior.likely(model, recognition, x, rng, n), anywhere])  # (K, B, Z)
    _, log_p, grad, _ = posterior.at(z)
    for _ in range(100):
        step = torch.linalg.solve(_curvature(posterior, z), grad.unsqueeze(-1)).squeeze(-1)
        best_z, best_log_p, best_grad = z, log_p, grad
        for halvings in range(8):
            there = z + 0.5**halvings * step
            _, value, slope, _ = posterior.at(there)
            better = value > best_log_p
            best_z = torch.where(better.unsqueeze(-1), there, best_z)
            best_grad = torch.where(better.unsqueeze(-1), slope, best_grad)
            best_log_p = torch.where(better, value, best_log_p)
        climbed = best_log_p - log_p
        z, log_p, grad = best_z, best_log_p, best_grad
        if climbed.max() < 1e-3:
            break
    scale = torch.linalg.cholesky(torch.linalg.inv(_curvature(posterior, z)))
    mass = log_p + _log_det(scale)
    present = mass > mass.max(0).values - NEGLIGIBLE
    found = torch.zeros_like(mass)
    for k in range(len(z)):  # one that lies within a standard deviation of a heavier mode is the same
        white = torch.linalg.solve_triangular(scale, (z[k] - z).unsqueeze(-1), upper=False).squeeze(-1)
        near = white.square().sum(-1) < 1.0
        found += near
        ahead = (mass > mass[k]) | ((mass == mass[k]) & (torch.arange(len(z)) < k).unsqueeze(-1))
        present[k] &= ~(near & present & ahead).any(0)
    return Modes(z, scale, mass, present, found)


def _curvature(posterior: api.hmc.Target, z: Tensor, delta: float = 1e-2) -> Tensor:
    """Return minus the Hessian (..., Z, Z) by differences of gradients, its eigenvalues made at least 1, the prior's own."""
    columns = []
    for j in range(z.shape[-1]):
        shift = torch.zeros(z.shape[-1], dtype=z.dtype)
        shift[j] = delta
        columns.append((posterior.gradient(z - shift) - posterior.gradient(z + shift)) / (2 * delta))
    hessian = torch.stack(columns, dim=-1)
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
    curvature: Tensor = vectors @ torch.diag_embed(values.clamp(min=1.0)) @ vectors.mT
    return curvature


def _integral(model: api.LatentVariableModel, x: Tensor, modes: Modes, nodes: int) -> Tensor:
    """Return the log of the sum over modes and nodes, (B,) in float64."""
    u, w = np.polynomial.hermite.hermgauss(nodes)
    Z = modes.z.shape[-1]
    grid = torch.tensor(list(itertools.product(u, repeat=Z)))  # (nodes^Z, Z)
    log_w = torch.tensor(list(itertools.product(np.log(w), repeat=Z))).sum(-1) + grid.square().sum(-1)
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for k in range(len(modes.z)):
        here = modes.present[k].nonzero().squeeze(-1)
        if not len(here):
            continue
        some_x, some = x[here], modes.at(here)
        jacobian = _log_det(some.scale[k]).double() + 0.5 * math.log(2.0) * Z
        sizes = api.posterior.pieces(len(grid), len(here))
        for points, weight in zip(grid.to(x.dtype).split(sizes), log_w.split(sizes), strict=True):
            z = some.z[k] + math.sqrt(2.0) * torch.einsum("bij,sj->sbi", some.scale[k], points)  # (S, B, Z)
            log_q = some.log_normal(z)
            share = (log_q[k] - log_q.logsumexp(0)).double()  # log r_k
            log_p = model.log_p_xz(some_x, z).double() + weight.unsqueeze(-1) + share
            total[here] = torch.logaddexp(total[here], log_p.logsumexp(0) + jacobian)
    return total
