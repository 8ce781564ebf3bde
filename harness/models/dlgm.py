"""Deep latent Gaussian model: layers of Gaussian latents, each a network of the one above plus Gaussian noise.

Danilo Rezende, Shakir Mohamed and Daan Wierstra, "Stochastic backpropagation and approximate inference in deep generative models"
(2014), arXiv 1401.4082. With ξ_l ~ N(0, I), layer 1 next to the data:

    h_L = G_L ξ_L        h_l = T_l(h_(l+1)) + G_l ξ_l        x ~ π(x | T_0(h_1))
    q(ξ|x) = Π_l N(ξ_l; μ_l(x), C_l(x)),  C_l diagonal, or C_l⁻¹ = diagonal + u_l u_lᵀ (rank one), or full

The latents z are ξ_1 … ξ_L, which the recognition model infers; h is computed from them. T_l are networks, linear maps without
hidden layers; of one layer and linear maps the model is factor analysis, a `linear-gaussian` one, if the variance of real x is
constant. `--maps nlgbn` has T_l(h) = A_l f(h) + b_l and diagonal G_l: the non-linear Gaussian belief net of Brendan Frey and
Geoffrey Hinton, "Variational learning in nonlinear Gaussian belief networks" (Neural Computation 11, 1999), whose units f(h)
have independent noise before the non-linearity f.

Departures from the paper: one network of x says what all μ_l and C_l are, G_l begin at the identity, and the prior on weights is
that of all models here. Gradients are derived by hand.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary", "unit", "real")

MISSING = True

ENCODERS = {"diagonal": api.GaussianEncoder, "rank-one": api.RankOneEncoder, "full": api.FullEncoder}

Maps = list[list[tuple[Tensor, Tensor]]]
"""The layers (W, b) of T_0 … T_(L-1)."""


class Config(api.Config):
    """Sizes, maps, recognition model, initialisation and prior."""

    layers: api.Layers = api.setting("50", "latents of each layer, the one next to the data first, such as 200-200")
    hidden: api.Hidden = api.setting(
        200,
        "units of each hidden layer of every T and of the recognition model, the one next to the data first; none: linear",
    )
    maps: Literal["network", "nlgbn"] = api.setting(
        "network",
        "network: T has the hidden layers; nlgbn: T(h) = A f(h) + b, G is diagonal, and only q has hidden layers",
    )
    activation: Literal["tanh", "relu"] = api.setting("tanh", "of hidden units, and f; relu: max(u, 0)")
    covariance: Literal["diagonal", "rank-one", "full"] = api.setting(
        "diagonal", "of a layer of q(z|x); rank-one: its precision is a diagonal plus u uᵀ"
    )
    decoder: Literal["auto", "bernoulli", "gaussian"] = api.setting(
        "auto", "density of x given z; auto: gaussian for real data, bernoulli for others"
    )
    gaussian_mean: Literal["sigmoid", "linear"] = api.setting(
        "sigmoid", "sigmoid: the Gaussian decoder's mean lies in (0, 1); linear: anywhere"
    )
    gaussian_variance: Literal["network", "constant"] = api.setting(
        "network", "network: the Gaussian decoder's variances are outputs of T_0; constant: one a dimension for all z"
    )
    init_sd: float = api.setting(0.1, "initial weights and biases are drawn from N(0, init_sd²), G around I", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weight matrices, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["DeepGaussian", api.Encoder]:
    """Return a new model and its recognition model."""
    model = DeepGaussian(config, data, dtype)
    recognition = ENCODERS[config.covariance](
        data.dim, api.sizes(config.layers), api.sizes(config.hidden), config.prior_sd, dtype, config.activation,
        data.mean if data.missing else None,
    )  # fmt: skip
    model.initialise(config.init_sd, streams("initial decoder"))
    recognition.params.normal_(config.init_sd, streams("initial encoder"))
    return model, recognition


class DeepGaussian(api.Decoder):
    """p(x, ξ). Parameters: weights of T_0 … T_(L-1), G_1 … G_L, (K, K) or diagonals (K,), and the biases of T_0 … T_(L-1).

    Rows are points, so that h_l = T_l(h_(l+1)) + ξ_l G_l. Where variances are constant, their logs are biases of T_0 alone.
    """

    def __init__(self, config: Config, data: api.DataFacts, dtype: torch.dtype):
        observation = api.observation(data.kind, config.decoder, config.gaussian_mean)
        belief_net, sizes = config.maps == "nlgbn", api.sizes(config.layers)
        hidden = () if belief_net else api.sizes(config.hidden)[::-1]
        self._depth, self._activation = len(hidden) + 1, config.activation
        self._squash = api.native.SQUASH[config.activation] if belief_net else None
        weights: dict[str, tuple[int, ...]] = {}
        biases: dict[str, tuple[int, ...]] = {}
        for number, (k, m) in enumerate(zip(sizes, [data.dim * observation.outputs, *sizes[:-1]], strict=True)):
            for i, shape in enumerate(pairwise([k, *hidden, m]), 1):
                weights[f"W{number}.{i}"], biases[f"b{number}.{i}"] = shape, shape[1:]
        self._constant = observation.outputs == 2 and config.gaussian_variance == "constant"
        if self._constant:
            weights[f"W0.{self._depth}"] = weights[f"W0.{self._depth}"][0], data.dim
        noise = {f"G{number}": (k,) if belief_net else (k, k) for number, k in enumerate(sizes, 1)}
        params = api.Parameters({**weights, **noise}, biases, prior_sd=config.prior_sd, dtype=dtype)
        super().__init__(data.kind, data.dim, sizes, observation, params, data.missing)

    @torch.no_grad()
    def initialise(self, sd: float, rng: torch.Generator) -> None:
        """Draw all parameters from N(0, sd²), and add the identity to each G."""
        self.params.normal_(sd, rng)
        for G in self._parts(self.params.views)[1]:
            (G.diagonal() if G.ndim == 2 else G).add_(1.0)

    def outputs(self, z: Tensor) -> Tensor:
        """See `api.Decoder.outputs`."""
        maps, scales = self._parts(self.params.split())
        if self._constant:
            W, b = maps[0].pop()
            maps[0].append((torch.cat([W, torch.zeros_like(W)], dim=1), b))
        noise = [_noise(*both) for both in zip(self.latents.split(z), scales, strict=True)]
        h = self._squashed(noise.pop())
        for layers in maps[:0:-1]:
            h = self._squashed(api.through(h, layers, self._activation) + noise.pop())
        return api.through(h, maps[0], self._activation)

    def up(self, z: Tensor) -> Tensor:
        """See `api.Decoder.up`."""
        return self._stacks[0].up(self._states(z)[0][0])[-1].view(*z.shape[:-1], -1)

    def observe(
        self, x: Tensor, z: Tensor, *, down: bool = False, by_z: bool = False, **asked: Any
    ) -> api.native.Observed:
        """See `api.Decoder.observe`."""
        h, units = self._states(z)
        h_1 = h[0].view(*z.shape[:-1], -1)
        first = self._stacks[0].observed(
            self.observation.density, x, h_1, down=down, by_z=down or by_z, missing=self.missing, **asked
        )
        kept = [*h, *(unit for some in units for unit in some), *first.units]
        if first.g_z is None:
            return first._replace(units=kept)
        factors, g_z = self._descend(z, h, units, first.g_z.flatten(0, -2), by_z)
        every = None if first.factors is None else api.native.Factors([*first.factors, *factors])
        return first._replace(units=kept, factors=every, g_z=g_z)

    def down(
        self, z: Tensor, units: Sequence[Tensor], slope: Tensor, by_z: bool
    ) -> tuple[Sequence[tuple[Tensor, Tensor]], Tensor | None]:
        """See `api.Decoder.down`."""
        L, each = len(self.latents.layers), self._depth - 1
        h, (*inside, of_first) = units[:L], [units[L + each * number : L + each * (number + 1)] for number in range(L)]
        first, g = self._stacks[0].down(h[0], of_first, slope, by_x=True)
        assert g is not None
        factors, g_z = self._descend(z, h, inside, g, by_z)
        return (*first, *factors), g_z

    def gradient(self, factors: Sequence[tuple[Tensor, Tensor]], out: Tensor | None = None) -> Tensor:
        """See `api.Decoder.gradient`."""
        flat, parts = self.params.gradient if out is None else (out, self.params.split(out))
        maps, scales = self._parts(parts)
        if not self._constant and scales[0].ndim == 2:
            return (
                api.from_factors(self.params, factors) if out is None else api.Factored(self.params, factors).dense(out)
            )
        layers = [layer for some in maps for layer in some]
        for (a, g), (by_W, by_b) in zip(factors[: len(layers)], layers, strict=True):
            torch.mm(a.flatten(0, -2).t(), g[:, : by_W.shape[1]], out=by_W)
            torch.sum(g, 0, out=by_b)
        for (xi, g), by_G in zip(factors[len(layers) :], scales, strict=True):
            torch.mm(xi.t(), g, out=by_G) if by_G.ndim == 2 else torch.sum(xi * g, 0, out=by_G)
        return flat

    @cached_property
    def _networks(self) -> list[api.native.Stack]:
        """T_0 … T_(L-1); of constant variances, T_0 has zeros in place of their weights."""
        maps, _ = self._parts(self.params.views)
        if self._constant:
            W, b = maps[0].pop()
            maps[0].append((W.new_zeros(len(W), len(b)), b))
        return [api.native.Stack([api.native.Layer(*layer) for layer in layers], self._activation) for layers in maps]

    @property
    def _stacks(self) -> list[api.native.Stack]:
        """The same with the weights that they have now."""
        if self._constant:
            self._networks[0].layers[-1].W[:, : self.dim].copy_(self.params.views[self._depth - 1])
        return self._networks

    def _parts(self, parts: Sequence[Tensor]) -> tuple[Maps, Sequence[Tensor]]:
        """Return the layers of each T and each G, of parameters or a gradient that are split."""
        L = len(self.latents.layers)
        n = L * self._depth
        layers = list(zip(parts[:n], parts[n + L :], strict=True))
        return [layers[at : at + self._depth] for at in range(0, n, self._depth)], parts[n : n + L]

    def _squashed(self, h: Tensor) -> Tensor:
        """Return what T takes: f(h) of a belief net, else h."""
        return h if self._squash is None else self._squash.of(h)

    def _xi(self, z: Tensor) -> list[Tensor]:
        """Return ξ_1 … ξ_L of z (..., Z), (n, K) each."""
        return [part.flatten(0, -2) for part in self.latents.split(z)]

    def _states(self, z: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return h_1 … h_L as T takes them (n, K), and the hidden units of T_1 … T_(L-1), of z (..., Z)."""
        noise = [_noise(*both) for both in zip(self._xi(z), self._parts(self.params.views)[1], strict=True)]
        h, units = [self._squashed(noise.pop())], list[list[Tensor]]()
        for network in self._networks[:0:-1]:
            *inside, made = network.up(h[0])
            units.insert(0, inside)
            h.insert(0, self._squashed(made.add_(noise.pop())))
        return h, units

    def _descend(
        self, z: Tensor, h: Sequence[Tensor], units: Sequence[Sequence[Tensor]], g: Tensor, by_z: bool
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor | None]:
        """Take the gradient by what T_0 takes (n, K_1) down to T_1 … T_(L-1) and G_1 … G_L, as factors, and if asked for to z."""
        of_maps: list[tuple[Tensor, Tensor]] = []
        of_noise, by_xi = [], []
        parts = zip(self._xi(z), self._parts(self.params.views)[1], h, strict=True)
        for number, (xi, G, state) in enumerate(parts):
            if number:
                factors, back = self._networks[number].down(state, units[number - 1], g, by_x=True)
                assert back is not None
                of_maps, g = [*of_maps, *factors], back
            if self._squash is not None:
                g = self._squash.back(g, state)
            of_noise.append((xi, g))
            if by_z:
                by_xi.append(g @ G.t() if G.ndim == 2 else g * G)
        return [*of_maps, *of_noise], torch.cat(by_xi, dim=-1).view(z.shape) if by_z else None


def _noise(xi: Tensor, G: Tensor) -> Tensor:
    """Return G ξ of ξ (..., K) and G (K, K), or its diagonal (K,)."""
    return xi @ G if G.ndim == 2 else xi * G
