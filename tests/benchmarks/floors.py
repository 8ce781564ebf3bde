"""The matrix products that a piece of work cannot avoid, and timing two things in turn.

Every matrix of the work has its own memory, as there; outputs are allocated once.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

Shape = tuple[int, int]


def _products(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> Callable[[], None]:
    """Return a function that multiplies these pairs and does nothing else."""
    todo = [(a, b, torch.empty(a.shape[0], b.shape[1])) for a, b in pairs]

    def products() -> None:
        for a, b, out in todo:
            torch.mm(a, b, out=out)

    return products


def _new(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) - 0.5


def aevb(batch: int, dim: int, hidden: int, nz: int, outputs: int = 1) -> Callable[[], None]:
    """Return the eleven products of one AEVB step, for a decoder of so many outputs a dimension."""
    M, D, H, Z, A = batch, dim, hidden, nz, dim * outputs
    x, W3, h3, W4, g_s = _new(M, D), _new(D, H), _new(M, H), _new(H, 2 * Z), _new(M, 2 * Z)
    z, W1, h1, W2, g_a = _new(M, Z), _new(Z, H), _new(M, H), _new(H, A), _new(M, A)
    g_u1, g_u3 = _new(M, H), _new(M, H)
    return _products(
        [
            (x, W3), (h3, W4), (z, W1), (h1, W2),
            (g_a, W2.t()), (h1.t(), g_a), (z.t(), g_u1), (g_u1, W1.t()),
            (h3.t(), g_s), (g_s, W4.t()), (x.t(), g_u3),
        ]
    )  # fmt: skip


def wake_sleep(batch: int, dim: int, hidden: int, nz: int) -> Callable[[], None]:
    """Return the fourteen products of one wake-sleep step: wake 2 + 2 forward and 3 for θ, sleep 2 + 2 forward and 3 for φ."""
    M, D, H, Z = batch, dim, hidden, nz
    x, W3, h3, W4, g_s = _new(M, D), _new(D, H), _new(M, H), _new(H, 2 * Z), _new(M, 2 * Z)
    z, W1, h1, W2, g_a = _new(M, Z), _new(Z, H), _new(M, H), _new(H, D), _new(M, D)
    g_u1, g_u3, dream = _new(M, H), _new(M, H), _new(M, D)
    return _products(
        [
            (x, W3), (h3, W4), (z, W1), (h1, W2), (g_a, W2.t()), (h1.t(), g_a), (z.t(), g_u1),
            (z, W1), (h1, W2), (dream, W3), (h3, W4), (h3.t(), g_s), (g_s, W4.t()), (dream.t(), g_u3),
        ]
    )  # fmt: skip


def leapfrog(chains: int, dim: int, hidden: int, nz: int) -> Callable[[], None]:
    """Return the four products of the gradient in z at so many chains."""
    C, D, H, Z = chains, dim, hidden, nz
    z, W1, h, W2 = _new(C, Z), _new(Z, H), _new(C, H), _new(H, D)
    return _products([(z, W1), (h, W2), (_new(C, D), W2.t()), (_new(C, H), W1.t())])


def children_seconds() -> float:
    """Return the CPU seconds of all processes that this one has started and that have ended."""
    import resource  # which not every system has

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def in_turn(
    work: Callable[[], object],
    floor: Callable[[], object],
    *,
    rounds: int = 20,
    calls: int = 10,
    per_call: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Time both in turn and return the median ratio of neighbouring times, a unit of the work to a call of the floor.

    Args:
        work: what is timed.
        floor: what it is compared with.
        rounds: how many pairs.
        calls: calls of the floor in a round, and units of the work.
        per_call: units that a call of the work does.
        clock: what times are read from.
    """
    times = max(1, calls // per_call)

    def seconds(run: Callable[[], object], n: int) -> float:
        start = clock()
        for _ in range(n):
            run()
        return (clock() - start) / n

    return statistics.median(seconds(work, times) / per_call / seconds(floor, calls) for _ in range(rounds))
