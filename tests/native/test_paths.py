"""Whole steps of every algorithm, compiled and by PyTorch alone; which path is taken, and gradients as their factors."""

import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from harness.algorithms import aevb, mcem, wake_sleep
from threadpoolctl import threadpool_info
from torch import Tensor

from harness import api
from harness.inference.factored import Factored, from_factors
from harness.models import mlp
from harness.native import path

pytestmark = pytest.mark.skipif(path.kernels is None, reason=path.description)
STEPS, N, D, M = 200, 60, 31, 20


def train(algorithm: Any, kind: Any, **settings: Any) -> tuple[list[Tensor], list[tuple[float, ...]]]:
    """Take 200 steps on clustered points; return the parameters, and what every step reported."""
    rng = api.Streams(0)("points")
    centres = torch.rand(3, D, generator=rng)
    x = (centres[torch.arange(N) % 3] + 0.1 * torch.randn(N, D, generator=rng)).clamp(0, 1)
    facts = api.DataFacts(kind, D, N)
    models = mlp.build(mlp.Config(nz=3, hidden=17, init_sd=0.1), facts, api.Streams(1))
    problem = api.Problem(*models, facts)
    state = algorithm.init(problem, algorithm.Config(warmup=5, lr=0.05, **settings), api.Streams(2)("noise"))
    order, reported = api.Streams(3)("order"), []
    for _ in range(STEPS):
        whole = algorithm.TRAITS.batch == "full"
        index = torch.arange(N) if whole else torch.randint(N, (M,), generator=order)
        reported.append(tuple(map(float, algorithm.step(state, api.Batch(x[index], index)))))
    return [model.params.flat.detach() for model in models], reported


@pytest.mark.parametrize("kind", ["unit", "real"])
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (aevb, {"batch_size": M}),
        (aevb, {"batch_size": M, "n_samples": 3}),
        (aevb, {"batch_size": M, "estimator": "A"}),
        (wake_sleep, {"batch_size": M, "n_samples": 2}),
        # With steps so short that every move is accepted: rounding may turn one decision round, and a chain goes elsewhere.
        (mcem, {"leapfrog": 3, "updates": 2, "step_size": 1e-3, "target_accept": 0.9999}),
    ],
)
def test_200_steps_are_the_same(
    algorithm: Any, settings: dict[str, Any], kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In single precision: parameters of order 1 to 2e-3, what steps report to 2e-3 of its size.

    Both accumulate rounding of 1e-7 a step, which training amplifies as it does any difference.
    """
    compiled, mine = train(algorithm, kind, **settings)
    monkeypatch.setattr(path, "kernels", None)
    plain, expected = train(algorithm, kind, **settings)
    assert not compiled[0].equal(plain[0]), "both were computed by the same code"
    for one, other in zip(compiled, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(torch.tensor(mine), torch.tensor(expected), rtol=2e-3, atol=2e-3)


def factored() -> tuple[api.Parameters, list[tuple[Tensor, Tensor]], Tensor]:
    """Return parameters, factors of a gradient, and the gradient."""
    rng = torch.Generator().manual_seed(0)
    params = api.Parameters({"W1": (3, 4), "W2": (4, 5)}, {"b1": (4,), "b2": (5,)})
    factors = [(torch.randn(6, k, generator=rng), torch.randn(6, m, generator=rng)) for k, m in ((3, 4), (4, 5))]
    dense = torch.cat([*((a.t() @ g).flatten() for a, g in factors), *(g.sum(0) for _, g in factors)])
    return params, factors, dense


USES: dict[str, Callable[[Any], Any]] = {
    "dense": lambda g: g.dense() if isinstance(g, Factored) else g,
    "divided": lambda g: g / 3,
    "times": lambda g: 2 * g,
    "negative": lambda g: -g,
    "added to a tensor": lambda g: torch.ones(41) + g,
    "added": lambda g: g + g,
    "accumulated": lambda g: torch.zeros(41).add_(g),
    "in place": lambda g: torch.zeros(41).__iadd__(g),
    "a function": lambda g: torch.clamp(g, max=0.5),
    "stacked": lambda g: torch.stack([g, g]),
    "a method": lambda g: g.norm(),
    "a part": lambda g: g[3:7],
    "shape": lambda g: torch.tensor(g.shape),
}


@pytest.mark.parametrize("use", USES)
def test_it_can_be_used_as_the_tensor_that_it_stands_for(use: str) -> None:
    params, factors, dense = factored()
    found = from_factors(params, factors)
    assert isinstance(found, Factored)
    torch.testing.assert_close(USES[use](found), USES[use](dense))


def test_without_compiled_updates_it_is_multiplied_out(monkeypatch: pytest.MonkeyPatch) -> None:
    params, factors, dense = factored()
    monkeypatch.setattr(path, "kernels", None)
    found = from_factors(params, factors)
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, dense)


def test_factors_that_were_changed_meanwhile_are_refused() -> None:
    """A gradient that is used after its batch was changed in place would be another's."""
    params, factors, _ = factored()
    adagrad = api.Adagrad(params, lr=0.1)
    found = from_factors(params, factors)
    factors[0][0].mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place before their gradient was used"):
        adagrad.ascend([found])
    with pytest.raises(RuntimeError, match="changed in place before their gradient was used"):
        found + 1.0


def test_dense_and_factored_gradients_are_the_same_step() -> None:
    """Also one of each, for two sets of parameters."""
    _, factors, dense = factored()
    results = []
    for first, second in ((True, True), (True, False), (False, True), (False, False)):
        sets = [factored()[0], factored()[0]]
        adagrad = api.Adagrad(*sets, lr=0.1, prior_weight=0.5)
        for _ in range(3):
            adagrad.ascend(
                [Factored(one, factors) if by else dense for one, by in zip(sets, (first, second), strict=True)]
            )
        results.append(torch.cat([one.flat.detach() for one in sets] + adagrad.sums))
    for other in results[1:]:
        torch.testing.assert_close(results[0], other)


@pytest.mark.parametrize("name", ["sgd", "adam", "adagrad"])
def test_the_last_matrices_may_have_no_biases(name: str) -> None:
    """A step by factors is that by the dense gradient, of every weight and bias."""
    rng, results = torch.Generator().manual_seed(0), []
    shapes = {"W": (3, 4), "G": (4, 4), "H": (2, 5)}
    factors = [(torch.randn(6, k, generator=rng), torch.randn(6, m, generator=rng)) for k, m in shapes.values()]
    dense = torch.cat([*((a.t() @ g).flatten() for a, g in factors), factors[0][1].sum(0)])
    for by_factors in (True, False):
        params = api.Parameters(shapes, {"b": (4,)})
        params.normal_(1.0, torch.Generator().manual_seed(1))
        optimiser = api.optimiser(name, params, lr=0.1, prior_weight=0.5)
        for _ in range(3):
            optimiser.ascend([Factored(params, factors) if by_factors else dense])
        results.append(params.flat.detach().clone())
    torch.testing.assert_close(*results)
    torch.testing.assert_close(Factored(api.Parameters(shapes, {"b": (4,)}), factors).dense(), dense)


def test_a_gradient_that_was_changed_in_place_is_used_as_it_is_then() -> None:
    _, factors, dense = factored()
    params, expected = factored()[0], factored()[0]
    found = from_factors(params, factors)
    found.clamp_(max=0.5)
    api.Adagrad(params, lr=0.1).ascend([found])
    api.Adagrad(expected, lr=0.1).ascend([dense.clamp(max=0.5)])
    torch.testing.assert_close(params.flat, expected.flat)


def test_an_update_is_seen_by_autograd() -> None:
    params, factors, _ = factored()
    before = params.flat._version
    api.Adagrad(params, lr=0.1).ascend([from_factors(params, factors)])
    assert params.flat._version > before


def test_the_variable_turns_it_off() -> None:
    code = "from harness.native import path; print(path.kernels, path.description)"
    environment = {**os.environ, "HARNESS_NATIVE": "0"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert out == "None PyTorch alone, as HARNESS_NATIVE=0 says\n"


@pytest.fixture
def choosing() -> Iterator[None]:
    """The library goes back to its own matrix product afterwards."""
    address = path._of_torch() or path._of_scipy()
    yield
    path.kernels.use_gemm(address)


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize("found", ["none", "one that computes something else"])
def test_a_matrix_product_is_tried_before_it_is_used(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if found == "none":
        monkeypatch.setattr(path, "PRODUCTS", {"PyTorch": lambda: None})
    else:
        nothing = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(lambda *arguments: None)
        monkeypatch.setattr(path, "PRODUCTS", {"PyTorch": lambda: ctypes.cast(nothing, ctypes.c_void_p).value})
    assert path._choose() == (None, "PyTorch alone, as no matrix product for the compiled library was found")


@pytest.mark.usefixtures("choosing")
def test_scipys_matrix_product_serves_as_well_and_with_as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "PRODUCTS", {"SciPy": path._of_scipy})
    kernels, description = path._choose()
    assert kernels is path.kernels
    assert description == "compiled, matrix products by SciPy"
    monkeypatch.setattr(path, "description", description)
    before = threads_of_scipy()
    try:
        path.set_threads(1)
        assert threads_of_scipy() == {1}
    finally:
        path.set_threads(max(before))


def threads_of_scipy() -> set[int]:
    """Return the numbers of threads of the BLAS libraries that are not PyTorch's."""
    return {
        one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas" and "torch" not in one["filepath"]
    }


def test_a_library_that_is_not_there_or_does_not_load_leaves_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> Callable[[str], Any]:
        def load(name: str) -> Any:
            raise error

        return load

    monkeypatch.setattr(importlib, "import_module", fail(ModuleNotFoundError("no _kernels")))
    assert path._choose() == (None, "PyTorch alone, as no C compiler was found when the harness was installed")
    monkeypatch.setattr(importlib, "import_module", fail(ImportError("invalid ELF header")))
    assert path._choose()[1] == "PyTorch alone, as the compiled library cannot be loaded (invalid ELF header)"
