"""AEVB's two ways to a gradient: by the model's own derivative, and by autograd."""

from typing import Any

import pytest
import torch
from harness.algorithms import aevb

from harness import api
from harness.inference import gradients
from harness.models import mlp

M, N, D = 8, 50, 9


@pytest.mark.parametrize("kind", ["unit", "real"])
@pytest.mark.parametrize("L", [1, 3])
def test_both_ways_are_the_same_steps(monkeypatch: pytest.MonkeyPatch, kind: Any, L: int) -> None:
    """In float64, after five steps with the same noise: parameters and objectives to 1e-9."""
    x = torch.rand(M, D, generator=api.Streams(0)("x"), dtype=torch.float64)

    def run(by_hand: bool) -> tuple[list[float], torch.Tensor]:
        monkeypatch.setattr(gradients, "by_hand", lambda *models: by_hand)
        facts = api.DataFacts(kind, D, N)
        models = mlp.build(mlp.Config(nz=3, hidden=6, init_sd=0.5), facts, api.Streams(1), torch.float64)
        config = aevb.Config(lr=0.1, batch_size=M, n_samples=L, warmup=1)
        state = aevb.init(api.Problem(*models, facts), config, api.Streams(2)("noise"))
        objectives = [aevb.step(state, api.Batch(x, torch.arange(M))).objective.item() for _ in range(5)]
        return objectives, torch.cat([model.params.flat.detach() for model in models])

    (mine, parameters), (plain, expected) = run(True), run(False)
    assert mine == pytest.approx(plain, rel=1e-9)
    torch.testing.assert_close(parameters, expected, rtol=1e-9, atol=1e-12)
    assert plain[-1] > plain[0]
