"""What a run's model looks like: its latent plane, and draws from it (Figures 4 and 5 of Kingma & Welling 2014)."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from harness.figures.output import style
from harness.store.run import Run

if TYPE_CHECKING:
    from harness.runs.images import Mosaic


def manifold(run: Run, data_dir: str | None = None) -> Figure:
    """Draw images over the plane of two latents; BadInput as `harness.runs.images.manifold`."""
    from harness.runs import images  # PyTorch

    return draw(images.manifold(run, data_dir))


def samples(run: Run, data_dir: str | None = None) -> Figure:
    """Draw samples of a run's model; BadInput as `harness.runs.images.samples`."""
    from harness.runs import images  # PyTorch

    return draw(images.samples(run, data_dir))


DRAW: dict[str, Callable[[Run, str | None], Figure]] = {"manifold": manifold, "samples": samples}


def draw(mosaic: "Mosaic") -> Figure:
    """Return the images side by side, black for 0 and white for 1."""
    images, columns = mosaic.images, mosaic.columns
    rows = math.ceil(len(images) / columns)
    _, height, width = images.shape
    tiled = images.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    with style(axes_grid=False):
        figure = Figure(figsize=(6.0, 6.0 * tiled.shape[0] / tiled.shape[1] + 0.5), layout="constrained")
        axes = figure.subplots()
        axes.imshow(tiled, cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.set_title(mosaic.title, fontsize="medium", loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        if mosaic.axes is not None:
            axes.set_xlabel(mosaic.axes[0])
            axes.set_ylabel(mosaic.axes[1])
    return figure
