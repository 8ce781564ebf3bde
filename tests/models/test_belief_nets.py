"""Belief nets: what each option means, draws against enumeration, and what is refused."""

import pytest
import torch
from support import require_frequencies
from torch import Tensor

from harness import api
from harness.errors import BadInput
from harness.models import darn, fdarn, sbn
from harness.specs.run import make_spec
from harness.testing import models, toy
from harness.training.loop import Training

LAYERS = ("3", "2-2", "2-1-2")


def states(n: int) -> Tensor:
    return next(api.states(n, 1 << n, torch.float64))


def facts(dim: int) -> api.DataFacts:
    return api.DataFacts("binary", dim, 100)


def built(module: object, dim: int = 3, **settings: object) -> tuple[api.BeliefNet, api.BeliefRecognition]:
    """Return a net with weights and biases well away from 0, in float64."""
    config = module.Config(**settings)  # type: ignore[attr-defined]
    net, recognition = module.build(config, facts(dim), api.Streams(1), torch.float64)  # type: ignore[attr-defined]
    for part in (net, recognition):
        with torch.no_grad():
            part.params.flat.normal_(0.0, 1.0, generator=api.Streams(2)(type(part).__name__))
    return net, recognition


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("prior", ["factorial", "autoregressive"])
@pytest.mark.parametrize("recognition", ["factorial", "autoregressive", "linear"])
def test_every_form_keeps_the_contract(layers: str, prior: str, recognition: str) -> None:
    data = toy.load(toy.Config(kind="binary"))
    net, q = built(sbn, data.train.shape[1], layers=layers, prior=prior, recognition=recognition)
    case = models.Case(net, data.train[:4].double(), api.Streams(1))
    models._check_latents(case)
    models._check_layers(case)
    models._check_layer_gradients(case)
    models._check_recognition(case, q)


@pytest.mark.parametrize("prior", ["factorial", "autoregressive"])
def test_draws_have_the_probabilities_that_are_said(prior: str) -> None:
    """Of z, of x and z together, and of z given x; and all of them sum to 1."""
    net, q = built(sbn, layers="3-2", prior=prior, recognition=prior)
    z = states(5)
    log_p = net.log_p_z(z.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_p.exp().sum().item(), 1.0)
    require_frequencies(net.sample_z(20_000, api.Streams(3)("z")), log_p.detach(), z)
    both = states(8)
    log_joint = net.log_p_xz(both[:, :3], both[:, 3:].unsqueeze(0)).squeeze(0)
    drawn = torch.cat(net.sample_xz(20_000, api.Streams(4)("xz")), dim=-1)
    require_frequencies(drawn, log_joint.detach(), both)
    posterior = q.posterior(torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64))
    log_q = posterior.log_prob(z.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(log_q.exp().sum().item(), 1.0)
    require_frequencies(posterior.sample(20_000, api.Streams(5)("q"))[:, 0], log_q.detach(), z)


def test_draws_of_an_autoregressive_network_of_observed_units() -> None:
    net, _ = built(darn, nz=2)
    both = states(5)
    log_joint = net.log_p_xz(both[:, :3], both[:, 3:].unsqueeze(0)).squeeze(0)
    torch.testing.assert_close(log_joint.exp().sum().item(), 1.0)
    drawn = torch.cat(net.sample_xz(20_000, api.Streams(4)("xz")), dim=-1)
    require_frequencies(drawn, log_joint.detach(), both)
    assert not isinstance(net, api.MeanImage)  # E[x|z] has no closed form


def test_a_point_by_hand() -> None:
    """One observed unit, one latent in each of two layers."""
    net, q = built(sbn, 1, layers="1-1")
    (W1, W2, _), (b0, b1, b2) = (net.params.views[:3], net.params.views[3:])
    x, z = torch.ones(1, 1, dtype=torch.float64), torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    log_sigma = torch.nn.functional.logsigmoid
    expected = log_sigma(b0 + W1[0]) + log_sigma(b1 + 0 * W2[0]) + log_sigma(-b2)
    torch.testing.assert_close(net.log_p_xz(x, z).view(1), expected)
    (A1, A2), (a1, a2) = q.params.views[:2], q.params.views[2:]
    expected = log_sigma(a1 + 0.5 * A1[0]) + log_sigma(-(a2 + A2[0]))  # x less its mean, which is 1/2
    torch.testing.assert_close(q.posterior(x).log_prob(z).view(1), expected)


def test_units_that_are_given_those_before_them() -> None:
    """The weights of an autoregressive layer are those above a diagonal, row by row: a unit's on all that follow."""
    net, _ = built(fdarn, nz=3)
    U, c = net.params.views[2], net.params.views[4]
    z = torch.tensor([[[1.0, 1.0, 0.0]]], dtype=torch.float64)
    log_sigma = torch.nn.functional.logsigmoid
    expected = log_sigma(c[0]) + log_sigma(c[1] + U[0]) + log_sigma(-(c[2] + U[1] + U[2]))
    torch.testing.assert_close(net.log_p_z(z).squeeze(), expected)


def test_fdarn_is_an_autoregressive_sbn_of_one_layer() -> None:
    (one, q), (other, r) = built(fdarn, nz=4), built(sbn, layers="4", prior="autoregressive")
    z, x = states(4).unsqueeze(1), torch.ones(1, 3, dtype=torch.float64)
    torch.testing.assert_close(one.log_p_xz(x, z), other.log_p_xz(x, z))
    torch.testing.assert_close(q.posterior(x).log_prob(z), r.posterior(x).log_prob(z))


def test_biases_begin_at_the_log_odds_of_the_data() -> None:
    data = toy.load(toy.Config(kind="binary"))
    net, q = sbn.build(sbn.Config(layers="3-2"), api.DataFacts.of(data), api.Streams(0))
    mean = data.mean().clamp(0.001, 0.999)
    torch.testing.assert_close(net.params.layers[0].b.sigmoid(), mean)
    assert not net.params.layers[1].b.any()
    assert not q.params.layers[0].b.any()


@pytest.mark.parametrize(("given", "kept"), [("200", "200"), (200, "200"), ("200-100-50", "200-100-50"), ("007", "7")])
def test_sizes_of_layers(given: object, kept: str) -> None:
    assert sbn.Config(layers=given).layers == kept


@pytest.mark.parametrize("given", ["", "200-", "200,200", "a", "0", "-5", "1e2", "200-0-200", "٢", 2.5, None])
def test_what_is_no_size_is_refused(given: object) -> None:
    with pytest.raises(BadInput, match="give the size of each layer.*such as 200 or 200-200-500"):
        make_spec("nvil", toy.__file__, "sbn", settings={"layers": given, "kind": "binary"})


def test_runs_are_named_by_their_layers() -> None:
    spec = make_spec("nvil", toy.__file__, "sbn", settings={"layers": "20-10", "kind": "binary"})
    assert spec.run_id.startswith("nvil-toy-20-10-s0-")


def test_who_cannot_infer_binary_latents_is_refused_with_those_who_can() -> None:
    with pytest.raises(BadInput, match="latents are binary, and it infers continuous ones; .*nvil.*vimco.* can, see"):
        Training(make_spec("aevb", toy.__file__, "sbn", settings={"kind": "binary", "layers": "2"}))


def test_grey_data_are_refused_with_the_setting_that_makes_them_binary() -> None:
    with pytest.raises(
        BadInput, match="data are unit, the model takes binary or counts; give --kind binary for binary ones"
    ):
        Training(make_spec("nvil", toy.__file__, "sbn", settings={"kind": "unit"}))
