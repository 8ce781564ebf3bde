"""Updates of bits: their exact transition matrices, what chains do, and what is evaluated. Error rates are stated."""

import functools
import itertools
import math
from typing import Any

import pytest
import torch
from support import PLUGINS
from torch import Tensor

from harness import api
from harness.inference import ais, gibbs
from harness.inference.enumeration import states
from harness.specs import registry
from harness.specs.budget import Ledger
from harness.training.metering import metered_twin

Z, D = 5, 6  # latents, and dimensions
STATES = next(states(Z, 1 << Z, torch.float64)).unsqueeze(1)  # (2^Z, 1, Z): a chain for every state
SAMPLERS: tuple[gibbs.Sampler, ...] = ("gibbs", "metropolis")


@functools.cache
def net() -> tuple[Any, Tensor]:
    """A net of two layers with large weights, and a point (1, D)."""
    module = registry.get("models", str(PLUGINS / "two_layer_net.py")).module
    config, facts = module.Config(n1=3, n2=2, init_sd=1.5), api.DataFacts("binary", D, 10)
    model, _ = module.build(config, facts, api.Streams(0), torch.float64)
    return model, model.sample(1, api.Streams(1)("point"))


def posterior() -> gibbs.Target:
    return gibbs.joint(*net())


def tempered() -> gibbs.Target:
    """Half-way between the prior and the posterior, to powers that differ."""
    ends = ais.ends_from_prior(*net())

    @torch.no_grad()
    def at(z: Tensor) -> gibbs.Point:
        log_p0, log_p1 = ends(z)
        return gibbs.Point(z, 0.7 * log_p0 + 0.3 * log_p1, (log_p0, log_p1))

    return at


def transitions(target: gibbs.Target, i: int, sampler: gibbs.Sampler) -> Tensor:
    """Return the matrix of one update of latent i (from, to), by the probabilities with which its flips are accepted."""
    _, probability = gibbs.move(target, target(STATES), [i], torch.Generator().manual_seed(0), sampler=sampler)
    p = probability.squeeze(1)
    to = torch.arange(1 << Z) ^ (1 << (Z - 1 - i))
    matrix = torch.diag(1 - p)
    matrix[torch.arange(1 << Z), to] += p
    return matrix


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("make", [posterior, tempered])
def test_the_exact_transition_matrix_leaves_the_target_as_it_is(make: Any, sampler: gibbs.Sampler) -> None:
    """Of one update, in detailed balance; and of a sweep over all, in whose product each state leads to each other."""
    target = make()
    p = target(STATES).log_p.squeeze(1).softmax(0)
    sweep = torch.eye(1 << Z, dtype=torch.float64)
    for i in range(Z):
        matrix = transitions(target, i, sampler)
        flow = p.unsqueeze(1) * matrix
        torch.testing.assert_close(flow, flow.T, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(p @ matrix, p, rtol=1e-12, atol=1e-15)
        sweep = sweep @ matrix
    torch.testing.assert_close(p @ sweep, p, rtol=1e-12, atol=1e-15)
    assert (torch.linalg.matrix_power(sweep, 200) - p).abs().max() < 1e-6


def test_gibbs_draws_from_the_conditional_and_metropolis_flips_more_often() -> None:
    target = posterior()
    p = target(STATES).log_p.squeeze(1).softmax(0)
    for i in range(Z):
        to = torch.arange(1 << Z) ^ (1 << (Z - 1 - i))
        by_gibbs, by_metropolis = (transitions(target, i, sampler)[torch.arange(1 << Z), to] for sampler in SAMPLERS)
        torch.testing.assert_close(by_gibbs, p[to] / (p + p[to]))
        torch.testing.assert_close(by_metropolis, (p[to] / p).clamp(max=1.0))
        assert (by_metropolis > by_gibbs).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_chains_go_where_the_matrix_says(sampler: gibbs.Sampler, rng: torch.Generator) -> None:
    """From each state 4000 times through three updates: frequencies of 32 x 32 moves within 5 standard deviations.

    Each comparison is wrong once in a million; the rarest moves, fewer than 10 expected, are left out.
    """
    target, n = tempered(), 4000
    z = STATES.repeat(n, 1, 1)  # (n · 2^Z, 1, Z)
    at, probability = gibbs.move(target, target(z), [3, 0, 3], rng, sampler=sampler)
    matrix = functools.reduce(torch.matmul, (transitions(target, i, sampler) for i in (3, 0, 3)))
    place = 2 ** torch.arange(Z - 1, -1, -1)
    begin, end = ((each.squeeze(1).long() * place).sum(-1) for each in (z, at.z))
    counts = torch.bincount(begin * (1 << Z) + end, minlength=1 << 2 * Z).view(1 << Z, 1 << Z).double()
    often = n * matrix > 10
    assert often.sum() > 50
    assert ((counts - n * matrix) / (n * matrix * (1 - matrix)).sqrt())[often & (matrix < 1)].abs().max() < 5
    assert counts[matrix == 0].max() == 0
    assert ((probability > 0) & (probability <= 1)).all()
    torch.testing.assert_close(at.log_p, target(at.z).log_p)
    for kept, anew in zip(at.parts, target(at.z).parts, strict=True):
        torch.testing.assert_close(kept, anew)


def test_an_update_evaluates_one_state_a_chain_and_differentiates_nothing() -> None:
    model, x = net()
    ledger = Ledger()
    target = gibbs.joint(metered_twin(model, ledger), x.expand(7, -1))
    begin = target(torch.zeros(3, 7, Z, dtype=torch.float64))
    assert ledger.samples == 21
    at, probability = gibbs.move(target, begin, [0, 4, 2, 2], torch.Generator().manual_seed(0))
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (5 * 21, 5 * 21, 0)
    assert (begin.z == 0).all()
    assert not at.log_p.requires_grad
    assert at.z.shape == (3, 7, Z)
    assert probability.shape == (3, 7)
    same, none = gibbs.move(target, at, [], torch.Generator())
    assert torch.equal(same.z, at.z)
    assert (none == 0).all()


def test_a_state_whose_density_is_no_number_is_never_entered(rng: torch.Generator) -> None:
    """One of no density is left at once, and never entered either."""

    def target(z: Tensor) -> gibbs.Point:
        ones = z.sum(-1)
        log_p = torch.where(ones == 2, math.nan, torch.where(ones == 0, -math.inf, torch.zeros_like(ones)))
        return gibbs.Point(z, log_p)

    for sampler in SAMPLERS:
        at = target(torch.zeros(200, 3))
        at, probability = gibbs.move(target, at, [0], rng, sampler=sampler)
        assert (probability == 1).all()
        for _ in range(5):
            at, _ = gibbs.move(target, at, [0, 1, 2], rng, sampler=sampler)
        assert (at.z.sum(-1) == 1).all()


@pytest.mark.parametrize(("bits", "at_a_time"), [(0, 1), (1, 5), (4, 3), (4, 16), (5, 32), (6, 7)])
def test_all_states_are_counted_in_pieces(bits: int, at_a_time: int) -> None:
    pieces = list(states(bits, at_a_time, torch.float32))
    assert all(len(piece) == at_a_time for piece in pieces[:-1])
    assert 0 < len(pieces[-1]) <= at_a_time
    expected = torch.tensor(list(itertools.product((0.0, 1.0), repeat=bits)))
    assert torch.equal(torch.cat(pieces), expected)
