"""Monte Carlo EM: what a cycle spends, what it reports, its chains, and that it needs no more memory than they do."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import Result, environment

from harness import api
from harness.specs.budget import Budget, Ledger
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.training.loop import Training

Harness = Callable[..., Result]


def run(**settings: Any) -> Training:
    return conformance.training("mcem", "mlp", **settings)


def test_a_cycle_evaluates_sixteen_samples_a_point() -> None:
    """The first gradient, 10 leapfrog steps and 5 updates; none of the fantasies, none of an encoder."""
    training = run()
    training.step()
    assert training.ledger == Ledger(
        samples=16 * 60, datapoints=60, decoder_rows=16 * 60, decoder_rows_grad=16 * 60, steps=5
    )


@pytest.mark.parametrize(
    ("settings", "first", "later"),
    [
        ({"leapfrog": 3, "updates": 2}, 6, 6),
        ({"burn_in": 2}, 38, 16),
        ({"chains": "best"}, 36, 16),
        ({"chains": "zero"}, 16, 16),
    ],
)
def test_settings_cost_what_they_say(settings: dict[str, Any], first: int, later: int) -> None:
    training = run(**settings)
    spent = []
    for _ in range(2):
        before = training.ledger.samples
        training.step()
        spent.append((training.ledger.samples - before) // 60)
    assert spent == [first, later]


def test_chains_begin_where_they_are_told() -> None:
    assert (run(chains="zero").state.z == 0).all()
    prior = run(chains="prior").state.z
    assert prior.shape == (60, 2)
    assert 0.7 < prior.std() < 1.3
    best = run(chains="best", leapfrog=1, updates=1, step_size=1e-6)
    best.step()
    drawn = run(chains="prior", leapfrog=1, updates=1, step_size=1e-6)
    x = best.dataset.rows("train", torch.arange(60), torch.Generator())
    with torch.no_grad():  # under the model before any update, which both began with
        model = run().model
        assert model.log_p_xz(x, best.state.z[None]).mean() > model.log_p_xz(x, drawn.state.z[None]).mean()


def test_acceptance_is_tuned_to_what_is_asked_for() -> None:
    """Over the last 100 of 300 cycles, and the chains move."""
    for accept in (0.6, 0.9):
        training = run(target_accept=accept, lr=0.01)
        info = [training.step() for _ in range(300)][-100:]
        assert sum(i["acceptance"] for i in info) / 100 == pytest.approx(accept, abs=0.05)
        assert min(i["esjd"] for i in info) > 0.01


def test_factor_of_the_step_size_depends_on_how_many_chains_tell_it() -> None:
    training = run()
    training.step()
    assert training.state.step_size == pytest.approx(0.1 * min(1.25, 1.02**60))


def test_chains_persist_and_their_points_are_those_of_the_training_set() -> None:
    """A chain a training point, all of them moved; only a cycle's own move lies between two cycles."""
    training = run()
    before = training.state.z.clone()
    training.step()
    moved = (training.state.z != before).any(-1)
    assert moved.float().mean() > 0.9
    assert training.info["esjd"] == pytest.approx((training.state.z - before).square().sum(-1).mean().item(), rel=1e-5)


def test_it_has_no_lower_bound_and_says_so(harness: Harness, tmp_path) -> None:
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--samples", 30_000]
    done = harness("run", "--algo", "mcem", *words)
    assert done.code == 0, done.err
    assert "no lower bound: algorithm 'mcem' trains no recognition model" in done.out
    shown = harness("show", "mcem")
    assert "no lower bound" in shown.out
    for diagnostic in ("acceptance", "step size", "esjd"):
        assert diagnostic in shown.out
    plotted = harness("plot", "mcem")
    assert plotted.code == 2
    assert "no lower-bound to draw" in plotted.err
    assert harness("evaluate", "mcem", "--estimator", "lower-bound").code == 2


def test_plot_draws_what_it_has_beside_others(harness: Harness, tmp_path) -> None:
    """With --marginal there is something to draw; beside a run with a bound it is named as missing."""
    words = ["--dataset", toy.__file__, "--nz", 2, "--hidden", 5, "--samples", 30_000]
    marginal = ["--marginal", "--marginal-points", 20, "--marginal.n-samples", 10, "--burn-in", 5]
    assert harness("run", "--algo", "aevb", *words).code == 0
    assert harness("run", "--algo", "mcem", *words, *marginal, "--algo.burn-in", 0).code == 2  # --burn-in is of both
    marginal = ["--marginal", "--marginal-points", 20, "--n-samples", 10, "--marginal.burn-in", 5]
    done = harness("run", "--algo", "mcem", *words, *marginal)
    assert done.code == 0, done.err
    assert "hmc-density on 20 test points" in done.out
    assert harness("plot", "mcem", "--out", tmp_path / "a").code == 0
    assert harness("plot", "aevb", "mcem", "--out", tmp_path / "b").code == 0
    assert "no lower-bound: mcem" in (tmp_path / "b.svg").read_text()
    refused = harness("plot", "aevb", "--y", "hmc-density")
    assert refused.code == 2
    assert "--y can be lower-bound" in refused.err


@pytest.mark.slow
def test_a_full_batch_is_kept_as_it_is_stored(mnist: api.Dataset) -> None:
    """A cycle over 50,000 digits takes less than 100 MB above the data; as floats they alone would take 157 MB."""
    code = (
        "import resource; from harness.training.loop import Training; from harness.specs.run import make_spec\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "t = Training(make_spec('mcem', settings={'nz': 3, 'hidden': 10, 'leapfrog': 1, 'updates': 1}, n_train=1000))\n"
        "t.step(); small = peak()\n"
        "t = Training(make_spec('mcem', settings={'nz': 3, 'hidden': 10, 'leapfrog': 1, 'updates': 1}))\n"
        "before = peak(); t.step(); print(peak() - before, t.ledger.samples)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    grown, samples = done.stdout.split()
    assert int(samples) == 3 * 50_000
    assert float(grown) < 100


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_full_batch_never_changes_the_data(stochastic: bool, dtype: torch.dtype) -> None:
    points = torch.arange(60).view(20, 3).to(dtype)
    data = api.Dataset(points.clone(), points.clone(), "unit", "0" * 64, "here", scale=1 / 64, stochastic=stochastic)
    rng = torch.Generator().manual_seed(0)
    batch = data.full_batch(rng)
    first = batch.x.clone()
    assert torch.equal(batch.x, first)
    assert torch.equal(data.train, points)
    if not stochastic:
        assert torch.equal(first, points / 64)


def test_data_in_double_precision_are_refused() -> None:
    with pytest.raises(api.BadInput, match=r"torch\.float64: give float32"):
        api.Dataset(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3), "real", "0" * 64, "here")


@pytest.mark.parametrize("binarize", ["none", "stochastic"])
def test_a_full_batch_shows_the_same_points_all_through_a_step(binarize: str, mnist: api.Dataset) -> None:
    spec = make_spec("mcem", settings={"binarize": binarize}, n_train=1200)
    batch = Training(spec)._batch()
    whole = batch.x
    assert whole.dtype == torch.float32
    assert torch.equal(whole, batch.x)
    parts = list(batch.split(500))
    assert [len(part.index) for part in parts] == [500, 500, 200]
    assert torch.equal(torch.cat([part.x for part in parts]), whole)
    assert torch.equal(torch.cat([part.index for part in parts]), batch.index)
    if binarize == "stochastic":
        assert set(whole.unique().tolist()) == {0.0, 1.0}


def test_all_algorithms_spend_the_same_cpu_seconds_within_one_step() -> None:
    for name in ("aevb", "wake-sleep", "mcem"):
        training = conformance.training(name)
        training.step()
        training.clocks.resume({k: -v if k.startswith("cpu") else 0.0 for k, v in training.clocks.seconds().items()})
        longest = 0.0
        rows = training.rows(Budget(cpu_seconds=0.5))
        step = training._step

        def timed(step: Callable[[], Any] = step, clocks: Any = training.clocks) -> Any:
            nonlocal longest
            before = clocks.cpu()
            out = step()
            longest = max(longest, clocks.cpu() - before)
            return out

        training._step = timed  # type: ignore[method-assign]
        for _ in rows:
            pass
        assert 0.5 <= training.clocks.cpu() <= 0.5 + longest + 0.005, name
