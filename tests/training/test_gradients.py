"""Draws of gradient estimators: no bias where there is none, planted ones found, states put back, costs counted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import PLUGINS, user_names

from harness.analysis.bias import bias
from harness.errors import PluginFailed, RunFailed
from harness.specs import registry
from harness.specs.run import settings_of
from harness.testing import conformance
from harness.training.gradients import GROUPS, Bench, Block, Draws, GradientEstimator, Measured
from harness.training.subject import Subject

FIT = 40
LEAST_P = 1e-4


def subject(model: str = "sbn", kind: Any = "binary", **settings: Any) -> Subject:
    """Return models whose parameters are away from 0, and tiny data."""
    found = conformance.training("wake-sleep", model, kind, **settings).subject
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for part in found.parts:
            part.params.flat.add_(0.7 * torch.randn(part.params.flat.shape, generator=rng))
    return found


def estimator(name: str, **settings: Any) -> GradientEstimator:
    """Return an estimator of a gradient, by name or as a file, with these settings.

    It is labelled as commands do, as its noise is named by the label: by a file's name, and not by the folder that it lies in.
    """
    plugin = registry.get("algorithms", name)
    return GradientEstimator(plugin.name, plugin, plugin.module.Config(**settings_of(plugin, settings)))


def p_values(bench: Bench, one: GradientEstimator, draws: int = 200, reference: int = 200) -> dict[str, float]:
    """Return how likely the mean gradients by θ and by φ are without a bias."""
    measured, exact = bench.measure(one, draws, FIT), bench.reference(one.bound_of, reference)
    off = measured.draws.means() - exact.means
    whole = {b.part: slice(b.begin, b.end) for b in bench.blocks if not b.name}
    return {part: bias((off[:, own] @ off[:, own].T).numpy()).p for part, own in whole.items()}


BINARY = [
    ("score-function", {}),
    ("reinforce-loo", {}),
    ("nvil", {}),
    ("nvil", {"baseline": "none", "local_signals": False}),
    ("nvil", {"baseline": "constant"}),
    ("vimco", {"K": 2}),
    ("vimco", {"K": 5}),
]


@pytest.mark.parametrize(("name", "settings"), BINARY, ids=[f"{name} {settings}" for name, settings in BINARY])
def test_estimators_for_binary_latents_agree_with_enumeration(name: str, settings: dict[str, Any]) -> None:
    """14 numbers, each of which is below 10⁻⁴ once in ten thousand without a bias; seeds are fixed."""
    bench = Bench(subject(), 60, 0)
    assert bench.reference(1, 40).exact
    assert min(p_values(bench, estimator(name, **settings)).values()) > LEAST_P


CONTINUOUS = [
    ("aevb", {"estimator": "A"}, "linear-gaussian"),
    ("aevb", {"estimator": "A"}, "mlp"),
    ("aevb", {"estimator": "B"}, "mlp"),
    ("iwae", {"K": 3}, "mlp"),
    ("iwae", {"K": 3, "gradient": "dreg"}, "linear-gaussian"),
    ("iwae", {"K": 1, "gradient": "stl"}, "mlp"),
    ("score-function", {}, "mlp"),
]


@pytest.mark.parametrize(
    ("name", "settings", "model"),
    CONTINUOUS,
    ids=[f"{name} {settings} {model}" for name, settings, model in CONTINUOUS],
)
def test_estimators_for_continuous_latents_agree_with_a_long_average(
    name: str, settings: dict[str, Any], model: str
) -> None:
    """14 numbers, as above."""
    bench = Bench(subject(model, "real"), 60, 0)
    assert not bench.reference(1, 40).exact
    assert min(p_values(bench, estimator(name, **settings), 150, 150).values()) > LEAST_P


def test_sticking_the_landing_is_biased_for_several_samples() -> None:
    """Of φ alone, as its docstring says."""
    found = p_values(Bench(subject("linear-gaussian", "real"), 60, 0), estimator("iwae", K=5, gradient="stl"))
    assert found["phi"] <= LEAST_P < found["theta"]


def planted(tmp_path: Path, old: str, new: str, name: str = "score_function") -> str:
    """Return a file with an algorithm in which something is another."""
    source = Path(str(registry.get("algorithms", name.replace("_", "-")).module.__file__)).read_text()
    assert source.count(old) == 1, old
    path = tmp_path / "planted.py"
    path.write_text(source.replace(old, new))
    return user_names(path)


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("by_theta(1 / n)", "by_theta(1.1 / n)", "theta"),
        ("by_phi(signal / n)", "by_phi((signal - signal.mean()) / n)", "phi"),  # with the sample's own signal
    ],
)
def test_a_planted_bias_is_found(tmp_path: Path, old: str, new: str, part: str) -> None:
    """A tenth of the gradient; or a baseline that is the mean signal of the batch, half of which is the sample's own.

    Both have the least p-value that there is with half the draws and any of six seeds. The other part has no bias: its p-value is
    below 10⁻⁴ once in ten thousand.
    """
    found = p_values(Bench(subject(), 2, 0), estimator(planted(tmp_path, old, new)), 1600)
    other = "phi" if part == "theta" else "theta"
    assert found[part] <= LEAST_P < found[other]


def test_normalisation_is_taken_away_and_told() -> None:
    """NVIL divides the signals by their deviation, of some nats here: of each layer its own."""
    bench = Bench(subject(layers="3-2"), 10, 0)
    plain, scaled = (
        bench.measure(estimator("nvil", variance_normalisation=on, baseline="constant"), 40, FIT)
        for on in (False, True)
    )
    torch.testing.assert_close(plain.draws.means(), scaled.draws.means(), rtol=1e-5, atol=1e-6)
    assert set(plain.scale) == {1.0}
    by_name = {(b.part, b.name): scale for b, scale in zip(bench.blocks, scaled.scale, strict=True)}
    assert {scale for (part, _), scale in by_name.items() if part == "theta"} == {1.0}
    assert by_name["phi", "W0"] == pytest.approx(by_name["phi", "b0"], rel=1e-4)
    assert by_name["phi", "W0"] != pytest.approx(by_name["phi", "W1"], rel=1e-2)
    assert 0 < by_name["phi", "W0"] < 1


@pytest.mark.parametrize("name", ["nvil", "vimco"])
def test_the_same_seed_gives_the_same_draws_whatever_else_is_measured(name: str) -> None:
    given = subject()
    first, other = Bench(given, 10, 3), Bench(given, 10, 3)
    other.measure(estimator("reinforce-loo"), 40, FIT)
    one, two = (bench.measure(estimator(name), 60, FIT) for bench in (first, other))
    torch.testing.assert_close(one.draws.means(), two.draws.means(), rtol=0, atol=0)
    torch.testing.assert_close(one.draws.variances(), two.draws.variances(), rtol=0, atol=0)
    another = Bench(given, 10, 4).measure(estimator(name), 60, FIT)
    assert not torch.equal(one.draws.means(), another.draws.means())


def test_every_draw_begins_with_the_fitted_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines and moments of NVIL are the same before each draw; only the noise goes on."""
    nvil = registry.get("algorithms", "nvil").module
    seen: list[tuple[float, float, int]] = []
    gradient = nvil.gradient

    def watched(state: Any, batch: Any) -> Any:
        moments = -1.0 if state.mean is None else state.mean.sum().item()
        random = hash(state.rng.get_state().numpy().tobytes())
        seen.append((moments, state.baselines[0].params.flat.sum().item(), random))
        return gradient(state, batch)

    monkeypatch.setattr(nvil, "gradient", watched)
    Bench(subject(), 10, 0).measure(estimator("nvil"), 40, FIT)
    drawn = seen[-40:]
    assert len({one[:2] for one in drawn}) == 1
    assert len({one[2] for one in drawn}) > 30
    assert len({one[:2] for one in seen[: FIT // 2]}) == FIT // 2  # while it is fitted it changes


def test_costs_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(subject(), 10, 0)

    def samples(name: str, **settings: Any) -> Measured:
        return bench.measure(estimator(name, **settings), 40, FIT)

    assert samples("nvil").samples == samples("score-function").samples == 10
    assert samples("vimco", K=4).samples == 40
    assert samples("reinforce-loo", n_samples=3).samples == 30
    assert samples("nvil").fitted
    assert not samples("score-function").fitted
    assert samples("nvil").cpu_seconds > 0


def test_variances_of_blocks_add_up_and_are_those_of_the_draws() -> None:
    """Against plain formulas, with a mean far above the spread."""
    rng = torch.Generator().manual_seed(0)
    every = 1e6 + torch.randn(3 * GROUPS, 5, generator=rng, dtype=torch.float64)
    draws = Draws([Block("theta", "", 0, 3), Block("phi", "", 3, 5), Block("phi", "W", 3, 4)])
    for number, one in enumerate(every):
        draws.add(float(number), one)
    own = every.view(3, GROUPS, 5)  # dealt out in turn
    torch.testing.assert_close(draws.means(), own.mean(0), rtol=0, atol=1e-8)
    expected = torch.stack([own.var(0)[:, a:b].sum(-1) for a, b in ((0, 3), (3, 5), (3, 4))], -1)
    torch.testing.assert_close(draws.variances(), expected, rtol=1e-8, atol=0)
    torch.testing.assert_close(draws.values(), torch.arange(60.0, dtype=torch.float64).view(3, GROUPS).mean(0))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    signal = log_p.sum(-1)", "    p.params.flat.detach().add_(1e-3)\n    signal = log_p.sum(-1)", "changed parameters"),
        ("by_phi(signal / n)", "by_phi(signal / n) * float('nan')", "its gradient is not finite at draw 1 of"),
        ("    signal = log_p.sum(-1)", "    signal = nothing", "planted.py.*NameError"),
    ],
)  # fmt: skip
def test_what_an_estimator_may_not_do(tmp_path: Path, old: str, new: str, words: str) -> None:
    bench = Bench(subject(), 10, 0)
    with pytest.raises((RunFailed, PluginFailed), match=words):
        bench.measure(estimator(planted(tmp_path, old, new)), 40, FIT)


def test_who_can_be_measured() -> None:
    binary, continuous = Bench(subject(), 10, 0), Bench(subject("mlp", "real"), 10, 0)

    def refusal(bench: Bench, name: str) -> str:
        return bench.refusal(registry.get("algorithms", name)) or ""

    assert "continuous" in refusal(binary, "aevb")
    assert refusal(continuous, "aevb") == refusal(binary, "vimco") == ""
    assert "no gradient(state, batch)" in refusal(binary, "wake-sleep")
    assert "no gradient(state, batch)" in refusal(continuous, "mcem")
    assert "no gradient(state, batch)" in refusal(continuous, user_names(PLUGINS / "renyi.py"))
