"""The conformance suite on every built-in plugin, and on plugins that break the contract."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import PLUGINS, user_names

from harness import api, native
from harness.errors import BadInput
from harness.inference import boltzmann, decoder, encoder
from harness.native import gaussian, stack
from harness.specs import registry
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.testing.models import check_model
from harness.training import subject
from harness.training.loop import Training

# One for each way in which models have latents, or none, and compute p(x); the others are slow.
EACH_WAY = {"bernoulli-mixture", "linear-gaussian", "mlp", "nade", "rbm", "sbn"}
# One for each kind of values: binary, real, unit interval, counts; the others are slow.
EACH_KIND = {"binarized-mnist", "frey", "mnist", "reuters"}


def quick(names: Iterable[str], chosen: set[str]) -> list[Any]:
    """Return names as parameters, the chosen ones first and the others marked as slow."""
    others = [name for name in names if name not in chosen]
    return [*sorted(chosen), *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models on which algorithms are not checked, but said to run."""
    monkeypatch.setattr(conformance, "check_on", lambda name, model, kind: conformance.Outcome(model, kind, None))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", registry.names("algorithms"))
def test_algorithm(name: str) -> None:
    """It is checked on every model and kind of data; what comes of each is tested below."""
    assert [(o.model, o.kind) for o in conformance.check_algorithm(name)] == [
        (model, kind) for model in registry.names("models") for kind in ("binary", "unit", "real", "counts")
    ]


@pytest.mark.parametrize("kind", ["binary", "unit", "real", "counts"])
@pytest.mark.parametrize("model", quick(registry.names("models"), EACH_WAY))
@pytest.mark.parametrize("name", registry.names("algorithms"))
def test_algorithm_on_model(name: str, model: str, kind: api.Kind) -> None:
    conformance.check_on(name, model, kind)


@pytest.mark.parametrize("name", registry.names("models"))
def test_model(name: str) -> None:
    check_model(name)


# Quick settings, with which the delta method's variances are good enough; an untrained encoder's weights vary beyond them.
QUICK = {
    "ais": {"distributions": 100, "flips": 2},
    "ais-reverse": {"distributions": 200, "flips": 2},
    "importance": {"K": 1000, "proposal": "gaussian"},
    "hmc-density": {"n_samples": 200},
    "mean-field": {"steps": 500, "draws": 20},
    "log-z-ais": {"distributions": 30},
    "log-z-ais-reverse": {"distributions": 30},
    "log-z-raise": {"distributions": 30},
}


@pytest.mark.parametrize("name", registry.names("estimators"))
def test_estimator(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for every model; what comes of each is tested below."""
    asked = []
    monkeypatch.setattr(conformance, "check_estimator_on", lambda name, model: bool(asked.append(model)) or True)
    conformance.check_estimator(name)
    assert asked == registry.names("models")


@pytest.mark.parametrize("model", quick(registry.names("models"), EACH_WAY))
@pytest.mark.parametrize("name", registry.names("estimators"))
def test_estimator_on_model(name: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boltzmann, "SWEEPS", 20)  # which small machines forget where they began in
    conformance.check_estimator_on(name, model, **QUICK.get(name, {}))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (", api.pareto.k_hat(log_w))", ")", "WEIGHTED is True, and it returns no k_hat"),
        ("WEIGHTED = True", "WEIGHTED = False", "it returns k_hat, and WEIGHTED = True does not say"),
        ("api.pareto.k_hat(log_w))", "(0 * value).abs())", "k_hat is 0 for all 600 points, whose weights differ"),
        ("api.pareto.k_hat(log_w))", "api.pareto.k_hat(log_w)[:1])", "k_hat has shape (1,)"),
        ("api.pareto.k_hat(log_w))", "math.nan * value)", "a k_hat is NaN where the value is finite"),
        ('{"effective_samples": effective}', '{"effective_samples": 0 * effective}', "sample size is below 1"),
    ],
)
def test_an_estimator_that_lies_about_its_weights_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    source = (PLUGINS.parents[1] / "docs" / "examples" / "prior_sampling.py").read_text()
    assert source.count(old) == 1, old
    path = tmp_path / "lies.py"
    path.write_text(source.replace(old, new))
    with pytest.raises(AssertionError, match=re.escape(words)):
        conformance.check_estimator(str(path), K=500)


def test_an_algorithm_that_says_that_it_takes_a_schedule_and_does_not_is_told(tmp_path: Path) -> None:
    path = changed_renyi(tmp_path, 'latents=("continuous",))', 'latents=("continuous",), schedule=True)')
    with pytest.raises(AssertionError, match=r"parameters change where problem.schedule\(\) is 0"):
        conformance.check_on(path, "mlp", "unit")


@pytest.fixture(scope="module")
def last_dataset() -> dict[tuple[str, str | None], api.Dataset]:
    """Where the last dataset is kept, so that it is read once for all algorithms."""
    return {}


@pytest.mark.parametrize("algorithm", registry.names("algorithms"))
@pytest.mark.parametrize("dataset", quick(registry.names("datasets"), EACH_KIND))
def test_algorithm_on_every_model_and_dataset_runs_or_is_refused_with_its_reason(
    algorithm: str,
    dataset: str,
    last_dataset: dict[tuple[str, str | None], api.Dataset],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two steps on real data, of full size, wherever the three go together."""
    monkeypatch.setattr(subject, "_kept", last_dataset)
    ran = []
    for model in registry.names("models"):
        small = {"nz": 2} if "nz" in registry.get("models", model).module.Config.model_fields else {}
        try:
            training = Training(make_spec(algorithm, dataset, model, settings=small, n_train=200))
        except api.files.MissingData as error:
            pytest.skip(str(error))
        except api.BadInput as refusal:
            assert "cannot" in str(refusal)
            assert "see `harness" in str(refusal)
            continue
        for _ in range(2):
            assert all(map(math.isfinite, training.step().values()))
        assert training.ledger.samples > 0
        ran.append(model)
    if not ran:  # as no built-in model of these data has latents that it infers
        module = registry.get("datasets", dataset).module
        kind = module.load(module.Config()).kind
        for model in registry.names("models"):
            with pytest.raises(api.BadInput):
                conformance.training(algorithm, model, kind)


@pytest.mark.parametrize("name", [*registry.names("datasets"), str(Path(toy.__file__))])
def test_dataset(name: str) -> None:
    try:
        conformance.check_dataset(name)
    except api.files.MissingData as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("state.rng", "torch.default_generator", "after saving and loading differs"),
        ("from harness import api", "from harness import api, training", "imports harness.training"),
        ('"Adam\'s step size"', '""', "setting lr has no help text"),
        ("bound.item()", "bound.item() * float('nan')", "its Info is not finite"),
        ("search=api.LogUniform(1e-4, 1e-2)", "search=api.LogUniform(1e-2, 1e-4)", "search space of lr"),
        ('latents=("continuous",)', 'latents=("binary",)', "it runs on nothing: .*"),
    ],
)
def test_what_breaks_the_contract_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    """Each line of the sound 30-line plugin that is changed for the worse."""
    with pytest.raises(AssertionError, match=words):
        conformance.check_algorithm(changed_renyi(tmp_path, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Rényi divergence', '"""\nRényi'),
        ('latents=("continuous",))', 'latents=("continuous",), batch="full")'),
    ],
)
def test_what_keeps_the_contract_passes(tmp_path: Path, request: pytest.FixtureRequest, old: str, new: str) -> None:
    path = changed_renyi(tmp_path, old, new)
    assert conformance.check_on(path, "mlp", "unit").refused is None
    request.getfixturevalue("unchecked")
    conformance.check_algorithm(path)


@pytest.mark.usefixtures("unchecked")
def test_a_copy_of_a_file_that_is_gone_is_checked(tmp_path: Path) -> None:
    """It is the module that was imported already, as its content is the same."""
    first = changed_renyi(tmp_path, "Rényi", "A copy of Rényi")
    conformance.check_algorithm(first)
    there = tmp_path / "there"
    there.mkdir()
    Path(first).rename(there / Path(first).name)
    conformance.check_algorithm(user_names(there / Path(first).name))


def changed_renyi(folder: Path, old: str, new: str) -> str:
    """Return the path of the sound 30-line plugin, one text of which is another."""
    source = (PLUGINS / "renyi.py").read_text()
    assert old in source
    path = folder / "changed.py"
    path.write_text(source.replace(old, new))
    return user_names(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("by_z=by_z, weight=weight)", "by_z=by_z, weight=0.9 * weight)"),
        ("found.factors)), found.g_z\n", "found.factors)), torch.zeros_like(z) if by_z else None\n"),
        (".sub_(z)\n", "\n"),  # the prior's part of the score
        ("+ LOG_2PI).sum(-1)\n\n    @metered(samples", ").sum(-1)\n\n    @metered(samples"),
        ("decoder.down(z, units, slope * grad", "decoder.down(z, units, slope * grad.sign()"),
        ("entries(x.masked_fill(gone, 0.0), a).masked_fill(gone, 0.0)", "entries(x.masked_fill(gone, 0.0), a)"),
    ],
)
def test_a_planted_error_in_the_decoder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    from harness.models import mlp

    changed = changed_module(decoder, old, new)
    monkeypatch.setattr(api, "Decoder", changed.Decoder)
    path = tmp_path / "mlp_of_another.py"
    path.write_text(Path(mlp.__file__).read_text())
    with pytest.raises((AssertionError, RuntimeError)):
        check_model(str(path))


def changed_module(module: ModuleType, old: str, new: str) -> ModuleType:
    """Return a module with one text in its source replaced."""
    source = Path(str(module.__file__)).read_text()
    assert source.count(old) == 1, old
    changed = ModuleType(f"changed_{module.__name__.rpartition('.')[2]}")
    exec(compile(source.replace(old, new), str(module.__file__), "exec"), changed.__dict__)
    return changed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "    def moments(self)",
            "    def kl(self):\n        return 1.1 * super().kl()\n\n    def moments(self)",
        ),  # a KL of another weight, with its gradient
    ],
)
def test_a_planted_error_in_the_encoder_is_found(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    monkeypatch.setattr(api, "GaussianEncoder", changed_module(encoder, old, new).GaussianEncoder)
    with pytest.raises(AssertionError):
        check_model("mlp")


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        (gaussian, "sub_(log_var).sum(-1).mul_(HALF)", "sub_(log_var).sum(-1).mul_(0.55)"),  # the KL without autograd
        (gaussian, "g_mean.add(mean, alpha=g_kl)", "g_mean"),  # a term of a gradient forgotten
        (gaussian, "squares.sub_(ONE).mul_(HALF)], dim=-1)", "squares.sub_(ONE)], dim=-1)"),
        (gaussian, "(z.square() + LOG_2PI).sum(-1)", "z.square().sum(-1)"),
        (stack, "self._squash.back(torch.mm(behind[-1], layer.W.t()), h)", "torch.mm(behind[-1], layer.W.t())"),
        (stack, "torch.mm(behind[-1], self.layers[0].W.t()).view(x.shape) if by_x", "torch.zeros_like(x) if by_x"),
        (stack, "[x, *units], behind[::-1]", "[x, *units], [0.9 * g for g in behind[::-1]]"),
    ],
)
def test_a_planted_error_in_a_primitive_is_found(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, old: str, new: str
) -> None:
    """In double precision, in which PyTorch computes them."""
    path = str(module.__file__)
    source = Path(path).read_text()
    assert source.count(old) == 1, old
    changed = ModuleType("changed_primitives")
    exec(compile(source.replace(old, new), path, "exec"), changed.__dict__)
    for name in ("drawn", "pulled"):
        monkeypatch.setattr(stack, name, getattr(changed, name))
    for name in {"Stack", "gaussian_score", "standard_normal"} & set(vars(changed)):
        monkeypatch.setattr(native, name, getattr(changed, name))
    with pytest.raises(AssertionError):
        check_model("mlp")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "train=torch.rand(5, 3), test=torch.ones(2, 3), kind='unit', sha256='0' * 64",
            "train points differ from one load",
        ),
        ("train=torch.rand(5, 3), test=torch.ones(2, 3), kind='unit'", "SHA-256 differs from one load to the next"),
        ("train=300 * torch.ones(5, 3), test=torch.ones(2, 3), kind='unit'", "train has values from 300 to 300"),
        ("train=torch.ones(5, 3), test=torch.ones(2, 4), kind='unit'", "the splits differ in dimensions"),
    ],
)
def test_a_dataset_that_lies_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "lies.py").write_text(
        f'''"""A dataset that is not what it says."""
import torch
from harness import api

class Config(api.Config):
    """No settings."""

def load(config, data_dir=None):
    """Return points."""
    return api.Dataset({content})
'''
    )
    with pytest.raises((AssertionError, BadInput), match=words):
        conformance.check_dataset(str(tmp_path / "lies.py"))
