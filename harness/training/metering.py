"""What was spent: counters that the harness keeps by itself, clocks, and the budget that ends a run.

Models are handed to algorithms as metered twins. A twin forwards the methods that their author marked with `metered`, counts
what goes through them, and hides everything else; algorithms report nothing.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.inference.metered import HandDerived, Meter
from harness.specs.budget import Ledger


class Metered:
    """The twin of a generative or recognition model that an algorithm is handed.

    It has the model's facts and its metered methods; the model itself is out of reach.

    Args:
        model: the model to forward to.
        ledger: where calls are entered.
        updates: looks for parameter updates before every call; given for the generative model.
    """

    hand_derived = False  # unless the model says so
    FACTS = ("params", "latents", "reparameterised", "analytic_kl", "hand_derived")

    def __init__(self, model: Any, ledger: Ledger, updates: "UpdateCounter | None" = None):
        for fact in self.FACTS:
            if hasattr(model, fact):
                setattr(self, fact, getattr(model, fact))
        for name in dir(type(model)):
            meter = getattr(getattr(type(model), name), "_meter", None)
            if meter is not None:
                setattr(self, name, _counting(getattr(model, name), meter, ledger, updates))


def _note_fused_updates(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    """Tell autograd of what fused kernels wrote, which they do not do themselves; `UpdateCounter` lives on it."""
    for group in optimizer.param_groups:
        if group.get("fused"):
            torch.autograd.graph.increment_version(group["params"])


register_optimizer_step_post_hook(_note_fused_updates)


class UpdateCounter:
    """Counts updates of parameters into `ledger.steps`: a change of the flat tensor's version since the last look."""

    def __init__(self, params: Any, ledger: Ledger):
        self._flat, self._ledger = params.flat, ledger
        self._seen = self._flat._version

    def look(self, count: bool = True) -> None:
        """Count one update if the parameters have changed; with `count=False` only take note (after loading them)."""
        if self._flat._version != self._seen:
            self._seen = self._flat._version
            self._ledger.steps += count


def _counting(
    method: Callable[..., Any], meter: Meter, ledger: Ledger, updates: UpdateCounter | None
) -> Callable[..., Any]:
    """Wrap a bound method so that each call is entered in the ledger."""
    forward = [name for name, counts in (("samples", meter.samples), ("fantasies", meter.dreams)) if counts]
    forward += [f"{meter.rows}_rows"] if meter.rows is not None else []
    backward = f"{meter.rows}_rows_grad"

    def differentiated(n: int) -> Callable[..., None]:
        return lambda *_: ledger.add(backward, n)

    def free(*args: Any, **kwargs: Any) -> Any:
        if updates is not None:
            updates.look()
        return method(*args, **kwargs)

    if not forward:
        return free

    # This runs several times a step, between matrix products that have evicted it from cache: every line is felt.
    def counted(*args: Any, **kwargs: Any) -> Any:
        if updates is not None:
            updates.look()
        out = method(*args, **kwargs)
        if isinstance(out, Tensor):
            n = out.numel()
            if meter.rows is not None:
                _when_differentiated(out, differentiated(n))
        elif meter.differentiated:
            z = args[1] if len(args) > 1 else kwargs["z"]
            n = z.numel() // z.shape[-1]
            if meter.rows is not None:
                ledger.add(backward, n)
        elif isinstance(out, tuple):
            n = out[0].shape[0]
        else:
            n = (args[0] if args else kwargs["x"]).shape[0]
            if meter.rows is not None:
                out = _MeteredPosterior(out, differentiated(n))
        for counter in forward:
            ledger.add(counter, n)
        return out

    return counted


def _when_differentiated(out: Tensor, act: Callable[..., None]) -> None:
    """Act whenever a gradient flows back through a tensor."""
    node: Any = out.grad_fn
    if issubclass(getattr(node, "_forward_cls", object), HandDerived):
        node.when_differentiated = act
    elif node is not None:
        node.register_prehook(act)
    elif out.requires_grad:
        out.register_hook(act)


class _MeteredPosterior:
    """A posterior whose rows are entered as differentiated the first time a gradient flows back through any of its results."""

    def __init__(self, posterior: Any, differentiated: Callable[[], None]):
        self._posterior, self._hook = posterior, _Once(differentiated)
        self._node: Any = None  # of the last result: often several come from one

    def _metered(self, out: Any) -> Any:
        if isinstance(out, Tensor):
            node = out.grad_fn
            if node is None or node is not self._node:
                _when_differentiated(out, self._hook)
                self._node = node
        return out

    # Plain methods for what every posterior has: `__getattr__` for all would cost a step as much as a small matrix product.

    def sample(self, n: int, rng: torch.Generator) -> Any:
        return self._metered(self._posterior.sample(n, rng))

    def rsample(self, n: int, rng: torch.Generator) -> Any:
        return self._metered(self._posterior.rsample(n, rng))

    def log_prob(self, z: Tensor) -> Any:
        return self._metered(self._posterior.log_prob(z))

    def kl(self) -> Any:
        return self._metered(self._posterior.kl())

    def reparameterise(self, n: int, rng: torch.Generator) -> Any:
        return self._posterior.reparameterise(n, rng)

    def pull_back(self, g_z: Tensor, g_kl: float) -> Any:
        self._hook()
        return self._posterior.pull_back(g_z, g_kl)

    def gradients(self, z: Tensor) -> Any:
        self._hook()
        return self._posterior.gradients(z)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._posterior, name)
        return (
            (lambda *args, **kwargs: self._metered(found(*args, **kwargs))) if callable(found) else self._metered(found)
        )


class _Once:
    """A hook that acts on the first gradient alone.

    It must not know the posterior, which may keep its results: a hook that leads back to the tensor on which it is makes a cycle
    through autograd's graph, which the garbage collector cannot see, and every step's tensors would stay in memory.
    """

    def __init__(self, act: Callable[[], None]):
        self._act, self._done = act, False

    def __call__(self, *gradients: Any) -> None:
        if not self._done:
            self._done = True
            self._act()
