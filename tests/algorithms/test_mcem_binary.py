"""Monte Carlo EM on binary latents: its gradient against a sum over all states, what it spends, and that it learns."""

import itertools
from typing import Any

import pytest
import torch
from harness.algorithms import mcem
from support import PLUGINS
from torch import Tensor

from harness import api
from harness.estimators import exact
from harness.inference import gibbs
from harness.specs import registry
from harness.specs.budget import Ledger
from harness.specs.run import make_spec
from harness.testing import conformance
from harness.training.loop import Training

NET, TWO, MIXED = (str(PLUGINS / f"{name}.py") for name in ("toy_belief_net", "two_layer_net", "mixed_layers"))
BITS = str(PLUGINS / "bits.py")
CYCLES = 200


def run(model: str = NET, **settings: Any) -> Training:
    return conformance.training("mcem", model, **settings)


def log_p_x(model: Any, x: Tensor) -> Tensor:
    """Return log p(x) (B,), differentiable, by a sum over all states."""
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=model.latents.total)), dtype=x.dtype)
    out: Tensor = model.log_p_xz(x, states.unsqueeze(1).expand(-1, len(x), -1)).logsumexp(0)
    return out


class Noted:
    """Stands for Adagrad: notes the gradients that it is given, and leaves the parameters as they are."""

    def __init__(self) -> None:
        self.gradients: list[Tensor] = []

    def ascend(self, gradients: list[Tensor]) -> None:
        self.gradients.append(gradients[0].clone())


@pytest.mark.parametrize("sampler", ["gibbs", "metropolis"])
@pytest.mark.parametrize(("model", "sizes"), [(NET, {"nz": 5}), (TWO, {"n1": 4, "n2": 3})])
def test_the_gradient_of_the_m_step_is_that_of_log_p_x(model: str, sizes: dict[str, int], sampler: str) -> None:
    """Where chains are exact draws from the posterior a cycle moves them, and they stay so: over 200 cycles the mean of its
    gradients is the gradient of Σ log p(x) within 4 standard errors. Of 50 parameters one fails in 300 seeds."""
    module = registry.get("models", model).module
    facts, n = api.DataFacts("binary", 6, 300), 300
    net, _ = module.build(module.Config(**sizes, init_sd=1.0), facts, api.Streams(0), torch.float64)
    rng = api.Streams(1)("all")
    x = net.sample(10, rng).repeat(30, 1)
    (expected,) = torch.autograd.grad(log_p_x(net, x).sum(), net.params.flat)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=net.latents.total)), dtype=x.dtype)
    with torch.no_grad():
        posterior = net.log_p_xz(x, states.unsqueeze(1).expand(-1, n, -1)).softmax(0).T  # (B, 2^Z)
    config = mcem.Config(updates=1, flips=3, sampler=sampler)
    state, noted = mcem.init(api.Problem(net, None, facts), config, rng), Noted()
    state.optimiser = noted
    for _ in range(CYCLES):
        state.z.copy_(states[torch.multinomial(posterior, 1, generator=rng).squeeze(1)])
        info = mcem.step(state, api.Batch(x, torch.arange(n)))
        assert 0 < info.acceptance < 1
    found = torch.stack(noted.gradients)
    error = found.std(0) / len(found) ** 0.5
    off = ((found.mean(0) - expected) / error.clamp(min=1e-12)).abs().max()
    print(
        f"{len(expected)} parameters: off by {off:.2f} standard errors, which are {(error / expected.abs()).median():.1%}"
    )
    assert off < 4
    assert (error > 0).any()


def test_a_cycle_evaluates_sixteen_samples_a_point_and_differentiates_five() -> None:
    """Where a chain is, ten updates of a latent each, and five of the weights."""
    training = run()
    training.step()
    assert training.ledger == Ledger(
        samples=16 * 60, datapoints=60, decoder_rows=16 * 60, decoder_rows_grad=5 * 60, steps=5
    )


@pytest.mark.parametrize(
    ("settings", "first", "later"),
    [
        ({"flips": 3, "updates": 2}, 6, 6),
        ({"burn_in": 2, "flips": 4}, 20, 10),
        ({"chains": "best"}, 36, 16),
        ({"chains": "zero", "sampler": "metropolis", "leapfrog": 99}, 16, 16),
    ],
)
def test_settings_cost_what_they_say(settings: dict[str, Any], first: int, later: int) -> None:
    training = run(**settings)
    spent = []
    for _ in range(2):
        before = training.ledger.samples
        training.step()
        spent.append((training.ledger.samples - before) // 60)
    assert spent == [first, later]


def test_chains_begin_where_they_are_told_and_stay_bits() -> None:
    assert (run(chains="zero").state.z == 0).all()
    prior = run(TWO, chains="prior", init_sd=3.0)
    drawn = prior.model.sample_z(20_000, torch.Generator().manual_seed(0)).mean(0)
    assert prior.state.z.shape == (60, 7)
    assert (prior.state.z.mean(0) - drawn).abs().max() < 5 * 0.5 / 60**0.5
    best = run(chains="best", flips=1, updates=1, lr=1e-6)
    best.step()
    x = best.dataset.rows("train", torch.arange(60), torch.Generator())
    with torch.no_grad():  # under the model that both begin with
        model = run().model
        assert (model.log_p_xz(x, best.state.z[None]) > model.log_p_xz(x, run().state.z[None])).float().mean() > 0.6
    for training in (prior, best):
        training.step()
        assert set(training.state.z.unique().tolist()) <= {0.0, 1.0}


def test_a_move_updates_other_latents_each_time_and_reports_how_many_it_changed() -> None:
    training = run(nz=6, flips=1, init_sd=0.01)  # nearly uniform bits: every update is a coin
    changed = []
    for _ in range(60):
        before = training.state.z.clone()
        info = training.step()
        different = (training.state.z != before).float()
        assert (different.sum(1) <= 1).all()
        assert info["esjd"] == pytest.approx(different.sum(1).mean().item(), rel=1e-5)
        assert "step_size" not in info
        changed.append(different.mean(0).argmax().item())
    assert set(changed) == set(range(6))


def test_a_longer_move_comes_to_a_latent_again_only_after_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    orders, move = [], gibbs.move

    def noted(target: Any, at: Any, which: Any, *args: Any, **kwargs: Any) -> Any:
        orders.append(list(which))
        return move(target, at, orders[-1], *args, **kwargs)

    monkeypatch.setattr(gibbs, "move", noted)
    training = run(nz=4, flips=10)
    for _ in range(20):
        training.step()
    for order in orders:
        assert sorted(order[:4]) == [0, 1, 2, 3]
        assert order == (3 * order[:4])[:10]
    assert len({tuple(order) for order in orders}) > 5  # of 24


@pytest.mark.parametrize("model", [NET, TWO])
def test_learning_raises_the_exact_likelihood(model: str) -> None:
    """Of test points, by more than a tenth of a nat, and to as much above that of independent bits."""
    training = Training(make_spec("mcem", BITS, model, settings={"init_sd": 0.1, "warmup": 10, "lr": 0.1}))

    def likelihood() -> float:
        with torch.no_grad():
            x = training.dataset.test
            return exact.estimate(training.model, None, x, exact.Config(), torch.Generator()).value.mean().item()  # type: ignore[arg-type]

    before = likelihood()
    for _ in range(60):
        training.step()
    p = training.dataset.train.mean(0)
    x = training.dataset.test
    independent = (x @ p.log() + (1 - x) @ (1 - p).log()).mean().item()
    after = likelihood()
    print(f"exact log p(x): {before:.3f} to {after:.3f}; independent bits {independent:.3f}")
    assert after > max(before, independent) + 0.1


def test_resumed_is_uninterrupted() -> None:
    whole, first, second = (run(flips=3) for _ in range(3))
    for _ in range(5):
        whole.step()
    for _ in range(2):
        first.step()
    second.load(first.checkpoint())
    for _ in range(3):
        second.step()
    assert torch.equal(whole.model.params.flat, second.model.params.flat)
    assert torch.equal(whole.state.z, second.state.z)


def test_latents_of_several_kinds_are_refused_in_words() -> None:
    with pytest.raises(api.BadInput, match="are continuous and binary, and a chain moves latents of one kind; see"):
        run(MIXED)
