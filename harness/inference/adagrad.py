"""Adagrad as in the AEVB paper: ascent on a summed objective plus a Gaussian prior on the weights.

John Duchi, Elad Hazan and Yoram Singer, "Adaptive subgradient methods", JMLR 12 (2011). As in Kingma & Welling's experiments
the step is  w += lr · g / sqrt(Σ g² + 1e-8)  and the first steps only accumulate g² (warm-up).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness import native
from harness.inference.optimisers import Optimiser
from harness.inference.parameters import Parameters
from harness.native import updates

EPSILON = 1e-8


class Adagrad(Optimiser):
    """Ascend an objective over one or more sets of parameters.

    Gradients that are not multiplied out are taken as they are, in one compiled call. For others, on a processor, PyTorch's fused
    kernel does the work, one pass over memory, called without `torch.optim.Adagrad` around it, which takes about as long as the
    kernel. Its denominator is sqrt(Σ g²) + eps, so starting Σ g² at 1e-8 with eps = 0 is the paper's, and its weight decay is the
    gradient of the log prior.

    Args:
        params: the parameters to update, in the order in which `ascend` is given their gradients.
        lr: global step size.
        prior_weight: weight of the log prior's gradient, M/N for an objective summed over a minibatch of M from N points.
        schedule: returns the factor of the step size now, such as `problem.schedule`; None for a constant step size.
        warmup: number of first calls that accumulate g² without moving the parameters.
    """

    def __init__(
        self,
        *params: Parameters,
        lr: float,
        prior_weight: float = 0.0,
        schedule: Callable[[], float] | None = None,
        warmup: int = 0,
    ):
        super().__init__(*params, lr=lr, prior_weight=prior_weight, schedule=schedule)
        self.warmup = warmup
        self.sums = [torch.full_like(flat, EPSILON, requires_grad=False) for flat in self._params]
        self._steps = [torch.zeros(()) for _ in params]  # the kernel's, for a decay of the step size that is not used

    def _memory(self) -> list[list[Tensor]]:
        return [self.sums]

    def _step_size(self) -> float:
        lr = self.lr if self.n_calls >= self.warmup else 0.0
        return lr if self.schedule is None else lr * self.schedule()

    def _move(self, lr: float) -> native.Move:
        return native.Move(updates.ADAGRAD, lr)

    def _kernel(self, w: list[Tensor], g: list[Tensor], *kept: list[Tensor], lr: float, decay: float) -> None:
        """Add decay · w to the gradient's ascent direction, accumulate its square, and move w; all in place."""
        (s,) = kept
        if w[0].is_cpu:
            torch._fused_adagrad_(
                w, g, s, self._steps[: len(w)], lr=lr, lr_decay=0.0, weight_decay=decay, eps=0.0, maximize=True
            )
        else:
            ascent = torch._foreach_sub(g, w, alpha=decay)
            torch._foreach_addcmul_(s, ascent, ascent)
            torch._foreach_addcdiv_(w, ascent, torch._foreach_sqrt(s), value=lr)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, besides the parameters."""
        return {**super().state_dict(), "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        super().load_state_dict(state)
        for mine, other in zip(self.sums, state["sums"], strict=True):
            mine.copy_(other)
