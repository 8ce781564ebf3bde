"""Neural variational inference and learning: the score-function estimator with baselines, local signals and normalised variance.

Andriy Mnih and Karol Gregor (2014), arXiv 1402.0030, Algorithm 1. Maximises, over θ and φ,

    Σ over the minibatch of  L(x) = E_q(h|x)[l(x, h)],  l = log p(x, h) - log q(h|x)   plus   M/N · (log p(θ) + log p(φ))

with one sample h a point and  ∇φ L ≈ Σ_i (l_i - C_i - c_i) / max(1, √v_i) ∇φ log q(h_i|h_(i-1)),  where h_0 = x and

    l_i   is what layer i and those above contribute, section 2.3:  log p(h_(i-1), …, h_L) - log q(h_i, …, h_L|h_(i-1))
    C_i   is a network's prediction of l_i from h_(i-1), fitted by least squares beside everything else
    c, v  are running means and variances of l_i - C_i

A step costs, for each point, a draw from q, the densities and gradients of p and q there, and for each baseline network, of which
there is one a layer, or one alone without local signals, a product with V and another for its gradient.

Departures from the paper: c and v are of the minibatches before this one, so that c is independent of the samples that it is
taken from, and the gradient is unbiased up to the factor 1 / max(1, √v); the first minibatch only measures them. The prior on
weights is the model's.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Recognition), latents=("continuous", "binary"), schedule=True)


class Config(api.Config):
    """Settings of Algorithm 1; each reduction of variance can be switched off."""

    lr: float = api.setting(0.003, "step size", gt=0, search=api.Choice((0.001, 0.003, 0.01)))
    optimiser: Literal["sgd", "adam", "adagrad"] = api.setting("sgd", "what the step size is of")
    batch_size: int = api.setting(20, "M, points in a minibatch, drawn with replacement", gt=0)
    baseline: Literal["none", "constant", "input"] = api.setting(
        "input",
        "constant: a running mean of the signal; input: and a network's prediction from what the layer is given",
    )
    variance_normalisation: bool = api.setting(
        True, "divide the signal by its running standard deviation, where above 1"
    )
    local_signals: bool = api.setting(True, "a layer learns from what it and the layers above contribute to the bound")
    baseline_units: int = api.setting(100, "tanh units of the network of an input-dependent baseline", gt=0)
    decay: float = api.setting(0.8, "of the running mean and variance", ge=0, lt=1)


class Baseline:
    """C(c) = w · tanh(V (c - mean) + b) + d, a prediction of the signal, differentiated by hand."""

    def __init__(self, inputs: int, units: int, like: Tensor, rng: torch.Generator, mean: Tensor | None = None):
        self.params = api.Parameters(
            {"V": (inputs, units), "w": (units, 1)}, {"b": (units,), "d": (1,)}, prior_sd=float("inf"), dtype=like.dtype
        )
        self.params.to(like.device)
        self.params.normal_(0.01, rng)
        self._mean = None if mean is None else mean.to(like)

    def predict(self, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return C of inputs c (n, k), (n,), and what its gradient needs: the centred inputs and the hidden units (n, ·)."""
        c = c if self._mean is None else c - self._mean
        h, prediction = self.params.stack.up(c)
        return prediction.squeeze(-1), c, h

    def gradient(self, c: Tensor, h: Tensor, residual: Tensor) -> Tensor:
        """Return the gradient by V, w, b and d of the sum of residual · C, residuals (n,)."""
        return api.from_factors(self.params, self.params.stack.down(c, [h], residual.unsqueeze(-1))[0])

    def state_dict(self) -> dict[str, Tensor]:
        """Return its parameters."""
        return self.params.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over parameters that `state_dict` returned."""
        self.params.load_state_dict(state)


@dataclass
class State:
    """Optimisers, baselines, and the running moments of the signal of each layer, None before the first minibatch.

    A layer has a signal of its own if `local`.
    """

    problem: api.Problem
    config: Config
    rng: torch.Generator
    optimiser: api.Optimiser
    local: bool
    baselines: list[Baseline] = field(default_factory=list)
    fit: api.Optimiser | None = None
    mean: Tensor | None = None  # c (L,)
    variance: Tensor | None = None  # v (L,)


class Info(NamedTuple):
    """The lower bound's estimate, nats per datapoint; and what is left of the signals' variance after the baselines."""

    objective: Tensor | float
    residual_variance: Tensor | float


def init(problem: api.Problem, config: Config, rng: torch.Generator) -> State:
    """Set up the optimiser for θ and φ together, and baselines with one of their own."""
    p, q = problem.model, problem.recognition
    layered = isinstance(p, api.LayeredModel) and api.offers(q, api.LayeredPosterior)
    local = config.local_signals and layered and len(p.latents.layers) > 1  # of one layer the signal is the whole
    state = State(problem, config, rng, api.ascent(problem, config), local)
    if config.baseline == "input":
        state.baselines = [Baseline(p.dim, config.baseline_units, p.params.flat, rng, problem.data.mean)]
        for layer in p.latents.layers[:-1] if state.local else ():
            state.baselines.append(Baseline(layer.size, config.baseline_units, p.params.flat, rng))
        params = [baseline.params for baseline in state.baselines]
        state.fit = api.optimiser(config.optimiser, *params, lr=config.lr, schedule=problem.schedule)
    return state


def gradient(state: State, batch: api.Batch) -> api.gradients.Bound:
    """Estimate the bound and its gradients, summed over the minibatch; then fit baselines and moments to its signals."""
    p, q = state.problem.model, state.problem.recognition
    posterior = q.posterior(batch.x)
    h = posterior.sample(1, state.rng)  # (1, M, Z)
    log_p, theta_pull = api.gradients.joint_layers(p, batch.x, h)
    log_q, phi_pull = api.gradients.posterior_layers(q, posterior, h)
    bound = log_p.sum(-1) - log_q.sum(-1)  # l (1, M)
    signal = bound.unsqueeze(-1)
    if state.local:
        terms = log_p[..., :-1] - log_q
        terms[..., -1] += log_p[..., -1]
        signal = terms.flip(-1).cumsum(-1).flip(-1)  # l_i: of layer i and those above, (1, M, L)
    weights = _reduced(state, state.problem.data.filled(batch.x), h, signal[0]).unsqueeze(0)
    by_phi = phi_pull(weights if state.local else weights[..., 0])
    return api.gradients.Bound(api.native.total(bound), theta_pull(1.0), by_phi)


def unscaled(state: State) -> State:
    """Return a state whose gradient of φ is not divided by the signal's deviation, and has the mean of the bound's."""
    return replace(state, config=state.config.model_copy(update={"variance_normalisation": False}))


def step(state: State, batch: api.Batch) -> Info:
    """One turn of Algorithm 1."""
    bound, by_theta, by_phi = gradient(state, batch)
    state.optimiser.ascend([by_theta, by_phi])
    assert state.variance is not None  # `gradient` has measured it
    return Info(
        objective=bound / len(batch.index), residual_variance=api.native.total(state.variance) / len(state.variance)
    )


def _reduced(state: State, x: Tensor, h: Tensor, signal: Tensor) -> Tensor:
    """Return signals (M, L) less their baselines, over their scale; then take these signals into account."""
    config = state.config
    inputs = [x, *state.problem.model.latents.split(h[0])]  # that each layer is given
    predicted = [baseline.predict(c) for baseline, c in zip(state.baselines, inputs, strict=False)]
    left = signal - torch.stack([C for C, _, _ in predicted], dim=-1) if predicted else signal
    if state.mean is None or state.variance is None:  # the first minibatch only measures
        state.variance, state.mean = torch.var_mean(left, 0, unbiased=False)
        return torch.zeros_like(signal) if config.baseline != "none" else signal
    left = api.native.standardise(
        left, state.mean, state.variance, config.decay,
        centre=config.baseline != "none", scale=config.variance_normalisation,
    )  # fmt: skip
    if state.fit is not None:
        residuals = zip(state.baselines, predicted, left.unbind(-1), strict=False)
        state.fit.ascend([baseline.gradient(c, units, g) for baseline, (_, c, units), g in residuals])
    return left
