"""The rows of the table of peers: what is computed, where everyone begins, and the harness itself."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import floors
import numpy as np
import torch

from harness.inference import hmc
from harness.native import path
from harness.specs.run import make_spec
from harness.training.loop import Training
from harness.training.process import prepare_process

BATCH, LEAPFROG, UPDATES, CHAINS, K = 100, 10, 5, 1000, 5
STEP_SIZE = 0.05  # of the row of leapfrog steps
RENYI = Path(__file__).parents[1] / "plugins" / "renyi.py"
KERNELS = path.kernels

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """What is computed.

    Attributes:
        title: the same in words.
        algorithm: aevb, wake-sleep, mcem, iwae or leapfrog.
        dataset: its name.
        hidden: units of each network.
        nz: latents.
        calls: steps, moves or cycles in a round.
        n_train: training points, None for all.
        steps: of the harness before everyone begins.
    """

    title: str
    algorithm: str
    dataset: str
    hidden: int
    nz: int
    calls: int
    n_train: int | None = None
    steps: int = 250

    @property
    def units(self) -> int:
        """What a time is divided by: steps, leapfrog steps or cycles in a round."""
        return self.calls * (LEAPFROG if self.algorithm == "leapfrog" else 1)

    def floor(self, dim: int, points: int) -> floors.Products:
        """Return the products of a unit."""
        outputs = 2 if self.dataset == "frey" else 1
        if self.algorithm == "leapfrog":
            return floors.leapfrog(points, dim, self.hidden, self.nz)
        if self.algorithm == "mcem":
            return floors.mcem(points, dim, self.hidden, self.nz, LEAPFROG, UPDATES)
        if self.algorithm == "wake-sleep":
            return floors.wake_sleep(BATCH, dim, self.hidden, self.nz)
        return floors.aevb(BATCH, dim, self.hidden, self.nz, outputs, K if self.algorithm == "iwae" else 1)


ROWS = {
    "aevb-mnist": Row("AEVB step, MNIST, N_z = 20, 500 hidden", "aevb", "mnist", 500, 20, 40),
    "aevb-frey": Row("AEVB step, Frey Face, N_z = 10, 200 hidden", "aevb", "frey", 200, 10, 100),
    "aevb-small": Row("AEVB step, MNIST, N_z = 3, 100 hidden", "aevb", "mnist", 100, 3, 200),
    "wake-sleep": Row("wake-sleep step, MNIST, N_z = 20, 500 hidden", "wake-sleep", "mnist", 500, 20, 30),
    "leapfrog": Row("HMC leapfrog step, 1000 chains, N_z = 3, 100 hidden", "leapfrog", "mnist", 100, 3, 8, CHAINS),
    "mcem": Row("Monte Carlo EM cycle, 1000 points, N_z = 3, 100 hidden", "mcem", "mnist", 100, 3, 2, 1000, steps=30),
    "iwae": Row("IWAE step, a user's 30 lines, K = 5, N_z = 20, 500 hidden", "iwae", "mnist", 500, 20, 20),
}


class Peer(NamedTuple):
    """Somebody who computes a row.

    Attributes:
        run: does a round and returns the objective of each step, nats a point.
        weights: returns the parameters that it has by then, by name; none where nothing is learned.
    """

    run: Callable[[], Sequence[Any]]
    weights: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True)
class Start:
    """Where everyone begins: the harness's own run after some steps.

    Attributes:
        row: what is computed.
        x: all training points (N, D), as models see them.
        w: parameters W1 … W4 (inputs, outputs) and b1 … b4: 1 and 2 of the decoder, 3 and 4 of the encoder.
        sums: Adagrad's sums of squares, by the same names.
        gaussian: whether x given z is Gaussian, Bernoulli otherwise.
        lr: step size.
        decay: weight of the prior's gradient, for weight matrices.
        z: chains (N, Z).
        step_size: of a leapfrog step.
    """

    row: Row
    x: torch.Tensor
    w: Weights
    sums: Weights
    gaussian: bool
    lr: float
    decay: float
    z: torch.Tensor
    step_size: float

    @property
    def learned(self) -> list[str]:
        """The names of the parameters that the row changes."""
        digits = {"leapfrog": "", "mcem": "12"}.get(self.row.algorithm, "1234")
        return [name for name in self.w if name[1] in digits]


def training(row: Row, threads: int) -> Training:
    """Return a run of the row's algorithm at its beginning; of AEVB for one that has no algorithm of its own."""
    name, settings = {"iwae": str(RENYI), "leapfrog": "aevb"}.get(row.algorithm, row.algorithm), {}
    if row.algorithm == "iwae":
        settings |= {"K": K, "alpha": 0.0}
    settings |= {"nz": row.nz, "hidden": row.hidden}
    return Training(make_spec(name, row.dataset, settings=settings, n_train=row.n_train, threads=threads))


def begin(row: Row, threads: int) -> Start:
    """Train for a moment, and return where everyone begins."""
    run = training(row, threads)
    for _ in range(row.steps):
        run._step()
    settings = run.spec.algorithm.settings
    x = run.dataset.rows("train", torch.arange(len(run.dataset.train)), torch.Generator())
    w, sums = {}, {}
    for params in _params(run):
        w |= dict(zip(params.shapes, params.split(params.flat.detach().clone()), strict=True))
    for params, flat in _sums(run):
        sums |= dict(zip(params.shapes, params.split(flat.clone()), strict=True))
    z, step_size = torch.zeros(len(x), row.nz), STEP_SIZE
    if row.algorithm == "mcem":
        z, step_size = run.state.z.clone(), run.state.step_size
    elif row.algorithm == "leapfrog":
        rng = torch.Generator().manual_seed(0)
        posterior = hmc.joint(run.model, x)
        at = posterior.at(torch.randn(len(x), row.nz, generator=rng))
        for _ in range(20):
            at, _ = hmc.move(posterior, at, STEP_SIZE, LEAPFROG, rng)
        z = at.z
    decay = 1.0 if row.algorithm == "mcem" else BATCH / len(x)
    return Start(row, x, w, sums, run.facts.kind == "real", settings["lr"], decay, z, step_size)


def _params(run: Training) -> list[Any]:
    return [part.params for part in (run.model, run.recognition) if part is not None]


def _sums(run: Training) -> list[tuple[Any, torch.Tensor]]:
    """Return each set of parameters that Adagrad changes in this run, with its sums."""
    optimisers = [one for name in ("optimiser", "wake", "sleep") if (one := getattr(run.state, name, None)) is not None]
    return list(zip(_params(run), [flat for one in optimisers for flat in one.sums], strict=False))


def harness(start: Start, threads: int) -> Peer:
    """The harness, by whatever it uses here: a step of its engine, with ledger, guard and clocks around it."""
    return _harness(start, threads, KERNELS)


def harness_plain(start: Start, threads: int) -> Peer:
    """The harness by PyTorch alone, without compiled primitives."""
    return _harness(start, threads, None)


def _harness(start: Start, threads: int, kernels: Any) -> Peer:
    row = start.row
    prepare_process(threads)
    run = training(row, threads)
    with torch.no_grad():
        for params in _params(run):
            for view, name in zip(params.views, params.shapes, strict=True):
                view.copy_(start.w[name])
        for params, flat in _sums(run):
            for view, name in zip(params.split(flat), params.shapes, strict=True):
                view.copy_(start.sums[name])
    for name in ("optimiser", "wake", "sleep"):
        if hasattr(run.state, name):
            getattr(run.state, name).n_calls = 10**6  # the warm-up is over
    if row.algorithm == "mcem":
        run.state.z.copy_(start.z)
        run.state.step_size = start.step_size
    run.guard.settle()
    step = _leapfrog(start, run.model) if row.algorithm == "leapfrog" else lambda: _objective(run._step())

    def rounds() -> list[Any]:
        with computing_by(kernels):
            return [step() for _ in range(row.calls)]

    def weights() -> Weights:
        named = {name: view for p in _params(run) for name, view in zip(p.shapes, p.views, strict=True)}
        return {name: named[name].clone() for name in start.learned}

    return Peer(rounds, weights)


def _objective(info: Mapping[str, float]) -> float:
    """Return what a step reports of its objective: of wake-sleep, the sum of both phases'."""
    return info["wake"] + info["sleep"] if "wake" in info else info.get("objective", info.get("log_p_xz", 0.0))


def _leapfrog(start: Start, model: Any) -> Callable[[], torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    posterior = hmc.joint(model, start.x)
    at = posterior.at(start.z)
    return lambda: hmc.move(posterior, at, start.step_size, LEAPFROG, rng)[0].log_p.mean()


@contextlib.contextmanager
def computing_by(kernels: Any) -> Iterator[None]:
    """Have the harness compute by these compiled primitives inside, or by PyTorch alone where they are None."""
    before, path.kernels = path.kernels, kernels
    try:
        yield
    finally:
        path.kernels = before


class Disagrees(RuntimeError):
    """A peer computes something else than the harness."""


class First(NamedTuple):
    """What somebody's first steps did: the objective of each, and how far each network was moved, by its parameters' digits."""

    objectives: np.ndarray
    moved: dict[str, float]


def first_steps(peer: Peer, start: Start) -> First:
    """Let a peer do its first rounds, and say what they did."""
    torch.manual_seed(0)
    rounds = -(-8 // start.row.calls)
    objectives = np.array([float(value) for _ in range(rounds) for value in peer.run()])
    after, moved = peer.weights(), {}
    lit = np.tile(start.x.mean(0).numpy() > 0.01, 2 if start.gaussian else 1)
    for digits in ("12", "34"):
        squares = []
        for name in [name for name in start.learned if name[1] in digits]:
            change = np.asarray(after[name]) - start.w[name].numpy()
            # Where a pixel is almost always dark, what a few batches do depends on chance, and Adam makes much of it.
            squares.append(np.square(change[..., lit] if name in ("W2", "b2") else change).sum())
        if squares:
            moved[digits] = float(sum(squares)) ** 0.5
    return First(objectives, moved)


def require_agreement(ours: First, theirs: First) -> None:
    """Raise Disagrees unless a peer's first steps have the same objective as ours, and move the weights as far.

    The objectives' means may differ by five of their standard errors, told by neighbouring steps, as both drift. The distance
    that a decoder moves may differ by a factor of 1.4. That of an encoder depends on chance, so only much is noticed.
    """
    variances = [0.5 * np.mean(np.diff(one.objectives) ** 2) / len(one.objectives) for one in (ours, theirs)]
    means = ours.objectives.mean(), theirs.objectives.mean()
    apart, allowed = means[1] - means[0], 5.0 * np.sqrt(sum(variances)) + 1e-4 * abs(means[0])
    if not abs(apart) <= allowed:
        raise Disagrees(f"its objective is {apart:+.3f} nats from the harness's; chance would be up to {allowed:.3f}")
    for network, digits, factor in (("decoder", "12", 1.4), ("encoder", "34", 2.5)):
        if digits in ours.moved and not 1 / factor <= theirs.moved[digits] / ours.moved[digits] <= factor:
            raise Disagrees(
                f"it has moved its {network} by {theirs.moved[digits]:.4g}, and the harness by {ours.moved[digits]:.4g}"
            )
