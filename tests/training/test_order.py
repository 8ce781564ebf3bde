"""Minibatches drawn ahead are those that are drawn one after the other, and so is the state."""

import pytest
import torch

from harness.training import order
from harness.training.order import Order


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("n", [1, 50_000, 2**33])
@pytest.mark.parametrize("size", [1, 7, 100, order.AHEAD // 2, order.AHEAD + 1])
def test_numbers_and_state_are_those_of_one_after_the_other(n: int, size: int) -> None:
    ahead, alone = Order(n, size, generator()), generator()
    assert ahead.get_state().equal(alone.get_state())
    for _ in range(2 * (order.AHEAD // size) + 3 if size > 1 else 9):  # over the end of what is drawn at once
        assert next(ahead).equal(torch.randint(n, (size,), generator=alone))
        if size > 1:
            assert ahead.get_state().equal(alone.get_state())
    assert ahead.get_state().equal(alone.get_state())


@pytest.mark.parametrize("taken", [0, 1, 63, 64, 65])
def test_it_goes_on_from_a_state(taken: int) -> None:
    whole, alone = Order(1000, 100, generator()), generator()
    for _ in range(taken):
        next(whole)
        torch.randint(1000, (100,), generator=alone)
    for state in (whole.get_state(), alone.get_state()):
        other = Order(1000, 100, torch.Generator())
        next(other)
        other.set_state(state)
        again = generator()
        again.set_state(state)
        for _ in range(70):
            assert next(other).equal(torch.randint(1000, (100,), generator=again))


def test_a_minibatch_changed_in_place_leaves_the_others() -> None:
    order, alone = Order(1000, 10, generator()), generator()
    next(order).zero_()
    torch.randint(1000, (10,), generator=alone)
    assert next(order).equal(torch.randint(1000, (10,), generator=alone))
