"""How fast beside what one would use instead: a plain PyTorch loop, Pyro, JAX with optax, BlackJAX. Run on request, not by CI:

    python -m pip install -e ".[test,peers]" && python tests/benchmarks/peers.py

Every row has the same model, batch size, precision and threads for all, and everyone draws minibatches; each time is a ratio to
the row's own matrix products, timed in turn in one process, the median of rounds. Peers ascend with Adam, as their users do. A
process is given as many processors as it has threads, since JAX has no other limit. Denormal numbers are flushed to zero for all
of PyTorch.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[], object]
STEPS = 50  # of a loop that is compiled as a whole
ROWS = {  # title, threads, sizes
    "aevb-mnist": ("AEVB step, MNIST, N_z = 20, 500 hidden", 1, ("mnist", 500, 20)),
    "aevb-mnist-2": ("the same with two threads", 2, ("mnist", 500, 20)),
    "aevb-frey": ("AEVB step, Frey Face, N_z = 10, 200 hidden", 1, ("frey", 200, 10)),
    "aevb-small": ("AEVB step, MNIST, N_z = 3, 100 hidden", 1, ("mnist", 100, 3)),
    "wake-sleep": ("wake-sleep step, MNIST, N_z = 20, 500 hidden", 1, ("mnist", 500, 20)),
    "leapfrog": ("HMC leapfrog step, 1000 chains, N_z = 3, 100 hidden", 1, ("mnist", 100, 3)),
}
COLUMNS = ("harness", "PyTorch", "Pyro", "JAX", "BlackJAX")


def torch_loop(row: str, x: Any, hidden: int, nz: int, gaussian: bool) -> Work:
    """A loop as in tutorials: modules, a DataLoader, Adam."""
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    D = x.shape[1]
    encoder = nn.Sequential(nn.Linear(D, hidden), nn.Tanh(), nn.Linear(hidden, 2 * nz))
    decoder = nn.Sequential(nn.Linear(nz, hidden), nn.Tanh(), nn.Linear(hidden, D * (2 if gaussian else 1)))
    batches = DataLoader(TensorDataset(x), batch_size=100, shuffle=True, drop_last=True)

    def log_lik(x: Any, out: Any) -> Any:
        if gaussian:
            a, log_var = out.chunk(2, -1)
            return -0.5 * ((x - a.sigmoid()) ** 2 * (-log_var).exp() + log_var).sum()
        return -F.binary_cross_entropy_with_logits(out, x, reduction="sum")

    def forever() -> Any:
        while True:
            for (batch,) in batches:
                yield batch

    data = forever()
    if row == "wake-sleep":
        wake = torch.optim.Adam(decoder.parameters(), lr=1e-3)
        sleep = torch.optim.Adam(encoder.parameters(), lr=1e-3)

        def wake_sleep() -> None:
            batch = next(data)
            with torch.no_grad():
                mean, log_var = encoder(batch).chunk(2, -1)
                z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
            wake.zero_grad()
            (-log_lik(batch, decoder(z)) / 100).backward()
            wake.step()
            with torch.no_grad():
                z = torch.randn(100, nz)
                dream = torch.bernoulli(decoder(z).sigmoid())
            sleep.zero_grad()
            mean, log_var = encoder(dream).chunk(2, -1)
            (0.5 * ((z - mean) ** 2 * (-log_var).exp() + log_var).sum() / 100).backward()
            sleep.step()

        return wake_sleep
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

    def step() -> None:
        batch = next(data)
        adam.zero_grad()
        mean, log_var = encoder(batch).chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
        kl = 0.5 * (mean**2 + log_var.exp() - log_var - 1).sum()
        ((kl - log_lik(batch, decoder(z))) / 100).backward()
        adam.step()

    return step


def pyro_svi(x: Any, hidden: int, nz: int, gaussian: bool) -> Work:
    """Stochastic variational inference with Pyro's Trace_ELBO and Adam."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, Trace_ELBO
    from pyro.optim import Adam
    from torch import nn

    D = x.shape[1]
    pyro.clear_param_store()
    pyro.enable_validation(False)
    encoder = nn.Sequential(nn.Linear(D, hidden), nn.Tanh(), nn.Linear(hidden, 2 * nz))
    decoder = nn.Sequential(nn.Linear(nz, hidden), nn.Tanh(), nn.Linear(hidden, D * (2 if gaussian else 1)))

    def model(batch: Any) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(batch)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(batch), nz), torch.ones(len(batch), nz)).to_event(1))
            out = decoder(z)
            if gaussian:
                a, log_var = out.chunk(2, -1)
                density = dist.Normal(a.sigmoid(), (0.5 * log_var).exp())
            else:
                density = dist.Bernoulli(logits=out, validate_args=False)
            pyro.sample("x", density.to_event(1), obs=batch)

    def guide(batch: Any) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(batch)):
            mean, log_var = encoder(batch).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, (0.5 * log_var).exp()).to_event(1))

    svi = SVI(model, guide, Adam({"lr": 1e-3}), Trace_ELBO())
    return lambda: svi.step(x[torch.randint(len(x), (100,))])


def _jax_model(hidden: int, nz: int, D: int, gaussian: bool) -> tuple[Any, Any, Any, Any]:
    """Return parameters θ and φ, the encoder and log p(x|z), for JAX."""
    import jax
    import jax.numpy as jnp

    shapes = {"W1": (nz, hidden), "W2": (hidden, D * (2 if gaussian else 1)), "W3": (D, hidden), "W4": (hidden, 2 * nz)}
    keys = jax.random.split(jax.random.key(0), 4)
    w = {name: 0.05 * jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items(), strict=True)}
    w |= {"b" + name[1:]: jnp.zeros(shape[1]) for name, shape in shapes.items()}
    theta, phi = ({k: v for k, v in w.items() if k[1] in digits} for digits in ("12", "34"))

    def encode(phi: Any, x: Any) -> Any:
        return jnp.split(jnp.tanh(x @ phi["W3"] + phi["b3"]) @ phi["W4"] + phi["b4"], 2, axis=-1)

    def log_lik(theta: Any, x: Any, z: Any) -> Any:
        out = jnp.tanh(z @ theta["W1"] + theta["b1"]) @ theta["W2"] + theta["b2"]
        if gaussian:
            a, log_var = jnp.split(out, 2, axis=-1)
            return -0.5 * jnp.sum((x - jax.nn.sigmoid(a)) ** 2 * jnp.exp(-log_var) + log_var)
        return jnp.sum(x * out - jax.nn.softplus(out))

    return theta, phi, encode, log_lik


def jax_loop(row: str, x: Any, hidden: int, nz: int, gaussian: bool) -> Work:
    """JAX with optax's Adam: `STEPS` steps in one compiled loop, the data on the device."""
    import jax
    import jax.numpy as jnp
    import optax

    data, D = jnp.asarray(x.numpy()), x.shape[1]
    theta, phi, encode, log_lik = _jax_model(hidden, nz, D, gaussian)
    adam = optax.adam(1e-3)

    def update(gradient: Any, state: Any, params: Any) -> tuple[Any, Any]:
        change, state = adam.update(gradient, state)
        return optax.apply_updates(params, change), state

    def draw(key: Any, mean: Any, log_var: Any) -> Any:
        return mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)

    def elbo(params: Any, x: Any, key: Any) -> Any:
        mean, log_var = encode(params[1], x)
        kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1)
        return (kl - log_lik(params[0], x, draw(key, mean, log_var))) / 100

    def aevb(carry: Any, key: Any) -> tuple[Any, Any]:
        params, state = carry
        order, noise = jax.random.split(key)
        batch = data[jax.random.randint(order, (100,), 0, len(data))]
        value, gradient = jax.value_and_grad(elbo)(params, batch, noise)
        return update(gradient, state, params), value

    def wake_sleep(carry: Any, key: Any) -> tuple[Any, Any]:
        (theta, phi), (wake, sleep) = carry
        order, noise, latents, pixels = jax.random.split(key, 4)
        batch = data[jax.random.randint(order, (100,), 0, len(data))]
        z = draw(noise, *encode(phi, batch))
        value, gradient = jax.value_and_grad(lambda t: -log_lik(t, batch, z) / 100)(theta)
        theta, wake = update(gradient, wake, theta)
        z = jax.random.normal(latents, (100, nz))
        logits = jnp.tanh(z @ theta["W1"] + theta["b1"]) @ theta["W2"] + theta["b2"]
        dream = jax.random.bernoulli(pixels, jax.nn.sigmoid(logits)).astype(jnp.float32)

        def minus_log_q(phi: Any) -> Any:
            mean, log_var = encode(phi, dream)
            return 0.5 * jnp.sum((z - mean) ** 2 * jnp.exp(-log_var) + log_var) / 100

        phi, sleep = update(jax.grad(minus_log_q)(phi), sleep, phi)
        return ((theta, phi), (wake, sleep)), value

    one = wake_sleep if row == "wake-sleep" else aevb
    state = (adam.init(theta), adam.init(phi)) if row == "wake-sleep" else adam.init((theta, phi))
    loop = jax.jit(lambda carry, key: jax.lax.scan(one, carry, jax.random.split(key, STEPS)), donate_argnums=0)
    carry = ((theta, phi), state)

    def steps() -> None:
        nonlocal carry
        carry, values = loop(carry, jax.random.key(1))
        values.block_until_ready()

    return steps


def blackjax_hmc(x: Any, theta: Any) -> Work:
    """BlackJAX's HMC, mapped over points, with as many steps a move, compiled as a whole; the decoder is the harness's."""
    import blackjax
    import jax
    import jax.numpy as jnp
    import workloads

    data = jnp.asarray(x.numpy())
    W1, W2, b1, b2 = (jnp.asarray(view.numpy()) for view in theta.views)

    def log_p(z: Any, x: Any) -> Any:
        a = jnp.tanh(z @ W1 + b1) @ W2 + b2
        return jnp.sum(x * a - jax.nn.softplus(a)) - 0.5 * jnp.sum(z**2)

    kernel = blackjax.hmc.build_kernel()

    def move(key: Any, state: Any, x: Any) -> Any:
        density = lambda z: log_p(z, x)  # noqa: E731
        return kernel(key, state, density, 0.05, jnp.ones(3), workloads.LEAPFROG)[0]

    begin = jax.vmap(lambda z, x: blackjax.hmc.init(z, lambda z: log_p(z, x)))
    state = begin(jax.random.normal(jax.random.key(0), (len(data), 3)), data)
    moved = jax.jit(lambda key, state: jax.vmap(move)(jax.random.split(key, len(data)), state, data))
    key = jax.random.key(1)
    return lambda: jax.block_until_ready(moved(key, state))


def measure(row: str, rounds: int) -> dict[str, float]:
    """Return the median ratio to the row's matrix products of everyone who can do the row."""
    import torch
    import workloads

    from harness.training.process import prepare_process

    _, threads, (dataset, hidden, nz) = ROWS[row]
    prepare_process(threads)
    ours, floor = workloads.ROWS[row].prepare(fresh=True)
    units = {"harness": (ours, workloads.ROWS[row].per_call)}
    if row == "leapfrog":
        model, x = workloads.decoder()
        units["BlackJAX"] = blackjax_hmc(x, model.params), workloads.LEAPFROG
    else:
        data = workloads.dataset(dataset)
        x = data.rows("train", torch.arange(len(data.train)), torch.Generator())
        gaussian = dataset == "frey"
        units["PyTorch"] = torch_loop(row, x, hidden, nz, gaussian), 1
        if row != "wake-sleep":
            units["Pyro"] = pyro_svi(x, hidden, nz, gaussian), 1
        units["JAX"] = jax_loop(row, x, hidden, nz, gaussian), STEPS
    ratios: dict[str, list[float]] = {name: [] for name in units}
    for turn in range(rounds + 1):
        for name, (work, per_call) in units.items():
            seconds = []
            for run, calls in ((work, max(1, STEPS // per_call)), (floor, STEPS)):
                start = time.perf_counter()
                for _ in range(calls):
                    run()
                seconds.append((time.perf_counter() - start) / calls)
            if turn:  # the first round compiles
                ratios[name].append(seconds[0] / per_call / seconds[1])
    return {name: statistics.median(values) for name, values in ratios.items()}


def main() -> None:
    """Measure each row in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="all unless named")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # in the row's own process
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(measure(given.rows[0], given.rounds)))
        return
    print(f"| × its matrix products | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for row in given.rows or ROWS:
        title, threads, _ = ROWS[row]
        processors = set(sorted(os.sched_getaffinity(0))[:threads])
        done = subprocess.run(
            [sys.executable, __file__, row, "--alone", "--rounds", str(given.rounds)],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            preexec_fn=lambda processors=processors: os.sched_setaffinity(0, processors),
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        cells = [f"{found[name]:.2f}" if name in found else "" for name in COLUMNS]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
