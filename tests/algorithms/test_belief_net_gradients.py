"""Gradients of every algorithm for binary latents against their objective's own, by enumeration, in float64.

Means of 100 batches are compared with the exact gradient: within 4 standard errors along it, and within 5 for each parameter. By
chance, one case in 20,000 fails along it, and one in 20,000 for any of its 70 parameters.
"""

import math
from typing import Any, NamedTuple

import pytest
import torch
from harness.algorithms import nvil, reinforce_loo, reweighted_wake_sleep, score_function, vimco
from torch import Tensor

from harness import api
from harness.models import sbn

D, BATCHES, COPIES = 3, 100, 200


class Case(NamedTuple):
    """A small net with two points, and all states of its latents."""

    p: api.BeliefNet
    q: api.BeliefRecognition
    x: Tensor  # (2, D)
    states: Tensor  # (2^Z, Z)
    problem: api.Problem

    def log_q(self) -> Tensor:
        """log q(z|x) of every state, (2^Z, B)."""
        return self.q.posterior(self.x).log_prob(self.z)

    def log_p(self) -> Tensor:
        """log p(x, z) of every state, (2^Z, B)."""
        return self.p.log_p_xz(self.x, self.z)

    @property
    def z(self) -> Tensor:
        """Every state for every point, (2^Z, B, Z)."""
        return self.states.unsqueeze(1).expand(-1, len(self.x), -1)

    def gradient(self, objective: Tensor) -> tuple[Tensor, Tensor]:
        """Return an objective's gradients by θ and φ; zeros where it does not depend on one."""
        found = torch.autograd.grad(objective, [self.p.params.flat, self.q.params.flat], allow_unused=True)
        by_theta, by_phi = (
            torch.zeros_like(flat) if one is None else one
            for one, flat in zip(found, (self.p.params.flat, self.q.params.flat), strict=True)
        )
        return by_theta, by_phi

    def batch(self, copies: int = COPIES) -> api.Batch:
        """Return both points, each so many times."""
        return api.Batch(self.x.repeat(copies, 1), torch.arange(2 * copies))


def states(n: int) -> Tensor:
    return next(api.states(n, 1 << n, torch.float64))


def case(
    layers: str = "3-2", prior: str = "factorial", recognition: str = "factorial", kind: api.Kind = "binary"
) -> Case:
    config = sbn.Config(layers=layers, prior=prior, recognition=recognition, init_sd=1.0)
    data = api.DataFacts(kind, D, 100)
    p, q = sbn.build(config, data, api.Streams(3), torch.float64)
    for part, name in ((p, "p"), (q, "q")):
        with torch.no_grad():  # biases, too, away from 0
            part.params.flat += 0.5 * torch.randn(
                part.params.flat.shape, generator=api.Streams(4)(name), dtype=torch.float64
            )
    x = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    if kind == "counts":
        x[0] *= 3
    return Case(p, q, x, states(p.latents.total), api.Problem(p, q, data))


def bound(net: Case) -> Tensor:
    """The lower bound, summed over both points."""
    log_q = net.log_q()
    return (log_q.exp() * (net.log_p() - log_q)).sum()


def bound_of_pairs(net: Case) -> Tensor:
    """L_2, summed over both points, by enumeration of pairs of states."""
    log_q, log_w = net.log_q(), net.log_p() - net.log_q()
    pairs = torch.logaddexp(log_w.unsqueeze(0), log_w.unsqueeze(1)) - math.log(2)
    return ((log_q.unsqueeze(0) + log_q.unsqueeze(1)).exp() * pairs).sum()


def require_mean(draws: list[Tensor], exact: Tensor, what: str) -> None:
    """Compare the mean of gradients, each summed over copies of both points, with an exact one."""
    found = torch.stack(draws) / COPIES  # (draws, parameters)
    error = found.std(0) / math.sqrt(len(found))
    off = (found.mean(0) - exact).abs() / error.clamp(min=1e-12)
    assert off.max() < 5, f"{what}: off by {off.max():.1f} standard errors"
    direction = exact / exact.norm()
    along = found @ direction
    error_along = along.std() / math.sqrt(len(along))
    assert (along.mean() - exact.norm()).abs() < 4 * error_along, f"{what}: off along the gradient"
    assert error_along < 0.1 * exact.norm(), f"{what}: too noisy to tell"


def require_unbiased(net: Case, module: Any, config: Any, objective: Tensor, scale: float = 1.0, **state: Any) -> None:
    """Average an algorithm's gradients with parameters as they are, and compare; `scale` is what φ's is divided by."""
    made = module.init(net.problem, config, api.Streams(5)("noise"))
    for name, value in state.items():
        setattr(made, name, value)
    module.gradient(made, net.batch())  # may measure alone
    values, by_theta, by_phi = [], [], []
    for _ in range(BATCHES):
        found = module.gradient(made, net.batch())
        values.append(torch.as_tensor(found.value) / COPIES)
        by_theta.append(found.by_theta.clone())  # the next may overwrite it
        by_phi.append(found.by_phi.clone())
    exact = net.gradient(objective)
    require_mean(by_theta, exact[0], "θ")
    require_mean(by_phi, exact[1] / scale, "φ")
    value = torch.stack(values)
    assert (value.mean() - objective).abs() < 4 * value.std() / math.sqrt(BATCHES)


NETS = [("4", "factorial", "factorial"), ("3-2", "factorial", "factorial"), ("2-2-1", "factorial", "linear"),
        ("3-2", "autoregressive", "autoregressive")]  # fmt: skip


@pytest.mark.parametrize("net", NETS[1::2])
@pytest.mark.parametrize("baseline", ["none", "constant", "input"])
@pytest.mark.parametrize("local", [False, True])
def test_nvil_ascends_the_bound_whatever_reduces_its_variance(
    net: tuple[str, str, str], baseline: str, local: bool
) -> None:
    chosen = case(*net)
    config = nvil.Config(
        baseline=baseline,
        local_signals=local,
        variance_normalisation=False,
        baseline_units=3,
        optimiser="adam",
        lr=0.01,
    )
    require_unbiased(chosen, nvil, config, bound(chosen))


@pytest.mark.parametrize("prior", ["factorial", "autoregressive"])
def test_nvil_ascends_the_bound_of_documents(prior: str) -> None:
    chosen = case("3-2", prior, kind="counts")
    config = nvil.Config(variance_normalisation=False, baseline_units=3, optimiser="adam", lr=0.01)
    require_unbiased(chosen, nvil, config, bound(chosen))


@pytest.mark.parametrize("local", [False, True])
def test_normalisation_of_variance_divides_the_gradient_of_phi(local: bool) -> None:
    """By the root of the running variance, which is held at 9 here."""
    chosen = case("3-2")
    config = nvil.Config(baseline="constant", local_signals=local, decay=1 - 1e-12)
    nine = torch.full((2 if local else 1,), 9.0, dtype=torch.float64)
    require_unbiased(chosen, nvil, config, bound(chosen), 3.0, mean=-nine, variance=nine)


@pytest.mark.parametrize("net", NETS[1:])
@pytest.mark.parametrize("module", [score_function, reinforce_loo])
def test_score_function_estimators_ascend_the_bound(net: tuple[str, str, str], module: Any) -> None:
    chosen = case(*net)
    require_unbiased(chosen, module, module.Config(n_samples=2), bound(chosen))


@pytest.mark.parametrize("net", NETS[1:])
def test_vimco_ascends_the_importance_weighted_bound(net: tuple[str, str, str]) -> None:
    chosen = case(*net)
    require_unbiased(chosen, vimco, vimco.Config(K=2), bound_of_pairs(chosen))


@pytest.mark.parametrize("net", NETS)
def test_wake_and_sleep_ascend_their_two_objectives(net: tuple[str, str, str]) -> None:
    """E_q[log p(x, z)] over θ, and over φ E_p[log q(z|x)], by enumeration of x, too."""
    chosen = case(*net)
    p, q, rng = chosen.p, chosen.q, api.Streams(6)("noise")
    by_theta, by_phi = [], []
    for _ in range(BATCHES):
        x = chosen.batch().x
        by_theta.append(api.gradients.log_joint(p, x, q.posterior(x).sample(1, rng))[1].clone())
        x, z = p.sample_xz(2 * COPIES, rng)
        by_phi.append(api.gradients.log_posterior(q, x, z.unsqueeze(0))[1].clone())
    wake = (chosen.log_q().exp().detach() * chosen.log_p()).sum()
    require_mean(by_theta, chosen.gradient(wake)[0], "wake")
    require_mean(by_phi, chosen.gradient(sleep_phase(chosen))[1], "sleep")


def sleep_phase(net: Case) -> Tensor:
    """2 E_p[log q(z|x)], by enumeration of x, too: as many fantasies as points."""
    everything = net._replace(x=states(D))
    return 2 * (everything.log_p().exp().detach() * everything.log_q()).sum()


def wake_phase(net: Case) -> Tensor:
    """E[Σ w̃_k log q(z_k|x)] of two samples with weights held constant, by enumeration of pairs, summed over both points."""
    log_q, log_w = net.log_q(), (net.log_p() - net.log_q()).detach()
    first = torch.sigmoid(log_w.unsqueeze(1) - log_w.unsqueeze(0))  # w̃ of the first of each pair
    pairs = (log_q.unsqueeze(1) + log_q.unsqueeze(0)).exp().detach()
    return (pairs * (first * log_q.unsqueeze(1) + (1 - first) * log_q.unsqueeze(0))).sum()


@pytest.mark.parametrize("net", NETS[1:])
@pytest.mark.parametrize("phi", ["wake", "sleep", "both"])
def test_reweighted_wake_sleep_ascends_the_expectation_of_its_weighted_phases(
    net: tuple[str, str, str], phi: str
) -> None:
    """With two samples, whose normalised weights are biased: θ ascends L_2, and φ what its phases are on average."""
    chosen = case(*net)
    config = reweighted_wake_sleep.Config(K=2, phi=phi)
    made = reweighted_wake_sleep.init(chosen.problem, config, api.Streams(5)("noise"))
    values, by_theta, by_phi = [], [], []
    for _ in range(BATCHES):
        found = reweighted_wake_sleep.directions(made, chosen.batch())
        values.append(torch.as_tensor(found.value) / COPIES)
        by_theta.append(found.by_theta.clone())
        by_phi.append(found.by_phi.clone())
    objective = bound_of_pairs(chosen)
    phases = {"wake": wake_phase, "sleep": sleep_phase, "both": lambda net: (wake_phase(net) + sleep_phase(net)) / 2}
    require_mean(by_theta, chosen.gradient(objective)[0], "θ")
    require_mean(by_phi, chosen.gradient(phases[phi](chosen))[1], "φ")
    value = torch.stack(values)
    assert (value.mean() - objective).abs() < 4 * value.std() / math.sqrt(BATCHES)


def test_nvil_keeps_all_that_its_next_step_needs() -> None:
    """Baselines and running moments are measured by the first minibatch, which teaches φ nothing."""
    chosen = case("3-2")
    made = nvil.init(chosen.problem, nvil.Config(), api.Streams(5)("noise"))
    first, second = (nvil.gradient(made, chosen.batch(1)).by_phi.clone() for _ in range(2))
    assert not first.any()
    assert second.any()
    assert made.mean is not None
    assert made.mean.shape == (2,)
    assert [tuple(b.params.layers[0].W.shape) for b in made.baselines] == [(D, 100), (3, 100)]
