"""Densities of posteriors, and posterior samples of given models by Hamiltonian Monte Carlo: where estimators get theirs."""

import math

import torch
from torch import Tensor

from harness.inference import hmc
from harness.inference.protocols import LatentVariableModel, Recognition

LOG_2PI = math.log(2.0 * math.pi)
PRIOR_DRAWS = 500

ENCODER_DRAWS = 20

APART = 0.5  # in units of the prior, between beginnings that count as different

RUNNERS, RACE = 8, 12  # chains that begin apart, and how many moves they have to find a mode

JITTER = 0.5  # of step sizes

ROWS = 2000  # rows at a time: activations stay in cache


def pieces(n: int, batch: int) -> list[int]:
    """Return how many of n samples a point to take at a time, for a batch of so many points: sizes that add up to n."""
    size = max(1, min(n, ROWS // batch))
    return [size] * (n // size) + ([n % size] if n % size else [])


def likely(
    model: LatentVariableModel, recognition: Recognition | None, x: Tensor, rng: torch.Generator, n: int
) -> Tensor:
    """Return n likely and different z for each point of x (B, D), (n, B, Z), the likeliest first.

    The first is the likeliest of many draws from prior and recognition model; each further one the likeliest of those that lie
    at least `APART` from all before it, as posteriors can have several modes. Chains that begin at single draws from the prior
    miss them all, and then underestimate log p(x) by tens of nats.
    """
    z = (
        model.sample_xz(PRIOR_DRAWS, rng)[1].unsqueeze(1).expand(-1, len(x), -1)
    )  # (S, B, Z), the same draws for all points
    if recognition is not None:
        z = torch.cat([z, recognition.posterior(x).sample(ENCODER_DRAWS, rng)])
    log_p = torch.cat([model.log_p_xz(x, part) for part in z.split(pieces(len(z), len(x)))])  # (S, B)
    chosen = []
    for _ in range(n):
        chosen.append(z[log_p.argmax(0), torch.arange(len(x))])
        near = (z - chosen[-1]).square().sum(-1) < APART**2
        log_p = log_p.masked_fill(near, -math.inf)
    return torch.stack(chosen)


class Chains:
    """A chain for each point of a batch, burnt in, with its own leapfrog step size, tuned in the burn-in and then frozen.

    Args:
        model: the generative model, with continuous latents.
        recognition: proposes where to begin; None for the prior alone.
        x: the points (B, D).
        rng: randomness.
        leapfrog: leapfrog steps of a move.
        burn_in: moves of the burn-in.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        recognition: Recognition | None,
        x: Tensor,
        rng: torch.Generator,
        *,
        leapfrog: int,
        burn_in: int,
    ):
        self._target = hmc.joint(model, x)
        self._leapfrog, self._rng = leapfrog, rng
        # A race: of a few chains from different beginnings, the one whose mode weighs most is kept; the step size that suits a
        # mode is in proportion to its width.
        at = self._target.at(likely(model, recognition, x, rng, RUNNERS))  # (R, B, Z)
        step = torch.full((RUNNERS, len(x), 1), 0.1, dtype=x.dtype)
        at, step = hmc.tune(self._target, at, step, leapfrog, rng, moves=RACE, jitter=JITTER)
        weight = at.log_p + at.z.shape[-1] * step.squeeze(-1).log()
        winner = weight.argmax(0), torch.arange(len(x))
        z, log_p, grad = (part[winner].unsqueeze(0) for part in (at.z, at.log_p, at.grad))
        at = hmc.Point(z, log_p, grad)  # (1, B, Z)
        step = step[winner].unsqueeze(0)
        self._at, self._step = hmc.tune(self._target, at, step, leapfrog, rng, moves=burn_in, jitter=JITTER)
        self.acceptance = torch.zeros(len(x), dtype=x.dtype)
        self._moves = 0

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """Return the next n samples of each chain, z (n, B, Z), and log p(x, z) there, (n, B)."""
        z, log_p = [], []
        for _ in range(n):
            self._at, probability = hmc.move(
                self._target, self._at, self._step, self._leapfrog, self._rng, jitter=JITTER
            )
            z.append(self._at.z[0])
            log_p.append(self._at.log_p[0])
            self._moves += 1
            self.acceptance += (probability[0] - self.acceptance) / self._moves
        return torch.stack(z), torch.stack(log_p)


class DiagonalGaussian:
    """N(m, diag(σ²)) for every point of a batch, beside the prior N(0, I): means m (B, Z), and log σ², (B, Z) or (Z,)."""

    def __init__(self, mean: Tensor, log_var: Tensor):
        self._moments = mean, log_var

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return m (B, Z) and log σ², (B, Z) or (Z,)."""
        return self._moments

    def rsample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), differentiable."""
        mean, log_var = self.moments()
        noise = torch.randn(n, *mean.shape, generator=rng, dtype=mean.dtype)
        return mean + (0.5 * log_var).exp() * noise

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z), without a gradient."""
        return self.rsample(n, rng)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        mean, log_var = self.moments()
        return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + LOG_2PI).sum(-1)

    def kl(self) -> Tensor:
        """Return KL(q(z|x) || N(0, I)) (Kingma & Welling 2014, appendix B), (B,)."""
        mean, log_var = self.moments()
        return 0.5 * (mean.square() + log_var.exp() - log_var - 1.0).sum(-1)


class Gaussian:
    """The Gaussian fitted to the samples z (S, B, Z) of each point: their mean and unbiased covariance."""

    def __init__(self, z: Tensor):
        centred = z - z.mean(0)
        covariance = torch.einsum("sbi,sbj->bij", centred, centred) / (len(z) - 1)
        # A chain that never moved has none; the floor keeps its density proper.
        floor = 1e-6 * covariance.diagonal(dim1=-2, dim2=-1).mean(-1) + 1e-12
        covariance = covariance + torch.diag_embed(floor.unsqueeze(-1).expand(-1, z.shape[-1]))
        self._density = torch.distributions.MultivariateNormal(z.mean(0), covariance, validate_args=False)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, (n, B, Z)."""
        mean = self._density.loc
        noise = torch.randn(n, *mean.shape, generator=rng, dtype=mean.dtype)
        return mean + torch.einsum("bij,sbj->sbi", self._density.scale_tril, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        out: Tensor = self._density.log_prob(z)
        return out


class KernelDensity:
    """The kernel density estimate of the samples z (S, B, Z) of each point, with Gaussian kernels of Scott's bandwidth.

    David Scott, "Multivariate density estimation" (1992): kernels have S^(-2 / (Z + 4)) times the samples' covariance.
    """

    def __init__(self, z: Tensor):
        self._centres = z
        fitted = Gaussian(z)._density
        n, Z = z.shape[0], z.shape[-1]
        self._kernel = torch.distributions.MultivariateNormal(
            torch.zeros_like(fitted.loc), scale_tril=fitted.scale_tril * n ** (-1 / (Z + 4)), validate_args=False
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of z (S, B, Z), (S, B)."""
        each = [self._kernel.log_prob(some - self._centres).logsumexp(0) for some in z]
        return torch.stack(each) - math.log(len(self._centres))
