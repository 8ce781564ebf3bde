"""What a run's model looks like: its latent plane, and draws from it (Figures 4 and 5 of Kingma & Welling 2014)."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness import safe_text
from harness.analysis.weights import Weights
from harness.figures.output import style
from harness.store.run import Run

if TYPE_CHECKING:
    from harness.runs.images import Mosaic


def manifold(run: Run, data_dir: str | None = None, weights: Weights = "last") -> Figure:
    """Draw images over the plane of two latents; BadInput as `harness.runs.images.manifold`."""
    from harness.runs import images  # PyTorch

    return draw(images.manifold(run, data_dir, weights))


def samples(run: Run, data_dir: str | None = None, weights: Weights = "last") -> Figure:
    """Draw samples of a run's model; BadInput as `harness.runs.images.samples`."""
    from harness.runs import images  # PyTorch

    return draw(images.samples(run, data_dir, weights))


DRAW: dict[str, Callable[[Run, str | None, Weights], Figure]] = {"manifold": manifold, "samples": samples}

NAMES = {"manifold": "latent-plane", "samples": "prior-samples"}
"""What the files of these figures are called."""


GAP = 0.06  # between images, of their longer edge

BACKGROUND = "#8fb4d9"  # neither black nor white, which images may end in


def draw(mosaic: "Mosaic") -> Figure:
    """Return the images side by side with gaps between, in greys; of draws with data beside them.

    The latent plane has on its axes the quantiles of the prior that its images are at.
    """
    parts = [(mosaic.what, mosaic.images)] + ([("data: test set", mosaic.data)] if mosaic.data is not None else [])
    tiled = [_tiled(images, mosaic.columns) for _, images in parts]
    width = 6.0 if len(parts) == 1 else 4.0  # inches of a part
    height = width * tiled[0].shape[0] / tiled[0].shape[1] + 0.8
    with style(axes_grid=False):
        figure = Figure(figsize=(width * len(parts) + 0.3, height), layout="constrained")
        for axes, (what, _), pixels in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, tiled, strict=True):
            colours = colormaps["gray"].with_extremes(bad=BACKGROUND)
            axes.imshow(pixels, cmap=colours, vmin=mosaic.greys[0], vmax=mosaic.greys[1], interpolation="none")
            axes.set_title(safe_text.label(what), fontsize="medium", loc="left")
            axes.set_xticks([])
            axes.set_yticks([])
        if mosaic.heads:
            _label_columns(axes, mosaic)
        if mosaic.quantiles:
            _label_quantiles(axes, mosaic)
        greys = (
            "" if mosaic.greys == (0.0, 1.0) else f"; black is {mosaic.greys[0]:.3g}, white is {mosaic.greys[1]:.3g}"
        )
        figure.suptitle(safe_text.label(mosaic.title + greys), fontsize="medium", x=0.01, ha="left")
    return figure


def _gap(height: int, width: int) -> int:
    return max(1, round(GAP * max(height, width)))


def _tiled(images: NDArray[Any], columns: int) -> NDArray[Any]:
    """Return one array of all images, (n, height, width), with NaN where there is none."""
    n, height, width = images.shape
    gap, rows = _gap(height, width), math.ceil(n / columns)
    out = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), np.nan)
    for k, image in enumerate(images):
        top, left = (
            place * (size + gap) + gap for place, size in zip(divmod(k, columns), (height, width), strict=True)
        )
        out[top : top + height, left : left + width] = image
    return out


def _label_columns(axes: Axes, mosaic: "Mosaic") -> None:
    """Write below each column of images what it is."""
    _, height, width = mosaic.images.shape
    gap = _gap(height, width)
    axes.set_xticks([gap + k * (width + gap) + (width - 1) / 2 for k in range(len(mosaic.heads))], mosaic.heads)
    axes.tick_params(axis="x", length=0, labelsize="x-small")


def _label_quantiles(axes: Axes, mosaic: "Mosaic") -> None:
    """Label some of the rows and columns of images."""
    _, height, width = mosaic.images.shape
    gap, n = _gap(height, width), len(mosaic.quantiles)
    step = max(1, round(n / 5))
    for size, setter, numbers in (
        (width, axes.set_xticks, mosaic.quantiles),
        (height, axes.set_yticks, mosaic.quantiles[::-1]),
    ):
        shown = range((step - 1) // 2, n, step)
        setter([gap + k * (size + gap) + (size - 1) / 2 for k in shown], [f"{numbers[k]:.2g}" for k in shown])
    axes.set_xlabel("$z_1$, quantile of its prior N(0, 1)")
    axes.set_ylabel("$z_2$, quantile of its prior N(0, 1)")
