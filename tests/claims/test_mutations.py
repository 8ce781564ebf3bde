"""`harness check quick --run` turns red for regressions planted in the code, and stays green for the code as it is.

Every mutation is a change of text in a copy of the package, from which the command then runs, with as few seeds as show it.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import copied, environment

from harness import api

Note = Callable[[str, object], None]


class Mutation(NamedTuple):
    """A regression: in which file which text becomes which; runs that show it, and the claims that must fail."""

    what: str
    file: str
    text: str
    becomes: str
    only: str
    caught_by: set[str]


STALE = "    state.wake.ascend([by_theta])\n"
FANTASY = "    x, z = p.sample_xz(M, state.rng)  # (M, D), (M, Z)\n"
RESET = (
    "        if self.n_calls % 10 == 9:  # an epoch of 1000 points\n            [s.fill_(EPSILON) for s in self.sums]\n"
)
LR = "        lr = self.lr if self.n_calls >= self.warmup else 0.0\n"
COUNT, HALF = "        for counter in counters:\n", "        n //= 2\n"
MUTATIONS = [
    Mutation("sampling noise times 1.2", "inference/encoder.py", ".normal_(generator=rng)",
             ".normal_(0.0, 1.2, generator=rng)", "algo=aevb,seed=0,seed=1", {"importance"}),
    Mutation("sign of hmc-density", "estimators/hmc_density.py", "PerPoint(value,", "PerPoint(-value,",
             "algo=mcem,seed=0,seed=1", {"bound"}),
    Mutation("the ledger counts half", "specs/budget.py", COUNT, HALF + COUNT, "algo=mcem,seed=0,seed=1", {"ledger"}),
    Mutation("KL weight 1.1", "inference/gradients.py", "by_z), -1.0)", "by_z), -1.1)",
             "algo=aevb,seed=0,seed=1,seed=2", {"stationary"}),
    Mutation("Adagrad forgets every epoch", "inference/adagrad.py", LR, LR + RESET,
             "algo=aevb,seed=0,seed=1,seed=2", {"baseline"}),
    Mutation("sleep from stale theta", "algorithms/wake_sleep.py", STALE + "\n" + FANTASY, FANTASY + STALE,
             "algo=wake-sleep,seed=0,seed=1", {"fresh-fantasies"}),
    Mutation("HMC accepts everything", "inference/hmc.py",
             "accepted = torch.rand(probability.shape, generator=rng, dtype=probability.dtype) < probability",
             "accepted = torch.ones_like(probability, dtype=torch.bool)", "algo=mcem,seed=0,seed=1,seed=2", {"baseline"}),
    Mutation("sign of the lower bound", "estimators/lower_bound.py", "PerPoint(draws.mean(0),", "PerPoint(-draws.mean(0),",
             "algo=aevb,seed=0,seed=1", {"bias-order", "importance"}),
]  # fmt: skip


def checked(folder: Path, only: str) -> tuple[int, set[str], str]:
    """Return how `harness check quick --run` ends in a copy, which kinds of claim fail, and what it says."""
    words = ["check", "quick", "--run", "--only", only, "--jobs", "2", "--results", str(folder / "results"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        env=environment(PYTHONPATH=str(folder), GITHUB_ACTIONS=""), cwd=folder, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    failing = set()
    for verdict in json.loads(done.stdout) if done.stdout else []:
        assert verdict["why"] != "it selects no run", verdict
        if verdict["says"] == "fails":
            failing.add(verdict["holds"] or verdict["kind"])
    return done.returncode, failing, done.stdout + done.stderr


def test_the_text_of_every_mutation_is_there(tmp_path: Path) -> None:
    package = copied(tmp_path)
    for mutation in MUTATIONS:
        count = (package / mutation.file).read_text().count(mutation.text)
        assert count == 1, f"{mutation.file} has {mutation.text!r} {count} times"


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation", [*MUTATIONS, None], ids=lambda mutation: mutation.what.replace(" ", "-") if mutation else "none"
)
def test_a_planted_regression_is_caught(
    mutation: Mutation | None, mnist: api.Dataset, tmp_path: Path, record_property: Note
) -> None:
    """And the code as it is passes."""
    if mutation is None:
        copied(tmp_path)
        code, failing, said = checked(tmp_path, "seed=0,seed=1")
        assert (code, failing) == (0, set()), said
        record_property("harness check quick --run, no mutation", "passes")
        return
    path = copied(tmp_path) / mutation.file
    path.write_text(path.read_text().replace(mutation.text, mutation.becomes))
    code, failing, said = checked(tmp_path, mutation.only)
    record_property(
        f"mutation: {mutation.what}", f"caught by {', '.join(sorted(failing)) or 'failing runs'}" if code else "MISSED"
    )
    assert code in (1, 3), said
    assert mutation.caught_by <= failing, said
