"""How well a stored run's model tells entries of test points that are hidden from it, iteration by iteration of a chain."""

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.hiding import hidden
from harness.errors import BadInput
from harness.inference import imputation
from harness.inference.abilities import missing
from harness.inference.protocols import FactorialModel, MeanImage, Recognition
from harness.inference.rng import Streams
from harness.runs import images
from harness.runs.code import code_version
from harness.runs.evaluate import Trained
from harness.specs.plugin_errors import blaming
from harness.training.evaluation import chosen_points

ROWS = 2000  # points times chains at a time: activations stay in cache

DRAWN, MOST_DRAWN = 6, 15  # points and iterations in a picture


@dataclass(frozen=True)
class Imputation:
    """What was found.

    Attributes:
        settings: what was asked for: `missing`, `iterations`, `chains`, `points`, `seed`, by what z is drawn (`latents`), and
            `weights`.
        entries: how many hidden entries of a point are scored, on average.
        curve: of every iteration, `nats`, the mean over points of the log of the mean over chains of p(hidden | z), and
            `se`, its standard error over points; the same divided by the number of hidden entries, `nats_per_entry` and
            `se_per_entry`; and from the second on `gain`, how much better it is than the iteration before, and `se_gain`,
            the standard error of that over points, which both iterations share.
        images: of the first points, the true image, the observed part, and the image at the first iterations of one chain,
            (n, 2 + iterations, rows, columns); None where they are no images.
    """

    settings: dict[str, Any]
    entries: float
    curve: list[dict[str, float]]
    images: NDArray[Any] | None

    def row(self) -> dict[str, Any]:
        """Return it as plain data, without images."""
        return {"settings": self.settings, "direction": "lower", "entries": self.entries, "curve": self.curve}


def impute(
    trained: Trained, how: float | str, *, iterations: int, chains: int, points: int, seed: int, keep: bool = True
) -> Imputation:
    """Hide entries of test points, draw them by chains, and score the densities that the chains' latents give to the truth.

    Missing entries begin at draws from the values of their columns in training. Of the C chains of a point, the latents z_c of an
    iteration were drawn without sight of what is hidden, so the mean of p(hidden | z_c) is a prediction of it; the logarithm of a
    mean over few chains lies below that of the prediction itself, in expectation.

    Args:
        trained: the run.
        how: what is hidden; see `harness.data.hiding.hidden`.
        iterations: of every chain.
        chains: C, of every point.
        points: how many test points.
        seed: fixes what is hidden, and the chains.
        keep: whether it is added to the run.

    Raises:
        BadInput: the model has no density of single entries, or what is asked for cannot be hidden.
    """
    subject, run = trained.subject, trained.run
    if reason := missing((FactorialModel,), subject.model, None):
        raise BadInput(f"run {run.id} cannot be imputed: {reason}; see `harness models`")
    dataset, streams = subject.dataset, Streams(seed)
    truth = chosen_points(dataset, "test", points)  # (n, D)
    hide = hidden(how, truth, dataset.shape, streams("hidden entries"))
    noise, latents, size = streams("imputation"), _latents(trained), max(1, ROWS // chains)
    scores, frames = [], [truth[:DRAWN], truth.masked_fill(hide, math.nan)[:DRAWN]]
    with torch.no_grad(), blaming(f"model {trained.spec.model.name!r}"):
        model: Any = subject.model if latents == "recognition" else _of_observed(trained)
        for number, (x, gone) in enumerate(zip(truth.split(size), hide.split(size), strict=True)):
            start = dataset.marginal(chains * len(x), noise)
            shown = x.masked_fill(gone, math.nan).repeat(chains, 1)  # (C B, D)
            draw_z = _draw(latents, subject.recognition, model, shown, noise)
            score = []
            for z, v in itertools.islice(imputation.chain(model, draw_z, shown, start, noise), iterations):
                score.append(_score(model, z, x, gone, chains))
                if number == 0 and len(frames) < 2 + MOST_DRAWN:
                    frames.append(_seen(model, z[:, : len(frames[0])], v, shown))
            scores.append(torch.stack(score))  # (T, B)
    scored = (hide & ~truth.isnan()).sum(-1)  # entries of each point
    curve = _curve(torch.cat(scores, dim=1)[:, scored > 0], scored[scored > 0])
    pictures = None
    if dataset.shape is not None:
        pictures = torch.stack(frames, 1).view(len(frames[0]), len(frames), *dataset.shape).float().numpy()
    settings = {
        "missing": str(how), "iterations": iterations, "chains": chains, "points": len(truth), "seed": seed,
        "latents": latents, "weights": trained.weights,
    }  # fmt: skip
    found = Imputation(settings, scored.double().mean().item(), curve, pictures)
    if keep:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        row = {"time": when, "code": code_version(), "ledger": dict(trained.ledger), "imputation": found.row()}
        run.append_imputation(row)
    return found


def mosaic(trained: Trained, found: Imputation) -> images.Mosaic:
    """Return the images of some points side by side: a row each, with the true one and the observed part first."""
    assert found.images is not None  # as points are images
    told = isinstance(trained.subject.model, MeanImage)
    what = f"--missing {found.settings['missing']}: " + (
        "E[v|z] of what is hidden" if told else "draws of what is hidden"
    )
    heads = ("true", "observed", *map(str, range(1, found.images.shape[1] - 1)))
    return images.mosaic(trained, found.images.reshape(-1, *found.images.shape[2:]), what, heads)


def _latents(trained: Trained) -> str:
    """Return by what latents are drawn; BadInput where nothing can."""
    if trained.subject.recognition is not None:
        return "recognition"
    latents = trained.subject.model.latents  # type: ignore[attr-defined]
    for kind, way in (("continuous", "hmc"), ("binary", "gibbs")):
        if latents.only(kind):
            return way
    raise BadInput(
        f"run {trained.run.id} has no recognition model, and a chain moves latents of one kind, where the model's are "
        f"{latents.kinds}: train it by an algorithm with a recognition model, see `harness algos`"
    )


def _of_observed(trained: Trained) -> Any:
    """Return the run's model as one that may be given points with entries missing; BadInput where it cannot."""
    if not getattr(trained.spec.model.plugin("models").module, "MISSING", False):
        raise BadInput(
            f"run {trained.run.id} has no recognition model, and its model does not say MISSING = True, so it has no posterior "
            "given some entries: train it by an algorithm with a recognition model, see `harness algos`"
        )
    return trained.subject.with_missing(trained.spec).model


def _draw(
    latents: str, recognition: Recognition | None, model: Any, shown: Tensor, noise: torch.Generator
) -> imputation.DrawLatents:
    if recognition is not None:
        return imputation.by_recognition(recognition, noise)
    return (imputation.by_hmc if latents == "hmc" else imputation.by_gibbs)(model, shown, noise)


def _score(model: FactorialModel, z: Tensor, x: Tensor, gone: Tensor, chains: int) -> Tensor:
    """Return the log of the mean over chains of p(what is hidden of x | z), (B,), from z (1, C B, Z)."""
    entries = model.log_p_entries(x.repeat(chains, 1), z).view(chains, *x.shape)
    log_p = torch.where(gone & ~x.isnan(), entries, 0.0).double().sum(-1)  # (C, B)
    return log_p.logsumexp(0) - math.log(chains)


def _seen(model: Any, z: Tensor, v: Tensor, shown: Tensor) -> Tensor:
    """Return the points (n, D) of z (1, n, Z) for a picture: what is observed, and the mean of the rest given z.

    Draws of the rest where a model has no mean.
    """
    v, shown = v[: z.shape[1]], shown[: z.shape[1]]
    return torch.where(shown.isnan(), model.mean_x(z)[0], shown) if isinstance(model, MeanImage) else v


def _curve(scores: Tensor, counts: Tensor) -> list[dict[str, float]]:
    """Return mean and standard error of scores (T, n), of scores divided by how many entries they are of (n,), and of gains."""
    parts = {("nats", "se"): scores, ("nats_per_entry", "se_per_entry"): scores / counts}
    columns = {name: values for names, part in parts.items() for name, values in zip(names, _mean(part), strict=True)}
    gains = zip(*(values.tolist() for values in _mean(scores.diff(dim=0))), strict=True)
    out = [{"iteration": t + 1, **{name: own[t].item() for name, own in columns.items()}} for t in range(len(scores))]
    return [
        out[0],
        *({**one, "gain": gain, "se_gain": error} for one, (gain, error) in zip(out[1:], gains, strict=True)),
    ]


def _mean(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means (T,) of scores (T, n), and their standard errors; NaN of one point."""
    n = scores.shape[1]
    return scores.mean(1), scores.std(1) / math.sqrt(n) if n > 1 else scores.new_full((len(scores),), math.nan)
