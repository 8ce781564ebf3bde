"""What is counted, by the harness alone, and the clocks."""

import time
from typing import Any

import pytest
import torch

from harness import api
from harness.errors import BadInput
from harness.models import mlp
from harness.specs.budget import Budget, Ledger
from harness.specs.run import make_spec
from harness.testing import conformance
from harness.training import clocks
from harness.training.clocks import Clocks
from harness.training.loop import Training
from harness.training.metering import FACTS, UpdateCounter, metered_twin

M = 10


@pytest.fixture
def metered() -> tuple[Any, Any, Ledger]:
    config = mlp.Config(nz=2, hidden=5)
    decoder, encoder = mlp.build(config, api.DataFacts("binary", 12, 60), api.Streams(0))
    ledger = Ledger()
    return metered_twin(decoder, ledger, UpdateCounter(decoder.params, ledger)), metered_twin(encoder, ledger), ledger


@pytest.mark.parametrize(("estimator", "L"), [("A", 1), ("B", 1), ("B", 3)])
def test_aevb_spends_m_times_l_samples_a_step(estimator: str, L: int) -> None:
    run = conformance.training("aevb", batch_size=M, n_samples=L, estimator=estimator, warmup=0)
    for _ in range(7):
        run.step()
    assert run.ledger == Ledger(
        samples=7 * M * L,
        datapoints=7 * M,
        fantasies=0,
        decoder_rows=7 * M * L,
        decoder_rows_grad=7 * M * L,
        encoder_rows=7 * M,
        encoder_rows_grad=7 * M,
        steps=7,
    )


def test_wake_sleep_spends_m_samples_and_m_fantasies(metered) -> None:
    """The wake phase evaluates log p(x, z) on M points; the sleep phase fits q to M fantasies."""
    p, q, ledger = metered
    rng, x = torch.Generator(), torch.ones(M, 12)
    z = q.posterior(x).sample(1, rng)
    torch.autograd.grad(p.log_p_xz(x, z).sum(), [p.params.flat])
    fantasy_x, fantasy_z = p.sample_xz(M, rng)
    torch.autograd.grad(q.posterior(fantasy_x).log_prob(fantasy_z[None]).sum(), [q.params.flat])
    assert (ledger.samples, ledger.fantasies, ledger.decoder_rows, ledger.decoder_rows_grad) == (M, M, 2 * M, M)
    assert (ledger.encoder_rows, ledger.encoder_rows_grad) == (2 * M, M)


def test_mcem_spends_one_sample_a_leapfrog_gradient_and_weight_update(metered) -> None:
    """A cycle of 11 gradients of z and 5 updates of θ is 16 samples a point and 5 steps (PAPER.md counts it so)."""
    p, _, ledger = metered
    x, z = torch.ones(M, 12), torch.randn(1, M, 2, requires_grad=True)
    for _ in range(11):
        torch.autograd.grad(p.log_p_xz(x, z).sum(), [z])
    for _ in range(5):
        (g,) = torch.autograd.grad(p.log_p_xz(x, z.detach()).sum(), [p.params.flat])
        with torch.no_grad():
            p.params.flat.add_(g, alpha=1e-3)
    p.log_p_z(z)
    assert ledger.samples == 16 * M
    torch.autograd.grad(p.log_p_xz(x, z).sum(), [z])
    assert ledger.steps == 5


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.Adam([p], fused=True),
    lambda p: torch.optim.Adam([p]),
    lambda p: torch.optim.SGD([p], lr=0.1),
])  # fmt: skip
def test_an_update_by_any_optimiser_is_one_step(metered, make) -> None:
    p, _, ledger = metered
    optimiser = make(p.params.flat)
    for _ in range(4):
        optimiser.zero_grad()
        p.log_p_xz(torch.ones(M, 12), torch.zeros(1, M, 2)).sum().backward()
        optimiser.step()
    p.log_p_z(torch.zeros(1, 1, 2))
    assert ledger.steps == 4


def test_rows_are_differentiated_only_when_a_gradient_flows(metered) -> None:
    p, q, ledger = metered
    x = torch.ones(M, 12)
    posterior = q.posterior(x)
    p.log_p_xz(x, posterior.rsample(2, torch.Generator()))
    posterior.kl()
    assert (ledger.decoder_rows_grad, ledger.encoder_rows_grad) == (0, 0)
    posterior = q.posterior(x)
    bound = p.log_p_x_given_z(x, posterior.rsample(2, torch.Generator())).mean(0) - posterior.kl()
    bound.sum().backward()
    assert (ledger.decoder_rows_grad, ledger.encoder_rows_grad) == (2 * M, M)


def test_gradients_that_models_compute_themselves_are_counted_however_they_are_called(metered) -> None:
    p, q, ledger = metered
    x, z = torch.ones(M, 12), torch.zeros(3, M, 2)
    p.gradients(x, z)
    p.gradients(x, z=z, by_z=False)
    p.score(x=x, z=z, value=True)
    p.prior_score(z, False)
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (9 * M, 9 * M, 9 * M)
    posterior = q.posterior(x=x)
    for _ in range(3):
        posterior.gradients(z)
    assert (ledger.encoder_rows, ledger.encoder_rows_grad) == (M, M)
    posterior = q.posterior(x)
    drawn, _ = posterior.reparameterise(2, torch.Generator())
    assert (ledger.encoder_rows, ledger.encoder_rows_grad) == (2 * M, M)
    posterior.pull_back(drawn, -1.0)
    assert (ledger.encoder_rows, ledger.encoder_rows_grad) == (2 * M, 2 * M)


def test_an_algorithm_may_anneal_metered_models(metered) -> None:
    """Every gradient on the way and every point where a move ends is a sample: one to begin with, and 3 a move."""
    p, _, ledger = metered
    rng, x = torch.Generator().manual_seed(0), torch.ones(M, 12)
    path = api.ais.from_prior(p, x)
    betas, steps = api.ais.sigmoid_schedule(5), torch.full((4, M, 1), 0.1)
    api.ais.anneal(path, api.ais.prior_draws(p, 2, M, rng), betas, steps, 3, rng)
    assert ledger.samples == 2 * M * (1 + 4 * 3)


def test_an_algorithm_is_handed_nothing_unmetered(metered) -> None:
    p, q, _ = metered
    run = conformance.training("aevb")
    assert type(run.state.problem.model).__name__ == "MeteredNetworkDecoder"
    assert type(run.state.problem.recognition).__name__ == "MeteredGaussianEncoder"
    public = {name for name in vars(p) if not name.startswith("_")} - set(FACTS)
    densities, gradients = (
        {"log_p_z", "log_p_x_given_z", "log_p_xz"},
        {"gradients", "prior_gradients", "score", "prior_score"},
    )
    assert public == densities | gradients | {"log_p_entries", "sample", "sample_x", "sample_z", "sample_xz", "mean_x"}
    assert {name for name in vars(q) if not name.startswith("_")} - set(FACTS) == {"posterior"}
    for twin in (p, q):
        assert not any(isinstance(value, mlp.NetworkDecoder | api.GaussianEncoder) for value in vars(twin).values())


def test_evaluation_spends_nothing() -> None:
    run = conformance.training("aevb", batch_size=M)
    before = Ledger(**vars(run.ledger))
    list(run._estimates(last=True))
    assert run.ledger == before


@pytest.mark.parametrize("limit", ["samples", "datapoints", "cpu_seconds", "wall_seconds"])
def test_overshoot_is_at_most_one_step(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is noted with what was spent before and after it: the limit falls within the last one.

    Clocks advance by 7 ms a step and at no other time, so that no reading falls between two others.
    """
    now = 0.0
    monkeypatch.setattr(clocks, "process_time", lambda: now)
    monkeypatch.setattr(clocks, "perf_counter", lambda: now)
    run = conformance.training("aevb", batch_size=M)
    step, spans = run._step, []

    def noted() -> float:
        nonlocal now
        before = {**vars(run.ledger), **run.clocks.seconds()}[limit]
        objective = step()
        now += 0.007
        spans.append((before, {**vars(run.ledger), **run.clocks.seconds()}[limit]))
        return objective

    run._step = noted  # type: ignore[method-assign]
    target = {"samples": 12_345, "datapoints": 12_345, "cpu_seconds": 0.4, "wall_seconds": 0.4}[limit]
    for _ in run.rows(Budget(**{limit: target})):
        pass
    spent = {**vars(run.ledger), **run.clocks.seconds()}[limit]
    before, after = spans[-1]
    assert before < target <= spent
    assert spent == after
    assert all(b < target for b, _ in spans)


def test_the_first_exhausted_of_several_budgets_ends_the_run() -> None:
    run = conformance.training("aevb", batch_size=M)
    for _ in run.rows(Budget(samples=200, wall_seconds=60)):
        pass
    assert run.ledger.samples == 200
    run = conformance.training("aevb", batch_size=M)
    for _ in run.rows(Budget(samples=10**9, cpu_seconds=0.2)):
        pass
    assert 0.2 <= run.clocks.cpu() < 0.5


def test_a_budget_needs_a_limit() -> None:
    with pytest.raises(BadInput, match="--samples"):
        Budget()


def test_clocks_split_time_into_phases() -> None:
    clocks = Clocks()
    start = time.perf_counter()
    for phase in ("training", "evaluation", "output", "training", "setup"):
        clocks.switch(phase)  # type: ignore[arg-type]
        time.sleep(0.01)
    elapsed = time.perf_counter() - start
    seconds = clocks.seconds()
    assert seconds["wall_seconds"] >= 0.02
    assert sum(v for k, v in seconds.items() if k.endswith("wall_seconds")) == pytest.approx(elapsed, rel=0.02)
    assert sum(v for k, v in seconds.items() if k.endswith("cpu_seconds")) < 0.02  # sleeping costs no CPU


def test_clocks_and_excluded_time_are_the_elapsed_time(mnist: api.Dataset) -> None:
    """On real data, with evaluation and a caller that takes its time: within 1 %, CPU and wall."""
    start, cpu = time.perf_counter(), time.process_time()
    run = Training(make_spec("aevb", settings={"nz": 20}))
    for event in run.rows(Budget(samples=20_000)):
        if not isinstance(event, str):
            time.sleep(0.05)
    elapsed, spent = time.perf_counter() - start, time.process_time() - cpu
    seconds = run.clocks.seconds()
    wall = sum(v for k, v in seconds.items() if k.endswith("wall_seconds"))
    assert wall == pytest.approx(elapsed, rel=0.01)
    assert sum(v for k, v in seconds.items() if k.endswith("cpu_seconds")) == pytest.approx(spent, rel=0.01)
    assert seconds["output_wall_seconds"] >= 0.05 * 4
    assert seconds["evaluation_wall_seconds"] > 0.1
    assert 0 < seconds["wall_seconds"] < elapsed
