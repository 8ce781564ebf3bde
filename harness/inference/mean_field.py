"""Mean-field inference: a diagonal Gaussian of its own for every point, fitted by stochastic gradient ascent on its lower bound.

    q(z) = N(μ, diag(σ²))      L(μ, σ; x) = E_q[log p(x, z) - log q(z)] <= log p(x)

Michael Jordan, Zoubin Ghahramani, Tommi Jaakkola and Lawrence Saul, "An introduction to variational methods for graphical
models", Machine Learning 37 (1999). The gradient is reparameterised, and leaves out the score of q, whose mean is 0 (Geoffrey
Roeder, Yuhuai Wu and David Duvenaud, "Sticking the landing", 2017, arXiv 1703.09194): with z = μ + σ ε, ε ~ N(0, I),

    G = ∂/∂z [log p(x, z) - log q(z)] = ∂ log p(x, z)/∂z + ε/σ        ∂L/∂μ = E[G]        ∂L/∂ log σ² = ½ E[σ ε G]

Where the posterior is such a Gaussian, every single draw of it is 0 at the optimum. Nothing is asked of the prior p(z).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.inference import hmc
from harness.inference.posterior import DiagonalGaussian, pieces
from harness.inference.protocols import LatentVariableModel, MeanField

BETAS = 0.9, 0.95  # of Adam: gradients shrink by orders of magnitude on the way, so their squares are soon forgotten

PRIOR_DRAWS = 1000


@dataclass
class Local:
    """The local variational parameters of N points, a row each, with what Adam keeps of each row.

    Attributes:
        statistics: (μ, log σ²), (N, 2Z).
        means: running means of their gradients (N, 2Z).
        squares: running means of their gradients' squares (N, 2Z).
        steps: how many steps each row has taken (N, 1).
    """

    statistics: Tensor
    means: Tensor
    squares: Tensor
    steps: Tensor

    @classmethod
    def at(cls, mean: Tensor, log_var: Tensor) -> "Local":
        """Return parameters at means (N, Z) and log variances (N, Z), or (Z,) for all rows, before the first step."""
        statistics = torch.cat([mean, log_var.expand_as(mean)], dim=-1)
        zeros = torch.zeros_like(statistics)
        return cls(statistics, zeros, zeros.clone(), zeros[:, :1].clone())

    @classmethod
    def at_prior(cls, model: LatentVariableModel, n: int, rng: torch.Generator) -> "Local":
        """Return parameters of n points at the mean and the variances of draws from the prior p(z)."""
        z = model.sample_z(PRIOR_DRAWS, rng)
        return cls.at(z.mean(0).expand(n, -1), z.var(0).log())

    @classmethod
    def at_posterior(cls, q: MeanField) -> "Local":
        """Return parameters at those that a recognition model gives the points of a batch."""
        mean, log_var = q.moments()
        return cls.at(mean.detach(), log_var.detach())

    @property
    def posterior(self) -> DiagonalGaussian:
        """q(z) of every row."""
        mean, log_var = self.statistics.chunk(2, dim=-1)
        return DiagonalGaussian(mean, log_var)

    def rows(self, index: Tensor) -> "Local":
        """Return a copy of the rows at these positions (B,)."""
        return Local(*(part.index_select(0, index) for part in self._parts))

    def put(self, index: Tensor, rows: "Local") -> None:
        """Replace the rows at these positions (B,); where one is there several times, the last stays."""
        ordered, order = index.sort(stable=True)
        last = torch.cat([ordered.diff() != 0, ordered.new_ones(1, dtype=torch.bool)])
        for part, new in zip(self._parts, rows._parts, strict=True):
            part.index_copy_(0, ordered[last], new[order[last]])

    def ascend(self, target: hmc.Target, lr: float, n_samples: int, rng: torch.Generator) -> None:
        """Take a step of Adam on every row's own bound.

        Args:
            target: log p(x, z) of the rows' points, `hmc.joint(model, x)`.
            lr: Adam's step size.
            n_samples: samples of z a row, each an evaluation of the target's gradient.
            rng: draws them.
        """
        noise = self.noise(n_samples, rng)
        g, (beta1, beta2) = gradient(self.statistics, target, noise), BETAS
        self.steps += 1
        self.means.mul_(beta1).add_(g, alpha=1 - beta1)
        self.squares.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        mean, square = self.means / (1 - beta1**self.steps), self.squares / (1 - beta2**self.steps)
        self.statistics.addcdiv_(mean, square.sqrt_().add_(1e-8), value=lr)

    def noise(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw ε for n samples of each row, (n, N, Z)."""
        N, width = self.statistics.shape
        return self.statistics.new_empty(n, N, width // 2).normal_(generator=rng)

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        return self.statistics, self.means, self.squares, self.steps


def gradient(statistics: Tensor, target: hmc.Target, noise: Tensor) -> Tensor:
    """Return an estimate of the gradient of every row's bound by (μ, log σ²), (B, 2Z), from noise ε (S, B, Z)."""
    mean, log_var = statistics.chunk(2, dim=-1)
    sd = (0.5 * log_var).exp()
    moved = sd * noise
    slope = target.gradient(mean + moved) + noise / sd  # G, (S, B, Z)
    return torch.cat([slope.mean(0), 0.5 * (moved * slope).mean(0)], dim=-1)


def bounds(model: LatentVariableModel, x: Tensor, local: Local, noise: Tensor) -> Tensor:
    """Return log p(x, z) - log q(z), whose mean is the bound of each of the points x (B, D), at noise ε (S, B, Z): (S, B)."""
    q = local.posterior
    mean, log_var = q.moments()
    sd, found = (0.5 * log_var).exp(), []
    for some in noise.split(pieces(len(noise), len(x))):
        z = mean + sd * some
        found.append(model.log_p_xz(x, z) - q.log_prob(z))
    return torch.cat(found)
