"""Marks on the methods of models: what a call counts."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])

Network = Literal["decoder", "encoder"]


@dataclass(frozen=True)
class Meter:
    """What a call of a marked method counts; see `metered`."""

    samples: bool
    fantasies: bool
    rows: Network | None
    count: str | None
    differentiated: bool
    times: str | None


def metered(
    *,
    samples: bool = False,
    fantasies: bool = False,
    rows: Network | None = None,
    count: str | None = None,
    differentiated: bool = False,
    times: str | None = None,
) -> Callable[[F], F]:
    """Mark a method of a model as one that algorithms may call, and say what a call counts.

    A call counts the rows of one of its arguments: of a tensor (..., D) all but the last dimension together, so S · B for
    z (S, B, Z); of a whole number that number. A call without marks is free.

        @api.metered(samples=True, rows="decoder", count="z")
        def log_p_x_given_z(self, x, z): ...

        @api.metered(fantasies=True, rows="decoder", count="n")
        def sample(self, n, rng): ...

    Args:
        samples: the density of the generative model, or its gradient, is evaluated.
        fantasies: points are sampled from the generative model.
        rows: the network that the rows go through.
        count: the name of the argument whose rows are counted; needed with any of the above.
        differentiated: the call itself differentiates, and returns the gradient; of other calls autograd tells.
        times: how often each row counts: an attribute of the model, a whole number, or an argument, as many times as that has
            rows; such as `orders`. None for once.

    Raises:
        TypeError: something is to be counted, and `count` is no argument of the method.
    """

    def mark(method: F) -> F:
        if samples or fantasies or rows is not None:
            names = list(inspect.signature(method).parameters)[1:]
            if count not in names:
                raise TypeError(f"{method.__name__} counts the rows of {count!r}: choose one of {', '.join(names)}")
        setattr(method, MARK, Meter(samples, fantasies, rows, count, differentiated, times))
        return method

    return mark


MARK = "_meter"
"""The attribute of a method that holds its `Meter`."""


class MeteredFunction(torch.autograd.Function):
    """An autograd function with a derivative of its own, which tells by itself when it is differentiated.

    Its `backward` begins with `MeteredFunction.enter(ctx)`. A hook on its result, as other functions need, costs ten times as
    much.
    """

    @staticmethod
    def enter(ctx: Any) -> None:
        """Enter rows as differentiated; refuse to be differentiated twice, as `create_graph=True` asks."""
        if torch.is_grad_enabled():
            raise NotImplementedError("this model is differentiated by hand, once: create_graph=True cannot work")
        act = getattr(ctx, "when_differentiated", None)
        if act is not None:
            act()
