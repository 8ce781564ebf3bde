"""Models with exact log p(x): sums over all states, gradients against autograd's of the formula, draws, and what they cost."""

import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from support import Result, require_frequencies
from torch import Tensor

from harness import api
from harness.estimators import order_ensemble
from harness.models import bernoulli_mixture, eonade, fvsbn, nade
from harness.specs.budget import Ledger
from harness.training.metering import metered_twin

D = 10
EVERY = next(api.states(D, 1 << D, torch.float64))
FORMS: dict[str, tuple[ModuleType, dict[str, int]]] = {
    "mixture": (bernoulli_mixture, {"components": 4}), "fvsbn": (fvsbn, {}), "nade": (nade, {"hidden": 6}),
    "nade of 3 orders": (nade, {"hidden": 6, "orders": 3}), "eonade": (eonade, {"hidden": 5, "orders": 2}),
    "eonade of one layer": (eonade, {"hidden": 5, "depth": 1}),
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


def in_order(model: Any, x: Tensor, order: Tensor) -> Tensor:
    """Return log p(x) of order-agnostic NADE, which is given a mask of the bits before each."""
    W, R, V, *second, c = model.params.split()[: 5 if model._deep else 4]
    c2, b = model.params.split()[-2:]
    log_p, m = torch.zeros(len(x)), torch.zeros(D)
    for d in order.tolist():
        h = ((x * m) @ W + m @ R + c).relu()
        if second:
            h = (h @ second[0] + c2).relu()
        a = h @ V[d] + b[d]
        log_p = log_p + x[:, d] * a - torch.nn.functional.softplus(a)
        m = m.index_fill(0, torch.tensor([d]), 1.0)
    return log_p


def of_eonade(model: Any, x: Tensor) -> Tensor:
    each = torch.stack([in_order(model, x, order) for order in model._orders])
    return each.logsumexp(0) - math.log(len(each))


FORMULAS = {
    "mixture": of_mixture, "fvsbn": of_fvsbn, "nade": of_nade, "nade of 3 orders": of_nade, "eonade": of_eonade,
    "eonade of one layer": of_eonade,
}  # fmt: skip


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


@pytest.mark.parametrize(
    ("form", "times"), [("mixture", 1), ("fvsbn", 1), ("nade", 1), ("nade of 3 orders", 3), ("eonade", 2)]
)
def test_what_a_point_costs(form: str, times: int) -> None:
    """A sample for every point and order, whether autograd or the model differentiates."""
    ledger = Ledger()
    twin = metered_twin(built(form), ledger)
    twin.log_p_x(EVERY[:50]).sum().backward()
    n = 50 * times
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (n, n, n)
    twin.sample(7, torch.Generator())
    assert ledger.fantasies == 7


def test_order_agnostic_training_is_unbiased() -> None:
    """Over all masks, each as likely as it is drawn, objective and gradient are those of the mean of log p(x) over 24 orders."""
    module, dim = eonade, 4
    for depth in (1, 2):
        config = module.Config(hidden=5, depth=depth)
        model, _ = module.build(config, api.DataFacts("binary", dim, 100), api.Streams(1), torch.float64)
        with torch.no_grad():
            model.params.flat.normal_(0.0, 1.0, generator=torch.Generator().manual_seed(2))
        x, masks = EVERY[::100, :dim], next(api.states(dim, 1 << dim, torch.float64))
        likely = [math.factorial(s) * math.factorial(dim - s) / math.factorial(dim + 1) for s in range(dim + 1)]
        objective = sum(likely[int(m.sum())] * model.log_p_masked(x, m.expand_as(x)) for m in masks)
        orders = [torch.tensor([order]) for order in itertools.permutations(range(dim))]
        expected = torch.stack([model.log_p_x_in(x, order) for order in orders]).mean(0)
        torch.testing.assert_close(objective, expected)
        found, truth = (torch.autograd.grad(one.sum(), model.params.flat)[0] for one in (objective, expected))
        torch.testing.assert_close(found, truth)


def test_masks_show_every_number_of_bits_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chi-squared over 0 to D bits of 22,000 masks, and of each bit; fails by chance once in a million."""
    model, seen = built("eonade"), []
    monkeypatch.setattr(model, "log_p_masked", lambda x, m: seen.append(m))
    model.log_p_x_agnostic(torch.zeros(22_000, D, dtype=torch.float64), api.Streams(0)("masks"))
    counts = torch.bincount(seen[0].sum(-1).long(), minlength=D + 1).double()
    assert ((counts - 2000).square() / 2000).sum().item() < D + 6 * (2 * D) ** 0.5
    assert (seen[0].mean(0) - 0.5).abs().max() < 6 * 0.5 / 22_000**0.5


def test_ensembles_of_orders_are_exact_and_the_same_for_all_points() -> None:
    """The mean over the orders of the estimator, which are drawn by its own seed; a larger ensemble begins with a smaller one."""
    model = built("eonade")

    def values(x: Tensor, noise: int = 0, **settings: int) -> Tensor:
        found = order_ensemble.estimate(model, None, x, order_ensemble.Config(**settings), api.Streams(noise)("noise"))
        assert (found.variance == 0).all()
        return found.value.detach()

    assert values(EVERY, orders=3).exp().sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(values(EVERY, orders=3)[100:200], values(EVERY[100:200], noise=1, orders=3))
    own = api.orders(D, 3, api.Streams(0)("orders of an ensemble"))
    expected = torch.stack([model.log_p_x_in(EVERY, order.unsqueeze(0)) for order in own]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(values(EVERY, orders=3), expected.detach())
    torch.testing.assert_close(values(EVERY, orders=1), model.log_p_x_in(EVERY, own[:1]).detach())
    assert (values(EVERY, orders=3) - values(EVERY, orders=3, order_seed=1)).abs().max() > 0.01


def test_what_order_agnostic_training_and_other_orders_cost() -> None:
    ledger = Ledger()
    twin = metered_twin(built("eonade"), ledger)
    twin.log_p_x_agnostic(EVERY[:50], torch.Generator()).sum().backward()
    assert (ledger.samples, ledger.decoder_rows_grad) == (50, 50)
    twin.log_p_x_in(EVERY[:50], api.orders(D, 4, torch.Generator()))
    twin.log_p_x_in(x=EVERY[:50], orders=api.orders(D, 4, torch.Generator()))
    assert (ledger.samples, ledger.decoder_rows_grad) == (450, 50)


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
