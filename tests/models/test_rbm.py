"""Restricted Boltzmann machine: its free energy against a sum over hidden units, where it begins, draws, and what calls count."""

import pytest
import torch
from support import require_frequencies
from torch import Tensor

from harness import api
from harness.inference import boltzmann
from harness.models import rbm
from harness.specs.budget import Ledger
from harness.testing import toy
from harness.training.metering import metered_twin

D, H = 8, 6


def built(dtype: torch.dtype = torch.float64, scale: float = 0.7) -> api.BoltzmannMachine:
    """Return a machine with parameters well away from 0."""
    model, recognition = rbm.build(rbm.Config(hidden=H), api.DataFacts("binary", D, 100), api.Streams(1), dtype)
    assert recognition is None
    with torch.no_grad():
        model.params.flat.normal_(0.0, scale, generator=torch.Generator().manual_seed(2))
    return model


def states(bits: int) -> Tensor:
    return next(api.states(bits, 1 << bits, torch.float64))


def log_f_xh(flat: Tensor, x: Tensor, h: Tensor) -> Tensor:
    """Return x·b + h·c + xᵀ W h of every x with every h, (B, n)."""
    W, b, c = flat.split([D * H, D, H])
    return (x @ b).unsqueeze(1) + h @ c + x @ W.view(D, H) @ h.t()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_are_those_of_a_sum_over_hidden_units(dtype: torch.dtype) -> None:
    model, x = built(dtype), states(D)[::7]
    flat = model.params.flat.detach().double().requires_grad_()
    weight = torch.randn(len(x), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected = log_f_xh(flat, x, states(H)).logsumexp(1)
    (slope,) = torch.autograd.grad((weight * expected).sum(), flat)
    found = model.log_f_x(x.to(dtype))
    (mine,) = torch.autograd.grad((weight.to(dtype) * found).sum(), model.params.flat)
    exact = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=exact, atol=exact)
    torch.testing.assert_close(mine.double(), slope, rtol=exact, atol=10 * exact)


def test_both_sides_sum_to_the_same_normaliser() -> None:
    model = built()
    with torch.no_grad():
        log_z = log_f_xh(model.params.flat, states(D), states(H)).flatten().logsumexp(0)
        torch.testing.assert_close(model.log_f_x(states(D)).logsumexp(0), log_z)
        torch.testing.assert_close(model.log_f_h(states(H)).logsumexp(0), log_z)


def test_units_that_are_saturated_are_no_nan() -> None:
    for dtype in (torch.float32, torch.float64):
        model, x = built(dtype), states(D).to(dtype)
        with torch.no_grad():
            model.params.flat.mul_(1e4)
        log_f = model.log_f_x(x)
        (slope,) = torch.autograd.grad(log_f.sum(), model.params.flat)
        rng = torch.Generator().manual_seed(0)
        ratio, moved = model.anneal(x, 0.0, 1.0, rng)
        found = (log_f, slope, ratio, moved, model.gibbs(x, rng), model.log_f_h(states(H).to(dtype)))
        assert all(part.isfinite().all() for part in found)


def test_it_begins_at_the_base_rates_of_the_data() -> None:
    data = toy.load(toy.Config(kind="binary"))
    model, _ = rbm.build(rbm.Config(hidden=4), api.DataFacts.of(data), api.Streams(0))
    W, b, c = model.params.views
    torch.testing.assert_close(b.sigmoid(), data.train.mean(0))
    assert W.std().item() == pytest.approx(0.01, rel=0.3)
    assert not c.any()
    with torch.no_grad():
        b.add_(1.0)  # the path begins where it did, however the biases have moved
    draws = model.sample_base(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), data.train.mean(0), rtol=0, atol=0.02)


def test_long_chains_are_draws_where_they_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of sd 0.3, which 50 moves forget; the chi-squared of 256 states fails by chance once in a million seeds."""
    monkeypatch.setattr(boltzmann, "SWEEPS", 50)
    model = built(scale=0.3)
    x = model.sample(20_000, torch.Generator().manual_seed(0))
    require_frequencies(x, model.log_f_x(states(D)).detach().log_softmax(0), states(D))


def test_what_calls_count() -> None:
    ledger = Ledger()
    model, x, rng = metered_twin(built(), ledger), states(D)[:10], torch.Generator()
    torch.autograd.grad(model.contrast(x, x[:4]), model.params.flat)
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (10, 10, 10)
    model.gibbs(x[:7], rng)
    assert (ledger.samples, ledger.fantasies) == (17, 0)
    model.anneal(x[:3], 0.0, 1.0, rng)
    assert ledger.samples == 20
    model.sample(2, rng)
    assert (ledger.samples, ledger.fantasies) == (20, 2)
