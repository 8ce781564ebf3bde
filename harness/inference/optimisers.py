"""Optimisers that ascend an objective in place: what all have in common, stochastic gradient ascent, and Adam."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness import native
from harness.inference.factored import Factored
from harness.inference.parameters import Parameters
from harness.native import updates


class Optimiser:
    """Ascends an objective over one or more sets of parameters, by whatever update a subclass has.

    Args:
        params: the parameters to update, in the order in which `ascend` is given their gradients.
        lr: step size.
        prior_weight: weight of the log prior's gradient, M/N for an objective summed over a minibatch of M from N points. The
            prior N(0, prior_sd²) is on weights, not on biases.
        schedule: returns the factor of the step size now, such as `problem.schedule`; None for a constant step size.
    """

    def __init__(
        self, *params: Parameters, lr: float, prior_weight: float = 0.0, schedule: Callable[[], float] | None = None
    ):
        self.lr, self.schedule = lr, schedule
        self.n_calls = 0
        self._sets, self._params = params, [p.flat for p in params]
        # Weights have a prior and biases have none, so they are passed to a kernel apart: views of the flat tensors. The
        # last come first, as backpropagation ends with them and their gradients are still in cache.
        self._cuts = [[p.n_weights, p.flat.numel() - p.n_weights] for p in params]
        self._decays = [prior_weight * p.prior_precision for p in reversed(params)]
        self._one_decay = len(set(self._decays)) == 1
        self._flats = self._apart([p.flat.detach() for p in params])

    def ascend(self, grads: Sequence[Tensor]) -> None:
        """Take one step along `grads`, a gradient of the objective for each set of parameters, flat or not multiplied out."""
        lr = self._step_size()
        if all(isinstance(grad, Factored) and not grad.is_dense for grad in grads) and native.serves(*self._params):
            self._ascend_by_factors(grads, lr)
        else:
            self._ascend([_dense(grad) for grad in grads], lr)
        torch.autograd.graph.increment_version(self._params)  # no kernel tells autograd that it wrote
        self.n_calls += 1

    def _step_size(self) -> float:
        return self.lr if self.schedule is None else self.lr * self.schedule()

    def _ascend_by_factors(self, grads: Sequence[Any], lr: float) -> None:
        """Take a step along gradients none of which is multiplied out."""
        if (move := self._move(lr)) is None:
            self._ascend([_dense(grad) for grad in grads], lr)
        else:
            native.ascend(move, zip(self._ascents, [grad.factors for grad in grads], strict=True))

    def _move(self, lr: float) -> native.Move | None:
        """Return the compiled step; None if there is none, and gradients are to be multiplied out."""
        return None

    @cached_property
    def _ascents(self) -> list[native.Ascent]:
        """The compiled update of each set of parameters."""
        memory = self._memory()
        return [
            native.Ascent(params.as_parts(params.flat.detach()), [params.as_parts(flats[i]) for flats in memory], decay)
            for i, (params, decay) in enumerate(zip(self._sets, self._decays[::-1], strict=True))
        ]

    def _ascend(self, grads: Sequence[Tensor], lr: float) -> None:
        parts = [self._flats, self._apart(grads), *self._kept]
        weights, biases = zip(*parts, strict=True)
        if self._one_decay:
            self._kernel(*weights, lr=lr, decay=self._decays[0])
        else:
            for *one, decay in zip(*weights, self._decays, strict=True):
                self._kernel(*([part] for part in one), lr=lr, decay=decay)
        self._kernel(*biases, lr=lr, decay=0.0)

    @cached_property
    def _kept(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """What is kept from step to step for each parameter, apart as the parameters are."""
        return [self._apart(flats) for flats in self._memory()]

    def _memory(self) -> list[list[Tensor]]:
        """Return what is kept from step to step: lists of flat tensors, one for each set of parameters."""
        return []

    def _kernel(self, w: list[Tensor], g: list[Tensor], *kept: list[Tensor], lr: float, decay: float) -> None:
        """Move w along g - decay · w, with what is kept for it, all in place; w always has as many elements of each list."""
        raise NotImplementedError

    def _apart(self, flats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of the weights of each flat tensor, and of the biases of each, the last one first."""
        parts = [flat.split_with_sizes(cut) for flat, cut in zip(flats, self._cuts, strict=True)][::-1]
        return [weights for weights, _ in parts], [biases for _, biases in parts]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, besides the parameters."""
        return {"n_calls": self.n_calls}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.n_calls = state["n_calls"]


def _dense(grad: Any) -> Tensor:
    return grad.dense() if isinstance(grad, Factored) else grad


class Sgd(Optimiser):
    """Stochastic gradient ascent,  w += lr · g,  after Herbert Robbins and Sutton Monro (1951).

    With momentum m it is  v = m v + g,  w += lr · v,  after Boris Polyak (1964), "Some methods of speeding up the convergence of
    iteration methods", USSR Computational Mathematics and Mathematical Physics 4(5).

    Args:
        params: see `Optimiser`, as are `lr`, `prior_weight` and `schedule`.
        lr: step size.
        prior_weight: weight of the log prior's gradient.
        schedule: returns the factor of the step size now.
        momentum: m.
    """

    def __init__(
        self,
        *params: Parameters,
        lr: float,
        prior_weight: float = 0.0,
        schedule: Callable[[], float] | None = None,
        momentum: float = 0.0,
    ):
        super().__init__(*params, lr=lr, prior_weight=prior_weight, schedule=schedule)
        self.momentum = momentum
        self.velocities = [torch.zeros_like(flat, requires_grad=False) for flat in self._params if momentum]

    def _memory(self) -> list[list[Tensor]]:
        return [self.velocities] if self.momentum else []

    def _move(self, lr: float) -> native.Move | None:
        return None if self.momentum else native.Move(updates.SGD, lr)

    def _kernel(self, w: list[Tensor], g: list[Tensor], *kept: list[Tensor], lr: float, decay: float) -> None:
        torch._fused_sgd_(
            w, g, *kept or [[]], lr=lr, weight_decay=decay, momentum=self.momentum, dampening=0.0, nesterov=False,
            maximize=True, is_first_step=False,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, besides the parameters."""
        return {**super().state_dict(), **({"velocities": self.velocities} if self.momentum else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        super().load_state_dict(state)
        for mine, other in zip(self.velocities, state.get("velocities", ()), strict=True):
            mine.copy_(other)


class Adam(Optimiser):
    """Adam: steps along a running mean of gradients over the root of a running mean of their squares, both bias-corrected.

    Diederik P. Kingma and Jimmy Ba (2015), arXiv 1412.6980, Algorithm 1, as ascent. The gradient of the log prior is part of
    the gradient, so it is averaged and squared with it; this is not the decoupled weight decay of AdamW.

    Args:
        params: see `Optimiser`, as are `lr`, `prior_weight` and `schedule`.
        lr: α in the paper.
        prior_weight: weight of the log prior's gradient.
        schedule: returns the factor of α now.
        betas: decay rates of the two running means.
        eps: added to the root.
    """

    def __init__(
        self,
        *params: Parameters,
        lr: float,
        prior_weight: float = 0.0,
        schedule: Callable[[], float] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(*params, lr=lr, prior_weight=prior_weight, schedule=schedule)
        self.betas, self.eps = betas, eps
        self.means = [torch.zeros_like(flat, requires_grad=False) for flat in self._params]
        self.squares = [torch.zeros_like(flat, requires_grad=False) for flat in self._params]
        self._steps = [torch.zeros((), device=flat.device) for flat in self._params]  # n_calls, for the kernel

    def _memory(self) -> list[list[Tensor]]:
        return [self.means, self.squares]

    def _ascend(self, grads: Sequence[Tensor], lr: float) -> None:
        for step in self._steps:
            step.fill_(self.n_calls + 1)
        super()._ascend(grads, lr)

    def _move(self, lr: float) -> native.Move:
        (beta1, beta2), t = self.betas, self.n_calls + 1
        return native.Move(updates.ADAM, lr / (1 - beta1**t), beta1, beta2, (1 - beta2**t) ** -0.5, self.eps)

    def _kernel(self, w: list[Tensor], g: list[Tensor], *kept: list[Tensor], lr: float, decay: float) -> None:
        means, squares = kept
        (beta1, beta2), steps = self.betas, self._steps[: len(w)]
        torch._fused_adam_(
            w, g, means, squares, [], steps, lr=lr, beta1=beta1, beta2=beta2, weight_decay=decay, eps=self.eps,
            amsgrad=False, maximize=True,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, besides the parameters."""
        return {**super().state_dict(), "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        super().load_state_dict(state)
        for mine, other in zip([*self.means, *self.squares], [*state["means"], *state["squares"]], strict=True):
            mine.copy_(other)
