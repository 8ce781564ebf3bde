"""The parameters of one network or model, in one flat tensor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from harness import native

MADE = ("gradient", "layers", "stack", "stacks")
"""What is made once of the memory that parameters are in."""


class Parameters:
    """Named weights and biases that lie one behind the other in one flat leaf tensor.

    A flat tensor makes an optimiser's update one pass over memory and a checkpoint one array. Weights come first, so
    that a prior on weights alone is a prior on `flat[:n_weights]`.

    Args:
        weights: name -> shape of each weight matrix; the Gaussian prior is on these.
        biases: name -> shape of each bias; these have no prior.
        prior_sd: standard deviation of the prior N(0, prior_sd²) on every weight; infinity for none.
        dtype: floating-point type of all of them.
        activation: of hidden units, where the weights are those of a network.
    """

    def __init__(
        self,
        weights: Mapping[str, tuple[int, ...]],
        biases: Mapping[str, tuple[int, ...]],
        *,
        prior_sd: float = 1.0,
        dtype: torch.dtype = torch.float32,
        activation: native.Activation = "tanh",
    ):
        self.shapes, self.activation = {**weights, **biases}, activation
        self.prior_precision = prior_sd**-2
        self._sizes = [torch.Size(shape).numel() for shape in self.shapes.values()]
        self.n_weights, self.n_biases = sum(self._sizes[: len(weights)]), len(biases)
        self.flat = torch.zeros(sum(self._sizes), dtype=dtype, requires_grad=True)
        self.views = self.split(self.flat.detach())

    @classmethod
    def network(cls, sizes: Sequence[int], *, first: int = 1, **more: Any) -> "Parameters":
        """Return those of layers one behind the other: weights W1, W2, … and biases b1, b2, ….

        Args:
            sizes: of the inputs, of each hidden layer, and of the outputs.
            first: number of the first layer, for names.
            more: see the class.
        """
        numbered = list(enumerate(pairwise(sizes), first))
        return cls({f"W{i}": shape for i, shape in numbered}, {f"b{i}": (m,) for i, (_, m) in numbered}, **more)

    @cached_property
    def gradient(self) -> tuple[Tensor, list[Tensor]]:
        """A flat tensor for a gradient, made once, and its views: for models that compute gradients themselves."""
        flat = torch.empty_like(self.flat, requires_grad=False)
        return flat, self.split(flat)

    @cached_property
    def layers(self) -> list[native.Layer]:
        """The layers of a network: a weight matrix, and the biases at the same place among the biases.

        Matrices that come after the last of those that have biases have some that nobody reads. Weights that are no matrices
        belong to no layer.
        """
        return self.as_layers(self.flat.detach())

    @cached_property
    def stack(self) -> native.Stack:
        """All of the layers, one behind the other."""
        return native.Stack(self.layers, self.activation)

    @cached_property
    def stacks(self) -> list[native.Stack]:
        """Each of the layers as a stack of its own, where none is behind another."""
        return [native.Stack([layer]) for layer in self.layers]

    def as_layers(self, flat: Tensor) -> list[native.Layer]:
        """Return the layers of a tensor that is laid out like these parameters."""
        parts = self.split(flat)
        n = len(parts) - self.n_biases
        matrices, biases = [part for part in parts[:n] if part.ndim == 2], parts[n:]
        biases += [part.new_zeros(part.shape[1]) for part in matrices[len(biases) :]]
        return [native.Layer(W, b) for W, b in zip(matrices, biases, strict=True)]

    def as_parts(self, flat: Tensor) -> list[native.Layer | native.Triangle]:
        """Return the layers of a tensor like these parameters, and then its triangles: the weights that are no matrices."""
        parts = self.split(flat)
        return [
            *self.as_layers(flat),
            *(native.Triangle(part) for part in parts[: len(parts) - self.n_biases] if part.ndim == 1),
        ]

    def to(self, device: torch.device) -> None:
        """Move all of them, before anything else has hold of them; where they are there already nothing changes."""
        if self.flat.device.type == device.type:
            return
        self.flat = self.flat.detach().to(device).requires_grad_()
        self.views = self.split(self.flat.detach())
        for made in MADE:
            self.__dict__.pop(made, None)

    def move_into(self, flat: Tensor, *, keep: bool = True) -> None:
        """Move all of them into memory that is part of a larger tensor (n,), so that they are learned here and stored there.

        Args:
            flat: the memory.
            keep: whether their numbers move, too; else those that are there are theirs from now on.
        """
        with torch.no_grad():
            if keep:
                flat.copy_(self.flat)
        self.flat = flat.detach().requires_grad_()
        self.views = self.split(self.flat.detach())
        for made in MADE:
            self.__dict__.pop(made, None)

    def normal_(self, sd: float, rng: torch.Generator) -> None:
        """Draw every parameter from N(0, sd²)."""
        with torch.no_grad():
            self.flat.normal_(0.0, sd, generator=rng)

    def split(self, flat: Tensor | None = None) -> list[Tensor]:
        """Return views of `flat` (these parameters, or a gradient laid out like them), shaped, in order of declaration.

        Without `flat` they are differentiable; `self.views` are the same memory, made once, and not differentiable.
        """
        parts = (self.flat if flat is None else flat).split_with_sizes(self._sizes)
        return [part.view(shape) if len(shape) > 1 else part for part, shape in zip(parts, self.shapes.values())]  # noqa: B905

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the layers of a network say of x (..., k), by PyTorch alone, which differentiates and transforms it."""
        parts = self.split()
        return through(x, zip(parts[: len(parts) // 2], parts[len(parts) // 2 :], strict=True), self.activation)

    @contextmanager
    def fixed(self) -> Iterator[None]:
        """Differentiate nothing with respect to these parameters inside: a sampler of z then pays for z alone."""
        before = self.flat.requires_grad
        self.flat.requires_grad_(False)
        try:
            yield
        finally:
            self.flat.requires_grad_(before)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters, for checkpoints of an algorithm's state that holds networks of its own."""
        return {"flat": self.flat.detach()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over parameters that `state_dict` returned."""
        with torch.no_grad():
            self.flat.copy_(state["flat"])


def through(x: Tensor, layers: Iterable[tuple[Tensor, Tensor]], activation: native.Activation) -> Tensor:
    """Return the outputs of layers (W, b), one behind the other, for x (..., k), by PyTorch alone."""
    (W, b), *others = layers
    a = x @ W + b
    for W, b in others:
        a = native.SQUASH[activation].of(a) @ W + b
    return a
