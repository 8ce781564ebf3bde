"""The contract on families of every kind: each through `run`, `evaluate`, `certify`, and one panel and table together."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import seaborn as sns
import torch
from support import PLUGINS, Judged, Result

from harness import api, testing
from harness.analysis.stored_run import StoredRun
from harness.errors import RunFailed
from harness.estimators import quadrature
from harness.figures import panels
from harness.inference.abilities import OF_MODELS, OF_POSTERIORS
from harness.models import bernoulli_mixture, linear_gaussian, mlp
from harness.specs import registry
from harness.specs.budget import Budget, Ledger
from harness.specs.experiment import Experiment
from harness.specs.run import make_spec
from harness.store.store import Store
from harness.testing import conformance
from harness.training.evaluation import Estimator
from harness.training.loop import Training
from harness.training.metering import metered_twin

Harness = Callable[..., Result]
FAMILIES = {
    "rbm": ("contrastive-divergence", "log-z-raise"), "nade": ("maximum-likelihood", "exact"),
    "two_layer_net": ("local_signals", "lower-bound"), "deep_gaussian": ("aevb", "lower-bound"),
    "mixed_layers": ("wake-sleep", "lower-bound"),
}  # fmt: skip
"""Model: an algorithm that trains it, and the estimator that it is judged by."""
BITS = str(PLUGINS / "bits.py")


def plugin(name: str) -> str:
    """Return a plugin of the tests by its path, a built-in one by its name."""
    path = PLUGINS / f"{name}.py"
    return str(path) if path.exists() else name


def words(model: str, *more: object) -> list[str]:
    algorithm, _ = FAMILIES[model]
    common = ["--algo", plugin(algorithm), "--model", plugin(model), "--dataset", BITS, "--samples", 40_000]
    small = ["--hidden", 4, "--eval-points", 0] if model == "rbm" else []  # annealing takes a second
    return [*map(str, common + small), *map(str, more)]


@pytest.mark.parametrize("model", FAMILIES)
def test_models_pass_what_their_protocols_promise(model: str) -> None:
    testing.check_model(plugin(model))


@pytest.mark.parametrize("name", ["local_signals"])
def test_algorithms_pass(name: str) -> None:
    model = next(plugin(model) for model, (algorithm, _) in FAMILIES.items() if algorithm == name)
    first, second = (conformance.training(plugin(name), model) for _ in range(2))
    for _ in range(3):
        assert first.step() == second.step()
    assert first.ledger.samples > 0


@pytest.mark.parametrize("model", FAMILIES)
def test_run_evaluate_certify(harness: Harness, model: str) -> None:
    estimator = FAMILIES[model][1]
    done = harness("run", *words(model))
    assert done.code == 0, done.err
    assert f"{estimator} on 200 test points" in done.out
    run = re.match(r"\S+(?=: done)", done.out)
    assert run
    files = ("--dataset", BITS, *(("--model", plugin(model)) if plugin(model).endswith(".py") else ()))
    again = harness("evaluate", run[0], "--estimator", estimator, "--points", 50, "--json", *files)
    assert again.code == 0, again.err
    assert json.loads(again.out)["mean"] < 0
    certified = harness("certify", run[0], "--points", 10, "--distributions", 150, "--json", *files)
    found = json.loads(certified.out)
    assert certified.code == 0, certified
    assert found["reference"] == {"rbm": "exact-log-z", "deep_gaussian": "ais", "mixed_layers": "quadrature"}.get(
        model, "exact"
    )
    assert found["gap"] < 0.5
    assert (found["sandwiched"] is None) == (found["reference"] != "ais")


def test_one_panel_and_one_table_of_all(harness: Harness, tmp_path: Path) -> None:
    grids = "".join(f'[[grid]]\nmodel = "{plugin(m)}"\nalgo = "{plugin(a)}"\n' for m, (a, _) in FAMILIES.items())
    grids = grids.replace('model = "rbm"\n', 'model = "rbm"\nhidden = 4\n')
    path, store = tmp_path / "all.toml", Store(tmp_path / "results")
    base = f'[base]\ndataset = "{BITS}"\nsamples = 2000\nfirst-mark = 1000\nbatch-size = 20\nseed = 0\n'
    path.write_text(f'{base}{grids}[figure]\ncompare = ["model", "algo"]\n')
    assert harness("sweep", path).code == 0
    figure = panels.draw(Experiment(str(path)), [StoredRun(*run.content()) for run in store.runs("all")])
    (axes,) = figure.axes
    assert {tuple(line.get_color()) for line in axes.lines} == {*sns.color_palette("colorblind", len(FAMILIES))}
    figure.canvas.draw()
    (legend,) = figure.legends
    drawn, whole = legend.get_window_extent(), figure.bbox
    assert (drawn.x0 >= whole.x0, drawn.x1 <= whole.x1, drawn.y0 >= whole.y0) == (True, True, True)
    for model, (algorithm, estimator) in FAMILIES.items():
        begin, told = f"{model} {algorithm} (".replace("_", "-"), f"): {estimator} ("
        texts = [text.get_text() for text in legend.get_texts()]
        assert any(text.startswith(begin) and told in text for text in texts), texts
    rows = json.loads(harness("table", path, "--json").out)
    assert sorted(row["model"] for row in rows) == sorted(m.replace("_", "-") for m in FAMILIES)


def test_learning_pays(harness: Harness) -> None:
    """Each family ends above independent bits, whose entropy is what an untrained model could reach."""
    data = registry.get("datasets", BITS).module.load(registry.get("datasets", BITS).module.Config())
    p = data.train.mean(0)
    independent = (data.test @ p.log() + (1 - data.test) @ (1 - p).log()).mean().item()
    for model in ("rbm", "nade"):
        done = harness("run", *words(model), "--samples", 60_000)
        found = re.search(r"on 200 test points: (\S+)", done.out)
        assert found
        assert float(found[1]) > independent, model


def test_quadrature_sums_over_bits_and_integrates_the_rest() -> None:
    """Against a fine grid over z, for both bits, in float64."""
    module = registry.get("models", plugin("mixed_layers")).module
    data = registry.get("datasets", BITS).module.load(registry.get("datasets", BITS).module.Config())
    streams = api.Streams(3)
    model, recognition = module.build(module.Config(init_sd=1.0), api.DataFacts.of(data), streams, torch.float64)
    x = data.test[:20].double()
    axis = torch.linspace(-10.0, 10.0, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, torch.tensor([0.0, 1.0], dtype=torch.float64)).unsqueeze(1)  # (S, 1, Z)
    cell = math.log(axis[1] - axis[0])
    expected = model.log_p_xz(x, grid.expand(-1, len(x), -1)).logsumexp(0) + 2 * cell
    for proposal in (recognition, None):
        found = quadrature.estimate(model, proposal, x, quadrature.Config(), streams("noise"))
        assert (found.value - expected).abs().max() < 1e-3
        assert found.diagnostics["accepted"].min() == 1.0


def test_the_errors_of_log_z_are_not_divided_by_the_number_of_points() -> None:
    class Noisy:
        DIRECTION, NEEDS = "lower", (api.UnnormalisedModel,)

        @staticmethod
        def estimate_log_z(model: object, config: object, rng: torch.Generator) -> api.LogZ:
            return api.LogZ(3.0, 0.25)

    module = registry.get("models", plugin("rbm")).module
    data = registry.get("datasets", BITS).module.load(registry.get("datasets", BITS).module.Config())
    model, _ = module.build(module.Config(), api.DataFacts.of(data), api.Streams(0))
    found = Estimator("noisy", Noisy, api.Config()).estimate(Judged(data, model, None), "test", 100, 0)
    assert found.direction == "upper"  # log p(x) = log f(x) - log Z
    assert found.se_estimator == pytest.approx(0.5)
    assert found.diagnostics["log_Z"] == pytest.approx(3.0)


@pytest.mark.parametrize("estimator", ["lower-bound", "importance", "exact", "ais"])
def test_an_unnormalised_density_is_no_likelihood(harness: Harness, estimator: str) -> None:
    refused = harness("run", *words("rbm"), "--marginal", estimator)
    assert refused.code == 2
    assert "cannot evaluate this run" in refused.err or "it needs a model with latent variables" in refused.err


def test_a_log_probability_of_bits_above_zero_is_an_error(harness: Harness, tmp_path: Path) -> None:
    """A mixture without its normalisers: the run fails with the reason, and the number is no result."""
    source = Path(bernoulli_mixture.__file__).read_text()
    wrong = source.replace("x @ M.t() + (w.log_softmax(0) - softplus(M).sum(-1))", "(x @ M.t()).abs() + w + 1.0")
    path = tmp_path / "wrong.py"
    path.write_text(wrong)
    assert wrong != source
    given = ["--algo", "maximum-likelihood", "--model", str(path), "--dataset", BITS, "--samples", "20000"]
    failed = harness("run", *given)
    assert failed.code == 3
    assert "no log-probability of bits is above 0" in failed.err
    with pytest.raises(AssertionError, match=r"p\(x\) sums to"):
        testing.check_model(str(path))


def test_what_does_not_go_together_is_refused_in_words() -> None:
    for algorithm, model, reason in (
        ("aevb", "nade", "it needs a model with latent variables"),
        ("aevb", "rbm", "it needs a model with latent variables"),
        ("aevb", "two_layer_net", "latents are binary, and it infers continuous"),
        ("mcem", "mixed_layers", "latents are continuous and binary, and a chain moves latents of one kind"),
        ("maximum-likelihood", "mlp", r"it needs a model whose log p\(x\) is tractable"),
        ("contrastive-divergence", "nade", "it needs an unnormalised model with Gibbs moves"),
        ("local_signals", "deep_gaussian", "latents are continuous, and it infers binary"),
    ):
        with pytest.raises(api.BadInput, match=reason):
            Training(make_spec(plugin(algorithm), BITS, plugin(model)))


def test_twins_satisfy_exactly_the_protocols_of_what_they_wrap() -> None:
    facts = api.DataFacts("binary", 8, 60)
    for name in (*FAMILIES, "mlp", "linear-gaussian"):
        module = registry.get("models", plugin(name)).module
        facts = api.DataFacts(module.OBSERVES[0], 8, 60)
        model, recognition = module.build(module.Config(), facts, api.Streams(0))
        twin = metered_twin(model, Ledger())
        for protocol in OF_MODELS:
            assert isinstance(twin, protocol) == isinstance(model, protocol), (name, protocol)
        if recognition is None:
            continue
        watched = metered_twin(recognition, Ledger())
        assert isinstance(watched, api.Recognition)
        posterior = watched.posterior(torch.zeros(2, 8))
        for protocol in OF_POSTERIORS:
            expected = isinstance(recognition.posterior(torch.zeros(2, 8)), protocol)
            assert isinstance(posterior, protocol) == api.offers(watched, protocol) == expected, (name, protocol)


def test_rows_are_those_of_the_argument_that_is_named() -> None:
    """A result of another shape, (S, B, L + 1), counts S · B; and a whole number itself."""
    module = registry.get("models", plugin("two_layer_net")).module
    model, _ = module.build(module.Config(), api.DataFacts("binary", 8, 60), api.Streams(0))
    ledger = Ledger()
    twin = metered_twin(model, ledger)
    twin.log_p_layers(torch.zeros(5, 8), torch.zeros(3, 5, 7)).sum().backward()
    assert (ledger.samples, ledger.decoder_rows, ledger.decoder_rows_grad) == (15, 15, 15)
    twin.sample(11, torch.Generator())
    assert (ledger.fantasies, ledger.decoder_rows) == (11, 26)
    with pytest.raises(TypeError, match="counts the rows of 'y': choose one of x, z"):
        api.metered(samples=True, count="y")(lambda self, x, z: None)


@pytest.mark.parametrize("module", [mlp, linear_gaussian])
def test_models_can_be_mapped(module: object) -> None:
    """`torch.func.vmap` over samples gives the same densities, and counts the same rows."""
    facts = api.DataFacts("real", 8, 60)
    model, recognition = module.build(module.Config(nz=2), facts, api.Streams(0))  # type: ignore[attr-defined]
    counted, plain = Ledger(), Ledger()
    x, z = torch.randn(5, 8), torch.randn(3, 5, 2)
    mapped = torch.func.vmap(lambda one: metered_twin(model, counted).log_p_xz(x, one.unsqueeze(0))[0])(z)
    torch.testing.assert_close(mapped, metered_twin(model, plain).log_p_xz(x, z))
    assert counted.samples == plain.samples == 15
    kl = torch.func.vmap(lambda one: recognition.posterior(one.unsqueeze(0)).kl()[0])(x)
    torch.testing.assert_close(kl, recognition.posterior(x).kl())


WARM = '''"""AEVB that warms up."""
from harness.algorithms.aevb import TRAITS, Config, Info, State, init, step

def warm_up(state, batch):
    """Evaluate the model once."""
    p, q = state.problem.model, state.problem.recognition
    p.log_p_xz(batch.x, q.posterior(batch.x).sample(1, __import__("torch").Generator()))
'''


def test_a_warm_up_is_on_the_set_up_clock_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "warm.py"
    path.write_text(WARM)
    spec = {"settings": {"nz": 2, "hidden": 5}}
    warm, cold = Training(make_spec(str(path), BITS, **spec)), Training(make_spec("aevb", BITS, **spec))
    assert warm.ledger == cold.ledger == Ledger()
    assert warm.clocks.cpu() == 0.0
    assert [warm.step() for _ in range(3)] == [cold.step() for _ in range(3)]
    path.write_text(WARM + "    step(state, batch)\n")
    with pytest.raises(RunFailed, match="changed parameters or its state"):
        Training(make_spec(str(path), BITS, **spec))


def test_validation_points_can_be_evaluated_at_marks(tmp_path: Path) -> None:
    source = Path(BITS).read_text().replace('drawn at random")', 'drawn at random", valid=x[:50])')
    path = tmp_path / "with_valid.py"
    path.write_text(source)
    given = {"settings": {"nz": 2, "hidden": 5}, "splits": ["train", "valid", "test"]}
    run = Training(make_spec("aevb", str(path), **given))
    (row,) = [row for row in run.rows(Budget(samples=1000)) if not isinstance(row, str)]
    assert [e["split"] for e in row["estimates"]] == ["train", "valid", "test"]
    with pytest.raises(api.BadInput, match="has no such points"):
        Training(make_spec("aevb", BITS, **given))


def test_parameters_of_an_algorithms_own_are_saved_and_restored(tmp_path: Path) -> None:
    """A baseline network as api.Parameters in the state goes through a checkpoint."""
    source = (PLUGINS / "local_signals.py").read_text()
    source = source.replace("    adagrad: api.Adagrad\n", "    adagrad: api.Adagrad\n    baseline: api.Parameters\n")
    source = source.replace("lr=config.lr))", 'lr=config.lr), api.Parameters({"w": (3, 2)}, {"b": (2,)}))')
    source = source.replace("    p, q, x =", "    state.baseline.normal_(1.0, state.rng)\n    p, q, x =")
    path = tmp_path / "with_baseline.py"
    path.write_text(source)
    first, second = (conformance.training(str(path), plugin("two_layer_net")) for _ in range(2))
    first.step()
    second.load(first.checkpoint())
    assert torch.equal(first.state.baseline.flat, second.state.baseline.flat)
    assert first.step() == second.step()


RELU = '''"""A correct model with ReLU units and biases of zero."""
import math
import torch
from harness import api
from harness.models import linear_gaussian

OBSERVES = ("real",)
Config = linear_gaussian.Config

def build(config, data, streams, dtype=torch.float32):
    model, _ = linear_gaussian.build(config, data, streams, dtype)
    return Relu(config, data, dtype), None

class Relu(linear_gaussian.LinearGaussian):
    log_p_x = exact_posterior = mean_x = None

    @api.metered(samples=True, rows="decoder", count="z")
    def log_p_x_given_z(self, x, z):
        W, mean, log_noise = self.params.split()
        error = x - (z @ W + mean).relu()
        return -0.5 * (error.square() * (-log_noise).exp() + log_noise + math.log(2 * math.pi)).sum(-1)
'''


def test_a_kink_at_zero_is_no_wrong_gradient(tmp_path: Path) -> None:
    """Parameters all at zero put every ReLU at its kink, where differences are not derivatives."""
    path = tmp_path / "relu.py"
    path.write_text(
        RELU.replace("harness.models import", "harness.models import").replace(
            "from harness.models import linear_gaussian", "import harness.models.linear_gaussian as linear_gaussian"
        )
    )
    with pytest.raises(AssertionError, match="imports harness.models"):
        testing.check_model(str(path))
    from harness.testing import models

    module = registry.get("models", str(path)).module
    data = testing.conformance.toy.load(testing.conformance.toy.Config(kind="real"))
    model, _ = module.build(module.Config(nz=2), api.DataFacts.of(data), api.Streams(0), torch.float64)
    models._jitter(model.params.flat, torch.Generator().manual_seed(0))
    models._check_latents(models.Case(model, data.train[:4].double(), api.Streams(1)))


def test_facts_of_the_data_have_mean_shape_and_counts() -> None:
    data = registry.get("datasets", BITS).module.load(registry.get("datasets", BITS).module.Config())
    facts = api.DataFacts.of(data)
    torch.testing.assert_close(facts.mean, data.train.mean(0))
    assert facts.counts == {"train": 200, "test": 200}
    assert (facts.shape, facts.n_train, facts.dim) == (None, 200, 8)
    assert math.isclose(api.DataFacts("binary", 3, 1).mean.sum().item(), 1.5)
