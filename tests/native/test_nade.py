"""Neural autoregressive distribution estimators, compiled and by PyTorch alone, against their formula in double precision."""

import pytest
import torch
from stacks import close, draw
from torch import Tensor

from harness import native
from harness.native import NadeParameters, nade

SIZES = [(1, 1), (5, 3), (nade.BLOCK, 8), (nade.BLOCK + 1, 17), (3 * nade.BLOCK - 2, 33)]


def parameters(D: int, H: int, scale: float = 0.5) -> NadeParameters:
    return NadeParameters(*(draw(*shape, seed=k, scale=scale) for k, shape in enumerate([(D, H), (D, H), (D,), (H,)])))


def bits(n: int, D: int, share: float = 0.3) -> tuple[Tensor, Tensor]:
    """Return bits (n, D), a row of zeros and one of ones among them, and an order."""
    rng = torch.Generator().manual_seed(4)
    x = (torch.rand(n, D, generator=rng) < share).float()
    if n > 2:
        x[0], x[1] = 0.0, 1.0
    return x, torch.randperm(D, generator=rng)


def logits(x: Tensor, order: Tensor, p: NadeParameters) -> Tensor:
    """Return the logits by a loop over bits."""
    a, found = p.c.expand(len(x), -1), [torch.empty(0)] * len(order)
    for d in order.tolist():
        found[d] = p.b[d] + a.sigmoid() @ p.V[d]
        a = a + x[:, d : d + 1] * p.W[d]
    return torch.stack(found, dim=1)


def wide(p: NadeParameters) -> NadeParameters:
    return NadeParameters(*(part.double().requires_grad_() for part in p))


@pytest.mark.parametrize("n", [0, 1, 70])
@pytest.mark.parametrize(("D", "H"), SIZES)
def test_logits_and_gradient(n: int, D: int, H: int, way: str) -> None:
    (x, order), p, slope = bits(n, D), parameters(D, H), draw(n, D, seed=9)
    truth = wide(p)
    expected = logits(x.double(), order, truth)
    (expected * slope.double()).sum().backward()
    alone, nothing = native.nade_up(x, order, p, keep=False)
    found, states = native.nade_up(x, order, p, keep=True)
    assert nothing is None
    assert torch.equal(alone, found)
    close(found, expected.detach(), 2e-5, 2e-5)
    assert states is not None
    out = NadeParameters(*(torch.full_like(part, 7.0) for part in p))
    native.nade_down(x, order, p, states, slope, out)
    for by_compiled, part in zip(out, truth, strict=True):
        close(
            by_compiled, torch.zeros_like(part) if part.grad is None else part.grad, 1e-4, 1e-4
        )  # none by W of one bit


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_saturated_units(share: float, way: str) -> None:
    """Logits and what hidden units are the logistic function of go up to ±1e4 and beyond: nothing overflows."""
    D, H = nade.BLOCK + 9, 16
    (x, order), p, slope = bits(20, D, share), parameters(D, H, scale=1e4), draw(20, D, seed=9)
    truth = wide(p)
    expected = logits(x.double(), order, truth)
    (expected * slope.double()).sum().backward()
    found, states = native.nade_up(x, order, p, keep=True)
    assert found.isfinite().all()
    close(found, expected.detach(), 1e-5, 1.0)
    assert states is not None
    out = NadeParameters(*map(torch.empty_like, p))
    native.nade_down(x, order, p, states, slope, out)
    for by_compiled, part in zip(out, truth, strict=True):
        assert by_compiled.isfinite().all()
        assert part.grad is not None
        close(by_compiled, part.grad, 1e-4, 1e-3)


def test_a_hidden_unit_that_goes_from_one_end_to_the_other_and_back(way: str) -> None:
    """What 1e4 has hidden is there again when it is taken away: a sum of rows cannot give it back on the way down."""
    D = 4
    W = torch.tensor([[1e4], [-1e4], [0.25], [0.0]])
    p = NadeParameters(W, torch.ones(D, 1), torch.zeros(D), torch.tensor([0.5]))
    x, order, slope = torch.tensor([[1.0, 1.0, 1.0, 0.0]]), torch.arange(D), torch.ones(1, D)
    found, states = native.nade_up(x, order, p, keep=True)
    close(found, torch.tensor([[0.5, 1e4, 0.5, 0.75]]).double().sigmoid(), 1e-3, 1e-3)
    assert states is not None
    out = NadeParameters(*map(torch.empty_like, p))
    native.nade_down(x, order, p, states, slope, out)
    slopes = torch.tensor([0.5, 1e4, 0.5, 0.75]).double().sigmoid()
    by_a = slopes * (1 - slopes)
    later = by_a.flip(0).cumsum(0).flip(0) - by_a
    close(out.W[:3].squeeze(1), later[:3], 2e-3, 1e-5)


def test_numbers_that_are_not_stay_so(way: str) -> None:
    (x, order), p = bits(5, 7), parameters(7, 3)
    p.W[order[0]] = float("nan")
    x[:, order[0]] = 1.0
    found, _ = native.nade_up(x, order, p, keep=False)
    assert found[:, order[1:]].isnan().all()
    assert found[:, order[0]].isfinite().all()


def test_what_does_not_fit_is_refused(way: str) -> None:
    (x, order), p = bits(5, 7), parameters(7, 3)
    with pytest.raises(ValueError, match="is where one of"):
        native.nade_up(x[:, :6], order, p, keep=False)
    with pytest.raises(ValueError, match="is where one of"):
        native.nade_up(x, order, p._replace(V=p.V[:6]), keep=False)
    _, states = native.nade_up(x, order, p, keep=True)
    assert states is not None
    with pytest.raises(ValueError, match="is where one of"):
        native.nade_down(x, order, p, states, x[:, :6], p)
    if way == "compiled":
        for wrong in (order + 1, order - 1):
            with pytest.raises(ValueError, match="positions, whole numbers from 0 to 6"):
                native.nade_up(x, wrong, p, keep=False)
        with pytest.raises(ValueError, match="is where one of"):
            native.nade_up(x, order[:6], p, keep=False)
