"""Deep belief net: its bound against enumeration of all layers, its memory, draws and learning, and what is reported."""

import json
import math
from collections.abc import Callable

import pytest
import torch
from support import Result
from torch import Tensor
from torch.distributions import Bernoulli

from harness import api
from harness.estimators import exact_log_z
from harness.inference import boltzmann
from harness.models import dbn
from harness.testing import conformance, toy

Harness = Callable[..., Result]
D, H1, H2, H3 = 5, 4, 3, 3


def states(bits: int) -> Tensor:
    return next(api.states(bits, 1 << bits, torch.float64))


def built() -> dbn.DeepBeliefNet:
    """Return a net of three layers with parameters well away from 0, in double precision."""
    facts = api.DataFacts("binary", D, 100)
    net, recognition = dbn.build(dbn.Config(layers=f"{H1}-{H2}-{H3}"), facts, api.Streams(1), torch.float64)
    assert recognition is None
    with torch.no_grad():
        net.params.flat.normal_(0.0, 0.8, generator=torch.Generator().manual_seed(2))
    return net


def parts(net: dbn.DeepBeliefNet) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return W, b and c of each machine from the flat parameters, as the model lays them out."""
    found, flat = [], net.params.flat.detach()
    for k, m in ((D, H1), (H1, H2), (H2, H3)):
        W, b, c, flat = flat.split([k * m, k, m, len(flat) - k * m - k - m])
        found.append((W.view(k, m), b, c))
    return found


def log_p_and_bound(net: dbn.DeepBeliefNet) -> tuple[Tensor, Tensor]:
    """Return log p(x) and E_q[log p(x, h) - log q(h|x)] of every x (2^D,), by sums over all h_1, h_2 and h_3."""
    (W0, b0, c0), (W1, b1, c1), (W2, b2, c2) = parts(net)
    x, h1, h2, h3 = states(D), states(H1), states(H2), states(H3)
    log_f = (h2 @ b2).unsqueeze(1) + h3 @ c2 + h2 @ W2 @ h3.t()  # (2^H2, 2^H3)
    log_top = (log_f - log_f.flatten().logsumexp(0)).logsumexp(1)  # (2^H2,)
    x_given = Bernoulli(logits=h1 @ W0.t() + b0).log_prob(x.unsqueeze(1)).sum(-1)  # (2^D, 2^H1)
    h1_given = Bernoulli(logits=h2 @ W1.t() + b1).log_prob(h1.unsqueeze(1)).sum(-1)  # (2^H1, 2^H2)
    q1 = Bernoulli(logits=x @ W0 + c0).log_prob(h1.unsqueeze(1)).sum(-1).t()  # (2^D, 2^H1)
    q2 = Bernoulli(logits=h1 @ W1 + c1).log_prob(h2.unsqueeze(1)).sum(-1).t()  # (2^H1, 2^H2)
    joint = x_given.unsqueeze(2) + h1_given + log_top  # (2^D, 2^H1, 2^H2)
    log_q = q1.unsqueeze(2) + q2
    return joint.flatten(1).logsumexp(1), (log_q.exp() * (joint - log_q)).flatten(1).sum(1)


def test_the_bound_is_that_of_enumeration_and_lies_below_log_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over 20,000 draws of h for each of 32 points, within 5 standard errors."""
    net = built()
    log_p, expected = log_p_and_bound(net)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (expected < log_p).all()
    log_z = exact_log_z.estimate_log_z(net.top, exact_log_z.Config(), torch.Generator()).value
    monkeypatch.setattr(dbn, "DRAWS", 200)
    rng = torch.Generator().manual_seed(0)
    draws = torch.stack([net.log_f_bound(states(D), rng) - log_z for _ in range(100)])
    error = draws.std(0) / 10
    assert ((draws.mean(0) - expected).abs() < 5 * error).all()


def test_draws_are_from_p(monkeypatch: pytest.MonkeyPatch) -> None:
    """By 30 moves of the top machine: the mean of each bit and pair of bits within 0.03, four standard errors."""
    monkeypatch.setattr(boltzmann, "SWEEPS", 30)
    net = built()
    x, p = net.sample(5_000, torch.Generator().manual_seed(0)), log_p_and_bound(net)[0].exp()
    every = states(D)
    torch.testing.assert_close(x.t() @ x / len(x), every.t() @ (p.unsqueeze(1) * every), rtol=0, atol=0.03)


def test_machines_are_in_the_memory_of_the_net() -> None:
    net = built()
    for machine, (W, b, c) in zip(net.machines, parts(net), strict=True):
        for mine, expected in zip(machine.params.views, (W, b, c), strict=True):
            assert torch.equal(mine, expected)
    with torch.no_grad():
        net.params.flat.copy_(torch.arange(len(net.params.flat), dtype=torch.float64))
    assert net.parts[0].flat[0] == 0
    assert net.top.params.views[2][-1] == len(net.params.flat) - 1
    version = net.params.flat._version
    api.Sgd(net.parts[1], lr=1.0).ascend([torch.ones_like(net.parts[1].flat)])
    assert net.params.flat._version > version  # by which a step is counted


def test_a_machine_above_begins_at_what_recognition_makes_of_the_mean() -> None:
    mean = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.0])
    facts = api.DataFacts("binary", D, 100, _mean=lambda: mean)
    net, _ = dbn.build(dbn.Config(layers=f"{H1}-{H2}-{H3}"), facts, api.Streams(1), torch.float64)
    with torch.no_grad():
        net.params.flat.normal_(0.0, 0.8, generator=torch.Generator().manual_seed(2))
    (W0, b0, c0), (W1, b1, c1), (_, b2, _) = parts(net)
    rates = (mean.double() @ W0 + c0).sigmoid()
    above = (rates @ W1 + c1).sigmoid()
    untouched = b0.clone()
    for pair in range(3):
        net.begin(pair)
    torch.testing.assert_close(b0, untouched, rtol=0, atol=0)
    torch.testing.assert_close(b1.sigmoid(), rates)
    torch.testing.assert_close(b2.sigmoid(), above)
    torch.testing.assert_close(net.top.log_z_base(), H3 * math.log(2) - (1 - above).log().sum())


def test_step_sizes_go_down_in_the_turn_of_every_pair_but_the_last() -> None:
    run = conformance.training(
        "greedy", "dbn", layers="4-3-2", batch_size=7, pair_steps=4, pair_decay=0.5, schedule="linear:560"
    )
    found = []
    for _ in range(10):  # of 14 samples each, of 560
        found.append(run.state.factor())
        run.step()
    of_schedule = [1 - number * 14 / 560 for number in range(10)]
    expected = [whole * turn for whole, turn in zip(of_schedule, [1, 1, 1, 0.5] * 2 + [1, 1], strict=True)]
    assert found == pytest.approx(expected)


def test_pairs_learn_in_turn_and_count_as_contrastive_divergence_does() -> None:
    settings = {"layers": "4-3", "batch_size": 7, "pair_steps": 2, "k": 3}
    run = conformance.training("greedy", "dbn", **settings)
    first, second = (part.flat for part in run.model.parts)  # type: ignore[attr-defined]
    for number in range(1, 5):
        before = [flat.detach().clone() for flat in (first, second)]
        assert run.step()["pair"] == (0 if number <= 2 else 1)
        changed = [not torch.equal(flat, was) for flat, was in zip((first, second), before, strict=True)]
        assert changed == [number <= 2, number > 2]
        updates = number + (number > 2)  # the second machine's biases are set when its turn comes
        assert (run.ledger.samples, run.ledger.steps) == (number * 7 * 4, updates)


def test_what_is_reported_is_a_lower_bound_or_none(harness: Harness) -> None:
    """By exact log Z and by RAISE a lower bound; with log Z from below none; and nothing certifies it."""
    words = ["--algo", "greedy", "--model", "dbn", "--layers", "6-4", "--dataset", toy.__file__, "--lr", 0.1]
    done = harness("run", *words, "--pair-steps", 50, "--samples", 20_000, "--eval-points", 0, "--quiet")
    assert done.code == 0, done.err
    given = ["--dataset", toy.__file__, "--json"]
    exact = json.loads(harness("evaluate", "greedy", "--estimator", "exact-log-z", *given).out)
    told = json.loads(harness("evaluate", "greedy", "--estimator", "log-z-raise", *given).out)
    (other,) = told["beside"]
    assert [(e["estimator"], e["direction"]) for e in (exact, told, other)] == [
        ("exact-log-z", "lower"), ("log-z-raise", "lower"), ("log-z-ais", "not a bound"),
    ]  # fmt: skip
    for e in (told, other):
        assert e["mean"] == pytest.approx(exact["mean"], abs=4 * e["se_estimator"] + 0.2)
    refused = harness("certify", "greedy", *given)
    assert refused.code == 2
    assert "there is no upper bound" in refused.err
    for wrong, reason in (
        (["--algo", "contrastive-divergence", "--model", "dbn"], "it needs an unnormalised model with Gibbs moves"),
        (["--algo", "greedy", "--model", "rbm"], "it needs a model that learns a pair of layers at a time"),
        (["--algo", "aevb", "--model", "dbn"], "it needs a model with latent variables"),
        (["--algo", "greedy", "--model", "dbn", "--pair-steps", "0"], "--pair-steps of algorithm 'greedy' is '0'"),
        (["--algo", "greedy", "--model", "dbn", "--layers", "none"], "--layers of model 'dbn' is 'none'"),
    ):
        refused = harness("run", *wrong, "--dataset", toy.__file__)
        assert (refused.code, reason in refused.err) == (2, True), refused.err
