"""Models and data on a GPU: what can be checked without one, and what needs one."""

from collections.abc import Callable, Iterator

import pytest
import torch
from harness.algorithms import aevb, mcem, wake_sleep
from support import Result
from torch._subclasses.fake_tensor import FakeTensorMode

from harness import api
from harness.inference.adagrad import Adagrad
from harness.models import mlp
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.store.checkpoint import digest
from harness.testing import conformance, toy
from harness.training.loop import Training
from harness.training.process import prepare_process

WHY_NOT = "PyTorch sees no CUDA device here"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=WHY_NOT)


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    prepare_process(1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_one_a_sentence_and_nothing_written(harness: Callable[..., Result], tiny_run: list[str]) -> None:
    result = harness(*tiny_run, "--device", "cuda")
    assert result.code == 2
    assert "--device is 'cuda'" in result.err
    assert "choose cpu" in result.err
    assert "no runs" in harness("list").out


def test_an_unknown_device_is_named_with_the_choices(harness: Callable[..., Result], tiny_run: list[str]) -> None:
    result = harness(*tiny_run, "--device", "tpu")
    assert result.code == 2
    assert "'tpu'" in result.err
    assert "choose cpu or cuda" in result.err


def test_runs_on_the_processor_keep_their_names() -> None:
    spec = make_spec("aevb", settings={"nz": 20})
    assert spec.run_id == "aevb-mnist-nz20-s0-6dced523"  # as stored before there was a choice
    assert make_spec("aevb", settings={"nz": 20}, device="cuda").run_id != spec.run_id


@pytest.mark.parametrize("algorithm", [aevb, wake_sleep, mcem])
def test_a_step_leaves_nothing_on_the_processor(
    algorithm: object, monkeypatch: pytest.MonkeyPatch, as_before: None
) -> None:
    """With tensors that only pretend to be on a GPU: a product of tensors on two devices is refused, as there.

    A processor's generator stands for the GPU's, and a number for whatever is read back.
    """
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 1.0)

    class Streams(api.Streams):
        def __call__(self, name: str) -> torch.Generator:
            return torch.Generator("cpu").manual_seed(0)

    facts = api.DataFacts("binary", 12, 60)
    with FakeTensorMode(allow_non_fake_inputs=True):
        torch.set_default_device("cuda")
        models = mlp.build(mlp.Config(nz=2, hidden=5), facts, Streams(0))
        problem = api.Problem(*models, facts)
        state = algorithm.init(problem, algorithm.Config(), torch.Generator("cpu"))  # type: ignore[attr-defined]
        batch = api.Batch(torch.ones(10, 12), torch.arange(10))
        algorithm.step(state, batch)  # type: ignore[attr-defined]
        assert models[0].params.flat.device.type == "cuda"
        with pytest.raises(Exception, match="two (different )?devices,? cpu(,| and) cuda"):
            algorithm.step(state, api.Batch(torch.ones(10, 12, device="cpu"), torch.arange(10)))  # type: ignore[attr-defined]


def test_adagrad_without_the_fused_kernel_is_the_same(rng: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def ascended(fused: bool) -> torch.Tensor:
        monkeypatch.setattr(torch.Tensor, "is_cpu", fused, raising=False)
        params = api.Parameters({"W": (4, 3)}, {"b": (3,)}, dtype=torch.float64)
        with torch.no_grad():
            params.flat.copy_(torch.linspace(-1, 1, 15))
        adagrad = Adagrad(params, lr=0.1, prior_weight=0.3, warmup=2)
        for grad in torch.randn(6, 15, generator=torch.Generator().manual_seed(3), dtype=torch.float64):
            adagrad.ascend([grad])
        return params.flat.detach()

    torch.testing.assert_close(ascended(True), ascended(False), rtol=1e-12, atol=0)


def _rows(run: Training, samples: int) -> list[dict[str, object]]:
    return [event for event in run.rows(Budget(samples=samples)) if not isinstance(event, str)]


@needs_gpu
@pytest.mark.parametrize("algorithm", ["aevb", "wake-sleep", "mcem"])
def test_a_run_learns_on_a_gpu_as_on_a_processor(algorithm: str, as_before: None) -> None:
    """The same beginning, other noise: the bounds after training lie within half a nat of one another."""
    found = {}
    for device in ("cpu", "cuda"):
        settings = {"nz": 2, "hidden": 20} | ({"batch_size": 20} if algorithm != "mcem" else {})
        marginal = None if algorithm != "mcem" else "importance"
        spec = make_spec(
            algorithm, toy.__file__, settings={**settings, "warmup": 10}, device=device, marginal=marginal,
            first_mark=1000,
        )  # fmt: skip
        run = Training(spec)
        assert run.model.params.flat.device.type == device
        assert run.dataset.train.device.type == device
        found[device] = _rows(run, 40_000)[-1]["estimates"][0]["mean"]  # type: ignore[index]
    assert found["cuda"] == pytest.approx(found["cpu"], abs=0.5)


@needs_gpu
def test_a_run_on_a_gpu_is_resumed_bit_for_bit(as_before: None) -> None:
    run, again = (conformance.training("aevb", batch_size=10) for _ in range(2))
    spec = run.spec.model_copy(update={"device": "cuda"})
    run, again = Training(spec), Training(spec)
    for _ in range(5):
        run.step()
    again.load(run.checkpoint())
    for _ in range(5):
        run.step()
        again.step()
    assert digest(run.checkpoint()["theta"]) == digest(again.checkpoint()["theta"])
