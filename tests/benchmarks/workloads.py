"""What is timed: the work of each row of the speed table beside the matrix products that it cannot avoid."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import floors
import torch

from harness import api
from harness.inference import ais, hmc
from harness.report.progress import ProgressBar
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.training.loop import TICK, Training

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: what is done.
        goal: the ratio to aim at.
        threads: PyTorch's threads.
        prepare: makes the work and its floor, both ready to be called.
        per_call: how many units (steps, leapfrog steps) a call of the work does.
    """

    title: str
    goal: float
    threads: int
    prepare: Callable[..., tuple[Work, Work]]
    per_call: int = 1


def _step(
    algorithm: str, data: str, *, model: str = "mlp", first_mark: int = 10_000, **settings: Any
) -> tuple[Training, Work]:
    """Return a run past its warm-up, and the algorithm's metered step, on batches made before."""
    run = Training(
        make_spec(algorithm, data, model, settings=settings, threads=torch.get_num_threads(), first_mark=first_mark)
    )
    for _ in range(150):
        run._step()
    run.guard.settle()  # which has not seen these steps
    batches = itertools.cycle([run._batch() for _ in range(20)])
    return run, lambda: run.algorithm.step(run.state, next(batches))


def _aevb(data: str, dim: int, hidden: int, nz: int, outputs: int = 1) -> Callable[..., tuple[Work, Work]]:
    def prepare() -> tuple[Work, Work]:
        _, step = _step("aevb", data, nz=nz, hidden=hidden)
        return step, floors.aevb(100, dim, hidden, nz, outputs)

    return prepare


def _dlgm(covariance: str, each: int) -> Callable[..., tuple[Work, Work]]:
    def prepare() -> tuple[Work, Work]:
        _, step = _step(
            "aevb", "binarized-mnist", model="dlgm", layers="200-200", hidden=400, covariance=covariance, init_sd=0.05
        )
        return step, floors.dlgm(100, 784, 400, (200, 200), each)

    return prepare


def _wake_sleep() -> tuple[Work, Work]:
    _, step = _step("wake-sleep", "mnist", nz=20, hidden=500)
    return step, floors.wake_sleep(100, 784, 500, 20)


def _nvil(model: str, batch: int, *layers: int) -> Callable[..., tuple[Work, Work]]:
    def prepare() -> tuple[Work, Work]:
        size = {"layers": "-".join(map(str, layers))} if model == "sbn" else {"nz": layers[0]}
        _, step = _step("nvil", "binarized-mnist", model=model, batch_size=batch, **size)
        return step, floors.nvil(batch, 784, layers, autoregressive=model == "fdarn")

    return prepare


CHAINS, LEAPFROG, POINTS, DISTRIBUTIONS = 1000, 10, 50, 20


def decoder() -> tuple[Any, torch.Tensor]:
    """Return a decoder of three latents and 100 hidden units, trained on MNIST for a moment, and 1000 digits."""
    run, step = _step("aevb", "mnist", nz=3, hidden=100)
    for _ in range(1000):
        step()
    return run.model, run.dataset.rows("train", torch.arange(CHAINS), torch.Generator())


def _leapfrog() -> tuple[Work, Work]:
    model, x = decoder()
    rng = torch.Generator().manual_seed(0)
    posterior = hmc.joint(model, x)
    at = posterior.at(torch.randn(CHAINS, 3, generator=rng))
    for _ in range(20):
        at, _ = hmc.move(posterior, at, 0.05, LEAPFROG, rng)
    return lambda: hmc.move(posterior, at, 0.05, LEAPFROG, rng), floors.leapfrog(CHAINS, 784, 100, 3)


def _ais() -> tuple[Work, Work]:
    model, x = decoder()
    rng = torch.Generator().manual_seed(0)
    chains = CHAINS // POINTS
    path = ais.from_prior(model, x[:POINTS])
    betas, steps = ais.sigmoid_schedule(DISTRIBUTIONS + 1), torch.full((DISTRIBUTIONS, POINTS, 1), 0.05)
    z = ais.prior_draws(model, chains, POINTS, rng)
    return lambda: ais.anneal(path, z, betas, steps, LEAPFROG, rng), floors.leapfrog(CHAINS, 784, 100, 3)


def engine_share(rounds: int) -> float:
    """Return the CPU time of the loop with ledger, clocks, marks and progress bar, over that of the bare step.

    The bare step is the algorithm's on the same batches, by models that are not metered.
    """
    run, _ = _step("aevb", "mnist", first_mark=10**11, nz=20, hidden=500)
    batches = itertools.cycle([run._batch() for _ in range(20)])
    run._batch = lambda: next(batches)  # type: ignore[method-assign]
    bare = dataclasses.replace(run.state, problem=api.Problem(run.model, run.recognition, run.facts))
    bar, events = ProgressBar(Budget(samples=10**12), "timed"), run.rows(Budget(samples=10**12))
    ratios = []
    for _ in range(rounds):
        start, before = time.process_time(), run.ledger.datapoints
        event = next(events)
        assert event is TICK  # and no mark, where evaluation would be measured, too
        bar(run, event)
        middle, steps = time.process_time(), (run.ledger.datapoints - before) // 100
        for _ in range(steps):
            run.algorithm.step(bare, next(batches))
        ratios.append((middle - start) / (time.process_time() - middle))
        run.guard.settle()  # which has not seen the bare steps
    return statistics.median(ratios)


ROWS = {
    "aevb-mnist": Row("AEVB step, MNIST, N_z = 20", 1.25, 1, _aevb("mnist", 784, 500, 20)),
    "aevb-mnist-2": Row("AEVB step, MNIST, N_z = 20, two threads", 1.35, 2, _aevb("mnist", 784, 500, 20)),
    "aevb-frey": Row("AEVB step, Frey Face, N_z = 10, 200 hidden", 1.6, 1, _aevb("frey", 560, 200, 10, 2)),
    "aevb-small": Row("AEVB step, MNIST, N_z = 3, 100 hidden", 1.8, 1, _aevb("mnist", 784, 100, 3)),
    "dlgm-diagonal": Row("AEVB step, DLGM 200-200, 400 hidden, diagonal", 1.5, 1, _dlgm("diagonal", 2)),
    "dlgm-rank-one": Row("AEVB step, DLGM 200-200, 400 hidden, rank one", 1.8, 1, _dlgm("rank-one", 3)),
    "wake-sleep": Row("wake-sleep step, MNIST, N_z = 20", 1.35, 1, _wake_sleep),
    "nvil": Row("NVIL step, SBN 200, 20 points", 1.5, 1, _nvil("sbn", 20, 200)),
    "nvil-100": Row("NVIL step, SBN 200, 100 points", 1.5, 1, _nvil("sbn", 100, 200)),
    "nvil-deep": Row("NVIL step, SBN 200-200-200, 20 points", 1.5, 1, _nvil("sbn", 20, 200, 200, 200)),
    "nvil-fdarn": Row("NVIL step, fDARN 200, 20 points", 2.5, 1, _nvil("fdarn", 20, 200)),
    "leapfrog": Row("HMC leapfrog, 1000 chains, N_z = 3, 100 hidden", 1.5, 1, _leapfrog, LEAPFROG),
    "ais": Row("AIS leapfrog, 1000 chains, N_z = 3, 100 hidden", 1.5, 1, _ais, LEAPFROG * DISTRIBUTIONS),
}
