"""What was spent: counters that the harness keeps by itself, clocks, and the budget that ends a run.

Models are handed to algorithms as metered twins. A twin forwards the methods that their author marked with `metered`, counts
what goes through them, and hides everything else; algorithms report nothing.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.errors import BadInput

F = TypeVar("F", bound=Callable[..., Any])
Network = Literal["decoder", "encoder"]


@dataclass
class Ledger:
    """Counters of one run, all in rows (datapoints × samples) unless said otherwise.

    Attributes:
        samples: points on which the generative model's density, or its gradient, was evaluated; the budget's unit.
        datapoints: training points presented.
        dreams: fantasy points sampled from the generative model.
        decoder_rows: rows forward through the generative network.
        decoder_rows_grad: of those, rows differentiated.
        encoder_rows: rows forward through the recognition network.
        encoder_rows_grad: of those, rows differentiated.
        steps: updates of the generative model's parameters, seen as a change between two uses of it.
    """

    samples: int = 0
    datapoints: int = 0
    dreams: int = 0
    decoder_rows: int = 0
    decoder_rows_grad: int = 0
    encoder_rows: int = 0
    encoder_rows_grad: int = 0
    steps: int = 0

    def add(self, counter: str, n: int) -> None:
        """Add n to a counter."""
        self.__dict__[counter] += n


Phase = Literal["training", "evaluation", "setup", "output"]


class Clocks:
    """CPU and wall clocks of a process, split by what it is doing; exactly one phase runs at any time.

    CPU seconds are those of the whole process over all its threads. Wall seconds are monotonic.

    Attributes:
        phase: the one that runs.
    """

    PHASES: ClassVar[tuple[Phase, ...]] = ("training", "evaluation", "setup", "output")

    def __init__(self, phase: Phase = "setup"):
        self._cpu = dict.fromkeys(self.PHASES, 0.0)
        self._wall = dict.fromkeys(self.PHASES, 0.0)
        self.phase: Phase = phase
        self._since = time.process_time(), time.perf_counter()

    def switch(self, phase: Phase) -> None:
        """End the running phase and begin another."""
        self._cpu[self.phase], self._wall[self.phase] = self.cpu(self.phase), self.wall(self.phase)
        self.phase, self._since = phase, (time.process_time(), time.perf_counter())

    def cpu(self, phase: Phase = "training") -> float:
        """Return the CPU seconds spent in a phase so far."""
        return self._cpu[phase] + (time.process_time() - self._since[0] if phase == self.phase else 0.0)

    def wall(self, phase: Phase = "training") -> float:
        """Return the wall seconds spent in a phase so far."""
        return self._wall[phase] + (time.perf_counter() - self._since[1] if phase == self.phase else 0.0)

    def seconds(self) -> dict[str, float]:
        """Return all of them: `cpu_seconds` and `wall_seconds` of training, and the excluded ones with their phase in front."""
        out = {"cpu_seconds": self.cpu(), "wall_seconds": self.wall()}
        for phase in self.PHASES[1:]:
            out |= {f"{phase}_cpu_seconds": self.cpu(phase), f"{phase}_wall_seconds": self.wall(phase)}
        return out

    def resume(self, seconds: dict[str, float]) -> None:
        """Add what an earlier sitting of the same run spent, as `seconds` returned it."""
        for phase in self.PHASES:
            prefix = "" if phase == "training" else f"{phase}_"
            self._cpu[phase] += seconds[f"{prefix}cpu_seconds"]
            self._wall[phase] += seconds[f"{prefix}wall_seconds"]


COUNTERS = (*(field.name for field in dataclasses.fields(Ledger)), "cpu_seconds", "wall_seconds")


@dataclass(frozen=True)
class Budget:
    """The limits of a run; the one that is exhausted first ends it, after the step that exhausts it."""

    samples: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.limits():
            raise BadInput("a run needs a budget: give --samples, --cpu-seconds or --wall-seconds")

    def limits(self) -> dict[str, float]:
        """Return the limits that are set, by counter."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def exhausted(self, ledger: Ledger, clocks: Clocks) -> bool:
        """Say whether any limit has been reached."""
        return (
            (self.samples is not None and ledger.samples >= self.samples)
            or (self.cpu_seconds is not None and clocks.cpu() >= self.cpu_seconds)
            or (self.wall_seconds is not None and clocks.wall() >= self.wall_seconds)
        )


@dataclass(frozen=True)
class _Meter:
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
        method._meter = _Meter(samples, dreams, rows, differentiated)  # type: ignore[attr-defined]
        return method

    return mark


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
    method: Callable[..., Any], meter: _Meter, ledger: Ledger, updates: UpdateCounter | None
) -> Callable[..., Any]:
    """Wrap a bound method so that each call is entered in the ledger."""
    forward = [name for name, counts in (("samples", meter.samples), ("dreams", meter.dreams)) if counts]
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
