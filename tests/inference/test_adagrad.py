import pytest
import torch

from harness.inference.adagrad import Adagrad
from harness.inference.parameters import Parameters


def test_steps_are_the_papers_formula(rng: torch.Generator) -> None:
    """w += lr · g / sqrt(Σ g² + 1e-8), g with the prior's gradient on weights, the first calls only accumulating."""
    lr, weight, warmup = 0.1, 0.25, 3
    params = [Parameters({"W": (4, 3)}, {"b": (3,)}, prior_sd=sd, dtype=torch.float64) for sd in (1.0, 0.5)]
    for p in params:
        p.normal_(1.0, rng)
    expected = [p.flat.detach().clone() for p in params]
    sums = [torch.full_like(e, 1e-8) for e in expected]
    adagrad = Adagrad(*params, lr=lr, prior_weight=weight, warmup=warmup)
    for t in range(8):
        grads = [torch.randn(15, generator=rng, dtype=torch.float64) for _ in params]
        adagrad.ascend([g.clone() for g in grads])
        for w, s, g, p in zip(expected, sums, grads, params, strict=True):
            g[:12] -= weight * p.prior_precision * w[:12]
            s += g**2
            if t >= warmup:
                w += lr * g / s.sqrt()
        for p, w in zip(params, expected, strict=True):
            torch.testing.assert_close(p.flat.detach(), w, rtol=1e-6, atol=1e-9)


def test_it_ascends() -> None:
    params = Parameters({"W": (1, 2)}, {})
    adagrad = Adagrad(params, lr=0.5)
    for _ in range(200):
        (g,) = torch.autograd.grad(-(params.flat - torch.tensor([1.0, -2.0])).square().sum(), [params.flat])
        adagrad.ascend([g])
    assert params.flat.tolist() == pytest.approx([1.0, -2.0], abs=1e-3)


def test_state_is_complete(rng: torch.Generator) -> None:
    def fresh() -> tuple[Parameters, Adagrad]:
        p = Parameters({"W": (3, 3)}, {"b": (3,)})
        return p, Adagrad(p, lr=0.1, warmup=2)

    grads = torch.randn(6, 12, generator=rng)
    p, a = fresh()
    for g in grads[:3]:
        a.ascend([g])
    q, b = fresh()
    with torch.no_grad():
        q.flat.copy_(p.flat)
    b.load_state_dict(a.state_dict())
    for g in grads[3:]:
        a.ascend([g])
        b.ascend([g])
    assert torch.equal(p.flat, q.flat)
