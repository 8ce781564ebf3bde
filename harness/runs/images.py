"""What a run's model looks like, as numbers: its latent plane, and draws from it (Figures 4 and 5 of Kingma & Welling 2014)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from harness.errors import BadInput
from harness.inference.protocols import Latents, LatentVariableModel, MeanImage
from harness.inference.rng import Streams
from harness.runs.evaluate import Trained
from harness.specs.plugin_errors import blaming
from harness.store.run import Run

SIDE = 20  # images along each edge of the latent plane

DRAWS = 10  # rows and columns of samples


class Mosaic(NamedTuple):
    """Images that belong side by side.

    Attributes:
        images: (n, rows, columns), 0 for black and 1 for white.
        columns: how many stand side by side.
        title: what they are.
        axes: what the columns and the rows stand for; None where their order means nothing.
    """

    images: NDArray[Any]
    columns: int
    title: str
    axes: tuple[str, str] | None = None


def manifold(run: Run, data_dir: str | None = None) -> Mosaic:
    """Return images E[x|z] over the plane of two latents: each axis at equally spaced quantiles of the prior N(0, 1).

    Raises:
        BadInput: the model does not have two continuous latents, it has no `mean_x`, or its data are no images.
    """
    trained = Trained(run, data_dir)
    model = trained.subject.model
    latents = model.latents if isinstance(model, LatentVariableModel) else Latents(())
    if not latents.only("continuous") or latents.total != 2:
        raise BadInput(
            f"run {run.id} has {latents.total} {latents.kinds} latents, and a plane takes 2 continuous ones: see "
            f"`harness plot samples {run.id}`"
        )
    axis = torch.from_numpy(norm.ppf((np.arange(SIDE) + 0.5) / SIDE))
    z = torch.stack(
        torch.meshgrid(axis.flip(0), axis, indexing="ij")[::-1], -1
    )  # (SIDE, SIDE, 2), the first latent along x
    images = _images(trained, z.reshape(1, -1, 2).to(model.params.flat.dtype))
    return Mosaic(images, SIDE, f"{_name(trained)}: E[x|z] at quantiles of p(z)", ("$z_1$", "$z_2$"))


def samples(run: Run, data_dir: str | None = None) -> Mosaic:
    """Return images E[x|z] for z drawn from the prior; of a model without `mean_x`, draws of x itself.

    Raises:
        BadInput: its data are no images.
    """
    trained = Trained(run, data_dir)
    model = trained.subject.model
    rng = Streams(trained.spec.seed)("figure of samples")
    if isinstance(model, LatentVariableModel) and isinstance(model, MeanImage):
        with blaming(f"model {trained.spec.model.name!r}"):
            _, z = model.sample_xz(DRAWS * DRAWS, rng)
        return Mosaic(_images(trained, z.unsqueeze(0)), DRAWS, f"{_name(trained)}: E[x|z], z drawn from p(z)")
    with blaming(f"model {trained.spec.model.name!r}"):
        drawn = model.sample(DRAWS * DRAWS, rng)
    return Mosaic(_shaped(trained, drawn), DRAWS, f"{_name(trained)}: x drawn from p(x)")


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


def _shaped(trained: Trained, x: torch.Tensor) -> NDArray[Any]:
    shape = trained.subject.dataset.shape
    if shape is None:
        raise BadInput(f"the points of dataset {trained.spec.dataset.name!r} are no images, so they cannot be drawn")
    return np.asarray(x.reshape(-1, *shape).float().cpu().numpy())


def _name(trained: Trained) -> str:
    spec = trained.spec
    model = trained.subject.model
    n_z = f", $N_z$ = {model.latents.total}" if isinstance(model, LatentVariableModel) else ""
    return f"{spec.algorithm.name}, {spec.dataset.name}{n_z}, {trained.ledger['samples']:,} samples"
