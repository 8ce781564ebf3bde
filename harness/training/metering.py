"""Metered twins of models: what an algorithm calls is counted, and everything else is out of its reach.

A twin has the facts of its model, and the methods that their author marked with `metered`; it satisfies exactly the protocols
that the model satisfies by these. What goes through them is entered in the ledger; algorithms report nothing.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active as transforms_active
from torch._C._functorch import get_unwrapped, is_batchedtensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.inference.abilities import OF_MODELS
from harness.inference.metered import MARK, Meter, MeteredFunction
from harness.inference.protocols import Recognition
from harness.specs.budget import Ledger

FACTS = tuple(dict.fromkeys(fact for protocol in (*OF_MODELS, Recognition) for fact in protocol.__annotations__))
"""The attributes of all protocols that are no methods."""


def metered_twin(model: Any, ledger: Ledger, updates: "UpdateCounter | None" = None) -> Any:
    """Return the twin of a generative or recognition model that an algorithm is handed.

    Args:
        model: the model to forward to.
        ledger: where calls are entered.
        updates: looks for parameter updates before every call; given for the generative model.
    """
    kind = type(model)
    twin = _twin_type(kind)()
    for fact in FACTS:
        if hasattr(model, fact):
            setattr(twin, fact, getattr(model, fact))
    for name in dir(kind):
        meter = getattr(getattr(kind, name), MARK, None)
        if meter is not None:
            setattr(twin, name, _counting(model, name, meter, ledger, updates))
    if isinstance(model, Recognition):
        twin.posterior_type = _posterior_twin_type(model.posterior_type)
    return twin


_twin_types: dict[type, type] = {}


def _twin_type(kind: type) -> type:
    """Return a class of its own for the twins of a class of models, by which what they can do is told once."""
    if kind not in _twin_types:
        _twin_types[kind] = type(f"Metered{kind.__name__}", (), {"__doc__": f"The metered twin of a {kind.__name__}."})
    return _twin_types[kind]


def _note_fused_updates(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
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
            self._ledger.add(count, "steps")


def _counting(
    model: Any, called: str, meter: Meter, ledger: Ledger, updates: UpdateCounter | None
) -> Callable[..., Any]:
    """Wrap the method of a model that is called so, to enter each call in the ledger."""
    method = getattr(model, called)
    counters = [name for name, counts in (("samples", meter.samples), ("fantasies", meter.fantasies)) if counts]
    backward = f"{meter.rows}_rows_grad"
    if meter.rows is not None:
        counters += [f"{meter.rows}_rows"] + [backward] * meter.differentiated

    def free(*args: Any, **kwargs: Any) -> Any:
        if updates is not None:
            updates.look()
        return method(*args, **kwargs)

    if not counters:
        return free
    assert meter.count is not None
    name, by_autograd = meter.count, meter.rows is not None and not meter.differentiated
    arguments = list(inspect.signature(method).parameters)
    position, often = arguments.index(name), meter.times or ""
    other = arguments.index(often) if often in arguments else None
    times: int = getattr(model, often) if often and other is None else 1

    # This runs several times a step, between matrix products that have evicted it from cache: every line is felt.
    def counted(*args: Any, **kwargs: Any) -> Any:
        if updates is not None:
            updates.look()
        out = method(*args, **kwargs)
        n = times * _rows(args[position] if len(args) > position else kwargs[name])
        if other is not None:
            n *= _rows(args[other] if len(args) > other else kwargs[often])
        if by_autograd:
            if isinstance(out, Tensor):
                _when_differentiated(out, functools.partial(_add, ledger, backward, n))
            elif not isinstance(out, tuple):
                out = _posterior_twin_type(type(out))(out, functools.partial(_add, ledger, backward, n))
        ledger.add(n, *counters)
        return out

    return counted


def _add(ledger: Ledger, counter: str, n: int, *_: object) -> None:
    ledger.add(n, counter)


def _rows(counted: Any) -> int:
    """Return the rows of a tensor, those of all of its elements under `torch.func.vmap` together; a number is itself."""
    if not isinstance(counted, Tensor):
        return int(counted)
    last = counted.shape[-1]
    while transforms_active() and is_batchedtensor(counted):
        counted = get_unwrapped(counted)
    return counted.numel() // last if last else 0


def _when_differentiated(out: Tensor, act: Callable[..., None]) -> None:
    """Act whenever a gradient flows back through a tensor."""
    node: Any = out.grad_fn
    if issubclass(getattr(node, "_forward_cls", object), MeteredFunction):
        node.when_differentiated = act
    elif node is not None:
        node.register_prehook(act)
    elif out.requires_grad:
        out.register_hook(act)


class _PosteriorTwin:
    """A posterior whose rows are entered as differentiated the first time a gradient flows back through any of its results."""

    def __init__(self, posterior: Any, differentiated: Callable[..., None]):
        self._posterior, self._hook = posterior, _Once(differentiated)
        self._node: Any = None  # of the last result: often several come from one

    def _watched(self, out: Any) -> Any:
        if isinstance(out, Tensor):
            node = out.grad_fn
            if node is None or node is not self._node:
                _when_differentiated(out, self._hook)
                self._node = node
        return out

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._posterior, name)
        return (
            (lambda *args, **kwargs: self._watched(found(*args, **kwargs))) if callable(found) else self._watched(found)
        )


# Plain methods for what protocols name: `__getattr__` for all would cost a step as much as a small matrix product.


def _sample(self: _PosteriorTwin, n: int, rng: torch.Generator) -> Any:
    return self._watched(self._posterior.sample(n, rng))


def _rsample(self: _PosteriorTwin, n: int, rng: torch.Generator) -> Any:
    return self._watched(self._posterior.rsample(n, rng))


def _log_prob(self: _PosteriorTwin, z: Tensor) -> Any:
    return self._watched(self._posterior.log_prob(z))


def _kl(self: _PosteriorTwin) -> Any:
    return self._watched(self._posterior.kl())


def _moments(self: _PosteriorTwin) -> Any:
    return tuple(map(self._watched, self._posterior.moments()))


def _reparameterise(self: _PosteriorTwin, n: int, rng: torch.Generator) -> Any:
    return self._posterior.reparameterise(n, rng)


def _pull_back(self: _PosteriorTwin, g_z: Tensor, g_kl: float) -> Any:
    self._hook()
    return self._posterior.pull_back(g_z, g_kl)


def _gradients(self: _PosteriorTwin, z: Tensor) -> Any:
    self._hook()
    return self._posterior.gradients(z)


def _log_layers(self: _PosteriorTwin, z: Tensor) -> Any:
    return self._watched(self._posterior.log_layers(z))


def _layer_gradients(self: _PosteriorTwin, z: Tensor) -> Any:
    log_q, pull = self._posterior.layer_gradients(z)

    def pulled(weights: Tensor | float) -> Tensor:
        self._hook()
        gradient: Tensor = pull(weights)
        return gradient

    return log_q, pulled


_POSTERIOR_METHODS: dict[str, Callable[..., Any]] = {
    "sample": _sample, "rsample": _rsample, "log_prob": _log_prob, "kl": _kl, "moments": _moments,
    "reparameterise": _reparameterise, "pull_back": _pull_back, "gradients": _gradients,
    "log_layers": _log_layers, "layer_gradients": _layer_gradients,
}  # fmt: skip


_posterior_twin_types: dict[type, type[_PosteriorTwin]] = {}


def _posterior_twin_type(kind: type) -> type[_PosteriorTwin]:
    """Return the class of the twins of a class of posteriors: it has the methods of those protocols that the class has."""
    if kind not in _posterior_twin_types:
        methods = {name: method for name, method in _POSTERIOR_METHODS.items() if hasattr(kind, name)}
        twin = type(f"Metered{kind.__name__}", (_PosteriorTwin,), {"__doc__": f"A metered {kind.__name__}.", **methods})
        _posterior_twin_types[kind] = twin
    return _posterior_twin_types[kind]


class _Once:
    """A hook that acts on the first gradient alone.

    It must not know the posterior, which may keep its results: a hook that leads back to the tensor on which it is makes a cycle
    through autograd's graph, which the garbage collector cannot see, and every step's tensors would stay in memory.
    """

    def __init__(self, act: Callable[..., None]):
        self._act, self._done = act, False

    def __call__(self, *gradients: object) -> None:
        if not self._done:
            self._done = True
            self._act()
