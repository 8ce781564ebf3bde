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
from harness.figures import images, output
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

DATA = torch.linspace(0, 1, 200).view(50, 4)


class Plane(Bare):
    """A model whose image shows one of its latents as its grey value, between 0 and 1 by the prior's distribution."""

    def __init__(self, shown: int):
        super().__init__(TWO)
        self.shown = shown

    def mean_x(self, z: torch.Tensor) -> torch.Tensor:
        return torch.special.ndtr(z[..., self.shown : self.shown + 1]).expand(*z.shape[:-1], 4)


def trained(model: Any, shape: tuple[int, int] | None = (2, 2), data: torch.Tensor = DATA) -> Any:
    plugin = SimpleNamespace(name="plane")
    spec = SimpleNamespace(algorithm=plugin, dataset=plugin, model=plugin, seed=0)
    kind = "unit" if data.min() >= 0 else "real"
    subject = SimpleNamespace(model=model, dataset=api.Dataset(data, data, kind, shape=shape))
    return SimpleNamespace(run=SimpleNamespace(id="plane-1"), subject=subject, spec=spec, ledger={"samples": 1000})


def pixels(figure: Any, part: int = 0) -> Any:
    return np.ma.filled(figure.axes[part].images[0].get_array(), np.nan)


@pytest.mark.parametrize("shown", [0, 1])
def test_the_first_latent_runs_to_the_right_and_the_second_upwards(shown: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(shown)))
    figure = images.manifold(None)  # type: ignore[arg-type]
    picture, n = pixels(figure), computed.WIDTH // computed.TILE
    assert picture.shape == (3 * n + 1, 3 * n + 1)
    assert np.isnan(picture[::3]).all()  # gaps
    assert np.isnan(picture[:, ::3]).all()
    quantiles = (np.arange(n) + 0.5) / n
    expected = np.tile(quantiles, (n, 1)) if shown == 0 else np.tile(quantiles[::-1, None], (1, n))
    for k in (1, 2):
        assert np.allclose(picture[k::3, k::3], expected, atol=1e-6)
    assert np.allclose(norm.cdf(norm.ppf(quantiles)), quantiles)


def test_the_axes_of_the_plane_are_quantiles_of_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    for shown in (0, 1):
        monkeypatch.setattr(computed, "Trained", lambda *_, shown=shown: trained(Plane(shown)))
        figure = images.manifold(None)  # type: ignore[arg-type]
        axes, picture = figure.axes[0], pixels(figure)
        labels = axes.get_xticklabels() if shown == 0 else axes.get_yticklabels()
        places = axes.get_xticks() if shown == 0 else axes.get_yticks()
        assert sorted(label.get_text() for label in labels) == ["0.1", "0.3", "0.5", "0.7", "0.9"]
        for place, label in zip(places, labels, strict=True):
            at = int(place)
            value = picture[1, at] if shown == 0 else picture[at, 1]
            assert value == pytest.approx(float(label.get_text()), abs=1e-3)
        assert "quantile" in axes.get_xlabel()


@pytest.mark.parametrize(("shape", "expected"), [((8, 8), 15), ((28, 28), 15), ((20, 100), 9), ((1000, 1000), 3)])
def test_there_are_as_many_images_as_can_be_read(shape: tuple[int, int], expected: int) -> None:
    assert computed._side(shape, computed.WIDTH) == expected


def test_data_are_beside_samples_in_the_same_greys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(0)))
    figure = images.samples(None)  # type: ignore[arg-type]
    assert [axes.get_title("left") for axes in figure.axes] == ["E[x|z], z drawn from p(z)", "data: test set"]
    shown = pixels(figure, 1)
    assert sorted(shown[~np.isnan(shown)].tolist()) == pytest.approx(DATA.flatten().tolist())
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 1), (0, 1)]
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(0), data=DATA * 4 - 3))
    figure = images.samples(None)  # type: ignore[arg-type]
    assert [axes.images[0].get_clim() for axes in figure.axes] == [(-3, 1), (-3, 1)]
    assert "black is -3, white is 1" in figure.get_suptitle()


def test_samples_are_means_where_the_model_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Plane(0)))
    assert np.nanmax(pixels(images.samples(None))) < 1e-6  # type: ignore[arg-type]
    monkeypatch.setattr(computed, "Trained", lambda *_: trained(Bare(TWO)))
    figure = images.samples(None)  # type: ignore[arg-type]
    assert np.nanmin(pixels(figure)) == 1
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


def test_commands(harness: Harness, mnist: api.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "FORMATS", ("png", "svg"))
    words = ["run", "--algo", "aevb", "--nz", "2", "--hidden", "8", "--n-train", "200", "--samples", "500"]
    run_id = harness(*words, "--eval-points", "10", "--final-points", "10").out.partition(":")[0]
    for kind, name in (("manifold", "latent-plane"), ("samples", "prior-samples")):
        named = [Path(line).name for line in harness("plot", kind, run_id).out.splitlines()]
        assert named == [f"{run_id}-{name}.{form}" for form in ("png", "svg")]
        done = harness("plot", kind, run_id, "--out", tmp_path / f"{kind}.png")
        assert done.code == 0, done.err
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    several = harness("plot", "manifold", run_id, run_id)
    assert (several.code, several.err.count("\n")) == (2, 1)
    assert "draws one run, and 2 are given" in several.err


def test_binary_latents_are_drawn_as_samples(harness: Harness) -> None:
    words = ["run", "--algo", PLUGINS / "leave_one_out.py", "--model", PLUGINS / "toy_belief_net.py"]
    done = harness(*words, "--dataset", toy.__file__, "--nz", "2", "--samples", "500")
    refused = harness("plot", "samples", done.out.partition(":")[0], "--model", PLUGINS / "toy_belief_net.py")
    assert refused.code == 2
    assert refused.err == "harness: the points of dataset 'toy' are no images, so they cannot be drawn\n"
