"""Pictures of what a model has learned: the latent plane the right way up, draws, and refusals."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from support import PLUGINS, Result

from harness import api
from harness.errors import BadInput
from harness.figures import images
from harness.runs import images as computed
from harness.testing import toy

Harness = Callable[..., Result]


class Bare(api.LatentVariableModel):
    """A model without a mean, all of whose draws are white."""

    params = api.Parameters({}, {"none": (1,)})

    def __init__(self, latents: api.Latents):
        self.latents = latents

    def sample_xz(self, n: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(n, 4), torch.full((n, 2), -9.0)


TWO = api.Latents.of("continuous", 2)


class Plane(Bare):
    """A model whose image shows one of its latents as its grey value, between 0 and 1 by the prior's distribution."""

    def __init__(self, shown: int):
        super().__init__(TWO)
        self.shown = shown

    def mean_x(self, z: torch.Tensor) -> torch.Tensor:
        return torch.special.ndtr(z[..., self.shown : self.shown + 1]).expand(*z.shape[:-1], 4)


def trained(model: Any, shape: tuple[int, int] | None = (2, 2)) -> Any:
    plugin = SimpleNamespace(name="plane")
    spec = SimpleNamespace(algorithm=plugin, dataset=plugin, model=plugin, seed=0)
    subject = SimpleNamespace(model=model, dataset=SimpleNamespace(shape=shape))
    return SimpleNamespace(run=SimpleNamespace(id="plane-1"), subject=subject, spec=spec, ledger={"samples": 1000})


def pixels(figure: Any) -> np.ndarray[Any, Any]:
    return np.asarray(figure.axes[0].images[0].get_array())


@pytest.mark.parametrize("shown", [0, 1])
def test_the_first_latent_runs_to_the_right_and_the_second_upwards(shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(shown)))
    picture = pixels(images.manifold(None))  # type: ignore[arg-type]
    n = computed.SIDE
    assert picture.shape == (2 * n, 2 * n)
    quantiles = (np.arange(n) + 0.5) / n
    expected = np.tile(quantiles, (n, 1)) if shown == 0 else np.tile(quantiles[::-1, None], (1, n))
    assert np.allclose(picture[::2, ::2], expected, atol=1e-6)
    assert np.allclose(norm.cdf(norm.ppf(quantiles)), quantiles)


def test_samples_are_means_where_the_model_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(0)))
    assert np.allclose(pixels(images.samples(None)), 0, atol=1e-6)  # type: ignore[arg-type]
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Bare(TWO)))
    figure = images.samples(None)  # type: ignore[arg-type]
    assert np.all(pixels(figure) == 1)
    assert "x drawn from p(x)" in figure.axes[0].get_title("left")


def test_what_cannot_be_drawn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, shape, said in (
        (Bare(TWO), (2, 2), r"model 'plane' has no mean_x\(z\)"),
        (Plane(0), None, "the points of dataset 'plane' are no images"),
        (
            Bare(api.Latents.of("continuous", 3)),
            (2, 2),
            "has 3 continuous latents, and a plane takes 2",
        ),
        (Bare(api.Latents.of("binary", 2)), (2, 2), "has 2 binary latents"),
    ):
        monkeypatch.setattr(computed, "Trained", lambda *_, model=model, shape=shape: trained(model, shape))
        with pytest.raises(BadInput, match=said):
            images.manifold(SimpleNamespace(id="plane-1"))  # type: ignore[arg-type]


def test_commands(harness: Harness, mnist: api.Dataset, tmp_path: Path) -> None:
    words = ["run", "--algo", "aevb", "--nz", "2", "--hidden", "8", "--n-train", "200", "--samples", "500"]
    run_id = harness(*words, "--eval-points", "10", "--final-points", "10").out.partition(":")[0]
    for kind in ("manifold", "samples"):
        done = harness("plot", kind, run_id, "--out", tmp_path / f"{kind}.png")
        assert done.code == 0, done.err
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    several = harness("plot", "manifold", run_id, run_id)
    assert (several.code, several.err.count("\n")) == (2, 1)
    assert "draws one run, and 2 are given" in several.err


def test_binary_latents_are_drawn_as_samples(harness: Harness) -> None:
    words = ["run", "--algo", PLUGINS / "score_function.py", "--model", PLUGINS / "toy_belief_net.py"]
    done = harness(*words, "--dataset", toy.__file__, "--nz", "2", "--samples", "500")
    refused = harness("plot", "samples", done.out.partition(":")[0])
    assert refused.code == 2
    assert refused.err == "harness: the points of dataset 'toy' are no images, so they cannot be drawn\n"
