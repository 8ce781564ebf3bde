"""One step of wake-sleep against the same written with autograd alone, and what it spends."""

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from harness.algorithms import wake_sleep

from harness import api
from harness.models import mlp
from harness.specs.budget import Ledger
from harness.specs.run import make_spec
from harness.testing import conformance, toy
from harness.training.loop import Training

M, N, D, H, Z = 6, 40, 9, 5, 2


@pytest.mark.parametrize("optimiser", ["adagrad", "sgd", "adam"])
def test_a_step_is_wake_then_sleep_with_the_new_weights(optimiser: Literal["adagrad", "sgd", "adam"]) -> None:
    """In float64, to 1e-10: both gradients, the prior on the weights alone, and fantasies of the updated model."""
    decoder, encoder = mlp.build(
        mlp.Config(nz=Z, hidden=H, init_sd=0.5), api.DataFacts("binary", D, N), api.Streams(1), torch.float64
    )
    theta, phi = (p.flat.detach().clone().requires_grad_() for p in (decoder.params, encoder.params))
    x = torch.bernoulli(torch.full((M, D), 0.4, dtype=torch.float64), generator=api.Streams(0)("x"))
    config = wake_sleep.Config(lr=0.1, batch_size=M, warmup=0, optimiser=optimiser)
    problem = api.Problem(decoder, encoder, api.DataFacts("binary", D, N))
    state = wake_sleep.init(problem, config, api.Streams(0)("noise"))
    info = wake_sleep.step(state, api.Batch(x, torch.arange(M)))

    rng = api.Streams(0)("noise")

    def log_q(phi: torch.Tensor, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        W3, W4, b3, b4 = encoder.params.split(phi)
        mean, log_var = (torch.tanh(x @ W3 + b3) @ W4 + b4).chunk(2, -1)
        return torch.distributions.Normal(mean, (0.5 * log_var).exp()).log_prob(z).sum(-1)

    def logits(theta: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        W1, W2, b1, b2 = decoder.params.split(theta)
        return torch.tanh(z @ W1 + b1) @ W2 + b2

    def moved(flat: torch.Tensor, gradient: torch.Tensor, n_weights: int) -> torch.Tensor:
        gradient = gradient.clone()
        gradient[:n_weights] -= M / N * flat.detach()[:n_weights]
        sizes = {
            "adagrad": (gradient.square() + 1e-8).sqrt(),
            "sgd": 1.0,
            "adam": gradient.abs() + 1e-8,
        }  # of a first step
        return flat.detach() + 0.1 * gradient / sizes[optimiser]

    with torch.no_grad():
        W3, W4, b3, b4 = encoder.params.split(phi)
        mean, log_var = (torch.tanh(x @ W3 + b3) @ W4 + b4).chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * torch.randn(1, M, Z, generator=rng, dtype=torch.float64)[0]
    log_lik = -F.binary_cross_entropy_with_logits(logits(theta, z), x, reduction="none").sum()
    log_joint = log_lik + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    new_theta = moved(theta, torch.autograd.grad(log_joint, theta)[0], decoder.params.n_weights)
    torch.testing.assert_close(decoder.params.flat.detach(), new_theta, rtol=1e-8, atol=1e-10)

    with torch.no_grad():
        z = torch.randn(M, Z, generator=rng, dtype=torch.float64)
        fantasy = torch.bernoulli(logits(new_theta, z).sigmoid(), generator=rng)
    log_sleep = log_q(phi, fantasy, z).sum()
    new_phi = moved(phi, torch.autograd.grad(log_sleep, phi)[0], encoder.params.n_weights)
    torch.testing.assert_close(encoder.params.flat.detach(), new_phi, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(info.wake, log_joint.detach() / M)
    torch.testing.assert_close(info.sleep, log_sleep.detach() / M)


def test_what_a_step_spends() -> None:
    run = conformance.training("wake-sleep", batch_size=10, n_samples=3)
    for _ in range(4):
        run.step()
    assert run.ledger == Ledger(
        samples=120, datapoints=40, fantasies=40, decoder_rows=160, decoder_rows_grad=120, encoder_rows=80,
        encoder_rows_grad=40, steps=4,
    )  # fmt: skip


def test_its_bound_is_measured_by_evaluation_with_its_own_encoder() -> None:
    run = Training(make_spec("wake-sleep", toy.__file__, settings={"nz": 2, "hidden": 5}))
    assert [estimator.name for _, estimator in run.estimators] == ["lower-bound"]
    assert run.recognition is not None
