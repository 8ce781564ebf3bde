"""The matrix products that a piece of work cannot avoid, and timing two things in turn.

Every matrix of the work has its own memory, as there; outputs are allocated once.
"""

import ctypes
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


class Products:
    """Multiplies pairs of matrices by PyTorch when it is called, and does nothing else.

    Args:
        pairs: the matrices.
        order: numbers of pairs, in the order in which they are multiplied; all one after the other if it is left out.
    """

    def __init__(self, pairs: Sequence[Pair], order: Iterable[int] | None = None):
        made = [(a, b, torch.empty(a.shape[0], b.shape[1])) for a, b in pairs]
        self._todo = made if order is None else [made[number] for number in order]

    def __call__(self) -> None:
        for a, b, out in self._todo:
            torch.mm(a, b, out=out)

    def by(self, sgemm: int) -> Callable[[], None]:
        """Return a function that does the same by a function sgemm of Fortran's BLAS, at this address."""
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(sgemm)
        # Memory row by row is, read column by column, the transpose: outᵀ = bᵀ aᵀ. What a call is given lies here.
        letters, keep, calls = {False: ctypes.c_char(b"N"), True: ctypes.c_char(b"T")}, [], []
        for a, b, out in self._todo:
            (n, k), m = a.shape, b.shape[1]
            flipped = [not matrix.is_contiguous() for matrix in (b, a)]
            strides = [matrix.stride(1 if flip else 0) for matrix, flip in zip((b, a), flipped, strict=True)]
            sizes = [ctypes.c_int(number) for number in (m, n, k, *strides, m)]
            one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
            keep.append((sizes, one, zero, a, b, out))
            m_, n_, k_, b_stride, a_stride, out_stride = map(ctypes.addressof, sizes)
            calls.append(
                (
                    *(ctypes.addressof(letters[flip]) for flip in flipped), m_, n_, k_, ctypes.addressof(one),
                    b.data_ptr(), b_stride, a.data_ptr(), a_stride, ctypes.addressof(zero), out.data_ptr(), out_stride,
                )
            )  # fmt: skip

        def products() -> None:
            for arguments in calls:
                call(*arguments)

        products.keep = keep, letters  # type: ignore[attr-defined]
        return products

    @property
    def outputs(self) -> list[torch.Tensor]:
        """What was multiplied last, a matrix a pair."""
        return [out for _, _, out in self._todo]


def _new(*shape: int) -> torch.Tensor:
    return torch.rand(*shape) - 0.5


def aevb(batch: int, dim: int, hidden: int, nz: int, outputs: int = 1, samples: int = 1) -> Products:
    """Return the eleven products of one AEVB step, for a decoder of so many outputs a dimension and samples a point.

    Those of an importance-weighted auto-encoder are the same, with its K as the number of samples.
    """
    M, S, D, H, Z, A = batch, batch * samples, dim, hidden, nz, dim * outputs
    x, W3, h3, W4, g_s = _new(M, D), _new(D, H), _new(M, H), _new(H, 2 * Z), _new(M, 2 * Z)
    z, W1, h1, W2, g_a = _new(S, Z), _new(Z, H), _new(S, H), _new(H, A), _new(S, A)
    g_u1, g_u3 = _new(S, H), _new(M, H)
    return Products(
        [
            (x, W3), (h3, W4), (z, W1), (h1, W2),
            (g_a, W2.t()), (h1.t(), g_a), (z.t(), g_u1), (g_u1, W1.t()),
            (h3.t(), g_s), (g_s, W4.t()), (x.t(), g_u3),
        ]
    )  # fmt: skip


def nvil(batch: int, dim: int, layers: Sequence[int], autoregressive: bool = False, units: int = 100) -> Products:
    """Return the products of one NVIL step of a belief net, with an input-dependent baseline of so many units for each layer.

    Those of a layer on both sides are two, its logits and its gradient; those of a baseline five, two forward and three for its
    gradient. `autoregressive` adds the two of the latents of the last layer that are each given those before.
    """
    M, pairs = batch, []
    for k, m in itertools.pairwise([dim, *layers]):
        pairs += [(_new(M, k), _new(k, units)), (_new(M, units), _new(units, 1))]
        for inputs, outputs in ((k, m), (m, k)):
            c, g = _new(M, inputs), _new(M, outputs)
            pairs += [(c, _new(inputs, outputs)), (c.t(), g)]
        h, g = _new(M, units), _new(M, 1)
        pairs += [(h.t(), g), (g, _new(units, 1).t()), (_new(M, k).t(), _new(M, units))]
    if autoregressive:
        u = _new(M, layers[-1])
        pairs += [(u, _new(layers[-1], layers[-1])), (u.t(), _new(M, layers[-1]))]
    return Products(pairs)


def dlgm(batch: int, dim: int, hidden: int, layers: Sequence[int], outputs_each: int) -> Products:
    """Return the products of one AEVB step of a deep latent Gaussian model with so many latents in each layer, layer 1 first.

    The networks T and the recognition model have one hidden layer each; the latter has `outputs_each` outputs a latent, 2 for a
    diagonal covariance and 3 for a precision of rank one.
    """
    M, D, H, Z = batch, dim, hidden, sum(layers)
    x, W_x, h, W_s, g_s, g_u = (
        _new(M, D),
        _new(D, H),
        _new(M, H),
        _new(H, outputs_each * Z),
        _new(M, outputs_each * Z),
        _new(M, H),
    )
    up: list[Pair] = [(x, W_x), (h, W_s)]
    down: list[Pair] = [(h.t(), g_s), (g_s, W_s.t()), (x.t(), g_u)]
    for k, m in zip(layers, (dim, *layers), strict=False):  # T takes k, and makes m
        xi, G, state, V1, u, V2 = _new(M, k), _new(k, k), _new(M, k), _new(k, H), _new(M, H), _new(H, m)
        g_state, g_hidden, g_out = _new(M, k), _new(M, H), _new(M, m)
        up += [(xi, G), (state, V1), (u, V2)]
        down += [
            (u.t(), g_out), (g_out, V2.t()), (state.t(), g_hidden), (g_hidden, V1.t()), (xi.t(), g_state), (g_state, G.t()),
        ]  # fmt: skip
    return Products(up + down)


def wake_sleep(batch: int, dim: int, hidden: int, nz: int) -> Products:
    """Return the fourteen products of one wake-sleep step: wake 2 + 2 forward and 3 for θ, sleep 2 + 2 forward and 3 for φ."""
    M, D, H, Z = batch, dim, hidden, nz
    x, W3, h3, W4, g_s = _new(M, D), _new(D, H), _new(M, H), _new(H, 2 * Z), _new(M, 2 * Z)
    z, W1, h1, W2, g_a = _new(M, Z), _new(Z, H), _new(M, H), _new(H, D), _new(M, D)
    g_u1, g_u3, dream = _new(M, H), _new(M, H), _new(M, D)
    return Products(
        [
            (x, W3), (h3, W4), (z, W1), (h1, W2), (g_a, W2.t()), (h1.t(), g_a), (z.t(), g_u1),
            (z, W1), (h1, W2), (dream, W3), (h3, W4), (h3.t(), g_s), (g_s, W4.t()), (dream.t(), g_u3),
        ]
    )  # fmt: skip


def leapfrog(chains: int, dim: int, hidden: int, nz: int) -> Products:
    """Return the four products of the gradient in z at so many chains."""
    C, D, H, Z = chains, dim, hidden, nz
    z, W1, h, W2 = _new(C, Z), _new(Z, H), _new(C, H), _new(H, D)
    return Products([(z, W1), (h, W2), (_new(C, D), W2.t()), (_new(C, H), W1.t())])


CHUNK = 500
"""Points that a product of Monte Carlo EM has at most; more at once are no faster."""


def mcem(points: int, dim: int, hidden: int, nz: int, leapfrog: int = 10, updates: int = 5) -> Products:
    """Return the products of one cycle of Monte Carlo EM, for chunks of points: four for the gradient in z at the first point and
    after each leapfrog step, and five for each update of θ."""
    C, D, H, Z = min(points, CHUNK), dim, hidden, nz
    if points % C:
        raise ValueError(f"{points} points are not a whole number of chunks of {C}")
    z, W1, h, W2, g_a, g_u = _new(C, Z), _new(Z, H), _new(C, H), _new(H, D), _new(C, D), _new(C, H)
    pairs = [(z, W1), (h, W2), (g_a, W2.t()), (g_u, W1.t()), (h.t(), g_a), (z.t(), g_u)]
    chunks = points // C
    return Products(pairs, [0, 1, 2, 3] * (leapfrog + 1) * chunks + [0, 1, 2, 4, 5] * updates * chunks)


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


@dataclass(frozen=True)
class Times:
    """Seconds a unit of one work, and a unit of the floor just before it, a number for each round."""

    wall: list[float]
    cpu: list[float]
    floor_wall: list[float]
    floor_cpu: list[float]

    def summary(self) -> dict[str, float]:
        """Return the medians: ratios to the floor, and seconds a unit, by wall and by CPU time."""
        return {
            "wall": statistics.median(a / b for a, b in zip(self.wall, self.floor_wall, strict=True)),
            "cpu": statistics.median(a / b for a, b in zip(self.cpu, self.floor_cpu, strict=True)),
            "wall_seconds": statistics.median(self.wall),
            "cpu_seconds": statistics.median(self.cpu),
        }


def taken(work: Callable[[], object], units: float) -> tuple[float, float]:
    """Return the wall and CPU seconds a unit of a work that does so many."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / units, cpu / units


def all_in_turn(
    works: Mapping[str, Callable[[], object]], floor: Callable[[], object], units: float, rounds: int
) -> dict[str, Times]:
    """Time all works in turn, round after round, each just after the floor.

    Args:
        works: what is timed, by name; a call does `units`.
        floor: what they are compared with; a call does `units`, too.
        units: how many.
        rounds: how often; one more comes first that does not count.
    """
    found = {name: Times([], [], [], []) for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            beside, took = taken(floor, units), taken(work, units)
            if turn:
                of = found[name]
                for times, seconds in zip((of.wall, of.cpu, of.floor_wall, of.floor_cpu), took + beside, strict=True):
                    times.append(seconds)
    return found


def repeated(work: Callable[[], object], n: int) -> Callable[[], None]:
    """Return a function that does a work so many times."""

    def run() -> None:
        for _ in range(n):
            work()

    return run
