"""Peers in JAX: plain JAX with optax, NumPyro's SVI, and BlackJAX's HMC; a round is one compiled loop, its state donated."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from rows import BATCH, LEAPFROG, UPDATES, K, Peer, Start

LOG_2PI = math.log(2.0 * math.pi)
CHUNK = 500
ADAM_LR = 1e-3


def _arrays(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: jnp.array(tensor.numpy()) for name, tensor in tensors.items()}  # copies, as they are donated


def _split(w: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {k: v for k, v in w.items() if k[1] in "12"}, {k: v for k, v in w.items() if k[1] in "34"}


def adagrad(sums: dict[str, Any], lr: float, decay: float) -> optax.GradientTransformation:
    """Descent by Adagrad that begins with these sums, with a prior on what is called W."""

    def begin(params: Any) -> Any:
        return {name: jnp.array(sums[name]) for name in params}

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        g = {name: value + decay * params[name] if name[0] == "W" else value for name, value in gradients.items()}
        state = jax.tree.map(lambda s, g: s + g * g, state, g)
        return jax.tree.map(lambda s, g: -lr * g * jax.lax.rsqrt(s), state, g), state

    return optax.GradientTransformation(begin, update)


def encode(phi: Any, x: Any) -> Any:
    """Return mean and log variance of q(z|x)."""
    return jnp.split(jnp.tanh(x @ phi["W3"] + phi["b3"]) @ phi["W4"] + phi["b4"], 2, axis=-1)


def outputs(theta: Any, z: Any) -> Any:
    """Return the decoder's outputs."""
    return jnp.tanh(z @ theta["W1"] + theta["b1"]) @ theta["W2"] + theta["b2"]


def log_lik(theta: Any, x: Any, z: Any, gaussian: bool) -> Any:
    """Return log p(x|z) of each point."""
    out = outputs(theta, z)
    if gaussian:
        a, log_var = jnp.split(out, 2, axis=-1)
        return -0.5 * jnp.sum((x - jax.nn.sigmoid(a)) ** 2 * jnp.exp(-log_var) + log_var + LOG_2PI, axis=-1)
    return jnp.sum(x * out - jax.nn.softplus(out), axis=-1)


def log_normal(z: Any) -> Any:
    """Return log N(z; 0, I) of each."""
    return -0.5 * jnp.sum(z**2 + LOG_2PI, axis=-1)


def _draw(key: Any, mean: Any, log_var: Any, *samples: int) -> Any:
    return mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, (*samples, *mean.shape))


def minus_elbo(w: Any, x: Any, key: Any, gaussian: bool) -> Any:
    """Return minus the lower bound, summed over the minibatch, with the analytic KL."""
    mean, log_var = encode(w, x)
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1)
    return kl - jnp.sum(log_lik(w, x, _draw(key, mean, log_var), gaussian))


def minus_iwae(w: Any, x: Any, key: Any) -> Any:
    """Return minus the mean importance-weighted bound."""
    mean, log_var = encode(w, x)
    noise = jax.random.normal(key, (K, *mean.shape))
    z = mean + jnp.exp(0.5 * log_var) * noise
    log_q = -0.5 * jnp.sum(noise**2 + log_var + LOG_2PI, axis=-1)
    log_w = log_lik(w, x, z, False) + log_normal(z) - log_q
    return -jnp.mean(jax.nn.logsumexp(log_w, axis=0) - math.log(K))


def _some(key: Any, data: Any) -> Any:
    return data[jax.random.randint(key, (BATCH,), 0, len(data))]


def _loop(one: Callable[..., Any], carry: Any, calls: int, weights: Callable[[Any], Any], data: Any) -> Peer:
    """Return a peer whose round is one compiled loop of `one(carry, key, data) -> carry, objective`."""

    def whole(carry: Any, key: Any, data: Any) -> Any:
        return jax.lax.scan(lambda carry, key: one(carry, key, data), carry, jax.random.split(key, calls))

    compiled, key = jax.jit(whole, donate_argnums=0), jax.random.key(1)

    def run() -> Any:
        nonlocal carry, key
        key, now = jax.random.split(key)
        carry, values = compiled(carry, now, data)
        return values.block_until_ready()

    return Peer(run, lambda: jax.tree.map(jnp.array, weights(carry)))


def plain(start: Start, threads: int) -> Peer:
    """JAX by itself."""
    row, data, w = start.row, jnp.array(start.x.numpy()), _arrays(start.w)
    if row.algorithm in ("leapfrog", "mcem"):
        return _chains(start, _plain_move)
    if row.algorithm == "wake-sleep":
        return _wake_sleep(start)
    if row.algorithm == "iwae":
        optimiser, objective, scale = optax.adam(ADAM_LR), minus_iwae, 1
    else:
        optimiser = adagrad(_arrays(start.sums), start.lr, start.decay)
        objective, scale = lambda w, x, key: minus_elbo(w, x, key, start.gaussian), BATCH  # type: ignore[assignment]

    def one(carry: Any, key: Any, data: Any) -> Any:
        (w, state), (order, noise) = carry, jax.random.split(key)
        loss, gradient = jax.value_and_grad(objective)(w, _some(order, data), noise)
        change, state = optimiser.update(gradient, state, w)
        return (optax.apply_updates(w, change), state), -loss / scale

    return _loop(one, (w, optimiser.init(w)), row.calls, lambda carry: carry[0], data)


def _wake_sleep(start: Start) -> Peer:
    theta, phi = _split(_arrays(start.w))
    optimiser = adagrad(_arrays(start.sums), start.lr, start.decay)

    def ascend(objective: Callable[[Any], Any], w: Any, state: Any) -> Any:
        value, gradient = jax.value_and_grad(lambda w: -objective(w))(w)
        change, state = optimiser.update(gradient, state, w)
        return -value, optax.apply_updates(w, change), state

    def one(carry: Any, key: Any, data: Any) -> Any:
        theta, phi, wake, sleep = carry
        order, noise, latents, pixels = jax.random.split(key, 4)
        x = _some(order, data)
        z = _draw(noise, *encode(phi, x))
        log_p, theta, wake = ascend(lambda theta: jnp.sum(log_lik(theta, x, z, False)), theta, wake)
        log_p += jnp.sum(log_normal(z))
        z = jax.random.normal(latents, z.shape)
        dream = jax.random.bernoulli(pixels, jax.nn.sigmoid(outputs(theta, z))).astype(jnp.float32)

        def log_q(phi: Any) -> Any:
            mean, log_var = encode(phi, dream)
            return -0.5 * jnp.sum((z - mean) ** 2 * jnp.exp(-log_var) + log_var + LOG_2PI)

        of_sleep, phi, sleep = ascend(log_q, phi, sleep)
        return (theta, phi, wake, sleep), (log_p + of_sleep) / BATCH

    carry = (theta, phi, optimiser.init(theta), optimiser.init(phi))
    return _loop(one, carry, start.row.calls, lambda carry: carry[0] | carry[1], jnp.array(start.x.numpy()))


# Hamiltonian Monte Carlo of all chains: `move(theta, x, z, key, step) -> z, log p(x, z) there, probability of acceptance`.


def _log_p(theta: Any, x: Any, z: Any) -> Any:
    return log_lik(theta, x, z, False) + log_normal(z)


def _plain_move(theta: Any, x: Any, z: Any, key: Any, step: Any) -> Any:
    def at(z: Any) -> Any:
        log_p, back = jax.vjp(lambda z: _log_p(theta, x, z), z)
        return log_p, back(jnp.ones_like(log_p))[0]

    momenta, uniform = jax.random.split(key)
    r = jax.random.normal(momenta, z.shape)
    log_p, gradient = at(z)

    def leap(carry: Any, _: Any) -> Any:
        z, r, gradient, _ = carry
        r = r + 0.5 * step * gradient
        z = z + step * r
        there, gradient = at(z)
        return (z, r + 0.5 * step * gradient, gradient, there), None

    (new, momentum, _, there), _ = jax.lax.scan(leap, (z, r, gradient, log_p), None, length=LEAPFROG)
    log_ratio = there - log_p + 0.5 * jnp.sum(r**2 - momentum**2, axis=-1)
    probability = jnp.exp(jnp.minimum(log_ratio, 0.0))
    accepted = jax.random.uniform(uniform, probability.shape) < probability
    return jnp.where(accepted[:, None], new, z), jnp.where(accepted, there, log_p), probability


def _blackjax_move(theta: Any, x: Any, z: Any, key: Any, step: Any) -> Any:
    from blackjax.mcmc import hmc

    kernel, mass = hmc.build_kernel(), jnp.ones(z.shape[-1])

    def one(key: Any, z: Any, x: Any) -> Any:
        density = lambda z: _log_p(theta, x, z)  # noqa: E731
        state, info = kernel(key, hmc.init(z, density), density, step, mass, LEAPFROG)
        return state.position, state.logdensity, info.acceptance_rate

    return jax.vmap(one)(jax.random.split(key, len(z)), z, x)


def blackjax(start: Start, threads: int) -> Peer:
    """BlackJAX's HMC, mapped over chains; updates of θ by JAX."""
    return _chains(start, _blackjax_move)


def _chains(start: Start, move: Callable[..., Any]) -> Peer:
    row, x, z = start.row, jnp.array(start.x.numpy()), jnp.array(start.z.numpy())
    theta, _ = _split(_arrays(start.w))
    if row.algorithm == "leapfrog":

        def again(carry: Any, key: Any, data: Any) -> Any:
            return carry, jnp.mean(move(carry[0], data, carry[1], key, start.step_size)[1])

        return _loop(again, (theta, z), row.calls, lambda carry: {}, x)
    optimiser, n = adagrad(_arrays(start.sums), start.lr, start.decay), min(CHUNK, len(x))
    factor = min(1.25, 1.02 ** min(100, len(x)))

    def cycle(carry: Any, key: Any, data: Any) -> Any:
        theta, state, z, step = carry  # data and z in chunks (C, n, ·)

        def chunk(_: Any, given: Any) -> Any:
            x, z, key = given
            z, _, probability = move(theta, x, z, key, step)
            return None, (z, jnp.sum(probability))

        _, (z, accepted) = jax.lax.scan(chunk, None, (data, z, jax.random.split(key, len(data))))
        step = step * jnp.where(jnp.sum(accepted) / len(x) > 0.9, factor, 1 / factor)

        def update(carry: Any, _: Any) -> Any:
            theta, state = carry

            def some(total: Any, given: Any) -> Any:
                value, gradient = jax.value_and_grad(lambda theta: -jnp.sum(_log_p(theta, *given)))(theta)
                return jax.tree.map(jnp.add, total, (value, gradient)), None

            (value, gradient), _ = jax.lax.scan(some, (0.0, jax.tree.map(jnp.zeros_like, theta)), (data, z))
            change, state = optimiser.update(gradient, state, theta)
            return (optax.apply_updates(theta, change), state), -value / len(x)

        (theta, state), values = jax.lax.scan(update, (theta, state), None, length=UPDATES)
        return (theta, state, z, step), values[-1]

    carry = (theta, optimiser.init(theta), z.reshape(-1, n, z.shape[-1]), jnp.float32(start.step_size))
    return _loop(cycle, carry, row.calls, lambda carry: carry[0], x.reshape(-1, n, x.shape[-1]))


def numpyro(start: Start, threads: int) -> Peer:
    """NumPyro's SVI with its own bounds: the mean-field ELBO, whose KL is analytic, and Rényi's of order 0, which is IWAE's."""
    import numpyro as npy
    import numpyro.distributions as dist
    from numpyro.infer import SVI, RenyiELBO, TraceMeanField_ELBO

    row, data, begin = start.row, jnp.array(start.x.numpy()), _arrays(start.w)
    theta_names, phi_names = _split(begin)

    def model(x: Any) -> None:
        theta = {name: npy.param(name, begin[name]) for name in theta_names}
        with npy.plate("data", len(x)):
            z = npy.sample("z", dist.Normal(jnp.zeros((len(x), row.nz)), 1.0).to_event(1))
            out = outputs(theta, z)
            if start.gaussian:
                a, log_var = jnp.split(out, 2, axis=-1)
                density: Any = dist.Normal(jax.nn.sigmoid(a), jnp.exp(0.5 * log_var))
            else:
                density = dist.Bernoulli(logits=out, validate_args=False)
            npy.sample("x", density.to_event(1), obs=x)

    def guide(x: Any) -> None:
        phi = {name: npy.param(name, begin[name]) for name in phi_names}
        with npy.plate("data", len(x)):
            mean, log_var = encode(phi, x)
            npy.sample("z", dist.Normal(mean, jnp.exp(0.5 * log_var)).to_event(1))

    if row.algorithm == "iwae":
        svi = SVI(model, guide, optax.adam(ADAM_LR), RenyiELBO(alpha=0, num_particles=K))
    else:
        optimiser = adagrad(_arrays(start.sums), start.lr, start.decay)
        svi = SVI(model, guide, optimiser, TraceMeanField_ELBO())

    def one(state: Any, key: Any, data: Any) -> Any:
        state, loss = svi.update(state, _some(key, data))
        return state, -loss / BATCH

    state = svi.init(jax.random.key(0), data[:BATCH])
    return _loop(one, state, row.calls, svi.get_params, data)
