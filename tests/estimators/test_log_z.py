"""Estimators of log Z: against enumeration, unbiased weights, both sides of log p(x), and how they are reported.

Seeds are fixed; error rates are stated.
"""

import functools
import json
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from support import Result
from torch import Tensor

from harness import api
from harness.estimators import exact_log_z, log_z_ais, log_z_ais_reverse, log_z_raise
from harness.models import rbm
from harness.specs.run import make_spec
from harness.testing import toy
from harness.training.loop import Training

Harness = Callable[..., Result]


def machine(dim: int, hidden: int, scale: float, dtype: torch.dtype = torch.float32) -> api.BoltzmannMachine:
    """Return a machine with weights of sd `scale`, biases c of mean -1, and base rates that are not its own."""
    mean = torch.rand(dim, generator=torch.Generator().manual_seed(3)).clamp(0.1, 0.9)
    facts = api.DataFacts("binary", dim, 100, _mean=lambda: mean)
    model, _ = rbm.build(rbm.Config(hidden=hidden, init_sd=scale), facts, api.Streams(2), dtype)
    with torch.no_grad():
        _, b, c = model.params.views
        b.add_(0.5 * torch.randn(dim, generator=torch.Generator().manual_seed(4), dtype=dtype))
        c.sub_(1.0)
    return model


def exact(model: Any) -> float:
    return exact_log_z.estimate_log_z(model, exact_log_z.Config(), torch.Generator()).value


def points(model: api.BoltzmannMachine, n: int) -> Tensor:
    """Return exact draws: of h from its sum over x, and of x given h."""
    every = next(api.states(model.hidden, 1 << model.hidden, model.params.flat.dtype))
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        h = every[torch.multinomial(model.log_f_h(every).softmax(0), n, replacement=True, generator=rng)]
        W, b, _ = model.params.views
        return api.bernoulli((h @ W.t() + b).sigmoid(), rng)


# -- exact


def test_the_smaller_side_is_summed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces; 5 hidden units and 12 bits, and the other way round, to the same log Z."""
    monkeypatch.setattr(exact_log_z, "AT_A_TIME", 10)
    rows: list[int] = []
    for dim, hidden in ((12, 5), (5, 12)):
        model = machine(dim, hidden, 0.8, torch.float64)
        expected = model.log_f_x(next(api.states(dim, 1 << dim, torch.float64))).logsumexp(0).item()
        for name in ("log_f_x", "log_f_h"):
            own = getattr(model, name)
            monkeypatch.setattr(model, name, lambda rows_of, own=own: rows.append(len(rows_of)) or own(rows_of))
        assert exact(model) == pytest.approx(expected, abs=1e-10)
        assert (sum(rows), max(rows)) == (32, 10)
        rows.clear()


def test_twenty_units_can_be_summed_over_and_more_cannot() -> None:
    config = exact_log_z.Config()
    assert exact_log_z.skip(config, machine(784, 20, 0.01), None) is None
    assert exact_log_z.skip(config, machine(20, 500, 0.01), None) is None
    reason = exact_log_z.skip(config, machine(30, 21, 0.01), None)
    assert reason == "2^21 states on the smaller side are too many to sum over, 20 bits are the most: use log-z-ais"


def test_without_weights_log_z_is_a_sum_over_units() -> None:
    model = machine(17, 40, 0.5)
    with torch.no_grad():
        model.params.views[0].zero_()
    biases = torch.cat(list(model.params.views[1:])).double()
    assert exact(model) == pytest.approx(torch.nn.functional.softplus(biases).sum().item(), abs=1e-4)


# -- annealing


@functools.cache
def large() -> tuple[api.BoltzmannMachine, float]:
    """A machine of 40 bits and 20 hidden units with strong weights, and its log Z."""
    model = machine(40, 20, 1.0)
    return model, exact(model)


def test_ais_is_within_a_twentieth_of_a_nat_on_twenty_hidden_units() -> None:
    model, log_z = large()
    config = log_z_ais.Config(distributions=3000, chains=300)
    found = log_z_ais.estimate_log_z(model, config, torch.Generator().manual_seed(0))
    assert found.value == pytest.approx(log_z, abs=0.05)
    assert math.sqrt(found.variance) < 0.05
    assert found.diagnostics["effective_samples"] > 30


def repeated(module: ModuleType, model: api.BoltzmannMachine, n: int, **settings: Any) -> Tensor:
    """Return n estimates of log Z less the exact one."""
    log_z, x = exact(model), points(model, 400)
    found = []
    for seed in range(n):
        rng = torch.Generator().manual_seed(seed)
        more = {"x": x[torch.randint(400, (100,), generator=rng)]} if module is log_z_raise else {}
        found.append(module.estimate_log_z(model, module.Config(**settings), rng, **more).value)
    return torch.tensor(found, dtype=torch.float64) - log_z


def test_forward_annealing_errs_low_and_raise_high_and_both_close_with_more_temperatures() -> None:
    """Of log Z, so that log p(x) lies between: by more than 4 standard errors with 10 temperatures, within 0.1 nat with 1000."""
    model, _ = large()
    for module, sign in ((log_z_ais, -1.0), (log_z_raise, 1.0)):
        few = sign * repeated(module, model, 25, distributions=10)
        many = sign * repeated(module, model, 2, distributions=1000)
        print(f"{module.__name__}: {few.mean():+.3f} and {many.mean():+.3f} nats outwards")
        assert few.mean() > 4 * few.std() / math.sqrt(len(few))
        assert few.mean() > 0.3
        assert abs(many.mean()) < 0.1


def test_weights_are_unbiased() -> None:
    """Of 20,000 chains with 3 temperatures: forward for Z / Z_0, from exact draws backwards for Z_0 / Z; 4.5 standard errors."""
    n, model = 20_000, machine(8, 5, 0.7)
    betas, rng = torch.tensor([0.0, 0.3, 0.8, 1.0]), torch.Generator().manual_seed(1)
    log_ratio = exact(model) - model.log_z_base().item()
    forward = api.ais.anneal_states(model, model.sample_base(n, rng), betas, rng) - log_ratio
    backward = api.ais.anneal_states(model, points(model, n), betas.flip(0), rng) + log_ratio
    for log_w in (forward, backward):
        w = log_w.exp()
        assert w.std() > 0.2
        assert abs(w.mean() - 1.0) < 4.5 * w.std() / math.sqrt(n)


def test_raise_is_unbiased_for_p_of_the_model_that_annealing_defines() -> None:
    """By enumeration of 2^5 states at 3 temperatures: p_a = p_0 T_1 T_2 T_3, of every x within 4.5 standard errors.

    32 comparisons: wrong once in 4,600 seeds. Its mean log p_a over the model's own distribution lies below that of log p.
    """
    dim, n, model = 5, 20_000, machine(5, 4, 1.2, torch.float64)
    every = next(api.states(dim, 1 << dim, torch.float64))
    every_h = next(api.states(4, 16, torch.float64))
    (W, b, c), a, betas = model.params.views, model._a, api.ais.sigmoid_schedule(3)
    p_a = torch.distributions.Bernoulli(logits=a).log_prob(every).sum(-1).exp()
    for beta in betas[1:].tolist():
        to_h = torch.distributions.Bernoulli(logits=beta * (every @ W + c)).log_prob(every_h.unsqueeze(1)).sum(-1).t()
        back = torch.distributions.Bernoulli(logits=(1 - beta) * a + beta * (every_h @ W.t() + b))
        p_a = p_a @ (to_h.exp() @ back.log_prob(every.unsqueeze(1)).sum(-1).t().exp())
    log_p = model.log_f_x(every).detach().log_softmax(0)
    assert (log_p.exp() @ p_a.log()) < (log_p.exp() @ log_p)
    rng = torch.Generator().manual_seed(0)
    for x, expected in zip(every, p_a, strict=True):
        _, begin = model.anneal(x.expand(n, -1), 1.0, 1.0, rng)
        log_w = api.ais.anneal_states(model, begin, betas.flip(0), rng)
        w = (model.log_f_x(x.unsqueeze(0)).detach() - model.log_z_base() + log_w).exp()
        assert abs(w.mean() - expected) < 4.5 * w.std() / math.sqrt(n)
    # and the estimator is the mean over points of log f(x) - log p_a(x), with weights that many chains make exact
    config = log_z_raise.Config(distributions=3, repeats=n // 10, starts=32)
    found = log_z_raise.estimate_log_z(model, config, rng, x=every)
    assert found.value == pytest.approx((model.log_f_x(every).detach() - p_a.log()).mean().item(), abs=0.05)


def test_the_stated_error_of_raise_is_that_over_points_and_noise() -> None:
    model, found = machine(12, 6, 0.7), []
    values = repeated(log_z_raise, model, 100, distributions=20, starts=20)
    for seed in range(25):
        x = points(model, 400)[torch.randperm(400, generator=torch.Generator().manual_seed(seed))]
        config = log_z_raise.Config(distributions=20, starts=20)
        found.append(log_z_raise.estimate_log_z(model, config, torch.Generator().manual_seed(seed), x=x).variance)
    assert 0.5 < sum(found) / len(found) / values.var().item() < 2.0


def test_on_a_trained_machine_log_p_lies_between_and_long_chains_agree() -> None:
    """After 40,000 samples of PCD on two noisy prototypes: exact log Z of 8 hidden units, within 3 standard errors."""
    settings = {"hidden": 8, "lr": 0.1, "batch_size": 30, "persistent": True, "prior_sd": 10.0}
    run = Training(make_spec("contrastive-divergence", toy.__file__, "rbm", settings=settings))
    while run.ledger.samples < 40_000:
        run.step()
    log_z, rng = exact(run.model), torch.Generator().manual_seed(0)
    for distributions in (100, 1000):
        low = log_z_ais.estimate_log_z(run.model, log_z_ais.Config(distributions=distributions), rng)
        high = log_z_raise.estimate_log_z(
            run.model, log_z_raise.Config(distributions=distributions), rng, x=run.dataset.test
        )
        back = log_z_ais_reverse.estimate_log_z(run.model, log_z_ais_reverse.Config(distributions=distributions), rng)
        assert low.value - 3 * math.sqrt(low.variance) < log_z < high.value + 3 * math.sqrt(high.variance)
        assert abs(back.value - log_z) < 0.2
    assert high.value - low.value < 0.2


# -- how they are reported

WORDS = ("--algo", "contrastive-divergence", "--model", "rbm", "--dataset", toy.__file__)


@pytest.fixture
def run(harness: Harness) -> str:
    """Make a run of a machine of 25 hidden units, which no sum is over, with data of 12 bits; return how it is selected."""
    done = harness("run", *WORDS, "--hidden", 25, "--samples", 3000, "--lr", 0.1, "--quiet")
    assert done.code == 0, done.err
    return "contrastive"


def sides(estimates: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["estimator"], e["direction"]) for e in estimates]


def test_a_likelihood_carries_both_sides_wherever_it_is_reported(run: str, harness: Harness) -> None:
    both = [("log-z-ais", "upper"), ("log-z-raise", "lower")]
    shown = harness("show", run).out
    for name, direction in both:
        assert sum(name in line and f" {direction} " in line for line in shown.splitlines()) == 2, shown  # train, test
    for name, expected in (
        ("log-z-ais", both), ("log-z-raise", both[::-1]), ("log-z-ais-reverse", [("log-z-ais-reverse", "not a bound"), *both]),
        ("exact-log-z", [("exact-log-z", "exact")]),
    ):  # fmt: skip
        words = ["evaluate", run, "--estimator", name, "--points", 30, "--dataset", toy.__file__]
        words += [] if name == "exact-log-z" else ["--distributions", 50]
        told = json.loads(harness(*words, "--json").out)
        found = [told, *told.pop("beside", [])]
        assert sides(found) == expected
        assert all(e["settings"].get("distributions", 50) == 50 for e in found)
        printed = harness(*words).out
        for name, direction in expected:
            assert any(name in line and direction in line for line in printed.splitlines()), printed


def test_a_table_has_both_sides(harness: Harness, tmp_path: Any) -> None:
    path = tmp_path / "machines.toml"
    path.write_text(
        f'[base]\ndataset = "{toy.__file__}"\nmodel = "rbm"\nhidden = 4\nsamples = 1000\nfirst-mark = 1000\nseed = 0\n'
        '[[grid]]\nalgo = "contrastive-divergence"\npersistent = [true, false]\n[figure]\ncompare = ["persistent"]\n'
    )
    assert harness("sweep", path).code == 0
    rows = json.loads(harness("table", path, "--json").out)
    assert len(rows) == 2
    for row in rows:
        assert row["log-z-raise test"]["mean"] < row["log-z-ais test"]["mean"] + 0.5


def test_certify_prints_both_sides_and_trusts_a_narrow_sandwich_alone(
    run: str, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("certify", run, "--points", 30, "--dataset", toy.__file__)
    monkeypatch.setattr(exact_log_z, "MAX_BITS", 10)  # or else the 12 bits of the data would be summed over
    narrow = harness(*words, "--distributions", 2000)
    assert narrow.code == 0, narrow.out
    assert "sandwich on test points" in narrow.out
    assert "trustworthy: nothing is off by more than 0.5 nats" in narrow.out
    wide = harness(*words, "--distributions", 2, "--chains", 3, "--tolerance", 0.01)
    assert wide.code == 1
    assert "not trustworthy: the gap plus twice its standard error exceeds 0.01 nats" in wide.out
    for name, direction in (("log-z-ais", "upper"), ("log-z-raise", "lower")):
        assert any(name in line and direction in line for line in wide.out.splitlines()), wide.out
    told = json.loads(harness(*words, "--distributions", 100, "--json").out)
    assert (told["reference"], told["sandwiched"]) == ("log-z-ais", "test")
    mean = {e["estimator"]: e["mean"] for e in told["estimates"][:2]}
    assert told["gap"] == pytest.approx(mean["log-z-ais"] - mean["log-z-raise"])
    assert told["gap_error"] > 0


def test_bad_input_is_refused_in_a_sentence(run: str, harness: Harness) -> None:
    for estimator, words, told in (
        ("log-z-ais", ["--distributions", "1"], "--distributions of estimator 'log-z-ais' is '1'"),
        ("log-z-raise", ["--distributions", "1"], "--distributions of estimator 'log-z-raise' is '1'"),
        ("log-z-ais-reverse", ["--distributions", "1"], "--distributions of estimator 'log-z-ais-reverse' is '1'"),
        ("log-z-ais", ["--chains", "1"], "--chains of estimator 'log-z-ais' is '1'"),
        ("log-z-raise", ["--starts", "1"], "--starts of estimator 'log-z-raise' is '1'"),
        ("ais", [], "it needs a model with latent variables"),
        ("exact", [], "log f(x) is no likelihood: use an estimator of log Z"),
    ):
        refused = harness("evaluate", run, "--estimator", estimator, *words, "--dataset", toy.__file__)
        assert (refused.code, told in refused.err) == (2, True), refused
    alone = harness(
        "evaluate", run, "--estimator", "log-z-raise", "--points", 1, "--distributions", 5, "--dataset", toy.__file__
    )
    assert alone.code == 0, alone.err
