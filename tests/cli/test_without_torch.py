"""Commands that only look at what is stored import no PyTorch, which takes seconds."""

import json
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
    block = {"part": "phi", "name": "", "parameters": 5, "norm": 1.0, "bias": 0.0, "bias_limit": 0.1, "p": 1.0,
             "biased": False, "variance": 2.0, "se": 0.1, "scale": 1.0}  # fmt: skip
    drawn = {"estimator": "nvil", "algorithm": "nvil", "settings": {}, "K": 1, "bound": -1.0, "bound_se": 0.1,
             "reference": {"exact": True, "bound": -1.0, "bound_se": 0.0}, "samples": 20, "cpu_seconds": 0.1,
             "fitted": True, "blocks": [block, {**block, "part": "theta"}]}  # fmt: skip
    effort = {"weights": "last", "points": 20, "draws": 40, "fit": 1, "seed": 0, "made_again": None}
    measured = next(iter(Store(folder / "results").runs("mine")))
    measured.append_gradients({**effort, "ledger": {"samples": 10}, "estimators": [drawn]})
    (folder / "mine.toml").write_text(GRID)
    (folder / "ours.toml").write_text(CLAIMS)
    claims = Claims(str(folder / "ours.toml"))
    baseline.save(folder / "base.json", check.baseline_content(Evidence(claims, Store(folder / "results"))))
    return folder


LOOKING = {
    "list": "aevb-nz3-s0",
    "list --json": "aevb-nz3-s0",
    "show aevb-nz3-s0": "lower-bound",
    "table mine.toml": "aevb",
    "table mine.toml --format latex": "aevb",
    "plot mine.toml --out drawn.png": "drawn.png",
    "plot aevb-nz3-s0 --out drawn.svg": "drawn.svg",
    "plot gradients aevb-nz3-s0 --out gradients.png": "gradients.png",
    "compare mine:algo=aevb mine:algo=wake-sleep --out compared.png": "compared.png",
    "baseline save ours.toml --out saved.json": "4 runs",
    "baseline show ours.toml": "aevb-nz3-s0",
    "check ours.toml": "order",
    "export mine --format json --out exported.json": "exported",
    "export mine --format csv --out exported": "exported",
    "gc --dry-run": "",
    "--version": "harness",
}
"""Commands, and a part of what they print."""

COMPLETED = ["run --algo ", "show ", "plot ", "check ", "export ", "evaluate x --estimator "]

IN_TURN = """
import contextlib, io, json, os, sys
import harness.cli
for words, env in json.load(sys.stdin):
    os.environ.update(env)
    sys.argv, code, out = ["harness", *words.split()], None, io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(out):
        try:
            harness.cli.main()
        except SystemExit as exit:
            code = exit.code
    out.flush()
    print(json.dumps([code, "torch" in sys.modules, out.buffer.getvalue().decode()]))
"""


@pytest.fixture(scope="module")
def looked(folder: Path) -> dict[str, tuple[int, bool, str]]:
    """Of each command its exit code, whether PyTorch was imported when it ended, and what it printed: in one process, in turn."""
    calls = [(words, {}) for words in LOOKING]
    for words in COMPLETED:
        env = {
            "_HARNESS_COMPLETE": "bash_complete",
            "COMP_WORDS": f"harness {words}",
            "COMP_CWORD": str(words.count(" ")),
        }
        calls.append(("", env))
    command = [sys.executable, "-P", "-c", IN_TURN]
    env = environment(HARNESS_RESULTS=str(folder / "results"))
    done = subprocess.run(
        command, input=json.dumps(calls), capture_output=True, text=True, cwd=folder, env=env, check=True
    )
    return dict(zip([*LOOKING, *COMPLETED], map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize(("words", "said"), LOOKING.items())
def test_commands_that_look(looked: dict[str, tuple[int, bool, str]], words: str, said: str) -> None:
    code, imported, out = looked[words]
    assert (code, imported) == (0, False), out
    assert said in out


@pytest.mark.parametrize("words", COMPLETED)
def test_shell_completion(looked: dict[str, tuple[int, bool, str]], words: str) -> None:
    code, imported, out = looked[words]
    assert (code, imported) == (0, False), out
    assert "plain," in out


@pytest.mark.parametrize("words", ["sweep mine.toml", "tune --algo aevb"])
def test_the_server_of_workers_begins_before_pytorch_is_imported(folder: Path, words: str) -> None:
    code = (
        "import sys, harness.cli\n"
        "from harness.runs import processes\n"
        "def start():\n"
        "    print('torch' in sys.modules)\n"
        "    raise SystemExit\n"
        "processes.start_server = start\n"
        "harness.cli.main()\n"
    )
    env = environment(HARNESS_RESULTS=str(folder / "results"))
    command = [sys.executable, "-P", "-c", code, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=True)
    assert done.stdout == "False\n"
