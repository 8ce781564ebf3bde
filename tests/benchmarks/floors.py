"""The matrix products that a step cannot avoid, and timing two things in turn."""

import statistics
import time
from collections.abc import Callable

import torch


def aevb_products(batch: int, dim: int, hidden: int, nz: int) -> Callable[[], None]:
    """Return a function that does the eleven products of one AEVB step and nothing else.

    Every matrix of the step has its own memory, as in the step; outputs are allocated once.
    """
    M, D, H, Z = batch, dim, hidden, nz

    def new(*shape: int) -> torch.Tensor:
        return torch.rand(*shape) - 0.5

    x, W3, h3, W4, s = new(M, D), new(D, H), new(M, H), new(H, 2 * Z), new(M, 2 * Z)
    z, W1, h1, W2, a = new(M, Z), new(Z, H), new(M, H), new(H, D), new(M, D)
    g_a, g_W2, g_h1, g_u1, g_W1, g_z = new(M, D), new(H, D), new(M, H), new(M, H), new(Z, H), new(M, Z)
    g_s, g_W4, g_h3, g_u3, g_W3 = new(M, 2 * Z), new(H, 2 * Z), new(M, H), new(M, H), new(D, H)

    def products() -> None:
        torch.mm(x, W3, out=h3)
        torch.mm(h3, W4, out=s)
        torch.mm(z, W1, out=h1)
        torch.mm(h1, W2, out=a)
        torch.mm(h1.t(), g_a, out=g_W2)
        torch.mm(g_a, W2.t(), out=g_h1)
        torch.mm(z.t(), g_u1, out=g_W1)
        torch.mm(g_u1, W1.t(), out=g_z)
        torch.mm(h3.t(), g_s, out=g_W4)
        torch.mm(g_s, W4.t(), out=g_h3)
        torch.mm(x.t(), g_u3, out=g_W3)

    return products


def in_turn(work: Callable[[], object], floor: Callable[[], object], rounds: int = 20, calls: int = 10) -> float:
    """Time both, `calls` at a time in turn, and return the median ratio of neighbouring times."""

    def seconds(run: Callable[[], object]) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return time.perf_counter() - start

    return statistics.median(seconds(work) / seconds(floor) for _ in range(rounds))
