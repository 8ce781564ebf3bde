"""Exact log p(x) of the mean over orders of the bits, of a model that has a density in every order.

Benigno Uria, Iain Murray and Hugo Larochelle, "A deep and tractable density estimator" (ICML 2014), arXiv 1310.1757, section 3.2:

    p(x) = 1/K Σ_k p(x in order k)

is a distribution of its own, which is evaluated exactly; with more orders its mean log p(x) is mostly higher. The orders are the
same for all points, and those of fewer are the first of those of more.
"""

import torch
from torch import Tensor

from harness import api

DIRECTION = "exact"
NEEDS = (api.OrderAgnosticModel,)


class Config(api.Config):
    """How many orders, and which."""

    orders: int = api.setting(8, "K, orders of the bits", gt=0)
    order_seed: int = api.setting(0, "draws the orders", ge=0)


def skip(config: Config, model: api.OrderAgnosticModel, recognition: api.Recognition | None) -> str | None:
    """Refuse nothing."""
    return None


def estimate(
    model: api.OrderAgnosticModel, recognition: api.Recognition | None, x: Tensor, config: Config, rng: torch.Generator
) -> api.PerPoint:
    """Return each point's log p(x), and no variance."""
    orders = api.orders(model.dim, config.orders, api.Streams(config.order_seed)("orders of an ensemble"))
    value = model.log_p_x_in(x, orders)
    return api.PerPoint(value, torch.zeros_like(value))
