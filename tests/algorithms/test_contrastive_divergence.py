"""Contrastive divergence: its step, its gradient's mean by enumeration, persistent chains, and what it spends."""

from collections.abc import Callable

import pytest
import torch
from harness.algorithms import contrastive_divergence as cd
from support import Result
from torch import Tensor

from harness import api
from harness.models import rbm
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.training.loop import Training

D, H, N = 6, 5, 40
EVERY = next(api.states(D, 1 << D, torch.float64))
EVERY_H = next(api.states(H, 1 << H, torch.float64))


def machine(scale: float = 1.0) -> api.Problem:
    facts = api.DataFacts("binary", D, N)
    model, _ = rbm.build(rbm.Config(hidden=H, prior_sd=0.7), facts, api.Streams(1), torch.float64)
    with torch.no_grad():
        model.params.flat.normal_(0.0, scale, generator=torch.Generator().manual_seed(2))
    return api.Problem(model, None, facts)


def points(n: int = N) -> Tensor:
    p = torch.rand(2, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.bernoulli(p.repeat(n // 2, 1), generator=torch.Generator().manual_seed(1))


def gradients(problem: api.Problem) -> Tensor:
    """Return ∇ log f(x) of every x, (2^D, number of parameters)."""
    model = problem.model
    return torch.stack([torch.autograd.grad(model.log_f_x(x.unsqueeze(0)).sum(), model.params.flat)[0] for x in EVERY])


def moves(problem: api.Problem) -> Tensor:
    """Return the probability of each x' after one move from each x, (2^D, 2^D): Σ_h p(h|x) p(x'|h)."""
    W, b, c = problem.model.params.views
    h_given_x = torch.distributions.Bernoulli(logits=EVERY @ W + c)
    x_given_h = torch.distributions.Bernoulli(logits=EVERY_H @ W.t() + b)
    to_h = h_given_x.log_prob(EVERY_H.unsqueeze(1)).sum(-1).t().exp()  # (2^D, 2^H)
    return to_h @ x_given_h.log_prob(EVERY.unsqueeze(1)).sum(-1).t().exp()


def shares(x: Tensor) -> Tensor:
    """Return the share of every state among points, (2^D,)."""
    return (x.unsqueeze(1) == EVERY).all(-1).double().mean(0)


def test_a_step_climbs_from_the_chains_to_the_points_with_momentum() -> None:
    problem, x = machine(), points()
    config, before = cd.Config(lr=0.1, momentum=0.6, k=2), problem.model.params.flat.detach().clone()
    state = cd.init(problem, config, torch.Generator().manual_seed(5))
    other, rng, velocity = machine(), torch.Generator().manual_seed(5), torch.zeros_like(before)
    for _ in range(3):
        info = cd.step(state, api.Batch(x, torch.arange(N)))
        moved = other.model.gibbs(other.model.gibbs(x, rng), rng)
        gap = other.model.log_f_x(x).mean() - other.model.log_f_x(moved).mean()
        (g,) = torch.autograd.grad(gap, other.model.params.flat)
        g[: D * H] -= other.model.params.flat.detach()[: D * H] / 0.7**2 / N
        velocity = 0.6 * velocity + g
        with torch.no_grad():
            other.model.params.flat.add_(0.1 * velocity)
        assert info.contrast.item() == pytest.approx(gap.item())
        torch.testing.assert_close(problem.model.params.flat, other.model.params.flat, rtol=1e-9, atol=1e-11)
    assert state.chains is None


def test_the_mean_gradient_is_that_of_chains_after_k_moves_and_tends_to_the_exact_one() -> None:
    """By enumeration, and the algorithm's own over 20,000 chains: 41 parameters within 5 standard errors."""
    problem, x = machine(scale=1.7), points()
    every, T, data = gradients(problem), moves(problem), shares(x)
    p = problem.model.log_f_x(EVERY).detach().softmax(0)
    torch.testing.assert_close(p @ T, p)
    (expected,) = torch.autograd.grad(
        problem.model.log_f_x(x).mean() - problem.model.log_f_x(EVERY).logsumexp(0), problem.model.params.flat
    )
    torch.testing.assert_close(data @ every - p @ every, expected)
    errors = []
    for k in (1, 3, 10, 1000):
        after = data @ torch.linalg.matrix_power(T, k)
        mean = data @ every - after @ every
        errors.append((mean - expected).norm().item())
        if k == 1000:
            continue
        many = x.repeat(500, 1)
        moved = many
        rng = torch.Generator().manual_seed(k)
        for _ in range(k):
            moved = problem.model.gibbs(moved, rng)
        (found,) = torch.autograd.grad(problem.model.contrast(many, moved), problem.model.params.flat)
        noise = ((after @ every.square() - (after @ every).square()) / len(many)).sqrt()
        assert ((found - mean).abs() < 5 * noise + 1e-12).all(), k
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1 * expected.norm()
    assert errors[-1] < 1e-6


def test_persistent_chains_go_on_and_become_draws_from_the_model() -> None:
    """At a step size of nearly 0: the mean of bits over steps against the exact one, within 0.02."""
    problem, x = machine(), points()
    config = cd.Config(lr=1e-12, persistent=True, chains=30)
    state = cd.init(problem, config, torch.Generator().manual_seed(0))
    total = torch.zeros(D, dtype=torch.float64)
    for step in range(2200):
        before = state.chains
        cd.step(state, api.Batch(x, torch.arange(N)))
        assert state.chains is not None
        assert state.chains.shape == (30, D)
        assert before is not state.chains
        total += state.chains.mean(0) if step >= 200 else 0
    exact = problem.model.log_f_x(EVERY).detach().softmax(0) @ EVERY
    torch.testing.assert_close(total / 2000, exact, rtol=0, atol=0.02)


@pytest.mark.parametrize(("persistent", "k", "samples"), [(False, 1, 14), (False, 3, 28), (True, 1, 17), (True, 3, 37)])
def test_what_a_step_spends(persistent: bool, k: int, samples: int) -> None:
    """A point one, and each move of each chain one: 7 points, 7 chains, or 10 that go on."""
    settings = {"batch_size": 7, "k": k, "persistent": persistent, "chains": 10}
    run = conformance.training("contrastive-divergence", "rbm", **settings)
    for number in (1, 2):
        run.step()
        ledger = run.ledger
        assert (ledger.samples, ledger.datapoints, ledger.steps) == (number * samples, number * 7, number)


@pytest.mark.parametrize("persistent", [False, True])
def test_it_learns(persistent: bool) -> None:
    """Better than independent bits by half a nat on the training set, by exact log Z."""
    settings = {"hidden": 8, "lr": 0.1, "batch_size": 30, "persistent": persistent, "prior_sd": 10.0}
    spec = make_spec(
        "contrastive-divergence", toy.__file__, "rbm", settings=settings, marginal="exact-log-z", points=0,
        schedule="linear:80000",
    )  # fmt: skip
    run = Training(spec)
    x = run.dataset.train
    p = run.dataset.mean().clamp(0.01, 0.99)
    independent = (x @ p.log() + (1 - x) @ (1 - p).log()).mean().item()
    *_, last = [row for row in run.rows(Budget(samples=80_000)) if not isinstance(row, str)]
    found = {(e["estimator"], e["split"]): e for e in last["estimates"]}
    exact = found["exact-log-z", "train"]
    assert exact["direction"] == "exact"
    assert exact["mean"] > independent + 0.5
    below, above = found["log-z-raise", "train"], found["log-z-ais", "train"]
    assert (below["direction"], above["direction"]) == ("lower", "upper")
    assert below["mean"] - 3 * below["se_estimator"] < exact["mean"] < above["mean"] + 3 * above["se_estimator"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--k", "0"], "--k of algorithm 'contrastive-divergence' is '0'"),
        (["--momentum", "1"], "--momentum of algorithm 'contrastive-divergence' is '1'"),
        (["--chains", "0"], "--chains of algorithm 'contrastive-divergence' is '0'"),
        (["--kind", "unit"], "its data are unit, the model takes binary; give --kind binary"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(words: list[str], told: str, harness: Callable[..., Result]) -> None:
    given = ["run", "--algo", "contrastive-divergence", "--model", "rbm", "--dataset", toy.__file__, *words]
    refused = harness(*given)
    assert refused.code == 2
    assert told in refused.err
