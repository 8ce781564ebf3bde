"""Stopped at every mark, before or after its row, and resumed from the files: the same run, bit for bit."""

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Survived
from harness.datasets import mnist as mnist_plugin
from support import PLUGINS, what_was_learned

from harness import api
from harness.errors import BadInput, Interrupted
from harness.runs import runner
from harness.specs.budget import Budget
from harness.specs.run import RunSpec, make_spec
from harness.store.checkpoint import digest
from harness.store.record import Record
from harness.store.store import Store
from harness.testing import toy
from harness.training import loop
from harness.training.evaluation import Estimator

LEARNED = ("theta", "phi", "algorithm", "rng", "ledger", "info")
NETWORK: dict[str, Any] = {"nz": 2, "hidden": 5, "batch_size": 10}
CHAINS: dict[str, Any] = {"nz": 2, "hidden": 5, "warmup": 3}
CASES: list[tuple[str, str, dict[str, Any], str | None, int]] = [
    ("aevb", toy.__file__, NETWORK, "hmc-density", 400),
    ("wake-sleep", toy.__file__, NETWORK, "importance", 800),
    ("mcem", toy.__file__, CHAINS, "importance", 8000),
    ("aevb", toy.__file__, NETWORK, "importance", 2000),
    ("wake-sleep", toy.__file__, NETWORK, "ais", 2000),
    ("wake-sleep", toy.__file__, NETWORK, "quadrature", 1000),
    ("mcem", toy.__file__, CHAINS, "hmc-density", 20_000),
    (str(PLUGINS / "renyi.py"), toy.__file__, NETWORK, None, 5000),
    ("aevb", "mnist", {"nz": 2, "hidden": 20, "binarize": "stochastic"}, None, 3000),
    ("mean-field", toy.__file__, NETWORK, None, 2000),
]  # fmt: skip


def spec_of(case: tuple[str, str, dict[str, Any], str | None, int]) -> RunSpec:
    algorithm, dataset, settings, marginal, _ = case
    return make_spec(
        algorithm, dataset, settings=settings, first_mark=200, points=20, final_points=30, marginal=marginal,
        marginal_points=5,
    )  # fmt: skip


def learned(store: Store) -> tuple[dict[str, Any], str]:
    """Return every row, and a digest of all that training has left."""
    (run,) = store.runs()
    checkpoint = run.checkpoint()
    assert checkpoint is not None
    return what_was_learned(store, "runs"), digest({name: checkpoint[name] for name in LEARNED})


def stopped_again_and_again(work: Callable[[], Record]) -> int:
    """Do the work until nothing stops it any more, and return how often it was stopped."""
    stops = 0
    while True:
        try:
            work()
            return stops
        except Interrupted as error:
            assert error.exit_code == 128 + signal.SIGUSR1
            stops += 1


@pytest.mark.parametrize("before_the_row", [False, True], ids=["after-the-row", "while-it-is-evaluated"])
@pytest.mark.slow
def test_stopped_at_every_mark(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before_the_row: bool,
    full: bool,
    survived: Survived,
    mnist: api.Dataset,
) -> None:
    monkeypatch.setattr(mnist_plugin, "_contents", functools.cache(mnist_plugin._contents))
    estimate, stops = Estimator.estimate, 0
    for number, case in enumerate(CASES if full else CASES[:3]):
        spec, budget = spec_of(case), Budget(samples=case[-1])
        whole, torn = Store(tmp_path / f"whole-{number}"), Store(tmp_path / f"torn-{number}")
        runner.ensure(whole, spec, budget)
        rows = sum(len(rows) for rows in learned(whole)[0].values())
        begun = set[float]()

        def stop_once(training: Any, event: Any = None, begun: set[float] = begun) -> None:
            if not isinstance(event, str) and training.ledger.samples not in begun:
                begun.add(training.ledger.samples)
                os.kill(os.getpid(), signal.SIGUSR1)

        if before_the_row:
            current: list[Any] = []

            def watch(training: Any, event: Any, current: list[Any] = current) -> None:
                current[:] = [training]

            def interrupted(*args: Any, current: list[Any] = current, **kwargs: Any) -> Any:
                if current:
                    stop_once(current[0])
                return estimate(*args, **kwargs)

            monkeypatch.setattr(Estimator, "estimate", interrupted)
            monkeypatch.setattr(loop, "TICK_SECONDS", 0.0)
        else:
            watch = stop_once
        stopped = stopped_again_and_again(lambda: runner.ensure(torn, spec, budget, watch=watch))  # noqa: B023
        monkeypatch.setattr(Estimator, "estimate", estimate)
        assert learned(torn) == learned(whole), case
        assert stopped >= rows - 1  # an end at a mark has no more to stop
        stops += stopped
    survived(f"stopped at a mark, {'before' if before_the_row else 'after'} its row, and resumed", stops, stops)


def test_an_extension_that_was_stopped_in_its_last_evaluation_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, store, whole = spec_of(CASES[3]), Store(tmp_path / "torn"), Store(tmp_path / "whole")
    runner.ensure(store, spec, Budget(samples=200))
    runner.ensure(whole, spec, Budget(samples=200))
    (run,), (other,) = store.runs(), whole.runs()
    runner.extend(other, Budget(samples=300))
    estimate, current = Estimator.estimate, list[Any]()

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if current and current[0].ledger.samples >= 300:
            os.kill(os.getpid(), signal.SIGUSR1)
        return estimate(*args, **kwargs)

    monkeypatch.setattr(Estimator, "estimate", interrupted)
    monkeypatch.setattr(loop, "TICK_SECONDS", 0.0)
    with pytest.raises(Interrupted):
        runner.extend(run, Budget(samples=300), watch=lambda training, _: current.append(training))
    monkeypatch.undo()
    assert run.read().ledger["samples"] == 300
    with pytest.raises(BadInput, match="has spent 300 samples already"):
        runner.extend(run, Budget(samples=250))
    assert runner.extend(run, Budget(samples=300)).status == "done"
    assert learned(store) == learned(whole)
    with pytest.raises(BadInput, match="has spent 300 samples already"):
        runner.extend(run, Budget(samples=300))
