"""A store to write pages about: two algorithms, two panels, seeds that diverged, fail and are missing."""

from pathlib import Path

from support import put, stored

from harness.store.store import Store

GRID = """
title = "Mine, $N_z$ by panel"
[[grid]]
algo = ["aevb", "wake-sleep"]
lr = 0.02
nz = [3, 5]
seed = [0, 1, 2]
samples = 1e6
"""
CLAIMS = """
title = "Ours"
experiment = "mine.toml"
[[claim]]
kind = "bound"
at = 1e6
least = -200
where = { algo = "aevb" }
[[claim]]
kind = "bound"
at = 1e6
least = -50
"""


def fill(folder: Path) -> Path:
    """Make the experiment mine.toml, the claims ours.toml and the store in a folder; return the store's."""
    ends = {("aevb", 3): -130.0, ("wake-sleep", 3): -134.0, ("aevb", 5): -110.0, ("wake-sleep", 5): -110.1}
    runs = []
    for (algo, nz), end in ends.items():
        for seed in (0, 1, 2):
            wobble = (0.1, 0.9, 0.3)[seed] * (1 if algo == "aevb" else 1.6)
            runs.append(stored(algo, seed, (-200.0, -150.0 - seed, end - wobble), nz=nz))
    runs[5].record.status, runs[5].record.reason = "diverged", "its objective is NaN"  # wake-sleep nz=3 seed 2
    del runs[-1]  # wake-sleep nz=5 seed 2 is missing
    put(Store(folder / "results"), runs)
    (folder / "mine.toml").write_text(GRID)
    (folder / "ours.toml").write_text(CLAIMS)
    return folder / "results"
