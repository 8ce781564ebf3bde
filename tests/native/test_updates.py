"""Compiled updates against their formula, and what compiled code is told of memory: shapes, places, types and modes."""

import copy
import pickle
from typing import Any

import pytest
import torch
from stacks import SIZES, close, draw, identity, stack, through, wide
from torch import Tensor

from harness import native
from harness.native import path, updates

LR, DECAY = 0.1, 0.5
MOVES = {
    "sgd": native.Move(updates.SGD, LR),
    "adagrad": native.Move(updates.ADAGRAD, LR),
    "adam": native.Move(updates.ADAM, LR, beta1=0.9, beta2=0.99, correction=3.0, eps=1e-3),
}
KEPT = {"sgd": 0, "adagrad": 1, "adam": 2}


def moved(rule: str, w: Tensor, g: Tensor, kept: list[Tensor]) -> list[Tensor]:
    """Return w and what is kept for it after a step along g, by the formulas, in double precision."""
    if rule == "sgd":
        return [w + LR * g]
    if rule == "adagrad":
        (sums,) = kept
        sums = sums + g.square()
        return [w + LR * g / sums.sqrt(), sums]
    means, squares = kept
    means, squares = 0.9 * means + 0.1 * g, 0.99 * squares + 0.01 * g.square()
    return [w + LR * means / (3.0 * squares.sqrt() + 1e-3), means, squares]


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("n", [0, *SIZES])
@pytest.mark.parametrize(("k", "m"), [(0, 3), (1, 1), (7, 101), (101, 7), (96, 5), (129, 5), (200, 30)])
def test_a_step_by_factors(k: int, m: int, n: int, rule: str) -> None:
    if path.kernels is None:
        pytest.skip(path.description)
    a, g = draw(n, k), draw(n, m, seed=1)
    W, b = ([draw(*shape, seed=2 + i).abs() for i in range(1 + KEPT[rule])] for shape in ((k, m), (m,)))
    before = [[part.double() for part in parts] for parts in (W, b)]
    layer, *kept = (native.Layer(*parts) for parts in zip(W, b, strict=True))
    native.ascend(MOVES[rule], [(native.Ascent([layer], [[one] for one in kept], DECAY), [(a, g)])])
    by_W = a.double().t() @ g.double() - DECAY * before[0][0]
    for now, (was, *was_kept), by in ((W, before[0], by_W), (b, before[1], g.double().sum(0))):
        for one, expected in zip(now, moved(rule, was, by, was_kept), strict=True):
            close(one, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("rule", MOVES)
@pytest.mark.parametrize("m", [1, 2, 7, 127, 128, 129, 300])
def test_a_step_of_a_triangle(m: int, rule: str) -> None:
    """It is the step of the matrix, above the diagonal; samples (2, 5, m) are rows."""
    if path.kernels is None:
        pytest.skip(path.description)
    u, g, above = draw(2, 5, m).sign(), draw(10, m, seed=1), torch.triu_indices(m, m, 1)
    parts = [draw(above.shape[1], seed=2 + i).abs() for i in range(1 + KEPT[rule])]
    was, *was_kept = (part.double() for part in parts)
    triangle, *kept = map(native.Triangle, parts)
    native.ascend(MOVES[rule], [(native.Ascent([triangle], [[one] for one in kept], DECAY), [(u, g)])])
    by = (u.double().view(10, m).t() @ g.double())[above[0], above[1]] - DECAY * was
    for one, expected in zip(parts, moved(rule, was, by, was_kept), strict=True):
        close(one, expected, 1e-5, 1e-5)
    with pytest.raises(ValueError, match=r"of shape \(4,\) is where one of \(3,\) belongs"):
        native.Triangle(torch.zeros(4))


def test_one_update_of_layers_of_several_sets() -> None:
    """By the factors that a stack made, by pairs, and by pairs with gaps: in one call as one after the other."""
    if path.kernels is None:
        pytest.skip(path.description)
    results = []
    for together in (True, False):
        todo, changed = [], []
        for sizes, decay in (((5, 7, 3), 0.5), ((4, 2), 0.0), ((3, 6, 6, 1), 2.0)):
            net, sums = stack(*sizes), stack(*sizes)
            for part in sums.layers:
                part.W.abs_()
                part.b.abs_()
            x, g = draw(11, sizes[0], seed=3), draw(11, sizes[-1], seed=4)
            factors: Any = net.down(x, net.up(x)[:-1], g)[0]
            if decay == 0.0:
                factors = [(torch.stack([a, a], dim=-1)[..., 0], g.t().contiguous().t()) for a, g in factors]
            todo.append((native.Ascent(net.layers, [sums.layers], decay), factors))
            changed += [part for one in (net, sums) for layer in one.layers for part in (layer.W, layer.b)]
        if together:
            native.ascend(MOVES["adagrad"], todo)
        else:
            for update in todo:
                native.ascend(MOVES["adagrad"], [update])
        results.append(torch.cat([part.flatten() for part in changed]))
    assert results[0].equal(results[1])


def test_compiled_primitives_refuse_other_shapes() -> None:
    """They read as much memory as the shapes say."""
    if path.kernels is None:
        pytest.skip(path.description)
    x, h, net = torch.zeros(3, 5), torch.zeros(3, 4), stack(5, 4)
    two, u = stack(5, 6, 4), torch.zeros(3, 6)
    ascent, move = native.Ascent(net.layers, [net.layers], 0.0), MOVES["adagrad"]
    calls = [
        lambda: net.up(h),
        lambda: net.down(x, [], x),
        lambda: net.down(h, [], h),
        lambda: two.down(x, [h], h),
        lambda: two.down(x, [u[1:]], h),
        lambda: two.down(x, [u], u),
        lambda: two.down(x, [u], h[1:]),
        lambda: native.ascend(move, [(ascent, [(x, x)])]),
        lambda: native.ascend(move, [(ascent, [(h, h)])]),
        lambda: native.ascend(move, [(ascent, two.down(x, [u], h)[0][:1])]),
        lambda: net.observed("bernoulli", h, h),
        lambda: net.observed("bernoulli", x, x),
        lambda: net.observed("gaussian", h, x),
        lambda: native.Draw(net, h, torch.zeros(2, 3, 2)),
        lambda: native.Draw(net, x[1:], torch.zeros(2, 3, 2)),
        lambda: native.Draw(net, x, torch.zeros(2, 3, 4)),
        lambda: native.Draw(net, x, torch.zeros(2, 3, 2)).pull(torch.zeros(1, 3, 2), 1.0),
        lambda: native.gaussian_score(x, torch.zeros(2, 3, 2)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"a tensor of shape \(.*\) is where one of \(.*\) belongs"):
            call()
    with pytest.raises(ValueError, match=r"a tensor of shape \(4,\) is where one of \(5,\) belongs"):
        native.Layer(torch.zeros(4, 5), torch.zeros(4))
    with pytest.raises(ValueError, match="a layer of 4 inputs is behind one of 6 outputs"):
        native.Stack([*stack(5, 6).layers, *stack(4, 3).layers])
    with pytest.raises(ValueError, match="2 rows of z do not belong to 3 points of x"):
        net.observed("bernoulli", torch.zeros(3, 4), torch.zeros(2, 5))
    with pytest.raises(ValueError, match="zip"):
        native.ascend(move, [(ascent, [])])
    with pytest.raises(ValueError, match=r"what is kept for weights \(5, 4\) are \(4, 5\)"):
        native.Ascent(net.layers, [stack(4, 5).layers], 0.0)
    with pytest.raises(ValueError, match="without gaps"):
        native.Ascent([native.Layer(torch.zeros(4, 5).t(), torch.zeros(4))], [net.layers], 0.0)
    with pytest.raises(ValueError, match="single precision"):
        native.ascend(move, [(ascent, [(x.double(), h.double())])])


def test_a_copy_of_factors_is_not_where_they_were() -> None:
    if path.kernels is None:
        pytest.skip(path.description)
    net, x = stack(3, 4, 2), draw(5, 3)
    found = net.down(x, net.up(x)[:-1], draw(5, 2, seed=1))[0]
    assert found.at is not None
    for other in (copy.deepcopy(found), pickle.loads(pickle.dumps(found)), found[:1], (*found,)):
        assert getattr(other, "at", None) is None


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_of_a_stack_computes_with_its_own_memory(copied: Any, way: str) -> None:
    net = stack(3, 5, 2)
    other, x = copied(net), draw(4, 3, seed=2)
    if other.layers[0].W.data_ptr() != net.layers[0].W.data_ptr():
        for layer in net.layers:
            layer.W.zero_()
    close(other.up(x)[-1], through(wide(other), x.double())[-1].detach(), 1e-5, 1e-5)
    if path.kernels is not None:
        assert [layer.at for layer in other.layers] == [
            (layer.W.data_ptr(), layer.b.data_ptr()) for layer in other.layers
        ]


def test_numbers_of_other_types_are_pytorchs(way: str) -> None:
    x, W, b = (draw(*shape, dtype=torch.float64) for shape in ((3, 5), (5, 4), (4,)))
    assert native.Stack([native.Layer(W, b)]).up(x)[-1].equal(torch.addmm(b, x, W))


def test_denormal_numbers_are_flushed_as_the_process_says() -> None:
    """The library keeps to the modes of the process, and changes none."""
    if path.kernels is None or not torch.set_flush_denormal(True):
        pytest.skip("no compiled library, or a processor that does not flush")
    try:
        tiny = torch.full((1, 1), 1e-20)
        tiny_stack = native.Stack([native.Layer(tiny, torch.zeros(1)), *identity(1).layers])
        tiny_stack.up(tiny)
        assert tiny_stack.up(tiny)[0].item() == 0.0
        torch.set_flush_denormal(False)
        found = tiny_stack.up(tiny)[0].item()
        assert found == pytest.approx(1e-40, rel=1e-3)
    finally:
        torch.set_flush_denormal(False)
