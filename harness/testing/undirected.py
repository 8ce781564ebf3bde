"""Checks of undirected models, each derived from a protocol that they satisfy."""

import torch

from harness.testing.case import DRAWS, Case, all_states, require_gradient, require_mean


def check_unnormalised(case: Case) -> None:
    """Check log f(x): its gradient, and over bits that Gibbs moves leave its distribution as it is."""
    model, x, streams = case
    assert not model.normalised, "a model with log_f_x is not normalised: set normalised = False"
    log_f = model.log_f_x(x)
    assert log_f.shape == (4,), f"log_f_x returns {tuple(log_f.shape)}, not (B,)"
    require_gradient(lambda: model.log_f_x(x), [model.params.flat], "log_f_x")
    gap = log_f[:3].mean() - log_f[1:].mean()
    assert torch.allclose(model.contrast(x[:3], x[1:]), gap, rtol=1e-9, atol=1e-12), (
        "contrast is not the mean log f of its first argument less that of its second"
    )
    require_gradient(lambda: model.contrast(x[:3], x), [model.params.flat], "contrast")
    if model.kind == "binary":
        states = all_states(model.dim)
        p = model.log_f_x(states).softmax(0).detach()
        exact = states[torch.multinomial(p, DRAWS, replacement=True, generator=streams("exact draws"))]
        moved = model.gibbs(exact, streams("Gibbs"))
        assert moved.shape == exact.shape, f"gibbs returns x of shape {tuple(moved.shape)}, not that of its argument"
        require_mean(moved, p @ states, "the mean of x after a Gibbs move from exact draws")


@torch.no_grad()
def check_annealed(case: Case) -> None:
    """Check the path of an undirected model over all states of its bits: Z and draws where it begins, and reversible moves."""
    model, streams = case.model, case.streams
    if model.kind != "binary":
        return
    states, rng = all_states(model.dim), streams("annealing")
    log_f = {1.0: model.log_f_x(states)}
    for beta in (0.4, 0.0):
        log_f[beta] = log_f[1.0] - model.anneal(states, beta, 1.0, rng)[0]
    steps = model.anneal(states, 0.0, 0.4, rng)[0] + model.anneal(states, 0.4, 1.0, rng)[0]
    assert torch.allclose(steps, log_f[1.0] - log_f[0.0], rtol=1e-9, atol=1e-9), (
        "log f_β(x) along the path depends on the steps in which it is gone along"
    )
    assert torch.allclose(log_f[0.0].logsumexp(0), model.log_z_base(), rtol=1e-9), (
        f"log Z at β = 0 is {log_f[0.0].logsumexp(0).item():.6g}, and log_z_base returns {model.log_z_base().item():.6g}"
    )
    require_mean(model.sample_base(DRAWS, rng), log_f[0.0].softmax(0) @ states, "the mean of draws at β = 0")
    for beta, value in log_f.items():
        x = states[torch.multinomial(value.softmax(0), DRAWS, replacement=True, generator=rng)]
        moved = model.anneal(x, beta, beta, rng)[1]
        pairs = (x.unsqueeze(2) * moved.unsqueeze(1)).flatten(1)  # (n, D²)
        back = (moved.unsqueeze(2) * x.unsqueeze(1)).flatten(1)
        require_mean(moved, value.softmax(0) @ states, f"the mean of x after a move at β = {beta:g} from exact draws")
        both_ways = (
            "the mean of bits and bits after a move, less the same the other way round, as moves are reversible,"
        )
        require_mean(pairs - back, torch.zeros_like(pairs[0]), f"{both_ways} at β = {beta:g}")


def check_layerwise(case: Case) -> None:
    """Check each pair of a model that learns one at a time: what is drawn for it, and its part of the gradient."""
    model, x, streams = case
    assert not model.normalised, "a model with machines is not normalised: set normalised = False"
    assert sum(part.flat.numel() for part in model.parts) == model.params.flat.numel(), (
        "its parts are not all of params"
    )
    assert torch.equal(model.up(x, 0, streams("up")), x), (
        "up(x, 0) is not x: the lower layer of the first pair are the data"
    )
    before = model.params.flat.detach().clone()
    for pair, part in enumerate(model.parts):
        h = model.up(x, pair, streams("up"))
        assert ((h == 0) | (h == 1)).all(), f"up(x, {pair}) returns values besides 0 and 1"
        moved = model.gibbs_in(pair, h, streams("Gibbs"))
        assert moved.shape == h.shape, f"gibbs_in({pair}, h) returns {tuple(moved.shape)}, not the shape of h"
        require_gradient(
            lambda pair=pair, h=h: model.contrast_in(pair, h[:3], h), [part.flat], f"contrast_in({pair}, …)"
        )
        with torch.no_grad():
            part.flat.add_(1.0)
    assert torch.allclose(model.params.flat, before + 1.0), "its parts are not in the memory of params"
    with torch.no_grad():
        model.params.flat.copy_(before)


@torch.no_grad()
def check_bipartite(case: Case) -> None:
    """Check that log Z is the same by all x, and by all states of the hidden units."""
    model = case.model
    by_x, by_h = model.log_f_x(all_states(model.dim)), model.log_f_h(all_states(model.hidden))
    assert torch.allclose(by_x.logsumexp(0), by_h.logsumexp(0), rtol=1e-9), (
        f"log Z is {by_x.logsumexp(0).item():.6g} by all x, and {by_h.logsumexp(0).item():.6g} by log_f_h of all h"
    )
