"""Adagrad as in the AEVB paper: ascent on a summed objective plus a Gaussian prior on the weights.

John Duchi, Elad Hazan and Yoram Singer, "Adaptive subgradient methods", JMLR 12 (2011). As in Kingma & Welling's experiments
the step is  w += lr · g / sqrt(Σ g² + 1e-8)  and the first steps only accumulate g² (warm-up).
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from harness import native
from harness.inference.factored import Factored
from harness.inference.parameters import Parameters

EPSILON = 1e-8


class Adagrad:
    """Ascend an objective over one or more sets of parameters.

    A gradient that is not multiplied out is taken layer by layer. For others, on a processor, PyTorch's fused kernel does the
    work, one pass over memory, called without `torch.optim.Adagrad` around it, which takes about as long as the kernel. Its
    denominator is sqrt(Σ g²) + eps, so starting Σ g² at 1e-8 with eps = 0 is the paper's, and its weight decay is the gradient
    of the log prior.

    Args:
        params: the parameters to update, in the order in which `ascend` is given their gradients.
        lr: global step size.
        prior_weight: weight of the log prior's gradient, M/N for an objective summed over a minibatch of M from N points.
        warmup: number of first calls that accumulate g² without moving the parameters.
    """

    def __init__(self, *params: Parameters, lr: float, prior_weight: float = 0.0, warmup: int = 0):
        self.lr, self.warmup = lr, warmup
        self.n_calls = 0
        self.sums = [torch.full_like(p.flat, EPSILON, requires_grad=False) for p in params]
        self._sets, self._params = params, [p.flat for p in params]
        # Weights have a prior and biases have none, so they are passed to the kernel apart: views of the flat tensors. The
        # last come first, as backpropagation ends with them and their gradients are still in cache.
        self._cuts = [[p.n_weights, p.flat.numel() - p.n_weights] for p in params]
        self._decays = [prior_weight * p.prior_precision for p in reversed(params)]
        self._one_decay = len(set(self._decays)) == 1
        self._flats = self._apart([p.flat.detach() for p in params])
        self._sums = self._apart(self.sums)
        self._steps = [torch.zeros(()) for _ in params]  # the kernel's, for a decay of the step size that is not used

    def ascend(self, grads: Sequence[Tensor]) -> None:
        """Take one step along `grads`, a gradient of the objective for each set of parameters, flat or not multiplied out."""
        lr = self.lr if self.n_calls >= self.warmup else 0.0
        if all(isinstance(grad, Factored) and not grad.is_dense for grad in grads) and native.serves(*self._params):
            self._ascend_by_factors(grads, lr)
        else:
            self._ascend([grad.dense() if isinstance(grad, Factored) else grad for grad in grads], lr)
        torch.autograd.graph.increment_version(self._params)  # neither kernel tells autograd that it wrote
        self.n_calls += 1

    def _ascend_by_factors(self, grads: Sequence[Any], lr: float) -> None:
        for decay, layers, grad in zip(reversed(self._decays), self._layers, grads, strict=True):
            # The last layer first, as backpropagation has left its factors in cache.
            for (layer, sums), (a, g) in zip(layers[::-1], grad.factors[::-1], strict=True):
                layer.adagrad(sums, a, g, lr, decay)

    @cached_property
    def _layers(self) -> list[list[tuple[native.Layer, native.Layer]]]:
        """The layers of each set of parameters, each with its sums."""
        pairs = zip(self._sets, self.sums, strict=True)
        return [list(zip(params.layers, params.as_layers(sums), strict=True)) for params, sums in pairs]

    def _ascend(self, grads: Sequence[Tensor], lr: float) -> None:
        weights, biases = zip(self._flats, self._apart(grads), self._sums, strict=True)
        if self._one_decay:
            self._kernel(*weights, lr, self._decays[0])
        else:
            for w, g, s, decay in zip(*weights, self._decays, strict=True):
                self._kernel([w], [g], [s], lr, decay)
        self._kernel(*biases, lr, 0.0)

    def _kernel(self, w: list[Tensor], g: list[Tensor], s: list[Tensor], lr: float, decay: float) -> None:
        """Add decay · w to the gradient's ascent direction, accumulate its square, and move w; all in place."""
        if w[0].is_cpu:
            torch._fused_adagrad_(
                w, g, s, self._steps[: len(w)], lr=lr, lr_decay=0.0, weight_decay=decay, eps=0.0, maximize=True
            )
        else:
            ascent = torch._foreach_sub(g, w, alpha=decay)
            torch._foreach_addcmul_(s, ascent, ascent)
            torch._foreach_addcdiv_(w, ascent, torch._foreach_sqrt(s), value=lr)

    def _apart(self, flats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of the weights of each flat tensor, and of the biases of each, the last one first."""
        parts = [flat.split_with_sizes(cut) for flat, cut in zip(flats, self._cuts, strict=True)][::-1]
        return [weights for weights, _ in parts], [biases for _, biases in parts]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, besides the parameters."""
        return {"n_calls": self.n_calls, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that `state_dict` returned."""
        self.n_calls = state["n_calls"]
        for mine, other in zip(self.sums, state["sums"], strict=True):
            mine.copy_(other)
