"""Binary latents, by two plugin files that the engine knows nothing of: trained, stored, resumed, drawn and evaluated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import PLUGINS, Result

from harness import api
from harness.estimators import exact
from harness.specs import registry
from harness.specs.run import make_spec
from harness.store.store import Store
from harness.testing import conformance, toy
from harness.testing.models import check_model
from harness.training.loop import Training

Harness = Callable[..., Result]
NET, SCORE = str(PLUGINS / "toy_belief_net.py"), str(PLUGINS / "leave_one_out.py")
WORDS = ["--model", NET, "--dataset", toy.__file__, "--samples", 40_000, "--eval-points", 40, "--final-points", 40]
FILES = ["--model", NET]


def net() -> tuple[Any, Any]:
    module = registry.get("models", NET).module
    pair: tuple[Any, Any] = module.build(
        module.Config(nz=4, init_sd=1.0), api.DataFacts("binary", 5, 10), api.Streams(0), torch.float64
    )
    return pair


def test_enumeration_is_exact() -> None:
    """Over all x the sum of p(x) is one, and log p(x) is what a plain loop over states gives."""
    model, _ = net()
    bits = torch.tensor([[int(b) for b in f"{i:05b}"] for i in range(32)], dtype=torch.float64)
    found = exact.estimate(model, None, bits, exact.Config(), torch.Generator())
    assert found.value.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    by_hand = torch.zeros(32, dtype=torch.float64)
    for i in range(16):
        z = torch.tensor([int(b) for b in f"{i:04b}"], dtype=torch.float64).expand(1, 32, 4)
        by_hand += model.log_p_xz(bits, z)[0].exp().detach()
    torch.testing.assert_close(found.value, by_hand.log())
    assert (found.variance == 0).all()


def test_too_many_bits_are_refused() -> None:
    module = registry.get("models", NET).module
    model, _ = module.build(module.Config(nz=21), api.DataFacts("binary", 5, 10), api.Streams(0))
    assert "2^21 states are too many" in str(exact.skip(exact.Config(), model, None))


def test_the_model_and_the_algorithm_pass_the_conformance_suite() -> None:
    check_model(NET)
    assert conformance.check_on(SCORE, NET, "binary").refused is None


def test_trained_stored_resumed_drawn_and_evaluated(harness: Harness, tmp_path: Path) -> None:
    done = harness("run", "--algo", SCORE, *WORDS)
    assert done.code == 0, done.err
    (run,) = Store(tmp_path / "results").runs()
    bounds = [row["estimates"][1]["mean"] for row in run.rows()]
    assert bounds[-1] > bounds[0] + 0.2
    found = {}
    for estimator in ("exact", "importance", "lower-bound"):
        answer = harness("evaluate", run.id, "--estimator", estimator, "--points", 40, "--json", *FILES)
        assert answer.code == 0, answer.err
        found[estimator] = json.loads(answer.out)
    assert found["lower-bound"]["mean"] < found["importance"]["mean"] < found["exact"]["mean"] + 1e-3
    assert found["exact"]["mean"] - found["importance"]["mean"] < 0.01
    assert found["exact"]["se_estimator"] == 0.0
    assert harness("extend", run.id, "--samples", 60_000, "--algo", SCORE, *FILES).code == 0
    assert len(run.evaluations()) == 3
    plotted = harness("plot", run.id, "--out", tmp_path / "figure")
    assert plotted.code == 0, plotted.err
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_wake_sleep_trains_it_as_it_is() -> None:
    """The engine's own wake-sleep asks for nothing continuous: exact log p(x) of the training set grows by half a nat."""
    spec = make_spec("wake-sleep", toy.__file__, NET, settings={"lr": 0.1, "batch_size": 20})
    training = Training(spec)
    x = training.dataset.train
    mean = [exact.estimate(training.model, None, x, exact.Config(), torch.Generator()).value.mean().item()]
    for _ in range(1500):
        training.step()
    mean.append(exact.estimate(training.model, None, x, exact.Config(), torch.Generator()).value.mean().item())
    assert mean[1] > mean[0] + 0.5


def test_resumed_is_uninterrupted() -> None:
    def fresh() -> Training:
        return Training(make_spec(SCORE, toy.__file__, NET, seed=3))

    whole, first, second = fresh(), fresh(), fresh()
    for _ in range(7):
        whole.step()
    for _ in range(3):
        first.step()
    second.load(first.checkpoint())
    for _ in range(4):
        second.step()
    assert torch.equal(whole.model.params.flat, second.model.params.flat)
    assert torch.equal(whole.recognition.params.flat, second.recognition.params.flat)


def test_algorithms_of_continuous_latents_are_refused_with_the_reason(harness: Harness, tmp_path: Path) -> None:
    done = harness("run", "--algo", "aevb", *WORDS)
    assert done.code == 2
    assert "latents are binary, and it infers continuous" in done.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("estimator", ["hmc-density", "quadrature"])
def test_estimators_of_continuous_latents_are_refused_with_the_reason(estimator: str, harness: Harness) -> None:
    assert harness("run", "--algo", SCORE, *WORDS).code == 0
    done = harness("evaluate", "leave-one-out", "--estimator", estimator, *FILES)
    assert done.code == 2
    assert "continuous latents, and the model's are binary" in done.err


@pytest.mark.parametrize(("nz", "reference"), [(6, "exact"), (24, "ais")])
def test_a_binary_model_without_an_encoder_is_certified(nz: int, reference: str, harness: Harness) -> None:
    """By a sum over its states where these are few, else by AIS from both sides."""
    words = ["--model", NET, "--dataset", toy.__file__, "--nz", nz, "--samples", 10_000]
    marginal = ["--marginal", "ais", "--distributions", 50, "--marginal.flips", 4, "--marginal-points", 10]
    done = harness("run", "--algo", "mcem", *words, *marginal)
    assert done.code == 0, done.err
    assert "ais on 10 test points" in done.out
    certified = harness("certify", "mcem", "--points", 8, "--distributions", 100, "--flips", 4, "--json", *FILES)
    found = json.loads(certified.out)
    assert certified.code == 0, certified
    assert found["reference"] == reference
    assert abs(found["gap"]) < 0.2
    assert found["disagreement"][0].startswith("ais")
    refused = harness("evaluate", "mcem", "--estimator", "importance", *FILES)
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "use ais" in refused.err
