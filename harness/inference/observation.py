"""What is observed given the outputs of a network: Bernoulli or Gaussian densities of x, with their means and draws."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from harness import native
from harness.errors import BadInput
from harness.inference.protocols import Kind
from harness.inference.rng import bernoulli

LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Expects:
    """What a model expects of the values that it describes.

    Attributes:
        mean: the interval that the mean of x given the latents lies in; None for anywhere.
        instead: the option by which the mean may lie anywhere, such as "--gaussian-mean linear".
        learned_variance: whether each dimension has a variance of its own that is learned, and may fall to 0.
    """

    mean: tuple[float, float] | None = None
    instead: str = ""
    learned_variance: bool = False


class Observation:
    """A density of x (B, D) given outputs a (S, B, ·).

    Attributes:
        outputs: for each observed dimension.
        density: its name among the primitives.
        expects: of the values of x, None for nothing.
    """

    outputs: int
    density: native.Density
    expects: Expects | None = None

    def entries(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log p(x_d | a) (S, B, D), for PyTorch to differentiate and transform."""
        raise NotImplementedError

    def mean(self, a: Tensor) -> Tensor:
        """Return E[x | a] (..., D) of outputs, which may be overwritten."""
        raise NotImplementedError

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (..., D) given outputs, which may be overwritten."""
        raise NotImplementedError


class Bernoulli(Observation):
    """Of logits a: log p(x | a) = Σ_d x_d a_d - log(1 + exp a_d),  ∂/∂a = x - σ(a)."""

    outputs, density = 1, "bernoulli"

    def entries(self, x: Tensor, a: Tensor) -> Tensor:
        """See `Observation.entries`."""
        return x * a - torch.nn.functional.softplus(a)

    def mean(self, a: Tensor) -> Tensor:
        """See `Observation.mean`."""
        return a.sigmoid_()

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Observation.draw`."""
        return bernoulli(self.mean(a), rng)


class Gaussian(Observation):
    """Of (a, v), v = log s², e = (x - m)/s:  log p = -½ Σ_d e² + v + log 2π,  ∂/∂m = e/s,  ∂/∂v = ½ (e² - 1).

    Args:
        squash: whether the mean is m = σ(a), in (0, 1); m = a otherwise.
    """

    outputs = 2

    def __init__(self, squash: bool):
        self._squash = squash
        self.density = "squashed gaussian" if squash else "gaussian"
        self.expects = Expects((0.0, 1.0) if squash else None, "--gaussian-mean linear", learned_variance=True)

    def entries(self, x: Tensor, a: Tensor) -> Tensor:
        """See `Observation.entries`."""
        mean, log_var = a.chunk(2, dim=-1)
        error = x - (mean.sigmoid() if self._squash else mean)
        return -0.5 * (error.square() * (-log_var).exp() + log_var + LOG_2PI)

    def mean(self, a: Tensor) -> Tensor:
        """See `Observation.mean`."""
        mean = a.chunk(2, dim=-1)[0]
        return mean.sigmoid_() if self._squash else mean

    def draw(self, a: Tensor, rng: torch.Generator) -> Tensor:
        """See `Observation.draw`."""
        mean, log_var = self.mean(a), a.chunk(2, dim=-1)[1]
        return mean + log_var.mul(0.5).exp_() * torch.randn(
            mean.shape, generator=rng, dtype=mean.dtype, device=mean.device
        )


def observation(kind: Kind, decoder: str, gaussian_mean: str) -> Observation:
    """Return what models with the settings `decoder` and `gaussian_mean` observe.

    Args:
        kind: of the data.
        decoder: "bernoulli", "gaussian", or "auto" for what fits the data.
        gaussian_mean: "sigmoid" for a mean in (0, 1), "linear" for one anywhere.

    Raises:
        BadInput: data outside of [0, 1] are no Bernoulli variables.
    """
    gaussian = decoder == "gaussian" or (decoder == "auto" and kind == "real")
    if kind == "real" and not gaussian:
        raise BadInput("--decoder is 'bernoulli', which needs data in [0, 1]: choose gaussian for these")
    return Gaussian(gaussian_mean == "sigmoid") if gaussian else Bernoulli()
