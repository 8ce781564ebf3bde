"""Rényi divergence variational inference (Li & Turner 2016, arXiv 1602.02311): maximises the bound L_α of K samples."""
import math
from dataclasses import dataclass
from typing import NamedTuple
import torch
from harness import api

TRAITS = api.Traits(needs=(api.LatentVariableModel, api.Reparameterised), latents=("continuous",))

class Config(api.Config):
    lr: float = api.setting(1e-3, "Adam's step size", gt=0, search=api.LogUniform(1e-4, 1e-2))
    batch_size: int = api.setting(100, "points in a minibatch", gt=0)
    K: int = api.setting(5, "importance samples a point", gt=0)
    alpha: float = api.setting(0.5, "0: the importance-weighted bound; towards 1: the lower bound", ge=0, lt=1)

@dataclass
class State: problem: api.Problem; config: Config; rng: torch.Generator; adam: torch.optim.Adam
class Info(NamedTuple): objective: float

def init(problem, config, rng):
    params = [problem.model.params.flat, problem.recognition.params.flat]
    return State(problem, config, rng, torch.optim.Adam(params, lr=config.lr, maximize=True))

def step(state, batch):
    q = state.problem.recognition.posterior(batch.x)
    z, order = q.rsample(state.config.K, state.rng), 1 - state.config.alpha  # (K, B, Z)
    log_w = state.problem.model.log_p_xz(batch.x, z) - q.log_prob(z)  # (K, B)
    bound = ((order * log_w).logsumexp(0) - math.log(state.config.K)).mean() / order
    state.adam.zero_grad(); bound.backward(); state.adam.step()
    return Info(bound.item())
