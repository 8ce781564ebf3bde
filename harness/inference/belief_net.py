"""Belief nets of binary units, and recognition models for them: layers of Bernoulli units, each given the layer beside it.

Radford Neal, "Connectionist learning of belief networks" (1992), Artificial Intelligence 56; layers that are autoregressive as
Karol Gregor, Ivo Danihelka, Andriy Mnih, Charles Blundell and Daan Wierstra, "Deep autoregressive networks" (2014),
arXiv 1310.8499; recognition models as Andriy Mnih and Karol Gregor, "Neural variational inference and learning in belief
networks" (2014), arXiv 1402.0030. Here h_0 = x, and z is h_1, the layer next to the data, up to h_L.

    p(x, z) = p(h_L) Π_i p(h_i | h_(i+1))        q(z|x) = Π_i q(h_i | h_(i-1)),  or of a linear one  Π_i q(h_i | x)

Documents, counts of words x, are drawn word by word from one softmax given h_1, as by Ruslan Salakhutdinov and Geoffrey Hinton,
"Replicated softmax: an undirected topic model" (NIPS 2009), and have the density of the words in their order.

A point costs a product with every weight matrix for its density, and another for its gradient. Nothing is differentiable by z,
which is binary, and everything a layer's gradient needs is in that layer: no gradient flows from one to the next.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import native
from harness.inference.factored import from_factors
from harness.inference.metered import metered
from harness.inference.parameters import Parameters
from harness.inference.protocols import Kind, Latents, LatentVariableModel, Pull


class Units(NamedTuple):
    """A layer of Bernoulli units u given inputs c: logits a = c W + b, or autoregressive a_j = (c W + b)_j + Σ_(i<j) u_i U_ij.

    Attributes:
        inputs: k of them; 0 for a layer that is given nothing.
        units: m of them.
        autoregressive: whether each is given those before it, too.
    """

    inputs: int
    units: int
    autoregressive: bool


class Score(NamedTuple):
    """What the gradient of a layer's log p(u | c) needs.

    Attributes:
        slope: ∂ log p / ∂a, (S, B, m).
        c: the inputs (S, B, k), or (B, k) where all samples share them; None if there are none.
        u: the units (S, B, m) or (B, m), where they are autoregressive; else None.
    """

    slope: Tensor
    c: Tensor | None
    u: Tensor | None


class Layers:
    """Layers of Bernoulli units, by number, and their parameters: W_i, U_i without the zeros of a triangle, and b_i.

    Args:
        layers: the layers.
        prior_sd: of the prior on weights.
        dtype: of the parameters.
        words: if above 0, layer 0 are counts of words, drawn from a softmax of its logits; so many are drawn.
        gap: whether units of layer 0 may be missing, which NaN says. They are not autoregressive then.
    """

    def __init__(self, layers: Sequence[Units], prior_sd: float, dtype: torch.dtype, words: int = 0, gap: bool = False):
        self.units, self._words, self._gap = layers, words, gap
        self._own = [number for number, layer in enumerate(layers) if layer.autoregressive]
        weights: dict[str, tuple[int, ...]] = {f"W{i}": (k, m) for i, (k, m, _) in enumerate(layers)}
        weights |= {f"U{i}": (layers[i].units * (layers[i].units - 1) // 2,) for i in self._own}
        biases = {f"b{i}": (m,) for i, (_, m, _) in enumerate(layers)}
        self.params = Parameters(weights, biases, prior_sd=prior_sd, dtype=dtype)

    def initialise(self, sd: float, rng: torch.Generator) -> None:
        """Draw weights from N(0, sd²); biases are 0."""
        with torch.no_grad():
            self.params.flat[: self.params.n_weights].normal_(0.0, sd, generator=rng)

    def log_p(self, number: int, u: Tensor, c: Tensor | None) -> Tensor:
        """Return log p(u | c) of units (S, B, m) or (B, m) and inputs (S, B, k) or (B, k), (S, B), for autograd."""
        parts = self.params.split()
        a = parts[len(self.units) + len(self._own) + number]
        if c is not None:
            a = a + c @ parts[number]
        if self.units[number].autoregressive:
            a = a + u @ native.triangle(self._triangle(number, parts), self.units[number].units)
        if self._words and number == 0:
            return (u * a.log_softmax(-1)).sum(-1)
        return self.log_p_units(number, u, a).sum(-1)

    def log_p_units(self, number: int, u: Tensor, a: Tensor) -> Tensor:
        """Return log p of each unit u given its logit a, (S, B, m); 0 where it is missing."""
        if number or not self._gap:
            return u * a - torch.nn.functional.softplus(a)
        gone = u.isnan()
        return (u.masked_fill(gone, 0.0) * a - torch.nn.functional.softplus(a)).masked_fill(gone, 0.0)

    def scores(
        self, given: Sequence[tuple[Tensor, Tensor | None]], drawn_by: Sequence[Tensor | None], shape: tuple[int, ...]
    ) -> tuple[Tensor, Callable[[Sequence[Tensor | float]], Tensor]]:
        """Return `log_p` of every layer, (S, B, L), and what takes weights of each to the gradient of their weighted sum.

        Args:
            given: units and inputs of each layer, as for `log_p`.
            drawn_by: the logits that its units were drawn by, where these are known already.
            shape: (S, B).
        """
        log_p = given[0][0].new_empty(len(given), *shape)
        parts = zip(given, drawn_by, log_p, strict=True)
        scores = [self._score(number, u, c, a, out) for number, ((u, c), a, out) in enumerate(parts)]
        return log_p.permute(1, 2, 0), lambda weights: self._gradient(scores, weights)

    def _score(self, number: int, u: Tensor, c: Tensor | None, a: Tensor | None, out: Tensor) -> Score:
        """Write log p(u | c) to out (S, B), and return what its gradient needs."""
        autoregressive = self.units[number].autoregressive
        if self._words and number == 0:
            log_pi = self.logits(number, c).log_softmax(-1)
            out.copy_(torch.linalg.vecdot(u, log_pi))
            return Score(u - u.sum(-1, keepdim=True) * log_pi.exp(), c, None)
        if c is not None and c.ndim == 3 and not autoregressive and a is None:
            rows = u if u.ndim == 2 else u.flatten(0, 1)
            gap = self._gap and number == 0
            found = self.params.stacks[number].observed("bernoulli", rows, c, slope=True, out=out, missing=gap)
            assert found.slope is not None
            return Score(found.slope.view(*c.shape[:2], -1), c, None)
        if a is None:
            a = self.logits(number, c)
            if autoregressive:
                a = a + u @ self._dense(number)
        return Score(native.score_units(u, a, out), c, u if autoregressive else None)

    def draw(
        self, number: int, shape: tuple[int, ...], c: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw units (*shape, m) given inputs c (*shape, k), or of its last dimensions; return them with their logits."""
        a, m = self.logits(number, c), self.units[number].units
        if self._words and number == 0:
            words = torch.multinomial(
                a.softmax(-1).flatten(0, -2), self._words, replacement=True, generator=rng
            )  # (n, L)
            counts = a.new_zeros(len(words), m).scatter_add_(1, words, torch.ones_like(words, dtype=a.dtype))
            return counts.view(*shape, m), a
        if self.units[number].autoregressive:
            rows = a.expand(*shape, m).clone(memory_format=torch.contiguous_format).view(-1, m)  # to be overwritten
            u, a = native.ancestral(rows, self._dense(number), rng)
            return u.view(*shape, m), a.view(*shape, m)
        return native.draw_units(a, shape, rng), a

    def _gradient(self, scores: Sequence[Score], weights: Sequence[Tensor | float]) -> Tensor:
        """Return the gradient of the sum over layers, samples and points of weights, (S, B) or a number, times log p."""
        layers, triangles = [], []
        for score, weight in zip(scores, weights, strict=True):
            slope = score.slope
            if isinstance(weight, Tensor):
                slope = slope * weight.unsqueeze(-1)
            elif weight != 1.0:
                slope = slope * weight
            c = slope.new_empty(*slope.shape[:2], 0) if score.c is None else score.c
            layers.append((c, _behind(c, slope)))
            if score.u is not None:
                triangles.append((score.u, _behind(score.u, slope)))
        return from_factors(self.params, [*layers, *triangles])

    def logits(self, number: int, c: Tensor | None) -> Tensor:
        """Return c W + b of inputs c (..., k), (..., m); b of none."""
        if c is None:
            return self.params.layers[number].b
        return self.params.stacks[number].up(c)[-1].view(*c.shape[:-1], self.units[number].units)

    def _dense(self, number: int) -> Tensor:
        """Return U (m, m)."""
        return native.triangle(self._triangle(number, self.params.views), self.units[number].units)

    def _triangle(self, number: int, parts: Sequence[Tensor]) -> Tensor:
        """Return U without its zeros, of parameters or a gradient that are split."""
        return parts[len(self.units) + self._own.index(number)]


def _behind(inputs: Tensor, slope: Tensor) -> Tensor:
    """Return slopes (S, B, m) as the rows behind inputs (S, B, ·), or summed over samples behind inputs (B, ·) of all of them."""
    if inputs.ndim == 3:
        return slope.flatten(0, -2)
    return slope[0] if len(slope) == 1 else slope.sum(0)


class BeliefNet(LatentVariableModel):
    """p(x, z) of binary x, each layer given the one above; layers within which units are given each other are autoregressive.

    Args:
        dim: D, observed dimensions.
        sizes: of the layers of latents, the one next to the data first.
        autoregressive: whether the latents of a layer are.
        observed_too: whether the observed units are.
        prior_sd: of the prior on weights.
        dtype: of the parameters.
        words: if above 0, x are counts of words, and documents that are drawn have so many.
        missing: whether entries of x may be missing.
    """

    normalised = True

    def __init__(
        self,
        dim: int,
        sizes: Sequence[int],
        *,
        autoregressive: bool,
        observed_too: bool,
        prior_sd: float,
        dtype: torch.dtype,
        words: int = 0,
        missing: bool = False,
    ):
        self.kind: Kind = "counts" if words else "binary"
        self.dim, self.latents, self._words = dim, Latents.of("binary", *sizes), words
        below = [dim, *sizes]  # layer i is given layer i + 1
        layers = [
            Units(k, m, autoregressive if number else observed_too)
            for number, (k, m) in enumerate(zip([*sizes, 0], below, strict=True))
        ]
        self._layers = Layers(layers, prior_sd, dtype, words, missing)
        self.params = self._layers.params

    def initialise(self, sd: float, mean: Tensor, rng: torch.Generator) -> None:
        """Draw weights from N(0, sd²); biases of observed units are the log odds of the data's mean (D,), others 0.

        Those of words are the log of how often each is used.
        """
        self._layers.initialise(sd, rng)
        with torch.no_grad():
            used = (mean / mean.sum()).clamp(min=0.01 / self.dim).log()
            self.params.layers[0].b.copy_(used if self._words else mean.clamp(0.001, 0.999).logit())

    @metered()
    def log_p_z(self, z: Tensor) -> Tensor:
        """Return log p(z) of z (S, B, Z), (S, B)."""
        h = self.latents.split(z)
        parts = [self._layers.log_p(i + 1, h[i], c) for i, c in enumerate([*h[1:], None])]
        return torch.stack(parts).sum(0)

    @metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|z) of x (B, D) and z (S, B, Z), (S, B)."""
        return self._layers.log_p(0, x, self.latents.split(z)[0])

    @metered(samples=True, rows="decoder", count="z")
    def log_p_layers(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x|h_1), log p(h_1|h_2), …, log p(h_L), (S, B, L + 1)."""
        h = self.latents.split(z)
        return torch.stack([self._layers.log_p(i, u, c) for i, (u, c) in enumerate(self._pairs(x, h))], dim=-1)

    @metered(samples=True, rows="decoder", count="z", differentiated=True)
    @torch.no_grad()
    def layer_gradients(self, x: Tensor, z: Tensor) -> tuple[Tensor, Pull]:
        """Return `log_p_layers`, and what takes weights, (S, B) or a number, to the gradient by θ of the weighted sum."""
        h = self.latents.split(z)
        layers = len(h) + 1
        log_p, pull = self._layers.scores(self._pairs(x, h), [None] * layers, z.shape[:2])
        return log_p, lambda weights: pull([weights] * layers)

    @metered()
    @torch.no_grad()
    def sample_z(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z (n, Z) from p(z)."""
        layers: list[Tensor] = []
        for number in reversed(range(1, len(self._layers.units))):
            layers.insert(0, self._layers.draw(number, (n,), layers[0] if layers else None, rng)[0])
        return torch.cat(layers, dim=-1)

    @metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n pairs from p(x, z): x (n, D) and z (n, Z)."""
        z = self.sample_z(n, rng)
        return self._layers.draw(0, (n,), self.latents.split(z)[0], rng)[0], z

    @staticmethod
    def _pairs(x: Tensor, h: Sequence[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """Return the units of each layer with the layer above."""
        return list(zip([x, *h], [*h, None], strict=True))


class FactorialBeliefNet(BeliefNet):
    """A belief net whose observed units, or words, are independent given h_1."""

    @metered(rows="decoder", count="z")
    @torch.no_grad()
    def mean_x(self, z: Tensor) -> Tensor:
        """Return E[x|z] of z (S, B, Z), (S, B, D)."""
        a = self._layers.logits(0, self.latents.split(z)[0])
        return self._words * a.softmax(-1) if self._words else a.sigmoid_()


class BinaryBeliefNet(FactorialBeliefNet):
    """A belief net whose observed units are bits, independent given h_1."""

    @metered(samples=True, rows="decoder", count="z")
    @torch.no_grad()
    def log_p_entries(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x_d|z) of each unit of x (B, D) given z (S, B, Z), (S, B, D)."""
        return self._layers.log_p_units(0, x, self._layers.logits(0, self.latents.split(z)[0]))

    @metered(fantasies=True, rows="decoder", count="z")
    @torch.no_grad()
    def sample_x(self, z: Tensor, rng: torch.Generator) -> Tensor:
        """Draw x (S, B, D) from p(x|z) of z (S, B, Z)."""
        return self._layers.draw(0, z.shape[:-1], self.latents.split(z)[0], rng)[0]


RecognitionKind = Literal["factorial", "autoregressive", "linear"]
"""Whether a layer is given the layer below (factorial), and its own units before, too (autoregressive), or the data (linear)."""


class BeliefPosterior:
    """q(z|x) for points c (B, D), which are centred."""

    def __init__(self, net: "BeliefRecognition", c: Tensor):
        self._net, self._c = net, c
        self._drawn: tuple[Tensor, list[Tensor]] | None = None  # the last samples, and their logits

    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw n samples a point, (n, B, Z)."""
        layers, logits, c = self._net.layers, [], self._c
        h: list[Tensor] = []
        for number in range(len(layers.units)):
            u, a = layers.draw(number, (n, len(self._c)), c, rng)
            h.append(u)
            logits.append(a)
            c = self._c if self._net.linear else u
        z = torch.cat(h, dim=-1) if len(h) > 1 else h[0]
        self._drawn = z, logits
        return z

    def _inputs(self, h: Sequence[Tensor]) -> list[Tensor]:
        """Return what each layer is given, (B, D) or (S, B, ·), of layers h (S, B, ·)."""
        return [self._c] * len(h) if self._net.linear else [self._c, *h[:-1]]

    def log_layers(self, z: Tensor) -> Tensor:
        """Return log q(h_1|x), log q(h_2|h_1), … of z (S, B, Z), (S, B, L)."""
        h = self._net.latents.split(z)
        pairs = zip(h, self._inputs(h), strict=True)
        return torch.stack([self._net.layers.log_p(i, u, c) for i, (u, c) in enumerate(pairs)], dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z|x) of z (S, B, Z), (S, B)."""
        return self.log_layers(z).sum(-1)

    @torch.no_grad()
    def layer_gradients(self, z: Tensor) -> tuple[Tensor, Pull]:
        """Return `log_layers`, and what takes weights to the gradient by φ of the weighted sum.

        Weights are (S, B, L), or (S, B) or a number for all layers.
        """
        h = self._net.latents.split(z)
        drawn_by = self._drawn[1] if self._drawn is not None and self._drawn[0] is z else [None] * len(h)
        given = list(zip(h, self._inputs(h), strict=True))
        log_q, pull = self._net.layers.scores(given, drawn_by, z.shape[:2])
        return log_q, lambda weights: pull(
            weights.unbind(-1) if isinstance(weights, Tensor) and weights.ndim == 3 else [weights] * len(h)
        )


class BeliefRecognition:
    """q(z|x) of a belief net, whose layers are given the layer below, or the data.

    Args:
        mean: of the data (D,), which are centred by it.
        sizes: of the layers of latents, the one next to the data first.
        kind: see `RecognitionKind`.
        prior_sd: of the prior on weights.
        dtype: of the parameters.
        missing: whether entries of x may be missing, in whose place the mean is.
    """

    posterior_type = BeliefPosterior

    def __init__(
        self, mean: Tensor, sizes: Sequence[int], kind: RecognitionKind, prior_sd: float, dtype: torch.dtype,
        missing: bool = False,
    ):  # fmt: skip
        self.linear, self.latents = kind == "linear", Latents.of("binary", *sizes)
        self._mean, self._missing = mean.to(dtype), missing
        inputs = [len(mean)] * len(sizes) if self.linear else [len(mean), *sizes[:-1]]
        own = kind == "autoregressive"
        self.layers = Layers([Units(k, m, own) for k, m in zip(inputs, sizes, strict=True)], prior_sd, dtype)
        self.params = self.layers.params
        self.initialise = self.layers.initialise

    @metered(rows="encoder", count="x")
    def posterior(self, x: Tensor) -> BeliefPosterior:
        """Return q(z|x) for x (B, D)."""
        if self._mean.device != x.device:
            self._mean = self._mean.to(x.device)
        c = x - self._mean
        return BeliefPosterior(self, c.masked_fill_(c.isnan(), 0.0) if self._missing else c)
