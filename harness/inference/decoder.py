"""Decoders: p(x, z) with z ~ N(0, I), and x observed of outputs a(z) that are differentiated by hand.

A decoder is differentiated for two kinds of caller: autograd, which any algorithm may use without knowing, and algorithms that
ask for gradients themselves (`api.gradients`) and save autograd's own time. No gradient is computed that is not asked for: a
sampler that moves z alone pays for z alone. Under `torch.func`'s transforms, such as vmap, it is plain PyTorch.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from harness import native
from harness.inference.metered import MeteredFunction, metered
from harness.inference.observation import LOG_2PI, Observation
from harness.inference.parameters import Parameters
from harness.inference.protocols import Kind, Latents, LatentVariableModel

Factors = Sequence[tuple[Tensor, Tensor]]
"""A gradient by θ that is not multiplied out, as a kind of decoder has it."""


class Decoder(LatentVariableModel):
    """p(x, z) with z ~ N(0, I) and x given a(z); a kind of decoder says what a(z) is, and how it is differentiated.

    It has `up`, `outputs`, `observe`, `down` and `gradient`.

    Args:
        kind: of the data.
        dim: D, observed dimensions.
        sizes: of the layers of latents.
        observation: the density of x given a.
        params: all parameters.
        missing: whether entries of x may be missing, which NaN says: they have no density.
    """

    normalised = True

    def __init__(
        self,
        kind: Kind,
        dim: int,
        sizes: Sequence[int],
        observation: Observation,
        params: Parameters,
        missing: bool = False,
    ):
        self.kind, self.dim, self.latents = kind, dim, Latents.of("continuous", *sizes)
        self.observation, self.params, self.missing = observation, params, missing
        if observation.expects is not None:
            self.expects = observation.expects

    def outputs(self, z: Tensor) -> Tensor:
        """Return a(z) of z (S, B, Z), (S, B, ·), for PyTorch to differentiate and transform."""
        raise NotImplementedError

    def up(self, z: Tensor) -> Tensor:
        """Return a(z) of z (..., Z), (..., ·), as fast as can be, not differentiable."""
        raise NotImplementedError

    def observe(self, x: Tensor, z: Tensor, **asked: Any) -> native.Observed:
        """Return what is asked for of the density of x (B, D) given z (S, B, Z); see `native.Stack.observed`.

        `missing` is told to the primitive. `units` are what `down` needs, and `factors` what `gradient` takes.
        """
        raise NotImplementedError

    def down(self, z: Tensor, units: Sequence[Tensor], slope: Tensor, by_z: bool) -> tuple[Factors, Tensor | None]:
        """Take the gradient by a (S · B, ·) down to θ, as factors, and if asked for to z (S, B, Z)."""
        raise NotImplementedError

    def gradient(self, factors: Factors, out: Tensor | None = None) -> Tensor:
        """Return the gradient by θ: in `out`, multiplied out; or else for an optimiser, overwritten by the next call."""
        raise NotImplementedError

    @metered()
    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log N(z; 0, I), (S, B)."""
        return -0.5 * (z.square() + LOG_2PI).sum(-1)

    @metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        if torch._C._are_functorch_transforms_active():
            return self._entries(x, self.outputs(z)).sum(-1)
        out: Tensor = _LogLikelihood.apply(self.params.flat, x, z, self, torch.is_grad_enabled())
        return out

    @metered(samples=True, rows="decoder", count="z")
    @torch.no_grad()
    def log_p_entries(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x_d|z) of each entry of x (B, D) given z (S, B, Z), (S, B, D); 0 where it is missing."""
        return self._entries(x, self.up(z))

    def _entries(self, x: Tensor, a: Tensor) -> Tensor:
        """Return log p(x_d | a) (S, B, D), for PyTorch to differentiate and transform."""
        if not self.missing:
            return self.observation.entries(x, a)
        gone = x.isnan()
        return self.observation.entries(x.masked_fill(gone, 0.0), a).masked_fill(gone, 0.0)

    @metered(fantasies=True, rows="decoder", count="z")
    @torch.no_grad()
    def sample_x(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (S, B, D) from p(x|z) of z (S, B, Z)."""
        return self.observation.draw(self.up(z), rng)

    @metered(rows="decoder", count="z")
    @torch.no_grad()
    def mean_x(self, z: Tensor) -> Tensor:
        """Return E[x|z] of z (S, B, Z), (S, B, D)."""
        return self.observation.mean(self.up(z))

    @metered(samples=True, rows="decoder", count="z", differentiated=True)
    def gradients(
        self, x: Tensor, z: Tensor, weight: float = 1.0, by_z: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return log p(x|z) (S, B), and of weight times its sum ∂/∂θ, overwritten by the next call, and ∂/∂z (S, B, Z)."""
        z = z.detach() if z.requires_grad else z
        found = self.observe(x, z, down=True, by_z=by_z, weight=weight)
        return cast(Tensor, found.log_p), self.gradient(cast(Factors, found.factors)), found.g_z

    @metered(samples=True, rows="decoder", count="z", differentiated=True)
    def score(self, x: Tensor, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(x, z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        z = z.detach()
        found = self.observe(x, z, value=value, by_z=True)
        grad = cast(Tensor, found.g_z).sub_(z)
        return None if found.log_p is None else found.log_p.add_(native.standard_normal(z)), grad

    @metered()
    def prior_score(self, z: Tensor, value: bool) -> tuple[Tensor | None, Tensor]:
        """Return log p(z) (S, B), if asked for, and ∂/∂z of it (S, B, Z)."""
        return native.standard_normal(z) if value else None, -z

    @metered()
    def prior_gradients(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return log p(z) (S, B), and None, as the prior has no parameters."""
        return native.standard_normal(z), None

    @metered()
    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from N(0, I)."""
        return torch.randn(n, self.latents.total, generator=rng, dtype=self.params.flat.dtype)

    @metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        z = self.sample_z(n, rng)
        return self.observation.draw(self.up(z), rng), z


class _LogLikelihood(MeteredFunction):
    """log p(x|z), for autograd."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, z: Tensor, decoder: Decoder, wanted: bool) -> Tensor:
        # ∂/∂a is computed here, while all that it needs is in cache.
        found = decoder.observe(x, z, slope=wanted and any(ctx.needs_input_grad))
        if found.slope is not None:
            ctx.save_for_backward(flat, z, found.slope, *found.units)
            ctx.decoder = decoder
        return cast(Tensor, found.log_p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        MeteredFunction.enter(ctx)
        flat, z, slope, *units = ctx.saved_tensors
        decoder, (by_theta, _, by_z, _, _) = ctx.decoder, ctx.needs_input_grad
        factors, g_z = decoder.down(z, units, slope * grad.reshape(-1, 1), by_z)
        return decoder.gradient(factors, torch.empty_like(flat)) if by_theta else None, None, g_z, None, None
