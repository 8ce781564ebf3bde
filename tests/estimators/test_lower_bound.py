"""The estimate of the lower bound against quadrature, where one latent makes both the bound and log p(x) computable."""

import math

import numpy as np
import pytest
import torch
from support import Judged

from harness import api
from harness.estimators import lower_bound
from harness.models import mlp
from harness.testing import toy
from harness.training.evaluation import Estimate, Estimator


@pytest.fixture
def one_latent() -> tuple[mlp.NetworkDecoder, api.GaussianEncoder, api.Dataset]:
    data = toy.load(toy.Config())
    config = mlp.Config(nz=1, hidden=8, init_sd=0.6)
    decoder, encoder = mlp.build(config, api.DataFacts("binary", 12, 60), api.Streams(5))
    return decoder, encoder, data


def estimated(config, decoder, encoder, data: api.Dataset, points: int, seed: int) -> Estimate:
    """The estimate of the bound on the test set."""
    return Estimator("lower-bound", lower_bound, config).estimate(Judged(data, decoder, encoder), "test", points, seed)


def by_quadrature(decoder, encoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bound and log p(x) of each point, by 60 Gauss-Hermite nodes."""
    nodes, weights = (torch.tensor(v) for v in np.polynomial.hermite_e.hermegauss(60))
    log_weights = weights.log() - 0.5 * math.log(2 * math.pi)
    with torch.no_grad():
        posterior = encoder.posterior(x)
        mean, log_var = posterior.statistics.chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * nodes[:, None, None]
        lower = (log_weights.exp()[:, None] * decoder.log_p_x_given_z(x, z.float())).sum(0) - posterior.kl()
        prior_nodes = nodes[:, None, None].expand(-1, len(x), 1).float()
        log_p = (log_weights[:, None] + decoder.log_p_x_given_z(x, prior_nodes)).logsumexp(0)
    return lower, log_p


def test_mean_is_the_bound_and_lies_below_log_p(one_latent) -> None:
    """Within 4 of its own standard errors: a right estimate fails with probability 6e-5."""
    decoder, encoder, data = one_latent
    config = lower_bound.Config(n_samples=200)
    estimate = estimated(config, decoder, encoder, data, 40, 0)
    bound, log_p = by_quadrature(decoder, encoder, data.test)
    assert estimate.points == 40
    assert abs(estimate.mean - bound.mean().item()) < 4 * estimate.se_estimator
    assert 0 < estimate.se_estimator < 0.1
    assert bound.mean() < log_p.mean()
    assert (bound < log_p + 1e-4).all()


def test_standard_errors_are_what_repeats_show(one_latent) -> None:
    """200 seeds: the spread of the mean over seeds against se_estimator, a chi-squared ratio within 5 deviations."""
    decoder, encoder, data = one_latent
    config = lower_bound.Config()
    runs = [estimated(config, decoder, encoder, data, 40, seed) for seed in range(200)]
    spread = np.std([run.mean for run in runs], ddof=1)
    stated = np.sqrt(np.mean([run.se_estimator**2 for run in runs]))
    assert spread == pytest.approx(stated, rel=0.25)
    bound, _ = by_quadrature(decoder, encoder, data.test)
    assert np.mean([run.se_points for run in runs]) == pytest.approx(bound.std().item() / math.sqrt(40), rel=0.1)


def test_noise_and_points_are_common_to_all_runs_of_a_seed(one_latent) -> None:
    decoder, encoder, data = one_latent
    config = lower_bound.Config()

    def mean(seed: int, points: int = 40) -> float:
        return estimated(config, decoder, encoder, data, points, seed).mean

    assert mean(0) == mean(0)
    assert mean(0) != mean(1)
    assert estimated(config, decoder, encoder, data, 10**9, 0).points == 40
