"""Data that do not suit a model: warned of once, stored with the run, not refused; and divergence that no step size explains."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import Result

from harness import api
from harness.data.suitability import Expects, warnings
from harness.store.store import Store
from harness.testing import toy

Harness = Callable[..., Result]

FAR = '''"""Real data of a scale that can be chosen, with a constant column if need be."""
import torch
from harness import api


class Config(api.Config):
    """What the data look like."""

    size: float = api.setting(4000.0, "around what they lie")
    constant: bool = api.setting(False, "whether column 2 is constant")


def load(config, data_dir=None):
    x = config.size * (1 + 0.2 * torch.randn(300, 6, generator=api.Streams(0)("far")))
    if config.constant:
        x[:, 2] = 0.5
    return api.Dataset(x[:200], x[200:], kind="real")
'''


@pytest.fixture
def far(tmp_path: Path) -> Path:
    path = tmp_path / "far.py"
    path.write_text(FAR)
    return path


def real(values: torch.Tensor, **more: object) -> api.Dataset:
    return api.Dataset(values, values[:2], kind="real", **more)  # type: ignore[arg-type]


def test_values_far_from_one_are_told_with_a_scale_that_helps() -> None:
    x = torch.tensor([[3000.0, 1.0], [5000.0, 2.0], [4000.0, 0.5]])
    (words,) = warnings("mine", real(x)).values()
    assert words.startswith(
        "dataset 'mine' has values from 0.5 to 5,000, and a root mean square above 100 in column 0, where"
    )
    assert "standardise each column, or bring all nearer to 1, such as by scale=0.0001 of api.Dataset" in words
    assert warnings("mine", real(x, scale=0.001)) == {}
    (words,) = warnings("mine", real(1e-5 * x[:, 1:])).values()
    assert "a root mean square of 1.3e-05, where" in words
    assert "scale=100000 of api.Dataset" in words
    assert warnings("mine", real(torch.zeros(3, 2))) == {}


def test_only_what_matters_to_the_model_is_told() -> None:
    x = torch.tensor([[0.2, 0.5, 3.0], [0.4, 0.5, -1.0], [0.1, 0.5, 0.0]])
    assert warnings("mine", real(x)) == {}
    found = warnings("mine", real(x), Expects((0.0, 1.0), "--gaussian-mean linear", learned_variance=True))
    assert found.keys() == {"range", "constant"}
    assert (
        "values from -1 to 3, some outside (0, 1) in column 2, and the mean of the model lies within" in found["range"]
    )
    assert found["range"].endswith("give --gaussian-mean linear, or scale the data into (0, 1)")
    assert "has one value, 0.5, in all 3 training points of column 1," in found["constant"]
    assert warnings("mine", real(x[:, :1]), Expects((0.0, 1.0), learned_variance=True)) == {}
    ends = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)  # pixels may be black or white
    assert warnings("mine", real(ends, scale=1 / 255), Expects((0.0, 1.0))) == {}


def test_what_built_in_models_expect() -> None:
    data = toy.load(toy.Config(kind="real"))
    x = torch.cat([data.train, torch.ones(60, 1)], dim=1)
    wider = api.Dataset(x, x, kind="real")

    def told(model: str, **settings: object) -> set[str]:
        from harness.specs import registry

        module = registry.get("models", model).module
        built = module.build(module.Config(nz=2, **settings), api.DataFacts.of(wider), api.Streams(0))[0]
        return {*warnings("mine", wider, getattr(built, "expects", None))}

    assert told("mlp", hidden=5) == {"range", "constant"}
    assert told("mlp", hidden=5, gaussian_mean="linear") == {"constant"}
    assert told("linear-gaussian") == {"constant"}
    assert told("linear-gaussian", noise="isotropic") == set()


def test_a_run_warns_once_goes_on_and_keeps_it(harness: Harness, far: Path, tmp_path: Path) -> None:
    words = ["run", "--algo", "aevb", "--dataset", far, "--size", 3, "--constant", "true", "--nz", 2, "--hidden", 5]
    done = harness(*words, "--samples", 2000)
    assert done.code == 0
    assert [line.split(" has ")[0] for line in done.err.splitlines() if "warning" in line] == [
        "harness: warning: dataset 'far'"
    ] * 2
    assert "warning" not in harness(*words, "--samples", 2000).err  # it was done
    assert "warning" not in harness(*words, "--samples", 4000).err  # it goes on
    (run,) = Store(tmp_path / "results").runs()
    told = run.read().provenance[0]["warnings"]
    shown = harness("show", run.id).out
    for sentence in told:
        assert shown.count(f"warning: {sentence}") == 1
    linear = harness(*words[:6], *words[8:], "--gaussian-mean", "linear", "--samples", 2000)
    assert "--gaussian-mean" not in linear.err


def test_a_sweep_warns_once_for_a_dataset(harness: Harness, far: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    grid = 'algo = ["aevb", "wake-sleep"]\nsize = 3\nnz = [2, 3]\nhidden = 5\nsamples = 500\n'
    path.write_text(f'[[grid]]\ndataset = "{far}"\n{grid}')
    done = harness("sweep", path)
    assert done.code == 0
    assert done.err.count("warning: dataset 'far' has values from") == 1
    assert "warning" not in harness("sweep", path, "--dry-run").err  # nothing is left to do


@pytest.mark.parametrize("algorithm", ["aevb", "wake-sleep"])
@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        (["--size", 4000], "no step size helps: look at the scale of the data (values from 1,4"),
        (["--size", 3, "--gaussian-mean", "linear", "--init-sd", 50], " and of the initial weights; its rows"),
        (["--size", 3, "--gaussian-mean", "linear", "--lr", 1e5], ": try a smaller step size; its rows"),
        (["--size", 110, "--lr", 1e8], "data (values from "),
    ],
)
def test_divergence_is_blamed_on_what_caused_it(
    algorithm: str, settings: list[object], remedy: str, far: Path, harness: Harness, tmp_path: Path
) -> None:
    words = ["run", "--algo", algorithm, "--dataset", far, "--nz", 2, "--hidden", 5, *settings, "--samples", 20_000]
    done = harness(*words)
    assert done.code == 3
    assert remedy in done.err
    already = "at the initial weights it was" in done.err
    assert already == ("no step size helps" in done.err)
    (run,) = json.loads(harness("list", "--json").out)
    assert ("at the initial weights it was" in run["reason"]) == already
