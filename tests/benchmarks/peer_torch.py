"""Peers in PyTorch: the leanest loop that one would write by hand, and the same step compiled as a whole by `torch.compile`.

Both draw minibatches by index from one tensor. The first has autograd and PyTorch's fused optimisers; the second one graph with
gradients, noise and update in it.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from rows import BATCH, LEAPFROG, UPDATES, K, Peer, Start, Weights
from torch import Tensor
from torch.nn import functional as F

LOG_2PI = math.log(2.0 * math.pi)
CHUNK = 500
ADAM_LR = 1e-3

Step = Callable[[], Any]


# Objectives, summed over the minibatch.


def encode(w: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of q(z|x), (B, Z) each."""
    mean, log_var = torch.addmm(w["b4"], torch.addmm(w["b3"], x, w["W3"]).tanh(), w["W4"]).chunk(2, -1)
    return mean, log_var


def outputs(w: Weights, z: Tensor) -> Tensor:
    """Return the decoder's outputs for z (n, Z)."""
    return torch.addmm(w["b2"], torch.addmm(w["b1"], z, w["W1"]).tanh(), w["W2"])


def log_lik(out: Tensor, x: Tensor, gaussian: bool, each: bool = False) -> Tensor:
    """Return log p(x|z) of outputs, summed over all points, or of each."""
    if gaussian:
        a, log_var = out.chunk(2, -1)
        terms = -0.5 * ((x - a.sigmoid()).square() * (-log_var).exp() + log_var + LOG_2PI)
        return terms.sum(-1) if each else terms.sum()
    if each:
        return -F.binary_cross_entropy_with_logits(out, x, reduction="none").sum(-1)
    return -F.binary_cross_entropy_with_logits(out, x, reduction="sum")


def log_normal(z: Tensor) -> Tensor:
    """Return the sum of log N(z; 0, I)."""
    return -0.5 * (z.square().sum() + z.numel() * LOG_2PI)


def log_q(w: Weights, x: Tensor, z: Tensor) -> Tensor:
    """Return the sum of log q(z|x)."""
    mean, log_var = encode(w, x)
    return -0.5 * ((z - mean).square() * (-log_var).exp() + log_var + LOG_2PI).sum()


def draw(mean: Tensor, log_var: Tensor, *samples: int) -> Tensor:
    """Draw z by reparameterisation."""
    return mean + (0.5 * log_var).exp() * torch.randn(*samples, *mean.shape)


def elbo(w: Weights, x: Tensor, gaussian: bool) -> Tensor:
    """Return the lower bound with the analytic KL."""
    mean, log_var = encode(w, x)
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()
    return log_lik(outputs(w, draw(mean, log_var)), x, gaussian) - kl


def iwae(w: Weights, x: Tensor) -> Tensor:
    """Return the importance-weighted bound."""
    mean, log_var = encode(w, x)
    noise = torch.randn(K, *mean.shape)
    z = mean + (0.5 * log_var).exp() * noise
    prior_less_q = 0.5 * (noise.square() + log_var - z.square()).sum(-1)  # (K, B)
    every = log_lik(outputs(w, z.flatten(0, 1)), x.repeat(K, 1), False, each=True).view(K, -1)
    return ((every + prior_less_q).logsumexp(0) - math.log(K)).sum()


def some(x: Tensor) -> Tensor:
    """Draw a minibatch by index, with replacement."""
    return x[torch.randint(len(x), (BATCH,))]


@torch.no_grad()
def dream(theta: Weights) -> tuple[Tensor, Tensor]:
    """Draw a minibatch from the model, x and z."""
    z = torch.randn(BATCH, len(theta["W1"]))
    return torch.bernoulli(outputs(theta, z).sigmoid()), z


# Updates.


class Adagrad:
    """One fused update, called without the optimiser around it."""

    def __init__(self, w: Weights, start: Start):
        weights, biases = ([name for name in w if name[0] == letter] for letter in "Wb")
        sums = {name: start.sums[name].clone() for name in w}
        self._groups = [
            (
                names,
                [w[name].detach() for name in names],
                [sums[name] for name in names],
                [torch.zeros(()) for _ in names],
                decay,
            )
            for names, decay in ((weights, start.decay), (biases, 0.0))
        ]
        self._lr = start.lr

    def __call__(self, gradients: Weights) -> None:
        for names, w, s, steps, decay in self._groups:
            g = [gradients[name] for name in names]
            torch._fused_adagrad_(w, g, s, steps, lr=self._lr, lr_decay=0.0, weight_decay=decay, eps=0.0, maximize=True)


def ascend(w: Weights, s: Weights, gradients: Weights, lr: float, decay: float) -> None:
    """Adagrad in place, for a compiler."""
    for name, g in gradients.items():
        g = g - decay * w[name] if name[0] == "W" else g
        s[name].add_(g * g)
        w[name].add_(lr * g / s[name].sqrt())


def adam(w: Weights, m: Weights, v: Weights, t: Tensor, gradients: Weights) -> None:
    """Adam in place, for a compiler."""
    t.add_(1)
    for name, g in gradients.items():
        m[name].lerp_(g, 0.1)
        v[name].lerp_(g * g, 0.001)
        w[name].add_(ADAM_LR * (m[name] / (1 - 0.9**t)) / ((v[name] / (1 - 0.999**t)).sqrt() + 1e-8))


def _split(w: Weights) -> tuple[Weights, Weights]:
    return {k: v for k, v in w.items() if k[1] in "12"}, {k: v for k, v in w.items() if k[1] in "34"}


# The leanest loop by hand.


def lean(start: Start, threads: int) -> Peer:
    """Autograd, and a fused update."""
    row, x = start.row, start.x
    w = {name: value.clone().requires_grad_() for name, value in start.w.items()}
    theta, phi = _split(w)

    def gradients(objective: Tensor, of: Weights) -> Weights:
        return dict(zip(of, torch.autograd.grad(objective, list(of.values())), strict=True))

    if row.algorithm == "aevb":
        update = Adagrad(w, start)

        def step() -> Tensor:
            bound = elbo(w, some(x), start.gaussian)
            update(gradients(bound, w))
            return bound.detach() / BATCH

    elif row.algorithm == "iwae":
        optimiser = torch.optim.Adam(w.values(), lr=ADAM_LR, maximize=True, fused=True)

        def step() -> Tensor:
            bound = iwae(w, some(x)) / BATCH
            optimiser.zero_grad()
            bound.backward()
            optimiser.step()
            return bound.detach()

    elif row.algorithm == "wake-sleep":
        wake, sleep = Adagrad(theta, start), Adagrad(phi, start)

        def step() -> Tensor:
            batch = some(x)
            with torch.no_grad():
                z = draw(*encode(phi, batch))
            log_p = log_lik(outputs(theta, z), batch, False)
            wake(gradients(log_p, theta))
            fantasy, z_of = dream(theta)
            of_sleep = log_q(phi, fantasy, z_of)
            sleep(gradients(of_sleep, phi))
            return (log_p.detach() + log_normal(z) + of_sleep.detach()) / BATCH

    elif row.algorithm == "leapfrog":
        fixed = {name: value.detach() for name, value in theta.items()}
        at = _score(fixed, x, start.z)

        def step() -> Tensor:
            return move(_lean_leap, fixed, x, start.z, at, start.step_size)[1].mean()

    else:
        return _cycles(
            start, theta, Adagrad(theta, start), _move_once, lambda t, x, z: gradients_of_joint(t, x, z, gradients)
        )
    return Peer(lambda: [step() for _ in range(row.calls)], lambda: {k: w[k].detach().clone() for k in start.learned})


def _score(theta: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x, z) of each chain, and its gradient in z, by autograd."""
    z = z.detach().requires_grad_()
    log_p = log_lik(outputs(theta, z), x, False, each=True) - 0.5 * (z.square() + LOG_2PI).sum(-1)
    (gradient,) = torch.autograd.grad(log_p.sum(), z)
    return log_p.detach(), gradient


def score(theta: Weights, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same, for a compiler."""

    def total(z: Tensor) -> tuple[Tensor, Tensor]:
        log_p = log_lik(outputs(theta, z), x, False, each=True) - 0.5 * (z.square() + LOG_2PI).sum(-1)
        return log_p.sum(), log_p

    gradient, (_, log_p) = torch.func.grad_and_value(total, has_aux=True)(z)
    return log_p, gradient


def leap(
    theta: Weights, x: Tensor, z: Tensor, r: Tensor, gradient: Tensor, step: Any, at: Any = score
) -> tuple[Tensor, ...]:
    """Do one leapfrog step, and return z, r, and log p(x, z) and its gradient there."""
    r = r + 0.5 * step * gradient
    z = z + step * r
    log_p, gradient = at(theta, x, z)
    return z, r + 0.5 * step * gradient, log_p, gradient


def move(leap: Callable[..., Any], theta: Weights, x: Tensor, z: Tensor, here: tuple[Tensor, Tensor], step: Any) -> Any:
    """Move chains z (C, Z) once, and return where they are, log p(x, z) there, and the probability of acceptance."""
    r = torch.randn_like(z)
    new, momentum, gradient = z, r, here[1]
    for _ in range(LEAPFROG):
        new, momentum, log_p, gradient = leap(theta, x, new, momentum, gradient, step)
    log_ratio = log_p - here[0] + 0.5 * (r.square() - momentum.square()).sum(-1)
    probability = log_ratio.clamp(max=0.0).exp()
    accepted = torch.rand_like(probability) < probability
    return torch.where(accepted.unsqueeze(-1), new, z), torch.where(accepted, log_p, here[0]), probability


def _lean_leap(*arguments: Any) -> tuple[Tensor, ...]:
    return leap(*arguments, at=_score)


def _move_once(theta: Weights, x: Tensor, z: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    fixed = {name: value.detach() for name, value in theta.items()}
    new, _, probability = move(_lean_leap, fixed, x, z, _score(fixed, x, z), step)
    return new, probability.sum()


def gradients_of_joint(
    theta: Weights, x: Tensor, z: Tensor, gradients: Callable[..., Weights]
) -> tuple[Weights, Tensor]:
    """Return the gradient of the sum of log p(x, z) by θ, and the sum."""
    log_p = log_lik(outputs(theta, z), x, False)
    return gradients(log_p, theta), log_p.detach() + log_normal(z)


def _cycles(start: Start, theta: Weights, update: Callable[[Weights], None], moved: Any, joint: Any) -> Peer:
    """Monte Carlo EM: a move of every chain, then updates of θ over all points, in chunks that stay in cache."""
    x, z, step_size = start.x.split(CHUNK), list(start.z.clone().split(CHUNK)), torch.tensor(start.step_size)
    factor = min(1.25, 1.02 ** min(100, len(start.x)))

    def cycle() -> Tensor:
        accepted = 0.0
        for number, chunk in enumerate(x):
            z[number], some = moved(theta, chunk, z[number], step_size)
            accepted += some
        step_size.mul_(factor if accepted / len(start.x) > 0.9 else 1 / factor)
        for _ in range(UPDATES):
            total, gradient = 0.0, None
            for chunk, latents in zip(x, z, strict=True):
                of_chunk, log_p = joint(theta, chunk, latents)
                gradient = of_chunk if gradient is None else {k: gradient[k].add_(g) for k, g in of_chunk.items()}
                total = total + log_p
            update(gradient)
        return total / len(start.x)

    return Peer(
        lambda: [cycle() for _ in range(start.row.calls)],
        lambda: {name: theta[name].detach().clone() for name in start.learned},
    )


# The whole step compiled.


def compiled(start: Start, threads: int, backend: str = "inductor") -> Peer:
    """Forward, backward, noise and update in one graph; of chains, a leapfrog step, as ten in one take minutes to compile."""
    row, x = start.row, start.x
    w = {name: value.clone() for name, value in start.w.items()}
    s = {name: value.clone() for name, value in start.sums.items()}
    theta, phi = _split(w)
    by, lr, decay = torch.func.grad_and_value, start.lr, start.decay

    def graph(function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any] = torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
        return made

    if row.algorithm == "aevb":

        def aevb(w: Weights, s: Weights, x: Tensor) -> Tensor:
            gradient, bound = by(elbo)(w, some(x), start.gaussian)
            ascend(w, s, gradient, lr, decay)
            return bound / BATCH

        whole = graph(aevb)
        step = lambda: whole(w, s, x)  # noqa: E731
    elif row.algorithm == "iwae":
        m, v = ({name: torch.zeros_like(value) for name, value in w.items()} for _ in range(2))
        t = torch.zeros(())

        def weighted(w: Weights, m: Weights, v: Weights, t: Tensor, x: Tensor) -> Tensor:
            gradient, bound = by(lambda w, x: iwae(w, x) / BATCH)(w, some(x))
            adam(w, m, v, t, gradient)
            return bound

        whole = graph(weighted)
        step = lambda: whole(w, m, v, t, x)  # noqa: E731
    elif row.algorithm == "wake-sleep":

        def wake_sleep(theta: Weights, phi: Weights, s: Weights, x: Tensor) -> Tensor:
            batch = some(x)
            z = draw(*encode(phi, batch))
            gradient, log_p = by(lambda theta: log_lik(outputs(theta, z), batch, False))(theta)
            ascend(theta, s, gradient, lr, decay)
            z_of = torch.randn(BATCH, z.shape[1])
            fantasy = torch.bernoulli(outputs(theta, z_of).sigmoid())
            gradient, of_sleep = by(log_q)(phi, fantasy, z_of)
            ascend(phi, s, gradient, lr, decay)
            return (log_p + log_normal(z) + of_sleep) / BATCH

        whole = graph(wake_sleep)
        step = lambda: whole(theta, phi, s, x)  # noqa: E731
    elif row.algorithm == "leapfrog":
        at, jump = score(theta, x, start.z), graph(leap)
        step = lambda: move(jump, theta, x, start.z, at, start.step_size)[1].mean()  # noqa: E731
    else:
        jump, first = graph(leap), graph(score)

        def moved(theta: Weights, x: Tensor, z: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
            new, _, probability = move(jump, theta, x, z, first(theta, x, z), step)
            return new, probability.sum()

        def joint(theta: Weights, x: Tensor, z: Tensor) -> tuple[Weights, Tensor]:
            gradient, log_p = by(lambda theta: log_lik(outputs(theta, z), x, False))(theta)
            return gradient, log_p + log_normal(z)

        of_theta, _ = _split(s)
        update = graph(lambda gradient: ascend(theta, of_theta, gradient, lr, decay))
        return _cycles(start, theta, update, moved, graph(joint))
    return Peer(lambda: [step() for _ in range(row.calls)], lambda: {k: w[k].clone() for k in start.learned})
