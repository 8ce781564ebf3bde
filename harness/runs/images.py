"""What a run's model looks like, as numbers: its latent plane, and draws from it (Figures 4 and 5 of Kingma & Welling 2014)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from harness.analysis.weights import Weights
from harness.errors import BadInput
from harness.inference.protocols import Latents, LatentVariableModel, MeanImage
from harness.inference.rng import Streams
from harness.runs.evaluate import Trained
from harness.specs.plugin_errors import blaming
from harness.store.run import Run
from harness.training.evaluation import chosen_points

WIDTH = 900  # pixels of the latent plane; samples and data take two thirds of it each

TILE = 60  # pixels along the longer edge of an image, from which on even 8 x 8 pixels can be told apart

FEWEST = 3  # images side by side, however large they are


class Mosaic(NamedTuple):
    """Images that belong side by side.

    Attributes:
        images: (n, rows, columns).
        columns: how many stand side by side.
        title: which model they are of.
        what: what they are.
        quantiles: of the prior of the first latent, from left to right, and of the second, from bottom to top; none where the
            order of the images means nothing.
        data: points of the test set, to be shown beside them; None where they are no draws.
        greys: the values of black and of white.
        heads: what each column is, where columns are of different things.
    """

    images: NDArray[Any]
    columns: int
    title: str
    what: str
    quantiles: tuple[float, ...] = ()
    data: NDArray[Any] | None = None
    greys: tuple[float, float] = (0.0, 1.0)
    heads: tuple[str, ...] = ()


def manifold(run: Run, data_dir: str | None = None, weights: Weights = "last") -> Mosaic:
    """Return images E[x|z] over the plane of two latents: each axis at equally spaced quantiles of the prior N(0, 1).

    Raises:
        BadInput: the model does not have two continuous latents, it has no `mean_x`, or its data are no images.
    """
    trained = Trained(run, data_dir, weights)
    model = trained.subject.model
    latents = model.latents if isinstance(model, LatentVariableModel) else Latents(())
    if not latents.only("continuous") or latents.total != 2:
        raise BadInput(
            f"run {run.id} has {latents.total} {latents.kinds} latents, and a plane takes 2 continuous ones: see "
            f"`harness plot samples {run.id}`"
        )
    side = _side(shape(trained), WIDTH)
    quantiles = (np.arange(side) + 0.5) / side
    axis = torch.from_numpy(norm.ppf(quantiles))
    z = torch.stack(
        torch.meshgrid(axis.flip(0), axis, indexing="ij")[::-1], -1
    )  # (side, side, 2), the first latent along x
    images = _images(trained, z.reshape(1, -1, 2).to(model.params.flat.dtype))
    greys = _greys(_data(trained, side * side))
    return Mosaic(
        images, side, _name(trained, weights), "E[x|z] at quantiles of p(z)", tuple(quantiles.tolist()), None, greys
    )


def samples(run: Run, data_dir: str | None = None, weights: Weights = "last") -> Mosaic:
    """Return images E[x|z] for z drawn from the prior; of a model without `mean_x`, draws of x itself. Data are beside them.

    Raises:
        BadInput: its data are no images.
    """
    trained = Trained(run, data_dir, weights)
    model = trained.subject.model
    rng = Streams(trained.spec.seed)("figure of samples")
    side = _side(shape(trained), WIDTH * 2 // 3)
    data = _data(trained, side * side)
    if isinstance(model, LatentVariableModel) and isinstance(model, MeanImage):
        with blaming(f"model {trained.spec.model.name!r}"):
            _, z = model.sample_xz(side * side, rng)
        images, what = _images(trained, z.unsqueeze(0)), "E[x|z], z drawn from p(z)"
    else:
        with blaming(f"model {trained.spec.model.name!r}"):
            x = model.sample(side * side, rng)
        images, what = _shaped(trained, x), "x drawn from p(x)"
    return Mosaic(images, side, _name(trained, weights), what, data=data, greys=_greys(data))


def mosaic(trained: Trained, images: NDArray[Any], what: str, heads: tuple[str, ...]) -> Mosaic:
    """Return images (n, rows, columns) of a run side by side, a column under each head, in the greys of the first one."""
    greys = _greys(images[:: len(heads)])
    return Mosaic(images, len(heads), _name(trained, trained.weights), what, greys=greys, heads=heads)


def _side(shape: tuple[int, int], pixels: int) -> int:
    """Return how many images of this shape can be read side by side on so many pixels."""
    return max(FEWEST, pixels // max(TILE, *shape))


def _data(trained: Trained, n: int) -> NDArray[Any]:
    """Return the first n evaluation points of the test set as images, or all if there are fewer."""
    return _shaped(trained, chosen_points(trained.subject.dataset, "test", n))


def _greys(data: NDArray[Any]) -> tuple[float, float]:
    """Return the values of black and white: 0 and 1, or the range of data that have others."""
    low, high = float(np.nanmin(data)), float(np.nanmax(data))  # where entries are missing there is no grey
    return (0.0, 1.0) if low >= 0.0 and high <= 1.0 else (low, high)


def _images(trained: Trained, z: torch.Tensor) -> NDArray[Any]:
    """Return E[x|z] of z (1, n, Z) as images (n, rows, columns)."""
    model = trained.subject.model
    if not isinstance(model, MeanImage):
        raise BadInput(
            f"model {trained.spec.model.name!r} has no mean_x(z), which this figure draws (see harness.api): see "
            f"`harness plot samples {trained.run.id}`"
        )
    with torch.no_grad(), blaming(f"model {trained.spec.model.name!r}"):
        return _shaped(trained, model.mean_x(z)[0])


def shape(trained: Trained) -> tuple[int, int]:
    """Return the rows and columns of an image; BadInput where points are none."""
    found = trained.subject.dataset.shape
    if found is None:
        raise BadInput(f"the points of dataset {trained.spec.dataset.name!r} are no images, so they cannot be drawn")
    return found


def _shaped(trained: Trained, x: torch.Tensor) -> NDArray[Any]:
    return np.asarray(x.reshape(-1, *shape(trained)).float().cpu().numpy())


def _name(trained: Trained, weights: Weights) -> str:
    spec = trained.spec
    model = trained.subject.model
    what = f", $N_z$ = {model.latents.total}" if isinstance(model, LatentVariableModel) else f", {spec.model.name}"
    of = {"last": "", "average": ", averaged weights", "best-valid": ", weights of the best mark"}[weights]
    return f"{spec.algorithm.name}, {spec.dataset.name}{what}, {trained.ledger['samples']:,} samples{of}"
