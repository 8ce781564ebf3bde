"""Optimisers by name, for algorithms with a setting `optimiser`."""

from collections.abc import Callable
from typing import Any, Protocol

from harness.api.problem import Problem
from harness.errors import BadInput
from harness.inference.adagrad import Adagrad
from harness.inference.optimisers import Adam, Optimiser, Sgd
from harness.inference.parameters import Parameters

OPTIMISERS: dict[str, type[Optimiser]] = {"sgd": Sgd, "adam": Adam, "adagrad": Adagrad}


def optimiser(
    name: str,
    *params: Parameters,
    lr: float,
    prior_weight: float = 0.0,
    schedule: Callable[[], float] | None = None,
    warmup: int = 0,
) -> Optimiser:
    """Return the optimiser of this name: "sgd", "adam" or "adagrad".

    Args:
        name: of the optimiser, such as the value of a setting `optimiser`.
        params: the parameters to update, in the order in which `ascend` is given their gradients.
        lr: step size.
        prior_weight: weight of the log prior's gradient, M/N for an objective summed over a minibatch of M from N points.
        schedule: returns the factor of the step size now, such as `problem.schedule`; None for a constant step size.
        warmup: of Adagrad, how many first steps only accumulate squared gradients; the others have no use for it.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in OPTIMISERS:
        raise BadInput(
            f"the optimiser is {name!r}: choose {', '.join(list(OPTIMISERS)[:-1])} or {list(OPTIMISERS)[-1]}"
        )
    more: dict[str, Any] = {"warmup": warmup} if name == "adagrad" else {}
    return OPTIMISERS[name](*params, lr=lr, prior_weight=prior_weight, schedule=schedule, **more)


class Ascending(Protocol):
    """Settings of an algorithm that ascends an objective summed over a minibatch."""

    @property
    def optimiser(self) -> str:
        """The name of the optimiser."""
        ...

    @property
    def lr(self) -> float:
        """Its step size."""
        ...

    @property
    def batch_size(self) -> int:
        """M, points in a minibatch."""
        ...


def ascent(problem: Problem, config: Ascending, *params: Parameters) -> Optimiser:
    """Return the optimiser that these settings ask for, with the problem's schedule: of θ and φ together, or of `params`.

    The log prior of all has the weight M/N. Adagrad has the settings' `warmup`, if they have one.
    """
    return optimiser(
        config.optimiser,
        *(params or (problem.model.params, problem.recognition.params)),
        lr=config.lr,
        prior_weight=config.batch_size / problem.data.n_train,
        schedule=problem.schedule,
        warmup=getattr(config, "warmup", 0),
    )
