"""Models with exact log p(x): sums over all states, gradients against autograd's of the formula, draws, and what they cost."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from support import Result, require_frequencies
from torch import Tensor

from harness import api
from harness.models import bernoulli_mixture, fvsbn, nade
from harness.specs.budget import Ledger
from harness.training.metering import metered_twin

D = 10
EVERY = next(api.states(D, 1 << D, torch.float64))
FORMS: dict[str, tuple[ModuleType, dict[str, int]]] = {
    "mixture": (bernoulli_mixture, {"components": 4}), "fvsbn": (fvsbn, {}), "nade": (nade, {"hidden": 6}),
    "nade of 3 orders": (nade, {"hidden": 6, "orders": 3}),
}  # fmt: skip


def built(form: str, dim: int = D, dtype: torch.dtype = torch.float64) -> Any:
    """Return a model with parameters well away from 0."""
    module, settings = FORMS[form]
    model, recognition = module.build(
        module.Config(**settings), api.DataFacts("binary", dim, 100), api.Streams(1), dtype
    )
    assert recognition is None
    with torch.no_grad():
        model.params.flat.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(2))
    return model


def bernoulli(x: Tensor, a: Tensor) -> Tensor:
    return (x * a - torch.nn.functional.softplus(a)).sum(-1)


def of_mixture(model: Any, x: Tensor) -> Tensor:
    M, w = model.params.split()
    each = [w.softmax(0)[k].log() + bernoulli(x, M[k]) for k in range(len(w))]
    return torch.stack(each).logsumexp(0)


def of_fvsbn(model: Any, x: Tensor) -> Tensor:
    U, b = model.params.split()
    logits, at = [], 0
    rows = []
    for i in range(D):
        rows.append(U[at : at + D - 1 - i])
        at += D - 1 - i
    for d in range(D):
        logits.append(b[d] + sum((x[:, i] * rows[i][d - i - 1] for i in range(d)), start=torch.zeros(len(x))))
    return bernoulli(x, torch.stack(logits, dim=-1))


def of_nade(model: Any, x: Tensor) -> Tensor:
    W, V, b, c = model.params.split()
    each = []
    for order in model._orders:
        log_p, seen = torch.zeros(len(x)), []
        for d in order.tolist():
            a = b[d] + (c + sum((x[:, e : e + 1] * W[e] for e in seen), start=torch.zeros(1))).sigmoid() @ V[d]
            log_p = log_p + x[:, d] * a - torch.nn.functional.softplus(a)
            seen.append(d)
        each.append(log_p)
    return torch.stack(each).logsumexp(0) - math.log(len(each))


FORMULAS = {"mixture": of_mixture, "fvsbn": of_fvsbn, "nade": of_nade, "nade of 3 orders": of_nade}


@pytest.mark.parametrize("form", FORMS)
def test_it_sums_to_1_over_all_states(form: str) -> None:
    model = built(form)
    assert model.log_p_x(EVERY).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_nade_sums_to_1_in_each_order_and_orders_differ() -> None:
    model = built("nade of 3 orders")
    each = torch.stack([model.log_p_in_order(EVERY, k) for k in range(3)])
    torch.testing.assert_close(each.exp().sum(-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (each[0] - each[1]).abs().max() > 0.1
    assert not torch.equal(each[1], each[2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_are_those_of_the_formula(form: str, dtype: torch.dtype) -> None:
    model, wide = built(form, dtype=dtype), built(form)
    with torch.no_grad():
        wide.params.flat.copy_(model.params.flat)
    x, weight = EVERY[::7], torch.linspace(-1.0, 2.0, len(EVERY[::7]), dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        expected = FORMULAS[form](wide, x)
    finally:
        torch.set_default_dtype(torch.float32)
    found = model.log_p_x(x.to(dtype))
    tolerance = 1e-10 if dtype is torch.float64 else 2e-5
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    (truth,) = torch.autograd.grad((weight * expected).sum(), wide.params.flat)
    (gradient,) = torch.autograd.grad((weight.to(dtype) * found).sum(), model.params.flat)
    torch.testing.assert_close(gradient.double(), truth, rtol=10 * tolerance, atol=100 * tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_draws_have_the_probabilities_that_are_said(form: str) -> None:
    """Over all 1024 states; each case fails by chance once in a million."""
    model = built(form)
    with torch.no_grad():
        model.params.flat.mul_(0.3)  # so that no state is too rare
    draws = model.sample(200_000, api.Streams(3)("draws"))
    require_frequencies(draws, model.log_p_x(EVERY).detach(), EVERY)


@pytest.mark.parametrize(("form", "times"), [("mixture", 1), ("fvsbn", 1), ("nade", 1), ("nade of 3 orders", 3)])
def test_what_a_point_costs(form: str, times: int) -> None:
    """A sample for every point and order, whether autograd or the model differentiates."""
    ledger = Ledger()
    twin = metered_twin(built(form), ledger)
    twin.log_p_x(EVERY[:50]).sum().backward()
    n = 50 * times
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (n, n, n)
    twin.sample(7, torch.Generator())
    assert ledger.fantasies == 7


@pytest.mark.parametrize("form", FORMS)
def test_it_begins_at_the_mean_of_the_data(form: str) -> None:
    """Weights are near 0 at first, and biases the log odds of each bit."""
    module, settings = FORMS[form]
    x = (torch.rand(500, D, generator=torch.Generator().manual_seed(0)) < torch.linspace(0.1, 0.9, D)).float()
    facts = api.DataFacts.of(api.Dataset(x, x[:10], kind="binary"))
    model, _ = module.build(module.Config(init_sd=1e-4, **settings), facts, api.Streams(1), torch.float64)
    expected = (x.double() @ facts.mean.double().log() + (1 - x.double()) @ (1 - facts.mean.double()).log()).mean()
    assert model.log_p_x(x.double()).mean().item() == pytest.approx(expected.item(), abs=1e-3)
    again, _ = module.build(module.Config(init_sd=1e-4, **settings), facts, api.Streams(1), torch.float64)
    torch.testing.assert_close(again.log_p_x(EVERY), model.log_p_x(EVERY), rtol=0, atol=0)


def test_points_of_one_bit_are_described_too() -> None:
    one = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    for form in FORMS:
        assert built(form, dim=1).log_p_x(one).exp().sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--model", "nade", "--hidden", 0), "--hidden of model 'nade' is '0': input should be greater than 0"),
        (("--model", "nade", "--orders", 0), "--orders of model 'nade' is '0': input should be greater than 0"),
        (("--model", "bernoulli-mixture", "--components", "few"), "--components of model 'bernoulli-mixture' is 'few'"),
        (("--model", "fvsbn"), "its data are unit, the model takes binary; give --binarize stochastic"),
        (
            ("--model", "fvsbn", "--binarize", "threshold", "--marginal", "ais"),
            "it needs a model with latent variables",
        ),
    ],
)
def test_bad_input(harness: Callable[..., Result], words: tuple[object, ...], reason: str, mnist: object) -> None:
    refused = harness("run", "--algo", "maximum-likelihood", "--samples", 100, *words)
    assert refused.code == 2
    assert reason in refused.err
    assert refused.err.count("\n") == 1
