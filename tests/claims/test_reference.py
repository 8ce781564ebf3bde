"""A whole run against a plain implementation: float64, autograd, no buffers, no fused kernel, the same noise.

The first moves after the warm-up, with the step size of the paper, multiply any rounding: two plain implementations, one in
float32 and one in float64, differ by a tenth after 200 steps. So the run is in float64, too, or in float32 with a tenth of the
step.
"""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import api, native
from harness.data import dataset
from harness.models import mlp
from harness.specs.budget import Budget
from harness.specs.run import make_spec
from harness.training.loop import Training

M, D, H, Z, WARMUP = 100, 784, 500, 20, 100


class Plain:
    """AEVB of appendix C with Adagrad, in float64."""

    def __init__(self, data: api.Dataset, lr: float, dtype: torch.dtype):
        self.data, self.lr, self.dtype = data, lr, dtype
        facts = api.DataFacts("unit", D, len(data.train))
        decoder, encoder = mlp.build(mlp.Config(nz=Z, hidden=H), facts, api.Streams(0), dtype=dtype)
        drawn = zip(("W1", "W2", "b1", "b2", "W3", "W4", "b3", "b4"), (*decoder.params.views, *encoder.params.views))  # noqa: B905
        self.w = {name: view.double().clone().requires_grad_() for name, view in drawn}
        self.sums = {name: torch.full_like(w, 1e-8, requires_grad=False) for name, w in self.w.items()}

    def noise(self, *shape: int, rng: torch.Generator) -> Tensor:
        """Draw what the run draws."""
        return torch.randn(*shape, generator=rng, dtype=self.dtype).double()

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) (S, B) and the KL (B,)."""
        w = self.w
        mean, log_var = (torch.tanh(x @ w["W3"] + w["b3"]) @ w["W4"] + w["b4"]).chunk(2, -1)
        z = mean + torch.exp(0.5 * log_var) * noise
        logits = torch.tanh(z @ w["W1"] + w["b1"]) @ w["W2"] + w["b2"]
        log_lik = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log_lik, -0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1)

    def step(self, t: int, x: Tensor, noise: Tensor) -> None:
        log_lik, kl = self.terms(x, noise)
        grads = torch.autograd.grad((log_lik.mean(0) - kl).sum(), list(self.w.values()))
        with torch.no_grad():
            for (name, w), g in zip(self.w.items(), grads, strict=True):
                if name[0] == "W":
                    g = g - M / len(self.data.train) * w
                self.sums[name] += g**2
                if t >= WARMUP:
                    w += self.lr * g / self.sums[name].sqrt()

    @torch.no_grad()
    def bound(self, split: str, points: int) -> float:
        """Return the lower bound over the first so many evaluation points, with the evaluation's noise."""
        stored = getattr(self.data, split)
        order = torch.randperm(len(stored), generator=api.Streams(0)(f"evaluation points {split}"))
        rng, values = api.Streams(0)(f"evaluation noise {split}"), []
        for index in order[:points].split(500):
            x = stored[index].double() / 256
            log_lik, kl = self.terms(x, self.noise(2, len(x), Z, rng=rng))
            values.append(log_lik.mean(0) - kl)
        return torch.cat(values).mean().item()


@pytest.mark.parametrize(
    ("dtype", "lr"), [pytest.param(torch.float64, 0.02, marks=pytest.mark.slow), (torch.float32, 0.002)]
)
def test_the_trace_of_20000_samples_is_that_of_a_plain_implementation(
    mnist: api.Dataset, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, lr: float
) -> None:
    """Every bound of the trace to 1e-4 relative, and the parameters at the end to 1e-3 of their change."""
    monkeypatch.setattr(mlp, "build", functools.partial(mlp.build, dtype=dtype))
    floats = dataset._as_floats
    monkeypatch.setattr(dataset, "_as_floats", lambda stored, scale: floats(stored, scale).to(dtype))
    if dtype == torch.float64:  # which compiled primitives never make
        monkeypatch.setattr(native, "bytes_at", lambda stored, index, scale: (stored[index].float() * scale).to(dtype))
    run = Training(make_spec("aevb", settings={"nz": Z, "hidden": H, "lr": lr}, points=1000, final_points=1000))
    assert run.model.params.flat.dtype == dtype
    plain = Plain(mnist, lr, dtype)
    begin = {name: w.detach().clone() for name, w in plain.w.items()}
    streams = api.Streams(0)
    order, noise = streams("minibatch order"), streams("training noise")
    t, rows = 0, []
    for row in (event for event in run.rows(Budget(samples=20_000)) if not isinstance(event, str)):
        while t * M < row["ledger"]["samples"]:
            index = torch.randint(len(mnist.train), (M,), generator=order)
            plain.step(t, mnist.train[index].double() / 256, plain.noise(1, M, Z, rng=noise))
            t += 1
        for estimate in row["estimates"]:
            assert estimate["mean"] == pytest.approx(plain.bound(estimate["split"], 1000), rel=1e-4)
        rows.append(row)
    assert [row["ledger"]["samples"] for row in rows] == [10_000, 12_600, 15_900, 20_000]
    assert rows[-1]["estimates"][0]["mean"] > rows[0]["estimates"][0]["mean"] + 100  # it has learned something
    for params, names in (
        (run.model.params, ("W1", "W2", "b1", "b2")),
        (run.recognition.params, ("W3", "W4", "b3", "b4")),
    ):
        for name, view in zip(names, params.views, strict=True):
            moved = (plain.w[name] - begin[name]).norm()
            assert (view - plain.w[name]).norm() < 1e-3 * moved, name
    assert math.isfinite(rows[-1]["info"]["objective"])
