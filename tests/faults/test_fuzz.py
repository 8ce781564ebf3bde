"""Command lines, files and settings at random: the right exit code, one sentence, no traceback, never a hang, nothing beside."""

import contextlib
import copy
import hashlib
import io
import json
import math
import os
import pickle
import random
import shutil
import signal
import struct
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from faulty import Survived
from harness.datasets import binarized_mnist, frey, mnist
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from harness.claims import baseline, check, evidence
from harness.claims.file import BUILT_IN as CLAIMS
from harness.claims.file import Claims
from harness.cli import app
from harness.cli.settings import TakesSettings
from harness.data import download
from harness.data.formats import read_idx, read_matlab, unpickle_arrays
from harness.errors import BadInput, PluginFailed
from harness.files import _SEAL as SEAL
from harness.files import from_json, seal, to_json, unseal
from harness.page import charts
from harness.runs import evaluate, machine, runner, signals
from harness.runs.jobs import UNKNOWN_COST, Outcome
from harness.runs.local import LocalExecutor
from harness.sharing import exchange
from harness.specs import experiment, options, registry
from harness.specs.budget import Budget
from harness.specs.toml import TomlFile
from harness.store.store import Store
from harness.testing import toy
from harness.training.loop import Training
from harness.training.process import prepare_process

resource = pytest.importorskip("resource")

SECONDS = 20.0  # after which a command hangs
PATIENCE = 1.0  # with what is long by right, such as training: then Ctrl-C, as a user would
ROOM = 1500 << 20  # bytes that commands may take: more is refused as on a small machine
GOLDEN = Path(__file__).parent.parent / "data" / "store-schema-2"
MINE = f"""
title = "Mine"
[base]
dataset = "{toy.__file__}"
nz = 2
hidden = 5
first-mark = 100
marks-per-decade = 2
samples = 2000
[[grid]]
algo = ["aevb", "wake-sleep"]
batch-size = 10
warmup = 5
seed = [0, 1]
[figure]
estimator = "lower-bound"
x = "samples"
scale = "log"
reference = "fig2"
[[figure.row]]
where = {{ nz = 2 }}
over = {{ n-train = [50], hidden = [5] }}
title = "$N_z$ = {{hidden}}, {{n-train}}"
reference = "mnist_nz{{hidden}}"
x-limits = [1, 1e4]
y-limits = [-20, 0]
[table]
at = [100, 1000]
targets = [-10]
[tune]
samples = 1000
seeds = [0]
override = {{ hidden = 3 }}
"""
OURS = """
title = "Ours"
experiment = "mine.toml"
baseline = "base.json"
benchmarks = "bench.json"
[[claim]]
kind = "bound"
at = [100, "end"]
least = -100
tolerance = 1.0
per = ["algo"]
where = { nz = 2 }
[[claim]]
kind = "order"
above = "aevb"
below = "wake-sleep"
at = 1000
level = 0.9
[[claim]]
kind = "baseline"
at = 1000
tolerance = 0.5
differing = ["lr"]
where = { algo = "aevb" }
[[claim]]
kind = "paper"
at = 1e7
within = 3.0
[[claim]]
kind = "invariant"
holds = "ledger"
where = { algo = "aevb" }
per-datapoint = { samples = 1, fantasies = 0 }
[[claim]]
kind = "invariant"
holds = "bias-order"
tolerance = 0.1
[[claim]]
kind = "cost"
at-most = 1e9
times-baseline = 100
where = { algo = "aevb" }
[[claim]]
kind = "benchmark"
test = "a"
at-most = 2
"""
EVALUATIONS = json.loads((GOLDEN / sorted(os.listdir(GOLDEN))[0] / "evaluations.json").read_text())["evaluations"]
BENCH = {"benchmarks": [{"name": "a", "extra_info": {"ratio": 1.5}}]}
DONE, INTERRUPTED, DIVERGED = sorted(path.name for path in GOLDEN.iterdir())
RUN = "aevb-toy-nz2-s0"
VALID = [
    "run --algo wake-sleep --dataset toy-linear-gaussian --model mlp --nz 2 --hidden 5 --n-train 9 --samples 500",
    *[
        f"run --algo {name} --model mlp --dataset {toy.__file__} --nz 2 --hidden 5 --samples 500"
        for name in ("aevb", "wake-sleep", "mcem")
    ],
    f"run --algo aevb --dataset {toy.__file__} --nz 2 --hidden 5 --batch-size 10 --first-mark 100 --samples 500",
    "run --algo mcem --dataset toy-linear-gaussian --model linear-gaussian --nz 1 --n-train 9 --marginal exact --samples 99",
    f"resume {INTERRUPTED}",
    f"extend {INTERRUPTED} --samples 5e5",
    "sweep mine.toml --dry-run --jobs 2 --budget-scale 2 --only algo=aevb",
    "sweep mine.toml",
    "sweep mine.toml --on slurm --dry-run --workers 4 --time 4h --partition main --account lab --cpus 2 --gpus 1 --array-limit 2",
    "sweep mine.toml --status --leave",
    f"tune --algo aevb --dataset {toy.__file__} --nz 2 --samples 100 --seeds 0,1 --trials 3",
    f"evaluate {RUN} --estimator importance --K 5 --points 10",
    f"certify {DONE} --points 2 --chains 2 --temperatures 5 --tolerance 9",
    f"verify {DONE} --jobs 1",
    "compare mine:algo=aevb mine:algo=wake-sleep --target -9",
    "rank mine.toml --at 100 --target -10 --out ranked.png",
    "report mine.toml --at 100 --target -10 --out page --claims ours.toml",
    f"impute {RUN} --missing 0.5 --points 2 --iterations 2 --chains 2",
    f"gradients {RUN} --estimators aevb,score-function --draws 40 --points 2 --reference 40 --fit 1",
    "check ours.toml --junit report.xml --only algo=aevb",
    "check ours.toml --run --jobs 1",
    "baseline save ours.toml --out saved.json",
    "baseline show base.json",
    "list",
    f"show {DONE}",
    "plot mine.toml --out drawn.png",
    f"plot {RUN} --x cpu_seconds --scale linear --out drawn.svg",
    f"plot samples {RUN} --out drawn.png",
    "table mine.toml --at 100,1000 --targets -10 --format markdown",
    "export mine --format csv --out exported --only nz=2",
    "history mine --y lower-bound --split train --out history.png",
    "watch mine",
    "export mine:seed=0 --format tensorboard --out board",
    "export mine --format json-benchmark --out benchmark.json",
    "import theirs --dry-run",
    "import theirs.tar.zst",
    "publish mine:seed=0 --to published --by Alice",
    "publish mine --to theirs.tar.zst --models",
    "gc runs --dry-run",
    "rm aevb --dry-run",
    "data points.csv --kind binary --split 0.5/0.25/0.25",
    "algos",
    "models",
    "datasets",
    "estimators",
    "doctor --store",
    "doctor",
]
"""At least one line of every command, on the runs and files of `template`."""
NASTY = [
    "", " ", "-", "--", "---", "=", "--=", "-1", "0", "nan", "inf", "-inf", "1e400", "1e308", "1e-320", "0.1", "1_0", "٣",
    "9" * 5000, "9" * 30, str(2**63), str(-(2**63)), "1e9", "1e18", "10000000", "true", "None", "tuned", "all", "*", "?", "[",
    "[0-9]*", "\\", "'", '"', "'\"", "`", "$HOME", "~", ".", "..", "../..", "../../x", "a/../b", "a" * 300, "a/" * 3000, "é" * 200,
    "x\ny", "\r", "\t", "\x1b[31m", "\x7f", "\udcff", "\u202eabc", "\u200b", "😀", "ﬀ", "ı", "folder", "folder/",
    "fifo", "fifo.py", "folder.py", "folder.toml", "broken.py", "link", "nowhere/x.png", "nowhere.toml", "nowhere.py", "mine.toml",
    "ours.toml", "base.json", "x.doc", ".png", "x.png.", "{}", "[]", '{"a": 1}', "a = 1", "[[grid]]", "%s", "%n", "{0}", "{nz}",
    "$x_{$", "$\\frac$", "a=b", "a=b,c=d", ",", ",,", "=,=", "nz=", "nz=nan", "algo=aevb,algo=aevb", "mine:", ":", "mine:nz=3",
    "quick", "figure2", "runs", "mine", "quarantine", "theirs", "theirs.tar.zst", "x.tar.zst", "s3://x", "hf://models/x",
]  # fmt: skip
SIZES = [
    "5000", "10000000", "1000000000", str(2**31), str(10**12), str(2**62), str(2**63), str(10**30), str(10**400), "1e300", "1e-300",
    "1e400",
]  # fmt: skip
SENSIBLE = [
    DONE, RUN, "aevb", "mcem", "wake-sleep", "mlp", "linear-gaussian", "exact", "importance", "lower-bound", "ais", "ais-reverse",
    "hmc-density", "quadrature", "train", "valid", "simulated", "cuda", "csv", "json", "parquet", "latex", "cpu_seconds", "samples",
    "linear", "log", "binary", "real", "unit", "1", "2", "3", "7", "0.5", "1e3",
]  # fmt: skip
VALUES = [
    None, True, 0, -1, 1, 2, 2**31, 2**62, 2**63, 10**30, 0.0, -0.0, 0.5, 1e-300, 1e300, float("nan"), float("inf"), "", "x",
    "a\nb", "\udcff", "é" * 300, "x" * 5000, "tuned", "end", "{", "{}", "{0}", "{nz.real}", "{nz:>999999999}", "{nz!r:{nz}}",
    "[", "a|b", "samples", "aevb", "lower-bound", "../..", "/", "fifo", "folder", [], [[]], [1, 1], [2, 1], [1, "a"],
    [None], list(range(300)), {}, {"a": 1}, {"": {}}, {"nz": [1, 2]}, [{}], [{"kind": "bound"}],
]  # fmt: skip
"""What no field of a file should be; JSON has all of them, TOML no None."""


class Hung(BaseException):
    """A command took too long."""


class World:
    """A folder in which commands may do what they like, made anew for each; what goes wrong is told as a text.

    Args:
        folder: a folder, in which the commands' own lies deep.
        template: what is in it.
    """

    def __init__(self, folder: Path, template: Path):
        self.outside, self.here, self._template = folder, folder / "1" / "2" / "3" / "here", template
        self.here.parent.mkdir(parents=True)
        (folder / "precious").write_text("as it was")
        self._timers: list[threading.Timer] = []
        self._inside = self.stopped = False
        self.renew()

    def renew(self) -> None:
        """Make the folder as it was."""
        os.chdir(self.outside)
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self._template, self.here, symlinks=True, copy_function=shutil.copy2)
        os.chdir(self.here)
        os.mkfifo("fifo")
        os.mkfifo("fifo.py")

    def complaint(self, words: Sequence[str], *, damaged: bool = False) -> str:
        """Do a command, and say what is wrong with how it ended: nothing if the text is empty."""
        before = _files(self.here)
        code, out, err = self._do(words)
        lines = err.splitlines()
        allowed = {
            0,
            2,
            3,
            *([1] if {"check", "certify", "doctor"} & {*words} else []),
            *([130] if self.stopped else []),
        }
        wrong = [
            (code not in allowed, f"exit code {code}"),
            ("Traceback" in err + out, "a traceback"),
            (code == 2 and len(lines) != 1 and not damaged, f"{len(lines)} lines"),
            (code == 2 and not all(line.startswith("harness: ") for line in lines), "no sentence of ours"),
            (code == 3 and not err + out, "no reason"),
            (any(len(line) > 2100 for line in lines), "a long sentence"),
            (code == 2 and out != "", "output before bad input is found"),
            (code == 2 and _files(self.here) != before, "something was written"),
            (_files(self.outside, self.here) != self._around, "something was written elsewhere"),
        ]
        said = ", ".join(what for found, what in wrong if found)
        return said and f"{said}: {err:.2000}"

    def _do(self, words: Sequence[str]) -> tuple[int, str, str]:
        """Return exit code, output and errors, the streams as Python has them in a terminal's UTF-8."""
        streams = [
            io.TextIOWrapper(io.BytesIO(), "utf-8", e, write_through=True) for e in ("strict", "backslashreplace")
        ]
        argv, code = sys.argv, 0
        self._around, self.stopped, self._inside = _files(self.outside, self.here), False, True
        sys.argv = ["harness", *words]
        self.after(SECONDS, signal.SIGVTALRM)
        try:
            with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
                app.main()
        except SystemExit as exit:
            code = int(exit.code or 0)
        except Hung:
            code = -1
            traceback.print_exc(file=streams[1])
        finally:
            self._inside, sys.argv = False, argv
            for timer in self._timers:
                timer.cancel()
                timer.join()
            self._timers.clear()
            prepare_process(1)
        out, err = (stream.buffer.getvalue().decode() for stream in streams)
        return code, out, err

    def after(self, seconds: float, signum: int) -> None:
        """Send a signal some time into the command."""
        timer = threading.Timer(seconds, signal.pthread_kill, (threading.main_thread().ident, signum))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def note(self, signum: int, frame: object) -> None:
        """Handle a signal."""
        if self._inside and signum == signal.SIGVTALRM:
            raise Hung
        if self._inside:
            raise KeyboardInterrupt


def _files(folder: Path, but: Path | None = None) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for root, folders, names in os.walk(folder):
        if but is not None and Path(root) == but.parent:
            folders.remove(but.name)
        for name in [*names, *folders]:
            about = os.lstat(os.path.join(root, name))
            found[os.path.join(root, name)] = (about.st_mode, about.st_size if name in names else 0)
    return found


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, an experiment that is done, claims with all that they name, and files that are none."""
    folder = tmp_path_factory.mktemp("template")
    store = Store(folder / "results")
    shutil.copytree(GOLDEN, store.root / "runs")
    (folder / "mine.toml").write_text(MINE)
    (folder / "points.csv").write_text("a,b\n" + "0,1\n1,1\n" * 20)
    (folder / "ours.toml").write_text(OURS)
    (folder / "bench.json").write_text(json.dumps(BENCH))
    chosen = experiment.Experiment(str(folder / "mine.toml"))
    for task in chosen.tasks():
        assert task.spec is not None
        runner.ensure(store, task.spec, task.budget, group="mine")
    for path in (store.root / "mine").glob("*/owner*"):
        path.unlink()
    claims = Claims(str(folder / "ours.toml"))
    baseline.save(folder / "base.json", check.baseline_content(evidence.Evidence(claims, store)))
    made = list(store.runs("mine"))
    for place in ("theirs", "theirs.tar.zst"):
        exchange.publish(made[:1], str(folder / place), None, models=False, say=print)
    for name in ("folder", "folder.py", "folder.toml"):
        (folder / name).mkdir()
    (folder / "broken.py").write_text("import nothing_of_the_kind\n")
    (folder / "link").symlink_to("nowhere")
    return folder


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, without network, data and workers, with little memory, and where nothing trains for long."""
    world = World(tmp_path / "world", template)
    monkeypatch.chdir(world.here)
    monkeypatch.setenv("HARNESS_RESULTS", "results")
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for plugin in (frey, binarized_mnist, mnist):
        monkeypatch.setattr(plugin, "MIRRORS", ("nowhere:{}", "nowhere:{}"))
    monkeypatch.setattr(mnist, "_from_package", lambda: download.from_url((), bytes, size=0))
    rows, estimate = Training.rows, evaluate.Trained.estimate

    def shortened(self: Training, budget: Budget) -> Iterator[Any]:
        world.stopped = True
        world.after(PATIENCE, signal.SIGINT)
        yield from rows(self, replace(budget, wall_seconds=min(0.1, budget.wall_seconds or 1.0)))

    def estimated(self: evaluate.Trained, *words: Any, **more: Any) -> Any:
        world.stopped = True
        world.after(PATIENCE, signal.SIGINT)
        return estimate(self, *words, **more)

    monkeypatch.setattr(Training, "rows", shortened)
    monkeypatch.setattr(evaluate.Trained, "estimate", estimated)
    monkeypatch.setattr(signals, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(machine, "calibrate", lambda: 0.01)
    monkeypatch.setattr(
        charts, "library", lambda: ""
    )  # a JavaScript engine puts it together, which reserves more memory than is used
    monkeypatch.setattr(LocalExecutor, "calibrate", lambda self, specs: [UNKNOWN_COST for _ in specs])
    monkeypatch.setattr(
        LocalExecutor, "run", lambda self, jobs, _, leave: [Outcome(job, "failed", "not tried") for job in jobs]
    )
    before = {signum: signal.signal(signum, world.note) for signum in (signal.SIGINT, signal.SIGVTALRM)}
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")  # another would reserve two thirds of the room
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, limits[1]))
    yield world
    resource.setrlimit(resource.RLIMIT_AS, limits)
    for signum, handler in before.items():
        signal.signal(signum, handler)


def attempted(examples: int, complaint: Callable[[random.Random], str]) -> tuple[int, int]:
    """Return how many examples were tried, the same each time, and how many went well; print what is wrong with the others."""
    tried = well = 0

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**64 - 1))  # a seed, as what hypothesis draws piece by piece is much alike
    def each(seed: int) -> None:
        nonlocal tried, well
        tried += 1
        if said := complaint(random.Random(seed)):
            print(f"{said:.3000}\n")
        else:
            well += 1

    each()
    return tried, well


# -- command lines


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its words."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands(app.cli))
KINDS: tuple[registry.Kind, ...] = ("algorithms", "models", "datasets", "estimators")
SETTINGS = sorted(
    {
        name.replace("_", "-")
        for kind in KINDS
        for plugin in registry.listing(kind)
        if plugin.module is not None
        for name in plugin.module.Config.model_fields
    }
)


def of(words: Sequence[str]) -> click.Command:
    """Return the command of a line."""
    return COMMANDS[tuple(words[:2])] if tuple(words[:2]) in COMMANDS else COMMANDS[(words[0],)]


def value(rng: random.Random) -> str:
    """Return what may be given for an option: mostly what nobody would give."""
    letters = [chr(rng.choice([rng.randrange(1, 128), rng.randrange(1, 0xD800)])) for _ in range(rng.randrange(1, 12))]
    number = rng.choice([f"{rng.uniform(-1e3, 1e3):g}", f"{rng.uniform(-9, 9):.2f}e{rng.randrange(-330, 330)}"])
    return rng.choice(
        [rng.choice(NASTY), rng.choice(NASTY), rng.choice(SENSIBLE), "".join(letters).replace("/", ""), number]
    )


def line(rng: random.Random) -> list[str]:
    """Return a valid command line with options added, given twice and without values, then words and characters changed."""
    words = rng.choice(VALID).split()
    command = of(words)
    options = [option for option in command.params if isinstance(option, click.Option)]
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        if isinstance(command, TakesSettings) and rng.random() < 0.6:
            name, flag = f"--{rng.choice(SETTINGS)}", False
        else:
            option = rng.choice(options)
            name, flag = option.opts[0], option.is_flag
        valued = [[name, value(rng)], [f"{name}={value(rng)}"]]
        words += rng.choice([[name]] * 20 + valued if flag else valued * 10 + [[name]])
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        words = changed_words(words, rng)
    return words


def changed_words(words: list[str], rng: random.Random) -> list[str]:
    """Return a line with one word inserted, replaced, deleted, doubled, swapped or changed in itself."""
    at = rng.randrange(len(words) + 1)
    before, word, behind = words[:at], words[at : at + 1], words[at + 1 :]
    several = [word, [value(rng), *word], [value(rng)], [], word * 2, [*behind[:1], *word, *behind[:1]]]
    if word and not word[0].startswith("/"):
        cut = rng.randrange(len(word[0]) + 1)
        begin, end = word[0][:cut], word[0][cut:]
        several += [[begin], [end.lstrip("/")], [begin + end[1:]], [begin + chr(rng.randrange(1, 47)) + end]]
    return [*before, *rng.choice(several), *behind]


def test_command_lines(world: World, full: bool, survived: Survived) -> None:
    assert {tuple(line.split()[: len(name)]) for line in VALID for name in COMMANDS} >= set(COMMANDS)

    def complaint(rng: random.Random) -> str:
        world.renew()
        words = line(rng)
        said = world.complaint(words)
        return said and f"{words}: {said}"

    survived("command lines at random", *attempted(1200 if full else 60, complaint))


def settings_of(words: Sequence[str]) -> list[str]:
    """Return the settings of the plugins that a line names; those of `ais` where it names none."""
    named = [plugin for kind in KINDS for plugin in registry.listing(kind) if plugin.name in words]
    return [
        name.replace("_", "-")
        for plugin in named or [registry.get("estimators", "ais")]
        for name in plugin.module.Config.model_fields
    ]


def test_sizes(world: World, full: bool, survived: Survived) -> None:
    """Every number that a command takes, of every size: more than fits into memory, into 64 bits, or into a life."""
    lines = [
        words.split()
        for words in VALID
        if words.split()[0] in ("run", "tune", "evaluate", "certify", "extend", "sweep")
    ]

    def complaint(rng: random.Random) -> str:
        words = rng.choice(lines)
        options = [
            o.opts[0]
            for o in of(words).params
            if isinstance(o, click.Option) and o.metavar in ("N", "N,...", "X", "NATS", "NATS,...", "SECONDS")
        ]
        names = options + [f"--{name}" for name in settings_of(words) if isinstance(of(words), TakesSettings)]
        world.renew()
        at = words.index(name) if (name := rng.choice(names)) in words else len(words)
        words = [*words[:at], *words[at + 2 :], name, rng.choice(SIZES)]
        said = world.complaint(words)
        return said and f"{words}: {said}"

    survived("sizes of everything", *attempted(400 if full else 30, complaint))


# -- files


def changed_content(content: Any, rng: random.Random, values: Sequence[Any]) -> Any:
    """Return plain data with something replaced, deleted, renamed, doubled, nested, listed or swapped somewhere inside."""
    content = copy.deepcopy(content)
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
            places.append((part, key))
            walk(part[key])

    walk(content)
    if not places:
        return copy.deepcopy(rng.choice(values))
    part, key = rng.choice(places)
    value = part[key]
    other, its = rng.choice(places)
    change = rng.choice(["replace", "replace", "replace", "delete", "rename", "double", "nest", "list", "swap", "near"])
    if change == "replace":
        part[key] = copy.deepcopy(rng.choice(values))
    elif change == "delete":
        del part[key]
    elif change == "rename" and isinstance(part, dict):
        part[rng.choice(["x", "", "a b", "é", f"{key}s", str(its)])] = part.pop(key)
    elif change == "double" and isinstance(part, list):
        part.insert(key, copy.deepcopy(value))
    elif change == "nest":
        part[key] = {str(key): value}
    elif change == "list":
        part[key] = [value, copy.deepcopy(value)]
    elif change == "swap":
        part[key] = copy.deepcopy(other[its])
    elif isinstance(value, int | float):
        part[key] = value * rng.choice([-1, 0, 0.5, 2, 10**6, 1e30])
    return content


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with one flipped, some inserted or deleted, a line doubled or moved, or the end cut off."""
    at, to = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    every = content.split(b"\n")
    line = rng.choice(every)
    return rng.choice(
        [
            content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :],
            content[:at] + rng.choice([b'"', b"'''", b"[", b"]]", b"{", b"=", b".", b"\n", b"\0", b"\xff", b"9" * 5000]) + content[at:],
            content[:at] + content[min(to, at + 20) :],
            content[:at],
            b"\n".join([*every, line]),
            b"\n".join([line, *every]),
        ]
    )  # fmt: skip


def toml(content: dict[str, Any]) -> str:
    """Return plain data as TOML; what TOML has not is left out."""

    def value(one: Any) -> str:
        if isinstance(one, dict):
            return "{" + ", ".join(f"{name(n)} = {value(v)}" for n, v in one.items() if v is not None) + "}"
        if isinstance(one, list):
            return "[" + ", ".join(value(v) for v in one if v is not None) + "]"
        if isinstance(one, bool | str):
            return json.dumps(one).replace("\\ud", "\\u0")
        return repr(one)

    def name(one: str) -> str:
        return json.dumps(one)

    def block(table: dict[str, Any]) -> str:
        return "\n".join(f"{name(n)} = {value(v)}" for n, v in table.items() if v is not None)

    plain, tables = [], []
    for key, part in content.items():
        if isinstance(part, list) and part and all(isinstance(one, dict) for one in part):
            tables += [f"[[{name(key)}]]\n" + block(one) for one in part]
        elif isinstance(part, dict):
            tables.append(f"[{name(key)}]\n" + block(part))
        elif part is not None:
            plain.append(f"{name(key)} = {value(part)}")

    return "\n".join([*plain, *tables]) + "\n"


EXPERIMENTS = [MINE, *(path.read_text() for path in sorted(experiment.BUILT_IN.glob("*.toml")))]
CLAIMED = [OURS, OURS, *(path.read_text() for path in sorted(CLAIMS.glob("*.toml")))]
READ = {
    "mine.toml": [
        "sweep mine.toml --dry-run", "sweep mine.toml", "plot mine.toml --out drawn.png", "table mine.toml", "check ours.toml",
    ],
    "ours.toml": ["check ours.toml", "check ours.toml", "check ours.toml --run", "baseline show ours.toml",
                  "baseline save ours.toml --out saved.json"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "texts"), [("mine.toml", EXPERIMENTS), ("ours.toml", CLAIMED)])
def test_files(name: str, texts: list[str], world: World, full: bool, survived: Survived) -> None:
    def complaint(rng: random.Random) -> str:
        world.renew()
        original = rng.choice(texts)
        content = original.encode()
        if rng.random() < 0.6:
            data: Any = tomllib.loads(original)
            for _ in range(rng.choice([1, 1, 2, 4])):
                data = changed_content(data, rng, VALUES)
            content = toml(data if isinstance(data, dict) else {"x": data}).encode(errors="surrogatepass")
        else:
            for _ in range(rng.choice([1, 1, 2, 4])):
                content = changed_bytes(content, rng)
        Path(name).write_bytes(content)
        words = rng.choice(READ[name]).split()
        said = world.complaint(words)
        return said and f"{' '.join(words)}: {said}\n{content.decode(errors='replace')}\n"

    survived(f"{name} at random", *attempted(350 if full else 20, complaint))


def test_runs(world: World, full: bool, survived: Survived) -> None:
    """Runs that are sealed, and say what none of ours would."""
    commands_ = [
        "list", "list --json", "show {}", "show {} --json", "resume {}", "extend {} --samples 6e5", "plot {} --out drawn.png",
        "compare {} {}", "export --format csv --out exported", "export --format json --out exported", "gc --dry-run",
        "doctor --store", "evaluate {} --estimator exact --points 5", "certify {} --points 2 --chains 2", "table mine.toml",
        "plot mine.toml --out drawn.png", "sweep mine.toml --dry-run", "check ours.toml", "baseline save ours.toml",
    ]  # fmt: skip

    def complaint(rng: random.Random) -> str:
        world.renew()
        run = rng.choice([*Store(Path("results")).runs("runs"), *Store(Path("results")).runs("mine")])
        record, rows = run.content()
        content = asdict(record)
        change = rng.choice(["record", "record", "rows", "evaluations"])
        if change == "record":
            content = changed_content(content, rng, VALUES)
        elif change == "rows":
            lines = "".join(to_json(row) + "\n" for row in changed_content(rows, rng, VALUES)).encode(errors="replace")
            (run.path / "trace.jsonl").write_bytes(lines)
            sha256 = hashlib.sha256(lines).hexdigest()
            content["trace"] = {"rows": lines.count(b"\n"), "bytes": len(lines), "sha256": sha256}
        else:
            made = changed_content({"run": run.id, "evaluations": EVALUATIONS}, rng, VALUES)
            (run.path / "evaluations.json").write_bytes(seal(made))
        (run.path / "run.json").write_bytes(seal(content))
        words = rng.choice(commands_).replace("{}", run.id).split()
        said = world.complaint(words, damaged=True)
        return said and f"{' '.join(words)}: {said}\n{diff(asdict(record), content)}"

    survived("sealed runs at random", *attempted(300 if full else 20, complaint))


def diff(one: Any, other: Any, where: str = "") -> str:
    """Return where plain data differ first, for a person who reads of a failure."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return "".join(diff(one[key], other[key], f"{where}.{key}") for key in one)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return "".join(diff(*both, f"{where}.{i}") for i, both in enumerate(zip(one, other, strict=True)))
    return "" if to_json(one) == to_json(other) else f"{where}: {one!r:.200} is {other!r:.200}; "


# -- what commands call


def test_settings(world: World, full: bool, survived: Survived) -> None:
    """Settings of every type for `make_spec`, as experiments have them."""

    def complaint(rng: random.Random) -> str:
        names = [
            *options.OPTIONS,
            *SETTINGS,
            "x",
            "algo.lr",
            "model.nz",
            "marginal.K",
            ".",
            "a.b.c",
            "",
        ]
        chosen = {"algo": rng.choice(["aevb", "mcem"]), "dataset": toy.__file__}
        for _ in range(rng.choice([1, 2, 3])):
            chosen[rng.choice(names)] = rng.choice([*VALUES, *NASTY, *SENSIBLE])
        try:
            assert str(experiment.spec_of(chosen).run_id)
        except (BadInput, PluginFailed) as error:  # as of a file that does not import
            return f"{chosen}: {error}" if "\n" in str(error) else ""
        except Exception as error:
            return f"{chosen}: {type(error).__name__}: {error}"
        return ""

    survived("settings at random", *attempted(500 if full else 60, complaint))


def test_bytes(world: World, full: bool, survived: Survived) -> None:
    """Readers of bytes, on random ones and on changed ones of their own."""
    idx = struct.pack(">IIII", 0x803, 2, 2, 3) + bytes(range(12))
    mat = io.BytesIO()
    savemat(mat, {"X": np.arange(6.0).reshape(2, 3)})
    path = Path("some.toml")

    def toml_of(content: bytes) -> object:
        path.write_bytes(content)
        return TomlFile(path)

    readers: list[tuple[Callable[[bytes], object], bytes]] = [
        (read_idx, idx),
        (lambda content: read_matlab(content, "X"), mat.getvalue()),
        (lambda content: unpickle_arrays(io.BytesIO(content)), pickle.dumps([np.arange(6).reshape(2, 3), (1, "a")], 2)),
        (lambda content: unpickle_arrays(io.BytesIO(content)), pickle.dumps(np.arange(6.0), 4)),
        (lambda content: from_json(content.decode()), to_json({"a": [1, math.nan, {"b": None}]}).encode()),
        (unseal, seal({"a": [1, math.nan]})),
        (
            lambda content: unseal(content + SEAL + hashlib.sha256(content).hexdigest().encode() + b'"\n}'),
            b'{"a": [1, 2.5e3]',
        ),
        (toml_of, MINE.encode()),
    ]

    def complaint(rng: random.Random) -> str:
        reader, content = rng.choice(readers)
        for _ in range(rng.choice([1, 1, 2, 5])):
            content = changed_bytes(content, rng) if rng.random() < 0.9 else rng.randbytes(rng.randrange(200))
        try:
            reader(content)
        except (BadInput, ValueError):
            return ""
        except Exception as error:
            return f"{content!r}: {type(error).__name__}: {error}"
        return ""

    survived("bytes at random", *attempted(2000 if full else 200, complaint))
