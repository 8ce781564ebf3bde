"""Every algorithm that ascends takes the optimiser that it is asked for."""

from typing import Any

import pytest
import torch

from harness import api
from harness.models import mlp
from harness.specs import registry

M, N, D, LR = 8, 8, 9, 0.01
OPTIMISERS = ("sgd", "adam", "adagrad")
GIVEN: dict[str, dict[str, Any]] = {"mcem": {"updates": 1}, "iwae": {"K": 2}}


def ascending() -> list[str]:
    """Return the built-in algorithms that have an optimiser and learn a model with continuous latents."""
    modules = {name: registry.get("algorithms", name).module for name in registry.names("algorithms")}
    return [
        name
        for name, module in modules.items()
        if "optimiser" in module.Config.model_fields
        and "continuous" in module.TRAITS.latents
        and api.LatentVariableModel in module.TRAITS.needs
    ]


def moved(algorithm: str, optimiser: str) -> torch.Tensor:
    """Return by how much one step from the same weights with the same noise moves θ, in float64."""
    module = registry.get("algorithms", algorithm).module
    facts = api.DataFacts("binary", D, N)
    model, recognition = mlp.build(mlp.Config(nz=3, hidden=6, init_sd=0.5), facts, api.Streams(1), torch.float64)
    before = model.params.flat.detach().clone()
    size = {} if module.TRAITS.batch == "full" else {"batch_size": M}
    more = {"warmup": 0} if "warmup" in module.Config.model_fields else {}
    config = module.Config(lr=LR, optimiser=optimiser, **size, **more, **GIVEN.get(algorithm, {}))
    state = module.init(api.Problem(model, recognition, facts), config, api.Streams(2)("noise"))
    x = torch.bernoulli(torch.full((M, D), 0.4, dtype=torch.float64), generator=api.Streams(0)("x"))
    module.step(state, api.Batch(x, torch.arange(M)))
    return model.params.flat.detach() - before


@pytest.mark.parametrize("algorithm", ascending())
def test_the_first_step_is_that_of_the_optimiser(algorithm: str) -> None:
    """A step of gradient ascent tells the gradient, and the first steps of the others follow from it."""
    by_gradient, by_adam, by_adagrad = (moved(algorithm, optimiser) for optimiser in OPTIMISERS)
    gradient = by_gradient / LR
    assert (gradient.abs() > 1e-3).double().mean() > 0.9
    torch.testing.assert_close(by_adam, LR * gradient / (gradient.abs() + 1e-8), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(by_adagrad, LR * gradient / (gradient.square() + 1e-8).sqrt(), rtol=1e-6, atol=1e-9)


def test_all_that_have_adagrad_can_do_without() -> None:
    assert {"aevb", "full-vb", "iwae", "mcem", "mean-field", "svi-refined", "wake-sleep"} <= set(ascending())
