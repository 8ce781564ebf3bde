"""Short runs for the fault tests: all three algorithms on tiny data, with rows and checkpoints many times a second."""

from collections.abc import Callable
from pathlib import Path

from harness.testing import toy

Survived = Callable[[str, int, int], None]
"""The fixture `survived`: what fault, how often it was tried, how often survived."""

TINY = ["--dataset", toy.__file__, "--nz", "2", "--hidden", "5", "--batch-size", "10"]
OFTEN = {"HARNESS_CHECKPOINT_SECONDS": "0.1"}

EVERY = f"""
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
first-mark = 1000
marks-per-decade = 20
marginal = "importance"
marginal-points = 10
"marginal.K" = 10
"marginal.fit" = 20
"""
ENCODERS = """
[[grid]]
algo = ["aevb", "wake-sleep"]
batch-size = 10
warmup = 5
samples = {samples}
seed = {seeds}
"""
CHAINS = """
[[grid]]
algo = "mcem"
warmup = 5
samples = {chain_samples}
seed = {seeds}
"""


def experiment(folder: Path, seeds: int, samples: int = 40_000) -> Path:
    """Write an experiment of three times so many runs into a folder, and return its path."""
    path = folder / "mine.toml"
    grids = (ENCODERS + CHAINS).format(samples=samples, chain_samples=10 * samples, seeds=list(range(seeds)))
    path.write_text(EVERY + grids)
    return path
