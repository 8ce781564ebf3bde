"""The sampler: known moments, energy, reversibility, detailed balance. Seeds are fixed; error rates are stated."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from harness import api
from harness.inference import hmc

NONE = api.Parameters({}, {"nothing": (1,)})


def gaussian(mean: Tensor, precision: Tensor) -> hmc.Target:
    """The log density of N(mean, precision⁻¹), up to its constant."""
    return hmc.target(lambda z: -0.5 * torch.einsum("...i,ij,...j->...", z - mean, precision, z - mean), NONE)


def quartic(z: Tensor) -> Tensor:
    """A target of two modes that no leapfrog step follows exactly, up to its constant."""
    return (-((z.square() - 1.0).square())).sum(-1)


@pytest.mark.parametrize("shape", [(4000,), (8, 500)])
def test_moments_of_a_gaussian(shape: tuple[int, ...], rng: torch.Generator) -> None:
    """Mean and covariance over chains within 4.5 standard errors each: nine comparisons, wrong once in 15,000 seeds."""
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    A = torch.tensor([[1.0, 0.3, 0.0], [0.3, 0.5, -0.2], [0.0, -0.2, 2.0]], dtype=torch.float64)
    log_p = gaussian(mean, torch.linalg.inv(A))
    at = log_p.at(torch.zeros(*shape, 3, dtype=torch.float64))
    for _ in range(60):
        at, _ = hmc.move(log_p, at, 0.4, 5, rng, jitter=0.3)
    z = at.z.reshape(-1, 3)
    n = len(z)
    assert ((z.mean(0) - mean) / (A.diagonal() / n).sqrt()).abs().max() < 4.5
    errors = ((torch.outer(A.diagonal(), A.diagonal()) + A.square()) / n).sqrt()
    assert ((torch.cov(z.T) - A) / errors).abs().max() < 4.5


def test_energy_error_falls_as_the_square_of_the_step(rng: torch.Generator) -> None:
    log_p = hmc.target(quartic, NONE)
    at = log_p.at(torch.randn(500, 2, generator=rng, dtype=torch.float64))
    r = torch.randn(500, 2, generator=rng, dtype=torch.float64)
    errors = []
    for n in (20, 40, 80):  # one time, in ever smaller steps
        new, r_new = hmc.leapfrog(log_p, at, r, 1.0 / n, n)
        energy = (new.log_p - 0.5 * r_new.square().sum(-1)) - (at.log_p - 0.5 * r.square().sum(-1))
        errors.append(energy.abs().median().item())
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(2.0, abs=0.1)


def test_leapfrog_is_reversible_and_keeps_volume(rng: torch.Generator) -> None:
    log_p = hmc.target(quartic, NONE)
    z, r = torch.randn(2, 50, 3, generator=rng, dtype=torch.float64)
    new, r_new = hmc.leapfrog(log_p, log_p.at(z), r, 0.1, 12)
    back, r_back = hmc.leapfrog(log_p, new, -r_new, 0.1, 12)
    torch.testing.assert_close(back.z, z, rtol=0, atol=1e-10)
    torch.testing.assert_close(-r_back, r, rtol=0, atol=1e-10)

    def flow(both: Tensor) -> Tensor:  # by differences, as the target's gradient is itself not differentiated
        there, r_there = hmc.leapfrog(log_p, log_p.at(both[:, :1]), both[:, 1:], 0.1, 12)
        return torch.cat([there.z, r_there], dim=1)

    both, h = torch.tensor([[0.3, -0.7]], dtype=torch.float64), 1e-6
    columns = [(flow(both + h * e) - flow(both - h * e))[0] / (2 * h) for e in torch.eye(2, dtype=torch.float64)]
    assert torch.linalg.det(torch.stack(columns)).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("jitter", [0.0, 0.5])
def test_detailed_balance_on_a_small_target(jitter: float, rng: torch.Generator) -> None:
    """From exact samples, flows between bins are equal both ways, and bins keep their mass, within 4.5 standard deviations.

    A step size at which a third of the proposals is refused: without the acceptance test both fail by far. Under 40 comparisons,
    wrong once in 4,000 seeds.
    """
    log_p = hmc.target(quartic, NONE)
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    density = quartic(grid.unsqueeze(-1)).exp()
    z = grid[torch.multinomial(density, 200_000, replacement=True, generator=rng)].unsqueeze(-1)
    new, probability = hmc.move(log_p, log_p.at(z), 0.4, 3, rng, jitter=jitter)
    assert 0.5 < probability.mean() < 0.9
    edges = torch.tensor([-1.2, -0.6, 0.0, 0.8], dtype=torch.float64)
    before, after = torch.bucketize(z.squeeze(), edges), torch.bucketize(new.z.squeeze(), edges)
    flows = torch.bincount(before * 5 + after, minlength=25).view(5, 5).double()
    for i in range(5):
        for j in range(i):
            assert (flows[i, j] - flows[j, i]).abs() < 4.5 * (flows[i, j] + flows[j, i] + 1).sqrt()
    mass_before, mass_after = flows.sum(1), flows.sum(0)
    assert ((mass_before - mass_after).abs() < 4.5 * (mass_before + mass_after).sqrt()).all()


def test_a_trajectory_that_leaves_the_numbers_is_refused(rng: torch.Generator) -> None:
    log_p = hmc.target(lambda z: -torch.exp(z.square()).sum(-1), NONE)
    at = log_p.at(torch.ones(10, 1))
    new, probability = hmc.move(log_p, at, 50.0, 10, rng)
    assert torch.equal(new.z, at.z)
    assert (probability == 0).all()


def test_tuning_reaches_the_acceptance_that_is_asked_for(rng: torch.Generator) -> None:
    """Every chain has its own scale, over four orders of magnitude, and finds its own step size."""
    scale = torch.logspace(-2, 2, 9, dtype=torch.float64).unsqueeze(-1)
    log_p = hmc.target(lambda z: -(z / scale).square().square().sum(-1), NONE)
    at, step = hmc.tune(log_p, log_p.at(0.1 * scale.expand(9, 3)), torch.full((9, 1), 0.1).double(), 4, rng, moves=300)
    rates = []
    for _ in range(300):
        at, probability = hmc.move(log_p, at, step, 4, rng)
        rates.append(probability)
    assert (torch.stack(rates).mean(0) - 0.9).abs().max() < 0.06
    assert (step / scale).max() / (step / scale).min() < 1.5


def test_parameters_are_fixed_while_chains_move_and_not_afterwards() -> None:
    params = api.Parameters({"W": (2, 2)}, {})
    seen = []

    def log_density(z: Tensor) -> Tensor:
        seen.append(params.flat.requires_grad)
        return -(z @ params.split()[0]).square().sum(-1) - z.square().sum(-1)

    hmc.target(log_density, params).at(torch.ones(3, 2))
    assert seen == [False]
    assert params.flat.requires_grad
