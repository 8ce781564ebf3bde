"""Steps of maximum likelihood and of EM against their formulas, and what they spend."""

import math

import pytest
import torch
from harness.algorithms import em, maximum_likelihood
from torch import Tensor

from harness import api
from harness.models import bernoulli_mixture, fvsbn
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.training.loop import Training

N, D, K = 60, 8, 3


def points() -> Tensor:
    """Return points (N, D) of a mixture of two, float64."""
    rng = torch.Generator().manual_seed(0)
    p = torch.rand(2, D, generator=rng)[torch.randint(2, (N,), generator=rng)]
    return torch.bernoulli(0.8 * p + 0.1, generator=rng).double()


def mixture(seed: int = 1) -> api.Problem:
    facts = api.DataFacts("binary", D, N)
    config = bernoulli_mixture.Config(components=K, init_sd=1.0)
    model, _ = bernoulli_mixture.build(config, facts, api.Streams(seed), torch.float64)
    return api.Problem(model, None, facts)


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adagrad"])
def test_a_step_ascends_log_p_and_the_prior_on_weights(optimiser: str) -> None:
    facts, M = api.DataFacts("binary", D, N), 20
    net, _ = fvsbn.build(fvsbn.Config(init_sd=0.5, prior_sd=0.7), facts, api.Streams(1), torch.float64)
    x, before = points()[:M], net.params.flat.detach().clone()
    (g,) = torch.autograd.grad(net.log_p_x(x).sum(), net.params.flat)
    g[: net.params.n_weights] -= M / N * before[: net.params.n_weights] / 0.7**2
    log_p = net.log_p_x(x).mean()
    config = maximum_likelihood.Config(optimiser=optimiser, lr=0.01, batch_size=M)
    state = maximum_likelihood.init(api.Problem(net, None, facts), config, torch.Generator())
    info = maximum_likelihood.step(state, api.Batch(x, torch.arange(M)))
    step = {"sgd": g, "adam": g / (g.abs() + 1e-8), "adagrad": g / (g.square() + 1e-8).sqrt()}[optimiser]
    torch.testing.assert_close(net.params.flat.detach(), before + 0.01 * step, rtol=1e-7, atol=1e-9)
    assert info.objective.item() == pytest.approx(log_p.item())


def log_posterior(problem: api.Problem, x: Tensor, count: float) -> float:
    """Return Σ log p(x) and the log of the Beta and Dirichlet priors of a pseudo-count, but for a constant."""
    M, w = problem.model.params.views
    mu, pi = M.sigmoid(), w.softmax(0)
    prior = count * (mu.log() + (1 - mu).log()).sum() + count * pi.log().sum()
    return (problem.model.log_p_x(x).sum() + prior).item()


@pytest.mark.parametrize("count", [0.1, 2.0])
def test_no_iteration_of_em_lowers_what_it_maximises_and_its_gradient_goes_to_0(count: float) -> None:
    x, problem = points(), mixture()
    state = em.init(problem, em.Config(pseudo_count=count), torch.Generator())
    reached = log_posterior(problem, x, count)
    for _ in range(500):
        info = em.step(state, api.Batch(x, torch.arange(N)))
        now = log_posterior(problem, x, count)
        assert now > reached - 1e-9
        reached = now
    assert info.objective == pytest.approx(problem.model.log_p_x(x).mean().item(), abs=1e-4)
    # By logits the priors count on μ with density dμ, so that EM's fixed point is where this is stationary.
    M, w = problem.model.params.split()
    mu, pi = M.sigmoid(), w.softmax(0)
    prior = count * (mu.log() + (1 - mu).log()).sum() + count * pi.log().sum()
    (g,) = torch.autograd.grad(problem.model.log_p_x(x).sum() + prior, problem.model.params.flat)
    assert g.abs().max() < 1e-3


def test_the_m_step_is_that_of_counts() -> None:
    x, problem, count = points(), mixture(), 0.3
    M, w = (part.clone() for part in problem.model.params.views)
    mu = M.sigmoid()
    joint = torch.stack(
        [w.softmax(0)[k] * (mu[k] ** x * (1 - mu[k]) ** (1 - x)).prod(-1) for k in range(K)], dim=-1
    )  # (N, K)
    r = joint / joint.sum(-1, keepdim=True)
    state = em.init(problem, em.Config(pseudo_count=count), torch.Generator())
    info = em.step(state, api.Batch(x, torch.arange(N)))
    after, weights = problem.model.params.views
    torch.testing.assert_close(after.sigmoid(), (r.t() @ x + count) / (r.sum(0).unsqueeze(-1) + 2 * count))
    torch.testing.assert_close(weights.softmax(0), (r.sum(0) + count) / (N + K * count))
    assert info.objective == pytest.approx(joint.sum(-1).log().mean().item())


def test_a_component_without_points_stays_finite() -> None:
    x, problem = points(), mixture()
    with torch.no_grad():
        problem.model.params.views[0][0] = 80.0  # all ones, which no point is
    state = em.init(problem, em.Config(pseudo_count=1e-6), torch.Generator())
    for _ in range(5):
        assert math.isfinite(em.step(state, api.Batch(x, torch.arange(N))).objective)
    assert problem.model.params.flat.isfinite().all()


def test_what_a_step_spends() -> None:
    ascent = conformance.training("maximum-likelihood", "fvsbn", batch_size=7)
    iteration = conformance.training("em", "bernoulli-mixture")
    for run in (ascent, iteration):
        run.step()
        run.step()
    assert (ascent.ledger.samples, ascent.ledger.datapoints, ascent.ledger.steps) == (14, 14, 2)
    assert (iteration.ledger.samples, iteration.ledger.datapoints, iteration.ledger.steps) == (120, 120, 2)
    assert ascent.ledger.fantasies == iteration.ledger.fantasies == 0


@pytest.mark.parametrize("algorithm", ["em", "maximum-likelihood"])
def test_both_learn_the_mixture(algorithm: str) -> None:
    """Better than independent bits, on the training set."""
    settings = {"components": 4, **({"lr": 0.05} if algorithm != "em" else {})}
    run = Training(make_spec(algorithm, toy.__file__, "bernoulli-mixture", settings=settings))
    x = run.dataset.train
    p = run.dataset.mean().clamp(0.01, 0.99)
    independent = (x @ p.log() + (1 - x) @ (1 - p).log()).mean().item()
    (*_, last) = run.rows(Budget(samples=6000))
    assert isinstance(last, dict)
    train = next(e for e in last["estimates"] if e["split"] == "train")
    assert (train["estimator"], train["direction"]) == ("exact", "exact")
    assert train["mean"] > independent + 0.5
