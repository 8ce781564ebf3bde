"""Pyro's SVI: the mean-field ELBO, whose KL is analytic, and PyTorch's Adagrad, one for each parameter as Pyro has it."""

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from peer_torch import encode, outputs, some
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import PyroOptim
from rows import BATCH, Peer, Start


class Adagrad(torch.optim.Adagrad):
    """PyTorch's, fused, that begins with these sums."""

    def __init__(self, params: Any, sums: torch.Tensor, **settings: Any):
        super().__init__(params, eps=0.0, fused=True, **settings)
        for state in self.state.values():
            state["sum"].copy_(sums)


def svi(start: Start, threads: int) -> Peer:
    """Pyro's usual loop, a step at a time."""
    row, x = start.row, start.x
    pyro.clear_param_store()
    pyro.enable_validation(False)
    names = {digits: [name for name in start.w if name[1] in digits] for digits in ("12", "34")}

    def parameters(digits: str) -> dict[str, torch.Tensor]:
        return {name: pyro.param(name, lambda name=name: start.w[name].clone()) for name in names[digits]}

    def model(batch: torch.Tensor) -> None:
        theta = parameters("12")
        with pyro.plate("data", len(batch)):
            z = pyro.sample(
                "z", dist.Normal(torch.zeros(len(batch), row.nz), torch.ones(len(batch), row.nz)).to_event(1)
            )
            out = outputs(theta, z)
            if start.gaussian:
                a, log_var = out.chunk(2, -1)
                density: Any = dist.Normal(a.sigmoid(), (0.5 * log_var).exp())
            else:
                density = dist.Bernoulli(logits=out, validate_args=False)
            pyro.sample("x", density.to_event(1), obs=batch)

    def guide(batch: torch.Tensor) -> None:
        phi = parameters("34")
        with pyro.plate("data", len(batch)):
            mean, log_var = encode(phi, batch)
            pyro.sample("z", dist.Normal(mean, (0.5 * log_var).exp()).to_event(1))

    def settings(name: str) -> dict[str, Any]:
        return {"lr": start.lr, "weight_decay": start.decay if name[0] == "W" else 0.0, "sums": start.sums[name]}

    # Pyro itself gives a function for the settings either a name, or that of a module and of the parameter in it.
    loop = SVI(model, guide, PyroOptim(Adagrad, settings), TraceMeanField_ELBO())
    return Peer(
        lambda: [-loop.step(some(x)) / BATCH for _ in range(row.calls)],
        lambda: {name: pyro.param(name).detach().clone() for name in start.learned},
    )
