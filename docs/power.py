"""How often a claim about a baseline fails: the tables of docs/claims.md, simulated. Print them with `python docs/power.py`.

Seeds differ by SPREAD nats. Streams are shared (runs of one seed differ by ROUNDING nats) or parted (they differ as much as runs
of two seeds). A collapsed seed loses COLLAPSE nats more. The claim has tolerance and level of `harness/checks/quick.toml`.
"""

from collections.abc import Sequence

import numpy as np

from harness.analysis.losses import loss

SPREAD, ROUNDING, COLLAPSE = 0.9, 0.04, 50.0  # nats

TOLERANCE, LEVEL = 0.25, 0.98

TRIALS = {1: 10_000, 24: 1000}
"""How often a file of so many panels is simulated: shares are right to 1.5 % and 5 %."""

SEEDS = (2, 3, 4, 5, 7, 10)

CASES = ((0, 0), (0.5, 0), (1, 0), (3, 0), (5, 0), (0, 1), (3, 1), (0, 2), (3, 2))
"""Losses in nats, and how many seeds collapse besides."""


def simulated(panels: int, trials: int, seeds: Sequence[int] = SEEDS) -> dict[tuple[str, int], list[float]]:
    """Return shares of failing claims by streams and number of seeds: of each case, and the chance of any without a loss.

    Args:
        panels: tests in the file, all of them over data of one kind. In one of them something is lost.
        trials: how often each is simulated.
        seeds: numbers of seeds.
    """
    out = {}
    for streams in ("shared", "parted"):
        for n in seeds:
            rng = np.random.default_rng(n)
            old = rng.normal(0.0, SPREAD, (trials, panels, n))
            new = rng.normal(old, ROUNDING) if streams == "shared" else rng.normal(0.0, SPREAD, old.shape)
            own = old.std(-1, ddof=1)
            spread = np.maximum(own, np.sqrt((own**2).mean(-1, keepdims=True)))
            freedom, border = panels * (n - 1), (1 - LEVEL) / panels
            found = []
            for lost, collapsed in CASES:
                differences = (new - old)[:, 0] - lost
                differences[:, :collapsed] -= COLLAPSE
                found.append(float(np.mean(loss(differences, TOLERANCE, spread[:, 0], freedom).p <= border)))
            none = loss(new - old, TOLERANCE, spread, freedom).p <= border
            out[streams, n] = [*found, float(np.mean(none.any(-1)))]
    return out


def table(panels: int) -> str:
    """Return the table for a number of panels, in Markdown."""
    cases = [
        f"{lost:g} nat{'s' * (lost != 1)}" + f", {collapsed} collapsed" * (collapsed > 0) for lost, collapsed in CASES
    ]
    heads = ["streams", "seeds", *cases, "any false alarm"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (streams, n), shares in simulated(panels, TRIALS[panels]).items():
        lines.append(f"| {streams} | {n} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(*map(table, TRIALS), sep="\n\n")
