"""Marks on the methods of models: what a call counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])

Network = Literal["decoder", "encoder"]


@dataclass(frozen=True)
class Meter:
    """What a call of a marked method counts."""

    samples: bool
    dreams: bool
    rows: Network | None
    differentiated: bool


def metered(
    *, samples: bool = False, dreams: bool = False, rows: Network | None = None, differentiated: bool = False
) -> Callable[[F], F]:
    """Mark a method of a model as one that algorithms may call, and say what a call counts.

    A call that returns a tensor counts its elements (one a sample and point, (S, B)); one that differentiates by itself the
    rows of its second argument, z (S, B, Z); another that returns a tuple the rows of its first tensor; any other, such as a
    posterior, the rows of the first argument. A call without marks is free.

    Args:
        samples: the density of the generative model is evaluated.
        dreams: points are sampled from the generative model.
        rows: the network that the rows go through.
        differentiated: the call itself differentiates and returns the gradient; of other calls autograd tells.
    """

    def mark(method: F) -> F:
        method._meter = Meter(samples, dreams, rows, differentiated)  # type: ignore[attr-defined]
        return method

    return mark


class HandDerived(torch.autograd.Function):
    """An autograd function with a derivative of its own, which tells by itself when it is differentiated.

    Its `backward` begins with `HandDerived.enter(ctx)`. A hook on its result, as other functions need, costs ten times as much.
    """

    @staticmethod
    def enter(ctx: Any) -> None:
        """Enter rows as differentiated; refuse to be differentiated twice, as `create_graph=True` asks."""
        if torch.is_grad_enabled():
            raise NotImplementedError("this model is differentiated by hand, once: create_graph=True cannot work")
        act = getattr(ctx, "when_differentiated", None)
        if act is not None:
            act()
