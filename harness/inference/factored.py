"""Gradients of layers that are not multiplied out: an optimiser that can takes their factors."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from harness import native
from harness.inference.parameters import Parameters
from harness.native.layers import as_rows


class Factored:
    """The gradient of layers a W + b, summed over rows, as factors: by W it is aᵀ g, and by b the sum of g.

    Weights that are no matrices are those of units u that are each given those before: by them it is uᵀ g above the diagonal.

    An optimiser makes a few rows of aᵀ g at a time and uses them while they are in cache. Whoever calculates with a gradient need
    not know: it stands for the tensor that `dense` returns.

    Args:
        params: the parameters: weights W (k, m), and the biases (m,) of all of them or of the first, in the same order; triangles
            behind the matrices.
        factors: for each layer a (..., k), its input of n rows, and g (n, m), the gradient of each row behind it; then for each
            triangle u (..., m) and g (n, m).
    """

    def __init__(self, params: Parameters, factors: Sequence[tuple[Tensor, Tensor]]):
        self._params, self._factors = params, factors
        self._versions = self._versions_now()
        self._dense: Tensor | None = None

    @property
    def is_dense(self) -> bool:
        """Whether it has been multiplied out: from then on it is that tensor, which may have been changed in place."""
        return self._dense is not None

    @property
    def factors(self) -> Sequence[tuple[Tensor, Tensor]]:
        """The factors of each layer; RuntimeError if one was changed in place meanwhile."""
        if self._versions_now() != self._versions:
            raise RuntimeError(
                "a batch, or latents, were changed in place before their gradient was used: use the gradient first, or change "
                "a copy, as by x.clone()"
            )
        return self._factors

    def dense(self, out: Tensor | None = None) -> Tensor:
        """Return it as a flat tensor laid out like the parameters: `out`, or one that the next call for these overwrites."""
        if self._dense is None:
            self._dense, views = self._params.gradient if out is None else (out, self._params.split(out))
            n = len(self._factors)
            for (a, g), by_W in zip(self.factors, views[:n], strict=True):
                if by_W.ndim == 2:
                    torch.mm(as_rows(a).t(), g, out=by_W)
                else:
                    native.of_triangle(as_rows(a).t() @ g, by_W)
            for (_, g), by_b in zip(self._factors, views[n:], strict=False):  # the last weights may have no biases
                torch.sum(g, 0, out=by_b)
        return self._dense

    def _versions_now(self) -> list[int]:
        try:
            return [a._version + g._version for a, g in self._factors]  # neither ever falls
        except RuntimeError:  # tensors of inference mode have none
            return []

    # For PyTorch's functions, methods and operators it is the dense tensor.

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map(lambda one: one.dense() if isinstance(one, Factored) else one, (args, kwargs or {}))
        return function(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dense(), name)


def _operator(name: str) -> Any:
    return lambda self, *others: getattr(self.dense(), name)(*others)


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "pow", "neg", "abs", "getitem", "len"):
    setattr(Factored, f"__{_name}__", _operator(f"__{_name}__"))


def from_factors(params: Parameters, factors: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the gradient of layers and triangles from its factors: multiplied out, unless compiled updates take it as it is.

    A `Factored` is no tensor, but can be used as one.
    """
    factored = Factored(params, factors)
    return cast(Tensor, factored) if native.serves(params.flat) else factored.dense()
