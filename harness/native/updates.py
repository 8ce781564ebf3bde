"""An optimiser's step by gradients that are not multiplied out; compiled alone: elsewhere, gradients are multiplied out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.native import path
from harness.native.layers import Layer, Triangle, require, rows
from harness.native.stack import Factors, Pair

SGD, ADAGRAD, ADAM = range(3)


class Move(NamedTuple):
    """How weights w move along the gradient g of an objective, after  g ← g - decay · w:

        SGD        w ← w + lr · g
        ADAGRAD    s ← s + g²                                        w ← w + lr · g / √s
        ADAM       m ← β₁ m + (1 - β₁) g    v ← β₂ v + (1 - β₂) g²   w ← w + lr · m / (correction · √v + eps)

    Attributes:
        rule: which of these.
        lr: step size, which Adam's correction of m for its bias is part of.
        beta1: β₁.
        beta2: β₂.
        correction: of √v for its bias.
        eps: added to the root.
    """

    rule: int
    lr: float
    beta1: float = 0.0
    beta2: float = 0.0
    correction: float = 1.0
    eps: float = 0.0


class Ascent:
    """The update of the layers and triangles of one set of parameters.

    Args:
        parts: what is updated.
        kept: what the optimiser keeps for them, laid out as these: nothing, s, or m and v.
        decay: of the weights.
    """

    def __init__(self, parts: Sequence[Layer | Triangle], kept: Sequence[Sequence[Layer | Triangle]], decay: float):
        for part, *others in zip(parts, *kept, strict=True):
            for other in others:
                if (other.k, other.m) != (part.k, part.m):
                    raise ValueError(f"what is kept for weights {(part.k, part.m)} are {(other.k, other.m)}")
            if not all(one.plain for one in (part, *others)):
                raise ValueError(NOT_PLAIN)
        self._keep, self._sizes = (parts, kept), tuple((part.k, part.m) for part in parts)
        nothing = (0, 0)
        # The last one first, as backpropagation has left its factors in cache.
        each = list(zip(parts, *kept, strict=True))[::-1]
        places = [[one.at for one in of_part] + [nothing] * (3 - len(of_part)) for of_part in each]
        self._parts = [
            (part.k, part.m, *at, *first, *second, decay)
            for (part, *_), (at, first, second) in zip(each, places, strict=True)
        ]

    def placed(self, factors: Sequence[Pair]) -> Factors:
        """Return the same factors, or copies without gaps, of which it is known where they are."""
        if isinstance(factors, Factors) and factors.at is not None and factors.sizes == self._sizes:
            return factors
        inputs, behind, at = [], [], []
        for (a, g), (k, m) in zip(factors, self._sizes, strict=True):
            if not path.serves(a, g):
                raise ValueError(NOT_PLAIN)
            n = rows(a, k)
            require(g, (n, m))
            a, g = a.contiguous(), g.contiguous()
            inputs.append(a)
            behind.append(g)
            at.append((n, a.data_ptr(), g.data_ptr()))
        return Factors.of(inputs, behind, self._sizes, at)

    def numbers(self, placed: Factors) -> list[float]:
        """Return what the compiled library is told of this update."""
        assert placed.at is not None
        each = zip(placed.at[::-1], self._parts, strict=True)
        return [number for of_batch, part in each for number in (*of_batch, *part)]


NOT_PLAIN = "compiled updates take single precision, on a processor, without gaps"


def ascend(move: Move, updates: Iterable[tuple[Ascent, Sequence[Pair]]]) -> None:
    """Move weights along aᵀ g, and biases along the sum of g, of the factors a (..., k) and g (n, m) of each layer.

    Of a triangle the factors are u (..., m) and g (n, m), and it moves along what is above the diagonal of uᵀ g.
    """
    placed = [(ascent, ascent.placed(factors)) for ascent, factors in updates]
    path.kernels.ascend(*move, *[number for ascent, factors in placed for number in ascent.numbers(factors)])
