"""EM: the expectation of the latents given each point, then the parameters that are likeliest under it, both in closed form.

Arthur Dempster, Nan Laird and Donald Rubin (1977), "Maximum likelihood from incomplete data via the EM algorithm", Journal of the
Royal Statistical Society B 39(1). Maximises Σ log p(x) + log p(θ) over θ, where p(θ) is the conjugate prior that a pseudo-count
stands for; the prior on weights of gradient algorithms has no part in it. A step is one iteration over the whole training set:

    E   the expected sufficient statistics of x and its latents under p(z|x, θ), summed over points
    M   θ that maximises the expected log p(x, z|θ) + log p(θ)

No iteration lowers what is maximised. A point and iteration is one sample.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from harness import api

TRAITS = api.Traits(needs=(api.ClosedFormEM,), batch="full", lower_bound=False)
CHUNK = 1000  # points at a time: their latents stay in cache


class Config(api.Config):
    """The prior."""

    pseudo_count: float = api.setting(
        0.1, "added to every count of the M-step: of each value of a bit, of each component", gt=0
    )


@dataclass
class State:
    """Nothing but the problem: all that the next iteration needs is θ."""

    problem: api.Problem
    config: Config


class Info(NamedTuple):
    """log p(x) of the training set before the iteration, nats per datapoint."""

    objective: float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Remember the problem."""
    return State(problem, config)


@torch.no_grad()
def step(state: State, batch: api.Batch) -> Info:
    """One iteration: E over all points, then M."""
    p = state.problem.model
    statistics, log_p = torch.zeros_like(p.params.flat, dtype=torch.float64), 0.0
    for chunk in batch.split(CHUNK):
        some, own = p.expected_statistics(chunk.x)
        statistics += own
        log_p += some.sum().item()
    p.maximise(statistics, state.config.pseudo_count)
    return Info(log_p / len(batch.index))
