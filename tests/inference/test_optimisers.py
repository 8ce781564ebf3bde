from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import api
from harness.inference.factored import Factored
from harness.training.checkpoint import pack, restore

PRIOR = 0.25
THEIRS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adagrad": lambda groups, **more: torch.optim.Adagrad(groups, initial_accumulator_value=1e-8, eps=0.0, **more),
}
names = pytest.mark.parametrize("name", THEIRS)


def two_sets(rng: torch.Generator, dtype: torch.dtype = torch.float64) -> list[api.Parameters]:
    sets = [api.Parameters({"W": (4, 3)}, {"b": (3,)}, prior_sd=sd, dtype=dtype) for sd in (1.0, 0.5)]
    for params in sets:
        params.normal_(1.0, rng)
    return sets


@names
@pytest.mark.parametrize("same_prior", [True, False])
def test_steps_are_those_of_torch(name: str, same_prior: bool, rng: torch.Generator) -> None:
    """Ascent along g - prior_weight · precision · w for weights and g for biases is their descent along -g with weight decay."""
    sets = two_sets(rng)
    if same_prior:
        sets[1].prior_precision = sets[0].prior_precision
    factors = iter([1.0, 0.5, 0.25, 0.0, 2.0, 1.0])
    theirs = [[part.detach().clone() for part in params.flat.split([12, 3])] for params in sets]
    groups: list[dict[str, Any]] = []
    for (weights, biases), params in zip(theirs, sets, strict=True):
        groups += [{"params": [weights], "weight_decay": PRIOR * params.prior_precision}, {"params": [biases]}]
    expected = THEIRS[name](groups, lr=0.1)
    ours = api.optimiser(name, *sets, lr=0.1, prior_weight=PRIOR, schedule=lambda: factor)
    for factor in factors:
        grads = [torch.randn(15, generator=rng, dtype=torch.float64) for _ in sets]
        for parts, grad in zip(theirs, grads, strict=True):
            for part, g in zip(parts, grad.split([12, 3]), strict=True):
                part.grad = -g
        for group in expected.param_groups:
            group["lr"] = 0.1 * factor
        expected.step()
        ours.ascend([grad.clone() for grad in grads])
        for params, parts in zip(sets, theirs, strict=True):
            torch.testing.assert_close(params.flat.detach(), torch.cat(parts), rtol=1e-12, atol=1e-12)


def test_momentum_is_that_of_torch_and_is_kept(rng: torch.Generator) -> None:
    (params, other), momentum = two_sets(rng), 0.7
    theirs = [part.detach().clone() for part in params.flat.split([12, 3])]
    groups: list[dict[str, Any]] = [{"params": theirs[:1], "weight_decay": PRIOR}, {"params": theirs[1:]}]
    expected = torch.optim.SGD(groups, lr=0.1, momentum=momentum)
    sgd = api.Sgd(params, lr=0.1, prior_weight=PRIOR, momentum=momentum)
    for step in range(5):
        grad = torch.randn(15, generator=rng, dtype=torch.float64)
        for part, g in zip(theirs, grad.split([12, 3]), strict=True):
            part.grad = -g
        expected.step()
        sgd.ascend([grad.clone()])
        torch.testing.assert_close(params.flat.detach(), torch.cat(theirs), rtol=1e-12, atol=1e-12)
        if step == 2:  # go on with another that has taken over its state
            saved, sgd = sgd.state_dict(), api.Sgd(params, lr=0.1, prior_weight=PRIOR, momentum=momentum)
            sgd.load_state_dict(saved)
    assert api.Sgd(other, lr=0.1).state_dict() == {"n_calls": 0}  # as stored runs have it


def test_adam_is_the_papers_algorithm(rng: torch.Generator) -> None:
    """Algorithm 1 of the paper, as ascent, with other decay rates than the default."""
    params = api.Parameters({"W": (4, 3)}, {"b": (3,)}, dtype=torch.float64)
    params.normal_(1.0, rng)
    w, m, v = params.flat.detach().clone(), torch.zeros(15).double(), torch.zeros(15).double()
    adam = api.Adam(params, lr=0.1, betas=(0.8, 0.95), eps=1e-3)
    for t in range(1, 6):
        g = torch.randn(15, generator=rng, dtype=torch.float64)
        adam.ascend([g.clone()])
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g**2
        w += 0.1 * (m / (1 - 0.8**t)) / ((v / (1 - 0.95**t)).sqrt() + 1e-3)
        torch.testing.assert_close(params.flat.detach(), w, rtol=1e-12, atol=0)


@names
def test_a_state_goes_on_bit_for_bit(name: str, rng: torch.Generator) -> None:
    grads = torch.randn(6, 2, 15, generator=rng)

    def fresh() -> tuple[list[api.Parameters], api.Optimiser]:
        sets = two_sets(torch.Generator().manual_seed(1), torch.float32)
        return sets, api.optimiser(name, *sets, lr=0.1, prior_weight=PRIOR)

    sets, whole = fresh()
    for step in grads[:3]:
        whole.ascend(list(step))
    others, resumed = fresh()
    for params, mine in zip(sets, others, strict=True):
        mine.load_state_dict({"flat": params.flat.detach().clone()})
    resumed = restore(resumed, pack(whole))
    for step in grads[3:]:
        whole.ascend(list(step))
        resumed.ascend(list(step))
    assert all(torch.equal(a.flat, b.flat) for a, b in zip(sets, others, strict=True))
    assert str(pack(whole)) == str(pack(resumed))


@names
def test_a_gradient_that_is_not_multiplied_out_is_the_same_step(name: str, rng: torch.Generator) -> None:
    """In single precision, where the sum of a few products differs in the last digits."""
    results = []
    factors = [[torch.randn(7, n, generator=rng) for n in (5, 4)], [torch.randn(7, n, generator=rng) for n in (4, 3)]]
    for form in (lambda grad: grad, lambda grad: grad.dense()):
        sets = [api.Parameters({"W": (5, 4), "V": (4, 3)}, {"b": (4,), "c": (3,)}, prior_sd=sd) for sd in (1.0, 0.5)]
        for params in sets:
            params.normal_(1.0, torch.Generator().manual_seed(2))
        ours = api.optimiser(name, *sets, lr=0.01, prior_weight=PRIOR)
        for _ in range(3):
            grads: list[Any] = [Factored(params, [(a, g) for a, g in factors]) for params in sets]
            ours.ascend([form(grad) for grad in grads])
        results.append(torch.cat([params.flat.detach() for params in sets]))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@names
def test_it_climbs_and_autograd_is_told(name: str) -> None:
    params = api.Parameters({"W": (1, 2)}, {})
    ours = api.optimiser(name, params, lr=0.1 if name != "adagrad" else 0.5)
    version, top = params.flat._version, torch.tensor([1.0, -2.0])
    for _ in range(400):
        (g,) = torch.autograd.grad(-(params.flat - top).square().sum(), [params.flat])
        ours.ascend([g])
    assert params.flat.tolist() == pytest.approx(top.tolist(), abs=1e-2)
    assert params.flat._version >= version + 400


@names
def test_what_is_not_finite_passes_through(name: str) -> None:
    """Divergence is seen, not hidden."""
    params = api.Parameters({"W": (1, 2)}, {})
    api.optimiser(name, params, lr=0.1).ascend([torch.tensor([1.0, float("nan")])])
    assert params.flat.isfinite().tolist() == [True, False]


@names
def test_the_schedule_is_asked_at_every_step(name: str) -> None:
    params = api.Parameters({"W": (1, 2)}, {})
    factors = [1.0, 0.0]
    ours = api.optimiser(name, params, lr=0.1, schedule=lambda: factors.pop(0))
    moved = []
    for _ in range(2):
        before: Tensor = params.flat.detach().clone()
        ours.ascend([torch.ones(2)])
        moved.append(not torch.equal(params.flat, before))
    assert moved == [True, False]


def test_there_is_no_other_name() -> None:
    with pytest.raises(api.BadInput, match="the optimiser is 'rmsprop': choose sgd, adam or adagrad"):
        api.optimiser("rmsprop", api.Parameters({"W": (1, 2)}, {}), lr=0.1)
