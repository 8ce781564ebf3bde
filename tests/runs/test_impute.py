"""`harness impute`: chains that draw hidden entries, against exact conditionals; what it stores, prints and refuses."""

import json
import math
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import Result

from harness import api
from harness.data.hiding import hidden
from harness.figures.output import FORMATS
from harness.inference import imputation
from harness.models import linear_gaussian
from harness.runs.evaluate import Trained
from harness.runs.impute import _curve, impute
from harness.specs import registry
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

ERRORS = 4.5  # standard errors: one comparison in 100,000 fails by chance


@pytest.mark.parametrize("way", ["recognition", "hmc"])
def test_the_chain_draws_from_the_exact_conditional_of_a_linear_gaussian_model(way: str) -> None:
    """Mean and covariance of what is missing given what is observed, over many chains of two points.

    20 means and 42 covariances are compared, each off by more than 4.5 standard errors with probability 7e-6.
    """
    facts = api.DataFacts("real", 6, 50, missing=True)
    model, _ = linear_gaussian.build(linear_gaussian.Config(nz=2, init_sd=0.6), facts, api.Streams(1), torch.float64)
    rng = api.Streams(0)("chain")
    x = torch.randn(2, 6, generator=rng, dtype=torch.float64)
    x[0, [0, 3, 4, 5]] = math.nan
    x[1, [1, 2, 3, 5]] = math.nan
    n = 4000 if way == "recognition" else 1500
    shown = x.repeat(n, 1)
    exact: Any = SimpleNamespace(posterior=model.exact_posterior)
    draw_z = imputation.by_recognition(exact, rng) if way == "recognition" else imputation.by_hmc(model, shown, rng)
    start = torch.randn(shown.shape, generator=rng, dtype=torch.float64)
    (last,) = islice(imputation.chain(model, draw_z, shown, start, rng), 40, 41)
    v = last.v.view(n, 2, 6)
    W, mean, log_noise = model.params.views
    covariance = W.T @ W + torch.diag(log_noise.exp())
    for k in range(2):
        gone = x[k].isnan()
        gain = covariance[gone][:, ~gone] @ covariance[~gone][:, ~gone].inverse()
        expected = mean[gone] + gain @ (x[k, ~gone] - mean[~gone])
        spread = covariance[gone][:, gone] - gain @ covariance[~gone][:, gone]
        drawn = v[:, k, gone]
        assert ((drawn.mean(0) - expected).abs() < ERRORS * (spread.diagonal() / n).sqrt()).all()
        products = (drawn - expected).unsqueeze(-1) * (drawn - expected).unsqueeze(-2)
        assert ((products.mean(0) - spread).abs() < ERRORS * products.std(0) / n**0.5).all()
        assert v[:, k, ~gone].equal(x[k, ~gone].expand(n, -1))  # what is observed stays


def test_gibbs_sampling_without_a_recognition_model_meets_the_exact_conditional() -> None:
    """Of a sigmoid belief net with few latents: the probability of each missing bit, by enumeration of latents."""
    module = registry.get("models", "sbn").module
    data = toy.load(toy.Config(kind="binary", missing=0.3))
    model, _ = module.build(
        module.Config(layers="3-2", init_sd=1.5), api.DataFacts.of(data), api.Streams(2), torch.float64
    )
    x, n, rng = data.train[:2].double(), 1500, api.Streams(0)("chain")
    z = next(api.states(5, 32, torch.float64)).unsqueeze(1).expand(-1, 2, -1)  # (S, B, Z)
    weights = model.log_p_xz(x, z).detach().softmax(0)  # p(z | observed)
    expected = (weights.unsqueeze(-1) * model.mean_x(z)).sum(0)  # (B, D)
    shown = x.repeat(n, 1)
    steps = imputation.chain(model, imputation.by_gibbs(model, shown, rng), shown, torch.zeros_like(shown), rng)
    (last,) = islice(steps, 60, 61)
    drawn, gone = last.v.view(n, 2, -1).mean(0), x.isnan()
    error = (expected * (1 - expected) / n).sqrt()
    assert ((drawn - expected).abs() < ERRORS * error)[gone].all()


def test_what_is_hidden(rng: torch.Generator) -> None:
    x = torch.zeros(5, 30)
    some = hidden(0.6, x, None, rng)
    assert some.sum(-1).tolist() == [18] * 5
    assert not some[0].equal(some[1])
    for pattern, which in {
        "left": [[True, True, False, False, False]] * 6,
        "top": [[True] * 5] * 3 + [[False] * 5] * 3,
        "square": [[False] * 5] + [[False, True, True, True, False]] * 3 + [[False] * 5] * 2,
    }.items():
        assert hidden(pattern, x, (6, 5), rng)[2].view(6, 5).tolist() == which


@pytest.mark.parametrize(
    ("missing", "shape", "said"),
    [
        ("square", None, "--missing is 'square', and the points are no images: give a share, such as 0.6"),
        (0.99, None, "--missing is 0.99, which hides all of the 4 entries of a point"),
        (0.01, None, "--missing is 0.01, which hides none of the 4 entries of a point"),
        ("top", (2, 2), "--missing is top, which hides all that is observed of point 1: hide fewer entries"),
    ],
)
def test_what_cannot_be_hidden(missing: Any, shape: Any, said: str, rng: torch.Generator) -> None:
    x = torch.zeros(3, 4)
    x[1, 2:] = math.nan
    with pytest.raises(api.BadInput, match=said):
        hidden(missing, x, shape, rng)


IMAGES = '''"""Tiny images."""

import torch

from harness import api


class Config(api.Config):
    """No settings."""


def load(config, data_dir=None):
    """Return noisy bars."""
    rng = api.Streams(0)("bars")
    rows = torch.randint(2, (140, 5, 1), generator=rng).expand(-1, -1, 4).bool()
    x = rows ^ (torch.rand(140, 5, 4, generator=rng) < 0.05)
    return api.Dataset(x[:100], x[100:], kind="binary")
'''


@pytest.fixture
def bars(tmp_path: Path) -> str:
    (tmp_path / "bars.py").write_text(IMAGES)
    return str(tmp_path / "bars.py")


def test_the_command(harness: Harness, bars: str, tmp_path: Path) -> None:
    """It improves on its first iteration, adds what it found to the run, draws a picture, and gives the same again."""
    words = ("run", "--algo", "aevb", "--dataset", bars, "--nz", 3, "--hidden", 20, "--samples", 150_000, "--quiet")
    assert harness(*words, "--lr", 0.1, "--init-sd", 0.1, "--warmup", 10, "--eval-points", 0).code == 0
    (run,) = Store(tmp_path / "results").runs()
    ask = ("impute", run.id, "--missing", 0.4, "--points", 40, "--chains", 20, "--iterations", 6, "--dataset", bars)
    found = harness(*ask, "--json", "--out", tmp_path / "picture.png")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert (tmp_path / "picture.png").stat().st_size > 5000
    assert told["entries"] == 8
    assert told["settings"]["latents"] == "recognition"
    nats = [one["nats"] for one in told["curve"]]
    assert [one["iteration"] for one in told["curve"]] == [1, 2, 3, 4, 5, 6]
    assert nats[-1] > nats[0] + 0.5
    assert nats[-1] > 8 * math.log(0.5) + 1  # better than a coin
    assert told["curve"][0]["nats_per_entry"] == pytest.approx(nats[0] / 8)
    assert "gain" not in told["curve"][0]
    assert [one["gain"] for one in told["curve"][1:]] == pytest.approx([b - a for a, b in pairwise(nats)])
    (row,) = run.imputations()
    assert row["imputation"] == {name: told[name] for name in ("settings", "direction", "entries", "curve")}
    again = harness(*ask)
    assert again.code == 0
    assert len(run.imputations()) == 1  # the same is not added twice
    assert max(map(len, again.out.splitlines())) <= 80
    assert "8 entries of a test point" in again.out
    drawn = harness("plot", "imputations", run.id)
    assert [Path(line).name for line in drawn.out.splitlines()] == [f"{run.id}-imputations.{end}" for end in FORMATS]
    shown = harness("show", run.id)
    assert "hidden entries of test points after the last iteration" in shown.out
    part = harness("impute", run.id, "--missing", "left", "--dataset", bars)
    assert part.code == 0
    assert len(run.imputations()) == 2
    assert json.loads(harness("show", run.id, "--json").out)["imputations"] == run.imputations()
    (run.path / "imputations.json").write_text("[]")
    assert "imputations.json was edited or damaged" in harness("show", run.id).err
    assert "imputations.json" in harness("doctor", "--store").out


@pytest.mark.parametrize(
    ("model", "kind"), [("mlp", "real"), ("mlp", "unit"), ("linear-gaussian", "real"), ("sbn", "binary")]
)
@pytest.mark.parametrize("algorithm", ["wake-sleep", "mcem"])
def test_every_model_is_imputed_with_and_without_a_recognition_model(
    harness: Harness, algorithm: str, model: str, kind: str, tmp_path: Path
) -> None:
    sizes = {"mlp": ("--nz", 2, "--hidden", 5), "linear-gaussian": ("--nz", 2), "sbn": ("--layers", "3-2")}[model]
    words = (
        "run",
        "--algo",
        algorithm,
        "--model",
        model,
        "--dataset",
        toy.__file__,
        "--kind",
        kind,
        *sizes,
        "--missing",
        0.2,
    )
    assert harness(*words, "--samples", 2000, "--eval-points", 0, "--quiet").code == 0
    (run,) = Store(tmp_path / "results").runs()
    found = impute(Trained(run), 0.3, iterations=2, chains=2, points=10, seed=0)
    way = {"wake-sleep": "recognition"}.get(algorithm, "gibbs" if model == "sbn" else "hmc")
    assert found.settings["latents"] == way
    assert 0 < found.entries < 4  # some of those hidden are missing in the data, which are not scored
    assert all(math.isfinite(value) for one in found.curve for value in one.values())
    assert found.images is None


def test_gains_are_paired_over_points() -> None:
    """Two points of very different scores that gain 1 and 3 nats: the gain is 2 ± 1, however far apart they are."""
    first, second = _curve(torch.tensor([[-10.0, -90.0], [-9.0, -87.0]]), torch.tensor([2, 3]))
    assert first == {
        "iteration": 1,
        "nats": -50,
        "se": pytest.approx(40),
        "nats_per_entry": -17.5,
        "se_per_entry": pytest.approx(12.5),
    }
    assert (second["gain"], second["se_gain"]) == (2, pytest.approx(1))


@pytest.mark.slow
def test_the_chain_improves_on_digits(harness: Harness, mnist: api.Dataset, tmp_path: Path) -> None:
    """What is hidden of digits is told better at each iteration, within errors, and far better at the last than at the first."""
    words = ("run", "--algo", "aevb", "--nz", 10, "--hidden", 100, "--binarize", "threshold", "--samples", 300_000)
    assert harness(*words, "--lr", 0.05, "--eval-points", 0, "--final-points", 100, "--quiet").code == 0
    (run,) = Store(tmp_path / "results").runs()
    curve = impute(Trained(run), 0.6, iterations=8, chains=10, points=200, seed=0).curve
    nats, error = ([one[name] for one in curve] for name in ("nats", "se"))
    gains = [(one["gain"], one["se_gain"]) for one in curve[1:]]
    print(f"held-out log-likelihood: {', '.join(f'{one:.1f}' for one in nats)} ± {error[-1]:.1f}")
    print(f"paired gains: {', '.join(f'{gain:.2f} ± {own:.2f}' for gain, own in gains)}")
    assert nats[-1] > nats[0] + 4 * error[-1]
    assert all(gain > -ERRORS * own for gain, own in gains)


def test_what_cannot_be_imputed_is_refused(harness: Harness, tiny_run: list[str], tmp_path: Path) -> None:
    assert harness(*tiny_run, "--quiet").code == 0
    (run,) = Store(tmp_path / "results").runs()
    for words, said in [
        (
            ("--missing", "1.5"),
            "--missing is '1.5': give a share between 0 and 1, such as 0.6, or square or left or top",
        ),
        (("--missing", "square"), "--missing is 'square', and the points are no images: give a share, such as 0.6"),
        (("--missing", "0.97"), "--missing is 0.97, which hides all of the 12 entries of a point"),
        (("--missing", "0.5", "--out", "a.png"), "are no images, so they cannot be drawn"),
        (("--missing", "0.5", "--chains", "0"), "--chains is '0': give a whole number from 1"),
    ]:
        refused = harness("impute", run.id, *words, "--dataset", toy.__file__)
        assert (refused.code, said in refused.err) == (2, True), refused.err
    assert run.imputations() == []
    nothing = harness("plot", "imputations", run.id)
    assert nothing.code == 2
    assert f"run {run.id} has no imputation: make one by `harness impute {run.id} --missing 0.6`" in nothing.err
    words = (
        "run", "--algo", "contrastive-divergence", "--model", "rbm", "--hidden", 4, "--dataset", toy.__file__, "--samples", 500,
        "--eval-points", 0, "--final-points", 10, "--quiet",
    )  # fmt: skip
    assert harness(*words).code == 0
    other = next(one for one in Store(tmp_path / "results").runs() if one.id != run.id)
    refused = harness("impute", other.id, "--missing", "0.5", "--dataset", toy.__file__)
    assert refused.code == 2
    assert "it needs a model whose entries are independent given z (log_p_entries, sample_x)" in refused.err
