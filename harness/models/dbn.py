"""Deep belief net: directed layers of bits below an undirected pair of layers, which is a restricted Boltzmann machine.

Geoffrey Hinton, Simon Osindero and Yee-Whye Teh, "A fast learning algorithm for deep belief nets", Neural Computation 18 (2006).
With h_0 = x and a machine for each pair of layers,

    p(x, h) = p(x|h_1) … p(h_(L-2)|h_(L-1)) · f(h_(L-1)) / Z      every bit below Bernoulli with logit  W h_(i+1) + b

where f is the free energy's of the top machine, whose hidden units h_L are summed over, and Z its normaliser. Recognition of the
lower layers has their weights, transposed:  q(h|x) = Π_i q(h_(i+1)|h_i),  every unit with logit  h_i W + c.

It learns a pair at a time, each machine from what those below make of the data. As biases of the first machine begin at the log
odds of the data's mean, those of a machine above begin at what recognition makes of that mean, and so does annealing. A point
costs, for the bound, two products with every W below the top and one with that.
"""

import torch
from torch import Tensor

from harness import api

OBSERVES = ("binary",)
ESTIMATOR = "log-z-raise"
DRAWS = 20  # of h from q(h|x), for the bound


class Config(api.Config):
    """Sizes, initialisation and prior."""

    layers: api.Layers = api.setting(
        "500-1000", "hidden units of each layer, the one next to the data first, such as 500-1000"
    )
    init_sd: float = api.setting(0.01, "initial weights are drawn from N(0, init_sd²)", gt=0)
    prior_sd: float = api.setting(1.0, "prior on weights, N(0, prior_sd²); biases have none", gt=0)


def build(
    config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype = torch.float32
) -> tuple["DeepBeliefNet", None]:
    """Return a new net; its recognition of lower layers has no parameters of its own."""
    return DeepBeliefNet(config, data, streams, dtype), None


class DeepBeliefNet:
    """p(x). Parameters: those of every machine, one behind the other.

    Attributes:
        pairs: L, pairs of neighbouring layers.
    """

    normalised = False

    def __init__(self, config: Config, data: api.DataFacts, streams: api.Streams, dtype: torch.dtype):
        self.kind, self.dim, sizes, rng = data.kind, data.dim, api.sizes(config.layers), streams("initial decoder")
        self.pairs, self._mean = len(sizes), data.mean
        means = [data.mean, *(torch.full((size,), 0.5) for size in sizes[:-1])]
        self._machines = [
            api.BoltzmannMachine(mean, size, config.prior_sd, dtype) for mean, size in zip(means, sizes, strict=True)
        ]
        every = {f"machine{i}": (one.params.flat.numel(),) for i, one in enumerate(self._machines)}
        self.params = api.Parameters(every, {}, prior_sd=float("inf"), dtype=dtype)
        for machine, part in zip(self._machines, self.params.views, strict=True):
            machine.initialise(config.init_sd, rng)
            machine.params.move_into(part)

    @property
    def machines(self) -> list[api.BoltzmannMachine]:
        """The machine of each pair, in the memory of `params`, wherever that has been moved to."""
        for machine, part in zip(self._machines, self.params.views, strict=True):
            if machine.params.flat.data_ptr() != part.data_ptr():
                machine.params.move_into(part, keep=False)
        return self._machines

    @property
    def parts(self) -> list[api.Parameters]:
        """The parameters of each pair."""
        return [machine.params for machine in self.machines]

    @property
    def top(self) -> api.BoltzmannMachine:
        """The machine of the uppermost pair, whose annealing begins at what recognition makes of the data's mean."""
        return self._at_mean(self.pairs - 1)

    @api.metered()
    def begin(self, pair: int) -> None:
        """Set the lower biases of a pair above the first to the log odds of what recognition makes of the data's mean."""
        if pair:
            self._at_mean(pair).initialise_b()

    @torch.no_grad()
    def _at_mean(self, pair: int) -> api.BoltzmannMachine:
        mean = self._mean.to(self.params.flat).unsqueeze(0)
        for machine in self.machines[:pair]:
            mean = machine.up(mean).sigmoid()
        self.machines[pair].begin_at(mean[0])
        return self.machines[pair]

    @api.metered(rows="encoder", count="x")
    @torch.no_grad()
    def up(self, x: Tensor, pair: int, rng: torch.Generator) -> Tensor:
        """Draw the lower layer of a pair given x (B, D), (B, ·): x itself for the first."""
        for machine in self.machines[:pair]:
            x = api.native.draw_units(machine.up(x), x.shape[:1], rng)
        return x

    @api.metered(samples=True, rows="decoder", count="h")
    def gibbs_in(self, pair: int, h: Tensor, rng: torch.Generator) -> Tensor:
        """Return h (C, ·), the lower layer of a pair, after a Gibbs move of its machine."""
        return self.machines[pair].gibbs(h, rng)

    @api.metered(samples=True, rows="decoder", count="h")
    def contrast_in(self, pair: int, h: Tensor, chains: Tensor) -> Tensor:
        """Return the mean log f of h (B, ·) by the machine of a pair, less that of chains (C, ·)."""
        return self.machines[pair].contrast(h, chains)

    @torch.no_grad()
    def log_f_bound(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """Return a lower bound on log Z p(x) of x (B, D), (B,): E_q[log p(x|h_1) + … + log f(h_(L-1)) - log q(h|x)]."""
        total = x.new_zeros(DRAWS * len(x))
        h = x.repeat(DRAWS, 1)
        log_q, log_p = torch.empty_like(total).unsqueeze(0), torch.empty_like(total).unsqueeze(0)
        for machine in self.machines[:-1]:
            a = machine.up(h)
            above = api.native.draw_units(a, h.shape[:1], rng)
            api.native.score_units(above, a, log_q)
            api.native.score_units(h, machine.down(above), log_p)
            total += (log_p - log_q)[0]
            h = above
        total += self.top.log_f_x(h)
        return total.view(DRAWS, -1).mean(0)

    @api.metered(fantasies=True, rows="decoder", count="n")
    @torch.no_grad()
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw x (n, D): a long chain of the top machine, and the layers below given it."""
        h = self.top.sample(n, rng)
        for machine in self.machines[-2::-1]:
            h = api.native.draw_units(machine.down(h), h.shape[:1], rng)
        return h
