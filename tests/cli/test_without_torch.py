"""Commands that only look at what is stored import no PyTorch, which takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import environment, put, stored

from harness.claims import baseline, check
from harness.claims.evidence import Evidence
from harness.claims.file import Claims
from harness.store.store import Store

GRID = """
[[grid]]
algo = ["aevb", "wake-sleep"]
nz = 3
seed = [0, 1]
samples = 1e6
[figure]
estimator = "lower-bound"
[[figure.row]]
over = { nz = [3] }
"""
CLAIMS = """
experiment = "mine.toml"
baseline = "base.json"
[[claim]]
kind = "bound"
at = 1e5
least = -200
[[claim]]
kind = "order"
above = "aevb"
below = "wake-sleep"
at = 1e6
[[claim]]
kind = "baseline"
at = 1e6
tolerance = 1
[[claim]]
kind = "cost"
at-most = 1e9
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of four runs, an experiment and claims about them."""
    folder = tmp_path_factory.mktemp("looked-at")
    runs = [stored(algorithm, seed, (-200.0, -150.0 - seed, value)) for seed in (0, 1)
            for algorithm, value in (("aevb", -130.0), ("wake-sleep", -132.0 - seed / 10))]  # fmt: skip
    put(Store(folder / "results"), runs)
    (folder / "mine.toml").write_text(GRID)
    (folder / "ours.toml").write_text(CLAIMS)
    claims = Claims(str(folder / "ours.toml"))
    baseline.save(folder / "base.json", check.baseline_content(Evidence(claims, Store(folder / "results"))))
    return folder


def looked(folder: Path, *words: str, **env: str) -> str:
    """Run a command in a process of its own; return what it printed, once it is known to have imported no PyTorch."""
    code = (
        "import sys, harness.cli\n"
        "try: harness.cli.main()\n"
        "except SystemExit as exit: code = exit.code\n"
        "print(code, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-P", "-c", code, *words]
    env = environment(HARNESS_RESULTS=str(folder / "results"), **env)
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=True)
    assert done.stderr.splitlines()[-1] == "0 False", done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("list", "aevb-nz3-s0"),
        ("list --json", "aevb-nz3-s0"),
        ("show aevb-nz3-s0", "lower-bound"),
        ("table mine.toml", "aevb"),
        ("table mine.toml --format latex", "aevb"),
        ("plot mine.toml --out drawn.png", "drawn.png"),
        ("plot aevb-nz3-s0 --out drawn.svg", "drawn.svg"),
        ("compare mine:algo=aevb mine:algo=wake-sleep --out compared.png", "compared.png"),
        ("baseline save ours.toml --out saved.json", "4 runs"),
        ("baseline show ours.toml", "aevb-nz3-s0"),
        ("check ours.toml", "order"),
        ("export mine --format json --out exported.json", "exported"),
        ("export mine --format csv --out exported", "exported"),
        ("gc --dry-run", ""),
        ("--version", "harness"),
    ],
)
def test_commands_that_look(folder: Path, words: str, said: str) -> None:
    assert said in looked(folder, *words.split())


@pytest.mark.parametrize("words", ["run --algo ", "show ", "plot ", "check ", "export ", "evaluate x --estimator "])
def test_shell_completion(folder: Path, words: str) -> None:
    completed = looked(
        folder, _HARNESS_COMPLETE="bash_complete", COMP_WORDS=f"harness {words}", COMP_CWORD=str(words.count(" "))
    )
    assert "plain," in completed
